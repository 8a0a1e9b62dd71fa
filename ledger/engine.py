"""The small interface that every database engine offers, and the batch that passes through it.

An engine knows how to load a book's rows, run a batch of operations in one transaction, and run *scripts*: generators
that yield `(sql, parameters)` and are sent the rows. Scripts are written once, with `?` for each parameter, and run
on every engine. The engine decides nothing about money; `ledger.rules` does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, Protocol, TypeVar

from ledger.rules import Operation, Outcome

Row = tuple[Any, ...]
Statement = tuple[str, tuple[Any, ...]]
T = TypeVar("T")
Script = Generator[Statement, list[Row], T]
"""A conversation with the database: yields statements, is sent their rows, returns its result."""


class NotDone(Exception):
    """A script does not do what it was asked; nothing was changed. The base of the ledger's domain errors."""


class Change(Generic[T]):
    """A script that writes, and afterwards the accounts that a book must read again (see `Book.forget_accounts`).

    `alone`: no other process's script of the kind runs meanwhile, so that what it has read still stands when it writes.
    """

    def __init__(self, script: Callable[[set[int]], Script[T]], *, alone: bool = True) -> None:
        self._script = script
        self.alone = alone
        self.touched: set[int] = set()

    def start(self) -> Script[T]:
        """A fresh run of the script: a batch may have to be repeated."""
        self.touched = set()
        return self._script(self.touched)


Work = Operation | Change[Any]
Result = Outcome | Exception | Any


class Engine(Protocol):
    """One database.

    `shared`: other processes serve from it too, so others' holds may belong to calls in flight. `steady_since`: since
    when, on the loop's clock, it has answered without a break. `told`: a batch has written a message since this was set
    back.
    """

    shared: bool
    steady_since: float
    told: bool

    async def commit(self, batch: list[Work], now_ms: int) -> list[Result]:
        """Carry out a batch in one durable transaction; an item's own failure is its result.

        A batch with an item that cannot be carried out is repeated item by item, each in a transaction of its own;
        a `LedgerUnavailable` among the results is then an item that the database did not take.

        Raises:
            LedgerUnavailable: The database did not take the transaction. Nothing of the batch has happened, or, where
                it says `unsure`, all or nothing.
        """
        ...

    async def read(self, script: Callable[[], Script[T]], *, long: bool = False) -> T:
        """Run a script that only reads, on one snapshot. One that is `long` may take minutes: a report, a long list.

        Raises:
            LedgerUnavailable: The database does not answer.
        """
        ...

    async def close(self) -> None:
        """Let go of the database."""
        ...
