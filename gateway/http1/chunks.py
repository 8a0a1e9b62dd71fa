"""Bodies in chunks (RFC 9112, §7.1), as they are written; httptools reads them, by the same grammar on both edges."""

from __future__ import annotations

LAST = b"0\r\n\r\n"
END = b"\r\n"


def chunk(body: bytes) -> bytes:
    """A piece of a body as a chunk; nothing of nothing, for an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(body), body) if body else b""


def size_line(length: int) -> bytes:
    """What stands before a chunk of so many bytes; after it stands `END`."""
    return b"%x\r\n" % length
