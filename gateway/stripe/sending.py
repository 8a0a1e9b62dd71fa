"""Tells Stripe what customers have used: their hours as absolute totals of a meter that keeps each hour's newest.

Promises: nothing is on a call's path; one event at a time for a customer; a later total of an hour has a later moment
and an identifier of its own, so that it takes the earlier one's place, however often either is sent; what Stripe
refuses is kept, and never sent again by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
from collections.abc import Callable

from gateway.stripe.client import StripeClient, StripeFailed
from ledger.billing.hours import HOUR_MS, SENDABLE_MS, Hour, Said
from ledger.metered import Metered

_log = logging.getLogger("farthing.stripe")

AT_ONCE = 200  # hours between two writes to the ledger
CUSTOMERS_AT_ONCE = 8  # Stripe takes one event at a time of each, and many of several
LEASE_MS = 120_000  # longer than any round of `AT_ONCE` hours may last
ROUND_S = 60.0
WAIT_S, WAIT_S_MAX = 2, 3_600  # before an hour is tried again, and at most
DIGITS_MAX = 15  # of a value; Stripe takes no more
_LAST_S = HOUR_MS // 1000 - 1
_LATER = (401, 403, 408, 409, 429)  # the operator's key, or a moment: no word on the hour itself


class Sending:
    """One for the process; of several gateways the one with the lease sends."""

    def __init__(self, client: StripeClient, metered: Metered, clock_ms: Callable[[], int], meter: str) -> None:
        """`meter`: the event's name."""
        self._client = client
        self._metered = metered
        self._clock_ms = clock_ms
        self._meter = meter

    async def send(self) -> None:
        """Tell all hours that have changed. Raises LedgerUnavailable."""
        await self._metered.begin()
        if not await self._metered.claim(LEASE_MS):
            return
        await self._metered.collect()
        while await self._metered.claim(LEASE_MS) and (hours := await self._metered.take(AT_ONCE)):
            results = await self._told(hours)
            await self._metered.say(results)
            if not any(each.taken or each.refusal for each in results):
                return  # Stripe is away: the next time

    async def _told(self, hours: list[Hour]) -> list[Said]:
        """Each customer's hours one after the other, some customers at the same time."""
        gate = asyncio.Semaphore(CUSTOMERS_AT_ONCE)
        ends = asyncio.get_running_loop().time() + ROUND_S
        by_customer = itertools.groupby(
            sorted(hours, key=lambda hour: (hour.customer_id, hour.hour_ms)), key=lambda hour: hour.customer_id
        )

        async def one(of: list[Hour]) -> list[Said]:
            async with gate:
                told: list[Said] = []
                for hour in of:
                    if asyncio.get_running_loop().time() > ends or (told and told[-1].due_ms):
                        told.append(Said(hour=hour, due_ms=self._clock_ms()))
                    else:
                        told.append(await self._tell(hour))
                return told

        found = await asyncio.gather(*(one(list(each)) for _, each in by_customer))
        return [said for each in found for said in each]

    async def _tell(self, hour: Hour) -> Said:
        if len(str(abs(hour.price_micros))) > DIGITS_MAX:
            return Said(hour=hour, refusal=f"{hour.price_micros} has more than {DIGITS_MAX} digits")
        if hour.hour_ms < self._clock_ms() - SENDABLE_MS:
            return Said(hour=hour, refusal="the hour is more than 34 days ago, and Stripe takes nothing so old")
        identifier = self._identifier(hour)
        form = {
            "event_name": self._meter,
            "payload[stripe_customer_id]": hour.customer_id,
            "payload[value]": str(hour.price_micros),
            "identifier": identifier,
            "timestamp": str(hour.hour_ms // 1000 + min(hour.number, _LAST_S)),
        }
        try:
            status, message = await self._client.post("/v1/billing/meter_events", form, identifier)
        except StripeFailed as error:
            status, message = 0, str(error)
        if status == 200:
            return Said(hour=hour, taken=True)
        if 400 <= status < 500 and status not in _LATER:
            return Said(hour=hour, refusal=f"{status}: {message}"[:300])
        _log.warning("Stripe was not told of an hour", extra={"customer_id": hour.customer_id, "why": message})
        return Said(hour=hour, due_ms=self._clock_ms() + 1000 * min(WAIT_S << min(hour.tries, 20), WAIT_S_MAX))

    def _identifier(self, hour: Hour) -> str:
        whose = hashlib.sha256(f"{self._meter}\n{hour.customer_id}".encode()).hexdigest()[:24]
        return f"frt_{whose}_{hour.hour_ms // 1000}_{hour.number}"

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()
