"""A batch's rows in PostgreSQL, fetched and stored all at once.

`LOAD` locks every account that a batch can touch and reads what stands on it; `FETCH` reads counters, rollups and
events by their exact keys; `STORE` writes everything that changed. Each is one round trip. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ledger import rules
from ledger.book import Account, Book, Counter, CounterKey, Hold, Rollup, RollupKey
from ledger.dialect import text
from ledger.records import UNSEEN, Ask, Block, Facts, Recover, Report, Settlement
from ledger.rows import (
    ACCOUNT_COLUMNS,
    ACCOUNT_TABLES,
    LIMIT_COLUMNS,
    account_of,
    account_sums,
    event_row,
    hold_of,
    hold_row,
    limits_by_account,
    rollup_of,
    rollup_row,
)
from ledger.rules import Operation
from ledger.windows import day_start_ms

_CHAIN = "unnest(CAST(string_to_array(trim(BOTH '/' FROM a.path), '/') AS BIGINT[]))"

# The accounts' row locks are the only ones that a batch needs. Whoever changes a counter, a hold, a rollup or an
# account's sums has locked its account first, so none of these can be changed by two transactions at a time; a counter
# that does not exist yet cannot be made twice, and a hold that has been read cannot end. They are taken in the order
# of the ids, in one statement, by every batch, and a script locks one account only: nobody waits in a circle. Reading
# comes after locking, in a statement of its own, because in READ COMMITTED only a new statement sees what those who
# were waited for have committed. What is not locked (a plan, an account of which only the version is compared) is read
# in that same statement, so an account and its limits are of one moment. A function, because it saves a round trip
# while others wait; a temporary one, because it belongs to this code and not to the schema.
MAKE_LOAD = f"""
CREATE OR REPLACE FUNCTION pg_temp.farthing_load(
  asked BIGINT[], others BIGINT[], calls TEXT[],
  OUT clock_ms BIGINT, OUT account_rows JSON, OUT limit_rows JSON, OUT hold_rows JSON
) LANGUAGE plpgsql AS $$
DECLARE
  chains BIGINT[];
BEGIN
  SELECT array_agg(DISTINCT chain.one) INTO chains FROM (
    SELECT {_CHAIN} AS one FROM accounts AS a WHERE a.id = ANY (
      asked || ARRAY(
        SELECT unnest(ARRAY[h.account_id, h.subject_id, h.run_id]) FROM holds AS h WHERE h.id = ANY (calls)
      )
    )
  ) AS chain;
  PERFORM 1 FROM accounts AS a WHERE a.id = ANY (chains) ORDER BY a.id FOR NO KEY UPDATE;
  clock_ms := now_ms();
  SELECT
    (
      SELECT json_agg(json_build_array({ACCOUNT_COLUMNS})) FROM {ACCOUNT_TABLES}
      WHERE a.id = ANY (chains || others)
    ),
    (
      SELECT json_agg(json_build_array({LIMIT_COLUMNS}) ORDER BY role DESC, id) FROM limits
      WHERE removed_ms IS NULL AND account_id IN (
        SELECT unnest(ARRAY[a.id, a.plan_id]) FROM accounts AS a WHERE a.id = ANY (chains || others)
      )
    ),
    (
      SELECT json_agg(json_build_array(h.id, h.account_id, h.subject_id, h.run_id, h.owner, h.state, h.created_ms,
        h.expires_ms, h.amount_micros, h.legs, h.call)) FROM holds AS h WHERE h.id = ANY (calls)
    )
  INTO account_rows, limit_rows, hold_rows;
