"""The table of faults: a name, the engines that it concerns, and what is done.

Each is a coroutine that takes a site, breaks something while calls are under way, and returns when the harm is done;
healing and the invariants are the supervisor's. What must be so besides, a fault says itself (`expect` of a call,
`site.found`). All chances are taken from the site's dice, so that a seed repeats them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from scripts.proof.site import Site

Act = Callable[[Site], Awaitable[None]]

BOTH = ("sqlite", "postgresql")
SQLITE = ("sqlite",)
POSTGRES = ("postgresql",)
OUTAGE_S = 0.6  # long enough that calls are refused, short of the lease


class Fault(NamedTuple):
    """One row.

    `row`: its number in the fault matrix. `alone`: not in a pair, for it says of a process how it must end, or holds
    what the other needs. `disk`: "small" needs a disk that can be filled.
    """

    row: str
    name: str
    engines: tuple[str, ...]
    act: Act
    alone: bool = False
    disk: str = ""

    @property
    def id(self) -> str:
        """How it is asked for and reported."""
        return f"{self.row} {self.name}"


FAULTS: list[Fault] = []


def fault(
    row: str, name: str, engines: tuple[str, ...] = BOTH, *, alone: bool = False, disk: str = ""
) -> Callable[[Act], Act]:
    """Enter it in the table."""

    def entered(act: Act) -> Act:
        FAULTS.append(Fault(row, name, engines, act, alone, disk))
        return act

    return entered
