"""What is bought at Stripe, as the other rooms see it: events are taken once, and accounts have what was paid for.

Promises: an event is written down with what it does, or not at all; disorder, repeats and gaps end in the same place.
"""

from __future__ import annotations

from ledger.access import Access
from ledger.billing import standing, taking
from ledger.billing.purchases import NewId
from ledger.billing.records import Happening
from ledger.billing.taking import Fetch
from ledger.engine import Script

CUSTOMERS_AT_ONCE = 50


class Stripe:
    """What Stripe tells. `grace_ms` is how long a late payment keeps its plan."""

    def __init__(self, access: Access, grace_ms: int) -> None:
        self._access = access
        self._grace_ms = grace_ms

    async def take(self, event: Happening, new_id: NewId, *, fetch: bool) -> bool:
        """Write an event down and do what it says; False if it was here before. Raises LedgerUnavailable.

        `fetch`: its object is to be looked up, too.
        """
        now_ms = self._access.clock_ms()
        return await self._access.write(
            lambda touched: taking.take(event, new_id, now_ms, self._grace_ms, touched, fetch=fetch)
        )

    async def settle_due(self) -> None:
        """End graces that are over, and look again at customers whom a plan's change may concern."""
        while await self._access.read(lambda: standing.any_due(self._access.clock_ms())):
            now_ms = self._access.clock_ms()
            await self._access.write(
                lambda touched: standing.settle_due(CUSTOMERS_AT_ONCE, now_ms, self._grace_ms, touched)  # noqa: B023
            )

    async def claim(self, limit: int) -> list[Fetch]:
        """Objects that are to be looked up, which are ours for a minute. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        if not await self._access.read(lambda: taking.any_fetch(now_ms)):
            return []
        return await self._access.write(lambda touched: taking.claim_fetches(limit, now_ms))

    async def fetched(self, fetch: Fetch, found: Happening | None, new_id: NewId) -> None:
        """An object was looked up: what it is, or None if it is not there. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()

        def script(touched: set[int]) -> Script[None]:
            if found is not None:
                yield from taking.fetched(found, new_id, now_ms, self._grace_ms, touched)
            yield from taking.end_fetch(fetch)

        await self._access.write(script)

    async def put_off(self, fetch: Fetch) -> None:
        """An object could not be looked up. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        await self._access.write(lambda touched: taking.put_off(fetch, now_ms))

    async def unmapped(self) -> list[str]:
        """Prices that somebody pays for and that belong to no plan. Raises LedgerUnavailable."""
        return await self._access.read(standing.unmapped)
