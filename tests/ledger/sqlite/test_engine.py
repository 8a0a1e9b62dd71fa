"""The SQLite engine: what it answered survives, others' writes are seen, nobody else serves from the same file."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.book import Book
from ledger.engine import Result, Work
from ledger.ledger import Ledger
from ledger.migrations import SchemaTooNew
from ledger.objects import Object
from ledger.records import Held, LedgerLost, LedgerUnavailable, Refused
from ledger.sqlite.files import AlreadyOpen
from ledger.sqlite.reading import READERS
from tests.ledger.older import UNDO
from tests.ledger.world import Clock, World, assert_sound, opened, outside, settlement, ticks

ROOT = Path(__file__).parents[3]

# A gateway's ledger that holds 40 calls, settles every third, says so, and then keeps on settling and holding.
VICTIM = """
import asyncio, sys
from pathlib import Path
from tests.ledger.world import opened

async def main() -> None:
    async with opened(Path(sys.argv[1]), owner="victim") as world:
        key = await world.open(cap=1_000_000)
        calls = [await world.held(key, 100) for _ in range(40)]
        for call in calls[::3]:
            await world.settle(call, 60)
        print("ready", flush=True)
        for number in range(100_000):
            call = await world.held(key, 1)
            world.ledger.calls.settle(__import__("tests.ledger.world").ledger.world.settlement(call, 1))
            if number % 7 == 0:
                await asyncio.gather(*(world.held(key, 1) for _ in range(5)))

asyncio.run(main())
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """These tests are about one engine."""
    return tmp_path / "farthing.db"


def _kill_after(path: Path, delay_s: float) -> None:
    """Run the victim on a database and kill it a moment after it is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        victim_ready = delay_s
        try:
            victim.wait(victim_ready)
        except subprocess.TimeoutExpired:
            os.kill(victim.pid, signal.SIGKILL)
    assert victim.returncode == -signal.SIGKILL


# ---- death


@pytest.mark.parametrize("delay_s", [0.0, 0.013, 0.05, 0.12])
async def test_a_killed_process_loses_nothing(tmp_path: Path, delay_s: float) -> None:
    """After kill -9 every answered settlement stands, every open hold is unsettled, has its event and still counts."""
    path = tmp_path / "farthing.db"
    await asyncio.to_thread(_kill_after, path, delay_s)
    with outside(path) as before:
        ((opened_before, held_before),) = before.execute(
            "SELECT count(*), sum(amount_micros) FROM holds WHERE state = 'open'"
        ).fetchall()
        ((settled_before, spent_before),) = before.execute("SELECT count(*), sum(cost_micros) FROM events").fetchall()
    assert opened_before >= 26
    assert settled_before >= 14
    async with opened(path, owner="successor") as world:
        world.accounts["key_000001"] = 1
        assert await world.ledger.reports.hold_sums() == (0, opened_before)
        view = await world.view("key_000001")
        assert view.spent_micros == spent_before
        assert (view.cap.held, view.cap.unsettled) == (0, held_before)
        assert view.remaining_micros == 1_000_000 - spent_before - held_before
        unsettled = world.rows("SELECT count(*), sum(cost_micros) FROM events WHERE status = 'unsettled'")
        assert unsettled == [(opened_before, 0)]
        remaining = view.remaining_micros
        assert isinstance(await world.ledger.calls.hold(world.ask("key_000001", remaining + 1, id="c_more")), Refused)
        assert isinstance(await world.ledger.calls.hold(world.ask("key_000001", remaining, id="c_rest")), Held)
        await assert_sound(world.ledger)


async def test_unsettled_holds_survive_another_restart(tmp_path: Path) -> None:
    """Recovery happens once: a second restart finds nothing to do, and a late settlement still takes its hold back."""
    path = tmp_path / "farthing.db"
    async with opened(path, owner="one") as world:
        key = await world.open(cap=100)
        call = await world.held(key, 40)
    for owner in ("two", "three"):
        async with opened(path, owner=owner) as world:
            world.accounts[key] = 1
            view = await world.view(key)
            assert (view.cap.held, view.cap.unsettled, view.remaining_micros) == (0, 40, 60)
            assert len(world.rows("SELECT id FROM events")) == 1
    async with opened(path, owner="four") as world:
        world.accounts[key] = 1
        late = await world.settle(call, 25)
        assert late is not None
        assert late.cost_micros == 25
        view = await world.view(key)
        assert (view.cap.used, view.cap.unsettled, view.remaining_micros) == (25, 0, 75)
        assert world.rows("SELECT id, mode, status, cost_micros FROM events ORDER BY seq") == [
            (call, "proxy", "unsettled", 0),
            (f"{call}-late", "adjustment", "settled", 25),
        ]
        await assert_sound(world.ledger)


# ---- who may open it


async def test_a_second_gateway_on_the_same_file_is_refused(world: World) -> None:
    """One process serves from a file; another one is told so, and may serve when the first has gone."""
    with pytest.raises(AlreadyOpen, match="another gateway"):
        await Ledger.open(f"sqlite:///{world.path}", clock_ms=world.clock, owner="second")
    await world.ledger.close()
    world.ledger = await Ledger.open(f"sqlite:///{world.path}", clock_ms=world.clock, owner="second")


async def test_the_command_line_may_work_beside_the_gateway(world: World) -> None:
    """A ledger that does not serve opens beside one that does, and leaves its holds alone."""
    key = await world.open(cap=100)
    await world.held(key, 10)
    beside = await Ledger.open(f"sqlite:///{world.path}", clock_ms=world.clock, owner="cli", serving=False)
    try:
        assert await beside.reports.hold_sums() == (1, 0)
        await assert_sound(beside)
    finally:
        await beside.close()


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A database that a newer version has written is not touched; the message says what to do."""
    path = tmp_path / "farthing.db"
    async with opened(path):
        pass
    with outside(path) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(SchemaTooNew, match="upgrade Farthing"):
        await Ledger.open(f"sqlite:///{path}", clock_ms=Clock(), owner="o")
    with outside(path) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    async with opened(path) as world:
        assert await world.ledger.accounts.root() is None


