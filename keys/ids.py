"""Ids that sort by the moment they were made: 48 bits of milliseconds and 80 random bits, in Crockford's base 32."""

from __future__ import annotations

import os

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
BODY = 26
_RANDOM_BYTES = 10


class _Randomness:
    """The system's random bytes, fetched many at a time: a system call for each id would cost more than the id."""

    def __init__(self) -> None:
        self._bytes = b""
        self._used = 0

    def forget(self) -> None:
        """Draw nothing twice: a forked process starts afresh."""
        self._bytes, self._used = b"", 0

    def draw(self) -> int:
        """80 random bits."""
        if self._used >= len(self._bytes):
            self._bytes, self._used = os.urandom(512 * _RANDOM_BYTES), 0
        self._used += _RANDOM_BYTES
        return int.from_bytes(self._bytes[self._used - _RANDOM_BYTES : self._used])


_randomness = _Randomness()
os.register_at_fork(after_in_child=_randomness.forget)


def new_body(now_ms: int) -> str:
    """The sortable body of an id: 26 characters, unique without asking anybody. For one thread."""
    number = ((now_ms & 0xFFFFFFFFFFFF) << 80) | _randomness.draw()
    pairs = _PAIRS
    return "".join([pairs[(number >> shift) & 1023] for shift in range(120, -1, -10)])


def new_id(prefix: str, now_ms: int) -> str:
    """A whole id, such as `key_01j…`."""
    return f"{prefix}_{new_body(now_ms)}"
