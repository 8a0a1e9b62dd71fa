"""Vectors that stand for what was embedded.

Promises: of unit length; equal things have equal ones; nothing but zeros beyond the first few dimensions: of two
thousand vectors of three thousand dimensions each, other numbers would take seconds, and 134 MB to write. No meaning is
in them.
"""

from __future__ import annotations

import hashlib
from typing import Final

_DENSE: Final = 64


def vector(key: bytes, dimensions: int) -> list[float]:
    """The key's vector, of at least one dimension."""
    raw = hashlib.shake_256(key).digest(min(dimensions, _DENSE))
    length = sum((byte * 2 - 255) ** 2 for byte in raw) ** 0.5  # never zero: every term is odd
    return [(byte * 2 - 255) / length for byte in raw] + [0.0] * (dimensions - _DENSE)
