"""From SQLite to PostgreSQL with everything; and from an older schema to the present one, on both."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.terminal import CANNOT_START, OK, USAGE
from ledger.billing.records import Happening, Item, Purchase, Reversal, Subscription
from ledger.outbox.hooks import NewHook
from ledger.portal import Address
from ledger.postgres import migrating
from ledger.records import Recover, Report
from ledger.replays import Origin
from ledger.routes import StoredRoute
from ledger.sqlite import files
from tests.cluster import Cluster, query
from tests.harness import MASTER, running
from tests.ledger.older import CARRIED, STRIPE_USAGE, UNDO
from tests.ledger.world import World, assert_sound, opened, outside
from tests.process import Served

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}


async def run(*arguments: str) -> int:
    """The command in a thread of its own, as it brings its own event loop."""
    return await asyncio.to_thread(main, [*arguments])


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FARTHING_DATABASE_URL", f"sqlite:///{tmp_path}/farthing.db")
    monkeypatch.setenv("FARTHING_MASTER_KEY", MASTER)
    return tmp_path


async def lived(world: World) -> str:
    """A little of everything that a database can hold; the key."""
    parent = await world.open(cap=10_000, reset="month")
    key = await world.open(parent, cap=1_000)
    user = await world.subject(key, "änn\0")
    for number in range(30):
        await world.settle(await world.held(key, 7, subject_id=user if number % 2 else 0), 5)
    await world.held(key, 10)
    await world.ledger._writer.submit(Recover(id=await world.held(key, 11)))
    await world.edit(key, limits=(world.terms("requests", 100, "day"),))
    await world.hold(key, 100_000)
    await world.ledger.calls.report(
        Report(id="r", account_id=world.accounts[key], facts=world.ask(key).facts, at_ms=0, cost_picos=1)
    )
    origin = Origin(account_id=world.accounts[key], key="k", fingerprint="f", expires_ms=2**52, note="\u2028")
    await world.ledger.accounts.open(world.account(key), origin)
    await world.ledger.setting("name", "value")
    await world.ledger.sessions.start("hash", "locator")
    await world.ledger.portal.start(Address(id_hash="hash", account_id=world.accounts[key], ends_ms=2**52))
    hook = NewHook(
        public_id="hook_1",
        kind="slack",
        target="https://example.com",
        events=("*",),
        description="",
        secret=None,
        created_ms=world.clock(),
    )
    await world.ledger.hooks.make(world.accounts[key], key, hook, None)
    stored = StoredRoute(public_id="route_1", name="smart", body="{}", created_ms=world.clock())
    await world.ledger.routes.make(stored, world.accounts[key], None)
    await world.ledger.calls._access.writer.submit(Recover(id=await world.held(key, 12)))
    await world.ledger.outbox.address(lambda told: b"{}", lambda: "out_1")
    bought = Happening(
        id="evt_1",
        type="invoice.paid",
        created_s=1,
        object_id="in_1",
        facts=(
            Subscription(id="sub_1", customer_id="cus_1", status="active", created_s=1, items=(Item(price_id="p"),)),
            Purchase(id="in_1", customer_id="cus_1", amount=5, currency="usd", payment_ids=("pi_1",)),
            Reversal(id="ch_1", amount=1, payment_id="pi_1"),
        ),
    )
    assert await world.ledger.stripe.take(bought, world.new_id, fetch=True)
    return key


async def test_everything_is_moved_and_goes_on(
    tmp_path: Path, beside: Path, postgres: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gateway's database on SQLite, moved: the same keys, caps, sums and audit; its successor goes on from there."""
    async with running(tmp_path) as farthing:
        key = await farthing.mint(max_spend_usd="1", name="moved")
        for number in range(5):
            assert (await farthing.call(key["secret"], CHAT, headers={"x-end-user-id": f"u{number}"}))[0] == 200
        await farthing.quiet()
        before = (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1]
        events = await farthing.events()
        target = postgres.database()
        assert await run("move", target) == CANNOT_START
        assert "another gateway is serving" in capsys.readouterr().err
    assert await run("move", target, "--json") == OK
    moved = json.loads(capsys.readouterr().out)
    assert (moved["rows"]["events"], moved["audit"]["count"], moved["audit"]["events"]) == (5, 0, 5)
    assert await run("move", target) == CANNOT_START
    assert "the target is not empty" in capsys.readouterr().err
    async with running(tmp_path, FARTHING_DATABASE_URL=target) as farthing:
        assert (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1] == before
        assert await farthing.events() == events
        assert (await farthing.call(key["secret"], CHAT, headers={"x-end-user-id": "u1"}))[0] == 200
        fresh = await farthing.mint()
        assert (await farthing.call(fresh["secret"], CHAT))[0] == 200
        assert [event["id"] for event in (await farthing.events())[2:]] == [event["id"] for event in events]
        assert (await farthing.audited()).events == 7


