"""Long work outside serving: the schema brought up to date, and a transaction for who moves an installation here."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import asyncpg

from ledger import migrations
from ledger.migrations import Schema, Step, Versioning
from ledger.postgres import bounds
from ledger.postgres.servers import Servers
from ledger.postgres.session import BEGIN_MIGRATION, BEGIN_SCRIPT, prepare


def _version() -> Versioning:
    ((known,),) = yield "SELECT to_regclass('schema_version') IS NOT NULL"
    if not known:
        return 0
    ((version,),) = yield "SELECT version FROM schema_version"
    return int(version)


SCHEMA = Schema(migrations.steps_of("ledger.postgres"), _version, "UPDATE schema_version SET version = {}")


async def migrate(at: Servers | str) -> tuple[int, int]:
    """Run the steps that the database has not seen, which many gateways may do at once; how many it had seen, and all.

    Raises:
        SchemaTooNew: It has seen steps that this code does not know.
        OSError, asyncpg.PostgresError: It cannot be reached.
    """
    servers = Servers(at) if isinstance(at, str) else at
    connection = await servers.connect(timeout=bounds.ANSWER_S, server_settings=bounds.LONG_WORK_SETTINGS)
    try:
        await connection.execute(BEGIN_MIGRATION)
        script = migrations.migrate(SCHEMA)
        statement = next(script)
        while True:
            if isinstance(statement, Step):
                await connection.execute(str(statement))  # the driver takes no other kind of text
                statement = script.send([])
            else:
                statement = script.send([tuple(row) for row in await connection.fetch(statement)])
    except StopIteration as done:
        await connection.execute("COMMIT")
        return done.value  # type: ignore[no-any-return]
    finally:
        connection.terminate()


@contextlib.asynccontextmanager
async def alone(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction for long work, during which no script runs in the database; committed at the end."""
    connection = await Servers(url).connect(timeout=bounds.ANSWER_S, server_settings=bounds.LONG_WORK_SETTINGS)
    try:
        await prepare(connection)
        await connection.execute(BEGIN_SCRIPT)
        yield connection
        await connection.execute("COMMIT")
    finally:
        connection.terminate()
