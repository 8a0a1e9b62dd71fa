"""The SQLite engine: one process, one writing connection in one thread, WAL, full durability.

Promises: a batch is one hop to the thread and one `synchronous=FULL` transaction; what it answered survives a power
cut. The book is kept between batches: `BEGIN IMMEDIATE` keeps others out, and `PRAGMA data_version` tells whether
anybody else (the command line, a repair by hand) has committed since, in which case the book is read anew. A second
gateway on the same file is refused. Reads run beside, on connections of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from ledger import rules
from ledger.book import Account, Book, Counter, CounterKey, Hold, Rollup, RollupKey
from ledger.engine import Change, Refusal, Result, Row, Script, Work
from ledger.migrations import migrate
from ledger.records import LedgerLost, LedgerUnavailable
from ledger.rows import (
    account_of,
    account_sums,
    event_row,
    hold_of,
    hold_row,
    limits_by_account,
    rollup_of,
    rollup_row,
    select_accounts,
    select_limits,
    sources_of_limits,
)
from ledger.thread import Worker

_log = logging.getLogger("farthing.ledger")
T = TypeVar("T")

READERS = 3  # a long report must not keep a key from being looked up
BUSY_TIMEOUT_MS = 2_000  # another writer (a backup, the command line) is waited for so long, then it is 503
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=OFF",  # the rules never delete what is referred to; the audit checks it
    "PRAGMA wal_autocheckpoint=8000",  # 32 MB: a page that many calls change is written back once for all of them
    "PRAGMA temp_store=MEMORY",
    "PRAGMA secure_delete=ON",  # an end user who is forgotten is overwritten, not only unlinked
    "PRAGMA cache_size=-65536",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
)
_NOT_SYNCED = frozenset((sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC))
"""After these the system may show, as if it were on the disk, what is not: retrying would prove nothing."""
_SUM_TOO_LARGE = "integer overflow"
_FAULTS_OF_THE_WORK = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


class AlreadyOpen(Exception):
    """Another gateway process has this database file open."""


class SqliteTables:
    """Reads a book's rows on the writing connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def account(self, account_id: int) -> Account | None:
        """See `Tables`."""
        row = self._execute(*select_accounts([account_id])).fetchone()
        if row is None:
            return None
        limits = self._execute(*select_limits(sources_of_limits([row]))).fetchall()
        return account_of(row, limits_by_account(limits))

    def counter(self, key: CounterKey) -> Counter | None:
        """See `Tables`."""
        row = self._execute(
            "SELECT used, held, unsettled FROM counters WHERE limit_id = ? AND subject_id = ? AND window_start_ms = ?",
            key,
        ).fetchone()
        return None if row is None else Counter(*row)

    def hold(self, hold_id: str) -> Hold | None:
        """See `Tables`."""
        row = self._execute(
            "SELECT account_id, subject_id, run_id, owner, state, created_ms, expires_ms, amount_micros, legs, call"
            " FROM holds WHERE id = ?",
            (hold_id,),
        ).fetchone()
        if row is None:
            return None
        return hold_of((hold_id, *row))

    def rollup(self, key: RollupKey) -> Rollup | None:
        """See `Tables`."""
        row = self._execute(
            "SELECT requests, blocked, cost_micros, rest_picos, price_micros, input_tokens, output_tokens,"
            " cache_read_tokens, cache_write_tokens, reasoning_tokens, characters, audio_ms, images, latency_ms_sum,"
            " latency_histogram FROM rollups WHERE day_ms = ? AND account_id = ? AND subject_id = ? AND provider = ?"
            " AND model = ?",
            key,
        ).fetchone()
        if row is None:
            return None
        return rollup_of(row)

    def event_cost_micros(self, event_id: str) -> int | None:
        """See `Tables`."""
        row = self._execute("SELECT cost_micros FROM events WHERE id = ?", (event_id,)).fetchone()
        return None if row is None else row[0]


