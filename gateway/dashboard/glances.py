"""The sums that pages show. What was before today is summed once, and kept for as long as nothing is settled of it.

A grown installation has a million rows of days, and every look would walk them all. Promises: what is shown is what
the ledger says now: of today it is asked each time, and of the days before whether anything has come to them since.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import msgspec

from gateway.dashboard.days import month_start_ms
from ledger.glance import Glance, Summed, Wanted, both
from ledger.reports import Reports
from ledger.windows import DAY_MS, day_start_ms

DAYS = 30  # of the chart
KEPT_MAX = 32  # questions whose sums are kept
ROWS_MAX = 200_000  # sums of more keys and people are not kept


class _Kept(msgspec.Struct):
    sums: Any
    before_ms: int
    last: int  # the last event that is in them


class Glances:
    """One for the process."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    async def of(self, owner_id: int, *, livemode: bool, now_ms: int) -> Glance:
        """Sums of the chart's days, and at least of this month and the one before. Raises LedgerUnavailable."""
        today_ms, month_ms = day_start_ms(now_ms), month_start_ms(now_ms)
        from_ms = min(today_ms - (DAYS - 1) * DAY_MS, month_start_ms(now_ms, 1))

        async def asked(start_ms: int, end_ms: int) -> tuple[Glance, int]:
            return await self._reports.glance(
                owner_id, livemode=livemode, from_ms=start_ms, to_ms=end_ms, month_ms=month_ms
            )

        closed: Glance = await self._closed(
            (owner_id, livemode), today_ms, lambda: asked(from_ms, today_ms), lambda of: len(of.keys) + len(of.people)
        )
        today, _ = await asked(today_ms, now_ms + DAY_MS)
        return closed.with_(today)

    async def summed(self, wanted: Wanted, from_ms: int, to_ms: int, now_ms: int) -> Summed:
        """Sums of the whole days `[from_ms, to_ms)` in UTC. Raises NotFound and LedgerUnavailable."""
        today_ms = day_start_ms(now_ms)
        before_ms = min(today_ms, to_ms)
        sums: Summed = {}
        if from_ms < before_ms:
            sums = await self._closed(
                (wanted, from_ms, before_ms),
                before_ms,
                lambda: self._reports.summed(wanted, from_ms, before_ms),
                len,
            )
        if to_ms > today_ms:
            today, _ = await self._reports.summed(wanted, max(today_ms, from_ms), to_ms)
            sums = both(sums, today)
        return sums

    async def _closed(
        self,
        question: Hashable,
        before_ms: int,
        ask: Callable[[], Awaitable[tuple[Any, int]]],
        size: Callable[[Any], int],
    ) -> Any:
        """The answer about days before a moment: the one that is kept, unless calls from before have ended since."""
        kept = self._kept.get(question)
        if kept is not None and kept.before_ms == before_ms:
            late, kept.last = await self._reports.settled_since(kept.last, before_ms)
            if not late:
                self._kept.move_to_end(question)
                return kept.sums
        sums, last = await ask()
        self._kept.pop(question, None)
        if size(sums) <= ROWS_MAX:
            self._kept[question] = _Kept(sums, before_ms, last)
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return sums
