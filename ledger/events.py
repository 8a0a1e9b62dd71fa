"""Events and holds as their owners see them: every allowed and every blocked call, newest first.

The order is that of the commits, so a cursor misses nothing and repeats nothing while calls go on. Scripts only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ledger.engine import Script
from ledger.lookup import find
from ledger.rows import UNDER_OWNER, marks
from ledger.usage import SUBTREE_LISTED_MAX
from ledger.views import NotFound


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `usage` and `metadata` are what was recorded with it; `count` is how many refusals it stands for.

    `upstream` is "" where it is the provider's own address.
    """

    id: str
    key_id: str
    end_user: str | None
    run_id: str | None
    created_ms: int
    settled_ms: int
    mode: str
    provider: str
    model: str
    route: str
    livemode: bool
    decision: str
    reason: str | None
    status: str
    usage: dict[str, Any]
    cost_micros: int
    cost_picos: int
    price_micros: int
    price_version: str
    held_micros: int
    http_status: int | None
    latency_ms: int | None
    ttft_ms: int | None
    stream: bool
    metadata: dict[str, Any]
    flags: list[str]
    upstream: str
    count: int = 1


class HoldView(msgspec.Struct, frozen=True, kw_only=True):
    """One hold: a call in flight, a reservation, or one that nobody settled."""

    id: str
    key_id: str
    amount_micros: int
    reserved: tuple[str, int] | None
    state: str
    created_ms: int
    expires_ms: int | None
    mode: str
    provider: str
    model: str


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: filters are None where they do not filter. `own` is for one key's calls without its subtree's."""

    owner_id: int
    limit: int
    starting_after: str | None = None
    livemode: bool | None = True
    key: str | None = None
    end_user: str | None = None
    subject_id: int | None = None
    run_id: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    mode: str | None = None
    decision: str | None = None
    reason: str | None = None
    provider: str | None = None
    model: str | None = None


_COLUMNS = (
    "e.id, a.public_id, s.subject, n.subject, e.created_ms, e.settled_ms, e.mode, e.provider, e.model, e.route,"
    " a.livemode, e.decision, e.reason, e.status, e.usage, e.cost_micros, e.cost_picos, e.price_micros,"
    " e.price_version, e.held_micros, e.http_status, e.latency_ms, e.ttft_ms, e.stream, e.metadata, e.flags, e.upstream"
)


# Literals, so that the index of the blocked ones is used.
_DECISIONS = {"blocked": "e.decision = 'blocked'", "allowed": "e.decision = 'allowed'"}
_SUBJECTS = "LEFT JOIN accounts AS s ON s.id = e.subject_id LEFT JOIN accounts AS n ON n.id = e.run_id"


class _HoldRow(NamedTuple):
    """What a `HoldView` is made of: see `_HOLD_COLUMNS`."""

    id: str
    key_id: str
    amount_micros: int
    state: str
    created_ms: int
    expires_ms: int | None
    call: str


_HOLD_COLUMNS = "h.id, a.public_id, h.amount_micros, h.state, h.created_ms, h.expires_ms, h.call"


def list_events(query: EventQuery) -> Script[tuple[list[EventView], bool]]:
    """A page of events and whether there are more. Raises NotFound for a key or cursor that is not the owner's."""
    account_id = query.owner_id
    if query.key is not None:
        account_id = yield from find(query.owner_id, query.key)
    ((path,),) = yield "SELECT path FROM accounts WHERE id = ?", (account_id,)
    span = (path, path[:-1] + "0")
    rows = yield (
        "SELECT id FROM accounts WHERE path >= ? AND path < ? AND kind = 'key' LIMIT ?",
        (*span, SUBTREE_LISTED_MAX + 1),
    )
    if len(rows) <= SUBTREE_LISTED_MAX:
        ids = tuple(row[0] for row in rows)
        conditions, parameters = [f"e.account_id IN ({marks(ids)})"], list(ids)
    else:
        conditions, parameters = ["+a.path >= ?", "+a.path < ?"], list(span)
    if query.starting_after is not None:
        rows = yield (
            "SELECT e.seq FROM events AS e JOIN accounts AS a ON a.id = e.account_id"
            " WHERE e.id = ? AND a.path >= ? AND a.path < ?",
            (query.starting_after, *span),
        )
        if not rows:
            raise NotFound(query.starting_after)
        conditions.append("e.seq < ?")
        parameters.append(rows[0][0])
    for condition, value in (
        ("a.livemode = ?", query.livemode),
        ("s.subject = ?", query.end_user),
        ("e.subject_id = ?", query.subject_id),
        ("n.subject = ?", query.run_id),
        # Within the range's first and last commit, walked in their order: sorting a day's rows would be slower.
        ("e.seq >= (SELECT min(seq) FROM events WHERE created_ms >= ?)", query.from_ms),
        ("e.seq <= (SELECT max(seq) FROM events WHERE created_ms < ?)", query.to_ms),
        ("+e.created_ms >= ?", query.from_ms),
        ("+e.created_ms < ?", query.to_ms),
        ("e.mode = ?", query.mode),
        ("e.reason = ?", query.reason),
        ("e.provider = ?", query.provider),
        ("e.model = ?", query.model),
    ):
        if value is not None:
            conditions.append(condition)
            parameters.append(value)
    if query.decision is not None:
        conditions.append(_DECISIONS[query.decision])
    rows = yield (
        f"SELECT {_COLUMNS} FROM events AS e JOIN accounts AS a ON a.id = e.account_id"  # noqa: S608 - constants, marks
        f" {_SUBJECTS} WHERE {' AND '.join(conditions)} ORDER BY e.seq DESC LIMIT ?",
        (*parameters, query.limit + 1),
    )
    return [_event(row) for row in rows[: query.limit]], len(rows) > query.limit


