"""Asking an OpenAI-style stream for its usage, and hiding from the client that we asked.

Promises: the request changes in `stream_options.include_usage` and in no other byte; from the answer the one kind of
event that this causes is taken, or what it adds to every event, and no other byte. A client that asks for usage itself
is left alone.
Source: providers.md §3, "Injecting".
"""

from __future__ import annotations

import re

import msgspec

from providers.ground.errors import BadRequest
from providers.reading.json_text import NULL, UNREADABLE, given, is_object
from providers.reading.request import members, replaced, with_member
from providers.reading.sse import Event, Scanner

_INCLUDE = b'"include_usage":true'
_EMPTY_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')


def asks_usage(options: msgspec.Raw) -> bool:
    """Whether the client asks for usage itself.

    Raises:
        BadRequest: `stream_options` is no object, or says twice what it wants.
    """
    if not given(options):
        return False
    if not is_object(options):
        raise BadRequest("'stream_options' must be an object.", param="stream_options")
    text = bytes(options)
    said = [text[m.value : m.value_end] for m in members(text) if m.name == "include_usage"]
    if len(said) > 1 or (said and said[0] not in (b"true", b"false", b"null")):
        raise BadRequest("'include_usage' must be true or false.", param="stream_options.include_usage")
    return said == [b"true"]


def spliced(body: bytes) -> bytes:
    """The body asking for usage: an added member, a merged one, or a changed word; no other byte differs."""
    options = None
    if b"stream_options" in body or b"\\u" in body:
        options = next((member for member in members(body) if member.name == "stream_options"), None)
    if options is None:
        return with_member(body, b'"stream_options":{%b}' % _INCLUDE, empty=False)
    text = body[options.value : options.value_end]
    if text[:1] != b"{":
        return replaced(body, ((options.value, options.value_end, b"{%b}" % _INCLUDE),))
    inner = members(text)
    said = next((member for member in inner if member.name == "include_usage"), None)
    if said is None:
        text = with_member(text, _INCLUDE, empty=not inner)
    else:
        text = replaced(text, ((said.value, said.value_end, b"true"),))
    return replaced(body, ((options.value, options.value_end, text),))


class _Spliced(msgspec.Struct, gc=False):
    choices: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = NULL


_SPLICED = msgspec.json.Decoder(_Spliced)


class UsageFilter:
    """Takes events with `"choices":[]` and a usage object out of a stream; those and no others."""

    __slots__ = ("_scanner",)

    def __init__(self) -> None:
        self._scanner = Scanner()

    def feed(self, chunk: bytes) -> bytes:
        """See the interface."""
        if self._scanner.ends_with(chunk) and _EMPTY_CHOICES.search(chunk) is None:
            return chunk  # whole events, and none of them is the one
        events = self._scanner.feed(chunk)
        if len(events) == 1:
            return b"" if _is_splice(events[0]) else events[0].raw
        return b"".join([event.raw for event in events if not _is_splice(event)])

    def flush(self) -> bytes:
        """See the interface."""
        rest = self._scanner.flush()
        return b"" if rest is None or _is_splice(rest) else rest.raw


class RunningUsageFilter:
    """Takes the usage out of every chunk of a stream that counts along; a chunk that has nothing else goes whole."""

    __slots__ = ("_scanner",)

    def __init__(self) -> None:
        self._scanner = Scanner()

    def feed(self, chunk: bytes) -> bytes:
        """See the interface."""
        return b"".join([_without_usage(event) for event in self._scanner.feed(chunk)])

    def flush(self) -> bytes:
        """See the interface."""
        rest = self._scanner.flush()
        return b"" if rest is None else _without_usage(rest)


def _without_usage(event: Event) -> bytes:
    raw = event.raw
    if event.oversize or raw.find(b'"usage"') < 0:
        return raw
    if _is_splice(event):
        return b""
    data = event.data()
    at = raw.find(data)
    try:
        msgspec.json.decode(data, type=_Spliced)
        found = members(data)
    except UNREADABLE:
        return raw
    number = next((n for n, member in enumerate(found) if member.name == "usage"), None)
    if at < 0 or number is None or len(found) == 1:
        return raw  # in several lines, as nobody writes it
    # The member goes with the comma behind it, or with the one before it where it is the last.
    last = number == len(found) - 1
    start = found[number - 1].value_end if last else found[number].key
    end = found[number].value_end if last else found[number + 1].key
    return replaced(raw, ((at + start, at + end, b""),))


def _is_splice(event: Event) -> bool:
    if event.oversize or event.raw.find(b'"usage"') < 0 or _EMPTY_CHOICES.search(event.raw) is None:
        return False
    try:
        chunk = _SPLICED.decode(event.data())
    except UNREADABLE:
        return False
    return chunk.choices == [] and is_object(chunk.usage)
