"""Whose a subscription or a payment is, what of several counts, and who is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.gateway.outbox.receiver import receiving
from tests.gateway.stripe.conftest import key_of, made_plan, soon
from tests.gateway.stripe.said import SECRET, charge, dispute, event, invoice, price, session, subscription, tell
from tests.harness import MASTER, Running, running
from tests.limits.conftest import Clock

CHAT = {"model": "gpt-4o-mini", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]}


class At:
    """Tells a gateway of things that happen now."""

    def __init__(self, farthing: Running, clock: Clock) -> None:
        self.farthing, self.clock = farthing, clock

    async def sub(self, id_: str, customer: str, status: str, *prices: Any, **more: Any) -> None:
        period_s = more.pop("period_s", self.clock.ms // 1000)
        found = subscription(id_, customer, status, prices=list(prices), period_s=period_s, **more)
        await self.says("customer.subscription.updated", found)

    async def says(self, type_: str, found: dict[str, Any]) -> None:
        assert await tell(self.farthing, event(type_, found, self.clock.ms // 1000))
        self.clock.ms += 1_000


@pytest.fixture
def at(paid: Running, clock: Clock) -> At:
    return At(paid, clock)


async def test_of_several_the_last_created_counts_and_of_items_the_plans(paid: Running, at: At) -> None:
    """A price's id goes before its lookup key, and that before its product; what is no plan's beside it is nothing."""
    free = await made_plan(paid, "free", "1", stripe={"fallback": True})
    by_price = await made_plan(paid, "price", "2", stripe={"price_ids": ["p_1"]})
    by_key = await made_plan(paid, "lookup", "3", stripe={"lookup_keys": ["pro"]})
    by_product = await made_plan(paid, "product", "4", stripe={"product_ids": ["prod_1"]})
    key = await paid.mint(plan=free, stripe_customer_id="cus_1")

    async def plan() -> Any:
        return (await key_of(paid, key["id"]))["plan"]

    for found, wanted in (
        (price("p_1", lookup_key="pro", product="prod_1"), by_price),
        (price("p_2", lookup_key="pro", product="prod_1"), by_key),
        (price("p_2", product="prod_1"), by_product),
    ):
        await at.sub("sub_1", "cus_1", "active", "addon", found, created_s=1_000)
        assert await plan() == wanted
    await at.sub("sub_2", "cus_1", "active", "p_1", created_s=2_000)
    assert await plan() == by_price
    await at.sub("sub_1", "cus_1", "active", price("p_2", product="prod_1"), created_s=1_000)
    assert await plan() == by_price, "the one created last, not the one told of last"
    await at.sub("sub_3", "cus_1", "active", "addon", created_s=3_000)
    assert await plan() == by_price, "what is no plan's changes nothing"
    await at.sub("sub_2", "cus_1", "canceled", "p_1", created_s=2_000)
    assert await plan() == by_product
    await at.sub("sub_1", "cus_1", "canceled", price("p_2", product="prod_1"), created_s=1_000)
    assert await plan() == free
    await at.sub("sub_3", "cus_1", "canceled", "addon", created_s=3_000)
    assert await plan() == free


async def test_without_a_fallback_a_key_is_disabled_and_opened_again(paid: Running, at: At) -> None:
    """In force on the next call; who was disabled by hand stays so; who never subscribed is left as he is."""
    pro = await made_plan(paid, "pro", "20", stripe={"price_ids": ["p_1"]})
    key = await paid.mint(stripe_customer_id="cus_1")
    other = await paid.mint(stripe_customer_id="cus_2")
    await at.sub("sub_1", "cus_1", "active", "p_1")
    assert (await paid.call(key["secret"], CHAT))[0] == 200
    await at.sub("sub_1", "cus_1", "canceled", "p_1")
    assert (await key_of(paid, key["id"]))["status"] == "disabled"
    assert (await paid.call(key["secret"], CHAT))[0] == 401
    await at.sub("sub_2", "cus_1", "trialing", "p_1")
    assert (await key_of(paid, key["id"]))["status"] == "active"
    await paid.api("PATCH", f"/v1/keys/{key['id']}", {"disabled": True})
    await at.sub("sub_2", "cus_1", "active", "p_1")
    assert (await key_of(paid, key["id"]))["status"] == "disabled", "by hand"
    await at.sub("sub_2", "cus_1", "unpaid", "p_1")
    await at.sub("sub_2", "cus_1", "active", "p_1")
    assert (await key_of(paid, key["id"]))["status"] == "disabled", "still by hand"
    await paid.api("PATCH", f"/v1/keys/{key['id']}", {"disabled": False})
    await at.sub("sub_2", "cus_1", "unpaid", "p_1")
    await paid.api("PATCH", f"/v1/keys/{key['id']}", {"disabled": True})
    await at.sub("sub_2", "cus_1", "active", "p_1")
    assert (await key_of(paid, key["id"]))["status"] == "disabled", "by both, and by hand last"
    left = await key_of(paid, other["id"])
    assert (left["status"], left["plan"]) == ("active", None)
    await at.sub("sub_9", "cus_2", "canceled", "of_no_plan")
    left = await key_of(paid, other["id"])
    assert (left["status"], left["plan"]) == ("active", None)
    assert pro == (await key_of(paid, key["id"]))["plan"]


async def test_an_end_user_has_a_plan_of_his_own(paid: Running, at: At) -> None:
    """His cap and windows are the plan's; he is found by what a checkout says, and is opened if need be."""
    limits = [{"unit": "requests", "max": 1, "window": "day"}]
    pro = await made_plan(paid, "pro", "20", limits=limits, stripe={"price_ids": ["p_1"]})
    free = await made_plan(paid, "free", "1", stripe={"fallback": True})
    key = await paid.mint()
    metadata = {"farthing_key_id": key["id"], "farthing_end_user": "ann"}
    checkout = session("cs_1", customer="cus_1", mode="subscription", subscription="sub_1", metadata=metadata)
    await at.says("checkout.session.completed", checkout)
    period_s = at.clock.ms // 1000 - 3_600
    await at.sub("sub_1", "cus_1", "active", "p_1", period_s=period_s)
    path = f"/v1/end_users/ann?key_id={key['id']}"
    _, ann = await paid.api("GET", path)
    assert (ann["stripe_customer_id"], ann["plan"]) == ("cus_1", pro)
    assert (ann["max_spend_micros"], ann["reset"]) == (20_000_000, "month")
    assert {limit["window_start_ms"] for limit in ann["limits"]} == {period_s * 1000}
    about = {"x-end-user-id": "ann"}
    assert [(await paid.call(key["secret"], CHAT, headers=about))[0] for _ in range(2)] == [200, 429]
    assert (await paid.call(key["secret"], CHAT))[0] == 200
    await at.sub("sub_1", "cus_1", "canceled", "p_1", period_s=period_s)
    _, ann = await paid.api("GET", path)
    assert (ann["plan"], ann["max_spend_micros"]) == (free, 1_000_000)
    assert (await key_of(paid, key["id"]))["plan"] is None, "the key is not its user's"


