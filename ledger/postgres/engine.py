"""The PostgreSQL engine: many gateways on many machines write to one database.

Promises: a batch is one durable transaction; what it answered survives a crash of the server. A gateway remembers rows
between batches, decides on what it remembers, and stores the outcome in one round trip, which is a transaction of its
own (the statement `farthing_commit`): it takes effect only if what the decision rests upon still stands, under locks
that are never held while the network is waited for. Where it does not stand, or a call would be refused, the batch is
decided on rows that are read and locked first, in five round trips. A transaction of which nobody knows whether it was
committed is carried out again by its ids, on a connection that the lost one is fenced off from; a script is not. Each
answer, or the word that there is none, comes within `bounds.ANSWER_S`. Times are the database's. Where the server has a
synchronous standby, what was answered is there too; of several servers in the URL, the one that takes writes is used.

All that writes goes over one connection, which holds an advisory lock of its own for as long as it lives: once a new
connection has that lock, the old one can change nothing any more. Needs a direct connection or a pooler in session
mode. Scripts run one at a time in the whole database, so what they have read still stands when they write.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import TypeVar

import asyncpg

from ledger import holding, rules
from ledger.engine import Change, NotDone, Result, Script, Work
from ledger.outbox.alerts import Alerts, Message
from ledger.postgres import bounds, migrating
from ledger.postgres.reading import Readers
from ledger.postgres.rows import (
    FETCH,
    LOAD,
    MAKE,
    STALE,
    STORE,
    fetch_arguments,
    fill,
    fill_sums,
    load_arguments,
    store_arguments,
)
from ledger.postgres.servers import Servers
from ledger.postgres.session import (
    AFTER_ALL,
    AGAIN,
    BEGIN_CHANGE,
    BEGIN_SCRIPT,
    OF_THE_DATABASE,
    OF_THE_WORK,
    prepare,
    rows,
    unavailable,
)
from ledger.postgres.shared_book import SharedBook, is_plain, is_sure
from ledger.postgres.wanted import Loaded, Missing, Wanted
from ledger.records import Ask, Block, Held, LedgerUnavailable, Refused, Settled
from ledger.rules import Operation

_log = logging.getLogger("farthing.ledger")
T = TypeVar("T")

COMMIT = "farthing_commit"  # the statement that stores a batch and commits it
_FENCE_OFF = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (classid::BIGINT << 32 | objid::BIGINT) = $1 AND pid <> pg_backend_pid()"
)


def _local_ms() -> int:
    return time.time_ns() // 1_000_000


class PostgresEngine:
    """One database on a PostgreSQL server. Open it with `open`."""

    shared = True
    told = False

    def __init__(self, url: str, owner: str, clock_ms: Callable[[], int] | None) -> None:
        self._servers = Servers(url)
        self._fence = int.from_bytes(blake2b(owner.encode(), digest_size=8).digest()) >> 1
        self._test_clock_ms = clock_ms
        self._offset_ms = 0
        self._writer: asyncpg.Connection | None = None
        self._readers = Readers(self._servers)
        self._committing = False
        self._statements: dict[str, asyncpg.prepared_stmt.PreparedStatement] = {}
        self.steady_since = 0.0
        self._memory = SharedBook(Loaded(Wanted()))
        self._alerts = Alerts()

    @classmethod
    async def open(cls, url: str, *, owner: str, clock_ms: Callable[[], int] | None = None) -> PostgresEngine:
        """Connect, and make the schema or bring it up to date. `clock_ms` stands in for the database's clock in tests.

        Raises:
            SchemaTooNew: The database was written by a newer Farthing.
            LedgerUnavailable: It cannot be reached.
        """
        engine = cls(url, owner, clock_ms)
        try:
            async with asyncio.timeout(2 * bounds.ANSWER_S):
                await migrating.migrate(engine._servers)
                await engine._writing()
                await engine._readers.open()
        except OF_THE_DATABASE as error:
            await engine._drop()
            raise LedgerUnavailable(f"cannot open the database: {error or type(error).__name__}") from error
        return engine

    def clock_ms(self) -> int:
        """The database's time, as far as this process knows it."""
        return _local_ms() + self._offset_ms if self._test_clock_ms is None else self._test_clock_ms()

    def _saw_clock(self, now_ms: int) -> int:
        if self._test_clock_ms is not None:
            return self._test_clock_ms()
        self._offset_ms = now_ms - _local_ms()
        return now_ms

    # ---- writing

    async def _writing(self) -> asyncpg.Connection:
        """The connection that writes; a new one if it was lost."""
        if self._writer is not None and not self._writer.is_closed():
            return self._writer
        connection = await self._servers.connect(timeout=bounds.ANSWER_S, server_settings=bounds.WRITER_SETTINGS)
        try:
            await prepare(connection)
            await connection.fetch(_FENCE_OFF, self._fence)
            await connection.execute(f"SELECT pg_advisory_lock({self._fence})")
            for make in MAKE:
                await connection.execute(make)  # commits: what the lost connection left is now on the standby as well
            self._statements = {
                LOAD: await connection.prepare(LOAD),
                FETCH: await connection.prepare(FETCH),
                STORE: await connection.prepare(STORE),
                COMMIT: await connection.prepare(STORE, name=COMMIT),
            }
            self._saw_clock(await connection.fetchval("SELECT now_ms()"))
        except BaseException:
            connection.terminate()
            raise
        self._writer = connection
        self.steady_since = asyncio.get_running_loop().time()  # a server that was away has lost all its connections
        return connection

    async def _drop(self) -> None:
        """Let go of a connection that cannot be trusted."""
        writer, self._writer = self._writer, None
        self._memory.forget()
        if writer is not None:
            writer.terminate()

    async def commit(self, batch: list[Work], now_ms: int) -> list[Result]:
        """See `Engine`. Each script is a transaction of its own, before the operations."""
        results: list[Result] = [None] * len(batch)
        scripts = [index for index, work in enumerate(batch) if isinstance(work, Change)]
        taken = 0
        try:
            for index in scripts:
                results[index] = await self._script(batch[index])
                taken += 1
            if len(scripts) < len(batch):
                operations = [work for work in batch if not isinstance(work, Change)]
                answers = iter(await self._operations(operations))
                results = [
                    results[index] if isinstance(work, Change) else next(answers) for index, work in enumerate(batch)
                ]
        except LedgerUnavailable as error:
            if not taken:
                raise
            done = set(scripts[:taken])
            return [result if index in done else error for index, result in enumerate(results)]
        return results

    async def _operations(self, batch: list[Operation]) -> list[Result]:
        try:
            return await self._answer(lambda unsure: self._transaction(batch, repeated=unsure))
        except LedgerUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a fault in one operation must not take the others with it
            if len(batch) > 1:
                return [await self._alone(work) for work in batch]
            _log.critical("operation failed", extra={"operation": type(batch[0]).__name__, "error": repr(error)})
            return [error]

    async def _alone(self, work: Operation) -> Result:
        try:
            (result,) = await self._operations([work])
        except LedgerUnavailable as error:
            return error  # what was committed before it stays
        return result

    async def _script(self, change: Work) -> Result:
        async def run(unsure: bool) -> Result:
            if unsure:
                raise LedgerUnavailable("nobody knows whether the change was made")
            return await self._run(change)

        return await self._answer(run)

    async def _answer(self, run: Callable[[bool], Awaitable[T]]) -> T:
        """Run a transaction; once more if the database lost or refused it. `run` learns if it may have happened."""
        unsure = False
        deadline = asyncio.get_running_loop().time() + bounds.ANSWER_S
        for attempt in (1, 2):
            self._committing = False
            try:
                async with asyncio.timeout_at(deadline):
                    return await run(unsure)
            except LedgerUnavailable as error:
                error.unsure = error.unsure or unsure
                raise
            except OF_THE_DATABASE as error:
                if isinstance(error, OF_THE_WORK):
                    raise
                if not isinstance(error, AGAIN):
                    unsure = unsure or self._committing
                    await self._drop()
                if attempt == 2 or isinstance(error, TimeoutError):
                    raise LedgerUnavailable(str(error) or type(error).__name__, unsure=unsure) from error
            except asyncio.CancelledError:
                await self._drop()
                raise
        raise AssertionError("unreachable")

    async def _transaction(self, batch: list[Operation], *, repeated: bool) -> list[Result]:
        if not repeated and all(map(is_plain, batch)):
            try:
                results = await self._at_once(batch)
            except BaseException:
                self._memory.forget()
                raise
            if results is not None:
                return results
        return await self._locked(batch, repeated=repeated)

    async def _at_once(self, batch: list[Operation]) -> list[Result] | None:
        """Decide on what is remembered, and store it if that still stands. None if it does not: nothing happened."""
        await self._writing()
        book, now_ms = self._memory, self.clock_ms()
        wanted = Wanted()
        tables = Loaded(wanted)
        book.read_from(tables)
        wanted.lack(book, batch)
        lacking = wanted.named
        for _ in range(bounds.LOADS_MAX):
            try:
                if lacking:
                    await self._read_rows(book, tables, wanted, batch, locking=False)
                results: list[Result] = [rules.apply(book, work, now_ms) for work in batch]
                messages = self._alerts.messages(book, batch, results, now_ms, exact=False)
                break
            except Missing as missing:
                book.undo()
                wanted.add(missing)
                wanted.lack(book, batch)
                lacking = True
        else:
            return None
        if not all(is_sure(work, result, book) for work, result in zip(batch, results, strict=True)):
            book.undo()
            return None
        self._committing = True
        try:
            await self._store(COMMIT, book, batch, results, messages, now_ms)
        except asyncpg.PostgresError as error:
            if error.sqlstate != STALE and not isinstance(error, asyncpg.UniqueViolationError):
                raise
            book.undo()
            results = []
        self._committing = False
        return results or None

    async def _locked(self, batch: list[Operation], *, repeated: bool) -> list[Result]:
        """Decide on rows that are locked until the decision is committed."""
        wanted = Wanted()
        wanted.name(batch, repeated=repeated)
        connection = await self._writing()
        for _ in range(bounds.LOADS_MAX):
            await connection.execute("BEGIN")
            try:
                book, results = await self._carry_out(batch, wanted, repeated=repeated)
            except BaseException as error:
                if not isinstance(error, asyncio.CancelledError):
                    with contextlib.suppress(*OF_THE_DATABASE):
                        await connection.execute("ROLLBACK")
                if isinstance(error, Missing):
                    wanted.add(error)
                elif getattr(error, "sqlstate", "") != STALE:
                    self._memory.forget()
                    raise
            else:
                self._committing = True
                await connection.execute("COMMIT")
                self._committing = False
                self._alerts.written(book)
                self._memory.adopt(book, wanted.calls)
                return results
        raise LookupError("the batch needs ever more rows")

    async def _carry_out(
        self, batch: list[Operation], wanted: Wanted, *, repeated: bool
    ) -> tuple[SharedBook, list[Result]]:
        tables = Loaded(wanted)
        book = SharedBook(tables)
        now_ms = await self._read_rows(book, tables, wanted, batch, locking=True)
        results = [_apply(book, work, now_ms, repeated=repeated) for work in batch]
        messages = self._alerts.messages(book, batch, results, now_ms, exact=True)
        await self._store(STORE, book, batch, results, messages, now_ms)
        return book, results

    async def _read_rows(
        self, book: SharedBook, tables: Loaded, wanted: Wanted, batch: list[Operation], *, locking: bool
    ) -> int:
        """Read what is wanted and what follows from it; the database's time."""
        now_ms = self.clock_ms()
        if wanted.named:
            row = await self._statements[LOAD].fetchrow(*load_arguments(wanted, locking=locking))
            assert row is not None  # noqa: S101 - a function with OUT parameters has one row
            now_ms = self._saw_clock(row["clock_ms"])
            fill(book, row["account_rows"], row["limit_rows"], row["hold_rows"])
        wanted.follow(book, batch, now_ms)
        if not locking:
            wanted.leave_out(book)
        row = await self._statements[FETCH].fetchrow(*fetch_arguments(wanted, locking=locking))
        assert row is not None  # noqa: S101 - a function with OUT parameters has one row
        fill_sums(book, wanted, tables, row["counter_rows"], row["rollup_rows"], row["event_rows"])
        return now_ms

    async def _store(
        self,
        statement: str,
        book: SharedBook,
        batch: list[Operation],
        results: list[Result],
        messages: list[Message],
        now_ms: int,
    ) -> None:
        """Store what the batch has changed; with `COMMIT` that is a transaction of its own."""
        basis = book.basis(batch, results, now_ms)
        if statement == STORE:
            basis.maxima.clear()  # the counters were locked before it was decided
        self.told = self.told or bool(messages)
        arguments = store_arguments(book, basis, messages, now_ms if self._test_clock_ms is None else -1)
        if arguments is None:
            if any(map(_is_found, results)):
                await (await self._writing()).execute(AFTER_ALL)
            book.clean()
            return
        row = await self._statements[statement].fetchrow(*arguments)
        assert row is not None  # noqa: S101 - a function with OUT parameters has one row
        self._saw_clock(row["clock_ms"])
        book.stored(
            basis,
            zip(row["all_used"] or (), row["all_held"] or (), row["all_unsettled"] or (), strict=True),
            results,
            now_ms,
        )
        if statement == COMMIT:
            self._alerts.written(book)

    async def _run(self, change: Work) -> Result:
        """Run a writing script in a transaction of its own."""
        assert isinstance(change, Change)  # noqa: S101 - the caller has looked
        connection = await self._writing()
        await connection.execute(BEGIN_SCRIPT if change.alone else BEGIN_CHANGE)
        script = change.start()
        try:
            statement = next(script)
            while True:
                statement = script.send(await rows(connection, statement))
        except StopIteration as done:
            self._committing = True
            await connection.execute("COMMIT")
            self._committing = False
            self._memory.forget_accounts(change.touched)
            return done.value
        except Exception as error:
            if unavailable(error) and not isinstance(error, AGAIN):
                raise
            await connection.execute("ROLLBACK")
            if isinstance(error, AGAIN):
                raise
            if not isinstance(error, NotDone):
                _log.critical("operation failed", extra={"operation": "Change", "error": repr(error)})
            return error

    # ---- reading

    async def read(self, script: Callable[[], Script[T]], *, long: bool = False) -> T:
        """See `Engine`."""
        return await self._readers.read(script, long=long)

    async def close(self) -> None:
        """See `Engine`."""
        await self._drop()
        await self._readers.close()


