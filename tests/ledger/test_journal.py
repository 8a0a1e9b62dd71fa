"""The journal: what the database does not take lies on the disk, whole, until it does; and then exactly once."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ledger import journal as journal_module
from ledger import writer as writer_module
from ledger.engine import Result, Work
from ledger.journal import Journal, left_behind
from ledger.ledger import Ledger
from ledger.records import Ask, Facts, LedgerUnavailable, Measures, Recover, Settlement
from tests.ledger.world import Clock, World, assert_sound, eventually, settlement

MANY = [
    settlement(f"c{number}", number, measures=Measures(input_tokens=number), usage={"service_tier": "é" * number})
    for number in range(50)
]


def dies(journal: Journal) -> None:
    """Its process is gone: the system has closed its files."""
    os.close(journal._file)


def left(directory: Path, ledger_id: str = "one") -> list[list[Settlement]]:
    found = left_behind(directory, ledger_id)
    for orphan in found:
        orphan.close()
    return [orphan.settlements for orphan in found]


def test_what_was_saved_is_read_by_a_successor(tmp_path: Path) -> None:
    """Every field of every settlement, in their order, once however often it was saved."""
    journal = Journal(tmp_path, "dead", "one")
    journal.save(MANY[:20])
    journal.save(MANY)
    dies(journal)
    assert left(tmp_path) == [MANY]
    (tmp_path / "farthing-dead.journal").unlink()
    assert left(tmp_path) == []


def test_a_living_process_and_another_ledger_are_left_alone(tmp_path: Path) -> None:
    """Nobody reads a journal whose owner lives, or that belongs to another database."""
    living, other = Journal(tmp_path, "living", "one"), Journal(tmp_path, "other", "two")
    living.save(MANY)
    other.save(MANY)
    dies(other)
    assert left(tmp_path) == []
    dies(living)
    assert left(tmp_path) == [MANY]
    assert left(tmp_path, "two") == [MANY]


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 30, 200, 1000])
def test_a_torn_record_costs_none_before_it(tmp_path: Path, keep: int) -> None:
    """However many bytes of the last write reached the disk, all records that are whole are read, and no other."""
    journal = Journal(tmp_path, "dead", "one")
    journal.save(MANY[:3])
    whole = journal._end
    journal.save(MANY[3:6])
    end = journal._end
    os.pwrite(journal._file, bytes(end - whole - keep), whole + keep)
    dies(journal)
    ((*read,),) = left(tmp_path)
    assert read == MANY[: len(read)]
    assert len(read) >= 3
    assert (len(read) == 6) == (keep >= end - whole)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """A record that is not what was written is none, and neither is what follows."""
    journal = Journal(tmp_path, "dead", "one")
    journal.save(MANY[:3])
    at = journal._end
    journal.save(MANY[3:])
    (byte,) = os.pread(journal._file, 1, at + 20)
    os.pwrite(journal._file, bytes((byte ^ 4,)), at + 20)
    dies(journal)
    assert left(tmp_path) == [MANY[:3]]


def test_an_emptied_journal_has_nothing_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After everything was carried out nothing old is found behind what is new; the file is as small as before."""
    monkeypatch.setattr(journal_module, "RESERVED_BYTES", 4096)
    journal = Journal(tmp_path, "dead", "one")
    path = tmp_path / "farthing-dead.journal"
    for _ in range(3):
        journal.save(MANY)
        assert path.stat().st_size > 4096
        journal.clear()
        assert path.stat().st_size == 4096
        journal.save(MANY[:1])
    dies(journal)
    assert left(tmp_path) == [MANY[:1]]


def test_an_orderly_end_leaves_no_empty_file(tmp_path: Path) -> None:
    """A journal is removed when it is closed, unless there is something in it. Others cannot read it."""
    journal = Journal(tmp_path, "a", "one")
    assert (tmp_path / "farthing-a.journal").stat().st_mode & 0o777 == 0o600
    journal.close()
    assert list(tmp_path.iterdir()) == []
    journal = Journal(tmp_path, "b", "one")
    journal.save(MANY)
    journal.close()
    assert left(tmp_path) == [MANY]


