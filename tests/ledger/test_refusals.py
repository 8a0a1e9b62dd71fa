"""Refusals by the thousand: few events, and a number that is right."""

from __future__ import annotations

from pathlib import Path

from ledger.events import EventQuery
from ledger.records import Block, Facts, Held, Refused
from ledger.refusals import BURST, EVENT_MS, FIRST
from ledger.usage import Query
from tests.ledger.world import World, assert_sound, opened

DAY_MS = 86_400_000
FACTS = Facts(provider="openai", model="m", metadata={"a": "b" * 500})


async def _blocked(world: World, root: str) -> int:
    day = world.clock() - world.clock() % DAY_MS
    report = await world.ledger.reports.usage(Query(owner_id=world.accounts[root], from_ms=day, to_ms=day + DAY_MS))
    ragged = await world.ledger.reports.usage(Query(owner_id=world.accounts[root], from_ms=day + 1, to_ms=day + DAY_MS))
    sums = [sum(each.blocked for each in found.groups.values()) for found in (report, ragged)]
    assert sums[0] == sums[1]
    return sums[0]


async def test_repeats_are_counted_in_one_event(world: World) -> None:
    """The first refusals of a key are events of their own, the others one for each reason; usage counts them all."""
    root = await world.open()
    key, other = await world.open(root, cap=0), await world.open(root)
    for number in range(BURST + 300):
        assert isinstance(await world.ledger.calls.hold(world.ask(key, 1, facts=FACTS), fold=True), Refused)
        if number == FIRST + 3:
            assert len(world.rows("SELECT id FROM events")) == FIRST, "the others wait for each other"
    for number in range(200):
        block = Block(id=f"b{number}", account_id=world.accounts[key], facts=FACTS, reason="model_not_allowed")
        world.ledger.calls.refuse(block)
    world.ledger.calls.refuse(Block(id="c", account_id=world.accounts[other], facts=FACTS, reason="model_not_allowed"))
    assert await _blocked(world, root) == BURST + 501
    rows = world.rows("SELECT usage, metadata FROM events WHERE account_id = ?", world.accounts[key])
    assert len(rows) == BURST + 2
    assert {metadata for _, metadata in rows} == {"{}"}
    events, _ = await world.ledger.reports.events(EventQuery(owner_id=world.accounts[root], limit=1000))
    assert sum(event.count for event in events) == BURST + 501
    assert {event.usage == {} for event in events} == {True}
    world.clock.now_ms += EVENT_MS
    assert isinstance(await world.ledger.calls.hold(world.ask(key), fold=True), Refused)
    world.ledger.calls._refusals.flush()
    assert isinstance(await world.hold(other, 1), Held)
    assert len(world.rows("SELECT id FROM events WHERE account_id = ?", world.accounts[key])) == BURST + 3
    world.clock.now_ms += 3 * DAY_MS
    assert await world.ledger.tending.drop_events(1) > 0


async def test_what_was_counted_is_written_at_the_end(database: Path | str) -> None:
    """A ledger that is closed writes what it has only counted."""
    async with opened(database) as world:
        root = await world.open(cap=0)
        for _ in range(BURST + 7):
            await world.ledger.calls.hold(world.ask(root, 1), fold=True)
    async with opened(database, owner="heir") as heir:
        heir.accounts = world.accounts
        assert await _blocked(heir, root) == BURST + 7
        await assert_sound(heir.ledger)
