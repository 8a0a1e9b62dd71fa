"""Cuts a byte stream into server-sent events, wherever the network cut it.

Promises: the raw bytes of all events, joined, are the input; the same bytes in any pieces give the same events; memory
is bounded by the largest event allowed, and a larger one is passed on in fragments instead of being held. Ends of line
are LF, CRLF and CR in any mixture. Knows nothing of JSON or of any provider. Source: the HTML standard, §9.2.6.

Bytes are looked for with `find`: before `in` looks, CPython tries to take what it looks for as a number, and words an
error that nobody sees, which costs more than the look.
"""

from __future__ import annotations

import re

import msgspec

EVENT_BYTES_MAX = 16 << 20  # one event; the largest known are pictures, in base64

# Two ends of line in a row, each of them CRLF, LF or CR, and CRLF never read as two.
_END = re.compile(rb"\n(?:\n|\r\n?)|\r(?:\n(?:\n|\r\n?)|\r\n?)")
_END_BYTES_MAX = 4
_LINE = re.compile(rb"\r\n|\n|\r")


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event, or a fragment of one that was too large.

    Attributes:
        raw: Its bytes with the blank line that ends it; on the last event of a stream that line may be missing.
        oversize: A fragment of an event above the limit: its data was not kept together and must not be read.
    """

    raw: bytes
    oversize: bool = False

    def data(self) -> bytes:
        """Its data: every `data:` line's value, joined by LF. Empty where there is none."""
        raw = self.raw
        # As nearly all are written: one line, LF.
        if raw.startswith(b"data:") and raw.find(b"\n", 0, -2) < 0 and raw.endswith(b"\n\n") and raw.find(b"\r") < 0:
            return raw[6:-2] if raw[5] == 0x20 else raw[5:-2]
        return b"\n".join(self._values(b"data"))

    def name(self) -> bytes:
        """Its `event:` field; empty where there is none. The last one counts."""
        if self.raw.find(b"event") < 0:
            return b""
        names = self._values(b"event")
        return names[-1] if names else b""

    def _values(self, field: bytes) -> list[bytes]:
        values = []
        for line in _LINE.split(self.raw.removeprefix(b"\xef\xbb\xbf")):
            name, _, value = line.partition(b":")
            if name == field:
                values.append(value.removeprefix(b" "))
        return values


class Scanner:
    """Feed it bytes, get whole events. Sans I/O; one for each stream."""

    __slots__ = ("_event_bytes_max", "_held", "_scanned", "_skipping")

    def __init__(self, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._event_bytes_max = event_bytes_max
        self._held = bytearray()
        self._scanned = 0  # up to here no end of an event begins
        self._skipping = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that these bytes complete, and fragments of one that is too large."""
        events: list[Event] = []
        held = self._held
        if not held and chunk.find(b"\r") < 0 and not self._skipping:
            chunk = self._plain(chunk, events)
            if not chunk:
                return events
        held += chunk
        start = 0
        while True:
            end = self._end()
            if end < 0:
                break
            oversize = self._skipping or end - start > self._event_bytes_max
            events.append(Event(bytes(held[start:end]), oversize))
            self._skipping = False
            start = self._scanned = end
        if start:
            del held[:start]
            self._scanned -= start
        if self._skipping or len(held) > self._event_bytes_max:
            # Whatever may be the beginning of the end has to stay.
            keep = min(len(held), _END_BYTES_MAX - 1)
            if len(held) > keep:
                events.append(Event(bytes(held[: len(held) - keep]), oversize=True))
                del held[: len(held) - keep]
            self._skipping = True
            self._scanned = 0
        return events

    def ends_with(self, chunk: bytes) -> bool:
        """Whether these bytes would be whole events, and nothing is held back: then they need not be fed to it."""
        return not self._held and not self._skipping and chunk.endswith(b"\n\n") and chunk.find(b"\r") < 0

    def flush(self) -> Event | None:
        """What is left at the end of the stream: an event without its blank line, or the rest of one too large."""
        if not self._held:
            return None
        event = Event(bytes(self._held), self._skipping)
        self._held.clear()
        self._scanned = 0
        self._skipping = False
        return event

    def _plain(self, chunk: bytes, events: list[Event]) -> bytes:
        """Takes whole LF-only events from bytes that begin one; the rest is returned. The path of nearly all bytes."""
        start = 0
        limit = self._event_bytes_max
        while (end := chunk.find(b"\n\n", start)) >= 0:
            # A carriage return may come yet in the next chunk, but not between these two.
            end += 2
            events.append(Event(chunk[start:end], end - start > limit))
            start = end
        return chunk[start:] if start else chunk

    def _end(self) -> int:
        """Where the first unseen event in the held bytes ends; -1 where that cannot be told yet."""
        held = self._held
        found = _END.search(held, self._scanned)
        if found is None:
            self._scanned = max(self._scanned, len(held) - (_END_BYTES_MAX - 1))
            return -1
        if found.end() == len(held) and held[-1] == 0x0D:
            # CR, or the first half of CRLF: the next byte tells to which event it belongs.
            self._scanned = found.start()
            return -1
        return found.end()
