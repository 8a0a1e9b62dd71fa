"""The simulator's own tokenizer and its own way to count media: what the "provider" charges for.

Promises: integer, deterministic, pieces join to the text, at most one token per character. Independent on purpose of
every meter and bound of Farthing, which it is there to check; no real vocabulary is imitated. A text may have marks
that stand for the rest of a long one (`condensed`): what they stand for is counted with it.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

# A word of up to 8 letters with the space before it, up to 3 digits, up to 3 marks, or up to 8 white spaces.
_PIECE: Final = re.compile(r" ?[^\W\d_]{1,8}| ?\d{1,3}| ?(?:[^\w\s]|_){1,3}|\s{1,8}")
_LONGEST: Final = 9  # characters of a token
MARK: Final = "\ufdd0"  # a noncharacter: for use inside, and in nobody's text
MARKED: Final = re.compile(f"{MARK}([0-9]+):([0-9]+):([0-9]+):([0-9a-f]{{32}}){MARK}")
PAGE_BYTES: Final = 32  # in which a page's object says what it is
_PAGE: Final = re.compile(rb"/Type\s{0,20}/Page[^s]")
_HEAD_CHARS: Final = 65_536  # base64 characters of an image that are looked at for its size
_UNKNOWN_SIZE: Final = (1024, 1024)  # remote images and formats that are not read here


def pieces(text: str) -> list[str]:
    """The text's tokens, in order."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    """How many tokens the text has."""
    if MARK not in text:
        return sum(1 for _ in _PIECE.finditer(text))
    marked = sum(int(found[2]) for found in MARKED.finditer(text))
    return marked + sum(1 for _ in _PIECE.finditer(MARKED.sub("", text)))


def length(text: str) -> int:
    """How many characters the text has."""
    if MARK not in text:
        return len(text)
    return len(MARKED.sub("", text)) + sum(int(found[1]) for found in MARKED.finditer(text))


def settled(text: str) -> tuple[int, int]:
    """How many tokens at the beginning of a text are the same whatever follows it, and where they end."""
    found = _PIECE.findall(text)
    at = len(text)
    while found and at > len(text) - _LONGEST:
        at -= len(found.pop())
    return len(found), at


def mark(characters: int, count_: int, pages_: int, name: str) -> str:
    """What stands for the rest of a text: its length, its tokens and pages beyond the beginning's, and its name."""
    return f"{MARK}{characters}:{count_}:{pages_}:{name}{MARK}"


def openai_image(url: str, detail: str) -> int:
    """Tokens of an image part: patches of 32 pixels and a fifth more; "low" is flat (providers.md §5.2)."""
    if detail == "low":
        return 85
    width, height = _size_of_url(url)
    return min(10_000, (-(-width // 32) * -(-height // 32) * 6 + 4) // 5)


def anthropic_image(data: str | None) -> int:
    """Tokens of an image block: a token per 750 pixels, at most 4,005 (providers.md §5.2)."""
    width, height = _size(data) if data else _UNKNOWN_SIZE
    return min(4_005, -(-width * height // 750))


def gemini_image(data: str, *, tiled: bool) -> int:
    """Tokens of a Gemini image: 1,120 of any size, or 258 a tile of 768 pixels (providers.md §5.2)."""
    if not tiled:
        return 1_120
    width, height = _size(data) if data else _UNKNOWN_SIZE
    return 258 if max(width, height) <= 384 else 258 * -(-width // 768) * -(-height // 768)


def document(data: str | None) -> int:
    """Tokens of a PDF: 2,000 a page; the pages are counted by their objects."""
    return 2_000 * document_pages(data or "")


def document_pages(data: str) -> int:
    """How many pages a PDF in base64 has, by their objects; at least one."""
    rest = sum(int(found[3]) for found in MARKED.finditer(data))
    return max(1, pages(decoded(MARKED.sub("", data))) + rest)


def pages(body: bytes) -> int:
    """How many objects of a PDF are pages."""
    return len(_PAGE.findall(body))


def audio(data: str) -> int:
    """Tokens of spoken input: 10 a second of 16-bit, 24 kHz sound."""
    return max(1, length(data) * 3 // 4 // 4_800)


def _size_of_url(url: str) -> tuple[int, int]:
    head, comma, data = url.partition(",")
    return _size(data) if comma and head.startswith("data:") else _UNKNOWN_SIZE


def decoded(data: str) -> bytes:
    """The bytes of a text in base64; none of what is not."""
    try:
        return base64.b64decode(data[: len(data) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def _size(data: str) -> tuple[int, int]:
    """Width and height in pixels from the first bytes of a PNG, GIF or JPEG."""
    head = decoded(data[:_HEAD_CHARS])
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    if head.startswith(b"\xff\xd8"):
        at = 2
        while at + 9 < len(head) and head[at] == 0xFF:
            if head[at + 1] in (0xC0, 0xC1, 0xC2):  # the frame headers in use
                return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
            at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return _UNKNOWN_SIZE
