"""What Cohere bills, and the meters of its answers: one JSON body, a stream of events, and lines of JSON.

Promises: `billed_units` is the bill, which leaves out what Cohere's own template adds; `tokens` beside it is larger and
counts only where there is nothing else, flagged. Counts are written as floats. Source: providers.md §3 and P13, cohere
7.3's types.
"""

from __future__ import annotations

import msgspec

from providers.contract.flags import INCOMPLETE, MALFORMED, OVERSIZE, Flags
from providers.contract.shapes import Reading
from providers.ground.usage import Usage
from providers.reading.answer import BodyMeter, Seen, count, read_usage, tail_usage, visible
from providers.reading.json_text import NULL, UNREADABLE, Object, given, is_object
from providers.reading.sse import EVENT_BYTES_MAX, Scanner


def cohere_usage(stated: Object, flags: Flags, *, output: bool) -> Usage | None:
    """Usage from a `usage` or a `meta`; None where it bills nothing at all.

    `output` says whether the operation writes any, so that half of a count is seen to be one.
    """
    units = stated.get("billed_units")
    if not isinstance(units, dict):
        units = stated.get("tokens")
        if not isinstance(units, dict):
            return None
        flags.add(INCOMPLETE)
    tokens_in, tokens_out = count(units, flags, "input_tokens"), count(units, flags, "output_tokens")
    text, image = count(units, flags, "text_tokens"), count(units, flags, "image_tokens") or 0
    searches, images = count(units, flags, "search_units"), count(units, flags, "images")
    pages = count(units, flags, "pages")
    counts = (tokens_in, tokens_out, text, image or None, searches, images, pages)
    if all(each is None for each in counts):
        return None
    if output and (tokens_in is None or tokens_out is None):
        flags.add(INCOMPLETE)
    total = max(tokens_in or 0, text or 0)
    if image and not (text is not None and total >= text + image):
        total += image  # beside the input, unless the sum says that it is inside
    return Usage(
        input_tokens=total,
        input_image_tokens=image,
        output_tokens=tokens_out or 0,
        searches=searches or 0,
        images=images or 0,
        pages=pages or 0,
    )


class _Answer(msgspec.Struct, gc=False):
    """A whole answer of any operation, v1's and v2's; or what ends a stream of v1."""

    usage: msgspec.Raw = NULL
    meta: msgspec.Raw = NULL
    message: msgspec.Raw = NULL
    text: msgspec.Raw = NULL
    tool_calls: msgspec.Raw = NULL


class _Delta(msgspec.Struct, gc=False):
    message: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL
    finish_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    """An event of v2, or a line of v1."""

    type: str = ""
    delta: _Delta | None = None
    event_type: str = ""
    text: str | None = None
    tool_call_delta: msgspec.Raw = NULL
    finish_reason: str | None = None
    response: _Answer | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_EVENT = msgspec.json.Decoder(_Event)


class JsonMeter(BodyMeter):
    """Reads an answer in one JSON body. `output` as in `cohere_usage`."""

    __slots__ = ("_output",)

    def __init__(self, *, output: bool) -> None:
        super().__init__()
        self._output = output

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
        answer = None
        try:
            answer = _ANSWER.decode(whole) if whole is not None else None
        except UNREADABLE:
            flags.add(MALFORMED)
        if answer is None:
            tail = self._body.tail()
            stated = tail_usage(tail, "usage") or tail_usage(tail, "meta")
            usage = cohere_usage(stated, flags, output=self._output) if stated is not None else None
            seen = 0 if usage is not None else self._body.output_tokens()
            complete = MALFORMED not in flags and tail.endswith(b"}")
            return Reading(usage=usage, complete=complete, output_tokens_seen=seen, flags=tuple(sorted(flags)))
        usage = _stated(answer, flags, output=self._output)
        said = (
            sum(visible(json_text) for json_text in (answer.message, answer.text, answer.tool_calls))
            if usage is None
            else 0
        )
        return Reading(usage=usage, complete=True, output_tokens_seen=said, flags=tuple(sorted(flags)))