async def test_every_row_of_every_table_is_moved(
    tmp_path: Path, beside: Path, postgres: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Holds, unsettled ones, limits, rollups, answers to repeated requests: counted on both sides, table by table."""
    async with opened(tmp_path / "farthing.db") as world:
        await lived(world)
    url = postgres.database()
    assert await run("move", url, "--json") == OK
    rows = json.loads(capsys.readouterr().out)["rows"]
    with outside(tmp_path / "farthing.db") as source:
        for table, count in rows.items():
            assert source.execute(f"SELECT count(*) FROM {table}").fetchone() == (count,)  # noqa: S608
            assert query(url, f"SELECT count(*) FROM {table}") == [(count,)]  # noqa: S608
    assert {table for table, count in rows.items() if not count} <= {
        "objects",
        "credentials",
        "changes",
        *CARRIED,
        "stripe_standings",
        "stripe_terms",
        *STRIPE_USAGE,
    }
    assert len(rows) >= 10


async def test_a_move_that_breaks_off_leaves_nothing(
    tmp_path: Path, beside: Path, postgres: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """A source whose books are wrong, one that is not there, no SQLite source: a sentence, and an empty target."""
    url = postgres.database()
    assert await run("move", url) == CANNOT_START
    assert "there is no database" in capsys.readouterr().err
    async with opened(tmp_path / "farthing.db") as world:
        await lived(world)
        world.write("UPDATE accounts SET spent_micros = spent_micros + 1 WHERE kind = 'key'")
    assert await run("move", url) == CANNOT_START
    assert "does not pass its audit" in capsys.readouterr().err
    with outside(tmp_path / "farthing.db") as source:
        source.execute("UPDATE accounts SET spent_micros = spent_micros - 1 WHERE kind = 'key'")
        source.execute("ALTER TABLE replays ADD COLUMN unheard_of TEXT")
    assert await run("move", url) == CANNOT_START
    assert "unheard_of" in capsys.readouterr().err
    assert query(url, "SELECT count(*) FROM accounts") == [(0,)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FARTHING_DATABASE_URL", url)
        assert await run("move", url) == USAGE


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_older_schemas_come_forward_with_their_data(
    kind: str,
    tmp_path: Path,
    beside: Path,
    postgres: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every earlier schema with rows in it: `farthing migrate` brings it forward, and nothing is lost."""
    steps = (files if kind == "sqlite" else migrating).SCHEMA.steps
    for first in range(1, len(steps)):
        database = tmp_path / f"from{first}.db" if kind == "sqlite" else postgres.database()
        async with opened(database) as world:
            key = await lived(world)
        undo = [statement for name, _ in reversed(steps[first:]) for statement in UNDO[kind][name]]
        if isinstance(database, Path):
            with outside(database) as connection:
                for statement in (*undo, f"PRAGMA user_version = {first}"):
                    connection.execute(statement)
        else:
            for statement in undo:
                query(database, statement)
            query(database, "UPDATE schema_version SET version = $1", first)
        monkeypatch.setenv("FARTHING_DATABASE_URL", f"sqlite:///{database}" if kind == "sqlite" else str(database))
        capsys.readouterr()
        assert await run("migrate") == OK
        assert capsys.readouterr().out == f"schema {first} -> {len(steps)}\n"
        assert await run("migrate") == OK
        assert capsys.readouterr().out == f"schema {len(steps)}: up to date\n"
        async with opened(database, owner="heir") as heir:
            heir.prefix, heir.accounts = "h", world.accounts
            assert (await heir.view(key)).spent_micros == 150
            assert await heir.settle(await heir.held(key, 3), 3) is not None
            await assert_sound(heir.ledger)


async def test_old_code_does_not_start_on_a_newer_schema(
    beside: Path, postgres: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 and a sentence, from serve, migrate and the rest, on both engines."""
    url = postgres.database()
    for each in (f"sqlite:///{beside}/farthing.db", url):
        monkeypatch.setenv("FARTHING_DATABASE_URL", each)
        assert await run("migrate") == OK
    with outside(beside / "farthing.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    query(url, "UPDATE schema_version SET version = 99")
    sentence = "farthing: the database has schema 99, this Farthing knows schemas up to"
    for each in (f"sqlite:///{beside}/farthing.db", url):
        monkeypatch.setenv("FARTHING_DATABASE_URL", each)
        capsys.readouterr()
        for command in (("migrate",), ("keys", "list"), ("audit",)):
            assert await run(*command) == CANNOT_START
            assert capsys.readouterr().err.startswith(sentence)
        code, _, err = await Served(beside, "http://127.0.0.1:1").run("serve", FARTHING_DATABASE_URL=each)
        assert (code, err.splitlines()[-1][: len(sentence)]) == (CANNOT_START, sentence)
