"""A request's long texts, each cut to its beginning and a mark that stands for the rest.

Thirty megabytes of text are as many again as Python's own, four times as many where one character is beyond the basic
plane, and more for every copy. So a long text in a request's JSON is replaced before anything is made of it: its
beginning stays, and a mark says how much follows, what that counts in tokens, and which text it is. Promises: linear
time, and a few pieces of memory; equal texts have equal marks; whatever counts a marked text (`tokens`) counts the
whole; an answer that repeats one repeats the whole. Knows no operation.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from providers.simulator import tokens

LONG_BYTES: Final = 96 * 1024  # of a text as it is written; a picture's size stands in its first 64 K
VALUES_MAX: Final = 100_000  # each some 50 to 200 bytes once it is read; a long conversation with tools has some 20,000
_VALUE: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{\[]', re.DOTALL)
_PIECE_BYTES: Final = 64 * 1024
_TEXT: Final = msgspec.json.Decoder(str)
# Everything up to a text of more than so many bytes, or of many escapes.
_SHORT: Final = re.compile(
    rb'(?:[^"]++|"[^"\\]{0,98304}+(?:\\.[^"\\]{0,1000}+){0,100}+")*+',
    re.DOTALL,
)
_REST: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_ESCAPED: Final = re.compile(rb"(?:\\u[0-9a-fA-F]{4}|\\.|[^\\]){1,65536}+", re.DOTALL)
_HIGH: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
_OWN_MARK: Final = re.compile(rb"\\u[fF][dD][dD]0")
_WRITTEN: Final = re.compile(tokens.MARKED.pattern.encode())

Places = Mapping[bytes, tuple[int, int]]
"""Where in the request what a mark stands for is written, by the mark's last word."""


def condensed(body: bytes) -> tuple[bytes, Places]:
    """The same JSON with marks, and what they stand for. What is no JSON comes back as it is, or as little of one."""
    mark = tokens.MARK.encode()
    if mark in body or _OWN_MARK.search(body) is not None:  # a noncharacter: nobody's text needs it
        body = _OWN_MARK.sub(rb"\\ufffd", body.replace(mark, "\ufffd".encode()))
    view = memoryview(body)
    kept: list[bytes | memoryview] = []
    places: dict[bytes, tuple[int, int]] = {}
    at = last = 0
    while at < len(body):
        start = _SHORT.match(body, at).end()  # type: ignore[union-attr]  # it matches the empty text too
        if body[start : start + 1] != b'"':
            break
        end = _REST.match(body, start + 1).end()  # type: ignore[union-attr]  # likewise
        long = end - start > LONG_BYTES and body[end : end + 1] == b'"'
        marked = _marked(body, start + 1, end, places) if long else None
        at = end + 1
        if marked is not None:
            kept += view[last:start], marked
            last = at
    return (b"".join((*kept, view[last:])), places) if places else (body, places)


def is_crowded(body: bytes) -> bool:
    """Whether there are so many objects, lists and strings in JSON that reading it would take too much memory."""
    if body.count(b"{") + body.count(b"[") + body.count(b'"') <= VALUES_MAX:
        return False
    return any(number >= VALUES_MAX for number, _ in enumerate(_VALUE.finditer(body)))


def restored(answer: bytes, body: bytes, places: Places) -> bytes:
    """JSON with the texts in place of their marks."""
    if not places or tokens.MARK.encode() not in answer:
        return answer
    return _WRITTEN.sub(lambda found: body[slice(*places.get(found[4], (0, 0)))], answer)


def _marked(body: bytes, start: int, end: int, places: dict[bytes, tuple[int, int]]) -> bytes | None:
    """A text as JSON, with a mark; None where it is no text of JSON's."""
    pieces = _pieces(body, start, end)
    try:
        first, rest = next(pieces)
        counted, pages = _Counted(), _Pages(first)
        counted.add(first)
        digest, length = hashlib.sha256(), 0
        for piece, _ in pieces:
            counted.add(piece)
            pages.add(piece)
            digest.update(piece.encode("utf-8", "surrogatepass"))
            length += len(piece)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    name = digest.hexdigest()[:32]
    places[name.encode()] = (rest, end)
    count = counted.total() - tokens.count(first)
    return msgspec.json.encode(first + tokens.mark(length, count, pages.total, name))


def _pieces(body: bytes, start: int, end: int) -> Iterator[tuple[str, int]]:
    """A text in pieces, the first of which is long enough to show a picture's size; and where each of them ends."""
    size = LONG_BYTES
    while start < end:
        stop = min(start + size, end)
        if body.find(b"\\", start, stop) >= 0:
            stop = _ESCAPED.match(body, start, end).end()  # type: ignore[union-attr]  # it matches one byte at least
        while stop < end and body[stop] & 0xC0 == 0x80:
            stop += 1
        if _HIGH.search(body, max(start, stop - 6), stop) is not None:
            stop = min(stop + 6, end)
        yield _TEXT.decode(b'"%b"' % body[start:stop]), stop
        start, size = stop, _PIECE_BYTES


class _Counted:
    """Tokens of a text that comes in pieces, as if it had come in one."""

    def __init__(self) -> None:
        self._count = 0
        self._rest = ""

    def add(self, piece: str) -> None:
        text = self._rest + piece
        count, at = tokens.settled(text)
        self._count += count
        self._rest = text[at:]

    def total(self) -> int:
        return self._count + tokens.count(self._rest)


class _Pages:
    """Pages of a PDF in base64, beyond its beginning."""

    def __init__(self, first: str) -> None:
        data = first.rpartition(",")[2]
        self._is = data.startswith("JVBER")
        self._rest = data[len(data) // 4 * 4 :]
        self._tail = tokens.decoded(data)[-tokens.PAGE_BYTES :] if self._is else b""
        self.total = 0

    def add(self, piece: str) -> None:
        if not self._is:
            return
        text = self._rest + piece
        whole = len(text) // 4 * 4
        self._rest = text[whole:]
        try:
            data = self._tail + base64.b64decode(text[:whole])
        except (binascii.Error, ValueError):
            self._is = False
            return
        self.total += tokens.pages(data) - tokens.pages(self._tail)
        self._tail = data[-tokens.PAGE_BYTES :]
