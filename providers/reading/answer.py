"""What every meter needs: counts read without trust, visible output told as tokens, a JSON body in bounded memory.

Promises: nothing here raises, whatever the provider sent. Knows nothing of any provider's field names but `usage`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from providers.bounding.text import Tally, estimates
from providers.contract.flags import (
    CONTRADICTORY,
    DECREASED,
    MALFORMED,
    NEGATIVE,
    OVERSIZE,
    Flags,
)
from providers.contract.shapes import Reading
from providers.ground.usage import Usage
from providers.reading.json_text import UNREADABLE, Object, given
from providers.reading.sse import Scanner

COUNT_MAX = 1 << 53  # nobody has used more of anything; above it JSON numbers are not exact either


_USAGE_BYTES_MAX = 256 << 10  # it is some 300 bytes, and some 10 KB with its iterations
LOOSE_BYTES_MAX = 1 << 20
"""Above this, JSON is not decoded into a tree, which can be forty times its size, for an estimate's sake."""

_OBJECT: msgspec.json.Decoder[Object] = msgspec.json.Decoder(Object)


def read_usage(json_text: msgspec.Raw, flags: Flags) -> Object | None:
    """A usage object from its JSON text; None where it is absent, null or no object, the last of which is flagged."""
    if not given(json_text):
        return None
    if len(json_text) > _USAGE_BYTES_MAX:
        flags.add(MALFORMED)
        return None
    try:
        return _OBJECT.decode(json_text)
    except UNREADABLE:
        flags.add(MALFORMED)
        return None


def count(usage: Object, flags: Flags, *path: str) -> int | None:
    """The count at a path of members; None where it is absent or no sane count, which is flagged.

    A whole number written as a float is a count; a fraction is rounded up and flagged.
    """
    value: object = usage
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    if value is None or (type(value) is int and 0 <= value <= COUNT_MAX):
        return value  # nearly always
    if isinstance(value, float) and math.isfinite(value):
        whole = math.ceil(value)
        if whole != value:
            flags.add(CONTRADICTORY)
        value = whole
    if type(value) is not int or value > COUNT_MAX:
        flags.add(CONTRADICTORY)
        return None
    if value < 0:
        flags.add(NEGATIVE)
        return None
    return value


def milliseconds(usage: Object, flags: Flags, *path: str) -> int | None:
    """The duration at a path of members, which states seconds; None where it is absent or no sane number, flagged."""
    value: object = usage
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value > COUNT_MAX:
        flags.add(CONTRADICTORY)
        return None
    if value < 0:
        flags.add(NEGATIVE)
        return None
    return math.ceil(Decimal(repr(value)) * 1_000)  # as it is written: a float's own digits are not the provider's


def part(value: int | None, total: int, flags: Flags) -> int:
    """A count that stands inside a total: no more than that, and flagged if it says so."""
    if not value:
        return 0
    if value > total:
        flags.add(CONTRADICTORY)
        return total
    return value


def later(earlier: Usage | None, usage: Usage, flags: Flags) -> Usage:
    """Which of two counts of one answer holds: the later, unless it went down; then the larger, flagged."""
    if earlier is None:
        return usage
    if usage.input_tokens < earlier.input_tokens or usage.output_tokens < earlier.output_tokens:
        flags.add(DECREASED)
        return usage if usage.tokens > earlier.tokens else earlier
    return usage


class Seen:
    """Visible output as tokens: an estimate by bytes, or the number of pieces where that is more."""

    __slots__ = ("_pieces", "_tally")

    def __init__(self) -> None:
        self._tally = Tally()
        self._pieces = 0

    def add(self, text: str) -> None:
        """One piece of text, as it was streamed."""
        if text:
            self._pieces += 1
            self._tally.add(text)

    def piece(self) -> None:
        """One piece whose text cannot be read (sound, damaged JSON)."""
        self._pieces += 1

    def so_far(self) -> int:
        """A rougher estimate than `tokens`, at no cost; for asking during a stream."""
        return max(self._tally.so_far(), self._pieces)

    def tokens(self) -> int:
        """Typical estimate. A piece is a token at least: vendors do not stream empty steps."""
        return max(self._tally.tokens(), self._pieces)


