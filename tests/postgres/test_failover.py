"""A primary that is lost, and the standby that takes its place: what was answered is there, and is found there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from ledger import writer as writer_module
from ledger.postgres.engine import PostgresEngine
from ledger.postgres.servers import each
from ledger.records import Held, LedgerUnavailable
from tests.cluster import Cluster, query
from tests.ledger.world import World, assert_sound, opened, settlement
from tests.postgres.wire import wired

ANSWER_S = 1.0
"""How long a ledger waits for a commit that does not come."""


@pytest.fixture
def pair() -> Iterator[tuple[Cluster, Cluster]]:
    """A primary and the standby without whose word it commits nothing."""
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(contextlib.closing(Cluster()))
        yield primary, stack.enter_context(contextlib.closing(primary.standby()))


def url_of(*servers: Cluster, database: str) -> str:
    """The database on whichever of these takes writes."""
    name = database.partition("@/")[2].partition("?")[0]
    return f"postgresql://postgres@/{name}?host={','.join(str(server.socket) for server in servers)}"


async def quiet(world: World) -> None:
    """Wait until nothing is left to be written."""
    async with asyncio.timeout(30):
        while world.ledger.waiting or not world.ledger.healthy or (await world.ledger.reports.hold_sums())[0]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_standby_that_is_promoted_has_all_that_was_answered(pair: tuple[Cluster, Cluster]) -> None:
    """Killed under load: no answered hold or settlement is lost, the cap stands, and the ledger goes on by itself."""
    primary, standby = pair
    database = primary.database()
    both = url_of(primary, standby, database=database)
    async with opened(both) as one, opened(both, one.clock, owner="owner-2") as two:
        two.accounts, two.prefix = one.accounts, "n"
        key = await one.open(cap=200_000)
        ended, spent, refused = asyncio.Event(), 0, 0

        async def call(world: World) -> None:
            nonlocal spent, refused
            while not ended.is_set():
                try:
                    outcome = await world.hold(key, 10)
                    assert isinstance(outcome, Held)
                    spent += 7
                    if spent % 2:
                        await world.settle(outcome.id, 7)  # of half of them the settlement is answered, too
                    else:
                        world.ledger.calls.settle(settlement(outcome.id, 7))
                except LedgerUnavailable:
                    refused += 1
                    await asyncio.sleep(0.01)

        calling = [asyncio.create_task(call(world)) for world in (one, two) for _ in range(8)]
        await asyncio.sleep(0.5)
        before = spent
        await asyncio.to_thread(primary.kill)
        await asyncio.to_thread(standby.promote)
        await asyncio.sleep(1.0)
        ended.set()
        await asyncio.gather(*calling)
        for world in (one, two):
            await quiet(world)
        assert before > 0
        assert refused > 0
        assert spent > before
        view = await one.view(key)
        assert (view.spent_micros, view.limits[0].held) == (spent, 0)
        await assert_sound(one.ledger)


async def test_nothing_is_answered_that_the_standby_has_not(
    pair: tuple[Cluster, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that nobody waits for any more can be seen, and is on the primary alone: it is no answer to anybody."""
    primary, standby = pair
    database = primary.database()
    both = url_of(primary, standby, database=database)
    async with (
        opened(both) as one,
        opened(both, one.clock, owner="2") as two,
        opened(both, one.clock, owner="3") as three,
    ):
        two.accounts = three.accounts = one.accounts
        key, old = await one.open(cap=100), await one.open()
        await one.revoke(old)
        call = await one.held(key, 10)
        await two.view(key)
        with monkeypatch.context() as impatient:
            impatient.setattr("ledger.postgres.bounds.ANSWER_S", ANSWER_S)
            impatient.setattr(writer_module, "RETRY_S", (0.05,))
            standby.stop()
            one.ledger.calls.settle(settlement(call, 7))
            async with asyncio.timeout(20):
                while query(database, "SELECT 1 FROM holds"):  # noqa: ASYNC110 - it commits in another process
                    await asyncio.sleep(0.02)
            again = asyncio.create_task(two.settle(call, 7))
            await asyncio.sleep(2.5 * ANSWER_S)  # in which both try it again, and must not take it for done
            assert not again.done()
            with pytest.raises(LedgerUnavailable):
                await three.revoke(old)
        primary.kill()
        standby.start()
        standby.promote()
        settled = await asyncio.wait_for(again, 30)
        assert settled is not None
        assert settled.cost_micros == 7
        await quiet(one)
        view = await one.view(key)
        assert (view.spent_micros, view.limits[0].held) == (7, 0)
        await assert_sound(one.ledger)


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """The address of a machine that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


async def test_a_silent_server_does_not_hide_the_other(postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has gone without a word costs its share of the time, once; then the other one is asked first."""
    database = postgres.database()
    name = database.partition("@/")[2].partition("?")[0]
    share_s = 2.0
    monkeypatch.setattr("ledger.postgres.bounds.ANSWER_S", 2 * share_s)
    async with silent() as gone, _port(postgres) as port:
        started = time.monotonic()
        async with opened(f"postgresql://postgres@{gone},127.0.0.1:{port}/{name}") as world:
            assert share_s < time.monotonic() - started < 2 * share_s
            key = await world.open(cap=100)
            engine = world.ledger._engine
            assert isinstance(engine, PostgresEngine)
            await engine._drop()
            started = time.monotonic()
            await world.spend(key, 5)
            assert time.monotonic() - started < share_s
        with pytest.raises(LedgerUnavailable, match="no server takes writes"):
            await PostgresEngine.open(f"postgresql://postgres@{gone},127.0.0.1:1/{name}", owner="nobody")


