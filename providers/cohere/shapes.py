"""Cohere's chat, version 2 and version 1; embed; rerank.

Promises: as every shape. Nothing is spliced: usage comes unasked, at the end. Source: providers.md P13 and §5, cohere
7.3's types.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.bounding.extent import Extent
from providers.bounding.text import estimates
from providers.cohere import fields, parts
from providers.cohere.answer import JsonMeter, LinesMeter, StreamMeter
from providers.cohere.input import Content, elements, refuse_kept
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter
from providers.ground.errors import BadRequest
from providers.ground.names import words
from providers.ground.usage import Usage
from providers.reading.inside import unlisted_in
from providers.reading.json_text import NULL, given, is_object, is_string
from providers.reading.request import (
    Head,
    count_field,
    flag_field,
    present,
    read_object,
    said_bytes,
    text_field,
    with_count,
)

_CHAT_2 = words("model messages max_tokens stream tools documents response_format thinking priority")
_CHAT_1 = words(
    "model message preamble chat_history documents connectors conversation_id tools tool_results max_tokens stream "
    "response_format search_queries_only"
)
_EMBED = words("model texts images inputs")
_RERANK = words("model query documents max_tokens_per_doc max_chunks_per_doc")
_LIMIT = "max_tokens"
_MARGIN_PERCENT = 115  # what the vocabulary makes of a text, relative to o200k (providers.md §5.2, "others")


class _Unlimited(PassThrough):
    """What every shape here has in common."""

    def __init__(self, name: str) -> None:
        self.name = name

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return JsonMeter(output=False)


class _Chat(_Unlimited):
    """Chat; `version` 1 is older, and streams lines of JSON."""

    def __init__(self, name: str, *, version: int) -> None:
        super().__init__(name)
        self._version = version

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _CHAT_2 if self._version == 2 else _CHAT_1)
        model = text_field(head, "model", required=True)
        refuse_kept(head)
        extent = Extent(_MARGIN_PERCENT)
        content = Content(extent)
        if self._version == 2:
            if "messages" not in head or not given(head["messages"]):
                raise BadRequest("'messages' must be a list.", param="messages")
            content.turns(head["messages"], "messages")
        else:
            for name in ("message", "preamble", "tool_results"):
                content.texts(head.get(name, NULL))
            if "chat_history" in head:
                content.turns(head["chat_history"], "chat_history")
        content.texts(head.get("documents", NULL))
        for name in ("tools", "response_format"):
            if name in head and present(head, name):
                content.tools(head[name])
        limit, budget = count_field(head, _LIMIT, least=0), _budget(head)
        typical, upper, bound = extent.usages(len(body) - said_bytes(body, head, (_LIMIT,)))
        return Call(
            model=model,
            stream=flag_field(head, "stream"),
            input_typical=typical,
            input_upper=upper,
            input_bound=bound,
            # Whether the budget for thinking is within the limit or beside it is not said [K]: the larger reading.
            output_tokens_max=None if limit is None else limit + budget,
            output_field=_LIMIT,
            unbounded=extent.unbounded,
            unlisted=unlisted_in(fields.CHAT, parts.CHAT, head, sound=asked.sound),
            cache_writes=False,
        )

    def limit(self, body: bytes, call: Call, output_tokens: int) -> bytes:
        """Lower, or set, the output limit; a budget for thinking is left room beside it."""
        budget = _budget(read_object(body, _CHAT_2)) if call.output_tokens_max is not None else 0
        return with_count(body, (_LIMIT,), max(output_tokens - budget, min(output_tokens, 1)))

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        if streamed:
            return StreamMeter()
        return LinesMeter() if call.stream else JsonMeter(output=True)


def _budget(head: Head) -> int:
    """How many tokens a request allows for thinking; 0 where it says nothing."""
    json_text = head.get("thinking")
    if json_text is None or not given(json_text) or not is_object(json_text):
        return 0
    return count_field(read_object(bytes(json_text), words("type token_budget")), "token_budget", least=0) or 0


class _Embed(_Unlimited):
    """Embeddings of texts, pictures, or both mixed. Older models are billed by the picture, newer by its tokens."""

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _EMBED)
        model = text_field(head, "model", required=True)
        extent = Extent(_MARGIN_PERCENT)
        content = Content(extent)
        content.texts(head.get("texts", NULL))
        if "images" in head:
            content.pictures(head["images"], "images")
        if "inputs" in head:
            content.turns(head["inputs"], "inputs")
        if (
            extent.unbounded
            and sum(len(elements(head[name], name)) for name in ("images", "inputs") if name in head) > 1
        ):
            # Each could be as long as the model takes, and the model's limit is held for once.
            raise BadRequest(
                "What cannot be measured here is embedded one at a time.", param=extent.unbounded, code="unbounded_cost"
            )
        usages = [msgspec.structs.replace(usage, images=content.images) for usage in extent.usages(len(body))]
        return Call(
            model=model,
            input_typical=usages[0],
            input_upper=usages[1],
            input_bound=usages[2],
            unbounded=extent.unbounded,
            unlisted=unlisted_in(fields.EMBED, parts.EMBED, head, sound=asked.sound),
            cache_writes=False,
        )


# A search unit is a query with a hundred documents. A document that has, with the query, more than 500 tokens is as
# many as it is split into; it is cut off at 4,096 tokens unless the request says otherwise. Half the room at least is
# the document's [K]. Models from 5 on are billed by tokens instead, the query's once for each piece.
_UNIT_DOCUMENTS = 100
_PIECE_TOKENS = 500
_PIECE_LEAST = 250
_DOCUMENT_TOKENS = 4_096


class _Rerank(_Unlimited):
    """Ranking of documents."""

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _RERANK)
        model = text_field(head, "model", required=True)
        documents = elements(head.get("documents", NULL), "documents")
        query = head.get("query", NULL)
        if not is_string(query):
            raise BadRequest("'query' must be a string.", param="query")
        longest = count_field(head, "max_tokens_per_doc", least=1)
        chunks = count_field(head, "max_chunks_per_doc", least=1)
        most = max(longest or _DOCUMENT_TOKENS, (chunks or 0) * _PIECE_TOKENS)
        asked_tokens = (*estimates(bytes(query)), len(query))
        usages = []
        for column in range(3):
            room = max(_PIECE_TOKENS - asked_tokens[column], _PIECE_LEAST)
            tokens = pieces = 0
            for document in documents:
                size = min(len(document) if column == 2 else estimates(bytes(document))[column], most)
                pieces += max(-(-size // room), 1)
                tokens += size
            tokens += asked_tokens[column] * max(pieces, 1)
            usages.append(Usage(input_tokens=tokens, searches=max(-(-pieces // _UNIT_DOCUMENTS), 1)))
        by_tokens = {"searches": 0} if "-v5" in model else {"input_tokens": 0}
        return Call(
            model=model,
            input_typical=msgspec.structs.replace(usages[0], **by_tokens),
            input_upper=usages[1],
            input_bound=usages[2],
            unlisted=unlisted_in(fields.RERANK, parts.RERANK, head, sound=asked.sound),
            cache_writes=False,
        )


COHERE_CHAT = _Chat("cohere_chat", version=2)
COHERE_CHAT_1 = _Chat("cohere_chat_1", version=1)
COHERE_EMBED = _Embed("cohere_embed")
COHERE_RERANK = _Rerank("cohere_rerank")