END $$
"""  # noqa: S608 - constants
LOAD = "SELECT clock_ms, account_rows, limit_rows, hold_rows FROM pg_temp.farthing_load($1, $2, $3)"

FETCH = """
SELECT
  (
    SELECT json_agg(json_build_array(c.limit_id, c.subject_id, c.window_start_ms, c.used, c.held, c.unsettled))
    FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[]) AS k (a, b, c) JOIN counters AS c
      ON c.limit_id = k.a AND c.subject_id = k.b AND c.window_start_ms = k.c
  ),
  (
    SELECT json_agg(json_build_array(r.day_ms, r.account_id, r.subject_id, r.provider, r.model, r.requests, r.blocked,
      r.cost_micros, r.cost_picos, r.price_micros, r.input_tokens, r.output_tokens, r.cache_read_tokens,
      r.cache_write_tokens, r.reasoning_tokens, r.characters, r.audio_ms, r.images, r.latency_ms_sum,
      encode(r.latency_histogram, 'hex')))
    FROM unnest($4::BIGINT[], $5::BIGINT[], $6::BIGINT[], $7::TEXT[], $8::TEXT[]) AS k (a, b, c, d, e) JOIN rollups AS r
      ON r.day_ms = k.a AND r.account_id = k.b AND r.subject_id = k.c AND r.provider = k.d AND r.model = k.e
  ),
  (SELECT json_agg(json_build_array(e.id, e.cost_micros)) FROM events AS e WHERE e.id = ANY ($9::TEXT[]))
"""

_B, _T = "BIGINT", "TEXT"
_ACCOUNTS: dict[str, str] = dict.fromkeys(
    ("id", "spent_micros", "carry_picos", "price_micros", "price_carry_picos", "overrun_micros", "last_used_ms"), _B
)
_COUNTERS: dict[str, str] = dict.fromkeys(
    ("limit_id", "subject_id", "window_start_ms", "used", "held", "unsettled"), _B
)
_HOLDS: dict[str, str] = {
    "id": _T,
    **dict.fromkeys(("account_id", "subject_id", "run_id"), _B),
    **dict.fromkeys(("owner", "state"), _T),
    **dict.fromkeys(("created_ms", "expires_ms", "amount_micros"), _B),
    **dict.fromkeys(("legs", "call"), _T),
}
_EVENTS: dict[str, str] = {
    "id": _T,
    **dict.fromkeys(("account_id", "subject_id", "run_id", "created_ms", "settled_ms"), _B),
    **dict.fromkeys(("mode", "provider", "model", "route", "decision", "reason", "status", "usage"), _T),
    **dict.fromkeys(("cost_micros", "cost_picos", "price_micros"), _B),
    "price_version": _T,
    **dict.fromkeys(("held_micros", "http_status", "latency_ms", "ttft_ms", "stream"), _B),
    **dict.fromkeys(("metadata", "flags", "legs"), _T),
}
_ROLLUP_KEY: dict[str, str] = {"day_ms": _B, "account_id": _B, "subject_id": _B, "provider": _T, "model": _T}
_ROLLUPS: dict[str, str] = {
    **_ROLLUP_KEY,
    **dict.fromkeys(("requests", "blocked", "cost_micros", "cost_picos", "price_micros"), _B),
    **dict.fromkeys(("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"), _B),
    **dict.fromkeys(("reasoning_tokens", "characters", "audio_ms", "images", "latency_ms_sum"), _B),
    "latency_histogram": "BYTEA",
}


class _Arrays:
    """Numbers the parameters of a statement that takes its rows as one array a column."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, columns: dict[str, str]) -> str:
        """`unnest($1::…, …) AS n (…)` for the next columns."""
        first, self.count = self.count + 1, self.count + len(columns)
        arrays = ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(columns.values(), start=first))
        return f"unnest({arrays}) AS n ({', '.join(columns)})"


def _set(columns: Iterable[str], source: str) -> str:
    return ", ".join(f"{name} = {source}.{name}" for name in columns)


def _names(columns: dict[str, str]) -> str:
    return ", ".join(columns)


