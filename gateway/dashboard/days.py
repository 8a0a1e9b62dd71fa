"""Spans of days, as a form says them: in UTC, or in the time zone that it names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo

import msgspec

from gateway.problems import CallError
from ledger.windows import DAY_MS, zone

DAYS_MAX = 1100  # three years: as many columns


class Days(msgspec.Struct, frozen=True):
    """From the beginning of one day to the end of another, in a time zone.

    Attributes:
        first_ms, last_ms: The days by the calendar, each as when it begins in UTC: that is how pages name days.
        from_ms, to_ms: When the first begins and the last ends in the time zone.
        timezone: Its name; "" is UTC.
    """

    first_ms: int
    last_ms: int
    from_ms: int
    to_ms: int
    timezone: str = ""

    @property
    def each(self) -> list[int]:
        """Every day, by the calendar."""
        return list(range(self.first_ms, self.last_ms + 1, DAY_MS))


def days_of(query: Mapping[str, str], now_ms: int) -> Days:
    """What `from` and `to` say; the month of `now_ms` where they say nothing. Raises CallError."""
    timezone = query.get("timezone", "").strip()
    tz = _zone(timezone)
    today_ms = _calendar_ms(datetime.fromtimestamp(now_ms // 1000, tz))
    first_ms = _day_ms(query.get("from"), "from", month_start_ms(today_ms))
    last_ms = _day_ms(query.get("to"), "to", max(today_ms, first_ms))
    if not 0 <= last_ms - first_ms < DAYS_MAX * DAY_MS:
        message = f"The last day must not be before the first, nor more than {DAYS_MAX} days after it."
        raise CallError(400, "invalid_request", message, param="to")
    from_ms, to_ms = (max(_begins_ms(each, tz), 0) for each in (first_ms, last_ms + DAY_MS))
    return Days(first_ms, last_ms, from_ms, to_ms, timezone)


def calendar_ms(day: str) -> int:
    """A day such as 2027-01-31, as pages name days."""
    return _calendar_ms(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC))


def _calendar_ms(moment: datetime) -> int:
    return int(moment.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC).timestamp()) * 1000


def _begins_ms(day_ms: int, tz: tzinfo) -> int:
    """When a day of the calendar begins in a time zone."""
    return int(datetime.fromtimestamp(day_ms // 1000, UTC).replace(tzinfo=tz).timestamp()) * 1000


def _zone(name: str) -> tzinfo:
    try:
        return zone(name) if name else UTC
    except (ValueError, LookupError, OSError):
        message = "timezone must be an IANA time zone, such as Europe/London."
        raise CallError(400, "invalid_request", message, param="timezone") from None


def month_start_ms(at_ms: int, back: int = 0) -> int:
    """When the month of a moment began, or one so many months before."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    months = moment.year * 12 + moment.month - 1 - back
    return int(datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000


def _day_ms(text: str | None, name: str, default_ms: int) -> int:
    if not text:
        return default_ms
    try:
        return max(int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1000, 0)
    except (ValueError, OverflowError):
        raise CallError(400, "invalid_request", f"{name} must be a day such as 2027-01-31.", param=name) from None
