"""What only an engine that is shared can get wrong: other writers, lost answers, lost servers, dead owners."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import pytest

from gateway.app import Gateway
from ledger import tending
from ledger import writer as writer_module
from ledger.engine import Row, Script
from ledger.ledger import Ledger
from ledger.migrations import SchemaTooNew
from ledger.postgres.rows import FETCH
from ledger.records import Block, Extend, Facts, Held, LedgerUnavailable, Refused, Report
from tests.cluster import Cluster, query
from tests.harness import settings
from tests.ledger.world import Clock, World, assert_sound, opened, settlement
from tests.postgres.wire import Wire, wired


@pytest.fixture
def url(postgres: Cluster) -> str:
    return postgres.database()


@contextlib.asynccontextmanager
async def nodes(url: str, count: int) -> AsyncIterator[list[World]]:
    """Several ledgers on one database, with names that do not collide and one clock."""
    async with contextlib.AsyncExitStack() as stack:
        clock, accounts = Clock(), dict[str, int]()
        worlds = []
        for number in range(count):
            world = await stack.enter_async_context(opened(url, clock, owner=f"node-{number}"))
            world.accounts, world.prefix = accounts, f"n{number}"
            worlds.append(world)
        yield worlds


# ---- revocations


async def test_no_revocation_is_missed(url: str) -> None:
    """A gateway hears of every key that another one revoked: right after its start, after an outage of any length."""
    async with nodes(url, 2) as (one, other):
        first, second = await one.open(), await one.open()
        await one.revoke(first)
        assert await other.ledger.tending.revoked() == {one.accounts[first]}
        assert await other.ledger.tending.revoked() == set()
        await one.revoke(second)
        one.clock.now_ms += 3_600_000  # in which the other could not look
        assert await other.ledger.tending.revoked() == {one.accounts[second]}
        assert await other.ledger.tending.revoked() == set()


# ---- many writers


async def test_two_ledgers_share_one_cap(url: str) -> None:
    """Of many parallel holds through three ledgers, exactly those are admitted for which the cap has room."""
    async with nodes(url, 3) as worlds:
        key = await worlds[0].open(cap=579)
        outcomes = await asyncio.gather(*(world.hold(key, 10) for world in worlds for _ in range(100)))
        assert sum(isinstance(outcome, Held) for outcome in outcomes) == 57
        assert (await worlds[2].view(key)).limits[0].held == 570
        await assert_sound(worlds[1].ledger)


async def test_family_and_strangers_without_a_deadlock(url: str) -> None:
    """Parents, children and siblings, in any order and through any ledger: all go through, and the books are right."""
    async with nodes(url, 3) as worlds:
        roots = [await worlds[0].open(cap=10**6) for _ in range(2)]
        keys = [*roots, *[await worlds[0].open(roots[number % 2], cap=10**5) for number in range(6)]]
        keys += [await worlds[0].open(keys[2 + number]) for number in range(6)]

        async def life(world: World, seed: int) -> None:
            dice = random.Random(seed)  # noqa: S311 - a mix of calls
            for _ in range(25):
                key = dice.choice(keys)
                call = await world.held(key, dice.randint(1, 50))
                if dice.random() < 0.1:
                    await world.edit(key, cap_micros=10**6 + dice.randint(0, 9))
                if dice.random() < 0.3:
                    await world.ledger.calls.extend(Extend(id=call, each_picos=10**6, each_tokens=0, allowance=3))
                await dice.choice(worlds).settle(call, dice.randint(0, 60))

        await asyncio.gather(*(life(world, 10 * n + m) for n, world in enumerate(worlds) for m in range(5)))
        assert await worlds[0].ledger.reports.hold_sums() == (0, 0)
        await assert_sound(worlds[1].ledger)
        assert all(world.ledger.healthy for world in worlds)


async def test_a_change_on_one_node_bites_on_the_next_call_on_another(url: str) -> None:
    """A cap that was lowered, a key that was disabled or revoked elsewhere: the very next hold knows."""
    async with nodes(url, 2) as (here, there):
        for _ in range(20):
            key = await here.open(cap=100)
            assert isinstance(await there.hold(key, 10), Held)
            await here.edit(key, cap_micros=15)
            outcome = await there.hold(key, 10)
            assert isinstance(outcome, Refused)
            assert outcome.reason == "spend_cap_exceeded"
            await here.edit(key, disabled=True)
            assert await there.hold(key, 1) == Refused(reason="key_disabled")
            await here.revoke(key)
            assert await there.hold(key, 1) == Refused(reason="key_revoked")
        await assert_sound(there.ledger)


async def test_changes_made_at_once_are_all_made(url: str) -> None:
    """Edits of one account on two nodes at the same time: neither is lost."""
    async with nodes(url, 2) as worlds:
        key = await worlds[0].open()
        merge = ("metadata",)
        await asyncio.gather(
            *(
                world.edit(key, profile={"metadata": {f"{world.prefix}-{number}": "x"}}, merge=merge)
                for world in worlds
                for number in range(20)
            )
        )
        assert len((await worlds[0].view(key)).profile["metadata"]) == 40
        subjects = await asyncio.gather(*(world.subject(key, "ann") for world in worlds for _ in range(10)))
        assert len(set(subjects)) == 1


async def test_a_cursor_over_events_misses_nothing(url: str) -> None:
    """Whoever reads on from the last event it saw, while several ledgers write, sees every event once."""
    async with nodes(url, 3) as worlds:
        keys = [await worlds[0].open() for _ in range(6)]  # trees of their own: nothing but the events is shared
        done = asyncio.Event()

        async def follow(reader: World) -> list[int]:
            seen: list[int] = [0]

            def newer() -> Script[list[Row]]:
                rows = yield "SELECT seq FROM events WHERE seq > ? ORDER BY seq", (seen[-1],)
                return rows

            while True:
                ended = done.is_set()
                seen += [row[0] for row in await reader.ledger._engine.read(newer)]
                if ended:
                    return seen[1:]

        async def write(world: World, key: str) -> None:
            for _ in range(40):
                await world.spend(key, 1)

        following = [asyncio.create_task(follow(world)) for world in worlds]
        await asyncio.gather(*(write(worlds[number % 3], key) for number, key in enumerate(keys)))
        done.set()
        for each in following:
            assert len(await each) == 240
        await assert_sound(worlds[0].ledger)


# ---- what is lost on the wire


async def _lives(world: World, key: str, count: int) -> tuple[int, int]:
    """Calls one after the other that are not told that the ledger is away: how many were made, and refused."""
    made = refused = 0
    for _ in range(count):
        try:
            outcome = await world.hold(key, 10)
        except LedgerUnavailable:
            refused += 1
            continue
        assert isinstance(outcome, Held)
        world.ledger.calls.settle(settlement(outcome.id, 7, latency_ms=3))
        made += 1
    return made, refused


async def _settled(world: World) -> None:
    async with asyncio.timeout(15):
        while world.ledger.waiting or not world.ledger.healthy or (await world.ledger.reports.hold_sums())[0]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("what", ["cuts", "eats"])
async def test_a_lost_commit_is_made_exactly_once(postgres: Cluster, url: str, what: str) -> None:
    """The COMMIT's answer, or the COMMIT itself, is lost again and again: every call is charged exactly once."""
    async with wired(postgres.socket) as wire, opened(wire.url(url)) as world:
        key = await world.open()
        for _ in range(12):
            setattr(wire, what, 1)
            lives = await asyncio.gather(*(_lives(world, key, 3) for _ in range(4)))
            assert lives == [(3, 0)] * 4
        await _settled(world)
        assert wire.lost == 12
        view = await world.view(key)
        assert (view.spent_micros, view.limits[0].held) == (12 * 12 * 7, 0)
        assert query(url, "SELECT count(*) FROM events WHERE status = 'settled'") == [(144,)]
        await assert_sound(world.ledger)


