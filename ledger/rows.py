"""How an account and its limits stand in the tables: the one place that puts them together again.

The rules and the reports read accounts through here, so both see the same plan, cap and limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ledger import latency
from ledger.book import Account, Event, Hold, Limit, Match, Rollup, spend_limits
from ledger.engine import Row
from ledger.money import SUM_MAX
from ledger.records import Facts, Unit
from ledger.windows import Window

_decode_match = msgspec.json.Decoder(Match).decode
_decode_boosts = msgspec.json.Decoder(tuple[tuple[int, int | None], ...]).decode

_decode_marks = msgspec.json.Decoder(tuple[int, ...]).decode
_decode_facts = msgspec.json.Decoder(Facts).decode
_decode_legs = msgspec.json.Decoder(list[tuple[int, int, int, str, int]]).decode
_encode = msgspec.json.Encoder().encode


class AccountRow(NamedTuple):
    """What is read of an account, with its plan's cap where it has none of its own: see `ACCOUNT_COLUMNS`."""

    id: int
    public_id: str
    path: str
    kind: str
    livemode: int
    disabled: int
    revoked_ms: int | None
    expires_ms: int | None
    version: int
    spent_micros: int
    carry_picos: int
    price_micros: int
    price_carry_picos: int
    overrun_micros: int
    last_used_ms: int | None
    boosts: str
    cap_micros: int | None
    cap_window: Window
    plan_id: int | None
    own_limits: int
    hooks: int
    alert_at: str | None
    anchor_ms: int | None
    has_plans_cap: int | bool


class LimitRow(NamedTuple):
    """What is read of a limit."""

    account_id: int
    id: int
    public_id: str
    role: str
    unit: Unit
    max: int | None
    window: Window
    timezone: str | None
    anchor_ms: int | None
    match: str
    per: str
    action: str
    alert_at: str | None


class HoldRow(NamedTuple):
    """All columns of `holds`, in their order."""

    id: str
    account_id: int
    subject_id: int
    run_id: int
    owner: str
    state: str
    created_ms: int
    expires_ms: int | None
    amount_micros: int
    legs: str
    call: str


class RollupRow(NamedTuple):
    """The columns of `rollups` after its key, in their order."""

    requests: int
    blocked: int
    cost_micros: int
    rest_picos: int
    price_micros: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    characters: int
    audio_ms: int
    images: int
    latency_ms_sum: int
    latency_histogram: bytes


# Columns as the rows below have them, for both engines' statements.
ACCOUNT_SUMS = ("spent_micros", "carry_picos", "price_micros", "price_carry_picos", "overrun_micros", "last_used_ms")
COUNTER_KEY = ("limit_id", "subject_id", "window_start_ms")
COUNTER_SUMS = ("used", "held", "unsettled")
HOLD_CHANGES = ("owner", "state", "expires_ms", "amount_micros", "legs")
ROLLUP_KEY = ("day_ms", "account_id", "subject_id", "provider", "model")
ROLLUP_COLUMNS = (*ROLLUP_KEY, *RollupRow._fields)
EVENT_TEXTS = (
    *("id", "mode", "provider", "model", "route", "decision", "reason", "status", "usage", "price_version"),
    *("metadata", "flags", "legs"),
)
EVENT_COLUMNS = (
    *("id", "account_id", "subject_id", "run_id", "created_ms", "settled_ms", "mode", "provider", "model", "route"),
    *("decision", "reason", "status", "usage", "cost_micros", "cost_picos", "price_micros", "price_version"),
    *("held_micros", "http_status", "latency_ms", "ttft_ms", "stream", "metadata", "flags", "legs", "upstream"),
)

ACCOUNT_COLUMNS = (
    "a.id, a.public_id, a.path, a.kind, a.livemode, a.disabled, a.revoked_ms, a.expires_ms, a.version,"
    " a.spent_micros, a.carry_picos, a.price_micros, a.price_carry_picos, a.overrun_micros, a.last_used_ms, a.boosts,"
    " CASE WHEN a.cap_window IS NULL THEN p.cap_micros ELSE a.cap_micros END,"
    " COALESCE(a.cap_window, p.cap_window, 'total'), a.plan_id, a.own_limits, a.hooks,"
    " COALESCE(a.alert_at, p.alert_at), a.anchor_ms, a.cap_window IS NULL"
)
ACCOUNT_TABLES = "accounts AS a LEFT JOIN accounts AS p ON p.id = a.plan_id"
LIMIT_COLUMNS = (
    'account_id, id, public_id, role, unit, max, "window", timezone, anchor_ms, match, per, action, alert_at'
)


