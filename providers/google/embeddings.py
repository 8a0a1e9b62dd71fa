"""Gemini's embedContent and batchEmbedContents: input only, one JSON answer. And countTokens, which is free.

Promises: as every shape. Older models' answers hold no usage: what was sent is estimated then, and said to be.
Source: providers.md P3, google-genai 3.6's types.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.bounding.extent import Extent
from providers.contract.flags import MALFORMED, Flags
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter, Reading
from providers.google import fields, parts
from providers.google.generate import check_model, check_query, read_content
from providers.google.input import Content
from providers.google.spelling import Names, each
from providers.google.usage import gemini_usage
from providers.ground.errors import BadRequest
from providers.reading.answer import BodyMeter, read_usage, tail_usage
from providers.reading.inside import unlisted_in
from providers.reading.json_text import NULL, UNREADABLE, given, is_object
from providers.reading.request import present
from providers.stored.free import FreeMeter

_REQUEST = Names("model content taskType title outputDimensionality embedContentConfig")
_CONFIG = Names("taskType title outputDimensionality autoTruncate documentOcr audioTrackExtraction mimeType")
_READ_TOO = ("documentOcr", "audioTrackExtraction")  # text and sound that are found in what is sent
_BATCH = Names("requests")
_COUNT = Names("model contents systemInstruction tools cachedContent generateContentRequest generationConfig")
_MARGIN_PERCENT = 115


class _Fixed(PassThrough):
    """What all of these have in common: nothing to change in a request, nothing to limit, nothing to take out."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Embed(_Fixed):
    """Embeddings; `batch` says that the body holds a list of requests."""

    def __init__(self, name: str, *, batch: bool) -> None:
        super().__init__(name)
        self._batch = batch

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        check_query(asked)
        extent = Extent(_MARGIN_PERCENT)
        content = Content(extent)
        number, unlisted = 1, ""
        if self._batch:
            head = _BATCH.read(body, whole=True)
            unlisted = "" if head.keys() <= _BATCH.known else fields.EMBED.unlisted(head)
            requests = each(head.get("requests", NULL), "requests")
            number = len(requests)
            for at, json_text in enumerate(requests):
                if not is_object(json_text):
                    raise BadRequest("A request must be an object.", param=f"requests[{at}]")
                unlisted = (
                    _embedded(bytes(json_text), asked, extent, content, f"requests[{at}].content", whole=False)
                    or unlisted
                )
        else:
            unlisted = _embedded(body, asked, extent, content, "content", whole=True)
        if extent.unbounded and number > 1:
            # Each could be as long as the model takes, and the model's limit is held for once.
            raise BadRequest(
                "What cannot be measured here is embedded one at a time.", param=extent.unbounded, code="unbounded_cost"
            )
        typical, upper, bound = extent.usages(len(body))
        return Call(
            model=asked.params.get("model", ""),
            input_typical=typical,
            input_upper=upper,
            input_bound=bound,
            unbounded=extent.unbounded,
            unlisted=unlisted,
            cache_writes=False,
        )

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return _EmbedMeter()


def _embedded(body: bytes, asked: Asked, extent: Extent, content: Content, where: str, *, whole: bool) -> str:
    """Count one request in; the first of its fields that is in no table."""
    head = _REQUEST.read(body, whole=whole)
    check_model(head, asked)
    if "content" in head and given(head["content"]):
        content.contents(head["content"], where)
    json_text = head.get("embedContentConfig", NULL)
    config = _CONFIG.read(bytes(json_text)) if given(json_text) and is_object(json_text) else {}
    for name in _READ_TOO:
        if present(config, name):
            extent.unknown(name)
    return fields.EMBED.unlisted(config) or unlisted_in(fields.EMBED, parts.EMBED, head, sound=asked.sound)


class _CountTokens(_Fixed):
    """Counting. It is free, but what may be referred to is the same as in a call."""

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        check_query(asked)
        head = _COUNT.read(body, whole=True)
        check_model(head, asked)
        content = Content(Extent())
        read_content(head, content)
        whole = head.get("generateContentRequest", NULL)
        if given(whole) and is_object(whole):
            head = _COUNT.read(bytes(whole))
            check_model(head, asked)
            read_content(head, content)
        return Call(model=asked.params.get("model", ""), cache_writes=False)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter that reads nothing."""
        return FreeMeter()


class _Answer(msgspec.Struct, gc=False):
    usageMetadata: msgspec.Raw = NULL  # noqa: N815 - the provider's name
    error: msgspec.Raw = NULL


_ANSWER = msgspec.json.Decoder(_Answer)


class _EmbedMeter(BodyMeter):
    """Reads an answer."""

    __slots__ = ()

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
        error = False
        try:
            answer = _ANSWER.decode(whole) if whole is not None else None
        except UNREADABLE:
            flags.add(MALFORMED)
            answer = None
        if answer is not None:
            counted, complete, error = read_usage(answer.usageMetadata, flags), True, given(answer.error)
        else:
            tail = self._body.tail()
            counted = tail_usage(tail, "usageMetadata")
            complete = MALFORMED not in flags and tail.endswith(b"}")
        # Input is counted before the answer begins: what was read of it is final, even of a body that was cut.
        return Reading(
            usage=gemini_usage(counted, flags) if counted is not None else None,
            complete=complete,
            flags=tuple(sorted(flags)),
            error=error,
        )


GEMINI_EMBED = _Embed("gemini_embed", batch=False)
GEMINI_EMBED_BATCH = _Embed("gemini_embed_batch", batch=True)
GEMINI_COUNT_TOKENS = _CountTokens("gemini_count_tokens")
