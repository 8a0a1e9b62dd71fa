"""Moves an installation from SQLite to PostgreSQL: every row of every table, in one transaction, or nothing.

Promises: no gateway serves from the source meanwhile; the target was empty; what arrives has passed the same audit with
the same figures before it is committed; the source is only read. Tables and columns are those that the schemas have,
so a table that a schema gains is moved without a word here.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ledger.audit import Audit, audit
from ledger.engine import Row, Script
from ledger.postgres import dialect
from ledger.records import LedgerUnavailable
from ledger.sqlite import files
from ledger.sqlite.engine import SqliteEngine

ROWS_AT_ONCE = 5_000  # read ahead from the source, a few MB
SEQUENCES = {"accounts": "id", "credentials": "id", "limits": "id", "objects": "seq"} | {
    "hooks": "id",
    "messages": "seq",
    "deliveries": "seq",
    "changes": "seq",
    "routes": "id",
}
"""Tables whose rows the database numbers, and the column that it numbers."""


def sqlite_path(url: str) -> Path | None:
    """The file that a database URL names; None if it is no SQLite URL."""
    parts = urlsplit(url)
    return Path(parts.path[1:]) if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1 else None


class CannotMove(ValueError):
    """The move was not begun, or nothing of it was kept; the message says why."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What was moved: rows by table, and the audit that both sides gave."""

    rows: dict[str, int]
    audit: Audit


async def migrate(url: str) -> tuple[int, int]:
    """Bring a database's schema up to date; how many steps it had seen, and how many there are.

    Raises:
        ValueError: The URL names no database that this version knows.
        SchemaTooNew, LedgerUnavailable: See the engines.
    """
    if (path := sqlite_path(url)) is not None:
        try:
            files.make_private(path)
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                return files.migrate(connection)
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"cannot open {path}: {error}") from error
    if urlsplit(url).scheme not in ("postgresql", "postgres"):
        raise ValueError("not a database URL that Farthing knows (sqlite:///farthing.db or postgresql://…)")
    with _of_postgres("cannot open the database") as migrating:
        found: tuple[int, int] = await migrating.migrate(url)
    return found


async def move(source: Path, target: str, told: Callable[[str, int], None]) -> Moved:
    """Move everything; `told` hears of each table and its rows when it has been copied.

    Raises:
        CannotMove: The source is not there, the target is not empty, or the audits differ.
        AlreadyOpen: A gateway serves from the source.
        SchemaTooNew, LedgerUnavailable: See the engines.
    """
    connection = _open(source)
    try:
        engine = await SqliteEngine.open(source, serving=True)
    except BaseException:
        connection.close()
        raise
    try:
        before = await engine.read(audit)
        if before.count:
            raise CannotMove(f"the source does not pass its audit ({before.count} differences): see farthing audit")
        connection.execute("BEGIN")
        with _of_postgres("the move broke off, and nothing was kept") as migrating:
            await migrating.migrate(target)
            async with migrating.alone(target) as writer:
                return await _copy(connection, writer, before, told)
    finally:
        await engine.close()
        connection.close()


def _open(source: Path) -> sqlite3.Connection:
    """A connection that only reads."""
    if not source.is_file():
        raise CannotMove(f"there is no database at {source}")
    return sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


@contextlib.contextmanager
def _of_postgres(what: str) -> Iterator[Any]:
    """The module of the other engine, whose errors become the ledger's own."""
    try:
        import asyncpg

        from ledger.postgres import migrating
    except ImportError as error:
        raise ValueError(f"PostgreSQL needs a driver: pip install 'farthing[postgresql]' ({error})") from error
    try:
        yield migrating
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, sqlite3.Error) as error:
        raise LedgerUnavailable(f"{what}: {error or type(error).__name__}") from error


async def _copy(connection: sqlite3.Connection, writer: Any, before: Audit, told: Callable[[str, int], None]) -> Moved:
    """Copy all tables in the writer's transaction, and audit them there."""
    rows = {}
    for table, columns in _tables(connection):
        if await writer.fetchval(f'SELECT EXISTS (SELECT 1 FROM "{table}")'):  # noqa: S608 - a name of our own schema
            raise CannotMove(f"the target is not empty: it has rows in {table}")
        await writer.copy_records_to_table(table, records=_rows(connection, table, columns), columns=columns)
        rows[table] = await writer.fetchval(f'SELECT count(*) FROM "{table}"')  # noqa: S608 - a name of our own schema
        told(table, rows[table])
    for table, column in SEQUENCES.items():
        sequence = f"pg_get_serial_sequence('{table}', '{column}')"
        await writer.execute(f"SELECT setval({sequence}, max({column})) FROM {table}")  # noqa: S608 - constants
    await writer.execute("SELECT setval('event_seq', max(seq)) FROM events")
    await writer.execute("ANALYZE")
    after = await _converse(writer, audit())
    if after != before:
        raise CannotMove(f"the audits differ: {before} before, {after} after")
    return Moved(rows=rows, audit=after)


def _tables(connection: sqlite3.Connection) -> list[tuple[str, list[str]]]:
    """Every table of the source with its columns."""
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return [
        (name, [column[1] for column in connection.execute(f'PRAGMA table_info("{name}")')])
        for (name,) in sorted(names.fetchall())
    ]


def _rows(connection: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[Row]:
    """The rows of a table as PostgreSQL can keep them."""
    listed = ", ".join(f'"{name}"' for name in columns)
    cursor = connection.execute(f'SELECT {listed} FROM "{table}"')  # noqa: S608 - names of our own schema
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        yield from map(dialect.parameters, rows)


async def _converse(writer: Any, script: Script[Audit]) -> Audit:
    """Run a reading script on the connection that has the copy."""
    try:
        sql, values = next(script)
        while True:
            rows = await writer.fetch(dialect.postgres(sql), *dialect.parameters(values))
            sql, values = script.send([tuple(row) for row in rows])
    except StopIteration as done:
        result: Audit = done.value
        return result
