"""Meters of Gemini's answers: one JSON body, a stream of events, and the JSON array that streams without `alt=sse`.

Promises: as every meter. Counts of a stream are cumulative, so the latest counts; until a chunk says why it finished,
what was counted is a true lower bound and no more. Source: providers.md §3 and P3, google-genai 3.6's types.
"""

from __future__ import annotations

import re

import msgspec

from providers.contract.flags import MALFORMED, OVERSIZE, Flags
from providers.contract.shapes import Call, Reading
from providers.google.usage import Grounding, gemini_usage
from providers.ground.usage import Usage
from providers.reading.answer import BodyMeter, EventMeter, Seen, later, read_usage, string_member, strings, tail_usage
from providers.reading.json_text import NULL, UNREADABLE, given, is_string
from providers.reading.sse import EVENT_BYTES_MAX

# What an answer without a count is estimated at: a picture's tokens, and bytes of sound a token (24 kHz, 16 bits, 25 a
# second, in base64).
_IMAGE_TOKENS = 1_290
_AUDIO_BYTES_PER_TOKEN = 2_560
_META_BYTES_MAX = 1 << 20


class _Answer(msgspec.Struct, gc=False):
    """A whole answer or a chunk of one."""

    candidates: msgspec.Raw = NULL
    usageMetadata: msgspec.Raw = NULL  # noqa: N815 - the provider's name
    modelVersion: msgspec.Raw = NULL  # noqa: N815
    promptFeedback: msgspec.Raw = NULL  # noqa: N815
    error: msgspec.Raw = NULL


class _Blob(msgspec.Struct, gc=False):
    mimeType: str = ""  # noqa: N815
    data: msgspec.Raw = NULL


class _Part(msgspec.Struct, gc=False):
    text: str | None = None
    inlineData: _Blob | None = None  # noqa: N815
    functionCall: msgspec.Raw = NULL  # noqa: N815
    executableCode: msgspec.Raw = NULL  # noqa: N815
    codeExecutionResult: msgspec.Raw = NULL  # noqa: N815


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False):
    content: _Content | None = None
    finishReason: str | int | None = None  # noqa: N815
    index: int | None = None
    groundingMetadata: msgspec.Raw = NULL  # noqa: N815


_ANSWER = msgspec.json.Decoder(_Answer)
_CANDIDATES = msgspec.json.Decoder(list[_Candidate])
_TEXT = msgspec.json.Decoder(str)


