"""What is to go wrong with one simulated answer, and the one-line language in which a caller asks for it.

Promises: every directive is listed in `Faults`, with its bounds; what is not a directive, or out of bounds, is
refused by name. Knows nothing of providers or of how a fault is carried out.

The language: `name=value` or `name`, separated by `,` or `;`, as in `status=529, delay_ms=200; usage=missing`.
"""

from __future__ import annotations

from typing import Final

import msgspec

USAGES: Final = ("missing", "zero", "negative", "absurd", "float", "cached", "twice", "decreasing")
RESETS: Final = ("before_head", "after_head", "mid_event")

# The largest value of each integer directive, and why: one simulated call may not hold a small machine.
BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "status": (300, 599),  # what is not an error or a redirect is no fault
    "delay_ms": (0, 600_000),  # longer than any deadline worth testing
    "disconnect_after": (0, 10_000_000),
    "output_tokens": (0, 200_000),  # more than any model writes; 1 MB of text
    "chunk_bytes": (1, 1_048_576),
    "chunk_delay_ms": (0, 60_000),
    "stall_after": (0, 10_000_000),
    "error_after": (0, 10_000_000),
    "content_length": (0, 1_000_000_000),
    "web_searches": (0, 1_000),
}
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "usage": USAGES,
    "reset": RESETS,
    "stream": ("on", "off"),
    "cache": ("hit", "miss", "off"),
    "newline": ("crlf", "cr"),
    "encoding": ("gzip",),
    "batch": ("failed", "expired", "cancelled", "stuck"),
    "service_tier": ("default", "flex", "scale", "priority", "standard", "batch"),
}
_FLAGS: Final = ("malformed", "stall", "html", "redirect", "no_end", "comments", "bom")


class Faults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The directives of one answer. Every default means "as the provider would".

    Attributes:
        status: Answer with this status and the provider's own error body; 429 has `retry-after`, 3xx a `location`.
        html: The error is a proxy's HTML page (status 502 unless `status` says otherwise).
        redirect: 302 to another path of the same origin, where a client that follows it is seen.
        delay_ms: Wait this long before the head.
        stall: Never send a head (one hour).
        reset: Reset the connection "before_head", "after_head" or "mid_event" (half an event, or half the body).
        disconnect_after: Reset the connection after N events of a stream, or N bytes of a full answer.
        stall_after: Stop sending (one hour) after N events of a stream, or N bytes of a full answer.
        error_after: End a stream with the provider's in-band error event after N events.
        no_end: Leave out the last event of a stream (`[DONE]`, `message_stop`, `response.completed`).
        malformed: A full answer's JSON breaks off; a stream holds one event that is no JSON.
        usage: What is wrong with the reported usage: "missing" anywhere, "zero", "negative", "absurd" (2**63),
            "float", "cached" (more cached than input), "twice" and "decreasing" (a stream states it twice).
        output_tokens: The model writes exactly this many, unless the request's own maximum is lower. No effect on
            tool calls and JSON answers, which have the length that they need.
        cache: Take what may be cached as read ("hit"), as written ("miss"), or not at all ("off").
        web_searches: Report and bill this many web searches (messages, responses).
        service_tier: The tier that is reported as served.
        batch: How a batch that is made ends: "failed" (none of it was done), "expired" or "cancelled" (half of it was),
            "stuck" (never).
        stream: Stream ("on") or not ("off"), whatever was asked.
        chunk_bytes: Send the body in pieces of this many bytes, regardless of events.
        chunk_delay_ms: Wait this long before each event (each piece, with `chunk_bytes`).
        newline: End the lines of a stream with "crlf" or "cr".
        comments: Put an SSE comment before every event.
        bom: Start the body with a byte order mark.
        encoding: "gzip" the body, though identity was asked for.
        content_length: The head claims this length.
    """

    status: int = 0
    html: bool = False
    redirect: bool = False
    delay_ms: int = 0
    stall: bool = False
    reset: str = ""
    disconnect_after: int | None = None
    stall_after: int | None = None
    error_after: int | None = None
    no_end: bool = False
    malformed: bool = False
    usage: str = ""
    output_tokens: int | None = None
    cache: str = ""
    web_searches: int = 0
    service_tier: str = ""
    batch: str = ""
    stream: str = ""
    chunk_bytes: int | None = None
    chunk_delay_ms: int = 0
    newline: str = ""
    comments: bool = False
    bom: bool = False
    encoding: str = ""
    content_length: int | None = None

    @classmethod
    def parse(cls, header: str) -> Faults:
        """Read a header's directives; an empty header means no faults.

        Raises:
            ValueError: A directive is unknown, repeated or out of bounds; the message names it.
        """
        found: dict[str, object] = {}
        for part in header.replace(";", ",").split(","):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not name and not equals:
                continue
            if name in found:
                raise ValueError(f"directive '{_short(name)}' is given twice")
            found[name] = _value(name, value, given=bool(equals))
        return msgspec.convert(found, cls)


def _value(name: str, value: str, *, given: bool) -> object:
    if name in BOUNDS:
        low, high = BOUNDS[name]
        number = int(value) if value.isascii() and value.isdigit() and len(value) <= 12 else -1
        if not low <= number <= high:
            raise ValueError(f"directive '{name}' takes an integer from {low} to {high}, not '{_short(value)}'")
        return number
    if name in _WORDS:
        if value not in _WORDS[name]:
            raise ValueError(f"directive '{name}' is one of {', '.join(_WORDS[name])}, not '{_short(value)}'")
        return value
    if name in _FLAGS:
        if given and value not in ("true", "1", "false", "0"):
            raise ValueError(f"directive '{name}' is true or false, not '{_short(value)}'")
        return not given or value in ("true", "1")
    raise ValueError(f"unknown directive '{_short(name)}'")


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"
