"""MiniMax's own habit: every answer, of whatever API, ends by saying how the call went, in `base_resp`.

Promises: an answer of HTTP 200 whose `base_resp.status_code` is not 0, and that counts and shows nothing, is a refusal
that costs nothing. Works beside the meter of any shape, on the bytes as they pass, in a few kilobytes of memory.
Source: providers.md §4.2 and P9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Filter, Meter, Reading, Shape

# Within a JSON string the quotes would be escaped, so this is a member's name. Its object is flat and short.
_STATUS = r'"base_resp"\s*:\s*\{[^{}]{0,2000}?"status_code"\s*:\s*(-?\d{1,9})'
_REACH_BYTES = 4096  # no member that is looked for is longer, with what stands around it


class Watch:
    """The last value of an integer in a stream of JSON, wherever the network cut it."""

    __slots__ = ("_mark", "_pattern", "_tail", "value")

    def __init__(self, mark: bytes, pattern: str) -> None:
        """`mark` is a part of the text that cannot be missing; `pattern` has the integer as its only group."""
        self._mark = mark
        self._pattern = re.compile(pattern.encode())
        self._tail = b""
        self.value: int | None = None

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes."""
        text = self._tail + chunk
        if self._mark in text:
            for found in self._pattern.finditer(text):
                self.value = int(found[1])
        self._tail = text[-_REACH_BYTES:]


class _BaseRespMeter:
    """A shape's own meter, and the watch beside it."""

    __slots__ = ("_inner", "_status")

    def __init__(self, inner: Meter) -> None:
        self._inner = inner
        self._status = Watch(b'"base_resp"', _STATUS)

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes."""
        self._inner.feed(chunk)
        self._status.feed(chunk)

    def output_tokens_seen(self) -> int:
        """See the interface."""
        return self._inner.output_tokens_seen()

    def finish(self) -> Reading:
        """See the interface."""
        reading = self._inner.finish()
        if not self._status.value:
            return reading
        usage = reading.usage
        nothing = not reading.output_tokens_seen and (usage is None or not (usage.tokens or usage.characters))
        return Reading(
            usage=usage,
            complete=reading.complete,
            model=reading.model,
            output_tokens_seen=reading.output_tokens_seen,
            flags=reading.flags,
            error=True,
            partial=reading.partial,
            refused=nothing,
        )


class _WithBaseResp:
    """Any shape as MiniMax speaks it."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.name = shape.name

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        return self._shape.read(body, asked)

    def prepare(self, body: bytes, call: Call) -> bytes:
        """As the shape does."""
        return self._shape.prepare(body, call)

    def limit(self, body: bytes, call: Call, output_tokens: int) -> bytes:
        """As the shape does."""
        return self._shape.limit(body, call, output_tokens)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter that knows a refusal when it sees one."""
        return _BaseRespMeter(self._shape.meter(call, streamed=streamed, headers=headers))

    def filter(self, call: Call) -> Filter | None:
        """As the shape does."""
        return self._shape.filter(call)


def with_base_resp(shape: Shape) -> Shape:
    """The shape, with refusals by `base_resp`."""
    return _WithBaseResp(shape)
