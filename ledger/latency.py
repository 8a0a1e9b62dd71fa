"""A histogram of latencies small enough to keep in every rollup row.

Eight buckets an octave: a percentile read from it is within 6.25 % of the true one. Histograms add up, which
percentiles do not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_PAIR = struct.Struct("<HI")
_BUCKET_MAX = 255
_COUNT_MAX = 0xFFFFFFFF


def bucket(latency_ms: int) -> int:
    """The bucket that counts this latency: exact below 16 ms, then eight an octave."""
    if latency_ms < 16:
        return max(latency_ms, 0)
    shift = latency_ms.bit_length() - 4
    return min(16 + (shift - 1) * 8 + (latency_ms >> shift) - 8, _BUCKET_MAX)


def _middle_ms(index: int) -> int:
    if index < 16:
        return index
    shift, step = divmod(index - 16, 8)
    low = (step + 8) << (shift + 1)
    return low + (1 << shift)


def pack(counts: dict[int, int]) -> bytes:
    """The histogram as bytes for a rollup row."""
    flat: list[int] = []
    for index, count in sorted(counts.items()):
        flat += index, count if count <= _COUNT_MAX else _COUNT_MAX
    return struct.pack("<" + "HI" * len(counts), *flat)


def unpack(packed: bytes) -> dict[int, int]:
    """The histogram from a rollup row."""
    return dict(_PAIR.iter_unpack(packed))


def merge(histograms: Iterable[bytes]) -> dict[int, int]:
    """The sum of several packed histograms."""
    total: dict[int, int] = {}
    for packed in histograms:
        for index, count in _PAIR.iter_unpack(packed):
            total[index] = total.get(index, 0) + count
    return total


def percentile_ms(counts: dict[int, int], percent: int) -> int | None:
    """The latency that `percent` of calls do not exceed; None of no calls."""
    total = sum(counts.values())
    rank = -(-total * percent // 100)
    for index in sorted(counts):
        rank -= counts[index]
        if rank <= 0:
            return _middle_ms(index)
    return None
