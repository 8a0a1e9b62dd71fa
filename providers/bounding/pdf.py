"""How many pages a PDF has, counted so that no reader finds more. Draws nothing.

Promises: integers or None, never an exception, linear time and bounded memory whatever the bytes. Pages are counted
from the tree of pages, each as often as it is named there, and from the objects that say that they are pages; the
larger counts. Of an object that is defined more than once (updates are appended) the definition with most pages counts.
None, and so the dearest reading, for everything that could be read in two ways: encryption, escaped names, comments or
strings with structure in them, objects that are missing. Knows nothing of what pages cost. Source: ISO 32000-1 §7.
"""

from __future__ import annotations

import re
import zlib

PAGES_MAX = 10_000  # ten times what any provider takes
_STREAMS_MAX = 1_000
_STREAM_BYTES_MAX = 1 << 20  # of one object stream, unpacked
_DEPTH_MAX = 50
_OBJECTS_MAX = 200_000
_TEXT_BYTES_MAX = 1 << 20  # of one object: a tree of 10,000 pages in one list has some 100 KB

_S = rb"[\0\t\n\f\r ]"
_HEADER = re.compile(rb"(?<![0-9])([0-9]{1,10})%b+[0-9]{1,5}%b+\Z" % (_S, _S))
_HEADER_BYTES_MAX = 64  # spaces included
_PAGE = re.compile(rb"/Type%b*/Page(?![0-9A-Za-z])" % _S)
# As a member it names the tree, as a value it is the type of a node; anything else behind it is for nobody to tell.
_PAGES = re.compile(
    rb"/Pages(?![0-9A-Za-z])%b*+(?:([0-9]{1,10})%b++[0-9]{1,5}%b++R(?![a-zA-Z])|(/|>>))?+" % (_S, _S, _S)
)
_ESCAPED = re.compile(rb"/[!-$&'*-.0-;=?-Z\\^-z|~]{0,40}?#[0-9A-Fa-f]{2}[!-$&'*-.0-;=?-Z\\^-z|~#]{0,40}")
_ESCAPE = re.compile(rb"#([0-9A-Fa-f]{2})")
_MEANT = frozenset((b"Kids", b"Pages", b"Page", b"Type", b"ObjStm", b"First", b"N", b"Root", b"Encrypt", b"Catalog"))
# A dictionary whose strings hide nothing. Tokens from left to right, as every reader takes them.
_NODE = re.compile(rb"%b*+(?=<<)(?:<<|>>|<[0-9A-Fa-f\0\t\n\f\r ]*+>|\([^()\\<>]*+\)|[^<>()%%]++)*+" % _S)
_KIDS = re.compile(rb"/Kids%b*\[((?:%b*[0-9]{1,10}%b+[0-9]{1,5}%b+R)*%b*)\]" % (_S, _S, _S, _S, _S))
_KID = re.compile(rb"([0-9]{1,10})%b+[0-9]{1,5}%b+R" % (_S, _S))
_PACKED = re.compile(rb"/First%b*([0-9]{1,9})(?![0-9])" % _S)
_STREAM = re.compile(rb"(?<![a-zA-Z])stream\r?\n")
_NUMBERS = re.compile(rb"[0-9]{1,10}")


class Budget:
    """What all documents of one request may unpack to, together, in bytes."""

    __slots__ = ("left_bytes",)

    def __init__(self, left_bytes: int = 16 << 20) -> None:
        self.left_bytes = left_bytes


def pages(data: bytes, budget: Budget) -> int | None:
    """Number of pages of a PDF; None where it is none or they cannot be counted."""
    if b"%PDF-" not in data[:1024] or b"/Encrypt" in data or _escapes(data):
        return None
    tree = _Tree(budget)
    if not tree.read(data):
        return None
    return tree.count()


def _escapes(data: bytes) -> bool:
    """Whether a name that matters is spelt with escapes."""
    return any(_ESCAPE.sub(_letter, name[0][1:]) in _MEANT for name in _ESCAPED.finditer(data))


def _letter(found: re.Match[bytes]) -> bytes:
    return bytes((int(found[1], 16),))


