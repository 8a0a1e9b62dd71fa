"""The histogram of latencies is small, adds up, and is near the truth."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger import latency

DAY_MS = 86_400_000


def _histogram(values: list[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for value in values:
        counts[latency.bucket(value)] = counts.get(latency.bucket(value), 0) + 1
    return counts


@given(st.lists(st.integers(0, DAY_MS), min_size=1), st.integers(1, 100))
def test_a_percentile_is_within_a_sixteenth(values: list[int], percent: int) -> None:
    """A percentile from the histogram differs from the true one by 6.25 % at most, and not at all below 16 ms."""
    rank = -(-len(values) * percent // 100)
    true = sorted(values)[rank - 1]
    read = latency.percentile_ms(_histogram(values), percent)
    assert read is not None
    assert abs(read - true) <= (true / 16 if true >= 16 else 0)


def test_buckets_grow_with_latency() -> None:
    """A longer latency is never counted in a lower bucket, and each fits into the packed form."""
    values = sorted(
        {*range(5_000), *(7**power + power for power in range(20)), *range(10**6, 10**8, 77_777), 2**62, -5}
    )
    buckets = [latency.bucket(value) for value in values]
    assert buckets == sorted(buckets)
    assert latency.unpack(latency.pack(dict.fromkeys(buckets, 1))) == dict.fromkeys(buckets, 1)


@given(st.lists(st.lists(st.integers(0, DAY_MS)), max_size=5))
def test_histograms_add_up(parts: list[list[int]]) -> None:
    """The sum of packed histograms is the histogram of everything."""
    merged = latency.merge([latency.pack(_histogram(part)) for part in parts])
    assert merged == _histogram([value for part in parts for value in part])


def test_no_calls_have_no_percentile() -> None:
    """Of nothing there is no percentile."""
    assert latency.percentile_ms({}, 50) is None