def test_a_write_that_fails_half_way_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle of a record: what was there stays, and the next attempt is whole."""
    journal = Journal(tmp_path, "dead", "one")
    journal.save(MANY[:2])
    pwrite = os.pwrite
    room = [300]

    def full(descriptor: int, data: Any, offset: int) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = pwrite(descriptor, bytes(data[: room[0]]), offset)
        room[0] -= written
        return written

    with monkeypatch.context() as context:
        context.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            journal.save(MANY)
    assert left(tmp_path) == []
    journal.save(MANY)
    dies(journal)
    assert left(tmp_path) == [MANY]


# ---- with a ledger


class Away:
    """Lets an engine lose its database, and come back."""

    def __init__(self, ledger: Ledger) -> None:
        engine: Any = ledger._engine
        self.away = self.hangs = False
        commit = engine.commit

        async def commit_if_there(batch: list[Work], now_ms: int) -> list[Result]:
            while self.hangs:  # noqa: ASYNC110 - a database that hangs has no event
                await asyncio.sleep(0.005)
            if self.away:
                raise LedgerUnavailable("away")
            results: list[Result] = await commit(batch, now_ms)
            return results

        engine.commit = commit_if_there


async def start(database: Path | str, place: Path, owner: str) -> World:
    url, clock = (f"sqlite:///{database}" if isinstance(database, Path) else database), Clock()
    ledger = await Ledger.open(url, clock_ms=clock, owner=owner, database_clock=False, state_dir=place, serving=True)
    return World(ledger, database, clock)


def files(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


async def kill(world: World) -> None:
    """As if the process had been killed: nothing that waits is written, nobody says goodbye."""
    writer = world.ledger._writer
    journal, writer.journal, writer._queue = writer.journal, None, []
    if writer._look is not None:  # before anything is awaited: a look at the empty queue would empty the journal
        writer._look.cancel()
    if writer._running is not None:
        writer._running.cancel()
        await asyncio.wait([writer._running])
    if writer._saving is not None:  # it writes to the file that is closed below
        await asyncio.wait([writer._saving])
    if world.ledger.tending._task is not None:
        world.ledger.tending._task.cancel()
        await asyncio.wait([world.ledger.tending._task])
        world.ledger.tending._task = None
    await world.ledger._engine.close()
    assert journal is not None
    dies(journal)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(writer_module, "LOOK_S", 0.01)
    monkeypatch.setattr(writer_module, "RETRY_S", (0.01,))
    made = tmp_path / "state"
    made.mkdir()
    return made


def saved(world: World) -> set[str]:
    assert world.ledger._writer.journal is not None
    return set(world.ledger._writer.journal.ids)


@pytest.mark.parametrize("how", ["away", "hangs"])
async def test_what_waits_for_a_database_survives_the_process(database: Path | str, place: Path, how: str) -> None:
    """Killed while the database was away or silent, with calls to settle: the successor settles each, exactly once."""
    world = await start(database, place, "dead")
    key = await world.open(cap=1000)
    calls = [await world.held(key, 10) for _ in range(20)]
    setattr(Away(world.ledger), how, True)
    for call in calls:
        world.ledger.calls.settle(settlement(call, 7))
    await eventually(lambda: saved(world) == set(calls))
    await kill(world)

    for owner in ("second", "third"):  # the third finds nothing more to do
        heir = await start(database, place, owner)
        heir.accounts = world.accounts
        view = await heir.view(key)
        assert (view.spent_micros, view.limits[0].held, view.limits[0].unsettled) == (140, 0, 0)
        assert heir.rows("SELECT status, count(*) FROM events GROUP BY status") == [("settled", 20)]
        assert files(place) == [f"farthing-{owner}.journal"]
        await assert_sound(heir.ledger)
        await heir.ledger.close()
    assert files(place) == []


async def test_a_journal_is_emptied_when_the_database_is_back(database: Path | str, place: Path) -> None:
    """The process that lives settles what it kept; a crash after that finds nothing, or what is settled already."""
    world = await start(database, place, "alive")
    key = await world.open(cap=1000)
    calls = [await world.held(key, 10) for _ in range(5)]
    fault = Away(world.ledger)
    for _ in range(2):
        fault.away = True
        call = calls.pop()
        world.ledger.calls.settle(settlement(call, 7))
        await eventually(lambda call=call: saved(world) == {call})  # type: ignore[misc]
        fault.away = False
        await eventually(lambda: not saved(world))
        assert world.ledger.healthy
    assert (await world.view(key)).spent_micros == 14
    await kill(world)
    assert left(place, (await _ledger_id(database, place)) or "") == []


async def _ledger_id(database: Path | str, place: Path) -> str:
    world = await start(database, place, "asks")
    ledger_id = await world.ledger.setting("ledger_id", "")
    await world.ledger.close()
    return ledger_id


async def test_a_settlement_that_was_taken_is_not_taken_twice(
    database: Path | str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database took it and the process died before it knew: carried out again, it changes nothing."""
    monkeypatch.setattr(writer_module, "LOOK_S", 60)
    world = await start(database, place, "dead")
    key = await world.open(cap=1000)
    call, swept = await world.held(key, 10), await world.held(key, 10)
    assert world.ledger._writer.journal is not None
    world.ledger._writer.journal.save([settlement(call, 7), settlement(swept, 8), settlement("c_unknown", 9)])
    await world.settle(call, 7)
    await world.ledger._writer.submit(Recover(id=swept))  # another node has given it up meanwhile
    await kill(world)
    heir = await start(database, place, "heir")
    heir.accounts = world.accounts
    view = await heir.view(key)
    assert (view.spent_micros, view.limits[0].held, view.limits[0].unsettled) == (15, 0, 0)
    assert sorted(heir.rows("SELECT id, cost_micros FROM events")) == [(call, 7), (swept, 0), (f"{swept}-late", 8)]
    await assert_sound(heir.ledger)
    await heir.ledger.close()


