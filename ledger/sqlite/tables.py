"""How a book's rows are read from the file, and how a batch's changes are written to it. Decides nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ledger.book import Account, Book, Counter, CounterKey, Hold, Rollup, RollupKey
from ledger.engine import Row
from ledger.rows import (
    ACCOUNT_SUMS,
    COUNTER_KEY,
    COUNTER_SUMS,
    EVENT_COLUMNS,
    HOLD_CHANGES,
    ROLLUP_COLUMNS,
    ROLLUP_KEY,
    AccountRow,
    HoldRow,
    RollupRow,
    account_of,
    account_sums,
    event_row,
    hold_of,
    hold_row,
    limits_by_account,
    marks,
    rollup_of,
    rollup_row,
    select_accounts,
    select_limits,
    sources_of_limits,
)


def _names(columns: Iterable[str], form: str = "{}", joint: str = ", ") -> str:
    return joint.join(form.format(name) for name in columns)


def _insert(verb: str, table: str, columns: Sequence[str]) -> str:
    return f"{verb} INTO {table} ({_names(columns)}) VALUES ({marks(columns)})"


def _upsert(table: str, columns: Sequence[str], key: Sequence[str], changed: Sequence[str]) -> str:
    changes = _names(changed, "{0} = excluded.{0}")
    return f"{_insert('INSERT', table, columns)} ON CONFLICT ({_names(key)}) DO UPDATE SET {changes}"


def _select(table: str, columns: Sequence[str], key: Sequence[str]) -> str:
    return f"SELECT {_names(columns)} FROM {table} WHERE {_names(key, '{} = ?', ' AND ')}"  # noqa: S608 - constants


_SELECT_COUNTER = _select("counters", COUNTER_SUMS, COUNTER_KEY)
_SELECT_HOLD = _select("holds", HoldRow._fields, ("id",))
_SELECT_ROLLUP = _select("rollups", RollupRow._fields, ROLLUP_KEY)
_UPDATE_ACCOUNT = f"UPDATE accounts SET {_names(ACCOUNT_SUMS, '{} = ?')} WHERE id = ?"  # noqa: S608 - constants
_PUT_COUNTER = _upsert("counters", (*COUNTER_KEY, *COUNTER_SUMS), COUNTER_KEY, COUNTER_SUMS)
_PUT_HOLD = _upsert("holds", HoldRow._fields, ("id",), HOLD_CHANGES)
_PUT_ROLLUP = _insert("INSERT OR REPLACE", "rollups", ROLLUP_COLUMNS)
_INSERT_EVENT = _insert("INSERT", "events", EVENT_COLUMNS)


class SqliteTables:
    """Reads a book's rows on the writing connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def account(self, account_id: int) -> Account | None:
        """See `Tables`."""
        found = self._execute(*select_accounts([account_id])).fetchone()
        if found is None:
            return None
        row = AccountRow._make(found)
        limits = self._execute(*select_limits(sources_of_limits([row]))).fetchall()
        return account_of(row, limits_by_account(limits))

    def counter(self, key: CounterKey) -> Counter | None:
        """See `Tables`."""
        row = self._execute(_SELECT_COUNTER, key).fetchone()
        return None if row is None else Counter(*row)

    def hold(self, hold_id: str) -> Hold | None:
        """See `Tables`."""
        row = self._execute(_SELECT_HOLD, (hold_id,)).fetchone()
        return None if row is None else hold_of(HoldRow._make(row))

    def rollup(self, key: RollupKey) -> Rollup | None:
        """See `Tables`."""
        row = self._execute(_SELECT_ROLLUP, key).fetchone()
        return None if row is None else rollup_of(RollupRow._make(row))

    def event_cost_micros(self, event_id: str) -> int | None:
        """See `Tables`."""
        row = self._execute("SELECT cost_micros FROM events WHERE id = ?", (event_id,)).fetchone()
        return None if row is None else row[0]


def store(execute_many: Callable[[str, Iterable[Row]], Any], book: Book) -> None:
    """Write what a batch changed. Values are absolute: writing them twice changes nothing."""
    if book.changed_accounts:
        execute_many(_UPDATE_ACCOUNT, [(*account_sums(a), a.id) for a in book.changed_accounts.values()])
    if book.changed_counters:
        execute_many(_PUT_COUNTER, [(*key, c.used, c.held, c.unsettled) for key, c in book.changed_counters.items()])
    if book.written_holds:
        execute_many(_PUT_HOLD, [hold_row(hold) for hold in book.written_holds.values()])
    if book.ended_holds:
        execute_many("DELETE FROM holds WHERE id = ?", [(hold_id,) for hold_id in book.ended_holds])
    if book.events:
        execute_many(_INSERT_EVENT, [event_row(event) for event in book.events])
    if book.changed_rollups:
        execute_many(_PUT_ROLLUP, [(*key, *rollup_row(r)) for key, r in book.changed_rollups.items()])