class _Tree:
    """What a file says of its pages."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._objects: dict[int, list[bytes]] = {}
        self._roots: set[int] = set()
        self._plain = 0  # objects that say that they are pages
        self._streams = self._named = 0
        self._counts: dict[int, int] = {}

    def read(self, data: bytes) -> bool:
        """Take all objects in; False where that cannot be done soundly."""
        starts: list[tuple[int, int, int]] = []  # number, where its head begins, where that ends
        at = -3
        while (at := data.find(b"obj", at + 3)) >= 0:
            if data[at - 1 : at].isalpha() or data[at + 3 : at + 4].isalpha():
                continue  # the end of one, or a word
            head = _HEADER.search(data[max(at - _HEADER_BYTES_MAX, 0) : at])
            if head is None or len(starts) >= _OBJECTS_MAX:
                return False
            starts.append((int(head[1]), at - len(head[0]), at + 3))
        for at, (number, _, start) in enumerate(starts):
            limit = starts[at + 1][1] if at + 1 < len(starts) else len(data)
            end = data.find(b"endobj", start, limit)
            text = data[start : min(end if end >= 0 else limit, start + _TEXT_BYTES_MAX)]
            stream = _STREAM.search(text)
            if stream is not None:
                text = text[: stream.start()]
                if not self._unpack(text, data[start + stream.end() : limit] if b"/First" in text else b""):
                    return False
            self._objects.setdefault(number, []).append(text)
        return self._look(data)

    def _unpack(self, head: bytes, packed: bytes) -> bool:
        """Take in the objects of an object stream, and of what could be taken for one."""
        first = _PACKED.search(head)
        if first is None:
            return True
        self._streams += 1
        if self._streams > _STREAMS_MAX or b"/DecodeParms" in head or self._budget.left_bytes <= 0:
            return False
        unpacker = zlib.decompressobj()
        try:
            text = unpacker.decompress(packed, _STREAM_BYTES_MAX)
        except zlib.error:
            return False
        self._budget.left_bytes -= len(text)
        if unpacker.unconsumed_tail or self._budget.left_bytes < 0 or _escapes(text):
            return False
        start = int(first[1])
        numbers = [int(each) for each in _NUMBERS.findall(text[:start])]
        places = sorted(zip(numbers[1::2], numbers[::2], strict=False))
        if len(numbers) % 2 or len(self._objects) + len(places) > _OBJECTS_MAX:
            return False
        ends = [place for place, _ in places[1:]] + [len(text)]
        for (place, number), end in zip(places, ends, strict=True):
            self._objects.setdefault(number, []).append(text[start + place : start + end])
        return self._look(text)

    def _look(self, text: bytes) -> bool:
        """Where trees begin, and what says that it is a page."""
        for found in _PAGES.finditer(text):
            if found[1] is not None:
                self._roots.add(int(found[1]))
            elif found[2] is None:
                return False
        for _ in _PAGE.finditer(text):
            self._plain += 1
            if self._plain > PAGES_MAX:
                return False
        return True

    def count(self) -> int | None:
        """Pages of the largest tree; without one, as many as a reader finds that looks for pages alone."""
        most = self._plain
        for root in self._roots:
            under = self._under(root, _DEPTH_MAX)
            if under is None or under > PAGES_MAX:
                return None
            most = max(most, under)
        return most or None

    def _under(self, number: int, depth: int) -> int | None:
        """Pages of one object of the tree; None where something is missing, or goes round."""
        if number in self._counts:
            return self._counts[number] or None
        self._counts[number] = 0  # found again below, it goes round
        most = 0
        for text in self._objects.get(number, ()):
            kids = _kids(text)
            if kids is None or not depth:
                return None
            self._named += len(kids)
            if self._named > _OBJECTS_MAX:
                return None
            pages = 0 if kids else 1
            for kid in kids:
                under = self._under(kid, depth - 1)
                if under is None:
                    return None
                pages += under
            most = max(most, pages)
        self._counts[number] = most
        return most or None


def _kids(text: bytes) -> list[int] | None:
    """Which objects a node of the tree names; [] for a page; None where that cannot be told."""
    if not _NODE.fullmatch(text) or text.count(b"<<") != text.count(b">>"):
        return None
    found = _KIDS.findall(text)
    if text.count(b"/Kids") != len(found) or len(found) > 1:
        return None
    kids = [int(kid) for kid in _KID.findall(found[0])] if found else []
    return None if found and not kids else kids
