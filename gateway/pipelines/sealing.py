"""Paused runs, sealed for the client who keeps them: encrypted and authenticated, for one key, for a while.

Promises: what a client brings back is what he was given, by an installation with this secret, for the same key; all
else opens as nothing, and the reasons are not told apart. Whether it was used before is not known here.
"""

from __future__ import annotations

import base64
import binascii
import os
import zlib
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

T = TypeVar("T")

PREFIX = "fcont1_"
_NONCE = 12
_KEPT_BYTES_MAX = 64 * 1024 * 1024  # of what was sealed, opened: far above what a run may keep


class Sealer:
    """Seals and opens with one secret of 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(secret)

    def seal(self, value: object, owner: str) -> str:
        """A value as text that only this owner can bring back."""
        nonce = os.urandom(_NONCE)
        packed = zlib.compress(msgspec.msgpack.encode(value), 6)
        return PREFIX + base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, packed, _bound_to(owner))).decode()

    def open(self, text: str, owner: str, kind: type[T]) -> T | None:
        """What was sealed for this owner; None for anything else."""
        if not text.startswith(PREFIX) or not text.isascii():
            return None
        try:
            sealed = base64.b64decode(text[len(PREFIX) :], altchars=b"-_", validate=True)
            packed = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound_to(owner))
            return msgspec.msgpack.decode(zlib.decompressobj().decompress(packed, _KEPT_BYTES_MAX), type=kind)
        except (binascii.Error, InvalidTag, ValueError, msgspec.DecodeError, zlib.error):
            return None


def _bound_to(owner: str) -> bytes:
    return b"farthing pipeline 1\0" + owner.encode()
