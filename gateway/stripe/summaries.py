"""What Stripe has counted: a meter's sums by customer and hour."""

from __future__ import annotations

from typing import Any

from gateway.stripe.client import StripeClient, StripeFailed

PAGE, PAGES_MAX = 100, 10_000


async def meter_id(client: StripeClient, event_name: str) -> str | None:
    """The active meter that counts events of this name; None if there is none. Raises StripeFailed."""
    async for meter in _listed(client, "/v1/billing/meters", [("status", "active")]):
        if meter.get("event_name") == event_name:
            return str(meter.get("id"))
    return None


async def hourly(client: StripeClient, meter: str, customer_id: str, from_s: int, to_s: int) -> dict[int, int]:
    """A customer's sums in `[from_s, to_s)` by the hour's start in Unix ms; empty hours are left out.

    Raises:
        StripeFailed: It does not answer, or with a sum that is no whole number.
    """
    asked = [
        ("customer", customer_id),
        ("start_time", str(from_s)),
        ("end_time", str(to_s)),
        ("value_grouping_window", "hour"),
    ]
    found: dict[int, int] = {}
    async for each in _listed(client, f"/v1/billing/meters/{meter}/event_summaries", asked):
        value = each.get("aggregated_value")
        start_s = each.get("start_time")
        if not isinstance(value, int | float) or value != int(value) or not isinstance(start_s, int):
            raise StripeFailed("Stripe's summary has no whole aggregated_value, or no start_time")
        if value:
            found[start_s * 1000] = found.get(start_s * 1000, 0) + int(value)
    return found


async def _listed(client: StripeClient, path: str, asked: list[tuple[str, str]]) -> Any:
    after: list[tuple[str, str]] = []
    for _ in range(PAGES_MAX):
        page = await client.get(path, [*asked, ("limit", str(PAGE)), *after])
        data = page.get("data") if page is not None else None
        if page is None or not isinstance(data, list):
            raise StripeFailed(f"Stripe has no list at {path}")
        for each in data:
            yield each
        if not page.get("has_more") or not data:
            return
        after = [("starting_after", str(data[-1].get("id")))]
    raise StripeFailed(f"Stripe's list at {path} does not end")