async def test_an_older_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """A database of the first version gets what was added since, and keeps what it has."""
    path = tmp_path / "farthing.db"
    async with opened(path) as world:
        key = await world.open()
        await world.spend(key, 7)
        kept = world.rows("SELECT rest_picos, cost_micros FROM rollups")
    with outside(path) as connection:
        for step in reversed(UNDO["sqlite"].values()):
            for statement in step:
                connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
    async with opened(path) as world:
        world.accounts[key] = (await world.ledger.accounts.root()) or 0
        made = Object(provider="openai", kind="file", id="f")
        assert await world.ledger.objects.own(world.accounts[key], [made]) == []
        assert (await world.view(key)).public_id == key
        assert world.rows("SELECT rest_picos, cost_micros FROM rollups") == kept == [(0, 7)]
        await assert_sound(world.ledger)


async def test_what_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """A file that is no database, and a place that cannot be written, are refused with their name."""
    rubbish = tmp_path / "rubbish.db"
    rubbish.write_bytes(b"this is not a database at all, but long enough to look like a header" * 40)
    with pytest.raises(LedgerUnavailable, match=r"rubbish\.db"):
        await Ledger.open(f"sqlite:///{rubbish}", clock_ms=Clock(), owner="o")


@pytest.mark.parametrize(
    "url", ["", "sqlite:", "sqlite://", "sqlite:///", "sqlite://host/file.db", "mysql:///x", "farthing.db"]
)
async def test_other_urls_are_refused(url: str) -> None:
    """What names no database that this version knows is a ValueError."""
    with pytest.raises(ValueError, match="not a database URL"):
        await Ledger.open(url, clock_ms=Clock(), owner="o")


# ---- a book that is kept, and others who write


async def test_another_programs_cap_is_seen_by_the_very_next_hold(world: World) -> None:
    """A cap lowered by another connection binds the next hold although the book was warm."""
    key = await world.open(cap=100)
    await world.held(key, 40)
    with outside(world.path) as other:
        other.execute("UPDATE accounts SET cap_micros = 50 WHERE public_id = ?", (key,))
    refused = await world.hold(key, 11)
    assert isinstance(refused, Refused)
    assert refused.shortfall is not None
    assert (refused.shortfall.max, refused.shortfall.held) == (50, 40)
    assert isinstance(await world.hold(key, 10), Held)


async def test_another_programs_revocation_is_seen_by_the_very_next_hold(world: World) -> None:
    """A key revoked through another ledger on the same file is refused at once, and so are its children."""
    root = await world.open()
    key = await world.open(root)
    child = await world.open(key)
    await world.spend(child, 5)
    beside = await Ledger.open(f"sqlite:///{world.path}", clock_ms=world.clock, owner="cli", serving=False)
    try:
        await beside.accounts.revoke(world.accounts[root], key)
    finally:
        await beside.close()
    for each in (key, child):
        outcome = await world.hold(each, 1)
        assert isinstance(outcome, Refused)
        assert outcome.reason == "key_revoked"


