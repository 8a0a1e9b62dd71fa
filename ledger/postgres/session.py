"""What every connection to the server has in common: numbers, statements, locks, and whose fault an error is."""

from __future__ import annotations

import asyncpg

from ledger.engine import Row, Statement
from ledger.postgres import dialect
from ledger.postgres.servers import ERRORS

# What was found may be on this server only: a commit whose wait for the standby was broken off can be seen. An answer
# that rests on that, and writes nothing, writes a record of its own, and waits until the standby has it and all before.
AFTER_ALL = "SELECT pg_logical_emit_message(true, 'farthing', '')"

# Advisory locks: (5095541, 1) scripts, (5095541, 2) the numbers of events (in the schema), (5095541, 3) migrations.
BEGIN_CHANGE = f"BEGIN; {AFTER_ALL}"
BEGIN_SCRIPT = f"{BEGIN_CHANGE}; SELECT pg_advisory_xact_lock(5095541, 1)"
BEGIN_MIGRATION = "BEGIN; SELECT pg_advisory_xact_lock(5095541, 3)"
BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

AGAIN = (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError)
OF_THE_WORK = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.exceptions._base.DataError,
    asyncpg.SyntaxOrAccessError,
)
OF_THE_DATABASE = ERRORS


def unavailable(error: BaseException) -> bool:
    """Whether the database is to blame, and not the work."""
    return isinstance(error, OF_THE_DATABASE) and not isinstance(error, OF_THE_WORK)


async def prepare(connection: asyncpg.Connection) -> None:
    """Sums of whole numbers come as NUMERIC, and are whole numbers."""
    await connection.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=int, format="text")


async def rows(connection: asyncpg.Connection, statement: Statement) -> list[Row]:
    """The rows of a script's statement."""
    sql, values = statement
    return [tuple(row) for row in await connection.fetch(dialect.postgres(sql), *dialect.parameters(values))]
