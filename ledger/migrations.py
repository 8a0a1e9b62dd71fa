"""Brings a database's schema up to date, and refuses one that is newer than this code: for every engine.

Each file of an engine's `schema/` is one step, run once; all that are missing are one transaction, which the engine
begins and ends. Where the number of the last one stands is the engine's business, as is how a step's text is run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from importlib import resources
from typing import Any, NamedTuple

Rows = list[tuple[Any, ...]]
Versioning = Generator[str, Rows, int]


class SchemaTooNew(Exception):
    """The database was written by a newer Farthing than this one."""


class Step(str):
    """The text of one step: statements without parameters and without rows."""

    __slots__ = ()


class Schema(NamedTuple):
    """An engine's schema.

    Attributes:
        steps: Name and text of each, in their order.
        version: Asks the database how many it has seen.
        note: The statement that writes that down, with `{}` for the number.
    """

    steps: tuple[tuple[str, Step], ...]
    version: Callable[[], Versioning]
    note: str


def steps_of(package: str) -> tuple[tuple[str, Step], ...]:
    """The steps that lie in the folder `schema` of an engine's package."""
    folder = resources.files(package).joinpath("schema")
    found = ((file.name, Step(file.read_text("utf-8"))) for file in folder.iterdir() if file.name.endswith(".sql"))
    return tuple(sorted(found))


def migrate(schema: Schema) -> Generator[str, Rows, tuple[int, int]]:
    """Run the steps that the database has not seen; how many it had seen, and how many there are.

    Yields statements, and each `Step` as a whole, and is sent their rows.

    Raises:
        SchemaTooNew: It has seen steps that this code does not know.
    """
    version = yield from schema.version()
    known = len(schema.steps)
    if version > known:
        raise SchemaTooNew(
            f"the database has schema {version}, this Farthing knows schemas up to {known}: upgrade Farthing"
        )
    for _name, step in schema.steps[version:]:
        yield step
    if version < known:
        yield schema.note.format(known)
    return version, known
