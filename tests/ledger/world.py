"""A ledger for tests: the real engine on a real file, with a clock and ids that the test controls."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from ledger.changes import Edit, NewAccount
from ledger.ledger import Ledger
from ledger.limits import WantedLimit
from ledger.postgres import dialect
from ledger.records import Ask, Facts, Held, Refused, Settled, Settlement
from ledger.replays import Answer, Origin
from ledger.views import AccountView, Credential
from tests.cluster import query

PICOS = 1_000_000
"""Picos of a micro."""
START_MS = 1_767_225_600_000 - 36 * 3_600_000
"""36 hours before the end of the year 2025, so that month, year and week edges are near."""


"""Takes back the step of the schema that made the outbox."""


class Clock:
    """A wall clock that stands still until it is told otherwise."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class World:
    """A ledger with short ways to do what tests do. Keys are named by their public ids, calls by `c1`, `c2`, …"""

    def __init__(self, ledger: Ledger, database: Path | str, clock: Clock) -> None:
        self.ledger = ledger
        self.database = database
        self.clock = clock
        self.ids = itertools.count(1)
        self.accounts: dict[str, int] = {}
        self.prefix = ""

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{self.prefix}{next(self.ids):06d}"

    def terms(self, unit: Any, maximum: int | None, window: Any = "total", **more: Any) -> WantedLimit:
        return WantedLimit(**({"public_id": self.new_id("lim"), "unit": unit, "max": maximum, "window": window} | more))

    def account(
        self, parent: str | None = None, cap: int | None = None, reset: Any = "total", **more: Any
    ) -> NewAccount:
        values: dict[str, Any] = {
            "public_id": self.new_id("key"),
            "parent_id": None if parent is None else self.accounts[parent],
            "kind": "key",
            "livemode": True,
            "created_ms": self.clock(),
            "balance_id": self.new_id("lim"),
            "cap_micros": cap,
            "reset": reset,
        }
        return NewAccount(**(values | more))

    async def open(self, parent: str | None = None, cap: int | None = None, reset: Any = "total", **more: Any) -> str:
        """Open a key and give its public id."""
        answer = await self.ledger.accounts.open(self.account(parent, cap, reset, **more))
        self.accounts[answer.account.public_id] = answer.account.id
        return answer.account.public_id

    async def subject(self, key: str, name: str, kind: str = "end_user") -> int:
        return await self.ledger.accounts.open_subject(
            self.accounts[key], kind, name, public_id=self.new_id("eu"), balance_id=self.new_id("lim")
        )

    async def view(self, key: str, owner: str | None = None) -> AccountView:
        return await self.ledger.accounts.get(self.accounts[owner or key], key)

    async def edit(self, key: str, *, origin: Origin | None = None, owner: str | None = None, **changes: Any) -> Answer:
        return await self.ledger.accounts.edit(self.accounts[owner or key], key, Edit(**changes), origin=origin)

    async def revoke(self, key: str) -> Answer:
        return await self.ledger.accounts.revoke(self.accounts[key], key)

    def ask(self, key: str, micros: int = 1, **more: Any) -> Ask:
        """A call that holds `micros`; anything else by keyword."""
        values: dict[str, Any] = {
            "id": self.new_id("c"),
            "account_id": self.accounts[key],
            "facts": Facts(provider="openai", model="gpt-test"),
            "owner": self.ledger.owner,
            "fixed_picos": micros * PICOS,
        }
        return Ask(**(values | more))

    async def hold(self, key: str, micros: int = 1, **more: Any) -> Held | Refused:
        return await self.ledger.calls.hold(self.ask(key, micros, **more))

    async def held(self, key: str, micros: int = 1, **more: Any) -> str:
        """Hold, which must be admitted, and give the call's id."""
        outcome = await self.hold(key, micros, **more)
        assert isinstance(outcome, Held), outcome
        return outcome.id

    async def settle(self, call_id: str, micros: int = 0, status: Any = "settled", **more: Any) -> Settled | None:
        return await self.ledger.calls.settled(settlement(call_id, micros, status, **more))

    async def spend(self, key: str, micros: int, **more: Any) -> str:
        """One whole call that costs exactly what it held."""
        call_id = await self.held(key, micros, **more)
        await self.settle(call_id, micros)
        return call_id

    @property
    def path(self) -> Path:
        """Where the SQLite file is."""
        assert isinstance(self.database, Path)
        return self.database

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        if isinstance(self.database, str):
            return query(self.database, dialect.postgres(sql), *parameters)
        with outside(self.path) as connection:
            return connection.execute(sql, parameters).fetchall()

    def write(self, sql: str) -> int:
        """Change something behind the ledger's back; how many rows."""
        if isinstance(self.database, str):
            counted = query(self.database, f"WITH changed AS ({sql} RETURNING 1) SELECT count(*) FROM changed")  # noqa: S608
            return int(counted[0][0])
        with outside(self.path) as connection:
            return connection.execute(sql).rowcount


def settlement(call_id: str, micros: int = 0, status: Any = "settled", **more: Any) -> Settlement:
    values: dict[str, Any] = {"id": call_id, "status": status, "cost_picos": micros * PICOS}
    return Settlement(**(values | more))


def credential(locator: str = "locator", verifier: str = "verifier", last4: str = "last") -> Credential:
    return Credential(locator=locator, verifier=verifier, last4=last4)


@contextlib.contextmanager
def outside(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the database."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        yield connection
    finally:
        connection.close()


async def open_ledger(database: Path | str, clock: Clock, owner: str) -> Ledger:
    """A ledger on a SQLite file or a PostgreSQL URL, on the test's clock."""
    if isinstance(database, Path):
        return await Ledger.open(f"sqlite:///{database}", clock_ms=clock, owner=owner)
    return await Ledger.open(database, clock_ms=clock, owner=owner, database_clock=False)


@contextlib.asynccontextmanager
async def opened(database: Path | str, clock: Clock | None = None, *, owner: str = "owner-1") -> AsyncIterator[World]:
    clock = clock or Clock()
    ledger = await open_ledger(database, clock, owner)
    world = World(ledger, database, clock)
    try:
        yield world
    finally:
        await world.ledger.close()


async def assert_sound(ledger: Ledger) -> None:
    finding = await ledger.reports.audit()
    assert finding.count == 0, finding.differences


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something that happens by itself has happened."""
    while not condition():  # noqa: ASYNC110 - what is waited for is not ours to signal
        await asyncio.sleep(0.001)


async def ticks(count: int = 3) -> None:
    """Let the event loop turn a few times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def plan(world: World, owner: str, cap: int | None, *limits: Any) -> str:
    return await world.open(owner, cap, kind="plan", limits=limits)


def used(view: AccountView, public_id: str) -> tuple[int, int]:
    """(used, held) of a limit."""
    (limit,) = [limit for limit in view.limits if limit.public_id == public_id and limit.role == "limit"]
    return limit.used, limit.held