def strings(value: object) -> Iterator[str]:
    """Every string value in decoded JSON, names left out. Iterative: depth is the sender's choice."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


# Members of every known answer whose strings are its envelope, and no output: ids, kinds, reasons.
_ENVELOPE = frozenset(
    b"id object model role type status finish_reason finishReason stop_reason stop_sequence system_fingerprint "
    b"service_tier call_id tool_call_id item_id response_id responseId modelVersion mimeType encrypted_content "
    b"signature thoughtSignature incomplete_details error index created".split()
)
# A string, with the colon that makes it a name; the last one of a text that was cut has no end.
_VALUES = (b":", b"[")  # what stands before a string that is cut, where it is no name
_STRING = re.compile(rb'"((?:[^"\\]++|\\.)*+)("?)(\s*+:)?', re.DOTALL)


def content_tokens(text: bytes) -> int:
    """Typical tokens of the string values in JSON text, whole or cut anywhere, without its envelope."""
    said: list[bytes] = []
    name = b""
    for found in _STRING.finditer(text):
        value, _, colon = found.groups()
        if colon:
            name = value
        elif name not in _ENVELOPE and (found.end() < len(text) or text[: found.start()].rstrip().endswith(_VALUES)):
            said.append(value)
    joined = b"".join(said)
    if b"\\" in joined:
        joined = joined.decode("raw_unicode_escape", "replace").encode("utf-8", "surrogatepass")
    return estimates(joined)[0]


def visible(content: msgspec.Raw) -> int:
    """Typical tokens of every string value in the content of an answer."""
    if not given(content):
        return 0
    return len(content) // 4 if len(content) > LOOSE_BYTES_MAX else content_tokens(bytes(content))


_MARK_BYTES_MAX = 512
_MARKED_MAX = 10_000


class JsonBody:
    """The bytes of a JSON answer: whole up to a limit, beyond that only how it began and how it ended.

    Every known provider writes `usage` after the content, so the end suffices; memory stays below 5 MB.
    """

    __slots__ = ("_bytes", "_carry", "_head", "_held", "_marked", "_marks", "_pieces")

    _WHOLE_BYTES_MAX = 4 << 20
    _HEAD_BYTES = 16 << 10
    _TAIL_BYTES = 256 << 10

    def __init__(self, marks: re.Pattern[bytes] | None = None) -> None:
        """`marks` is what is counted in the part of a body that is not kept: its first group, by what it says."""
        self._marks = marks
        self._marked: dict[bytes, int] = {}
        self._carry = b""  # the end of what was let go, where a mark may begin
        self._pieces: list[bytes] = []
        self._bytes = 0  # of the body so far
        self._held = 0  # of these, in the pieces
        self._head = b""

    def feed(self, chunk: bytes) -> None:
        """Keep the next bytes, or what must be kept of them."""
        if not chunk:
            return
        self._pieces.append(chunk)
        self._bytes += len(chunk)
        self._held += len(chunk)
        # One-byte pieces would cost fifty bytes each.
        if len(self._pieces) >= 4096:
            self._pieces = [b"".join(self._pieces)]
        if self._bytes > self._WHOLE_BYTES_MAX and (not self._head or self._held > 8 * self._TAIL_BYTES):
            held = b"".join(self._pieces)
            self._head = self._head or held[: self._HEAD_BYTES]
            self._mark(held[: -self._TAIL_BYTES])
            self._pieces = [held[-self._TAIL_BYTES :]]
            self._held = len(self._pieces[0])

    def _mark(self, text: bytes) -> None:
        if self._marks is None:
            return
        text, end = self._carry + text, 0
        for found in self._marks.finditer(text):
            said, end = found[1], found.end()
            if said in self._marked or len(self._marked) < _MARKED_MAX:
                self._marked[said] = self._marked.get(said, 0) + 1
        self._carry = text[max(end, len(text) - _MARK_BYTES_MAX) :]

    def marked(self) -> dict[bytes, int]:
        """How often each mark stands in a body that was too large to keep. Called once, at the end."""
        self._mark(b"".join(self._pieces))
        return self._marked

    def whole(self) -> bytes | None:
        """The body, without white space around it; None where it was too large to keep."""
        return None if self._head else b"".join(self._pieces).strip(b" \t\r\n")

    def head(self) -> bytes:
        """How a body began that was too large to keep."""
        return self._head

    def tail(self) -> bytes:
        """How a body ended: at most 256 KB, so that time does not depend on the body."""
        return b"".join(self._pieces)[-self._TAIL_BYTES :].rstrip(b" \t\r\n")

    def output_tokens(self) -> int:
        """Typical estimate of a body that cannot be parsed: its strings, or of a very large one four bytes a token."""
        whole = self.whole()
        return self._bytes // 4 if whole is None else content_tokens(whole)


_USAGES = {
    name: re.compile(rb'"%b"\s*:\s*(?=\{)' % name.encode()) for name in ("usage", "usageMetadata", "meta", "tool_usage")
}
_STRING_MEMBER = r'"%s"\s*:\s*"([^"\\]{0,200})"'


def tail_usage(tail: bytes, name: str = "usage") -> Object | None:
    """The last `"usage":{…}` in the end of a JSON body, or the same of another name; None where there is none.

    Within a JSON string the quotes would be escaped, so this is a member's name, whosever it is.
    """
    starts = [found.end() for found in _USAGES[name].finditer(tail)]
    if not starts:
        return None
    try:
        usage, _ = json.JSONDecoder().raw_decode(tail[starts[-1] :].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return usage if isinstance(usage, dict) else None


def string_member(name: str, *texts: bytes) -> str:
    """The first plain string member of this name in any of the texts; "" where there is none."""
    pattern = re.compile((_STRING_MEMBER % re.escape(name)).encode())
    for text in texts:
        found = pattern.search(text)
        if found:
            return found.group(1).decode("utf-8", "replace")
    return ""


class BodyMeter:
    """What every meter of an answer in one JSON body has in common; how the body is read is the shape's own."""

    __slots__ = ("_body",)

    def __init__(self, marks: re.Pattern[bytes] | None = None) -> None:
        self._body = JsonBody(marks)

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes."""
        self._body.feed(chunk)

    def output_tokens_seen(self) -> int:
        """Nothing is told from a part of a JSON body."""
        return 0


class EventMeter:
    """What meters of an answer in server-sent events share; what an event says (`_said`) is the shape's own."""

    __slots__ = ("_complete", "_error", "_flags", "_scanner", "_usage")

    def __init__(self) -> None:
        self._scanner = Scanner()
        self._flags: Flags = set()
        self._usage: Usage | None = None
        self._complete = self._error = False

    def feed(self, chunk: bytes, *, last: bool = False) -> None:
        """Read the next bytes; with `last`, what they have left, which may be torn."""
        for event in filter(None, (self._scanner.flush(),)) if last else self._scanner.feed(chunk):
            if event.oversize:
                self._flags.add(OVERSIZE)
                self._unread(len(event.raw))
                continue
            data = event.data()
            if not data:
                continue
            if data.startswith(b"[DONE]"):
                self._done()
                continue
            try:
                self._said(data)
            except UNREADABLE:
                self._misread(data, whole=not last)

    def output_tokens_seen(self) -> int:
        """Sound and pictures tell nothing of their tokens."""
        return 0

    def finish(self) -> Reading:
        """See the interface."""
        self.feed(b"", last=True)
        return Reading(usage=self._usage, complete=self._complete, flags=tuple(sorted(self._flags)), error=self._error)

    def _said(self, data: bytes) -> None:
        """What one event says. May raise what decoding raises, and then the event counts as misread."""
        raise NotImplementedError

    def _done(self) -> None:
        """The stream says in so many words that it is over."""

    def _misread(self, data: bytes, *, whole: bool) -> None:
        if whole:  # what the cut left unfinished is no fault of anyone's
            self._flags.add(MALFORMED)
        self._unread(len(data))

    def _unread(self, size: int) -> None:
        """An event of so many bytes could not be read."""


class TextEventMeter(EventMeter):
    """The same of an answer whose text tells how much of it there is, before any count does."""

    __slots__ = ("_model", "_seen")

    def __init__(self) -> None:
        super().__init__()
        self._seen = Seen()
        self._model = ""

    def output_tokens_seen(self) -> int:
        """See the interface."""
        return max(self._seen.so_far(), self._usage.output_tokens if self._usage else 0)

    def _misread(self, data: bytes, *, whole: bool) -> None:
        if whole:
            self._flags.add(MALFORMED)
            self._seen.piece()
