"""Who changed what: every change with what was before it and after it, for ever.

Written in the transaction of the change itself, with the message for whoever listens. Never a secret: what is kept of
an account is what may be shown of it, and of a secret only that there is a new one. Scripts only.
"""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

import msgspec

from ledger.engine import Row, Script
from ledger.outbox.alerts import Message
from ledger.outbox.messages import heard, tell
from ledger.replays import Origin
from ledger.rows import UNDER_OWNER
from ledger.views import AccountView, NotFound

TOLD = frozenset(
    (
        *("key.created", "key.updated", "key.disabled", "key.revoked", "key.rotated"),
        *("plan.updated", "credits.added", "credits.taken_back"),
    )
)
"""Changes of which whoever listens is told."""


_SYSTEM = Origin(account_id=0)


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A change as it was recorded. `before` and `after` hold what differs; None where there was nothing."""

    public_id: str
    created_ms: int
    type: str
    object_id: str
    actor: str
    ip: str | None
    request_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class _ChangeRow(NamedTuple):
    """What is read of a change."""

    public_id: str
    created_ms: int
    type: str
    object_id: str
    actor: str
    ip: str | None
    request_id: str | None
    before: str | None
    after: str | None


_COLUMNS = ", ".join(f"c.{name}" for name in _ChangeRow._fields)


class ChangeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which changes to list, newest first: of the owner's subtree."""

    owner_id: int
    limit: int
    starting_after: str | None = None
    object_id: str | None = None
    type: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None


def shown(view: AccountView) -> dict[str, Any]:
    """What is kept of an account in the record."""
    cap = view.cap
    return view.profile | {
        "status": view.status,
        "max_spend_micros": cap.max,
        "reset": "none" if cap.window == "total" else cap.window,
        "expires_at_ms": view.expires_ms,
        "plan": None if view.plan is None else view.plan.public_id,
        "alert_at": view.alert_at,
        "stripe_customer_id": view.stripe_customer_id,
        "anchor_ms": view.anchor_ms,
        "limits": [
            {"id": limit.public_id, "unit": limit.unit, "max": limit.max, "window": limit.window, "per": limit.per}
            | {"match": msgspec.to_builtins(limit.match), "action": limit.action, "alert_at": limit.alert_at}
            for limit in view.limits
            if limit.role == "limit" and limit.own
        ],
    }


def of_account(
    type_: str, before: AccountView | None, after: AccountView, origin: Origin | None, now_ms: int, **more: Any
) -> Script[None]:
    """Write down what was done to an account, and tell whoever listens. `more` is said beside what differs."""
    was, now = (None if each is None else shown(each) for each in (before, after))
    if type_ == "updated":
        turned_off = after.disabled and before is not None and not before.disabled
        type_ = "disabled" if turned_off else "updated"
    name = type_ if "." in type_ else f"{after.kind}.{type_}"
    yield from record(name, after.id, after.public_id, was, now, origin, now_ms, **more)


def record(
    type_: str,
    account_id: int,
    object_id: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    origin: Origin | None,
    now_ms: int,
    **more: Any,
) -> Script[None]:
    """Write down a change of something that belongs to an account, and tell whoever listens to it."""
    if before is not None and after is not None:
        names = [name for name in before | after if before.get(name) != after.get(name)]
        before, after = ({name: each.get(name) for name in names} for each in (before, after))
    if more:
        after = (after or {}) | more
    origin = origin or _SYSTEM
    yield (
        "INSERT INTO changes (public_id, account_id, created_ms, type, object_id, actor, ip, request_id, before, after)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            f"chg_{now_ms:012x}{secrets.token_hex(7)}",
            account_id,
            now_ms,
            type_,
            object_id,
            origin.actor,
            origin.ip,
            origin.request_id,
            _json(before),
            _json(after),
        ),
    )
    if type_ in TOLD and (yield from heard(account_id)):
        data = {"actor": origin.actor, "before": before, "after": after} | more
        if type_.startswith("plan."):
            ((account_id,),) = yield "SELECT parent_id FROM accounts WHERE id = ?", (account_id,)
            data["plan_id"] = object_id
        text = _json({name: value for name, value in data.items() if value is not None})
        yield from tell((Message(type=type_, account_id=account_id, data=text or "{}"),), now_ms)


def forget(object_id: str) -> Script[None]:
    """Nothing that was recorded of an end user says who he is any more."""
    yield "UPDATE changes SET before = NULL, after = NULL WHERE object_id = ?", (object_id,)


def list_changes(query: ChangeQuery) -> Script[tuple[list[Recorded], bool]]:
    """A page of the changes under the owner, and whether there are more. Raises NotFound."""
    conditions, values = [], []
    if query.starting_after is not None:
        rows = yield (
            "SELECT c.seq FROM changes AS c JOIN accounts AS a ON a.id = c.account_id"  # noqa: S608 - constants
            f" JOIN accounts AS o ON o.id = ? WHERE c.public_id = ? AND {UNDER_OWNER}",
            (query.owner_id, query.starting_after),
        )
        if not rows:
            raise NotFound(query.starting_after)
        conditions.append("c.seq < ?")
        values.append(rows[0][0])
    for condition, value in (
        ("c.object_id = ?", query.object_id),
        ("c.type = ?", query.type),
        ("c.created_ms >= ?", query.from_ms),
        ("c.created_ms < ?", query.to_ms),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    where = "".join(f" AND {condition}" for condition in conditions)
    rows = yield (
        f"SELECT {_COLUMNS}"  # noqa: S608 - constants
        " FROM changes AS c JOIN accounts AS a ON a.id = c.account_id JOIN accounts AS o ON o.id = ?"
        f" WHERE {UNDER_OWNER}{where} ORDER BY c.seq DESC LIMIT ?",
        (query.owner_id, *values, query.limit + 1),
    )
    return [_recorded(row) for row in rows[: query.limit]], len(rows) > query.limit


def _recorded(row: Row) -> Recorded:
    found = _ChangeRow._make(row)
    before, after = (None if each is None else msgspec.json.decode(each) for each in (found.before, found.after))
    return Recorded(**found._asdict() | {"before": before, "after": after})


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
