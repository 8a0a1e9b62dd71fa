"""What an image, a sound or a document in a request may be billed as, told from the first bytes of its data.

Promises: integers, never an exception whatever the bytes; what cannot be read takes the dialect's dearest reading, or
`None` where there is none. Knows nothing of JSON. Decodes no picture and no sound. Assumption, published: a provider
reads the same size from a header as stands in it. Source: providers.md §5.2.
"""

from __future__ import annotations

import binascii

import msgspec

from providers.bounding.pdf import Budget
from providers.bounding.pdf import pages as pdf_pages
from providers.bounding.sound import FILE_HEAD_BYTES, pcm_in_wav

# A JPEG's size may stand behind camera data and colour profiles; beyond this the dearest reading is taken.
_HEADER_BYTES_MAX = 256 * 1024
_SIDE_MAX = 65_535


Base64 = bytes | memoryview


class Bound(msgspec.Struct, frozen=True):
    """Tokens that one media part may count: best guess, likely most, and most."""

    typical: int
    upper: int
    most: int

    def and_more(self, other: Bound) -> Bound:
        """Both together."""
        return Bound(self.typical + other.typical, self.upper + other.upper, self.most + other.most)


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, from the header of a PNG, JPEG, GIF or WebP; None where it cannot be read."""
    size: tuple[int, int] | None = None
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and len(data) >= 24:
        size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    elif data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 13:
        size = _gif_size(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        size = _webp_size(data)
    elif data[:2] == b"\xff\xd8":
        size = _jpeg_size(data)
    if size is None or not (0 < size[0] <= _SIDE_MAX and 0 < size[1] <= _SIDE_MAX):
        return None
    return size


def _gif_size(data: bytes) -> tuple[int, int] | None:
    """The screen, or its first picture where that is larger: readers enlarge the one to the other."""
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while data[at : at + 1] == b"!":  # an extension: a label, and blocks up to an empty one
        at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    if data[at : at + 1] != b"," or len(data) < at + 9:
        return None
    left, top, wide, high = (int.from_bytes(data[at + n : at + n + 2], "little") for n in (1, 3, 5, 7))
    return max(width, left + wide), max(height, top + high)


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walks the segments to the first start-of-frame. Each step moves on, so the walk ends."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # stands alone
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


_PIXEL_BYTES_MAX = 8  # four channels of 16 bits, not compressed
_BESIDE_BYTES_MAX = 512 * 1024  # of camera data and colour profiles


def _encoded_size(base64: Base64) -> tuple[int, int] | None:
    """Width and height of an image in base64; None where they cannot be read, or the file is too long for them."""
    size = image_size(decode_base64(base64, 64)) or image_size(decode_base64(base64, _HEADER_BYTES_MAX))
    if size is not None and len(base64) * 3 // 4 > size[0] * size[1] * _PIXEL_BYTES_MAX + _BESIDE_BYTES_MAX:
        return None
    return size


_STEP_BYTES = 1 << 20
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def decode_base64(text: Base64, bytes_max: int | None = None) -> bytes:
    """The first `bytes_max` bytes of base64 data, as far as it can be read; empty where it cannot."""
    size = len(text) if bytes_max is None else min(bytes_max // 3 * 4, len(text))
    decoded = bytearray()
    rest = b""
    try:
        for start in range(0, size, _STEP_BYTES):
            piece = bytes(text[start : min(start + _STEP_BYTES, size)]).translate(_URL_SAFE, b"\r\n\t ")
            piece = rest + piece if rest else piece
            whole = len(piece) // 4 * 4
            decoded += binascii.a2b_base64(piece[:whole])
            rest = piece[whole:]
        return bytes(decoded + binascii.a2b_base64(rest + b"=" * (-len(rest) % 4)))
    except binascii.Error:
        return b""


def openai_image(base64: Base64, *, low: bool = False) -> Bound:
    """An image in an OpenAI request, from its base64 data; `low` where the part says `detail: low`.

    Three ways of counting are in use, by model: patches of 32 x 32 pixels x 1.2 (GPT-6, measured); patches scaled down
    to 1,536 and multiplied by at most 2.46 (the small ones); 85 + 170 for each tile of 512 pixels after fitting the
    image into 2048 and its short side into 768, so at most 8 tiles. The most is the dearest of the three. gpt-4o-mini
    alone counts tiles 33 times (and prices them so much less): `tile_factor` in bounds knows it.
    """
    if low:
        return Bound(85, 103, 309)
    size = _encoded_size(base64)
    if size is None:
        return Bound(1_229, 14_400, 14_400)
    width, height = size
    patches = -(-width // 32) * -(-height // 32)
    measured = -(-patches * 12 // 10)
    return Bound(measured, max(measured, 103), max(measured, -(-min(patches, 1_536) * 246 // 100), 85 + 170 * 8))


def claude_image(base64: Base64) -> Bound:
    """An image in an Anthropic request: a token for 750 square pixels, at most 1,661 (4.5 class) or 4,005 (later)."""
    size = _encoded_size(base64)
    if size is None:
        return Bound(1_661, 4_005, 4_005)
    # Sides are rounded up to whole patches of 28 pixels.
    area = (-(-size[0] // 28) * 28) * (-(-size[1] // 28) * 28)
    tokens = min(-(-area // 750) + 8, 4_005)
    return Bound(min(tokens, 1_661), tokens, tokens)


def pdf(data: bytes, budget: Budget, *, page_image_most: int) -> Bound | None:
    """A PDF: on each page its text, 1,500 to 3,000 tokens, and a picture of it. None where pages cannot be counted."""
    pages = pdf_pages(data, budget)
    if pages is None:
        return None
    return Bound(pages * 2_500, pages * (3_000 + min(page_image_most, 1_661)), pages * (3_000 + page_image_most))


def openai_audio(data: bytes) -> Bound:
    """Sound in an OpenAI chat request, at 10 tokens a second, doubled for the likely most and 2.5 times for the most.

    Seconds are exact for PCM in WAV. Otherwise bytes tell them: MP3 at 64 kbit/s is typical, 32 the likely least, and
    8 kbit/s the least there is.
    """
    rate = _wav_byte_rate(data)
    size = len(data)
    if rate is not None:
        return Bound(*(-(-size * tokens // (rate * 10)) for tokens in (100, 200, 250)))
    return Bound(-(-size * 10 // 8_000), -(-size * 20 // 4_000), -(-size * 25 // 1_000))


_GEMINI_TILE_TOKENS = 258
_GEMINI_PAGE_TEXT_TOKENS = 3_000


def gemini_image(base64: Base64) -> Bound | None:
    """An image in a Gemini request; None where its size cannot be read.

    Gemini 3 takes some 1,120 tokens for an image of any size, 2,240 at ultra high resolution [K]. Gemini 2 takes 258
    for one of up to 384 pixels a side, and for a larger one 258 for each tile, a tile being two thirds of the shorter
    side, but 256 to 768 pixels. The most is the dearest of these.
    """
    size = _encoded_size(base64)
    if size is None:
        return None
    width, height = size
    tiles = 1
    if max(size) > 384:
        side = min(max(min(size) * 2 // 3, 256), 768)
        tiles = -(-width // side) * -(-height // side)
    tiled = tiles * _GEMINI_TILE_TOKENS
    return Bound(min(tiled, 1_120), max(tiled, 1_120), max(tiled, 2_240))


def gemini_pdf(data: bytes, budget: Budget) -> Bound | None:
    """A PDF in a Gemini request: 258 to 1,120 tokens a page, and its text. None where pages cannot be counted."""
    pages = pdf_pages(data, budget)
    if pages is None:
        return None
    return Bound(pages * 560, pages * 2_240, pages * (_GEMINI_PAGE_TEXT_TOKENS + 2_240))


def gemini_audio(data: bytes) -> Bound:
    """Sound in a Gemini request, at 32 tokens a second (25 on newer models), a quarter more for the most.

    Seconds as in `openai_audio`.
    """
    rate = _wav_byte_rate(data)
    size = len(data)
    if rate is not None:
        return Bound(*(-(-size * tokens // rate) for tokens in (32, 32, 40)))
    return Bound(-(-size * 32 // 8_000), -(-size * 32 // 4_000), -(-size * 40 // 1_000))


def duration_ms(data: bytes) -> Bound:
    """Milliseconds of sound, with the same assumptions about its bytes; where it is PCM in WAV, to the millisecond."""
    rate = _wav_byte_rate(data)
    size = len(data)
    if rate is not None:
        exact = -(-size * 1000 // rate)
        return Bound(exact, exact, exact)
    return Bound(-(-size // 8), -(-size // 4), size)


def _wav_byte_rate(data: bytes) -> int | None:
    """Bytes a second of PCM in a WAV file, where it can be read in one way only."""
    found = pcm_in_wav(data[:FILE_HEAD_BYTES], len(data))
    return None if found is None else found[0]
