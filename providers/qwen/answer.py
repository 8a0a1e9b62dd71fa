"""What DashScope's own API answers: whole, or in events that each count, and mostly repeat, all that there is so far.

Promises: the meters of the shape, as their interface says. Source: providers.md §3 and P7, dashscope 2.0's SDK.
"""

from __future__ import annotations

import msgspec

from providers.contract.flags import MALFORMED, Flags
from providers.contract.shapes import Reading
from providers.openai.usage import chat_usage
from providers.qwen.usage import generation_usage
from providers.reading.answer import BodyMeter, EventMeter, later, read_usage, tail_usage, visible
from providers.reading.json_text import NULL, UNREADABLE, given


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Output(msgspec.Struct, gc=False):
    """What is said. In events a reason that is none yet is the text "null"."""

    text: str | None = None
    finish_reason: str | None = None
    choices: list[_Choice] | None = None

    @property
    def ended(self) -> bool:
        reasons = [each.finish_reason for each in self.choices or ()] or [self.finish_reason]
        return all(reason not in (None, "", "null") for reason in reasons)


class _Answer(msgspec.Struct, gc=False):
    output: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL
    code: str | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_OUTPUT = msgspec.json.Decoder(_Output)


class JsonMeter(BodyMeter):
    """Reads an answer in one JSON body."""

    __slots__ = ()

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
            counted = tail_usage(self._body.tail())
            usage = generation_usage(counted, flags) if counted is not None else None
            return Reading(
                usage=usage,
                complete=MALFORMED not in flags and self._body.tail().endswith(b"}"),
                output_tokens_seen=self._body.output_tokens(),
                flags=tuple(sorted(flags)),
                partial=usage is not None and MALFORMED in flags,
            )
        counted = read_usage(answer.usage, flags)
        usage = generation_usage(counted, flags) if counted is not None else None
        return Reading(
            usage=usage,
            complete=True,
            output_tokens_seen=0 if usage is not None else visible(answer.output),
            flags=tuple(sorted(flags)),
            error=bool(answer.code),
        )


class StreamMeter(EventMeter):
    """Reads a stream of events: the last count is the count, and what came of the answer is in it."""

    __slots__ = ("_output",)

    def __init__(self) -> None:
        super().__init__()
        self._output: msgspec.Raw = NULL  # of the last event: without a count, all that can be told

    def output_tokens_seen(self) -> int:
        """See the interface."""
        return self._usage.output_tokens if self._usage is not None else 0

    def finish(self) -> Reading:
        """See the interface."""
        self.feed(b"", last=True)
        return Reading(
            usage=self._usage,
            complete=self._complete,
            output_tokens_seen=visible(self._output),
            flags=tuple(sorted(self._flags)),
            error=self._error,
            partial=self._usage is not None and not self._complete,
            running=True,
        )

    def _said(self, data: bytes) -> None:
        event = _ANSWER.decode(data)
        if event.code:
            self._error = True
        if (counted := read_usage(event.usage, self._flags)) is not None:
            usage = generation_usage(counted, self._flags)
            if usage is not None:
                self._usage = later(self._usage, usage, self._flags)
        if given(event.output):
            self._output = event.output
            self._complete = _OUTPUT.decode(event.output).ended


class EmbeddingMeter(BodyMeter):
    """Reads the answer of an embedding: its total is all input."""

    __slots__ = ()

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        counted = tail_usage(self._body.tail())
        if counted is None and (whole := self._body.whole()) is not None:
            try:
                counted = read_usage(_ANSWER.decode(whole).usage, flags)
            except UNREADABLE:
                flags.add(MALFORMED)
        return Reading(
            usage=chat_usage(counted, flags, output=False) if counted is not None else None,
            complete=self._body.tail().endswith(b"}"),
            flags=tuple(sorted(flags)),
        )
