"""Windows of a plan that count from an anchor: what calls are held against, on both databases."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from ledger.billing.records import Happening, Item, Subscription
from ledger.billing.terms import PlanTerms
from ledger.records import Held, Refused
from ledger.views import AccountView
from ledger.windows import DAY_MS
from tests.ledger.world import World


async def told(world: World, number: int, start_ms: int, status: str = "active") -> None:
    """A subscription in a period that began then."""
    item = Item(price_id="price_1", period_start_s=start_ms // 1000)
    found = Subscription(id="sub_1", customer_id="cus_1", status=status, created_s=1, items=(item,))
    event = Happening(id=f"evt_{number}", type="t", created_s=number, object_id="sub_1", facts=(found,))
    assert await world.ledger.stripe.take(event, world.new_id, fetch=False)


def spent(view: AccountView) -> list[tuple[int, int]]:
    """Start and use of each window of the plan's."""
    return [(each.window_start_ms, each.used) for each in view.limits if each.window != "total"]


async def test_a_plans_windows_count_from_the_period(world: World) -> None:
    """Its cap and its limits; what the key says itself counts by the calendar; a new period is a new window."""
    master = await world.open()
    terms = world.terms("requests", 3, "month")
    new = world.account(master, 100, "month", kind="plan", limits=(terms,))
    await world.ledger.accounts.open(new, sold=PlanTerms(price_ids=["price_1"]))
    unset: Any = {"cap_micros": UNSET, "reset": UNSET, "limits": None}
    key = await world.open(master, stripe_customer_id="cus_1", **unset)
    own = await world.open(
        master, 100, "month", stripe_customer_id="cus_1", limits=(world.terms("requests", 3, "month"),)
    )
    start_ms = world.clock() - world.clock() % 1000 - 5 * DAY_MS
    calendar = [start for start, _ in spent(await world.view(own))]

    await told(world, 1, start_ms)
    await world.spend(key, 60)
    await world.spend(own, 60)
    assert spent(await world.view(key)) == [(start_ms, 60), (start_ms, 1)]
    assert [start for start, _ in spent(await world.view(own))] == calendar
    assert isinstance(await world.hold(key, 41), Refused)
    assert isinstance(await world.hold(key, 40), Held)

    world.clock.now_ms = start_ms + 31 * DAY_MS - 1  # January begins within it
    assert isinstance(await world.hold(key, 1), Refused)
    world.clock.now_ms += 1
    assert spent(await world.view(key)) == [(start_ms + 31 * DAY_MS, 0), (start_ms + 31 * DAY_MS, 0)]
    await world.spend(key, 100)
    assert isinstance(await world.hold(key, 1), Refused)

    world.clock.now_ms += DAY_MS
    await told(world, 2, world.clock.now_ms - world.clock.now_ms % 1000)
    assert isinstance(await world.hold(key, 100), Held), "a period that begins anew is a window that does"
    await told(world, 3, start_ms, "canceled")
    assert isinstance(await world.hold(key, 1), Refused), "disabled: there is nothing to fall back to"


async def test_a_plan_that_is_given_by_hand_has_the_calendars_windows(world: World) -> None:
    """The anchor was another plan's."""
    master = await world.open()
    for name, sold in (("sold", PlanTerms(price_ids=["price_1"])), ("other", None)):
        new = world.account(master, 100, "month", kind="plan", public_id=f"plan_{name}")
        await world.ledger.accounts.open(new, sold=sold)
    key = await world.open(master, stripe_customer_id="cus_1", cap_micros=UNSET, reset=UNSET)
    calendar = (await world.view(key)).anchor_ms
    await told(world, 1, 5_000)
    assert (await world.view(key)).anchor_ms == 5_000
    await world.edit(key, owner=master, plan="plan_other")
    assert (await world.view(key)).anchor_ms is calendar is None
