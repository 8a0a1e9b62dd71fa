"""The database's file: its schema, its permissions, and the lock that keeps a second gateway away from it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ledger import migrations
from ledger.migrations import Schema, Step, Versioning
from ledger.records import LedgerUnavailable


class AlreadyOpen(Exception):
    """Another gateway process has this database file open."""


def _version() -> Versioning:
    ((version,),) = yield "PRAGMA user_version"
    return int(version)


SCHEMA = Schema(migrations.steps_of("ledger.sqlite"), _version, "PRAGMA user_version = {}")


def migrate(connection: sqlite3.Connection) -> tuple[int, int]:
    """Run the steps that the database has not seen; how many it had seen, and how many there are.

    Raises:
        SchemaTooNew: It has seen steps that this code does not know.
    """
    connection.execute("BEGIN IMMEDIATE")  # two processes may start on the same new file
    script = migrations.migrate(SCHEMA)
    try:
        statement = next(script)
        while True:
            if isinstance(statement, Step):
                for part in _statements(statement):
                    connection.execute(part)
                statement = script.send([])
            else:
                statement = script.send(connection.execute(statement).fetchall())
    except StopIteration as done:
        connection.execute("COMMIT")
        return done.value  # type: ignore[no-any-return]
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


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


def take_lock(path: Path) -> int:
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