@contextlib.asynccontextmanager
async def _port(server: Cluster) -> AsyncIterator[int]:
    """A port that leads to the server, which has none."""
    async with wired(server.socket) as wire:
        yield wire.port


async def test_what_the_role_says_does_not_make_answers_less_durable(postgres: Cluster) -> None:
    """`synchronous_commit` off and a timeout of statements, as an operator may set them for everybody."""
    database = postgres.database()
    name = database.partition("@/")[2].partition("?")[0]
    query(database, f"ALTER DATABASE {name} SET synchronous_commit = off")
    query(database, f"ALTER DATABASE {name} SET statement_timeout = '3s'")
    assert query(database, "SHOW synchronous_commit") == [("off",)]
    async with opened(database) as world:
        engine = world.ledger._engine
        assert isinstance(engine, PostgresEngine)
        connection = await engine._writing()
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
        assert await connection.fetchval("SHOW statement_timeout") == "0"


@pytest.mark.parametrize(
    ("url", "single"),
    [
        ("postgresql://u:p@a/n?sslmode=require", ["postgresql://u:p@a/n?sslmode=require"]),
        ("postgresql://u:p@a:1,b/n?x=1", ["postgresql://u:p@a:1/n?x=1", "postgresql://u:p@b/n?x=1"]),
        ("postgresql://[::1]:5,b/n", ["postgresql://[::1]:5/n", "postgresql://b/n"]),
        ("postgresql://u@/n?host=a,b", ["postgresql://u@/n?host=a", "postgresql://u@/n?host=b"]),
        ("postgresql://u@/n?host=a,b&port=1,2", ["postgresql://u@/n?host=a&port=1", "postgresql://u@/n?host=b&port=2"]),
        ("postgresql://u@/n?host=a,b&port=9", ["postgresql://u@/n?host=a&port=9", "postgresql://u@/n?host=b&port=9"]),
        ("postgresql://u@/n?host=a,b,c&port=1,2", ["postgresql://u@/n?host=a,b,c&port=1,2"]),
    ],
)
def test_the_servers_of_a_url(url: str, single: list[str]) -> None:
    """As the driver reads them, one by one; what it refuses is left to it."""
    assert each(url) == single
