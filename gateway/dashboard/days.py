"""Spans of days in UTC, as a form says them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from gateway.problems import CallError
from ledger.windows import DAY_MS, day_start_ms

DAYS_MAX = 1100  # three years: as many columns


class Days(msgspec.Struct, frozen=True):
    """From the beginning of one day to the end of another."""

    from_ms: int
    to_ms: int

    @property
    def last_ms(self) -> int:
        """When the last day begins."""
        return self.to_ms - DAY_MS

    @property
    def each(self) -> list[int]:
        """When each day begins."""
        return list(range(self.from_ms, self.to_ms, DAY_MS))


def days_of(query: Mapping[str, str], now_ms: int) -> Days:
    """What `from` and `to` say; the month of `now_ms` where they say nothing. Raises CallError."""
    today_ms = day_start_ms(now_ms)
    from_ms = _day_ms(query.get("from"), "from", month_start_ms(now_ms))
    to_ms = _day_ms(query.get("to"), "to", max(today_ms, from_ms)) + DAY_MS
    if not 0 < to_ms - from_ms <= DAYS_MAX * DAY_MS:
        message = f"The last day must not be before the first, nor more than {DAYS_MAX} days after it."
        raise CallError(400, "invalid_request", message, param="to")
    return Days(from_ms, to_ms)


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