def _make_store() -> str:
    arrays = _Arrays()
    # One statement for all tables: its parts touch different rows, and none of them reads what another one writes.
    return f"""
WITH
changed_accounts AS (
  UPDATE accounts SET {_set(list(_ACCOUNTS)[1:], "n")} FROM {arrays.of(_ACCOUNTS)} WHERE accounts.id = n.id
),
changed_counters AS (
  INSERT INTO counters ({_names(_COUNTERS)}) SELECT {_names(_COUNTERS)} FROM {arrays.of(_COUNTERS)}
  ON CONFLICT (limit_id, subject_id, window_start_ms) DO UPDATE SET {_set(("used", "held", "unsettled"), "excluded")}
),
written_holds AS (
  INSERT INTO holds ({_names(_HOLDS)}) SELECT {_names(_HOLDS)} FROM {arrays.of(_HOLDS)}
  ON CONFLICT (id) DO UPDATE SET
    {_set(("owner", "state", "expires_ms", "amount_micros", "legs"), "excluded")}
),
ended_holds AS (DELETE FROM holds WHERE id = ANY (${arrays.count + 1}::TEXT[])),
changed_rollups AS (
  INSERT INTO rollups ({_names(_ROLLUPS)}) SELECT {_names(_ROLLUPS)} FROM {_after_one(arrays).of(_ROLLUPS)}
  ON CONFLICT ({_names(_ROLLUP_KEY)}) DO UPDATE SET {_set(list(_ROLLUPS)[len(_ROLLUP_KEY) :], "excluded")}
)
INSERT INTO events ({_names(_EVENTS)}) SELECT {_names(_EVENTS)} FROM {arrays.of(_EVENTS)}
"""  # noqa: S608 - constants


def _after_one(arrays: _Arrays) -> _Arrays:
    arrays.count += 1
    return arrays


STORE = _make_store()
_decode = msgspec.json.Decoder(list[tuple[Any, ...]]).decode


class Missing(LookupError):
    """The rules asked for a row that the batch was not expected to need: it is to be loaded too, from the start."""

    def __init__(self, table: str, key: Any) -> None:
        super().__init__(f"{table} {key!r}")
        self.table = table
        self.key = key


class Wanted:
    """Which rows a batch needs: first what its operations name, then what follows from the accounts and holds."""

    def __init__(self) -> None:
        self.accounts: set[int] = set()
        self.others: set[int] = set()
        self.calls: set[str] = set()
        self.counters: set[CounterKey] = set()
        self.rollups: set[RollupKey] = set()
        self.events: set[str] = set()

    def add(self, missing: Missing) -> None:
        """What was missed is wanted."""
        getattr(self, missing.table).add(missing.key)

    def name(self, batch: Iterable[Operation], *, repeated: bool) -> None:
        """What the operations say themselves. In a repeated batch, holds and refusals may stand already."""
        for work in batch:
            if isinstance(work, Ask | Report | Block):
                self.accounts.update((work.account_id, work.subject_id, work.run_id))
                if isinstance(work, Ask):
                    self.others.update(account_id for account_id, _ in work.versions)
                    if repeated:
                        self.calls.add(work.id)
                        self.events.add(work.id)
                else:
                    self.events.add(work.id)
            else:
                self.calls.add(work.id)
        self.accounts -= {0, UNSEEN}

    def follow(self, book: Book, batch: Sequence[Operation], now_ms: int) -> None:
        """What follows from the accounts and holds in the book: counters, rollups, events that may exist."""
        asks = {work.id: work for work in batch if isinstance(work, Ask)}
        for work in batch:
            self.counters.update(rules.counter_keys(book, work, now_ms))
            if isinstance(work, Ask | Block):
                at_ms = work.at_ms if isinstance(work, Ask) and work.at_ms is not None else now_ms
                self._count(now_ms, work, work.facts)
                self._count(at_ms, work, work.facts)
            elif isinstance(work, Report):
                self._count(work.at_ms, work, work.facts)
            elif isinstance(work, Settlement | Recover):
                model = work.model if isinstance(work, Settlement) else ""
                found = book.holds.get(work.id)
                if found is not None:
                    self._count(found.created_ms, found, found.facts, model)
                elif isinstance(work, Settlement):
                    self.events.update((work.id, f"{work.id}-late"))
                    if (ask := asks.get(work.id)) is not None:
                        self._count(now_ms if ask.at_ms is None else ask.at_ms, ask, ask.facts, model)

    def _count(self, at_ms: int, call: Ask | Block | Report | Hold, facts: Facts, model: str = "") -> None:
        key = (day_start_ms(at_ms), call.account_id, call.subject_id, facts.provider, model or facts.model)
        self.rollups.add(key)