UNDER_OWNER = "a.path >= o.path AND a.path < substr(o.path, 1, length(o.path) - 1) || '0'"
"""Whether account `a` is in the subtree of account `o`: a range, so that an index can find it."""


def marks(items: Iterable[Any]) -> str:
    """A `?` for each item, for `IN (…)`; of no items, what nothing is in."""
    return ", ".join("?" for _ in items) or "NULL"


def chain_of(path: str) -> tuple[int, ...]:
    """Account ids from the account itself up to the root."""
    return tuple(int(part) for part in reversed(path.strip("/").split("/")))


def marks_of(text: str | None) -> tuple[int, ...] | None:
    """Marks as a column has them; None where they are somebody else's."""
    return None if text is None else _decode_marks(text)


def select_accounts(ids: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """The statement that reads these accounts."""
    return f"SELECT {ACCOUNT_COLUMNS} FROM {ACCOUNT_TABLES} WHERE a.id IN ({marks(ids)})", tuple(ids)  # noqa: S608


def select_limits(account_ids: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """The statement that reads the limits of these accounts and plans, the balance of each first."""
    condition = f"account_id IN ({marks(account_ids)}) AND removed_ms IS NULL"
    return f"SELECT {LIMIT_COLUMNS} FROM limits WHERE {condition} ORDER BY role DESC, id", tuple(account_ids)  # noqa: S608


def sources_of_limits(rows: Iterable[AccountRow]) -> list[int]:
    """Whose limits must be read for these accounts: their own, and their plans'."""
    return sorted({id_ for row in rows for id_ in (row.id, row.plan_id) if id_ is not None})


def limits_by_account(rows: Iterable[Row]) -> dict[int, list[Limit]]:
    """Limits by the account or plan that has them."""
    found: dict[int, list[Limit]] = {}
    for row in map(LimitRow._make, rows):
        match = _decode_match(row.match)
        limit = Limit(
            id=row.id,
            public_id=row.public_id,
            role=row.role,
            unit=row.unit,
            max=row.max,
            window=row.window,
            timezone=row.timezone,
            anchor_ms=row.anchor_ms,
            match=None if match == Match() else match,
            per=row.per,
            action=row.action,
            alert_at=marks_of(row.alert_at),
        )
        found.setdefault(row.account_id, []).append(limit)
    return found


def account_of(row: AccountRow, limits: Mapping[int, list[Limit]]) -> Account:
    """An account from its row and the limits that `sources_of_limits` named."""
    total, *own = limits[row.id]
    if row.plan_id is not None and not row.own_limits:
        shared = limits[row.plan_id][1:]  # without the plan's own balance
        own += [
            msgspec.structs.replace(
                limit, subject_id=row.id, anchor_ms=row.anchor_ms if limit.anchor_ms is None else limit.anchor_ms
            )
            for limit in shared
        ]
    boosts, anchor_ms = _decode_boosts(row.boosts), row.anchor_ms if row.has_plans_cap else None
    return Account(
        id=row.id,
        public_id=row.public_id,
        chain=chain_of(row.path),
        kind=row.kind,
        livemode=bool(row.livemode),
        disabled=bool(row.disabled),
        revoked_ms=row.revoked_ms,
        expires_ms=row.expires_ms,
        version=row.version,
        spent_micros=row.spent_micros,
        carry_picos=row.carry_picos,
        price_micros=row.price_micros,
        price_carry_picos=row.price_carry_picos,
        overrun_micros=row.overrun_micros,
        last_used_ms=row.last_used_ms,
        limits=(*spend_limits(total, row.cap_micros, row.cap_window, boosts, anchor_ms), *own),
        own_cap=row.cap_micros is not None,
        hooks=row.hooks,
        alert_at=marks_of(row.alert_at),
    )


def hold_of(row: HoldRow) -> Hold:
    """A hold from its row."""
    return Hold(
        id=row.id,
        account_id=row.account_id,
        subject_id=row.subject_id,
        run_id=row.run_id,
        owner=row.owner,
        state=row.state,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        amount_micros=row.amount_micros,
        legs=_decode_legs(row.legs),
        facts=_decode_facts(row.call),
    )


def rollup_of(row: RollupRow) -> Rollup:
    """A rollup from its row."""
    return Rollup(
        requests=row.requests,
        blocked=row.blocked,
        cost_micros=row.cost_micros,
        rest_picos=row.rest_picos,
        price_micros=row.price_micros,
        measures=[
            row.input_tokens,
            row.output_tokens,
            row.cache_read_tokens,
            row.cache_write_tokens,
            row.reasoning_tokens,
            row.characters,
            row.audio_ms,
            row.images,
        ],
        latency_ms_sum=row.latency_ms_sum,
        latencies=latency.unpack(row.latency_histogram),
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
        facts.upstream,
    )