async def test_a_checkout_names_a_key(paid: Running, at: At, clock: Clock) -> None:
    """By `client_reference_id`, which takes no key from whoever pays for it, or by `metadata`, which does."""
    pro = await made_plan(paid, "pro", "20", stripe={"price_ids": ["p_1"]})
    free = await made_plan(paid, "free", "1", stripe={"fallback": True})
    key = await paid.mint(plan=free)
    await at.sub("sub_1", "cus_1", "active", "p_1")
    await at.says("checkout.session.completed", session("cs_1", customer="cus_1", client_reference_id=key["id"]))
    assert ((await key_of(paid, key["id"]))["stripe_customer_id"], (await key_of(paid, key["id"]))["plan"]) == (
        "cus_1",
        pro,
    )
    await at.says("checkout.session.completed", session("cs_2", customer="cus_2", client_reference_id=key["id"]))
    assert (await key_of(paid, key["id"]))["stripe_customer_id"] == "cus_1"
    _, page = await paid.api("GET", f"/v1/changes?object_id={key['id']}")
    assert page["data"][0]["type"] == "stripe.link_refused"
    assert page["data"][0]["after"] == {"customer": "cus_2", "kept": "cus_1"}
    await at.sub("sub_1", "cus_1", "canceled", "p_1")
    await at.sub("sub_2", "cus_2", "active", "p_1")
    await at.says("checkout.session.completed", session("cs_3", customer="cus_2", client_reference_id=key["id"]))
    assert (await key_of(paid, key["id"]))["plan"] == pro
    metadata = {"farthing_key_id": key["id"]}
    await at.says("checkout.session.completed", session("cs_4", customer="cus_3", metadata=metadata))
    assert (await key_of(paid, key["id"]))["stripe_customer_id"] == "cus_3"
    for nobody in ("key_nobody", "a stranger", ""):
        named = session(f"cs_{nobody}".replace(" ", "_"), customer="cus_9", client_reference_id=nobody)
        await at.says("checkout.session.completed", named)


