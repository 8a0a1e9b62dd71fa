"""OpenAI's Responses: a list of items in, a list of items out, usage in the last event or in the body.

Promises: as every shape. Calls of tools that the provider runs are counted, for they are priced beside tokens. Answers
made in the background are refused: nobody would be there to count them. Source: providers.md §3 and P1, openai 3.54's
types.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.bounding.extent import Extent
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter
from providers.ground.errors import BadRequest
from providers.ground.names import words
from providers.ground.quirks import PLAIN, Quirks
from providers.openai import fields, parts
from providers.openai.hosted import passes
from providers.openai.input import Content
from providers.openai.responses_answer import JsonMeter, StreamMeter
from providers.reading.inside import unlisted_in
from providers.reading.json_text import is_list, is_string
from providers.reading.request import count_field, flag_field, present, read_object, said_bytes, text_field, with_count

_OWN = words(
    "model input instructions max_output_tokens stream service_tier tools previous_response_id conversation prompt "
    "background text context_management search_parameters max_tool_calls reasoning "
    "moderation"
)
# Stored state and provider-side work: input that the request does not show.
_UNBOUNDED = ("previous_response_id", "conversation", "prompt", "context_management", "search_parameters")
_ENDLESS = ("prompt", "search_parameters")  # tools may be in a stored prompt
_LIMIT = "max_output_tokens"


class Responses(PassThrough):
    """The shape."""

    name = "openai_responses"

    def __init__(self, quirks: Quirks = PLAIN) -> None:
        self._quirks = quirks

    def of(self, quirks: Quirks) -> Responses:
        """The same as a vendor with these quirks speaks it."""
        return self if quirks == PLAIN else Responses(quirks)

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says; `unbounded_cost` for an answer in the background.
        """
        head = read_object(body, _OWN)
        model = text_field(head, "model", required=True)
        if flag_field(head, "background"):
            raise BadRequest(
                "Answers in the background are not offered here: their usage cannot be metered.",
                param="background",
                code="unbounded_cost",
            )
        extent = Extent()
        content = Content(extent, model)
        if "input" in head:
            if not (is_string(head["input"]) or is_list(head["input"])):
                raise BadRequest("'input' must be a string or a list.", param="input")
            content.items(head["input"])
        if "instructions" in head:
            extent.content(head["instructions"])
            if is_string(head["instructions"]):
                extent.text(head["instructions"])
        memory = 0
        if "tools" in head:
            memory = content.tools(
                head,
                "tools",
                calls=self._quirks.calls,
                containers=_sizes(asked),
                runs=count_field(head, "max_tool_calls", least=0) if "max_tool_calls" in head else None,
            )
        if "text" in head:
            extent.tools(head["text"], 0)  # the answer's schema
        for name in _UNBOUNDED:
            if name in head and present(head, name):
                extent.unknown(name, endless=name in _ENDLESS)
                if name == "search_parameters":
                    extent.runs("web_search", 1, name)
        if asked.sound:
            content.unseen(searches_files=self._quirks.searches_files)
        limit = count_field(head, _LIMIT, least=0) or None
        if limit is None and count_field(head, _LIMIT, least=0) == 0:
            extent.unknown(_LIMIT, endless=True)  # some vendors take it for no limit
        typical, upper, bound = extent.usages(len(body) - said_bytes(body, head, (_LIMIT,)))
        return Call(
            model=model,
            stream=flag_field(head, "stream"),
            input_typical=typical,
            input_upper=upper,
            input_bound=bound,
            output_tokens_max=limit,
            output_field=_LIMIT,
            service_tier=text_field(head, "service_tier") if "service_tier" in head else "",
            unbounded=extent.unbounded,
            endless=extent.endless or passes(head),
            unpriced=extent.unpriced or parts.BROUGHT.find(body),
            unlisted=unlisted_in(fields.RESPONSES, parts.RESPONSES, head, sound=asked.sound),
            models=extent.models,
            beside=extent.beside,
            refers=tuple(content.refers),
            noted=(next(iter(extent.beside), ""), str(memory)),
            facts={"memory": memory} if memory > 1 else {},
        )

    def limit(self, body: bytes, call: Call, output_tokens: int) -> bytes:
        """Lower, or set, the output limit."""
        return with_count(body, (_LIMIT,), output_tokens)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return StreamMeter(call, self._quirks) if streamed else JsonMeter(call, self._quirks)


def _sizes(asked: Asked) -> dict[str, int]:
    """How large the caller's own containers are that the request names."""
    return {id_: int(facts.get("memory", 1)) for id_, facts in asked.objects.items()}


class _Compaction(Responses):
    """A conversation made shorter: asked for as an answer is, and counted as one, but nothing limits what is said."""

    name = "openai_compaction"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request. Raises BadRequest, as for an answer."""
        call = super().read(body, asked)
        return msgspec.structs.replace(call, output_tokens_max=None, limitable=False, stream=False)

    def limit(self, body: bytes, call: Call, output_tokens: int) -> bytes:
        """The same bytes: there is no such member."""
        return body


OPENAI_RESPONSES = Responses()
OPENAI_COMPACTION = _Compaction()
