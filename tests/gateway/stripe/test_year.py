"""A year of one subscriber, told as Stripe tells it, on a clock that is set by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.stripe.conftest import key_of, made_plan, soon
from tests.gateway.stripe.said import NEW, OLD, charge, event, invoice, session, subscription, tell
from tests.harness import Running
from tests.limits.conftest import Clock, at

CHAT = {"model": "gpt-4o-mini", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]}


class Subscriber:
    """A key, its customer, and what Stripe says of their one subscription."""

    def __init__(self, farthing: Running, clock: Clock, version: str, key: dict[str, Any]) -> None:
        self.farthing, self.clock, self.version, self.key = farthing, clock, version, key

    async def says(self, moment: str, kind: str, status: str, period: str, price: str = "price_pro") -> None:
        """The subscription changes at this moment: it is in this state, on this price, in this period."""
        self.clock.set(moment)
        found = subscription(
            "sub_1", "cus_1", status, prices=[price], period_s=at(period) // 1000, version=self.version
        )
        told = event(f"customer.subscription.{kind}", found, self.clock.ms // 1000, version=self.version)
        assert await tell(self.farthing, told, times=2)

    async def has(self, plan: str, dollars: float, window: str | None) -> dict[str, Any]:
        """The key is on this plan, may spend so much, in a window that began then."""
        key = await key_of(self.farthing, self.key["id"])
        assert (key["plan"], key["status"]) == (plan, "active")
        assert key["max_spend_micros"] == dollars * 1_000_000
        if window is not None:
            assert key["window_start_ms"] == at(window)
            assert [limit["window_start_ms"] for limit in key["limits"]] == [at(window)] * len(key["limits"])
        return key

    async def calls(self) -> int:
        status, _, _ = await self.farthing.call(self.key["secret"], CHAT)
        await self.farthing.quiet()
        return status


@pytest.mark.parametrize("version", [OLD, NEW])
async def test_a_year_of_a_subscriber(paid: Running, clock: Clock, version: str) -> None:
    """Trial, start, upgrade, a failed payment and its grace, recovery, downgrade, cancellation, refund."""
    calls = [{"unit": "requests", "max": 100, "window": "month"}]
    free = await made_plan(paid, "free", "1", stripe={"fallback": True})
    pro = await made_plan(paid, "pro", "20", limits=calls, stripe={"price_ids": ["price_pro"]})
    team = await made_plan(paid, "team", "100", stripe={"product_ids": ["prod_of_price_team"]})
    key = await paid.mint(plan=free, stripe_customer_id="cus_1")
    one = Subscriber(paid, clock, version, key)

    await one.says("2026-01-10T09:30:00", "created", "trialing", "2026-01-10T09:30:00")
    await one.has(pro, 20, "2026-01-10T09:30:00")
    assert await one.calls() == 200
    assert (await one.has(pro, 20, "2026-01-10T09:30:00"))["spent_micros"] > 0

    await one.says("2026-01-24T09:30:05", "updated", "active", "2026-01-24T09:30:00")
    assert (await one.has(pro, 20, "2026-01-24T09:30:00"))["spent_micros"] == 0, "a new period, a new window"
    assert await one.calls() == 200
    clock.set("2026-02-24T09:29:59")
    assert (await one.has(pro, 20, "2026-01-24T09:30:00"))["spent_micros"] > 0
    clock.set("2026-02-24T09:30:00")
    assert (await one.has(pro, 20, "2026-02-24T09:30:00"))["spent_micros"] == 0, "by the clock alone"

    await one.says("2026-03-05T12:00:00", "updated", "active", "2026-02-24T09:30:00", "price_team")
    await one.has(team, 100, "2026-02-24T09:30:00")

    await one.says("2026-03-24T10:30:00", "updated", "past_due", "2026-03-24T09:30:00", "price_team")
    await one.has(team, 100, "2026-03-24T09:30:00")
    await one.says("2026-03-26T10:30:00", "updated", "past_due", "2026-03-24T09:30:00", "price_team")
    clock.set("2026-03-27T10:29:59")
    await one.has(team, 100, "2026-03-24T09:30:00")
    clock.set("2026-03-27T10:30:00")

    async def plan() -> Any:
        return (await key_of(paid, key["id"]))["plan"]

    await soon(plan, free)
    await one.has(free, 1, "2026-03-01T00:00:00")

    await one.says("2026-03-28T08:00:00", "updated", "active", "2026-03-24T09:30:00", "price_team")
    await one.has(team, 100, "2026-03-24T09:30:00")

    await one.says("2026-04-24T09:30:09", "updated", "active", "2026-04-24T09:30:00", "price_pro")
    await one.has(pro, 20, "2026-04-24T09:30:00")

    clock.set("2026-05-02T10:00:00")
    bought = session("cs_1", customer="cus_1", amount_total=1_500, invoice="in_1")
    assert await tell(paid, event("checkout.session.completed", bought, clock.ms // 1000), times=3)
    assert await tell(paid, event("invoice.paid", invoice("in_1", "cus_1", 1_500), clock.ms // 1000))
    assert await tell(paid, event("invoice.paid", invoice("in_2", "cus_1", 2_000, of="sub_1"), clock.ms // 1000))
    await one.has(pro, 35, "2026-04-24T09:30:00")
    clock.set("2026-05-03T10:00:00")
    assert await tell(paid, event("charge.refunded", charge("ch_1", 500, intent="pi_cs_1"), clock.ms // 1000), times=2)
    await one.has(pro, 30, "2026-04-24T09:30:00")
    assert await tell(paid, event("charge.refunded", charge("ch_1", 1_500, intent="pi_cs_1"), clock.ms // 1000))
    await one.has(pro, 20, "2026-04-24T09:30:00")

    await one.says("2026-12-01T00:00:00", "updated", "active", "2026-11-24T09:30:00")  # cancel_at_period_end
    await one.has(pro, 20, "2026-11-24T09:30:00")
    await one.says("2026-12-24T09:30:01", "deleted", "canceled", "2026-11-24T09:30:00")
    await one.has(free, 1, "2026-12-01T00:00:00")
    clock.set("2027-06-01T00:00:00")
    await one.has(free, 1, "2027-06-01T00:00:00")

    _, page = await paid.api("GET", f"/v1/changes?limit=100&object_id={key['id']}")
    by_stripe = [each for each in page["data"] if each["actor"] == "stripe"]
    assert len(by_stripe) == len(page["data"]) - 1, "all but the mint"
    assert all(each["request_id"].startswith("evt_") for each in by_stripe)
    types = [each["type"] for each in by_stripe]
    assert (types.count("credits.added"), types.count("credits.taken_back")) == (1, 2)