async def test_an_end_user_that_only_one_key_has_is_found_by_name(paid: Running, at: At) -> None:
    """What can be read in two ways is nobody."""
    first, second = await paid.mint(), await paid.mint()
    for key, name in ((first, "ann"), (first, "bob"), (second, "bob")):
        await paid.api("PUT", f"/v1/end_users/{name}?key_id={key['id']}", {})
    for name, customer in (("ann", "cus_ann"), ("bob", "cus_bob")):
        named = session(f"cs_{name}", customer=customer, client_reference_id=name)
        await at.says("checkout.session.completed", named)
        _, user = await paid.api("GET", f"/v1/end_users/{name}?key_id={first['id']}")
        assert user["stripe_customer_id"] == ("cus_ann" if name == "ann" else None)


async def test_a_payment_is_a_credit_once(paid: Running, at: At) -> None:
    """Of an invoice, of a checkout, of both together; late methods when they have paid; other money and bills never."""
    key = await paid.mint(max_spend_usd="1", stripe_customer_id="cus_1")

    async def cents() -> int:
        return int((await key_of(paid, key["id"]))["max_spend_micros"]) // 10_000 - 100

    await at.says(
        "checkout.session.completed", session("cs_1", customer="cus_1", amount_total=500, payment_status="unpaid")
    )
    assert await cents() == 0
    await at.says("checkout.session.async_payment_succeeded", session("cs_1", customer="cus_1", amount_total=500))
    await at.says("checkout.session.async_payment_succeeded", session("cs_1", customer="cus_1", amount_total=500))
    assert await cents() == 500
    await at.says("invoice.paid", invoice("in_1", "cus_1", 300))
    await at.says("checkout.session.completed", session("cs_2", customer="cus_1", amount_total=300, invoice="in_1"))
    assert await cents() == 800
    await at.says("invoice.paid", invoice("in_2", "cus_1", 300, of="sub_1"))
    await at.says("invoice.paid", invoice("in_3", "cus_1", 300, currency="eur"))
    await at.says("invoice.paid", invoice("in_4", "cus_1", 0))
    assert await cents() == 800
    _, page = await paid.api("GET", "/v1/changes?type=credits.refused")
    assert [(each["object_id"], each["after"]["reason"]) for each in page["data"]] == [
        ("in_3", "currency"),
        ("in_2", "subscription"),
    ]
    assert [(await paid.api("GET", f"/v1/events?key_id={key['id']}"))[1]["data"][0]["metadata"]["amount_micros"]] == [
        "3000000"
    ]

    await at.says("charge.refunded", charge("ch_2", 100, intent="pi_cs_2"))
    assert await cents() == 700
    await at.says("charge.dispute.created", dispute("dp_2", 300, intent="pi_cs_2"))
    assert await cents() == 500, "no more than was paid"
    await at.says("charge.dispute.closed", dispute("dp_2", 300, intent="pi_cs_2", status="won"))
    assert await cents() == 700
    await at.says("charge.refunded", charge("ch_x", 100, intent="pi_of_nobody"))
    await at.says("charge.refunded", charge("ch_y", 100, intent=None))
    assert await cents() == 700


async def test_what_was_paid_before_anybody_was_known_is_credited_then(paid: Running, at: At) -> None:
    """Shown until then; to the oldest key of the customer, and no second time to another."""
    await at.says("invoice.paid", invoice("in_1", "cus_1", 300))
    _, page = await paid.api("GET", "/v1/changes?type=credits.refused")
    assert (page["data"][0]["after"]["reason"], page["data"][0]["after"]["customer"]) == ("no_account", "cus_1")
    key = await paid.mint(max_spend_usd="1")
    _, known = await paid.api("PATCH", f"/v1/keys/{key['id']}", {"stripe_customer_id": "cus_1"})
    assert known["max_spend_micros"] == 4_000_000
    again = await paid.mint(max_spend_usd="1", stripe_customer_id="cus_1")
    assert again["max_spend_micros"] == 1_000_000
    await at.says("invoice.paid", invoice("in_2", "cus_1", 100))
    assert [(await key_of(paid, each["id"]))["max_spend_micros"] for each in (key, again)] == [5_000_000, 1_000_000]
    metadata = {"farthing_key_id": again["id"]}
    await at.says("checkout.session.completed", session("cs_1", amount_total=200, metadata=metadata))
    assert (await key_of(paid, again["id"]))["max_spend_micros"] == 3_000_000


