"""Drops events whose time is over, and carries forward what they came to.

Promises: in one transaction the sums are added and the events go, so the audit closes before and after; rollups, bills
by whole days, balances and counters stay as they were. An event stays while its hold is unsettled. Scripts only.
"""

from __future__ import annotations

from ledger.audit import CALLER_SUMS, DAY_COLUMNS, DAY_SUMS, LEGS
from ledger.engine import NotDone, Script
from ledger.rows import marks

DROPPED_AT_ONCE = 500  # events of one transaction: it keeps calls waiting for some milliseconds
_KEPT_FROM = "events_kept_from_ms"

_DAY_KEY = DAY_COLUMNS[:5]
_CALLER_COLUMNS = ("account_id", "subject_id", "run_id", "events", "cost_micros", "rest_picos", "overrun_micros")
_LEG_COLUMNS = ("limit_id", "subject_id", "window_start_ms", "used")


class Dropped(NotDone):
    """The question can only be answered from events that are gone; those from `kept_from_ms` on are there."""

    def __init__(self, kept_from_ms: int) -> None:
        super().__init__(str(kept_from_ms))
        self.kept_from_ms = kept_from_ms


def kept_from() -> Script[int]:
    """The moment before which events may be gone; 0 if none ever went."""
    rows = yield "SELECT value FROM settings WHERE name = ?", (_KEPT_FROM,)
    return int(rows[0][0]) if rows else 0


def drop(before_ms: int) -> Script[int]:
    """Drop some of the events that were created before a moment, the start of a UTC day; how many went."""
    found = yield (
        "SELECT e.seq FROM events AS e WHERE e.created_ms < ?"
        " AND NOT EXISTS (SELECT 1 FROM holds AS h WHERE h.id = e.id) ORDER BY e.created_ms LIMIT ?",
        (before_ms, DROPPED_AT_ONCE),
    )
    seqs = tuple(row[0] for row in found)
    if not seqs:
        return 0
    gone = f"WHERE seq IN ({marks(seqs)})"
    for table, key, columns, select in (
        ("carried", 3, _CALLER_COLUMNS, f"SELECT {CALLER_SUMS} FROM events {gone} GROUP BY 1, 2, 3"),  # noqa: S608
        ("carried_days", len(_DAY_KEY), DAY_COLUMNS, f"SELECT {DAY_SUMS} FROM events {gone} GROUP BY 1, 2, 3, 4, 5"),  # noqa: S608
        (
            "carried_legs",
            3,
            _LEG_COLUMNS,
            "SELECT limit_id, subject_id, window_start_ms, SUM(amount)"  # noqa: S608 - constants and marks
            f" FROM ({LEGS} {gone}) AS legs WHERE TRUE GROUP BY 1, 2, 3",
        ),
    ):
        added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in columns[key:])
        yield (
            f"INSERT INTO {table} ({', '.join(columns)}) {select}"
            f" ON CONFLICT ({', '.join(columns[:key])}) DO UPDATE SET {added}",
            seqs,
        )
    yield f"DELETE FROM events {gone}", seqs  # noqa: S608 - marks
    since = yield from kept_from()
    if since < before_ms:
        yield (
            "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (_KEPT_FROM, str(before_ms)),
        )
    return len(seqs)
