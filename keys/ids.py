"""Ids that sort by the moment they were made: 48 bits of milliseconds and 80 random bits, in Crockford's base 32."""

from __future__ import annotations

import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
BODY = 26


def new_body(now_ms: int) -> str:
    """The sortable body of an id: 26 characters, unique without asking anybody."""
    number = ((now_ms & 0xFFFFFFFFFFFF) << 80) | secrets.randbits(80)
    pairs = _PAIRS
    return "".join([pairs[(number >> shift) & 1023] for shift in range(120, -1, -10)])


def new_id(prefix: str, now_ms: int) -> str:
    """A whole id, such as `key_01j…`."""
    return f"{prefix}_{new_body(now_ms)}"