async def test_a_commit_lost_twice_leaves_no_hold_behind(postgres: Cluster, url: str) -> None:
    """If nobody can tell whether a hold was made, the caller is refused, and the hold is gone if there was one."""
    async with wired(postgres.socket) as wire, opened(wire.url(url)) as world:
        key = await world.open(cap=1000)
        for _ in range(4):
            wire.cuts = 2
            with pytest.raises(LedgerUnavailable):
                await world.hold(key, 10)
            await _settled(world)
        assert (await world.view(key)).remaining_micros == 1000
        await assert_sound(world.ledger)


async def test_everything_else_is_repeated_by_its_id_too(postgres: Cluster, url: str) -> None:
    """Refusals, blocked calls, reports: what a lost answer leaves in doubt is recorded once."""
    async with wired(postgres.socket) as wire, opened(wire.url(url)) as world:
        key = await world.open(cap=5)
        account_id = world.accounts[key]
        wire.cuts = 1
        refused = await world.hold(key, 10)
        assert isinstance(refused, Refused)
        assert refused.reason == "spend_cap_exceeded"
        wire.cuts = 1
        world.ledger.calls.block(Block(id="b1", account_id=account_id, facts=Facts(), reason="model_not_allowed"))
        wire_report = Report(id="r1", account_id=account_id, facts=Facts(mode="monitor"), at_ms=0, cost_picos=3 * 10**6)
        reported = await world.ledger.calls.report(wire_report)
        assert reported is not None
        assert reported.cost_micros == 3
        assert wire.cuts == 0
        assert query(url, "SELECT decision, count(*) FROM events GROUP BY 1 ORDER BY 1") == [
            ("allowed", 1),
            ("blocked", 2),
        ]
        await assert_sound(world.ledger)