def _apply(book: SharedBook, work: Operation, now_ms: int, *, repeated: bool) -> Result:
    """Carry out one operation. What stands already, from a transaction whose answer was lost, is not done twice."""
    if isinstance(work, Block) and book.event_cost_micros(work.id) is not None:
        return None
    if not repeated or not isinstance(work, Ask):
        return rules.apply(book, work, now_ms)
    if book.event_cost_micros(work.id) is not None:  # refused and recorded, or held and ended: it cannot be held again
        refused = rules.apply(book, _dry(work), now_ms)
        return refused if isinstance(refused, Refused) else LedgerUnavailable("the call has ended")
    found = book.hold(work.id)
    if found is not None:
        if found.owner != work.owner or found.state != "open":
            return LedgerUnavailable("the call's hold is no longer its own")
        holding.withdraw(book, found)
    result = rules.apply(book, work, now_ms)
    if isinstance(result, Held):
        book.ended_holds.discard(work.id)
    return result


def _is_found(result: Result) -> bool:
    """Whether an answer says what stands already: a call that has ended, a reservation that was made."""
    return isinstance(result, Settled) or (isinstance(result, Refused) and result.reason == "exists")


def _dry(ask: Ask) -> Ask:
    return Ask(**{name: getattr(ask, name) for name in ask.__struct_fields__} | {"dry_run": True})
