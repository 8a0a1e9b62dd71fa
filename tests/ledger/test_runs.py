"""Runs of pipelines: a cap of their own, a pause that is gone on from once, an end that is one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ledger.records import Held, Refused
from ledger.replays import Origin, ReplayMismatch
from ledger.views import NotFound
from tests.ledger.world import World


async def opened(world: World, key: str, cap: int | None, **more: Any) -> tuple[str, int]:
    """A run's id, and its account."""
    run_id, _ = await world.ledger.runs.open(world.accounts[key], world.new_id("run"), world.new_id("lim"), cap, **more)
    return run_id, await world.ledger.accounts.subject_id(world.accounts[key], "run", run_id)


async def test_its_cap_binds_with_all_others(world: World) -> None:
    """What is held and spent counts, on its own account; its key's caps bind as before, and other runs are others."""
    key = await world.open(await world.open(), 1_000)
    (one, account), (_, other) = await opened(world, key, 100), await opened(world, key, 100)
    outcomes = await asyncio.gather(*(world.hold(key, 30, run_id=account) for _ in range(5)))
    held = [each for each in outcomes if isinstance(each, Held)]
    refused = [each for each in outcomes if isinstance(each, Refused)]
    assert (len(held), len(refused)) == (3, 2)
    for each in refused:
        assert each.shortfall is not None
        assert (each.reason, each.shortfall.cap) == ("spend_cap_exceeded", "run")
        assert (each.shortfall.max, each.shortfall.remaining, each.shortfall.account_id) == (100, 10, one)
    assert isinstance(await world.hold(key, 100, run_id=other), Held)
    for each in held:
        await world.settle(each.id, 10)
    assert await world.ledger.runs.spent_micros(one) == 30
    assert isinstance(await world.hold(key, 71, run_id=account), Refused)
    assert isinstance(await world.hold(key, 70, run_id=account), Held)


async def test_a_pause_is_gone_on_from_once(world: World) -> None:
    """Of many who try at once one may; a later pause has another number; by its own key only."""
    root = await world.open()
    key, stranger = await world.open(root), await world.open(root)
    run_id, _ = await opened(world, key, None)
    runs, account = world.ledger.runs, world.accounts[key]
    number = await runs.pause(account, run_id)
    assert number is not None
    assert not await runs.resume(world.accounts[stranger], run_id, number)
    assert await runs.pause(world.accounts[stranger], run_id) is None
    assert sorted(await asyncio.gather(*(runs.resume(account, run_id, number) for _ in range(8)))) == [False] * 7 + [
        True
    ]
    later = await runs.pause(account, run_id)
    assert later not in (None, number)
    assert not await runs.resume(account, run_id, number)
    assert await runs.resume(account, run_id, later or 0)


async def test_a_closed_run_lets_nothing_through(world: World) -> None:
    """Once, by its key or one above it; not by another; what flew lands, and a pause is no way back."""
    root = await world.open()
    team, stranger = await world.open(root), await world.open(root)
    key = await world.open(team)
    run_id, run = await opened(world, key, 100)
    runs = world.ledger.runs
    number = await runs.pause(world.accounts[key], run_id)
    flying = await world.held(key, 50, run_id=run)
    for foreign in (stranger, await world.open(key)):
        with pytest.raises(NotFound):
            await runs.close(world.accounts[foreign], run_id)
    assert await runs.closed((run_id,)) == []
    assert await runs.close(world.accounts[team], run_id) == 0
    with pytest.raises(NotFound):
        await runs.close(world.accounts[key], run_id)
    assert await runs.closed((run_id, "run_other")) == [run_id]
    refused = await world.hold(key, 1, run_id=run)
    assert isinstance(refused, Refused)
    assert refused.reason == "run_closed"
    assert not await runs.resume(world.accounts[key], run_id, number or 0)
    await world.settle(flying, 20)
    assert await runs.spent_micros(run_id) == 20


async def test_a_run_that_a_caller_has_named_is_no_pipelines(world: World) -> None:
    """It cannot be closed or paused: what is done to a pipeline's is done by its own id."""
    key = await world.open(await world.open())
    await world.subject(key, "mine", "run")
    ((public_id,),) = world.rows("SELECT public_id FROM accounts WHERE kind = 'run'")
    with pytest.raises(NotFound):
        await world.ledger.runs.close(world.accounts[key], public_id)
    assert await world.ledger.runs.pause(world.accounts[key], public_id) is None


async def test_an_idempotency_key_opens_one(world: World) -> None:
    """The second time it is told which; with another request it is refused."""
    key = await world.open(await world.open())
    origin = Origin(account_id=world.accounts[key], key="k", fingerprint="f", expires_ms=world.clock.now_ms + 1000)
    first, _ = await opened(world, key, None, origin=origin)
    again = await world.ledger.runs.open(world.accounts[key], world.new_id("run"), world.new_id("lim"), 5, origin)
    assert again == (first, True)
    with pytest.raises(ReplayMismatch):
        await opened(world, key, None, origin=Origin(account_id=world.accounts[key], key="k", fingerprint="g"))


async def test_what_a_call_came_to(world: World) -> None:
    """As its event has it, as soon as its settlement was handed over; nothing of one that is none."""
    key = await world.open(await world.open())
    _, run = await opened(world, key, 100)
    call_id = await world.held(key, 50, run_id=run)
    assert await world.ledger.runs.charge(call_id) is None
    await world.settle(call_id, 20)
    charge = await world.ledger.runs.charge(call_id)
    assert charge is not None
    assert (charge.status, charge.cost_micros) == ("settled", 20)
