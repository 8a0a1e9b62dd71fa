"""A batch's rows in PostgreSQL, fetched and stored all at once.

`LOAD` reads what stands on the accounts and holds that a batch names, `FETCH` counters, rollups and events by their
exact keys, `STORE` writes everything that changed, if what it was decided upon still stands. Each is one round trip.
Nothing is decided here.
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
from ledger.shared_book import Basis, SharedBook
from ledger.windows import day_start_ms

_CHAIN = "unnest(CAST(string_to_array(trim(BOTH '/' FROM a.path), '/') AS BIGINT[]))"

# Who writes what: an account's row lock stands for its sums, its rollups and its holds, and every batch that changes
# one of these raises the account's revision. A new hold changes none of them. Counters, which calls of many accounts
# share, are only ever added to, under their own row locks. `STORE` takes the accounts' locks, then the counters', each
# in the order of the keys, so nobody waits in a circle, and checks after locking: that the revisions are those on which
# the batch was decided; that no counter has got above the maximum that a hold was granted under; and that no account
# or plan has changed since its limits were read. If anything differs it changes nothing (`STALE`), and the batch is
# decided again, with `locking`: then `LOAD` and `FETCH` take the same locks first, in the same order.
#
# Reading comes after locking, in a statement of its own, because in READ COMMITTED only a new statement sees what those
# who were waited for have committed. Functions, because they save round trips; temporary ones, because they belong to
# this code and not to the schema.
STALE = "FA001"
CLOCK_APART_MS = 1000  # a batch is decided by the gateway's idea of the database's clock, which is this near to it
NO_BOUND = 2**63 - 1

MAKE_LOAD = f"""
CREATE OR REPLACE FUNCTION pg_temp.farthing_load(
  locking BOOLEAN, asked BIGINT[], others BIGINT[], calls TEXT[],
  OUT clock_ms BIGINT, OUT account_rows JSON, OUT limit_rows JSON, OUT hold_rows JSON
) LANGUAGE plpgsql AS $$
DECLARE
  own BIGINT[] := asked || ARRAY(
    SELECT unnest(ARRAY[h.account_id, h.subject_id, h.run_id]) FROM holds AS h WHERE h.id = ANY (calls)
  );
  chains BIGINT[];