class _Answered:
    """What is known of one answer, chunk by chunk."""

    __slots__ = (
        "_call",
        "_drawn",
        "_final",
        "_finished",
        "_flags",
        "_grounding",
        "_media_tokens",
        "_model",
        "_open",
        "_seen",
        "_tier",
        "_usage",
        "error",
    )

    def __init__(self, call: Call, tier: str, flags: Flags) -> None:
        self._call = call
        self._tier = tier
        self._flags = flags
        self._seen = Seen()
        self._media_tokens = 0
        self._drawn = False
        self._usage: Usage | None = None
        self._grounding = Grounding(call.model)
        self._model = ""
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self._final = False  # a count came with the end, or after it
        self.error = False

    def take(self, data: bytes) -> None:
        """Read one chunk, or the whole. Raises what decoding raises."""
        answer = _ANSWER.decode(data)
        if given(answer.candidates):
            self._candidates(answer.candidates)
        if given(answer.promptFeedback):
            self._finished.add(0)  # a blocked prompt has no candidates
        if given(answer.modelVersion) and is_string(answer.modelVersion) and not self._model:
            self._model = _text(answer.modelVersion)
        self.error = self.error or given(answer.error)
        counts = read_usage(answer.usageMetadata, self._flags)
        usage = gemini_usage(counts, self._flags, tier=self._tier) if counts is not None else None
        if usage is not None:
            self._usage = later(self._usage, usage, self._flags)
            self._final = self.finished

    @property
    def finished(self) -> bool:
        """Whether every candidate seen has said why it finished."""
        return bool(self._finished) and self._open <= self._finished

    def misread(self) -> None:
        """A chunk, or the whole, is not JSON."""
        self._flags.add(MALFORMED)
        self._seen.piece()

    def output_tokens_seen(self) -> int:
        """See the interface."""
        return max(self._seen.so_far() + self._media_tokens, self._usage.output_tokens if self._usage else 0)

    def reading(self, *, complete: bool) -> Reading:
        """What is known at the end. `complete` says that the framing had its own end mark, where it has one."""
        usage = self._usage
        tools = self._grounding.tools()
        if usage is not None and tools:
            usage = msgspec.structs.replace(usage, tools=tools)
        if usage is not None and self._drawn and not usage.output_image_tokens:
            # A picture is there and the breakdown is not: what is no text is priced as a picture, the dearer reading.
            drawn = max(usage.output_tokens - usage.reasoning_tokens - self._seen.tokens(), 0)
            usage = msgspec.structs.replace(usage, output_image_tokens=drawn)
        return Reading(
            usage=usage,
            complete=complete and self.finished,
            model=self._model,
            output_tokens_seen=self._seen.tokens() + self._media_tokens,
            flags=tuple(sorted(self._flags)),
            error=self.error,
            partial=usage is not None and not (complete and self._final),
            running=True,
        )

    def _candidates(self, json_text: msgspec.Raw) -> None:
        try:
            candidates = _CANDIDATES.decode(json_text)
        except UNREADABLE:
            self._flags.add(MALFORMED)
            self._seen.piece()
            return
        for at, candidate in enumerate(candidates):
            index = candidate.index if candidate.index is not None else at
            if len(self._open) < 1_000:  # there are eight at most
                self._open.add(index)
            if candidate.finishReason and candidate.finishReason != "FINISH_REASON_UNSPECIFIED":
                self._finished.add(index)
            if given(candidate.groundingMetadata) and len(candidate.groundingMetadata) <= _META_BYTES_MAX:
                self._grounding.add(msgspec.json.decode(candidate.groundingMetadata))
            for part in (candidate.content.parts if candidate.content else None) or ():
                self._part(part)

    def _part(self, part: _Part) -> None:
        if part.text:
            self._seen.add(part.text)
        for json_text in (part.functionCall, part.executableCode, part.codeExecutionResult):
            if given(json_text) and len(json_text) <= _META_BYTES_MAX:
                for text in strings(msgspec.json.decode(json_text)):
                    self._seen.add(text)
        if part.inlineData is not None:
            size = len(part.inlineData.data)
            tokens = size // _AUDIO_BYTES_PER_TOKEN if part.inlineData.mimeType.startswith("audio/") else _IMAGE_TOKENS
            self._media_tokens += tokens
            self._drawn = self._drawn or part.inlineData.mimeType.startswith("image/")


def _text(json_text: msgspec.Raw) -> str:
    try:
        return _TEXT.decode(json_text)
    except UNREADABLE:
        return ""


class JsonMeter(BodyMeter):
    """Reads an answer in one JSON body."""

    __slots__ = ("_answered", "_tier")

    def __init__(self, call: Call, tier: str) -> None:
        super().__init__()
        self._answered = _Answered(call, tier, set())
        self._tier = tier

    def finish(self) -> Reading:
        """See the interface."""
        whole = self._body.whole()
        if whole is not None:
            try:
                self._answered.take(whole)
            except UNREADABLE:
                self._answered.misread()
            reading = self._answered.reading(complete=True)
            if MALFORMED in reading.flags:
                return self._torn(whole, whole, reading.flags)
            # A body that is whole has the final count, whatever its candidates say of their end.
            return msgspec.structs.replace(reading, complete=True, partial=False)
        return self._torn(self._body.head(), self._body.tail(), ())

    def _torn(self, head: bytes, tail: bytes, flags: tuple[str, ...]) -> Reading:
        """A body that cannot be parsed, or that was too large to keep: what stands at its end, and an estimate."""
        found: Flags = set(flags)
        counts = tail_usage(tail[-(256 << 10) :], "usageMetadata")
        usage = gemini_usage(counts, found, tier=self._tier) if counts is not None else None
        if usage is not None and not usage.output_image_tokens and b'"image/' in head[: 16 << 10]:
            drawn = max(usage.output_tokens - usage.reasoning_tokens, 0)  # as in `_Answered.reading`
            usage = msgspec.structs.replace(usage, output_image_tokens=drawn)
        return Reading(
            usage=usage,
            complete=tail.endswith(b"}"),
            model=string_member("modelVersion", tail[-(256 << 10) :], head),
            output_tokens_seen=self._body.output_tokens(),
            flags=tuple(sorted(found)),
        )


