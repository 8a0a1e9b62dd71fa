"""The format of a secret: `fk_live_<locator><random><checksum>`, one word of letters, digits and underscores.

The locator (12 characters) says where the verifier is stored. The random part (43 characters) carries 256 bits. The
checksum (8 characters) is a MAC of all that stands before it, under a key kept in the database: garbage and forgeries
are turned away for the price of one BLAKE2b, before anything is looked up or hashed. Knows nothing of storage.
"""

from __future__ import annotations

import hmac
import secrets
import string
from hashlib import blake2b

import msgspec

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
LIVE, TEST = "fk_live_", "fk_test_"
_LOCATOR, _RANDOM, _CHECKSUM = 12, 43, 8
LENGTH = len(LIVE) + _LOCATOR + _RANDOM + _CHECKSUM
SECRET_BITS = 256
_CHARACTERS = frozenset(ALPHABET)


class Token(msgspec.Struct, frozen=True):
    """A well-formed secret with a true checksum. It may still be unknown, expired or revoked."""

    secret: str
    locator: str
    livemode: bool


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def _checksum(text: str, mac_key: bytes) -> str:
    return _base62(int.from_bytes(blake2b(text.encode(), key=mac_key, digest_size=8).digest()), _CHECKSUM)


def new_locator() -> str:
    """A locator that nobody has."""
    return "".join(secrets.choice(ALPHABET) for _ in range(_LOCATOR))


def make(livemode: bool, locator: str, entropy: bytes, mac_key: bytes) -> Token:
    """The secret that 32 bytes of entropy make: the same bytes make the same secret."""
    if len(entropy) * 8 != SECRET_BITS:
        raise ValueError("a secret is made of 256 bits")
    text = (LIVE if livemode else TEST) + locator + _base62(int.from_bytes(entropy), _RANDOM)
    return Token(text + _checksum(text, mac_key), locator, livemode)


def parse(secret: str, mac_key: bytes) -> Token | None:
    """The token, or None if this is not one of our secrets."""
    if len(secret) != LENGTH or not secret.startswith((LIVE, TEST)) or not _CHARACTERS.issuperset(secret[len(LIVE) :]):
        return None
    text, checksum = secret[:-_CHECKSUM], secret[-_CHECKSUM:]
    if not hmac.compare_digest(checksum, _checksum(text, mac_key)):
        return None
    return Token(secret, text[len(LIVE) : len(LIVE) + _LOCATOR], secret.startswith(LIVE))