def _store(execute_many: Callable[[str, Iterable[Row]], Any], book: Book) -> None:
    """Write what a batch changed. Values are absolute: writing them twice changes nothing."""
    if book.changed_accounts:
        execute_many(
            "UPDATE accounts SET spent_micros = ?, carry_picos = ?, price_micros = ?, price_carry_picos = ?,"
            " overrun_micros = ?, last_used_ms = ? WHERE id = ?",
            [(*account_sums(a), a.id) for a in book.changed_accounts.values()],
        )
    if book.changed_counters:
        execute_many(
            "INSERT INTO counters (limit_id, subject_id, window_start_ms, used, held, unsettled)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (limit_id, subject_id, window_start_ms)"
            " DO UPDATE SET used = excluded.used, held = excluded.held, unsettled = excluded.unsettled",
            [(*key, c.used, c.held, c.unsettled) for key, c in book.changed_counters.items()],
        )
    if book.written_holds:
        execute_many(
            "INSERT INTO holds (id, account_id, subject_id, run_id, owner, state, created_ms, expires_ms,"
            " amount_micros, legs, call) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " owner = excluded.owner, state = excluded.state, expires_ms = excluded.expires_ms,"
            " amount_micros = excluded.amount_micros, legs = excluded.legs",
            [hold_row(hold) for hold in book.written_holds.values()],
        )
    if book.ended_holds:
        execute_many("DELETE FROM holds WHERE id = ?", [(hold_id,) for hold_id in book.ended_holds])
    if book.events:
        execute_many(
            "INSERT INTO events (id, account_id, subject_id, run_id, created_ms, settled_ms, mode, provider, model,"
            " route, decision, reason, status, usage, cost_micros, cost_picos, price_micros, price_version,"
            " held_micros, http_status, latency_ms, ttft_ms, stream, metadata, flags, legs)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [event_row(event) for event in book.events],
        )
    if book.changed_rollups:
        execute_many(
            "INSERT OR REPLACE INTO rollups (day_ms, account_id, subject_id, provider, model, requests, blocked,"
            " cost_micros, rest_picos, price_micros, input_tokens, output_tokens, cache_read_tokens,"
            " cache_write_tokens, reasoning_tokens, characters, audio_ms, images, latency_ms_sum, latency_histogram)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*key, *rollup_row(r)) for key, r in book.changed_rollups.items()],
        )