class StreamMeter(EventMeter):
    """Reads a stream of events."""

    __slots__ = ("_answered",)

    def __init__(self, call: Call, tier: str) -> None:
        super().__init__()
        self._answered = _Answered(call, tier, self._flags)

    def output_tokens_seen(self) -> int:
        """See the interface."""
        return self._answered.output_tokens_seen()

    def finish(self) -> Reading:
        """See the interface."""
        self.feed(b"", last=True)
        return self._answered.reading(complete=True)

    def _said(self, data: bytes) -> None:
        self._answered.take(data)

    def _misread(self, data: bytes, *, whole: bool) -> None:
        if whole:
            self._answered.misread()


# A backslash with what it escapes, or a byte that changes where we are.
_MARK = re.compile(rb'\\.|["{}\[\]]', re.DOTALL)


class Elements:
    """Cuts a JSON array, as it comes, into its elements; an object alone is one. Sans I/O; memory is bounded."""

    __slots__ = ("_base", "_depth", "_element", "_held", "_inside", "_quoted", "ended")

    def __init__(self) -> None:
        self._base = -1  # the depth at which elements stand: 1 in an array, 0 for an object alone
        self._depth = 0
        self._quoted = False
        self._inside = False
        self._element: bytearray | None = bytearray()  # None where it grew too large to keep
        self._held = b""
        self.ended = False

    def feed(self, chunk: bytes) -> list[bytes | None]:
        """The elements that these bytes complete; None for one that was too large to keep."""
        if self._held:
            chunk, self._held = self._held + chunk, b""
        found: list[bytes | None] = []
        start = end = 0
        for mark in _MARK.finditer(chunk):
            end = mark.end()
            byte = chunk[mark.start()]
            if byte == 0x22:  # "
                self._quoted = not self._quoted
            elif self._quoted or byte == 0x5C:  # a backslash
                continue
            elif byte in b"{[":
                if self._base < 0:
                    self._base = int(byte == 0x5B)
                if self._depth == self._base and not self._inside:
                    self._inside, self._element, start = True, bytearray(), mark.start()
                self._depth += 1
            else:
                self._depth = max(self._depth - 1, 0)
                if self._inside and self._depth == self._base:
                    self._keep(chunk[start:end])
                    found.append(None if self._element is None else bytes(self._element))
                    self._inside, self._element = False, bytearray()
                self.ended = self.ended or self._depth == 0
        if chunk.endswith(b"\\") and end < len(chunk):
            self._held, chunk = chunk[-1:], chunk[:-1]
        if self._inside:
            self._keep(chunk[start:])
        return found

    def _keep(self, piece: bytes) -> None:
        if self._element is None:
            return
        self._element += piece
        if len(self._element) > EVENT_BYTES_MAX:
            self._element = None


class ArrayMeter:
    """Reads an answer that is streamed as one JSON array."""

    __slots__ = ("_answered", "_elements", "_flags")

    def __init__(self, call: Call, tier: str) -> None:
        self._elements = Elements()
        self._flags: Flags = set()
        self._answered = _Answered(call, tier, self._flags)

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes."""
        for element in self._elements.feed(chunk):
            if element is None:
                self._flags.add(OVERSIZE)
                continue
            try:
                self._answered.take(element)
            except UNREADABLE:
                self._answered.misread()

    def output_tokens_seen(self) -> int:
        """See the interface."""
        return self._answered.output_tokens_seen()

    def finish(self) -> Reading:
        """See the interface."""
        return self._answered.reading(complete=self._elements.ended)