async def test_a_customer_that_is_set_later_has_what_he_has_bought(paid: Running, at: At) -> None:
    """On a mint, a PATCH and a PUT, at once; and a price that a plan takes on later is in force within a second."""
    await at.sub("sub_1", "cus_1", "active", "p_1")
    unsold = await paid.mint(stripe_customer_id="cus_1")
    assert unsold["plan"] is None
    pro = await made_plan(paid, "pro", "20", stripe={"price_ids": ["p_1"]})

    async def plan() -> Any:
        return (await key_of(paid, unsold["id"]))["plan"]

    await soon(plan, pro)
    assert (await paid.mint(stripe_customer_id="cus_1"))["plan"] == pro
    other = await paid.mint()
    assert (await paid.api("PATCH", f"/v1/keys/{other['id']}", {"stripe_customer_id": "cus_1"}))[1]["plan"] == pro
    _, ann = await paid.api("PUT", f"/v1/end_users/ann?key_id={other['id']}", {"stripe_customer_id": "cus_1"})
    assert ann["max_spend_micros"] == 20_000_000


async def test_a_team_sells_its_own_plans(paid: Running, at: At) -> None:
    """The nearest owner's plan counts for a key; nobody is put on a plan that is not of his own line."""
    masters = await made_plan(paid, "master's", "20", stripe={"price_ids": ["p_1"]})
    team, stranger = await paid.mint(scope="team"), await paid.mint(scope="team")
    status, own = await paid.api("POST", "/v1/plans", {"stripe": {"price_ids": ["p_1"]}}, key=team["secret"])
    assert status == 201
    keys = {
        "team's": await paid.mint(by=team["secret"], stripe_customer_id="cus_1"),
        "stranger's": await paid.mint(by=stranger["secret"], stripe_customer_id="cus_1"),
        "master's": await paid.mint(stripe_customer_id="cus_1"),
    }
    await at.sub("sub_1", "cus_1", "active", "p_1")
    found = {name: (await key_of(paid, key["id"]))["plan"] for name, key in keys.items()}
    assert found == {"team's": own["id"], "stranger's": masters, "master's": masters}


async def test_the_operator_and_the_customer_are_told(tmp_path: Path, clock: Clock) -> None:
    """A price that is no plan's rings once, until it is one; changes ring as any change does."""
    async with (
        receiving() as receiver,
        running(tmp_path, clock=clock, STRIPE_WEBHOOK_SECRET=SECRET, FARTHING_HOOKS_PRIVATE="allow") as farthing,
    ):
        await farthing.api("POST", "/v1/hooks", {"kind": "webhook", "url": receiver.url}, key=MASTER)
        at = At(farthing, clock)
        key = await farthing.mint(max_spend_usd="1", stripe_customer_id="cus_1")

        def heard(type_: str) -> Callable[[], Awaitable[int]]:
            async def count() -> int:
                return len(receiver.bodies(type_))

            return count

        for _ in range(3):
            await at.sub("sub_1", "cus_1", "active", "p_1")
        await at.says("invoice.paid", invoice("in_1", "cus_1", 300))
        await at.says("charge.refunded", charge("ch_1", 300, intent="pi_1", invoice="in_1"))
        await soon(heard("credits.taken_back"), 1)
        (unmapped,) = receiver.bodies("stripe.unmapped_price")
        assert unmapped["data"]["price"] == "p_1"
        assert unmapped["data"]["subscription"] == "sub_1"
        assert receiver.bodies("credits.added")[0]["data"]["key_id"] == key["id"]
        assert receiver.bodies("credits.added")[0]["data"]["actor"] == "stripe"
        assert await farthing.gateway.ledger.stripe.unmapped() == ["p_1"]
        pro = await made_plan(farthing, "pro", "20", stripe={"price_ids": ["p_1"]})

        async def plan() -> Any:
            return (await key_of(farthing, key["id"]))["plan"]

        await soon(plan, pro)
        assert await farthing.gateway.ledger.stripe.unmapped() == []
        await soon(heard("key.updated"), 1)
        assert receiver.bodies("key.updated")[0]["data"]["after"]["plan"] == pro


