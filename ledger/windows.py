"""When a limit's window starts and ends, computed from the clock: there is no reset job that could be missed.

Calendar windows are in UTC, or in an IANA time zone if the limit names one; weeks start on Monday. With an anchor,
days and weeks are counted from it and months begin on its day of the month (or the month's last day, if shorter)
at its time of day.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

Window = Literal["total", "minute", "hour", "day", "week", "month"]

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
_MONDAY_MS = 4 * DAY_MS  # 1970-01-05 was a Monday
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIXED_MS = {"minute": MINUTE_MS, "hour": HOUR_MS, "day": DAY_MS, "week": WEEK_MS}


def day_start_ms(now_ms: int) -> int:
    """Start of the UTC day."""
    return now_ms - now_ms % DAY_MS


def local_day_start_ms(now_ms: int, timezone: str) -> int:
    """When the day of a time zone began that a moment lies in. Raises what `zone` raises."""
    tz = zone(timezone)
    local = _moment(now_ms).astimezone(tz)
    return _to_ms(datetime(local.year, local.month, local.day, tzinfo=tz))


@lru_cache(maxsize=512)
def zone(name: str) -> tzinfo:
    """The named IANA time zone. Raises ZoneInfoNotFoundError or ValueError."""
    return ZoneInfo(name)


def _moment(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def _to_ms(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)


def _month_ms(year: int, month: int, tz: tzinfo, anchor: datetime | None) -> int:
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    if anchor is None:
        return _to_ms(datetime(year, month, 1, tzinfo=tz))
    day = min(anchor.day, calendar.monthrange(year, month)[1])
    return _to_ms(anchor.replace(year=year, month=month, day=day))


@lru_cache(maxsize=4096)
def _day_span(day_ms: int, window: Window, timezone: str | None, anchor_ms: int | None) -> tuple[int, int] | None:
    """The window around a UTC day, where the whole day lies in one: nearly every call is answered from here."""
    start, end = _span(day_ms, window, timezone, anchor_ms)
    return (start, end) if end >= day_ms + DAY_MS else None


def _span(now_ms: int, window: Window, timezone: str | None, anchor_ms: int | None) -> tuple[int, int]:
    tz = zone(timezone) if timezone else UTC
    now = _moment(now_ms).astimezone(tz)
    if window == "month":
        anchor = None if anchor_ms is None else _moment(anchor_ms).astimezone(tz)
        months = [_month_ms(now.year, now.month + step, tz, anchor) for step in (-1, 0, 1, 2)]
        start = max(ms for ms in months if ms <= now_ms)
        return start, min(ms for ms in months if ms > now_ms)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight - timedelta(days=now.weekday() if window == "week" else 0)
    return _to_ms(first), _to_ms(first + timedelta(days=7 if window == "week" else 1))


def _offset_ms(now_ms: int, timezone: str) -> int:
    offset = _moment(now_ms).astimezone(zone(timezone)).utcoffset()
    return 0 if offset is None else offset // timedelta(milliseconds=1)


def window_span_ms(
    now_ms: int, window: Window, timezone: str | None = None, anchor_ms: int | None = None
) -> tuple[int, int | None]:
    """Half-open `[start, end)` of the window that holds `now_ms`; a "total" window is `(0, None)`."""
    if window == "total":
        return 0, None
    fixed_ms = _FIXED_MS.get(window)
    if fixed_ms is not None and (window in ("minute", "hour") or not timezone or anchor_ms is not None):
        offset = anchor_ms if anchor_ms is not None else _MONDAY_MS if window == "week" else 0
        if window == "hour" and timezone and anchor_ms is None:  # some zones are half an hour off
            offset = -_offset_ms(now_ms, timezone)
        start = now_ms - (now_ms - offset) % fixed_ms
        return start, start + fixed_ms
    return _day_span(day_start_ms(now_ms), window, timezone, anchor_ms) or _span(now_ms, window, timezone, anchor_ms)
