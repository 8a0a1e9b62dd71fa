"""Old events go, and everything that they came to stays: bills, balances, counters, and the proof of them."""

from __future__ import annotations

import pytest

from ledger import retention
from ledger.book import Match
from ledger.events import EventQuery
from ledger.records import Facts, Measures, Recover, Report
from ledger.retention import Dropped
from ledger.usage import Query, UsageReport
from ledger.windows import DAY_MS, day_start_ms
from tests.ledger.world import PICOS, World, assert_sound


async def days_of_calls(world: World, days: int) -> str:
    """Calls on several days, of every kind that leaves an event; the key."""
    parent = await world.open(cap=100_000, reset="month")
    key = await world.open(parent, cap=10_000)
    user, run = await world.subject(key, "ann"), await world.subject(key, "run", kind="run")
    terms = (world.terms("tokens", 10**6, "day", match=Match(model="gpt-1")), world.terms("requests", None, "week"))
    await world.edit(key, limits=terms)
    for day in range(days):
        for number in range(8):
            odd = str(number % 2)
            facts = Facts(provider="openai", model=f"gpt-{odd}", metadata={"team": odd})
            call = await world.held(key, 10, facts=facts, subject_id=user if number % 3 else 0, run_id=run)
            await world.settle(
                call,
                cost_picos=number * PICOS + 1,
                measures=Measures(input_tokens=number, images=day),
                usage={"input_tokens": number, "images": day},
                tokens=number,
                latency_ms=number * 7,
            )
        await world.settle(await world.held(key, 5), 25)  # an overrun
        await world.hold(key, 10**7)  # refused
        await world.ledger.calls.report(
            Report(
                id=f"r{day}", account_id=world.accounts[key], facts=Facts(mode="monitor"), at_ms=world.clock(),
                cost_picos=3 * PICOS, measures=Measures(output_tokens=5), usage={"output_tokens": 5},
            )
        )  # fmt: skip
        world.clock.now_ms += DAY_MS
    return key


async def bill(world: World, key: str, from_ms: int, to_ms: int, **more: object) -> UsageReport:
    return await world.ledger.reports.usage(
        Query(owner_id=world.accounts[key], from_ms=from_ms, to_ms=to_ms, **more)  # type: ignore[arg-type]
    )


async def test_what_old_events_came_to_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events older than so many days go, in small steps; sums, views, bills and the audit say the same as before."""
    monkeypatch.setattr(retention, "DROPPED_AT_ONCE", 7)
    start = day_start_ms(world.clock())
    key = await days_of_calls(world, 6)
    today = day_start_ms(world.clock())
    before, view = await world.ledger.reports.audit(), await world.view(key)
    billed = await bill(world, key, start, today, by_day=True, by_end_user=True)
    assert before.dropped == 0
    dropped = await world.ledger.tending.drop_events(2)
    assert dropped == 4 * 11
    assert world.rows("SELECT count(*) FROM events WHERE created_ms < ?", today - 2 * DAY_MS) == [(0,)]
    after = await world.ledger.reports.audit()
    assert (after.count, after.events, after.dropped) == (0, before.events - dropped, dropped)
    assert after.cost_micros == before.cost_micros > 0
    assert await world.view(key) == view
    assert await bill(world, key, start, today, by_day=True, by_end_user=True) == billed
    assert await world.ledger.tending.drop_events(2) == 0
    assert await world.ledger.tending.drop_events(0) == 2 * 11
    assert await bill(world, key, start, today, by_day=True, by_end_user=True) == billed
    page, more = await world.ledger.reports.events(EventQuery(owner_id=world.accounts[key], limit=100))
    assert (page, more) == ([], False)


async def test_what_is_gone_is_not_told_wrong(world: World) -> None:
    """A part of a day, or a tag, that only the dropped events knew is refused; what can be told is told."""
    start = day_start_ms(world.clock())
    key = await days_of_calls(world, 5)
    today = day_start_ms(world.clock())
    kept = today - 2 * DAY_MS
    await world.ledger.tending.drop_events(2)
    for from_ms, to_ms, more in (
        (start + 1, today, {}),
        (start, start + DAY_MS + 5, {}),
        (start + 5, start + 6, {}),
        (start, today, {"tag": "team"}),
        (kept - 1, today, {}),
    ):
        with pytest.raises(Dropped) as refused:
            await bill(world, key, from_ms, to_ms, **more)
        assert refused.value.kept_from_ms == kept
    for from_ms, to_ms, more in (
        (start, today, {}),
        (kept + 5, today, {}),
        (kept, today + 5, {"tag": "team"}),
        (start, kept + DAY_MS + 5, {}),
    ):
        await bill(world, key, from_ms, to_ms, **more)


async def test_what_is_not_over_stays(world: World) -> None:
    """The event of a call that nobody settled stays until somebody does, then nothing is charged again."""
    key = await world.open(cap=1000)
    lost, held = await world.held(key, 10), await world.held(key, 20)
    await world.ledger._writer.submit(Recover(id=lost))
    world.clock.now_ms += 10 * DAY_MS
    assert await world.ledger.tending.drop_events(2) == 0
    await assert_sound(world.ledger)
    assert (await world.settle(lost, 7)) is not None
    assert (await world.settle(held, 8)) is not None
    assert await world.ledger.tending.drop_events(2) == 3
    for call in (lost, held):
        assert await world.settle(call, 9) is None  # as of an id that was never held: nothing is charged again
    assert (await world.view(key)).spent_micros == 15
    await world.spend(key, 5)
    assert (await world.ledger.reports.audit()).dropped == 3
