"""Reports: bills, lists of events and holds, and the audit. What was refused is written before it is looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from ledger import audit, events, glance, history, purchases, repricing, usage
from ledger.access import Access
from ledger.audit import Audit
from ledger.events import EventQuery, EventView, HoldView
from ledger.glance import Glance, Summed, Wanted
from ledger.history import ChangeQuery, Recorded
from ledger.purchases import Purchase
from ledger.replays import Origin
from ledger.repricing import Charged
from ledger.usage import Names, Query, UsageReport


class Reports:
    """What the ledger says of what was."""

    def __init__(self, access: Access, written: Callable[[], Awaitable[None]]) -> None:
        """`written` sees to it that what was only counted can be read."""
        self._access = access
        self._written = written

    async def usage(self, query: Query) -> UsageReport:
        """Sums for the bill. Raises NotFound."""
        await self._written()
        return await self._access.read(lambda: usage.report(query), long=True)

    async def purchases(self, provider: str, from_ms: int, to_ms: int) -> list[Purchase]:
        """What was bought of a provider in `[from_ms, to_ms)`, by day and model. Raises Dropped."""
        return await self._access.read(lambda: purchases.purchases(provider, from_ms, to_ms), long=True)

    async def charged(
        self, from_ms: int, to_ms: int, after: tuple[int, int], *, livemode: bool
    ) -> tuple[list[Charged], tuple[int, int] | None]:
        """A page of what the calls of `[from_ms, to_ms)` were charged, and where the next begins. Raises Dropped."""
        return await self._access.read(lambda: repricing.charged(from_ms, to_ms, after, livemode), long=True)

    async def glance(
        self, owner_id: int, *, livemode: bool, from_ms: int, to_ms: int, month_ms: int
    ) -> tuple[Glance, int]:
        """Sums of whole days, and the last event in them; see `ledger.glance`."""
        await self._written()
        return await self._access.read(lambda: glance.glance(owner_id, livemode, from_ms, to_ms, month_ms), long=True)

    async def summed(self, wanted: Wanted, from_ms: int, to_ms: int) -> tuple[Summed, int]:
        """Sums of whole days, and the last event in them. Raises NotFound."""
        await self._written()
        return await self._access.read(lambda: glance.summed(wanted, from_ms, to_ms), long=True)

    async def settled_since(self, seq: int, before_ms: int) -> tuple[bool, int]:
        """Whether an event after this one is of a call from before; and the last event."""
        return await self._access.read(lambda: glance.settled_since(seq, before_ms), long=True)

    async def names(self, account_ids: Collection[int]) -> dict[int, Names]:
        """What accounts are called."""
        return await self._access.read(lambda: usage.names_of(account_ids))

    async def events(self, query: EventQuery) -> tuple[list[EventView], bool]:
        """A page of events and whether there are more. Raises NotFound."""
        await self._written()
        return await self._access.read(lambda: events.list_events(query), long=True)

    async def holds(
        self, owner_id: int, *, limit: int, starting_after: str | None = None, state: str | None = None
    ) -> tuple[list[HoldView], bool]:
        """A page of holds and whether there are more."""
        return await self._access.read(
            lambda: events.list_holds(owner_id, limit=limit, starting_after=starting_after, state=state), long=True
        )

    async def refusals(self, owner_id: int, *, livemode: bool, from_ms: int, to_ms: int) -> list[tuple[str, int]]:
        """How many calls under the owner were refused in `[from_ms, to_ms)`, by reason, the most first."""
        await self._written()
        return await self._access.read(lambda: events.refusals(owner_id, livemode, from_ms, to_ms), long=True)

    async def hold_sums(self) -> tuple[int, int]:
        """How many holds are open and how many unsettled."""
        return await self._access.read(events.hold_sums, long=True)

    async def changes(self, query: ChangeQuery) -> tuple[list[Recorded], bool]:
        """A page of who changed what, newest first, and whether there are more. Raises NotFound."""
        return await self._access.read(lambda: history.list_changes(query), long=True)

    async def note(
        self, type_: str, account_id: int, object_id: str, after: dict[str, Any], origin: Origin | None
    ) -> None:
        """Write down what was done otherwise than by a change of an account. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        await self._access.write(
            lambda touched: history.record(type_, account_id, object_id, None, after, origin, now_ms), alone=False
        )

    async def audit(self) -> Audit:
        """Compare everything with everything."""
        return await self._access.read(audit.audit, long=True)
