"""How an account and its limits stand in the tables: the one place that puts them together again.

The rules and the reports read accounts through here, so both see the same plan, cap and limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ledger import latency
from ledger.book import Account, Event, Hold, Limit, Match, Rollup, spend_limits
from ledger.engine import Row
from ledger.money import SUM_MAX
from ledger.records import Facts

_decode_match = msgspec.json.Decoder(Match).decode
_decode_boosts = msgspec.json.Decoder(tuple[tuple[int, int | None], ...]).decode

_decode_facts = msgspec.json.Decoder(Facts).decode
_decode_legs = msgspec.json.Decoder(list[tuple[int, int, int, str, int]]).decode
_encode = msgspec.json.Encoder().encode

ACCOUNT_COLUMNS = (
    "a.id, a.public_id, a.path, a.kind, a.livemode, a.disabled, a.revoked_ms, a.expires_ms, a.version,"
    " a.spent_micros, a.carry_picos, a.price_micros, a.price_carry_picos, a.overrun_micros, a.last_used_ms, a.boosts,"
    " CASE WHEN a.cap_window IS NULL THEN p.cap_micros ELSE a.cap_micros END,"
    " COALESCE(a.cap_window, p.cap_window, 'total'), a.plan_id, a.own_limits"
)
ACCOUNT_TABLES = "accounts AS a LEFT JOIN accounts AS p ON p.id = a.plan_id"
LIMIT_COLUMNS = 'account_id, id, public_id, role, unit, max, "window", timezone, anchor_ms, match, per, action'


UNDER_OWNER = "a.path >= o.path AND a.path < substr(o.path, 1, length(o.path) - 1) || '0'"
"""Whether account `a` is in the subtree of account `o`: a range, so that an index can find it."""


def marks(items: Iterable[Any]) -> str:
    """A `?` for each item, for `IN (…)`; of no items, what nothing is in."""
    return ", ".join("?" for _ in items) or "NULL"


def chain_of(path: str) -> tuple[int, ...]:
    """Account ids from the account itself up to the root."""
    return tuple(int(part) for part in reversed(path.strip("/").split("/")))


def select_accounts(ids: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """The statement that reads these accounts."""
    return f"SELECT {ACCOUNT_COLUMNS} FROM {ACCOUNT_TABLES} WHERE a.id IN ({marks(ids)})", tuple(ids)  # noqa: S608


def select_limits(account_ids: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """The statement that reads the limits of these accounts and plans, the balance of each first."""
    condition = f"account_id IN ({marks(account_ids)}) AND removed_ms IS NULL"
    return f"SELECT {LIMIT_COLUMNS} FROM limits WHERE {condition} ORDER BY role DESC, id", tuple(account_ids)  # noqa: S608


def sources_of_limits(rows: Iterable[Row]) -> list[int]:
    """Whose limits must be read for these accounts: their own, and their plans'."""
    return sorted({id_ for row in rows for id_ in (row[0], row[18]) if id_ is not None})


def limits_by_account(rows: Iterable[Row]) -> dict[int, list[Limit]]:
    """Limits by the account or plan that has them."""
    found: dict[int, list[Limit]] = {}
    for row in rows:
        match = _decode_match(row[9])
        limit = Limit(
            id=row[1],
            public_id=row[2],
            role=row[3],
            unit=row[4],
            max=row[5],
            window=row[6],
            timezone=row[7],
            anchor_ms=row[8],
            match=None if match == Match() else match,
            per=row[10],
            action=row[11],
        )
        found.setdefault(row[0], []).append(limit)
    return found


def account_of(row: Row, limits: Mapping[int, list[Limit]]) -> Account:
    """An account from its row and the limits that `sources_of_limits` named."""
    account_id, (boosts, cap_micros, cap_window, plan_id, own_limits) = row[0], row[15:]
    total, *own = limits[account_id]
    if plan_id is not None and not own_limits:
        shared = limits[plan_id][1:]  # without the plan's own balance
        own += [msgspec.structs.replace(limit, subject_id=account_id) for limit in shared]
    return Account(
        id=account_id,
        public_id=row[1],
        chain=chain_of(row[2]),
        kind=row[3],
        livemode=bool(row[4]),
        disabled=bool(row[5]),
        revoked_ms=row[6],
        expires_ms=row[7],
        version=row[8],
        spent_micros=row[9],
        carry_picos=row[10],
        price_micros=row[11],
        price_carry_picos=row[12],
        overrun_micros=row[13],
        last_used_ms=row[14],
        limits=(*spend_limits(total, cap_micros, cap_window, _decode_boosts(boosts)), *own),
        own_cap=cap_micros is not None,
    )


def hold_of(row: Row) -> Hold:
    """A hold from its columns, in the order of the table."""
    return Hold(
        id=row[0],
        account_id=row[1],
        subject_id=row[2],
        run_id=row[3],
        owner=row[4],
        state=row[5],
        created_ms=row[6],
        expires_ms=row[7],
        amount_micros=row[8],
        legs=_decode_legs(row[9]),
        facts=_decode_facts(row[10]),
    )


def rollup_of(row: Row) -> Rollup:
    """A rollup from the columns after its key."""
    return Rollup(
        requests=row[0],
        blocked=row[1],
        cost_micros=row[2],
        rest_picos=row[3],
        price_micros=row[4],
        measures=list(row[5:13]),
        latency_ms_sum=row[13],
        latencies=latency.unpack(row[14]),
    )


def rollup_row(rollup: Rollup) -> Row:
    """A rollup as the columns after its key."""
    row: Row = (
        rollup.requests,
        rollup.blocked,
        rollup.cost_micros,
        rollup.rest_picos,
        rollup.price_micros,
        *rollup.measures,
        rollup.latency_ms_sum,
    )
    if max(row) > SUM_MAX:
        row = tuple(min(total, SUM_MAX) for total in row)
    return (*row, latency.pack(rollup.latencies))


def account_sums(account: Account) -> Row:
    """What the rules change of an account."""
    return (
        account.spent_micros,
        account.carry_picos,
        account.price_micros,
        account.price_carry_picos,
        account.overrun_micros,
        account.last_used_ms,
    )


def hold_row(hold: Hold) -> Row:
    """A hold as the columns of `holds`, in their order."""
    return (
        hold.id,
        hold.account_id,
        hold.subject_id,
        hold.run_id,
        hold.owner,
        hold.state,
        hold.created_ms,
        hold.expires_ms,
        hold.amount_micros,
        _encode(hold.legs).decode(),
        _encode(hold.facts).decode(),
    )


def event_row(event: Event) -> Row:
    """An event as all columns of `events` but `seq`, in their order."""
    facts = event.facts
    return (
        event.id,
        event.account_id,
        event.subject_id,
        event.run_id,
        event.created_ms,
        event.settled_ms,
        facts.mode,
        facts.provider,
        event.model,
        facts.route,
        event.decision,
        event.reason,
        event.status,
        _encode(event.usage).decode(),
        event.cost_micros,
        event.cost_picos,
        event.price_micros,
        facts.price_version,
        event.held_micros,
        event.http_status,
        event.latency_ms,
        event.ttft_ms,
        int(facts.stream),
        _encode(facts.metadata).decode() if facts.metadata else "{}",
        _encode(event.flags).decode() if event.flags else "[]",
        _encode(event.legs).decode(),
    )
