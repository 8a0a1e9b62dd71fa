"""With a key for Stripe's API an event is a hint: the object is looked up, and what never came is fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.gateway.stripe.conftest import key_of, made_plan, soon
from tests.gateway.stripe.fake import FakeStripe, answering
from tests.gateway.stripe.said import API_KEY, SECRET, charge, event, invoice, subscription, tell
from tests.harness import Running, running
from tests.limits.conftest import Clock

DAY_MS = 86_400_000


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    async with answering() as started:
        yield started


def environment(fake: FakeStripe) -> dict[str, str]:
    return {"STRIPE_WEBHOOK_SECRET": SECRET, "STRIPE_API_KEY": API_KEY, "FARTHING_STRIPE_URL": fake.url}


@pytest.fixture
async def asking(tmp_path: Path, clock: Clock, fake: FakeStripe) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=clock, **environment(fake)) as started:
        yield started
        await started.audited()


async def plans(farthing: Running) -> tuple[str, str]:
    free = await made_plan(farthing, "free", "1", stripe={"fallback": True})
    return free, await made_plan(farthing, "pro", "20", stripe={"price_ids": ["price_pro"]})


def state(status: str, clock: Clock, **more: Any) -> dict[str, Any]:
    return subscription("sub_1", "cus_1", status, prices=["price_pro"], period_s=clock.ms // 1000, **more)


async def test_the_object_is_the_truth(asking: Running, fake: FakeStripe, clock: Clock) -> None:
    """An event that is out of date does what it says for a moment; then what is looked up is in force, and stays so."""
    free, pro = await plans(asking)
    key = await asking.mint(plan=free, stripe_customer_id="cus_1")

    async def plan() -> Any:
        return (await key_of(asking, key["id"]))["plan"]

    fake.knows(state("active", clock))
    stale = event("customer.subscription.deleted", state("canceled", clock), clock.ms // 1000)
    await tell(asking, stale)
    await soon(plan, pro)
    fake.knows(state("canceled", clock))
    await tell(asking, event("customer.subscription.updated", state("active", clock), clock.ms // 1000 + 60))
    await soon(plan, free)
    await tell(asking, event("customer.subscription.updated", state("active", clock), clock.ms // 1000 - 60))
    await soon(lambda: _count(fake, "/v1/subscriptions/sub_1"), 3)
    assert await plan() == free


async def _count(fake: FakeStripe, path: str) -> int:
    return len([each for each in fake.asked if each.startswith(path)])


async def test_what_stripe_does_not_answer_is_asked_again(asking: Running, fake: FakeStripe, clock: Clock) -> None:
    """In the meantime the event holds; an object that is not there leaves it so."""
    free, pro = await plans(asking)
    key = await asking.mint(plan=free, stripe_customer_id="cus_1")

    async def plan() -> Any:
        return (await key_of(asking, key["id"]))["plan"]

    fake.status = 500
    await tell(asking, event("customer.subscription.created", state("active", clock), clock.ms // 1000))
    assert await plan() == pro
    await soon(lambda: _count(fake, "/v1/subscriptions/sub_1"), 1)
    fake.status = 0
    fake.knows(state("canceled", clock))
    clock.ms += 60_000
    await soon(plan, free)

    other = await asking.mint(plan=free, stripe_customer_id="cus_2")
    gone = subscription("sub_2", "cus_2", "active", prices=["price_pro"], period_s=clock.ms // 1000)
    await tell(asking, event("customer.subscription.created", gone, clock.ms // 1000))
    await soon(lambda: _count(fake, "/v1/subscriptions/sub_2"), 1)
    assert (await key_of(asking, other["id"]))["plan"] == pro


async def test_a_refund_finds_the_invoice_that_its_payment_has_paid(
    asking: Running, fake: FakeStripe, clock: Clock
) -> None:
    """Since 2025-03-31 neither of them says so: Stripe is asked."""
    key = await asking.mint(max_spend_usd="1", stripe_customer_id="cus_1")

    async def cap() -> Any:
        return (await key_of(asking, key["id"]))["max_spend_micros"]

    bill = invoice("in_1", "cus_1", 500)
    fake.knows(bill, charge("ch_1", 200, intent="pi_1"))
    paid = {"type": "payment_intent", "payment_intent": "pi_1"}
    fake.invoice_payments = [{"id": "inpay_1", "object": "invoice_payment", "invoice": "in_1", "payment": paid}]
    await tell(asking, event("invoice.paid", bill, clock.ms // 1000))
    assert await cap() == 6_000_000
    await tell(asking, event("charge.refunded", charge("ch_1", 200, intent="pi_1"), clock.ms // 1000))
    await soon(cap, 4_000_000)


async def test_events_that_never_came_are_fetched_at_the_start(tmp_path: Path, clock: Clock, fake: FakeStripe) -> None:
    """Thirty days of them, page by page; what came before is nothing new, and is not asked for again."""
    async with running(tmp_path, clock=clock, STRIPE_WEBHOOK_SECRET=SECRET) as before:
        free, pro = await plans(before)
        keys = [await before.mint(plan=free, stripe_customer_id=f"cus_{number}") for number in range(130)]
    for number in range(130):
        found = subscription(
            f"sub_{number}", f"cus_{number}", "active", prices=["price_pro"], period_s=clock.ms // 1000
        )
        fake.events.insert(0, event("customer.subscription.created", found, clock.ms // 1000 - number))
        fake.knows(found)
    fake.events.append(event("customer.created", {"id": "cus_1", "object": "customer"}, clock.ms // 1000))
    async with running(tmp_path, clock=clock, **environment(fake)) as after:

        async def on_pro() -> int:
            _, page = await after.api("GET", "/v1/keys?limit=100")
            last = page["data"][-1]["id"]
            _, rest = await after.api("GET", f"/v1/keys?limit=100&starting_after={last}")
            return sum(key["plan"] == pro for key in (*page["data"], *rest["data"]))

        await soon(on_pro, 130)
        assert await _count(fake, "/v1/events") == 2
        await soon(lambda: _count(fake, "/v1/subscriptions/"), 130)
    assert len(keys) == 130
    clock.ms += 10 * DAY_MS
    fake.asked.clear()
    fake.status = 503
    async with running(tmp_path, clock=clock, **environment(fake)) as again:
        await soon(lambda: _count(fake, "/v1/events"), 1)
        fake.status = 0
        assert again.gateway.services.stripe is not None
        await again.gateway.services.stripe.catch_up()
        path = f"/v1/events?limit=100&created[gte]={clock.ms // 1000 - 30 * 86_400}"
        assert await _count(fake, path) == 3, "what failed, and two pages"
        await again.gateway.services.stripe.catch_up()
        assert await _count(fake, path) == 3, "not before an hour has passed"
        clock.ms += 3_600_000
        await again.gateway.services.stripe.catch_up()
        assert await _count(fake, f"/v1/events?limit=100&created[gte]={clock.ms // 1000 - 3 * 86_400 - 3_600}") == 1
        await asyncio.sleep(1.5)
        assert await _count(fake, "/v1/subscriptions/") == 0


def test_stripes_own_library_understands_our_stripe() -> None:
    """What the tests say is what the library reads: both generations, the objects and the events."""
    told = event("customer.subscription.created", subscription("sub_1", "c", "active", prices=["p"], period_s=7), 1)
    read = stripe.Event.construct_from(told, API_KEY)
    assert read.data.object["items"].data[0].current_period_start == 7
    assert isinstance(read.data.object, stripe.Subscription)
    assert isinstance(
        stripe.Event.construct_from(event("invoice.paid", invoice("in_1", "c", 1), 1), "k").data.object, stripe.Invoice
    )
