"""Windows are computed from the clock, and agree with a calendar that is read minute by minute."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.windows import Window, day_start_ms, window_span_ms

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3_600_000
DAY = 24 * HOUR
moments = st.integers(0, 4_102_444_800_000)  # up to the year 2100
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",  # its clocks go back over midnight: a day's first hour comes twice
    "Atlantic/Azores",
    "Africa/Cairo",  # its clocks go forward at midnight: a day without a midnight
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Sao_Paulo",
)


def ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0, tz: ZoneInfo | None = None) -> int:
    return round(datetime(year, month, day, hour, minute, tzinfo=tz or UTC).timestamp() * 1000)


def local(moment_ms: int, zone: str) -> datetime:
    return (EPOCH + timedelta(milliseconds=moment_ms)).astimezone(ZoneInfo(zone))


@given(moments)
def test_fixed_windows_are_utc(now_ms: int) -> None:
    """Minutes, hours and days start where UTC's do; weeks start on Monday; a total never ends."""
    now = EPOCH + timedelta(milliseconds=now_ms)
    minute = now.replace(second=0, microsecond=0)
    day = minute.replace(hour=0, minute=0)
    for window, start, length in (
        ("minute", minute, timedelta(minutes=1)),
        ("hour", minute.replace(minute=0), timedelta(hours=1)),
        ("day", day, timedelta(days=1)),
        ("week", day - timedelta(days=day.weekday()), timedelta(days=7)),
    ):
        start_ms = (start - EPOCH) // timedelta(milliseconds=1)
        assert window_span_ms(now_ms, window) == (start_ms, start_ms + length // timedelta(milliseconds=1))  # type: ignore[arg-type]
    assert window_span_ms(now_ms, "total") == (0, None)
    assert day_start_ms(now_ms) == (day - EPOCH) // timedelta(milliseconds=1)


@given(moments)
def test_months_are_the_calendars(now_ms: int) -> None:
    """A month is the whole calendar month, leap years included."""
    now = EPOCH + timedelta(milliseconds=now_ms)
    length = calendar.monthrange(now.year, now.month)[1]
    start_ms = ms(now.year, now.month, 1)
    assert window_span_ms(now_ms, "month") == (start_ms, start_ms + length * DAY)


@pytest.mark.parametrize(("year", "days"), [(2024, 29), (2025, 28), (2000, 29), (2100, 28)])
def test_february_knows_leap_years(year: int, days: int) -> None:
    """February has 29 days in leap years and only there; its edges are exact to the millisecond."""
    start, end = ms(year, 2, 1), ms(year, 3, 1)
    assert end - start == days * DAY
    assert window_span_ms(start, "month") == (start, end)
    assert window_span_ms(end - 1, "month") == (start, end)
    assert window_span_ms(end, "month") == (end, ms(year, 4, 1))
    assert window_span_ms(start - 1, "month") == (ms(year, 1, 1), start)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("window", ["day", "week", "month"])
def test_zones_have_their_own_calendar(zone: str, window: Window) -> None:
    """Half-hour by half-hour through two years: windows of a zone tile time and change when its date does."""
    previous: tuple[int, int] | None = None
    previous_name: object = None
    step = HOUR // 2
    for now_ms in range(ms(2011, 10, 1), ms(2013, 4, 1), step if window == "day" else 7 * step):
        start, end = window_span_ms(now_ms, window, zone)
        assert end is not None
        assert start <= now_ms < end
        date = local(now_ms, zone).date()
        name = {
            "day": date,
            "week": date - timedelta(days=date.weekday()),
            "month": (date.year, date.month),
        }[window]
        if previous is not None and name == previous_name:
            assert (start, end) == previous, f"{name} is counted in two windows"
        elif previous is not None:
            assert start >= previous[1]
        previous, previous_name = (start, end), name


def test_a_day_of_changing_clocks_has_its_own_length() -> None:
    """In Berlin the day on which clocks go forward has 23 hours, the day on which they go back 25."""
    berlin = ZoneInfo("Europe/Berlin")
    for day, hours in (((2025, 3, 30), 23), ((2025, 10, 26), 25)):
        start = ms(*day, tz=berlin)
        for offset in (0, 1, HOUR, 3 * HOUR, hours * HOUR - 1):
            assert window_span_ms(start + offset, "day", "Europe/Berlin") == (start, start + hours * HOUR)


def test_an_hour_that_comes_twice_belongs_to_one_day() -> None:
    """In Havana the clocks go back over midnight, and the day still begins once."""
    first_midnight = ms(2025, 11, 2, 4)  # 00:00 in summer time
    span = window_span_ms(first_midnight + 12 * HOUR, "day", "America/Havana")
    assert span == (first_midnight, first_midnight + 25 * HOUR)
    for minutes in range(0, 180, 10):
        assert window_span_ms(first_midnight + minutes * 60_000, "day", "America/Havana") == span


@given(moments, moments)
def test_anchored_days_and_weeks_are_counted_from_the_anchor(now_ms: int, anchor_ms: int) -> None:
    """With an anchor, a window begins a whole number of its lengths from it."""
    for window, length in (("day", DAY), ("week", 7 * DAY)):
        start, end = window_span_ms(now_ms, window, anchor_ms=anchor_ms)  # type: ignore[arg-type]
        assert end == start + length
        assert start <= now_ms < end
        assert (start - anchor_ms) % length == 0


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        ((2025, 1, 31, 9, 30), (2025, 1, 31, 9, 30), (2025, 2, 28, 9, 30)),
        ((2025, 2, 28, 9, 29), (2025, 1, 31, 9, 30), (2025, 2, 28, 9, 30)),
        ((2025, 2, 28, 9, 30), (2025, 2, 28, 9, 30), (2025, 3, 31, 9, 30)),
        ((2024, 2, 29, 12, 0), (2024, 2, 29, 9, 30), (2024, 3, 31, 9, 30)),
        ((2025, 4, 30, 9, 30), (2025, 4, 30, 9, 30), (2025, 5, 31, 9, 30)),
        ((2026, 1, 1, 0, 0), (2025, 12, 31, 9, 30), (2026, 1, 31, 9, 30)),
    ],
)
def test_anchored_months_begin_on_the_anchors_day(
    now: tuple[int, int, int, int, int], start: tuple[int, int, int, int, int], end: tuple[int, int, int, int, int]
) -> None:
    """A month anchored on the 31st at 9:30 begins on the last day of shorter months, at 9:30."""
    anchor = ms(2024, 12, 31, 9, 30)
    assert window_span_ms(ms(*now), "month", anchor_ms=anchor) == (ms(*start), ms(*end))


@settings(max_examples=200)
@given(moments, moments, st.sampled_from((None, *ZONES)))
def test_anchored_months_tile_time(now_ms: int, anchor_ms: int, zone: str | None) -> None:
    """Every moment lies in one window, the next begins where it ends, and it lasts about a month."""
    start, end = window_span_ms(now_ms, "month", zone, anchor_ms)
    assert end is not None
    assert start <= now_ms < end
    assert window_span_ms(start, "month", zone, anchor_ms) == (start, end)
    assert window_span_ms(end - 1, "month", zone, anchor_ms) == (start, end)
    assert window_span_ms(end, "month", zone, anchor_ms)[0] == end
    assert 27 * DAY < end - start < 33 * DAY
