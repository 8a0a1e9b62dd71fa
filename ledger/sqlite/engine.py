"""The SQLite engine: one process, one writing connection in one thread, WAL, full durability.

Promises: a batch is one hop to the thread and one `synchronous=FULL` transaction; what it answered survives a power
cut. The book is kept between batches: `BEGIN IMMEDIATE` keeps others out, and `PRAGMA data_version` tells whether
anybody else (the command line, a repair by hand) has committed since, in which case the book is read anew. A second
gateway on the same file is refused. Reads run beside, on connections of their own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ledger import rules
from ledger.book import Book
from ledger.engine import Change, NotDone, Result, Script, Work
from ledger.outbox.alerts import Alerts
from ledger.outbox.messages import INSERT_MESSAGE, message_row
from ledger.records import LedgerLost, LedgerUnavailable
from ledger.sqlite.files import make_private, migrate, take_lock
from ledger.sqlite.reading import Readers
from ledger.sqlite.tables import SqliteTables, store
from ledger.sqlite.thread import Worker

_log = logging.getLogger("farthing.ledger")
T = TypeVar("T")

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
_FAULTS_OF_THE_WORK = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


class SqliteEngine:
    """One SQLite file. Open it with `open`."""

    shared = False
    steady_since = 0.0
    told = False

    def __init__(self, path: Path, lock: int | None) -> None:
        self._path = path
        self._lock = lock
        self._thread = Worker("ledger")
        self._readers = Readers(path, BUSY_TIMEOUT_MS)
        self._data_version = -1
        self._alerts = Alerts()
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
        lock = take_lock(path) if serving else None
        engine = cls(path, lock)
        try:
            await engine._thread.do(engine._connect)
            await engine._readers.open()
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
        store(cursor.executemany, book)
        messages = None
        if book.events:  # a hold alone has nothing to tell
            messages = self._alerts.messages(book, batch, results, now_ms, exact=True)
        if messages:
            used = (each.used if each.counter is None else book.counters[each.counter].used for each in messages)
            rows = [message_row(each, count, now_ms) for each, count in zip(messages, used, strict=True)]
            cursor.executemany(INSERT_MESSAGE, rows)
        execute("COMMIT")
        if messages:
            self.told = True
            self._alerts.written(book)
        book.clean()
        return results

    def _run(self, change: Change[Any]) -> Result:
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
        except NotDone as error:
            execute("ROLLBACK TO script")
            execute("RELEASE script")
            return error

    async def read(self, script: Callable[[], Script[T]], *, long: bool = False) -> T:
        """See `Engine`. A file answers, or fails, at once: how long it takes is the work itself."""
        return await self._readers.read(script)

    async def close(self) -> None:
        """See `Engine`."""
        await self._readers.close()
        await self._thread.do(self._disconnect)
        self._thread.end()
        if self._lock is not None:
            os.close(self._lock)

    def _disconnect(self) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()