async def test_an_orderly_stop_without_a_database_leaves_the_journal(database: Path | str, place: Path) -> None:
    """Closed while the database is away: what waits stays on the disk for the next start."""
    world = await start(database, place, "stopped")
    key = await world.open(cap=1000)
    call = await world.held(key, 10)
    Away(world.ledger).away = True
    world.ledger.calls.settle(settlement(call, 7))
    await world.ledger._writer.close(timeout_s=0.05)
    if world.ledger.tending._task is not None:
        world.ledger.tending._task.cancel()
    heir = await start(database, place, "heir")
    heir.accounts = world.accounts
    assert (await heir.view(key)).spent_micros == 7
    await heir.ledger.close()


async def test_a_start_without_a_database_keeps_the_journal(tmp_path: Path, place: Path) -> None:
    """A successor whose database fails in the middle does not start, and the journal is there for the next one."""
    world = await start(tmp_path / "farthing.db", place, "dead")
    key = await world.open(cap=1000)
    call = await world.held(key, 10)
    Away(world.ledger).away = True
    world.ledger.calls.settle(settlement(call, 7))
    await eventually(lambda: saved(world) == {call})
    await kill(world)
    with pytest.MonkeyPatch.context() as patch:

        def submit(self: Any, work: Work) -> asyncio.Future[Any]:
            future = asyncio.get_running_loop().create_future()
            if isinstance(work, Settlement):
                future.set_exception(LedgerUnavailable("away"))
            else:
                future.set_result("one")
            return future

        patch.setattr(writer_module.Writer, "submit", submit)
        patch.setattr("ledger.tending.left_behind", lambda directory, ledger_id: _any(directory))
        with pytest.raises(LedgerUnavailable):
            await start(tmp_path / "farthing.db", place, "fails")
    heir = await start(tmp_path / "farthing.db", place, "heir")
    heir.accounts = world.accounts
    assert (await heir.view(key)).spent_micros == 7
    await heir.ledger.close()


def _any(directory: Path) -> Iterable[Any]:
    for path in directory.glob("*.journal"):
        file = os.open(path, os.O_RDWR)
        yield journal_module.Orphan(path, file, list(map(journal_module._decode_settlement, _contents(file))))


def _contents(file: int) -> list[bytes]:
    return list(journal_module._records(file))[1:]


async def test_a_full_journal_begins_nothing_new(
    database: Path | str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its bound holds are refused until what it keeps has been carried out; settlements are taken all the same."""
    world = await start(database, place, "full")
    key = await world.open(cap=1000)
    call = await world.held(key, 10)
    fault = Away(world.ledger)
    fault.away = True
    monkeypatch.setattr(journal_module, "BYTES_MAX", 200)
    world.ledger.calls.settle(settlement(call, 7))
    await eventually(lambda: saved(world) == {call})
    with pytest.raises(LedgerUnavailable, match="too much waits"):
        await world.hold(key, 10)
    fault.away = False
    await eventually(lambda: not saved(world))
    assert await world.held(key, 10)
    assert (await world.view(key)).spent_micros == 7
    await world.ledger.close()


async def test_a_directory_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """No journal, no start."""
    with pytest.raises(ValueError, match=r"cannot keep a journal in .*nowhere"):
        await start(tmp_path / "farthing.db", tmp_path / "nowhere", "a")


def test_no_words_of_a_caller_are_in_it(tmp_path: Path) -> None:
    """A settlement has no field for what was said; what the ask carried is not in the journal."""
    asked = Ask(id="c1", account_id=1, owner="o", facts=Facts(metadata={"canary": "words"}))
    journal = Journal(tmp_path, "a", "one")
    journal.save([settlement(asked.id, 3)])
    content = (tmp_path / "farthing-a.journal").read_bytes()
    assert b"words" not in content
    assert set(Settlement.__struct_fields__) == {
        "id", "status", "cost_picos", "measures", "tokens", "seconds", "requests", "usage", "model", "reason",
        "http_status", "latency_ms", "ttft_ms", "flags", "price_version", "keeps_rest", "rest_until_ms",
    }  # fmt: skip
    journal.close()
