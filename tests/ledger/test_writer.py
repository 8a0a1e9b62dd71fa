"""The writer: group commit, nothing that carries money lost, nobody kept waiting, no hold left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger import writer as writer_module
from ledger.engine import Change, Result, Script, Work
from ledger.records import Ask, Block, Facts, Held, LedgerUnavailable, Refused, Settlement
from ledger.sqlite import engine as engine_module
from ledger.writer import Writer
from tests.ledger.world import World, assert_sound, eventually, opened, outside, settlement, ticks

PATIENCE_MS = 60


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer is waited for a moment only, so that tests are short."""
    pragmas = [one for one in engine_module._PRAGMAS if "busy_timeout" not in one]
    monkeypatch.setattr(engine_module, "_PRAGMAS", (*pragmas, f"PRAGMA busy_timeout={PATIENCE_MS}"))
    monkeypatch.setattr(writer_module, "RETRY_S", (0.01, 0.02))


@contextlib.contextmanager
def blocked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program keeps the database for itself."""
    with outside(path) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield other
        finally:
            other.execute("ROLLBACK")


# ---- concurrency


@pytest.mark.parametrize(("calls", "room"), [(1, 1), (50, 0), (200, 17), (200, 199), (500, 500)])
async def test_exactly_as_many_calls_as_there_is_room_for(world: World, calls: int, room: int) -> None:
    """Of many parallel holds on one key, exactly those are admitted for which the cap has room."""
    key = await world.open(cap=room * 10 + 9)
    outcomes = await asyncio.gather(*(world.hold(key, 10) for _ in range(calls)))
    assert sum(isinstance(outcome, Held) for outcome in outcomes) == room
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, Refused)} <= {"spend_cap_exceeded"}
    assert (await world.view(key)).limits[0].held == room * 10


async def test_siblings_share_their_parents_budget(world: World) -> None:
    """However siblings race, their parent's cap is exact and each sibling's own holds too."""
    parent = await world.open(cap=100)
    keys = [await world.open(parent, cap=30) for _ in range(5)]
    outcomes = await asyncio.gather(*(world.hold(keys[i % 5], 10) for i in range(200)))
    assert sum(isinstance(outcome, Held) for outcome in outcomes) == 10
    for key in keys:
        assert (await world.view(key)).limits[0].held <= 30
    view = await world.view(parent)
    assert (view.limits[0].held, view.remaining_micros) == (100, 0)


async def test_concurrency_is_given_back(world: World) -> None:
    """A limit of concurrent calls admits so many at once, and the next as soon as one has ended."""
    key = await world.open()
    await world.edit(key, limits=(world.terms("concurrent", 3),))
    outcomes = await asyncio.gather(*(world.hold(key) for _ in range(10)))
    held = [outcome.id for outcome in outcomes if isinstance(outcome, Held)]
    assert len(held) == 3
    await world.settle(held[0], 1)
    outcomes = await asyncio.gather(*(world.hold(key) for _ in range(10)))
    assert sum(isinstance(outcome, Held) for outcome in outcomes) == 1


async def test_what_waits_together_is_committed_together(world: World) -> None:
    """A hundred holds that are asked for at once take one transaction."""
    key = await world.open()
    before = world.ledger.commits
    await asyncio.gather(*(world.hold(key) for _ in range(100)))
    assert world.ledger.commits == before + 1


async def test_a_batch_is_bounded(world: World) -> None:
    """More than a batch takes as many transactions as there are batches."""
    key = await world.open()
    before = world.ledger.commits
    await asyncio.gather(*(world.hold(key) for _ in range(writer_module.BATCH_MAX + 1)))
    assert world.ledger.commits == before + 2


# ---- once


async def test_settling_twice_in_one_batch_charges_once(world: World) -> None:
    """Two settlements of one call that meet in one transaction are one charge, and the ledger lives on."""
    key = await world.open(cap=100)
    call = await world.held(key, 10)
    first, second = await asyncio.gather(world.settle(call, 7), world.settle(call, 9))
    assert first is not None
    assert second is not None
    assert (first.cost_micros, first.first) == (7, True)
    assert (second.cost_micros, second.first) == (7, False)
    assert world.ledger.healthy
    assert (await world.view(key)).spent_micros == 7


async def test_a_late_settlement_is_once_too(world: World) -> None:
    """After a recovered hold was settled late, a repeated settlement gives the late event's answer."""
    key = await world.open()
    call = await world.held(key, 10, owner="dead")
    assert await world.ledger.tending.recover() == 1
    late = await world.settle(call, 7)
    again = await world.settle(call, 9)
    assert late is not None
    assert again is not None
    assert (late.id, late.cost_micros, late.first) == (f"{call}-late", 7, True)
    assert (again.id, again.cost_micros, again.first) == (f"{call}-late", 7, False)


