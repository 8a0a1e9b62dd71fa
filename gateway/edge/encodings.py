"""Bodies that clients have compressed: decoded before anything reads them, within bounds.

Promises: nobody is made to unpack more than he could have sent plainly, and a body that grows beyond any text's measure
(`RATIO_MAX`) is refused before it has grown; memory is the result's. What is forwarded is the decoded body.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator

import zstandard

from gateway.bounds import DECODED_RATIO_FREE_BYTES, DECODED_RATIO_MAX, DECODED_WINDOW_BYTES_MAX
from gateway.problems import CallError

_PIECE_BYTES = 64 * 1024  # read at a time
_AT_ONCE_BYTES = 16 * 1024  # a larger body is decoded in a thread, so that nobody waits for it
_MEMBERS_MAX = 64  # of a body; each costs time, whatever is in it
_BLOCKS_MAX = 100_000  # they have up to 128 kB each
_RLE = 1
_GZIP = 16 + zlib.MAX_WBITS
_BROKEN = "The body is not what its Content-Encoding says."


def encoding_of(said: str) -> str:
    """The encoding that is to be undone, "" for none. Raises CallError, 415, for one that cannot be."""
    said = said.strip().lower()
    if said in ("", "identity"):
        return ""
    if said not in _DECODERS:
        known = ", ".join(sorted(_DECODERS))
        raise CallError(415, "encoding_not_supported", f"Send the body plain, or in one of {known}.")
    return said


async def decoded(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The plain body.

    Raises:
        CallError: 413 where it has more than `bytes_max` bytes, 400 where it is broken, or grows as no text does.
    """
    if len(body) <= _AT_ONCE_BYTES:
        return _decoded(body, encoding, bytes_max)
    return await asyncio.to_thread(_decoded, body, encoding, bytes_max)


def _decoded(body: bytes, encoding: str, bytes_max: int) -> bytes:
    most = min(bytes_max, max(DECODED_RATIO_FREE_BYTES, DECODED_RATIO_MAX * len(body)))
    plain = bytearray()
    try:
        for piece in _DECODERS[encoding](body):
            plain += piece
            if len(plain) > bytes_max:
                raise CallError(413, "request_too_large", f"The body has more than {bytes_max} bytes when decoded.")
            if len(plain) > most:
                raise CallError(400, "invalid_request", "The body grows more than a text does when it is decoded.")
    except (zlib.error, zstandard.ZstdError, EOFError):
        raise CallError(400, "invalid_request", _BROKEN) from None
    return bytes(plain)


def _zlib(body: bytes, window: int) -> Iterator[bytes]:
    stream = zlib.decompressobj(window)
    members = 1
    for at in range(0, len(body), _PIECE_BYTES):
        rest = body[at : at + _PIECE_BYTES]
        while rest:
            if stream.eof:  # what gzip writes may have several members
                members += 1
                if window != _GZIP or members > _MEMBERS_MAX:
                    raise EOFError
                stream = zlib.decompressobj(window)
            yield stream.decompress(rest, _PIECE_BYTES)
            rest = stream.unconsumed_tail or stream.unused_data
    while not stream.eof:
        if not (piece := stream.decompress(b"", _PIECE_BYTES)):
            raise EOFError
        yield piece


def _gzip(body: bytes) -> Iterator[bytes]:
    return _zlib(body, _GZIP)


def _deflate(body: bytes) -> Iterator[bytes]:
    """What RFC 9110 calls deflate is zlib's format, and some clients leave its head out."""
    headed = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
    return _zlib(body, zlib.MAX_WBITS if headed else -zlib.MAX_WBITS)


def _zstd(body: bytes) -> Iterator[bytes]:
    _check_frames(body)  # the library takes the end of the bytes for the end of the frame
    reader = zstandard.ZstdDecompressor(max_window_size=DECODED_WINDOW_BYTES_MAX).stream_reader(
        body, read_across_frames=True
    )
    while piece := reader.read(_PIECE_BYTES):
        yield piece


def _check_frames(body: bytes) -> None:
    """Walk over the blocks (RFC 8878, section 3.1). Raises EOFError where they do not end with the body."""
    at = frames = blocks = 0
    while at < len(body):
        head = body[at : at + 18]  # no head is longer
        at += zstandard.frame_header_size(head)
        checksum = zstandard.get_frame_parameters(head).has_checksum
        frames += 1
        last = False
        while not last:
            blocks += 1
            block = int.from_bytes(body[at : at + 3], "little")
            last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
            at += 3 + (1 if kind == _RLE else size)
            if at > len(body) or blocks > _BLOCKS_MAX or frames > _MEMBERS_MAX:
                raise EOFError
        at += 4 if checksum else 0
    if at != len(body):
        raise EOFError


_DECODERS = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "zstd": _zstd}