class Loaded:
    """Tables that know what has been looked for: a row that was and is not there does not exist."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self.event_costs: dict[str, int] = {}

    def account(self, account_id: int) -> Account | None:
        """See `Tables`. An account of a chain was locked with its descendant; any other one was wanted by its id."""
        if account_id in self._wanted.accounts or account_id in self._wanted.others:
            return None
        raise Missing("accounts", account_id)

    def counter(self, key: CounterKey) -> Counter | None:
        """See `Tables`."""
        if key in self._wanted.counters:
            return None
        raise Missing("counters", key)

    def hold(self, hold_id: str) -> Hold | None:
        """See `Tables`."""
        if hold_id in self._wanted.calls:
            return None
        raise Missing("calls", hold_id)

    def rollup(self, key: RollupKey) -> Rollup | None:
        """See `Tables`."""
        if key in self._wanted.rollups:
            return None
        raise Missing("rollups", key)

    def event_cost_micros(self, event_id: str) -> int | None:
        """See `Tables`."""
        if event_id in self._wanted.events:
            return self.event_costs.get(event_id)
        raise Missing("events", event_id)


def fill(book: Book, account_rows: str | None, limit_rows: str | None, hold_rows: str | None) -> None:
    """Put the rows of `LOAD` into the book."""
    limits = limits_by_account(_decode(limit_rows or "[]"))
    for row in _decode(account_rows or "[]"):
        book.accounts[row[0]] = account_of(row, limits)
    for row in _decode(hold_rows or "[]"):
        book.holds[row[0]] = hold_of(row)


def fetch_arguments(wanted: Wanted) -> list[Sequence[Any]]:
    """The arguments of `FETCH`."""
    rollups = [(*key[:3], text(key[3]), text(key[4])) for key in wanted.rollups]
    return [*_columns(list(wanted.counters), 3), *_columns(rollups, 5), list(wanted.events)]


def fill_sums(
    book: Book, wanted: Wanted, tables: Loaded, counters: str | None, rollups: str | None, events: str | None
) -> None:
    """Put the rows of `FETCH` into the book."""
    for a, b, c, *sums in _decode(counters or "[]"):
        book.counters[a, b, c] = Counter(*sums)
    names = {(*key[:3], text(key[3]), text(key[4])): key for key in wanted.rollups}
    for row in _decode(rollups or "[]"):
        book.rollups[names[row[0], row[1], row[2], row[3], row[4]]] = rollup_of((*row[5:-1], bytes.fromhex(row[-1])))
    tables.event_costs.update((row[0], row[1]) for row in _decode(events or "[]"))


def store_arguments(book: Book) -> list[Sequence[Any]] | None:
    """The arguments of `STORE`; None if nothing has changed."""
    accounts = [(a.id, *account_sums(a)) for a in book.changed_accounts.values()]
    counters = [(*key, c.used, c.held, c.unsettled) for key, c in book.changed_counters.items()]
    holds = [hold_row(hold) for hold in book.written_holds.values()]
    rollups = [(*key[:3], text(key[3]), text(key[4]), *rollup_row(r)) for key, r in book.changed_rollups.items()]
    events = [event_row(event) for event in book.events]
    if not (accounts or counters or holds or rollups or events or book.ended_holds):
        return None
    return [
        *_columns(accounts, len(_ACCOUNTS)),
        *_columns(counters, len(_COUNTERS)),
        *_columns(holds, len(_HOLDS)),
        list(book.ended_holds),
        *_columns(rollups, len(_ROLLUPS)),
        *_texts(_columns(events, len(_EVENTS)), _EVENTS),
    ]


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[Sequence[Any]]:
    """Rows turned into columns."""
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _texts(columns: list[Sequence[Any]], types: dict[str, str]) -> list[Sequence[Any]]:
    """Callers' own words may have a NUL in them."""
    return [
        [value if value is None else text(value) for value in column] if type_ == _T else column
        for column, type_ in zip(columns, types.values(), strict=True)
    ]
