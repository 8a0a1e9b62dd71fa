"""What pages show of a subtree's spending: sums of whole days, from the rollups alone.

A span's sums are taken apart from today's: what lies before today changes only with events that are settled later, and
whoever keeps the sums of closed days asks whether there were any. Scripts only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from ledger.engine import Script
from ledger.usage import scope_of

K = TypeVar("K")


class Sum(msgspec.Struct):
    """What some calls came to."""

    cost_micros: int = 0
    requests: int = 0
    blocked: int = 0
    price_micros: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, other: Sum) -> None:
        """Add another's."""
        for name in Sum.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Glance(msgspec.Struct):
    """Sums of whole days.

    Attributes:
        days: By day in ms, provider and model.
        keys: By key's account id, of the days from `month_ms` on.
        people: The same by end user's account id.
    """

    days: dict[tuple[int, str, str], Sum] = msgspec.field(default_factory=dict)
    keys: dict[int, Sum] = msgspec.field(default_factory=dict)
    people: dict[int, Sum] = msgspec.field(default_factory=dict)

    def with_(self, other: Glance) -> Glance:
        """Both together, leaving them as they are."""
        return Glance(
            days=both(self.days, other.days),
            keys=both(self.keys, other.keys),
            people=both(self.people, other.people),
        )


By = Literal["key", "model", "day", "end_user", "day_model"]
_BY: dict[By, str] = {
    "key": "r.account_id",
    "model": "r.provider, r.model",
    "day": "r.day_ms",
    "end_user": "r.subject_id",
    "day_model": "r.day_ms, r.model",
}
_SUMS = ", ".join(f"SUM(r.{name})" for name in Sum.__struct_fields__)
Summed = dict[tuple[Any, ...], Sum]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls to sum, and by what; None where it does not narrow."""

    owner_id: int
    livemode: bool
    by: By
    key_id: str | None = None
    end_user: str | None = None
    provider: str | None = None
    model: str | None = None


def both(one: Mapping[K, Sum], other: Mapping[K, Sum]) -> dict[K, Sum]:
    """The sums of two, which stay as they are."""
    sums = dict(one)
    for key, value in other.items():
        if (mine := sums.get(key)) is None:
            sums[key] = value
        else:
            sums[key] = together = msgspec.structs.replace(mine)
            together.add(value)
    return sums


def summed(wanted: Wanted, from_ms: int, to_ms: int) -> Script[tuple[Summed, int]]:
    """The sums of the whole days `[from_ms, to_ms)`, and the number of the last event in them. Raises NotFound."""
    ((last,),) = yield "SELECT COALESCE(MAX(seq), 0) FROM events", ()
    where, parameters, _ = yield from scope_of(
        wanted.owner_id, livemode=wanted.livemode, key=wanted.key_id, end_user=wanted.end_user
    )
    for column, value in (("provider", wanted.provider), ("model", wanted.model)):
        if value is not None:
            where, parameters = f"{where} AND r.{column} = ?", (*parameters, value)
    columns = _BY[wanted.by]
    rows = yield (
        f"SELECT {columns}, {_SUMS} FROM rollups AS r"  # noqa: S608 - constants and marks
        f" WHERE r.day_ms >= ? AND r.day_ms < ? AND {where} GROUP BY {columns}",
        (from_ms, to_ms, *parameters),
    )
    width = columns.count(",") + 1
    return {row[:width]: Sum(*map(int, row[width:])) for row in rows}, int(last)


def glance(owner_id: int, livemode: bool, from_ms: int, to_ms: int, month_ms: int) -> Script[tuple[Glance, int]]:
    """The sums of the whole days `[from_ms, to_ms)`, and the number of the last event that is in them."""
    ((last,),) = yield "SELECT COALESCE(MAX(seq), 0) FROM events", ()
    where, parameters, _ = yield from scope_of(owner_id, livemode=livemode)
    found = Glance()
    rows = yield (
        f"SELECT r.day_ms, r.provider, r.model, {_SUMS} FROM rollups AS r"  # noqa: S608 - constants and marks
        f" WHERE r.day_ms >= ? AND r.day_ms < ? AND {where} GROUP BY 1, 2, 3",
        (from_ms, to_ms, *parameters),
    )
    for day_ms, provider, model, *figures in rows:
        found.days[day_ms, provider, model] = Sum(*map(int, figures))
    start_ms = max(from_ms, month_ms)
    for column, of in (("account_id", found.keys), ("subject_id", found.people)):
        named = " AND r.subject_id > 0" if column == "subject_id" else ""
        rows = yield (
            f"SELECT r.{column}, {_SUMS} FROM rollups AS r"  # noqa: S608 - constants and marks
            f" WHERE r.day_ms >= ? AND r.day_ms < ? AND {where}{named} GROUP BY 1",
            (start_ms, to_ms, *parameters),
        )
        for account_id, *figures in rows:
            of[account_id] = Sum(*map(int, figures))
    return found, int(last)


def settled_since(seq: int, before_ms: int) -> Script[tuple[bool, int]]:
    """Whether an event after this one is of a call from before; and the number of the last one."""
    ((last,),) = yield "SELECT COALESCE(MAX(seq), 0) FROM events", ()
    rows = yield "SELECT 1 FROM events WHERE seq > ? AND seq <= ? AND created_ms < ? LIMIT 1", (seq, last, before_ms)
    return bool(rows), int(last)
