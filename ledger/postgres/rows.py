"""A batch's rows in PostgreSQL, fetched and stored all at once.

`LOAD` reads what stands on the accounts and holds that a batch names, `FETCH` counters, rollups and events by their
exact keys, `STORE` writes everything that changed, if what it was decided upon still stands. Each is one round trip.
Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

import msgspec

from ledger.book import Counter, CounterKey
from ledger.engine import Row
from ledger.outbox.alerts import Message
from ledger.postgres.dialect import text
from ledger.postgres.shared_book import Basis, SharedBook
from ledger.postgres.wanted import Loaded, Wanted
from ledger.rows import (
    ACCOUNT_SUMS,
    COUNTER_KEY,
    COUNTER_SUMS,
    EVENT_COLUMNS,
    EVENT_TEXTS,
    ROLLUP_COLUMNS,
    AccountRow,
    HoldRow,
    RollupRow,
    account_of,
    account_sums,
    event_row,
    hold_of,
    hold_row,
    limits_by_account,
    rollup_of,
    rollup_row,
)

# Who writes what: an account's row lock stands for its sums, its rollups and its holds, and every batch that changes
# one of these raises the account's revision. A new hold changes none of them. Counters, which calls of many accounts
# share, are only ever added to, under their own row locks. `STORE` takes the accounts' locks, then the counters', each
# in the order of the keys, so nobody waits in a circle, and checks after locking: that the revisions are those on which
# the batch was decided; that no counter has got above the maximum that a hold was made under; and that no account
# or plan has changed since its limits were read. If anything differs it changes nothing (`STALE`), and the batch is
# decided again, with `locking`: then `LOAD` and `FETCH` take the same locks first, in the same order.
#
# Reading comes after locking, in a statement of its own, because in READ COMMITTED only a new statement sees what those
# who were waited for have committed. Functions, because they save round trips; temporary ones, because they belong to
# this code and not to the schema.
STALE = "FA001"
NO_BOUND = 2**63 - 1


def _function(name: str) -> str:
    return resources.files("ledger.postgres").joinpath("sql", f"{name}.sql").read_text("utf-8")


MAKE = tuple(map(_function, ("load", "fetch", "store")))
"""The statements that make the functions."""
LOAD = "SELECT clock_ms, account_rows, limit_rows, hold_rows FROM pg_temp.farthing_load($1, $2, $3, $4)"
FETCH = """
SELECT counter_rows, rollup_rows, event_rows
FROM pg_temp.farthing_fetch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_ACCOUNTS = 2 + len(ACCOUNT_SUMS)
_COUNTERS = len(COUNTER_KEY) + len(COUNTER_SUMS)
_HOLDS, _ROLLUPS, _EVENTS = len(HoldRow._fields), len(ROLLUP_COLUMNS), len(EVENT_COLUMNS)
_MESSAGES = 9
STORE = (
    "SELECT clock_ms, all_used, all_held, all_unsettled FROM pg_temp.farthing_store("  # noqa: S608 - numbers
    + ", ".join(
        f"${number}" for number in range(1, 5 + _ACCOUNTS + _COUNTERS + _HOLDS + _ROLLUPS + _EVENTS + _MESSAGES + 1)
    )
    + ")"
)

_decode = msgspec.json.Decoder(list[tuple[Any, ...]]).decode
_decode_accounts = msgspec.json.Decoder(list[tuple[AccountRow, int, int | None]]).decode
_decode_holds = msgspec.json.Decoder(list[HoldRow]).decode


def load_arguments(wanted: Wanted, *, locking: bool) -> list[Any]:
    """The arguments of `LOAD`."""
    return [locking, list(wanted.accounts), list(wanted.others), list(wanted.calls)]


def fill(book: SharedBook, account_rows: str | None, limit_rows: str | None, hold_rows: str | None) -> None:
    """Put the rows of `LOAD` into the book."""
    limits = limits_by_account(_decode(limit_rows or "[]"))
    for row, revision, plan_version in _decode_accounts(account_rows or "[]"):
        plan = None if row.plan_id is None or plan_version is None else (row.plan_id, plan_version)
        book.put_account(account_of(row, limits), revision, plan)
    for hold in _decode_holds(hold_rows or "[]"):
        book.put_read_hold(hold_of(hold))


def fetch_arguments(wanted: Wanted, *, locking: bool) -> list[Any]:
    """The arguments of `FETCH`."""
    rollups = [(*key[:3], text(key[3]), text(key[4])) for key in wanted.rollups]
    return [locking, *_columns(sorted(wanted.counters), 3), *_columns(rollups, 5), list(wanted.events)]


def fill_sums(
    book: SharedBook, wanted: Wanted, tables: Loaded, counters: str | None, rollups: str | None, events: str | None
) -> None:
    """Put the rows of `FETCH` into the book."""
    for a, b, c, *sums in _decode(counters or "[]"):
        book.counters[a, b, c] = Counter(*sums)
    names = {(*key[:3], text(key[3]), text(key[4])): key for key in wanted.rollups}
    for day_ms, account_id, subject_id, provider, model, histogram, *figures in _decode(rollups or "[]"):
        row = RollupRow._make((*figures, bytes.fromhex(histogram)))
        book.put_rollup(names[day_ms, account_id, subject_id, provider, model], rollup_of(row))
    tables.event_costs.update((id_, cost_micros) for id_, cost_micros in _decode(events or "[]"))


def store_arguments(book: SharedBook, basis: Basis, messages: Sequence[Message], now_ms: int) -> list[Any] | None:
    """The arguments of `STORE`; None if nothing has changed. `now_ms` is -1 where time is not the database's."""
    accounts = [(account.id, revision, *account_sums(account)) for account, revision in basis.accounts]
    counters = [(*key, *added) for key, added in basis.added]
    holds = [hold_row(hold) for hold in book.written_holds.values()]
    rollups = [(*key[:3], text(key[3]), text(key[4]), *rollup_row(r)) for key, r in book.changed_rollups.items()]
    events = [event_row(event) for event in book.events]
    if not (accounts or counters or holds or rollups or events or messages or book.ended_holds):
        return None
    return [
        now_ms,
        list(basis.versions),
        list(basis.versions.values()),
        [basis.maxima.get(key, NO_BOUND) for key, _ in basis.added],
        *_columns(accounts, _ACCOUNTS),
        *_columns(counters, _COUNTERS),
        *_columns(holds, _HOLDS),
        list(book.ended_holds),
        *_columns(rollups, _ROLLUPS),
        *_texts(_columns(events, _EVENTS)),
        *_columns(_message_rows(messages, basis), _MESSAGES),
    ]


def _message_rows(messages: Sequence[Message], basis: Basis) -> list[Row]:
    """Messages with the number of the counter that decides on each, from 1 on; 0 for one that is decided."""
    if not messages:
        return []
    numbers: dict[CounterKey | None, int] = {key: number for number, (key, _) in enumerate(basis.added, start=1)}
    numbers[None] = 0
    return [
        (
            message.once,
            message.type,
            message.until_ms,
            message.used,
            text(message.data),
            message.subject_id,
            message.account_id,
            numbers[message.counter],
            message.threshold,
        )
        for message in messages
    ]


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[Sequence[Any]]:
    """Rows turned into columns."""
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _texts(columns: list[Sequence[Any]]) -> list[Sequence[Any]]:
    """Callers' own words may have a NUL in them."""
    return [
        [value if value is None else text(value) for value in column] if name in EVENT_TEXTS else column
        for name, column in zip(EVENT_COLUMNS, columns, strict=True)
    ]
