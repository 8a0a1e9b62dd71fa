"""How the parts of the ledger reach its database: a script that reads, a script that writes, and the time.

Each part, `ledger.accounts` or `ledger.objects`, is a noun; it is given this, and knows neither engine nor queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ledger.engine import Change, Engine, Script
from ledger.writer import Writer

T = TypeVar("T")


class Access:
    """One database, by which times are measured: `clock_ms` is the database's own clock where it is shared."""

    def __init__(self, engine: Engine, writer: Writer, clock_ms: Callable[[], int]) -> None:
        self.engine = engine
        self.writer = writer
        self.clock_ms = clock_ms

    def read(self, script: Callable[[], Script[T]], *, long: bool = False) -> Coroutine[Any, Any, T]:
        """Run a script that only reads; see `Engine.read`. Raises LedgerUnavailable."""
        return self.engine.read(script, long=long)

    def write(self, script: Callable[[set[int]], Script[T]], *, alone: bool = True) -> asyncio.Future[T]:
        """Run a script that writes; see `Change`. Its result is durable. Raises LedgerUnavailable."""
        return self.writer.submit(Change(script, alone=alone))


def nothing() -> Script[None]:
    """A transaction that changes nothing: what was handed over before it is written when it is."""
    yield "SELECT 1", ()