def _event(row: tuple[Any, ...]) -> EventView:
    values = dict(zip(EventView.__struct_fields__, (*row, 1), strict=True))
    for name in ("usage", "metadata", "flags"):
        values[name] = msgspec.json.decode(values[name])
    if values["decision"] == "blocked":
        values["count"] = values["usage"].pop("count", 1)
    values["livemode"], values["stream"] = bool(values["livemode"]), bool(values["stream"])
    return EventView(**values)


def refusals(owner_id: int, livemode: bool, from_ms: int, to_ms: int) -> Script[list[tuple[str, int]]]:
    """How many calls under the owner were refused in a span, by reason, the most first."""
    ((path,),) = yield "SELECT path FROM accounts WHERE id = ?", (owner_id,)
    rows = yield (
        "SELECT e.reason, SUM(COALESCE(json_extract(usage, '$.count'), 1)) FROM events AS e"
        " JOIN accounts AS a ON a.id = e.account_id WHERE e.decision = 'blocked' AND e.created_ms >= ?"
        " AND e.created_ms < ? AND +a.path >= ? AND +a.path < ? AND a.livemode = ? GROUP BY e.reason",
        (from_ms, to_ms, path, path[:-1] + "0", int(livemode)),
    )
    return sorted(((str(reason), int(count)) for reason, count in rows), key=lambda each: (-each[1], each[0]))


def list_holds(
    owner_id: int, *, limit: int, starting_after: str | None, state: str | None
) -> Script[tuple[list[HoldView], bool]]:
    """A page of holds of the owner's subtree, newest first, and whether there are more."""
    ((path,),) = yield "SELECT path FROM accounts WHERE id = ?", (owner_id,)
    # Holds are few and accounts may be millions: `+` keeps the planner from starting at the accounts.
    conditions, parameters = ["+a.path >= ?", "+a.path < ?"], [path, path[:-1] + "0"]
    if starting_after is not None:
        conditions.append("h.id < ?")
        parameters.append(starting_after)
    if state is not None:
        conditions.append("h.state = ?")
        parameters.append(state)
    rows = yield (
        f"SELECT {_HOLD_COLUMNS} FROM holds AS h JOIN accounts AS a ON a.id = h.account_id"  # noqa: S608 - constants
        f" WHERE {' AND '.join(conditions)} ORDER BY h.id DESC LIMIT ?",
        (*parameters, limit + 1),
    )
    return [_hold(row) for row in map(_HoldRow._make, rows[:limit])], len(rows) > limit


def _hold(row: _HoldRow) -> HoldView:
    call = msgspec.json.decode(row.call)
    return HoldView(
        id=row.id,
        key_id=row.key_id,
        amount_micros=row.amount_micros,
        reserved=call.get("reserved"),
        state=row.state,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        mode=call["mode"],
        provider=call["provider"],
        model=call["model"],
    )


def promise(owner_id: int, call_id: str) -> Script[HoldView | EventView]:
    """A hold of the owner's subtree, or the event that it became. Raises NotFound."""
    rows = yield (
        f"SELECT {_HOLD_COLUMNS} FROM holds AS h JOIN accounts AS a ON a.id = h.account_id"  # noqa: S608 - constants
        f" JOIN accounts AS o ON o.id = ? WHERE h.id = ? AND {UNDER_OWNER}",
        (owner_id, call_id),
    )
    if rows:
        return _hold(_HoldRow._make(rows[0]))
    rows = yield (
        f"SELECT {_COLUMNS} FROM events AS e JOIN accounts AS a ON a.id = e.account_id"  # noqa: S608 - constants
        f" JOIN accounts AS o ON o.id = ? {_SUBJECTS} WHERE e.id = ? AND {UNDER_OWNER}",
        (owner_id, call_id),
    )
    if not rows:
        raise NotFound(call_id)
    return _event(rows[0])


def expired_holds(now_ms: int) -> Script[list[tuple[str, bool, int | None]]]:
    """The holds whose time is over, so many at a time: id, whether it is a reservation, and what is left of it.

    The last is in micros of an unsettled hold; None for one that is open.
    """
    rows = yield (
        "SELECT id, call, state, amount_micros FROM holds WHERE expires_ms IS NOT NULL AND expires_ms <= ? LIMIT 500",
        (now_ms,),
    )
    return [
        (hold_id, msgspec.json.decode(call)["mode"] == "reservation", micros if state == "unsettled" else None)
        for hold_id, call, state, micros in rows
    ]


def open_holds(owner: str) -> Script[list[tuple[str, int]]]:
    """Ids and micros of the holds that other owners than `owner` left open, oldest first, a batch at a time."""
    rows = yield (
        "SELECT id, amount_micros FROM holds WHERE state = 'open' AND owner <> ? AND expires_ms IS NULL"
        " ORDER BY id LIMIT 500",
        (owner,),
    )
    return [(hold_id, micros) for hold_id, micros in rows]


def hold_sums() -> Script[tuple[int, int]]:
    """How many holds are open and how many unsettled, over all accounts (for the metrics)."""
    rows = yield "SELECT state, count(*) FROM holds GROUP BY state", ()
    counts: dict[str, int] = dict(rows)
    return counts.get("open", 0), counts.get("unsettled", 0)
