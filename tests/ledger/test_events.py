"""Events and holds: every call once, newest first, whole while calls go on, and only to whom they belong."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ledger import events as events_module
from ledger.events import EventQuery, EventView, HoldView
from ledger.records import Block, Facts, Measures, Prolong
from ledger.views import NotFound
from tests.ledger.world import World


async def walk(world: World, owner: int, limit: int = 3, **filters: Any) -> list[str]:
    found: list[str] = []
    left = True
    while left:
        query = EventQuery(owner_id=owner, limit=limit, starting_after=found[-1] if found else None, **filters)
        page, left = await world.ledger.reports.events(query)
        assert len(page) == limit or not left
        found += [event.id for event in page]
    return found


@pytest.fixture(params=[0, 500])
def listed_max(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small and large subtrees are looked up in different ways."""
    monkeypatch.setattr(events_module, "SUBTREE_LISTED_MAX", request.param)


async def test_events_are_listed_once_and_newest_first(world: World, listed_max: None) -> None:
    """A walk through all pages lists each event of the subtree once, the newest first."""
    root = await world.open()
    mine, theirs = await world.open(root), await world.open(root)
    child = await world.open(mine)
    made = {key: [await world.spend(key, 1) for _ in range(5)] for key in (mine, theirs, child)}
    for limit in (1, 4, 100):
        assert await walk(world, world.accounts[mine], limit) == [*made[mine], *made[child]][::-1]
        assert await walk(world, 1, limit, key=theirs) == made[theirs][::-1]
    assert len(await walk(world, 1)) == 15


async def test_filters_filter(world: World, listed_max: None) -> None:
    """Each filter leaves what it names, and ranges are half-open."""
    root = await world.open()
    key, test = await world.open(root), await world.open(root, livemode=False)
    start = world.clock()
    user = await world.subject(key, "ann")
    run = await world.subject(key, "job", "run")
    first = await world.spend(key, 1, subject_id=user)
    world.clock.now_ms += 10
    second = await world.spend(key, 1, run_id=run)
    world.clock.now_ms += 10
    reserved = await world.spend(key, 1, facts=Facts(mode="reservation"))
    world.ledger.calls.block(
        Block(id="c_blocked", account_id=world.accounts[key], facts=Facts(), reason="model_not_allowed")
    )
    tested = await world.spend(test, 1)
    assert await walk(world, 1, end_user="ann") == [first]
    assert await walk(world, 1, end_user="bob") == []
    assert await walk(world, 1, run_id="job") == [second]
    assert await walk(world, 1, from_ms=start + 10, to_ms=start + 20) == [second]
    assert await walk(world, 1, to_ms=start + 10) == [first]
    assert await walk(world, 1, mode="reservation") == [reserved]
    assert await walk(world, 1, decision="blocked") == ["c_blocked"]
    assert await walk(world, 1, livemode=False) == [tested]
    assert await walk(world, 1, livemode=None) == [tested, "c_blocked", reserved, second, first]


async def test_a_cursor_misses_nothing_while_calls_go_on(world: World, listed_max: None) -> None:
    """Walking the pages during a storm of calls lists every call that had ended before, once."""
    root = await world.open()
    keys = [await world.open(root) for _ in range(3)]
    before = [await world.spend(keys[number % 3], 1) for number in range(40)]
    done = asyncio.Event()

    async def storm() -> None:
        while not done.is_set():
            await asyncio.gather(*(world.spend(key, 1) for key in keys))

    storming = asyncio.create_task(storm())
    try:
        for _ in range(3):
            listed = await walk(world, 1, 7)
            assert len(listed) == len(set(listed))
            assert [event for event in listed if event in set(before)] == before[::-1]
    finally:
        done.set()
        await storming