async def test_a_silent_database_is_unavailable_within_five_seconds(
    postgres: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer is an answer too, in time; what was to be settled is settled when the wire is whole again."""
    monkeypatch.setattr("ledger.postgres.bounds.ANSWER_S", 1.0)
    monkeypatch.setattr(writer_module, "RETRY_S", (0.05,))
    async with wired(postgres.socket) as wire, opened(wire.url(url)) as world:
        key = await world.open(cap=100)
        call = await world.held(key, 10)
        wire.silent = True
        started = time.monotonic()
        world.ledger.calls.settle(settlement(call, 7))
        with pytest.raises(LedgerUnavailable):
            await world.hold(key, 10)
        with pytest.raises(LedgerUnavailable):
            await world.view(key)
        assert time.monotonic() - started < 3
        assert not world.ledger.healthy
        wire.silent = False
        await _settled(world)
        assert (await world.view(key)).remaining_micros == 93
        await assert_sound(world.ledger)


async def test_silence_in_the_middle_of_a_read_is_as_short(
    postgres: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that is looking up its key hears that the database is away as soon as any other; a report has time."""
    async with wired(postgres.socket) as wire, opened(wire.url(url)) as world:
        engine = world.ledger._engine

        def slow() -> Script[int]:
            ((number,),) = yield "SELECT 1 FROM pg_sleep(1.5)", ()
            return int(number)

        def falling_silent() -> Script[None]:
            yield "SELECT 1", ()
            wire.silent = True
            yield "SELECT 2", ()

        monkeypatch.setattr("ledger.postgres.bounds.ANSWER_S", 1.0)
        assert await engine.read(slow, long=True) == 1
        with pytest.raises(LedgerUnavailable):
            await engine.read(slow)
        started = time.monotonic()
        with pytest.raises(LedgerUnavailable):
            await engine.read(falling_silent)
        assert time.monotonic() - started < 1.9
        wire.silent = False
        assert await engine.read(slow, long=True) == 1


async def test_a_transaction_that_hangs_does_not_hang_the_others(postgres: Cluster, url: str) -> None:
    """A node that stops in the middle of a transaction keeps its accounts locked for a moment only."""
    async with wired(postgres.socket) as wire, opened(wire.url(url), owner="stopped") as stopped:
        key = await stopped.open(cap=100)
        async with opened(url, stopped.clock, owner="alive") as alive:
            alive.accounts, alive.prefix = stopped.accounts, "a"
            await _lock(stopped, wire)
            started = time.monotonic()
            assert isinstance(await alive.hold(key, 10), Held)
            assert 0.5 < time.monotonic() - started < 4
            wire.silent = False
            await _settled_holds(alive, 1)
            await assert_sound(alive.ledger)


async def _not_at_once(batch: object) -> None:
    """Nothing is decided on what is remembered."""


async def _lock(world: World, wire: Wire) -> None:
    """Stop the node when it has locked what its batch needs, before it commits."""
    engine = world.ledger._engine
    engine._at_once = _not_at_once  # type: ignore[attr-defined]
    statement = engine._statements  # type: ignore[attr-defined]
    loaded = asyncio.Event()

    fetch = statement[FETCH]

    class Slow:
        async def fetchrow(self, *arguments: object) -> None:
            await fetch.fetchrow(*arguments)
            wire.silent = True
            loaded.set()
            await asyncio.sleep(60)

    statement[FETCH] = Slow()
    task = asyncio.create_task(world.hold(next(iter(world.accounts)), 5))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    await loaded.wait()
    await asyncio.sleep(0.05)


async def _settled_holds(world: World, count: int) -> None:
    async with asyncio.timeout(12):
        while (await world.ledger.reports.hold_sums())[0] != count or world.ledger.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_server_that_restarts_is_found_again(postgres: Cluster) -> None:
    """Crash and restart of the server under load: refused while it is away, and nothing lost or charged twice."""
    url = postgres.database()
    async with nodes(url, 2) as worlds:
        key = await worlds[0].open()
        ended = asyncio.Event()
        made = 0

        async def call(world: World) -> None:
            nonlocal made
            while not ended.is_set():
                more, _ = await _lives(world, key, 1)
                made += more

        calling = [asyncio.create_task(call(world)) for world in worlds for _ in range(6)]
        for mode in ("fast", "immediate"):
            await asyncio.sleep(0.2)
            await asyncio.to_thread(postgres.restart, mode)
        await asyncio.sleep(0.5)
        ended.set()
        await asyncio.gather(*calling)
        for world in worlds:
            await _settled(world)
        assert (await worlds[0].view(key)).spent_micros == 7 * made
        assert query(url, "SELECT count(*) FROM events WHERE status = 'settled'") == [(made,)]
        await assert_sound(worlds[1].ledger)


# ---- starting


async def test_many_gateways_start_at_once_on_an_empty_database(url: str, tmp_path: object) -> None:
    """The schema is made once, and exactly one of them prints the master key."""
    made = settings(tmp_path, None, FARTHING_DATABASE_URL=url, FARTHING_MASTER_KEY="")  # type: ignore[arg-type]

    async def start() -> tuple[str | None, int | None]:
        async with Gateway.open(made) as (gateway, master):
            return master, await gateway.ledger.accounts.root()

    started = await asyncio.gather(*(start() for _ in range(6)))
    assert sum(master is not None for master, _ in started) == 1
    assert {root for _, root in started} == {1}
    assert query(url, "SELECT count(*) FROM accounts") == [(1,)]


async def test_a_newer_schema_is_refused(url: str) -> None:
    """An old Farthing on a newer database does not start, and says why."""
    async with opened(url):
        pass
    query(url, "UPDATE schema_version SET version = version + 1")
    with pytest.raises(SchemaTooNew, match="upgrade Farthing"):
        await Ledger.open(url, clock_ms=lambda: 0, owner="old")


async def test_a_database_that_is_not_there_is_unavailable(url: str) -> None:
    """A wrong name is a sentence, not a traceback."""
    with pytest.raises(LedgerUnavailable, match="does not exist"):
        await Ledger.open(url.replace("/farthing_", "/no_such_"), clock_ms=lambda: 0, owner="lost")


# ---- leases


async def test_the_holds_of_the_dead_become_unsettled_and_only_theirs(url: str) -> None:
    """When an owner's lease has ended, another node takes over its holds; a live owner's stay open."""
    lease_s = 0.9

    owners = ("dead", "alive", "sweeper")
    ledgers = [await Ledger.open(url, clock_ms=lambda: 0, owner=owner, lease_s=lease_s) for owner in owners]
    worlds = [World(ledger, url, Clock()) for ledger in ledgers]
    for number, world in enumerate(worlds):
        world.prefix, world.accounts = f"n{number}", worlds[0].accounts
    key = await worlds[0].open(cap=100)
    theirs, ours = await worlds[0].held(key, 30), await worlds[1].held(key, 20)
    assert ledgers[0].tending._task is not None
    ledgers[0].tending._task.cancel()  # it is stopped: it does not renew any more
    started = time.monotonic()
    async with asyncio.timeout(10):
        while (await ledgers[2].reports.hold_sums())[1] == 0:  # noqa: ASYNC110 - what is waited for happens elsewhere
            await asyncio.sleep(0.05)
    assert time.monotonic() - started < 2 * lease_s + 1
    assert query(url, "SELECT id, state FROM holds ORDER BY amount_micros") == [(ours, "open"), (theirs, "unsettled")]
    assert (await worlds[1].view(key)).remaining_micros == 50
    late = await worlds[0].settle(theirs, 25)  # it goes on, and knows of nothing
    assert late is not None
    assert (late.id, late.cost_micros) == (f"{theirs}-late", 25)
    await worlds[1].settle(ours, 20)
    assert (await worlds[1].view(key)).remaining_micros == 55
    await assert_sound(ledgers[1])
    for ledger in ledgers[1:]:
        await ledger.close()
    ledgers[0].tending._task = None
    await ledgers[0].close()


async def test_windows_are_the_databases(url: str) -> None:
    """A node whose clock is a month ahead counts in the month that the database has."""
    async with contextlib.AsyncExitStack() as stack:
        ahead = await Ledger.open(url, clock_ms=lambda: 0, owner="ahead")
        stack.push_async_callback(ahead.close)
        world = World(ahead, url, Clock(now_ms=0))
        key = await world.open(cap=100, reset="month")
        await world.spend(key, 40)
        view = await world.view(key)
        assert view.cap.used == 40
        assert abs(ahead.clock_ms() - time.time() * 1000) < 60_000
        assert tending.LEASE_S * 2 <= 30
