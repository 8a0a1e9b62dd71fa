"""Connections that only read: each script on one snapshot. One that turns out to be dead is replaced once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

import asyncpg

from ledger.engine import NotDone, Script
from ledger.postgres import bounds
from ledger.postgres.servers import Servers
from ledger.postgres.session import BEGIN_READ, OF_THE_DATABASE, OF_THE_WORK, prepare, rows
from ledger.records import LedgerUnavailable

T = TypeVar("T")


class Readers:
    """The connections to one database that read. Open them with `open`."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._pool: asyncpg.Pool | None = None

    async def open(self) -> None:
        """Make the pool; connections are made when they are needed."""
        self._pool = await asyncpg.create_pool(
            min_size=0,
            max_size=bounds.READERS,
            connect=self._servers.connect,
            timeout=bounds.ANSWER_S,
            init=prepare,
            reset=_nothing,
            server_settings=bounds.READER_SETTINGS,
        )

    async def read(self, script: Callable[[], Script[T]], *, long: bool = False) -> T:
        """See `Engine`."""
        assert self._pool is not None  # noqa: S101 - whoever reads has opened it
        for attempt in (1, 2):
            try:
                return await _read(self._pool, script, bounds.READ_S if long else bounds.ANSWER_S)
            except OF_THE_DATABASE as error:
                if isinstance(error, OF_THE_WORK):
                    raise
                if attempt == 2 or isinstance(error, TimeoutError):
                    raise LedgerUnavailable(str(error) or type(error).__name__) from error
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Let go of them."""
        if self._pool is None:
            return
        with contextlib.suppress(*OF_THE_DATABASE):
            async with asyncio.timeout(1.0):
                await self._pool.close()
        self._pool.terminate()


async def _read(pool: asyncpg.Pool, make: Callable[[], Script[T]], statement_s: float) -> T:
    async with asyncio.timeout(bounds.ANSWER_S):
        connection = await pool.acquire()
    try:
        async with asyncio.timeout(bounds.ANSWER_S):
            await connection.execute(BEGIN_READ)
        try:
            result = await _converse(connection, make(), statement_s)
        except NotDone:
            await _end(connection)
            raise
        await _end(connection)
        return result
    except NotDone:
        raise
    except BaseException:
        connection.terminate()  # whatever it still has to say, nobody waits for it
        raise
    finally:
        await pool.release(connection)


async def _converse(connection: asyncpg.Connection, script: Script[T], statement_s: float) -> T:
    try:
        statement = next(script)
        while True:
            async with asyncio.timeout(statement_s):
                found = await rows(connection, statement)
            statement = script.send(found)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


async def _end(connection: asyncpg.Connection) -> None:
    async with asyncio.timeout(bounds.ANSWER_S):
        await connection.execute("ROLLBACK")


async def _nothing(connection: asyncpg.Connection) -> None:
    """Readers change nothing that would have to be reset."""
