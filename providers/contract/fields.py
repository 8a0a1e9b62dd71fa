"""Every field of a request, and what becomes of it: the tables by which a cap that must hold knows what it can hold.

A field is `bounded` (read, and held for), `metered` (it moves the price, is held for as far as the request tells, and
the answer or its meter says what it came to; where nothing bounds it, a cap that must hold refuses it), `refused` (by
name, for everybody or for whoever has a cap) or `passed` (on: it moves no price beyond its own bytes, which are input).
What stands in no row may do anything: under `overdraft: "never"` it is refused by name, otherwise it passes, and what
it costs is metered with the rest. A test compares the rows with the vendors' own SDK types, so that a new release of
one shows what is new. Names are the top level's. Each family has its tables in its `fields`.
"""

from __future__ import annotations

from collections.abc import Iterable


class Fields:
    """The table of one shape: its names, by what becomes of them. Each stands in one row."""

    __slots__ = ("_listed", "rows")

    def __init__(
        self,
        *,
        bounded: frozenset[str],
        passed: frozenset[str],
        metered: frozenset[str] = frozenset(),
        refused: frozenset[str] = frozenset(),
    ) -> None:
        self.rows = {"bounded": bounded, "metered": metered, "refused": refused, "passed": passed}
        self._listed = frozenset[str]().union(*self.rows.values())

    def unlisted(self, names: Iterable[str]) -> str:
        """The first of a request's fields that stands in no row; "" where all do."""
        if self._listed.issuperset(names):
            return ""
        return next((name for name in names if name not in self._listed), "")