def _stated(answer: _Answer, flags: Flags, *, output: bool) -> Usage | None:
    for json_text in (answer.usage, answer.meta):
        stated = read_usage(json_text, flags) if given(json_text) and is_object(json_text) else None
        if stated is not None and (usage := cohere_usage(stated, flags, output=output)) is not None:
            return usage
    return None


class _Streamed:
    """What both streams have in common: counts come at the very end."""

    __slots__ = ("_complete", "_error", "_flags", "_seen", "_usage")

    def __init__(self) -> None:
        self._seen = Seen()
        self._flags: Flags = set()
        self._usage: Usage | None = None
        self._complete = False
        self._error = False

    def output_tokens_seen(self) -> int:
        """See the interface."""
        return self._seen.so_far()

    def _take(self, data: bytes, *, whole: bool = True) -> None:
        try:
            event = _EVENT.decode(data)
        except UNREADABLE:
            if whole:
                self._flags.add(MALFORMED)
                self._seen.piece()
            return
        if event.delta is not None:
            if given(event.delta.message):
                self._say(event.delta.message)
            if event.type == "message-end":
                self._complete = True
                self._error = self._error or event.delta.finish_reason == "ERROR"
                stated = read_usage(event.delta.usage, self._flags)
                if stated is not None:
                    self._usage = cohere_usage(stated, self._flags, output=True) or self._usage
        elif event.event_type == "stream-end":
            self._complete = True
            self._error = self._error or (event.finish_reason or "").startswith("ERROR")
            if event.response is not None:
                self._usage = _stated(event.response, self._flags, output=True) or self._usage
        elif event.event_type in ("text-generation", "tool-calls-chunk"):
            self._seen.add(event.text or "")
            if given(event.tool_call_delta):
                self._say(event.tool_call_delta)

    def _say(self, json_text: msgspec.Raw) -> None:
        """A piece of a message: every text in it, but for ids, types and roles."""
        if len(json_text) > EVENT_BYTES_MAX:
            return
        stack: list[object] = [msgspec.json.decode(json_text)]
        while stack:
            item = stack.pop()
            if isinstance(item, dict):
                stack += [value for name, value in item.items() if name not in ("id", "type", "role", "start", "end")]
            elif isinstance(item, list):
                stack += item
            elif isinstance(item, str):
                self._seen.add(item)

    def _reading(self) -> Reading:
        return Reading(
            usage=self._usage,
            complete=self._complete,
            output_tokens_seen=self._seen.tokens(),
            flags=tuple(sorted(self._flags)),
            error=self._error,
        )


class StreamMeter(_Streamed):
    """Reads a stream of events."""

    __slots__ = ("_scanner",)

    def __init__(self) -> None:
        super().__init__()
        self._scanner = Scanner()

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes."""
        for event in self._scanner.feed(chunk):
            if event.oversize:
                self._flags.add(OVERSIZE)
            elif (data := event.data()) and data != b"[DONE]":
                self._take(data)

    def finish(self) -> Reading:
        """See the interface."""
        rest = self._scanner.flush()
        if rest is not None and not rest.oversize and (data := rest.data()) and data != b"[DONE]":
            self._take(data, whole=False)
        return self._reading()


class LinesMeter(_Streamed):
    """Reads a stream of JSON lines."""

    __slots__ = ("_held", "_skipping")

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()
        self._skipping = False  # a line that grew too large to keep

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes."""
        self._held += chunk
        while (end := self._held.find(b"\n", max(0, len(self._held) - len(chunk) - 1))) >= 0:
            line = bytes(self._held[:end]).strip()
            del self._held[: end + 1]
            chunk = bytes(self._held)
            if line and not self._skipping:
                self._take(line)
            self._skipping = False
        if len(self._held) > EVENT_BYTES_MAX:
            self._held.clear()
            self._skipping = True
            self._flags.add(OVERSIZE)

    def finish(self) -> Reading:
        """See the interface."""
        line = bytes(self._held).strip()
        if line and not self._skipping:
            self._take(line, whole=False)
        return self._reading()