async def test_a_plan_that_was_bought_holds_calls_on_postgresql_too(tmp_path: Path, postgres: Cluster) -> None:
    """Through the front door: the plan's cap from its period on, the fallback's when it ends."""
    environment = {"FARTHING_DATABASE_URL": postgres.database(), "STRIPE_WEBHOOK_SECRET": SECRET}
    async with running(tmp_path, **environment) as farthing:
        limits = [{"unit": "requests", "max": 2, "window": "month"}]
        pro = await made_plan(farthing, "pro", "20", limits=limits, stripe={"price_ids": ["p_1"]})
        free = await made_plan(farthing, "free", "0.000001", stripe={"fallback": True})
        key = await farthing.mint(stripe_customer_id="cus_1")
        now_s = farthing.gateway.ledger.clock_ms() // 1000
        for number, (status, wanted) in enumerate((("active", [200, 200, 429]), ("canceled", [402]))):
            found = subscription("sub_1", "cus_1", status, prices=["p_1"], period_s=now_s - 3_600)
            assert await tell(farthing, event("customer.subscription.updated", found, now_s + number), times=2)
            assert [(await farthing.call(key["secret"], CHAT))[0] for _ in wanted] == wanted
            await farthing.quiet()
            shown = await key_of(farthing, key["id"])
            assert shown["plan"] == (pro if status == "active" else free)
            assert (shown["window_start_ms"] == (now_s - 3_600) * 1000) == (status == "active")
        await farthing.audited()


@pytest.mark.parametrize("days", [0, 1, 10])
async def test_a_grace_is_as_long_as_is_said(tmp_path: Path, clock: Clock, days: int) -> None:
    """It ends by the clock, without a call and without an event; with none it ends at once."""
    more = {"FARTHING_STRIPE_GRACE_DAYS": str(days)}
    async with running(tmp_path, clock=clock, STRIPE_WEBHOOK_SECRET=SECRET, **more) as farthing:
        free = await made_plan(farthing, "free", "1", stripe={"fallback": True})
        pro = await made_plan(farthing, "pro", "20", stripe={"price_ids": ["p_1"]})
        key = await farthing.mint(stripe_customer_id="cus_1")
        at = At(farthing, clock)
        await at.sub("sub_1", "cus_1", "active", "p_1")
        start_ms = clock.ms
        await at.sub("sub_1", "cus_1", "past_due", "p_1")

        async def plan() -> Any:
            return (await key_of(farthing, key["id"]))["plan"]

        if days:
            clock.ms = start_ms + days * 86_400_000 - 1
            await asyncio.sleep(1.5)
            assert await plan() == pro
            clock.ms += 1
        await soon(plan, free)


async def test_a_billing_day_that_a_month_lacks_opens_no_second_window(paid: Running, at: At, clock: Clock) -> None:
    """Billed on the 31st: February's period begins on the 28th, and lasts until the 31st of March."""
    pro = await made_plan(paid, "pro", "20", stripe={"price_ids": ["p_1"]})
    key = await paid.mint(stripe_customer_id="cus_1")
    clock.set("2026-02-28T10:00:05")
    cycle = {"billing_cycle_anchor": at_s("2026-01-31T10:00:00")}
    await at.sub("sub_1", "cus_1", "active", "p_1", period_s=at_s("2026-02-28T10:00:00"), **cycle)
    for moment in ("2026-03-01T00:00:00", "2026-03-28T11:00:00", "2026-03-31T09:59:59"):
        clock.set(moment)
        shown = await key_of(paid, key["id"])
        assert (shown["plan"], shown["window_start_ms"]) == (pro, at_s("2026-02-28T10:00:00") * 1000)
        assert shown["resets_at_ms"] == at_s("2026-03-31T10:00:00") * 1000


def at_s(moment: str) -> int:
    clock = Clock(moment)
    return clock.ms // 1000
