"""The sums of the first page. What was before today is summed once, and kept for as long as nothing is settled of it.

A grown installation has a million rows of days, and every look would walk them all. Promises: what is shown is what
the ledger says now: of today it is asked each time, and of the days before whether anything has come to them since.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from gateway.dashboard.days import month_start_ms
from ledger.glance import Glance
from ledger.reports import Reports
from ledger.windows import DAY_MS, day_start_ms

DAYS = 30  # of the chart
KEPT_MAX = 8  # owners whose sums are kept
ACCOUNTS_MAX = 200_000  # sums of more keys and people are not kept


class _Kept(msgspec.Struct):
    sums: Glance
    today_ms: int
    last: int  # the last event that is in them


class Glances:
    """One for the process."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._kept: OrderedDict[tuple[int, bool], _Kept] = OrderedDict()

    async def of(self, owner_id: int, *, livemode: bool, now_ms: int) -> Glance:
        """Sums of the chart's days, and at least of this month and the one before. Raises LedgerUnavailable."""
        today_ms, month_ms = day_start_ms(now_ms), month_start_ms(now_ms)
        kept = self._kept.get((owner_id, livemode))
        if kept is not None and kept.today_ms == today_ms:
            late, kept.last = await self._reports.settled_since(kept.last, today_ms)
        if kept is None or kept.today_ms != today_ms or late:
            from_ms = min(today_ms - (DAYS - 1) * DAY_MS, month_start_ms(now_ms, 1))
            sums, last = await self._reports.glance(
                owner_id, livemode=livemode, from_ms=from_ms, to_ms=today_ms, month_ms=month_ms
            )
            kept = _Kept(sums, today_ms, last)
            self._keep((owner_id, livemode), kept)
        today, _ = await self._reports.glance(
            owner_id, livemode=livemode, from_ms=today_ms, to_ms=now_ms + DAY_MS, month_ms=month_ms
        )
        return kept.sums.with_(today)

    def _keep(self, whose: tuple[int, bool], kept: _Kept) -> None:
        self._kept.pop(whose, None)
        if len(kept.sums.keys) + len(kept.sums.people) <= ACCOUNTS_MAX:
            self._kept[whose] = kept
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