async def test_two_ledgers_may_write_by_turns(world: World) -> None:
    """Two processes that hold and settle by turns never lose each other's money."""
    key = await world.open(cap=100)
    beside = World(
        await Ledger.open(f"sqlite:///{world.path}", clock_ms=world.clock, owner="cli", serving=False),
        world.path,
        world.clock,
    )
    beside.accounts, beside.ids = world.accounts, world.ids
    try:
        for number in range(30):
            mine, yours = (world, beside) if number % 2 else (beside, world)
            call = await mine.held(key, 3)
            settled = await yours.settle(call, 2)
            assert settled is not None
            assert settled.first
        admitted = await asyncio.gather(*(each.hold(key, 4) for each in (world, beside) * 20))
        assert sum(isinstance(outcome, Held) for outcome in admitted) == 10
    finally:
        await beside.ledger.close()


async def test_a_book_that_forgets_is_only_slower(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for hardly any row, what is forgotten is read again and nothing is lost."""
    engine = world.ledger._engine
    small = Book(engine._book._tables, rows_max=4)  # type: ignore[attr-defined]
    monkeypatch.setattr(engine, "_book", small)
    root = await world.open(cap=1_000)
    keys = [await world.open(root, cap=100) for _ in range(8)]
    calls = await asyncio.gather(*(world.held(key, 10) for key in keys for _ in range(3)))
    assert max(len(small.accounts), len(small.counters), len(small.holds), len(small.rollups)) <= 30
    for call in calls:
        await world.settle(call, 7)
    assert (await world.view(root)).limits[0].used == 24 * 7
    assert len(small.accounts) <= 5


# ---- readers


async def test_a_cancelled_read_leaves_its_connection_usable(world: World) -> None:
    """However a read is cancelled, at whatever moment, the next reads on its connection work."""
    key = await world.open()
    for pause in range(12):
        tasks = [asyncio.create_task(world.view(key)) for _ in range(READERS)]
        await ticks(pause)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        views = await asyncio.gather(*(world.view(key) for _ in range(READERS * 2)))
        assert {view.public_id for view in views} == {key}


async def test_reads_go_on_while_somebody_writes(world: World) -> None:
    """Another program that keeps the database for writing does not keep anybody from reading."""
    key = await world.open(cap=5)
    with outside(world.path) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (await world.view(key)).remaining_micros == 5
        other.execute("ROLLBACK")


async def test_a_disk_that_did_not_keep_what_it_was_given_is_not_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fsync nothing is held any more, and whoever waits for the end of the ledger is told."""
    key = await world.open()
    engine = world.ledger._engine
    transaction = engine._transaction  # type: ignore[attr-defined]

    def failing(batch: list[Work], now_ms: int) -> list[Result]:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    monkeypatch.setattr(engine, "_transaction", failing)
    with pytest.raises(LedgerLost):
        await world.hold(key, 10)
    monkeypatch.setattr(engine, "_transaction", transaction)
    with pytest.raises(LedgerLost):
        await world.hold(key, 10)
    assert "disk" in await asyncio.wait_for(world.ledger.lost(), 5)
    assert (await world.view(key)).limits[0].held == 0


async def test_a_file_that_was_moved_away_or_replaced_is_not_written_to(tmp_path: Path) -> None:
    """What would go into a file that nobody finds again is refused; with the file back, a new start has it all."""
    path, aside = tmp_path / "farthing.db", tmp_path / "aside.db"
    async with opened(path) as world:
        key = await world.open()
        call = await world.held(key, 10)
        path.rename(aside)
        for replaced in (False, True):
            if replaced:
                path.write_bytes(b"")
            with pytest.raises(LedgerLost):
                await world.hold(key, 10)
        assert str(path) in await asyncio.wait_for(world.ledger.lost(), 5)
        aside.rename(path)
        with pytest.raises(LedgerLost):
            await world.hold(key, 10)
    async with opened(path) as world:
        finding = await world.ledger.reports.audit()
        assert (finding.open_holds + finding.unsettled_holds, finding.count) == (1, 0)
        assert await world.ledger.calls.settled(settlement(call, 7)) is not None
        await assert_sound(world.ledger)


def _modes(directory: Path) -> dict[str, int]:
    return {each.name: each.stat().st_mode & 0o777 for each in directory.iterdir()}


async def test_nobody_else_reads_the_files(tmp_path: Path) -> None:
    """The database and the files beside it are their owner's alone, also those of an earlier version."""
    path = tmp_path / "farthing.db"
    for existing in (False, True):
        if existing:
            path.chmod(0o644)
        async with opened(path) as world:
            world.prefix = str(existing)
            await world.spend(await world.open(), 1)
            modes = _modes(tmp_path)
        assert modes.keys() >= {"farthing.db", "farthing.db-wal", "farthing.db-shm"}
        assert set(modes.values()) == {0o600}, modes
