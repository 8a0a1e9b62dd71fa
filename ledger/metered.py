"""What Stripe is told of usage, as the other rooms see it: customers' hours, collected, sent and held against.

Promises: an event is in its hour once; what was refused stays until somebody lets it be tried again.
"""

from __future__ import annotations

from ledger.access import Access
from ledger.billing import hours
from ledger.billing.hours import Caller, Hour, Said, Standing

REFUSALS_SHOWN = 100


class Metered:
    """Usage by customer and hour."""

    def __init__(self, access: Access, owner: str) -> None:
        self._access = access
        self._owner = owner

    async def begin(self) -> None:
        """Usage is told from now on, if it was not before. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        await self._access.write(lambda touched: hours.begin(now_ms))

    async def claim(self, lease_ms: int) -> bool:
        """Be the one gateway that tells; False if another one is. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        return await self._access.write(lambda touched: hours.claim(self._owner, now_ms + lease_ms, now_ms))

    async def collect(self) -> None:
        """Add new events to their hours, and give usage to customers that were named late. Raises LedgerUnavailable."""
        while await self._access.write(lambda touched: hours.collect()):
            pass
        now_ms = self._access.clock_ms()
        after: Caller | None = (0, 0)
        while after is not None:
            start = after
            found, after = await self._access.read(lambda: hours.found_late(now_ms, start), long=True)  # noqa: B023
            for caller, customer_id in found:
                await self._access.write(lambda touched: hours.map_late(caller, customer_id, now_ms))  # noqa: B023

    async def take(self, limit: int) -> list[Hour]:
        """Hours that are to be told now. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        return await self._access.write(lambda touched: hours.take(limit, now_ms))

    async def say(self, results: list[Said]) -> None:
        """Write down what became of them. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        await self._access.write(lambda touched: hours.say(results, now_ms))

    async def retry(self) -> int:
        """Let what was refused be told again; how many hours. Raises LedgerUnavailable."""
        return await self._access.write(lambda touched: hours.retry())

    async def again(self, from_ms: int, to_ms: int) -> int:
        """Let all hours of a span be told again; how many. Raises LedgerUnavailable."""
        return await self._access.write(lambda touched: hours.again(from_ms, to_ms))

    async def reported(self, event_id: str, meter_id: str) -> bool:
        """Stripe says that it did not count what it had taken; whether that is new. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        return await self._access.write(lambda touched: hours.reported(event_id, meter_id, now_ms))

    async def standing(self) -> Standing:
        """How it stands. Raises LedgerUnavailable."""
        return await self._access.read(lambda: hours.standing(REFUSALS_SHOWN), long=True)

    async def customers(self, from_ms: int, to_ms: int) -> list[str]:
        """Whose hours of a span were collected. Raises LedgerUnavailable."""
        return await self._access.read(lambda: hours.customers(from_ms, to_ms), long=True)

    async def priced_hours(self, from_ms: int, to_ms: int) -> dict[tuple[str, int], int]:
        """Σ price_micros by customer and hour, from the events themselves. Raises Dropped."""
        return await self._access.read(lambda: hours.priced_hours(from_ms, to_ms), long=True)