BEGIN
  IF locking THEN
    PERFORM 1 FROM accounts AS a WHERE a.id = ANY (own) ORDER BY a.id FOR NO KEY UPDATE;
  END IF;
  clock_ms := now_ms();
  SELECT array_agg(DISTINCT chain.one) INTO chains FROM (
    SELECT {_CHAIN} AS one FROM accounts AS a WHERE a.id = ANY (own)
  ) AS chain;
  SELECT
    (
      SELECT json_agg(json_build_array({ACCOUNT_COLUMNS}, a.revision, p.version)) FROM {ACCOUNT_TABLES}
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
LOAD = "SELECT clock_ms, account_rows, limit_rows, hold_rows FROM pg_temp.farthing_load($1, $2, $3, $4)"

MAKE_FETCH = """
CREATE OR REPLACE FUNCTION pg_temp.farthing_fetch(
  locking BOOLEAN, c_limit BIGINT[], c_subject BIGINT[], c_window BIGINT[],
  r_day BIGINT[], r_account BIGINT[], r_subject BIGINT[], r_provider TEXT[], r_model TEXT[], e_id TEXT[],
  OUT counter_rows JSON, OUT rollup_rows JSON, OUT event_rows JSON
) LANGUAGE plpgsql AS $$
BEGIN
  IF locking THEN  -- what does not exist cannot be locked
    INSERT INTO counters (limit_id, subject_id, window_start_ms)
    SELECT k.a, k.b, k.c FROM unnest(c_limit, c_subject, c_window) AS k (a, b, c)
    ON CONFLICT (limit_id, subject_id, window_start_ms) DO UPDATE SET used = counters.used;
  END IF;
  SELECT
    (
      SELECT json_agg(json_build_array(c.limit_id, c.subject_id, c.window_start_ms, c.used, c.held, c.unsettled))
      FROM unnest(c_limit, c_subject, c_window) AS k (a, b, c) JOIN counters AS c
        ON c.limit_id = k.a AND c.subject_id = k.b AND c.window_start_ms = k.c
    ),
    (
      SELECT json_agg(json_build_array(r.day_ms, r.account_id, r.subject_id, r.provider, r.model, r.requests, r.blocked,
        r.cost_micros, r.rest_picos, r.price_micros, r.input_tokens, r.output_tokens, r.cache_read_tokens,
        r.cache_write_tokens, r.reasoning_tokens, r.characters, r.audio_ms, r.images, r.latency_ms_sum,
        encode(r.latency_histogram, 'hex')))
      FROM unnest(r_day, r_account, r_subject, r_provider, r_model) AS k (a, b, c, d, e) JOIN rollups AS r
        ON r.day_ms = k.a AND r.account_id = k.b AND r.subject_id = k.c AND r.provider = k.d AND r.model = k.e
    ),
    (SELECT json_agg(json_build_array(e.id, e.cost_micros)) FROM events AS e WHERE e.id = ANY (e_id))
  INTO counter_rows, rollup_rows, event_rows;
END $$
"""
FETCH = """
SELECT counter_rows, rollup_rows, event_rows
FROM pg_temp.farthing_fetch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""

_B, _T = "BIGINT", "TEXT"
_SUMS = ("spent_micros", "carry_picos", "price_micros", "price_carry_picos", "overrun_micros", "last_used_ms")
_ACCOUNTS: dict[str, str] = dict.fromkeys(("id", "revision", *_SUMS), _B)
_COUNTER_KEY = ("limit_id", "subject_id", "window_start_ms")
_COUNTERS: dict[str, str] = dict.fromkeys((*_COUNTER_KEY, "used", "held", "unsettled"), _B)
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
    **dict.fromkeys(("requests", "blocked", "cost_micros", "rest_picos", "price_micros"), _B),
    **dict.fromkeys(("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"), _B),
    **dict.fromkeys(("reasoning_tokens", "characters", "audio_ms", "images", "latency_ms_sum"), _B),
    "latency_histogram": "BYTEA",
}


class _Parameters:
    """Numbers the parameters of a function that takes its rows as one array a column."""

    def __init__(self) -> None:
        self.types: list[str] = []

    def one(self, type_: str) -> str:
        """`$1` for the next parameter."""
        self.types.append(type_)
        return f"${len(self.types)}"

    def rows(self, columns: dict[str, str]) -> str:
        """`unnest($1, …) AS n (…)` for the next columns."""
        numbers = ", ".join(self.one(f"{type_}[]") for type_ in columns.values())
        return f"unnest({numbers}) AS n ({', '.join(columns)})"


def _set(columns: Iterable[str], source: str) -> str:
    return ", ".join(f"{name} = {source}.{name}" for name in columns)


def _names(columns: Iterable[str]) -> str:
    return ", ".join(columns)


def _make_store() -> tuple[str, str]:
    """How the function is made, and how it is called."""
    p = _Parameters()
    now, ids, versions, maxima = p.one(_B), p.one("BIGINT[]"), p.one("BIGINT[]"), p.one("BIGINT[]")
    in_order = _names(_COUNTER_KEY)
    body = f"""
  clock_ms := now_ms();
  fresh := {now} < 0 OR abs({now} - clock_ms) <= {CLOCK_APART_MS};
  IF fresh THEN
    UPDATE accounts AS a SET {_set(_SUMS, "n")}, revision = a.revision + 1
    FROM {p.rows(_ACCOUNTS)} WHERE a.id = n.id AND a.revision = n.revision;
    GET DIAGNOSTICS counted = ROW_COUNT;
    fresh := counted = cardinality($5);
  END IF;
  IF fresh THEN
    WITH added AS (
      INSERT INTO counters AS c ({_names(_COUNTERS)}) SELECT {_names(_COUNTERS)} FROM {p.rows(_COUNTERS)}
      ON CONFLICT ({in_order}) DO UPDATE SET used = c.used + excluded.used, held = c.held + excluded.held,
        unsettled = c.unsettled + excluded.unsettled
      RETURNING {_names(f"c.{name}" for name in _COUNTERS)}
    )
    SELECT array_agg(a.used ORDER BY {in_order}), array_agg(a.held ORDER BY {in_order}),
      array_agg(a.unsettled ORDER BY {in_order}) INTO all_used, all_held, all_unsettled FROM added AS a;
    fresh := NOT EXISTS (
      SELECT 1 FROM unnest(all_used, all_held, all_unsettled, {maxima}) AS n (u, h, s, most) WHERE u + h + s > most
    ) AND (
      SELECT count(*) FROM unnest({ids}, {versions}) AS n (id, version) JOIN accounts AS a
        ON a.id = n.id AND a.version = n.version
    ) = cardinality({ids});
  END IF;
  IF NOT fresh THEN
    RAISE EXCEPTION 'what this was decided upon has changed' USING ERRCODE = '{STALE}';
  END IF;
  INSERT INTO holds ({_names(_HOLDS)}) SELECT {_names(_HOLDS)} FROM {p.rows(_HOLDS)}
  ON CONFLICT (id) DO UPDATE SET {_set(("owner", "state", "expires_ms", "amount_micros", "legs"), "excluded")};
  DELETE FROM holds WHERE id = ANY ({p.one("TEXT[]")});
  INSERT INTO rollups ({_names(_ROLLUPS)}) SELECT {_names(_ROLLUPS)} FROM {p.rows(_ROLLUPS)}
  ON CONFLICT ({_names(_ROLLUP_KEY)}) DO UPDATE SET {_set(list(_ROLLUPS)[len(_ROLLUP_KEY) :], "excluded")};
  IF cardinality(${len(p.types) + 1}) > 0 THEN
    -- Drawn last: whoever waits for the events' numbers holds every other lock that its transaction will need.
    PERFORM pg_advisory_xact_lock(5095541, 2);
    INSERT INTO events (seq, {_names(_EVENTS)}) SELECT nextval('event_seq'), {_names(_EVENTS)} FROM {p.rows(_EVENTS)};
  END IF;
"""  # noqa: S608 - constants
    arguments = _names(f"${number}" for number in range(1, len(p.types) + 1))
    make = f"""
CREATE OR REPLACE FUNCTION pg_temp.farthing_store(
  {_names(p.types)},
  OUT clock_ms BIGINT, OUT all_used BIGINT[], OUT all_held BIGINT[], OUT all_unsettled BIGINT[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  fresh BOOLEAN;
  counted BIGINT;
BEGIN{body}END $$
"""
    return make, f"SELECT clock_ms, all_used, all_held, all_unsettled FROM pg_temp.farthing_store({arguments})"  # noqa: S608


MAKE_STORE, STORE = _make_store()
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

    @property
    def named(self) -> bool:
        """Whether any account or hold is wanted."""
        return bool(self.accounts or self.others or self.calls)

    def lack(self, book: Book, batch: Iterable[Operation]) -> None:
        """The accounts and holds that the operations name and the book does not have."""
        known = book.accounts
        for work in batch:
            if isinstance(work, Ask | Block):
                if work.account_id not in known:
                    self.accounts.add(work.account_id)
                for account_id in (work.subject_id, work.run_id):
                    if account_id and account_id not in known:
                        self.accounts.add(account_id)
                if isinstance(work, Ask):
                    self.others.update(account_id for account_id, _ in work.versions if account_id not in known)
            elif (found := book.holds.get(work.id)) is None:
                self.calls.add(work.id)
            elif found.account_id not in known:
                self.accounts.add(found.account_id)
        self.accounts.discard(UNSEEN)

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

    def leave_out(self, book: Book) -> None:
        """What the book has of counters and rollups need not be fetched."""
        self.counters -= book.counters.keys()
        self.rollups -= book.rollups.keys()

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


def load_arguments(wanted: Wanted, *, locking: bool) -> list[Any]:
    """The arguments of `LOAD`."""
    return [locking, list(wanted.accounts), list(wanted.others), list(wanted.calls)]


def fill(book: SharedBook, account_rows: str | None, limit_rows: str | None, hold_rows: str | None) -> None:
    """Put the rows of `LOAD` into the book."""
    limits = limits_by_account(_decode(limit_rows or "[]"))
    for row in _decode(account_rows or "[]"):
        *columns, revision, plan_version = row
        plan = None if plan_version is None else (row[18], plan_version)
        book.put_account(account_of(tuple(columns), limits), revision, plan)
    for row in _decode(hold_rows or "[]"):
        book.put_read_hold(hold_of(row))


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
    for row in _decode(rollups or "[]"):
        book.put_rollup(names[row[0], row[1], row[2], row[3], row[4]], rollup_of((*row[5:-1], bytes.fromhex(row[-1]))))
    tables.event_costs.update((row[0], row[1]) for row in _decode(events or "[]"))


def store_arguments(book: SharedBook, basis: Basis, now_ms: int) -> list[Any] | None:
    """The arguments of `STORE`; None if nothing has changed. `now_ms` is -1 where time is not the database's."""
    accounts = [(account.id, revision, *account_sums(account)) for account, revision in basis.accounts]
    counters = [(*key, *added) for key, added in basis.added]
    holds = [hold_row(hold) for hold in book.written_holds.values()]
    rollups = [(*key[:3], text(key[3]), text(key[4]), *rollup_row(r)) for key, r in book.changed_rollups.items()]
    events = [event_row(event) for event in book.events]
    if not (accounts or counters or holds or rollups or events or book.ended_holds):
        return None
    return [
        now_ms,
        list(basis.versions),
        list(basis.versions.values()),
        [basis.maxima.get(key, NO_BOUND) for key, _ in basis.added],
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
