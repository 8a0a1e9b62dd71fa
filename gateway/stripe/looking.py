"""Looks at Stripe itself: an event is a hint, the object is the truth; and events that never came are fetched.

Promises: what cannot be looked up now is looked up later; an event that was taken before is nothing new.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gateway.stripe import shapes
from gateway.stripe.client import StripeClient, StripeFailed
from keys.ids import new_id
from ledger.billing.records import Happening
from ledger.billing.taking import Fetch
from ledger.engine import NotDone
from ledger.stripe import Stripe

_log = logging.getLogger("farthing.stripe")

DAY_S = 86_400
KEPT_S = 30 * DAY_S  # Stripe lists events of so long
TRIED_S = 3 * DAY_S  # Stripe tries to deliver for so long: older ones were listed the last time
AGAIN_S = 3_600
AT_ONCE = 20
PAGE, PAGES_MAX = 100, 2_000
_PATHS = {
    "sub": "/v1/subscriptions/",
    "in": "/v1/invoices/",
    "cs": "/v1/checkout/sessions/",
    "ch": "/v1/charges/",
    "py": "/v1/charges/",
    "dp": "/v1/disputes/",
    "du": "/v1/disputes/",
}
"""Where an object is, by what its id begins with."""


class Looking:
    """One for the process."""

    def __init__(self, client: StripeClient, stripe: Stripe, clock_ms: Callable[[], int]) -> None:
        self._client = client
        self._stripe = stripe
        self._clock_ms = clock_ms
        self._caught_up_s = 0

    def new_id(self, prefix: str) -> str:
        """An id for what an event makes."""
        return new_id(prefix, self._clock_ms())

    async def look_up(self) -> None:
        """Look up the objects of events that came. Raises LedgerUnavailable."""
        while fetches := await self._stripe.claim(AT_ONCE):
            for fetch in fetches:
                try:
                    found = await self._object(fetch)
                    await self._stripe.fetched(fetch, found, self.new_id)
                except (StripeFailed, shapes.Malformed, NotDone) as error:
                    _log.warning("an object was not looked up", extra={"object_id": fetch.object_id, "why": str(error)})
                    await self._stripe.put_off(fetch)

    async def _object(self, fetch: Fetch) -> Happening | None:
        path = _PATHS.get(fetch.object_id.partition("_")[0])
        if path is None:
            return None
        now_s = self._clock_ms() // 1000
        found = await self._client.get(path + fetch.object_id)
        if found is None:
            return None
        return shapes.looked_up(found, now_s, tuple(await self._paid_by(found)))

    async def _paid_by(self, found: dict[str, Any]) -> list[Any]:
        """Which invoices a refunded or disputed payment has paid: neither of them says so itself."""
        intent = found.get("payment_intent")
        if found.get("object") not in ("charge", "dispute") or not isinstance(intent, str):
            return []
        asked = (("payment[type]", "payment_intent"), ("payment[payment_intent]", intent))
        return list(shapes.payments(await self._client.get("/v1/invoice_payments", asked) or {}))

    async def catch_up(self) -> None:
        """Take the events that did not come, at the start and once an hour. Raises LedgerUnavailable."""
        now_s = self._clock_ms() // 1000
        if now_s < self._caught_up_s + AGAIN_S:
            return
        from_s = max(now_s - KEPT_S, self._caught_up_s - TRIED_S)
        asked = [("limit", str(PAGE)), ("created[gte]", str(from_s)), *(("types[]", each) for each in shapes.USED)]
        after: list[tuple[str, str]] = []
        try:
            for _ in range(PAGES_MAX):
                page = await self._client.get("/v1/events", [*asked, *after]) or {}
                events = [each for each in page.get("data") or () if isinstance(each, dict)]
                for each in events:
                    await self._take(each)
                if not page.get("has_more") or not events:
                    break
                after = [("starting_after", str(events[-1].get("id")))]
        except StripeFailed as error:
            _log.warning("missed events were not caught up with", extra={"why": str(error)})
            return
        self._caught_up_s = now_s

    async def _take(self, event: dict[str, Any]) -> None:
        try:
            found = shapes.read(event)
            if found is not None:
                await self._stripe.take(found, self.new_id, fetch=True)
        except (shapes.Malformed, NotDone) as error:
            _log.warning("an event was not taken", extra={"event_id": str(event.get("id")), "why": str(error)})

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()
