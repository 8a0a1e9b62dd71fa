"""Connections that only read, beside the one that writes: a whole script in one hop, on one snapshot.

Promises: a script's Python runs off the event loop too: aiosqlite's own statements would take a hop each, and a large
report that were built on the loop would keep every call waiting. Sums above 64 bits are exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import aiosqlite

from ledger.engine import Script
from ledger.records import LedgerUnavailable

T = TypeVar("T")

READERS = 3  # a long report must not keep a key from being looked up
_CONVERSE = "a script"
_SUM_TOO_LARGE = "integer overflow"


class _Conversation(Generic[T]):
    """A script and, once it has been run, what it returned."""

    def __init__(self, script: Script[T]) -> None:
        self._script = script
        self.result: T

    def run(self, execute: Callable[..., sqlite3.Cursor]) -> None:
        """Run it on one snapshot."""
        execute("BEGIN")
        try:
            statement = next(self._script)
            while True:
                statement = self._script.send(execute(*statement).fetchall())
        except StopIteration as done:
            self.result = done.value
        finally:
            execute("ROLLBACK")


class _ReadingConnection(sqlite3.Connection):
    """A connection that knows one statement more, `_CONVERSE`, whose parameter is a conversation.

    aiosqlite runs a statement and fetches its rows in one hop; so a script is a statement.
    """

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run a statement, or a script."""
        if sql is not _CONVERSE:
            return super().execute(sql, parameters)
        (conversation,) = parameters
        conversation.run(super().execute)
        return self.cursor()


class _Exact(_ReadingConnection):
    """Makes sums of any size, in Python: SQLite's own give up above 64 bits."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.create_aggregate("sum", 1, _Sum)  # type: ignore[arg-type] # its values may be of any kind


class Readers:
    """The connections to one file that read."""

    def __init__(self, path: Path, busy_timeout_ms: int) -> None:
        self._path = path
        self._busy_timeout_ms = busy_timeout_ms
        self._idle: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()

    async def open(self) -> None:
        """Make all of them."""
        for _ in range(READERS):
            self._idle.put_nowait(await self._connect(_ReadingConnection))

    async def _connect(self, factory: type[_ReadingConnection]) -> aiosqlite.Connection:
        reader = await aiosqlite.connect(
            f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, factory=factory
        )
        await reader.execute_fetchall(f"PRAGMA busy_timeout={self._busy_timeout_ms}")
        return reader

    async def read(self, script: Callable[[], Script[T]]) -> T:
        """Run a script.

        Raises:
            LedgerUnavailable: The database does not answer.
        """
        async with self._borrowed() as reader:
            try:
                return await _converse(reader, script())
            except sqlite3.Error as error:
                if _SUM_TOO_LARGE not in str(error):
                    raise LedgerUnavailable(str(error)) from error
        return await self._read_exactly(script)

    async def _read_exactly(self, script: Callable[[], Script[T]]) -> T:
        reader = await self._connect(_Exact)
        try:
            return await _converse(reader, script())
        except sqlite3.Error as error:
            raise LedgerUnavailable(str(error)) from error
        finally:
            await reader.close()

    @contextlib.asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[aiosqlite.Connection]:
        reader = await self._idle.get()
        try:
            yield reader
        finally:
            self._idle.put_nowait(reader)

    async def close(self) -> None:
        """Let go of those that are idle."""
        while not self._idle.empty():
            await self._idle.get_nowait().close()


async def _converse(reader: aiosqlite.Connection, script: Script[T]) -> T:
    conversation = _Conversation(script)
    await reader.execute_fetchall(_CONVERSE, (conversation,))
    return conversation.result


class _Sum:
    """An exact SUM: a whole number, as text where it needs more than 64 bits. It equals nothing but itself."""

    def __init__(self) -> None:
        self._total: int | None = None

    def step(self, value: int | float | str | None, /) -> None:
        """Add a value; what is no number counts nothing, as in SQLite's own."""
        if value is not None:
            with contextlib.suppress(ValueError, OverflowError):
                value = int(value)
                self._total = (self._total or 0) + value

    def finalize(self) -> int | str | None:
        """The sum; None of nothing."""
        total = self._total
        return total if total is None or -(2**63) <= total < 2**63 else str(total)
