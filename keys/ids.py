"""Ids that sort by the moment they were made: 48 bits of milliseconds and 80 random bits, in Crockford's base 32."""

from __future__ import annotations

import os
from hashlib import blake2b

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
BODY = 26
_RANDOM = 16  # characters, of five bits each
_FOLD = (_ALPHABET * 8).encode()  # a byte's character: of 256 bytes every character has eight


class _Maker:
    """Makes ids from what it keeps for the next one.

    The system's random bytes are fetched many at a time, for a system call for each id would cost more than the id, and
    become characters all at once; the characters of a millisecond serve every id that is made in it.
    """

    def __init__(self) -> None:
        self._random, self._used = "", 0
        self._ms, self._time = -1, ""

    def forget(self) -> None:
        """Draw nothing twice: a forked process starts afresh."""
        self._random, self._used = "", 0

    def make(self, now_ms: int) -> str:
        """The next body."""
        if now_ms != self._ms:
            self._ms, self._time = now_ms, _written(now_ms & 0xFFFFFFFFFFFF, BODY - _RANDOM)
        start = self._used
        if start >= len(self._random):
            self._random, start = os.urandom(512 * _RANDOM).translate(_FOLD).decode("ascii"), 0
        self._used = end = start + _RANDOM
        return self._time + self._random[start:end]


def _written(number: int, characters: int) -> str:
    """A number in so many characters, an even number of them; the largest digit first."""
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(5 * characters - 10, -1, -10)])


_maker = _Maker()
os.register_at_fork(after_in_child=_maker.forget)


def new_body(now_ms: int) -> str:
    """The sortable body of an id: 26 characters, unique without asking anybody. For one thread."""
    return _maker.make(now_ms)


def new_id(prefix: str, now_ms: int) -> str:
    """A whole id, such as `key_01j…`."""
    return f"{prefix}_{new_body(now_ms)}"


def derived_id(purpose: str, account_id: int, key: str) -> str:
    """The body of an id that the same key of the same account always gets: so what it names is made once."""
    person = f"farthing-{purpose}".encode()[:16]
    number = int.from_bytes(blake2b(f"{account_id}:{key}".encode(), digest_size=16, person=person).digest())
    return _written(number, BODY)