async def test_a_settlement_of_nothing_is_nothing(world: World) -> None:
    """Settling an id that was never held changes nothing and says so."""
    assert await world.settle("c_unknown", 5) is None
    assert (await world.ledger.reports.audit()).events == 0


# ---- callers that go away


async def test_a_cancelled_callers_hold_is_released(world: World) -> None:
    """A caller that is cancelled while its hold is being committed leaves nothing held."""
    key = await world.open(cap=10)
    before = world.ledger.commits
    task = asyncio.create_task(world.hold(key, 10))
    await ticks()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: world.ledger.commits == before + 2)  # the hold, then its release
    assert await world.ledger.reports.hold_sums() == (0, 0)
    assert isinstance(await world.hold(key, 10), Held)


async def test_a_caller_cancelled_just_after_the_commit_leaves_nothing_held(world: World) -> None:
    """A caller that is cancelled when its answer is already on its way leaves nothing held either."""
    key = await world.open(cap=10)
    ask = world.ask(key, 10)
    task = asyncio.create_task(world.ledger.calls.hold(ask))
    await ticks(1)
    writer = world.ledger._writer
    resolve = writer._resolve

    def resolve_and_cancel(*arguments: Any) -> None:
        resolve(*arguments)
        task.cancel()

    writer._resolve = resolve_and_cancel  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await task
    writer._resolve = resolve  # type: ignore[method-assign]
    settled = await world.settle(ask.id)
    assert settled is not None
    assert not settled.first
    assert (await world.view(key)).remaining_micros == 10


# ---- bounds