async def test_an_event_tells_its_call(world: World) -> None:
    """An event shows what the call was, what it cost, what was held and how it ended."""
    key = await world.open(await world.open())
    user = await world.subject(key, "ann")
    facts = Facts(
        provider="openai", model="gpt", route="chat", stream=True, price_version="v1", metadata={"team": "red"}
    )
    call = await world.held(key, 9, facts=facts, subject_id=user)
    world.clock.now_ms += 1_500
    await world.settle(
        call,
        4,
        model="gpt-served",
        usage={"input_tokens": 3},
        measures=Measures(input_tokens=3),
        reason="stop",
        http_status=200,
        latency_ms=1_500,
        ttft_ms=300,
        flags=("estimated_input",),
    )
    (event,), _ = await world.ledger.reports.events(EventQuery(owner_id=1, limit=1))
    assert event == EventView(
        id=call,
        key_id=key,
        end_user="ann",
        run_id=None,
        created_ms=world.clock() - 1_500,
        settled_ms=world.clock(),
        mode="proxy",
        provider="openai",
        model="gpt-served",
        route="chat",
        livemode=True,
        decision="allowed",
        reason="stop",
        status="settled",
        usage={"input_tokens": 3},
        cost_micros=4,
        cost_picos=4_000_000,
        price_micros=4,
        price_version="v1",
        held_micros=9,
        http_status=200,
        latency_ms=1_500,
        ttft_ms=300,
        stream=True,
        metadata={"team": "red"},
        flags=["estimated_input"],
        upstream="",
    )


async def test_what_costs_more_than_was_held_is_charged_whole_and_flagged(world: World) -> None:
    """A call above its hold is charged what it cost; the excess stands on its key and on the event."""
    key = await world.open(cap=10)
    call = await world.held(key, 10)
    await world.settle(call, 25)
    view = await world.view(key)
    assert (view.spent_micros, view.overrun_micros, view.remaining_micros) == (25, 15, 0)
    (event,), _ = await world.ledger.reports.events(EventQuery(owner_id=1, limit=1))
    assert event.flags == ["overrun"]


async def test_holds_are_listed_to_whom_they_belong(world: World) -> None:
    """Open and unsettled holds of the subtree are listed newest first, by pages and by state."""
    root = await world.open()
    mine, theirs = await world.open(root), await world.open(root)
    holds = [
        await world.held(mine, number + 1, owner="dead" if number < 2 else world.ledger.owner) for number in range(5)
    ]
    foreign = await world.held(theirs, 1)
    await world.ledger.tending.recover()

    async def listed(owner: str, state: str | None = None) -> list[str]:
        found: list[str] = []
        left = True
        while left:
            page, left = await world.ledger.reports.holds(
                world.accounts[owner], limit=2, starting_after=found[-1] if found else None, state=state
            )
            found += [hold.id for hold in page]
        return found

    assert await listed(mine) == holds[::-1]
    assert await listed(mine, "unsettled") == holds[1::-1]
    assert await listed(mine, "open") == holds[:1:-1]
    assert await listed(root) == [foreign, *holds[::-1]]
    assert await world.ledger.reports.hold_sums() == (4, 2)


async def test_a_promise_is_a_hold_and_then_an_event(world: World) -> None:
    """One id leads to the hold while the call is in flight and to its event afterwards."""
    root = await world.open()
    key = await world.open(root)
    call = await world.held(key, 5)
    promise = await world.ledger.calls.promise(world.accounts[key], call)
    assert isinstance(promise, HoldView)
    assert (promise.id, promise.key_id, promise.amount_micros, promise.state) == (call, key, 5, "open")
    await world.settle(call, 3)
    promise = await world.ledger.calls.promise(1, call)
    assert isinstance(promise, EventView)
    assert promise.cost_micros == 3
    with pytest.raises(NotFound):
        await world.ledger.calls.promise(1, "c_nobody")


async def test_reservations_end_at_their_time(world: World) -> None:
    """A reservation is released when its time is over and not before, unless it was prolonged; it is no orphan."""
    key = await world.open(cap=10)
    start = world.clock()
    reservation = Facts(mode="reservation")
    call = await world.held(key, 10, facts=reservation, expires_ms=start + 100, owner="dead")
    assert await world.ledger.tending.recover() == 0
    assert await world.ledger.calls.prolong(Prolong(id=call, expires_ms=start + 200))
    world.clock.now_ms = start + 199
    assert await world.ledger.tending.expire() == 0
    world.clock.now_ms = start + 200
    assert await world.ledger.tending.expire() == 1
    assert not await world.ledger.calls.prolong(Prolong(id=call, expires_ms=start + 900))
    assert (await world.view(key)).remaining_micros == 10
    assert await world.ledger.tending.expire() == 0
