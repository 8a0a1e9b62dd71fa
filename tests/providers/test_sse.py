"""How bytes become events, wherever they were cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.reading.sse import Event, Scanner

STREAM = st.lists(
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"data: x", b"data:y", b"data", b"event: e", b": ping", b"id: 1",
         b"\xef\xbb\xbf", "data: \u4e2d".encode(), b"data: {}"]
    ),
    max_size=30,
).map(b"".join) | st.binary(max_size=60)  # fmt: skip
CUTS = st.lists(st.integers(0, 200), max_size=12)


def scan(data: bytes, cuts: list[int], event_bytes_max: int = 1 << 24) -> list[Event]:
    """The events of data fed in pieces."""
    scanner = Scanner(event_bytes_max)
    at = 0
    events = []
    for cut in [*sorted(cuts), len(data)]:
        events += scanner.feed(data[at:cut])
        at = max(at, cut)
    rest = scanner.flush()
    return [*events, rest] if rest else events


@given(STREAM, CUTS)
def test_cutting_changes_nothing(data: bytes, cuts: list[int]) -> None:
    """The same bytes whole, in pieces and byte by byte give the same events, which joined are the bytes."""
    whole = scan(data, [])
    assert scan(data, cuts) == whole
    assert scan(data, list(range(len(data)))) == whole
    assert b"".join(event.raw for event in whole) == data


@given(STREAM, CUTS, st.integers(1, 20))
def test_oversize_events_pass_unread(data: bytes, cuts: list[int], limit: int) -> None:
    """An event above the limit is passed on whole, in marked fragments, and the others are as they would be."""
    events = scan(data, cuts, limit)
    assert b"".join(event.raw for event in events) == data
    small = [event for event in scan(data, []) if len(event.raw) <= limit]
    assert [event for event in events if not event.oversize] == small


def test_oversize_is_not_held() -> None:
    """Of an event without an end, no more than the limit is held back."""
    scanner = Scanner(1000)
    passed = 0
    for _ in range(100):
        passed += sum(len(event.raw) for event in scanner.feed(b"x" * 100))
    assert passed >= 10_000 - 1000


@pytest.mark.parametrize(
    ("raw", "data", "name"),
    [
        (b"data: a\n\n", b"a", b""),
        (b"data:a\n\n", b"a", b""),
        (b"data:  a\n\n", b" a", b""),
        (b"data\n\n", b"", b""),
        (b"data:\n\n", b"", b""),
        (b"data: a\r\n\r\n", b"a", b""),
        (b"data: a\r\r", b"a", b""),
        (b"data: a\ndata: b\n\n", b"a\nb", b""),
        (b"event: e\ndata: a\n\n", b"a", b"e"),
        (b"event:e\r\ndata:a\r\n\r\n", b"a", b"e"),
        (b"\xef\xbb\xbfdata: a\n\n", b"a", b""),
        (b": ping\n\n", b"", b""),
        (b": ping\ndata: a\n\n", b"a", b""),
        (b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n", b"{}", b"result"),
        (b"data: a", b"a", b""),
        (b"database: a\n\n", b"", b""),
        (b"\ndata: a\n\n", b"a", b""),
    ],
)
def test_fields(raw: bytes, data: bytes, name: bytes) -> None:
    """Data and name are read as the standard says: comments ignored, one space dropped, lines joined."""
    event = Event(raw)
    assert (event.data(), event.name()) == (data, name)


def test_split_characters() -> None:
    """A character that is cut between two pieces is whole in its event."""
    data = "data: 中文\n\n".encode()
    assert [event.data() for event in scan(data, [7, 8, 9])] == ["中文".encode()]


def test_long_lines_in_single_bytes_take_linear_time() -> None:
    """A line of a megabyte, one byte at a time, is not searched from its start each time."""
    data = b"data: " + b"x" * (1 << 20) + b"\n\n"
    assert len(scan(data, list(range(len(data))))) == 1