class SqliteEngine:
    """One SQLite file. Open it with `open`."""

    shared = False
    steady_since = 0.0

    def __init__(self, path: Path, lock: int | None) -> None:
        self._path = path
        self._lock = lock
        self._thread = Worker("ledger")
        self._readers: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        self._data_version = -1
        self._lost = ""
        self._opened = (0, 0)
        self._connection: sqlite3.Connection
        self._book: Book

    @classmethod
    async def open(cls, path: Path, *, serving: bool) -> SqliteEngine:
        """Open the file, make it or bring its schema up to date.

        Args:
            path: The database file.
            serving: This process is the gateway: nobody else may serve from the same file.

        Raises:
            AlreadyOpen: Another gateway serves from it.
            SchemaTooNew: It was written by a newer Farthing.
            LedgerUnavailable: It cannot be opened.
        """
        lock = _take_lock(path) if serving else None
        engine = cls(path, lock)
        try:
            await engine._thread.do(engine._connect)
            for _ in range(READERS):
                engine._readers.put_nowait(await engine._reader())
        except BaseException:
            await engine.close()
            raise
        return engine

    def _connect(self) -> None:
        try:
            make_private(self._path)
            self._connection = sqlite3.connect(self._path, isolation_level=None, cached_statements=64)
            for pragma in _PRAGMAS:
                self._connection.execute(pragma)
            migrate(self._connection)
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"cannot open {self._path}: {error}") from error
        self._opened = self._identity()
        self._book = Book(SqliteTables(self._connection))

    def _identity(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0
        return found.st_dev, found.st_ino

    async def _reader(self) -> aiosqlite.Connection:
        reader = await aiosqlite.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        await reader.execute_fetchall(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        return reader

    async def commit(self, batch: list[Work], now_ms: int) -> list[Result]:
        """See `Engine`."""
        return await self._thread.do(self._commit, batch, now_ms)

    def _commit(self, batch: list[Work], now_ms: int) -> list[Result]:
        if not self._lost and self._identity() != self._opened:
            self._lost = f"{self._path} is not the file any more that was opened"  # written to it, it would be lost
        if self._lost:
            raise LedgerLost(self._lost)
        try:
            return self._transaction(batch, now_ms)
        except Exception as error:  # a fault in one operation must not take the others with it
            self._undo()
            if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) in _NOT_SYNCED:
                self._lost = f"the disk did not keep what was written: {error}"
                raise LedgerLost(self._lost) from error
            if isinstance(error, sqlite3.Error) and not isinstance(error, _FAULTS_OF_THE_WORK):
                raise LedgerUnavailable(str(error)) from error
            if len(batch) > 1:
                return [self._commit_alone(work, now_ms) for work in batch]
            _log.critical("operation failed", extra={"operation": type(batch[0]).__name__, "error": repr(error)})
            return [error]

    def _commit_alone(self, work: Work, now_ms: int) -> Result:
        try:
            (result,) = self._commit([work], now_ms)
        except LedgerUnavailable as error:
            return error  # what was committed before it stays
        return result

    def _undo(self) -> None:
        self._book.forget()
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")

    def _transaction(self, batch: list[Work], now_ms: int) -> list[Result]:
        cursor, book = self._connection.cursor(), self._book  # one for all: the connection's own makes one for each
        execute = cursor.execute
        execute("BEGIN IMMEDIATE")
        (data_version,) = execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version:
            book.forget()
            self._data_version = data_version
        results: list[Result] = [None] * len(batch)
        for index, work in enumerate(batch):
            if isinstance(work, Change):
                results[index] = self._run(work)
        for index, work in enumerate(batch):
            if not isinstance(work, Change):
                results[index] = rules.apply(book, work, now_ms)
        _store(cursor.executemany, book)
        execute("COMMIT")
        book.clean()
        return results

    def _run(self, change: Change) -> Result:
        """Run a writing script in a savepoint of its own."""
        execute = self._connection.execute
        execute("SAVEPOINT script")
        script = change.start()
        try:
            statement = next(script)
            while True:
                statement = script.send(execute(*statement).fetchall())
        except StopIteration as done:
            execute("RELEASE script")
            self._book.forget_accounts(change.touched)
            return done.value
        except Refusal as error:
            execute("ROLLBACK TO script")
            execute("RELEASE script")
            return error

    async def read(self, script: Callable[[], Script[T]], *, long: bool = False) -> T:
        """See `Engine`. A file answers, or fails, at once: how long it takes is the work itself."""
        async with self._borrowed() as reader:
            try:
                # One hop for the whole script, and its Python off the event loop too: aiosqlite's own statements
                # would take a hop each, and a large report built here would keep every call waiting.
                result: T = await reader._execute(_converse, reader._conn, script())  # type: ignore[no-untyped-call]
                return result
            except sqlite3.Error as error:
                if _SUM_TOO_LARGE not in str(error):
                    raise LedgerUnavailable(str(error)) from error
        return await self._read_exactly(script)

    async def _read_exactly(self, script: Callable[[], Script[T]]) -> T:
        """Read with sums of any size, made in Python: SQLite's own give up above 64 bits."""
        reader = await self._reader()
        try:
            await reader._execute(reader._conn.create_aggregate, "sum", 1, _Sum)  # type: ignore[no-untyped-call]
            result: T = await reader._execute(_converse, reader._conn, script())  # type: ignore[no-untyped-call]
            return result
        except sqlite3.Error as error:
            raise LedgerUnavailable(str(error)) from error
        finally:
            await reader.close()

    @contextlib.asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[aiosqlite.Connection]:
        reader = await self._readers.get()
        try:
            yield reader
        finally:
            self._readers.put_nowait(reader)

    async def close(self) -> None:
        """See `Engine`."""
        while not self._readers.empty():
            await self._readers.get_nowait().close()
        await self._thread.do(self._disconnect)
        self._thread.end()
        if self._lock is not None:
            os.close(self._lock)

    def _disconnect(self) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()


class _Sum:
    """An exact SUM: a whole number, as text where it needs more than 64 bits. It equals nothing but itself."""

    def __init__(self) -> None:
        self._total: int | None = None

    def step(self, value: int | float | str | None) -> None:
        """Add a value; what is no number counts nothing, as in SQLite's own."""
        if value is not None:
            with contextlib.suppress(ValueError, OverflowError):
                value = int(value)
                self._total = (self._total or 0) + value

    def finalize(self) -> int | str | None:
        """The sum; None of nothing."""
        total = self._total
        return total if total is None or -(2**63) <= total < 2**63 else str(total)


def _converse(connection: sqlite3.Connection, script: Script[T]) -> T:
    """Run a reading script on one snapshot."""
    connection.execute("BEGIN")
    try:
        statement = next(script)
        while True:
            statement = script.send(connection.execute(*statement).fetchall())
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        connection.execute("ROLLBACK")


def make_private(path: Path) -> None:
    """See that nobody else reads the file, nor what SQLite puts beside it, which has the file's own permissions.

    What is another user's is left as it is: whoever may read it was meant to.

    Raises:
        sqlite3.OperationalError: The file cannot be made.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise sqlite3.OperationalError(error.strerror) from error
    for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if each.stat().st_mode & 0o077:
                each.chmod(0o600)


def _take_lock(path: Path) -> int:
    """Hold `<file>.lock` for as long as this process serves. The system lets go of it however the process ends."""
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerUnavailable(f"cannot open {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise AlreadyOpen(f"another gateway is serving from {path}; stop it, or use another database") from None
    return lock
