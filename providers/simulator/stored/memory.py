"""What the simulator remembers without keeping anything: an object's id carries what its later answers need.

Promises: an id that was given out is understood by every simulator, for ever; any other id is unknown. Nothing is
deleted, for there is nothing that could be; contents (a file's bytes, a conversation's items) are not in an id and come
back as something of the same kind and size. Knows no object.
"""

from __future__ import annotations

import hashlib
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def nonce(request_id: str) -> str:
    """What tells this request's object from another's with the same facts; it belongs among them."""
    return hashlib.sha256(request_id.encode()).hexdigest()[:10]


def keep(prefix: str, facts: msgspec.Struct) -> str:
    """An id in the provider's manner that carries these facts. Facts are a few short fields: ids have bounds."""
    body = msgspec.msgpack.encode(msgspec.structs.astuple(facts))
    return prefix + urlsafe_b64encode(zlib.crc32(prefix.encode() + body).to_bytes(4, "big") + body).decode().rstrip("=")


def recall(prefix: str, id_: str, kind: type[T]) -> T | None:
    """The facts that an id carries; None for an id that was never given out."""
    text = id_.removeprefix(prefix)
    if text == id_ or not text.isascii():
        return None
    try:
        packed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        body = packed[4:]
        if int.from_bytes(packed[:4], "big") != zlib.crc32(prefix.encode() + body):
            return None
        values = msgspec.msgpack.decode(body)
        return msgspec.convert(dict(zip(kind.__struct_fields__, values, strict=True)), kind)
    except (ValueError, TypeError, msgspec.MsgspecError):
        return None
