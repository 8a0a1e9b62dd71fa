"""Adjustments of what an event was charged, on both engines."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.records import Adjust, Facts
from tests.ledger.world import PICOS, World

DAY_MS = 86_400_000


async def adjusted(world: World, key: str, call_id: str, picos: int, number: int = 1, **more: int) -> None:
    page, _ = await world.ledger.reports.charged(0, 2**53, (0, 0), livemode=True)
    event = next(each for each in page if each.id == call_id)
    facts = Facts(mode="adjustment", provider=event.provider, model=event.model, price_version="new")
    await world.ledger.calls.adjust(
        Adjust(
            id=f"{call_id}-r{number}",
            account_id=event.account_id,
            subject_id=event.subject_id,
            facts=facts,
            at_ms=event.created_ms,
            cost_picos=picos,
            counters=event.counters,
            **more,
        )
    )


async def call(world: World, key: str, picos: int, subject_id: int = 0) -> str:
    call_id = await world.held(key, picos // PICOS + 1, subject_id=subject_id)
    await world.settle(call_id, usage={"input_tokens": 0, "searches": 1}, cost_picos=picos)
    return call_id


async def test_an_adjustment_moves_the_windows_of_its_call(world: World) -> None:
    """Yesterday's call is cheaper: yesterday's window and the balance go down, today's stands, and holds are left."""
    master = await world.open()
    key = await world.open(master, 1_000, "day", limits=(world.terms("micros", 10_000, "month"),))
    call_id = await call(world, key, 700 * PICOS)
    await world.held(key, 100)
    world.clock.now_ms += DAY_MS
    await world.spend(key, 50)
    await adjusted(world, key, call_id, -300 * PICOS)
    await adjusted(world, key, call_id, -300 * PICOS)  # the same again
    view = await world.view(key)
    assert view.spent_micros == 450
    assert (await world.view(master)).spent_micros == 0  # its own; its balance is audited at the end
    rows = world.rows("SELECT used, held FROM counters ORDER BY used, held")
    assert (450, 100) in rows
    assert (400, 100) in rows
    assert not any(held not in (0, 100) for _, held in rows)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(0, 5_000_000), st.booleans()), max_size=6))
async def test_sums_are_exact_whatever_is_adjusted(world: World, calls: list[tuple[int, int, bool]]) -> None:
    """Parts of micros, up and down, with or without an end user: spent is Σ picos rounded down; the audit clean."""
    master = await world.open()
    key = await world.open(master, limits=(world.terms("micros", 10**6, "day"),))
    ann = await world.subject(key, "ann")
    made = [(await call(world, key, old, ann if named else 0), old, new) for old, new, named in calls]
    for call_id, old, new in made:
        await adjusted(world, key, call_id, new - old)
    assert (await world.view(key)).spent_micros == sum(new for _, new, _ in calls) // PICOS
    audit = await world.ledger.reports.audit()
    assert audit.count == 0, audit.differences