async def test_a_full_queue_refuses_at_once_and_never_a_settlement(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound holds are told "unavailable" at once; settlements are taken all the same."""
    key = await world.open()
    call = await world.held(key, 5)
    monkeypatch.setattr(writer_module, "QUEUE_MAX", 10)
    holds = [asyncio.create_task(world.hold(key)) for _ in range(15)]
    await ticks(1)
    world.ledger.calls.settle(settlement(call, 5))
    world.ledger.calls.block(Block(id="c_blocked", account_id=world.accounts[key], facts=Facts(), reason="x"))
    outcomes = await asyncio.gather(*holds, return_exceptions=True)
    assert sum(isinstance(outcome, Held) for outcome in outcomes) == 10
    assert sum(isinstance(outcome, LedgerUnavailable) for outcome in outcomes) == 5
    assert (await world.view(key)).spent_micros == 5
    assert world.rows("SELECT count(*) FROM events WHERE decision = 'blocked'") == [(0,)]


# ---- a database that fails


async def test_a_blocked_database_refuses_holds_and_keeps_settlements(tmp_path: Path, impatient: None) -> None:
    """While another program keeps the database, holds are refused; settlements wait and are written afterwards."""
    async with opened(tmp_path / "farthing.db") as world:
        key = await world.open(cap=100)
        call = await world.held(key, 10)
        with blocked(world.path):
            world.ledger.calls.settle(settlement(call, 7))
            world.ledger.calls.block(Block(id="c_blocked", account_id=world.accounts[key], facts=Facts(), reason="x"))
            for _ in range(3):
                with pytest.raises(LedgerUnavailable):
                    await world.hold(key, 10)
            assert not world.ledger.healthy
            assert world.ledger.waiting or not world.ledger.healthy
            assert (await world.view(key)).spent_micros == 0
        outcome = await world.hold(key, 10)
        while not isinstance(outcome, Held):
            outcome = await world.hold(key, 10)
        view = await world.view(key)
        assert (view.spent_micros, view.limits[0].held) == (7, 10)
        assert world.ledger.healthy
        await assert_sound(world.ledger)
        assert world.rows("SELECT count(*) FROM events WHERE decision = 'blocked'") == [(1,)]


async def test_an_unavailable_database_answers_everybody_soon(tmp_path: Path, impatient: None) -> None:
    """However many batches wait, a blocked database refuses them all together, not one batch after another."""
    async with opened(tmp_path / "farthing.db") as world:
        key = await world.open()
        engine: Any = world.ledger._engine
        commit = engine.commit
        attempts = 0

        async def counted(batch: list[Work], now_ms: int) -> list[Result]:
            nonlocal attempts
            attempts += 1
            result: list[Result] = await commit(batch, now_ms)
            return result

        engine.commit = counted
        with blocked(world.path):
            holds = (world.hold(key) for _ in range(writer_module.BATCH_MAX * 6))
            outcomes = await asyncio.gather(*holds, return_exceptions=True)
        assert all(isinstance(outcome, LedgerUnavailable) for outcome in outcomes)
        assert attempts == 1
        await assert_sound(world.ledger)


async def test_a_full_disk_refuses_holds_and_keeps_settlements(tmp_path: Path, impatient: None) -> None:
    """Without room on the disk holds are refused and nothing is half written; with room again all is written."""
    async with opened(tmp_path / "farthing.db") as world:
        key = await world.open(cap=10_000)
        calls = [await world.held(key, 10) for _ in range(20)]
        connection = world.ledger._engine._connection  # type: ignore[attr-defined]

        def limit_pages(count: int) -> None:
            connection.execute(f"PRAGMA max_page_count={count}")

        thread = world.ledger._engine._thread  # type: ignore[attr-defined]
        await thread.do(limit_pages, 1)  # no page more than there are
        full = False
        for _ in range(200):
            try:
                calls.append(await world.held(key, 10, facts=Facts(metadata={"padding": "x" * 3_000})))
            except LedgerUnavailable:
                full = True
                break
        assert full
        for call in calls:
            world.ledger.calls.settle(settlement(call, 10, usage={"padding": "x" * 3_000}))
        await asyncio.sleep(0.05)
        assert world.ledger.waiting or not world.ledger.healthy
        await thread.do(limit_pages, 1_000_000)
        await eventually(lambda: world.ledger.healthy and not world.ledger.waiting)
        assert (await world.view(key)).spent_micros == 10 * len(calls)
        assert await world.ledger.reports.hold_sums() == (0, 0)
        await assert_sound(world.ledger)


# ---- poison


async def test_a_poisoned_operation_does_not_take_its_batch_along(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """An operation that cannot be carried out fails alone: its neighbours in the batch are committed."""
    key = await world.open(cap=100)
    call = await world.held(key, 10)
    caplog.set_level(logging.CRITICAL)
    poison = world.ask(key, 1, facts=Facts(metadata={"x": object()}))  # type: ignore[dict-item]
    results = await asyncio.gather(
        world.hold(key, 10),
        world.ledger.calls.hold(poison),
        world.settle(call, 10),
        world.open(key),
        return_exceptions=True,
    )
    assert isinstance(results[0], Held)
    assert isinstance(results[1], TypeError)
    assert results[2] is not None
    assert isinstance(results[3], str)
    view = await world.view(key)
    assert (view.spent_micros, view.limits[0].held) == (10, 10)
    assert world.ledger.healthy


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_database_that_fails_in_the_middle_of_a_split_batch_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a split batch has committed stands and is answered; a settlement it could not commit is repeated."""
    key = await world.open(cap=100)
    call = await world.held(key, 10)
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(writer_module, "RETRY_S", (0.001,))
    engine: Any = world.ledger._engine
    transaction = engine._transaction
    failures = iter([sqlite3.OperationalError("disk I/O error")])

    def fail_once(batch: list[Work], now_ms: int) -> list[Result]:
        if len(batch) == 1 and isinstance(batch[0], Settlement):
            for failure in failures:
                raise failure
        result: list[Result] = transaction(batch, now_ms)
        return result

    engine._transaction = fail_once
    poison = world.ask(key, 1, facts=Facts(metadata={"x": object()}))  # type: ignore[dict-item]
    results = await asyncio.gather(
        world.hold(key, 10),
        world.settle(call, 10),
        world.ledger.calls.hold(poison),
        world.hold(key, 5),
        return_exceptions=True,
    )
    assert isinstance(results[0], Held)
    assert getattr(results[1], "first", None) is True
    assert isinstance(results[2], TypeError)
    assert isinstance(results[3], Held)
    assert (await world.view(key)).spent_micros == 10


async def test_a_row_that_cannot_be_is_the_operations_fault(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A call recorded twice under one id is refused once, and is not taken for a broken database."""
    key = await world.open()
    caplog.set_level(logging.CRITICAL)
    block = Block(id="c_twice", account_id=world.accounts[key], facts=Facts(), reason="model_not_allowed")
    for _ in range(3):
        world.ledger.calls.block(block)
        assert isinstance(await world.hold(key), Held)
    assert world.ledger.healthy
    assert world.rows("SELECT count(*) FROM events WHERE id = 'c_twice'") == [(1,)]


async def test_a_settlement_that_cannot_be_written_is_shouted_about(
    loose: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A settlement that the database can never take leaves a critical line, and the call stays counted at its hold."""
    key = await loose.open()
    call = await loose.held(key, 10)
    loose.ledger.calls.settle(settlement(call, 1, usage={"x": object()}))
    assert isinstance(await loose.hold(key), Held)
    rejected = [record for record in caplog.records if record.message == "settlement rejected"]
    assert [record.__dict__["call_id"] for record in rejected] == [call]
    await eventually(lambda: loose.ledger.waiting == 0)
    await loose.settle(await loose.held(key, 5), 5)  # behind what the rejection led to
    balance = (await loose.view(key)).limits[0]
    assert (balance.used, balance.held, balance.unsettled) == (5, 1, 10)
    assert loose.rows("SELECT status, reason FROM events WHERE id = ?", call) == [("unsettled", "not_written")]
    await assert_sound(loose.ledger)


def _odd() -> Script[None]:
    yield "INSERT INTO settings (name, value) VALUES ('a', 'b')", ()
    raise LookupError("changed my mind")


async def test_a_script_that_refuses_leaves_no_trace(world: World) -> None:
    """What a script wrote before it refused is undone, and the rest of its batch is not."""
    key = await world.open()
    results = await asyncio.gather(
        world.ledger._writer.submit(Change(lambda touched: _odd())), world.hold(key), return_exceptions=True
    )
    assert isinstance(results[0], LookupError)
    assert isinstance(results[1], Held)
    assert world.rows("SELECT count(*) FROM settings") == [(0,)]


# ---- the writer alone, with an engine that fails as it is told


class Faulty:
    """An engine whose answers are given in advance: an exception to raise, or one result for all."""

    told = False

    def __init__(self, *plan: object) -> None:
        self.plan = list(plan)
        self.batches: list[list[Work]] = []
        self.at_once = self.most_at_once = 0
        self.at_once_when_closed: int | None = None

    async def commit(self, batch: list[Work], now_ms: int) -> list[Result]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.batches.append(batch)
        await ticks(5)
        self.at_once -= 1
        step = self.plan.pop(0) if self.plan else None
        if isinstance(step, list):
            return step
        if isinstance(step, Exception):
            raise step
        return [step] * len(batch)

    async def read(self, script: Any, *, long: bool = False) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        self.at_once_when_closed = self.at_once
        self.batches.append([])


async def test_what_was_not_taken_of_a_split_batch_is_kept_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the database fails in the middle of a split batch, what it took is answered, settlements wait, holds fail."""
    monkeypatch.setattr(writer_module, "RETRY_S", (0.001,))
    held = Held(id="a", allowance=0, amount_micros=1)
    engine = Faulty([held, LedgerUnavailable("x"), LedgerUnavailable("x")])
    writer = Writer(engine, lambda: 0)
    ask = Ask(id="a", account_id=1, facts=Facts(), owner="o")
    taken, refused = writer.submit(ask), writer.submit(ask)
    writer.keep(settlement("c"))
    assert await taken == held
    with pytest.raises(LedgerUnavailable):
        await refused
    await writer.close()
    assert engine.batches[1] == [settlement("c")]
    assert writer.healthy


async def test_settlements_are_repeated_in_their_order_until_they_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A settlement is offered to the database again and again, the same and first in line."""
    monkeypatch.setattr(writer_module, "RETRY_S", (0.001,))
    engine = Faulty(*[LedgerUnavailable("down")] * 5)
    writer = Writer(engine, lambda: 0)
    writer.keep(settlement("a"))
    await asyncio.sleep(0.003)
    writer.keep(settlement("b"))
    await writer.close()
    assert len(engine.batches) >= 6
    written = [work for batch in engine.batches[5:] for work in batch]
    assert written == [settlement("a"), settlement("b")]


async def test_closing_waits_for_the_one_transaction_that_is_under_way() -> None:
    """Closing right after something was handed over writes it once, then what came meanwhile, then lets go."""
    engine = Faulty()
    writer = Writer(engine, lambda: 0)

    async def meanwhile() -> None:
        await ticks(3)
        writer.keep(settlement("b"))

    writer.keep(settlement("a"))
    task = asyncio.create_task(meanwhile())
    await writer.close()
    await task
    await ticks(10)
    assert engine.batches == [[settlement("a")], [settlement("b")], []]
    assert (engine.most_at_once, engine.at_once_when_closed) == (1, 0)


async def test_closing_does_not_wait_for_a_dead_database_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written in time when the process ends is left to recovery."""
    monkeypatch.setattr(writer_module, "RETRY_S", (0.001,))
    engine = Faulty(*[LedgerUnavailable("down")] * 100_000)
    writer = Writer(engine, lambda: 0)
    writer.keep(Settlement(id="a", status="settled", cost_picos=1))
    started = time.monotonic()
    await writer.close(timeout_s=0.05)
    assert time.monotonic() - started < 1
    assert engine.batches[-1] == []
