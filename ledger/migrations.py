"""Brings a database's schema up to date, and refuses one that is newer than this code.

Each file of `schema/` is one step, run once; all that are missing are one transaction. The number of the last one
stands in `PRAGMA user_version`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib import resources

_STEPS = sorted(
    (file.name, file.read_text("utf-8"))
    for file in resources.files("ledger").joinpath("schema").iterdir()
    if file.name.endswith(".sql")
)


class SchemaTooNew(Exception):
    """The database was written by a newer Farthing than this one."""


def migrate(connection: sqlite3.Connection) -> tuple[int, int]:
    """Run the steps that the database has not seen; how many it had seen, and how many there are.

    Raises:
        SchemaTooNew: It has seen steps that this code does not know.
    """
    connection.execute("BEGIN IMMEDIATE")  # two processes may start on the same new file
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(_STEPS):
            raise SchemaTooNew(
                f"the database has schema {version}, this Farthing knows schemas up to {len(_STEPS)}: upgrade Farthing"
            )
        for number, (_name, script) in enumerate(_STEPS[version:], start=version + 1):
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return version, len(_STEPS)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
