"""Deliveries: what is on its way to a hook, and every attempt to get it there.

A delivery has a life of its own: it is delivered, or due again, or dead. Several gateways may share the work: a hook's
deliveries are sent by whoever has its lease. Knows nothing of HTTP, nor of what is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from ledger.engine import Row, Script
from ledger.outbox import hooks
from ledger.outbox.alerts import Message
from ledger.outbox.hooks import Hook
from ledger.outbox.messages import deliver, heard, tell
from ledger.rows import UNDER_OWNER, marks
from ledger.views import NotFound

DROPPED_AT_ONCE = 500
LEASE_MS = 60_000  # for how long a hook's deliveries are one gateway's; longer than any attempt lasts
ATTEMPTS_KEPT = 20

State = Literal["pending", "delivered", "dead"]


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt to deliver: when, how long it took, and what came of it."""

    at_ms: int
    took_ms: int
    status: int | None = None
    error: str | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message on its way to a hook. `account_id` is the key whose messages go in order."""

    seq: int
    public_id: str
    hook_id: str
    account_id: int
    type: str
    state: State
    tries: int
    due_ms: int
    created_ms: int
    ended_ms: int | None
    body: str
    attempts: tuple[Attempt, ...]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a delivery: delivered, due again at `due_ms`, or dead where that is None."""

    seq: int
    attempt: Attempt
    delivered: bool
    due_ms: int | None = None


_decode_attempts = msgspec.json.Decoder(tuple[Attempt, ...]).decode


class _DeliveryRow(NamedTuple):
    """What is read of a delivery: see `_DELIVERY`."""

    seq: int
    public_id: str
    hook_id: str
    account_id: int
    type: str
    state: State
    tries: int
    due_ms: int
    created_ms: int
    ended_ms: int | None
    body: str
    attempts: str


_DELIVERY = ", ".join("h.public_id" if name == "hook_id" else f"d.{name}" for name in _DeliveryRow._fields)
_DELIVERIES = "deliveries AS d JOIN hooks AS h ON h.id = d.hook_id"


_DUE = (
    "h.status = 'active' AND h.id IN (SELECT d.hook_id FROM deliveries AS d WHERE d.state = 'pending'"
    " AND d.due_ms <= ?)"
)
_FREE = (
    " AND (h.lease_until_ms < ? OR h.lease_owner = ? OR h.lease_owner NOT IN"
    " (SELECT n.owner FROM nodes AS n WHERE n.lease_until_ms >= now_ms()))"
)
"""Whether a hook is nobody's who lives."""


def _claimable(owner: str, now_ms: int, *, shared: bool) -> tuple[str, tuple[Any, ...]]:
    """The condition for a hook `h` that the owner may serve now, and its parameters."""
    return (_DUE + _FREE, (now_ms, now_ms, owner)) if shared else (_DUE, (now_ms,))


def work(owner: str, now_ms: int, *, shared: bool) -> Script[tuple[bool, bool]]:
    """Whether there is anything to address, and anything to `claim`. A look costs nothing, a transaction does."""
    waiting = yield "SELECT 1 FROM messages WHERE addressed = 0 LIMIT 1", ()
    condition, values = _claimable(owner, now_ms, shared=shared)
    due = yield f"SELECT 1 FROM hooks AS h WHERE {condition} LIMIT 1", values  # noqa: S608 - constants
    return bool(waiting), bool(due)


def claim(owner: str, limit: int, now_ms: int, *, shared: bool) -> Script[list[Hook]]:
    """Hooks for which a delivery is due and that nobody else is serving: from now on they are the owner's.

    Where the database is `shared`, what another gateway serves is its own while that gateway lives.
    """
    condition, values = _claimable(owner, now_ms, shared=shared)
    rows = yield (
        "UPDATE hooks SET lease_owner = ?, lease_until_ms = ? WHERE id IN (SELECT h.id FROM hooks AS h"  # noqa: S608
        f" WHERE {condition} ORDER BY h.lease_until_ms LIMIT ?) RETURNING id",
        (owner, now_ms + LEASE_MS, *values, limit),
    )
    if not rows:
        return []
    ids = [row[0] for row in rows]
    hook_rows = yield (
        f"SELECT {hooks.COLUMNS} FROM {hooks.TABLES} WHERE h.id IN ({marks(ids)}) ORDER BY h.id",  # noqa: S608
        tuple(ids),
    )
    return [hooks.hook_of(row) for row in hook_rows]


def release(owner: str, hook_id: int) -> Script[None]:
    """Let others serve a hook."""
    yield "UPDATE hooks SET lease_until_ms = 0 WHERE id = ? AND lease_owner = ?", (hook_id, owner)


def due(hook_id: int, limit: int, now_ms: int) -> Script[list[Delivery]]:
    """A hook's deliveries that are due, oldest first."""
    rows = yield (
        f"SELECT {_DELIVERY} FROM {_DELIVERIES} WHERE d.hook_id = ? AND h.status = 'active' AND d.state = 'pending'"  # noqa: S608
        " AND d.due_ms <= ? ORDER BY d.seq LIMIT ?",
        (hook_id, now_ms, limit),
    )
    return [_delivery(row) for row in rows]


def conclude(hook_id: int, results: Sequence[Result], now_ms: int) -> Script[int | None]:
    """Write down what came of attempts, and keep the hook; since when it has been failing, if it has.

    A delivery that has ended meanwhile, by whomever, stays as it is.
    """
    for result in results:
        rows = yield (
            "SELECT tries, attempts FROM deliveries WHERE seq = ? AND state = 'pending'",
            (result.seq,),
        )
        if not rows:
            continue
        attempts = (*_decode_attempts(rows[0][1]), result.attempt)[-ATTEMPTS_KEPT:]
        state = "delivered" if result.delivered else "dead" if result.due_ms is None else "pending"
        yield (
            "UPDATE deliveries SET state = ?, tries = ?, due_ms = ?, ended_ms = ?, attempts = ? WHERE seq = ?",
            (
                state,
                rows[0][0] + 1,
                result.due_ms or 0,
                None if state == "pending" else now_ms,
                msgspec.json.encode(attempts).decode(),
                result.seq,
            ),
        )
    through = any(result.delivered for result in results)
    rows = yield (
        "UPDATE hooks SET failing_ms = CASE WHEN ? = 1 THEN NULL ELSE COALESCE(failing_ms, ?) END, lease_until_ms = ?"
        " WHERE id = ? RETURNING failing_ms",
        (int(through), now_ms, now_ms + LEASE_MS, hook_id),
    )
    return rows[0][0] if rows else None


def give_up(hook_id: int, reason: str, now_ms: int, touched: set[int]) -> Script[bool]:
    """Disable a hook, with all that waits for it, and say so to whoever else listens; False if it was disabled."""
    rows = yield (
        "UPDATE hooks SET status = 'disabled', reason = ? WHERE id = ? AND status = 'active'"
        " RETURNING account_id, public_id, kind",
        (reason, hook_id),
    )
    if not rows:
        return False
    account_id, public_id, kind = rows[0]
    yield from hooks.count(account_id, touched)
    yield (
        "UPDATE deliveries SET state = 'dead', ended_ms = ? WHERE hook_id = ? AND state = 'pending'",
        (now_ms, hook_id),
    )
    if (yield from heard(account_id)):
        data = msgspec.json.encode({"hook_id": public_id, "kind": kind, "reason": reason}).decode()
        yield from tell((Message(type="hook.disabled", account_id=account_id, data=data),), now_ms)
    return True


def drop(before_ms: int) -> Script[int]:
    """Drop what ended before that, and the messages that nobody needs to know any more; how many rows went.

    A message that may come only once is kept as long as its window may last.
    """
    count = 0
    rows = yield (
        "DELETE FROM deliveries WHERE seq IN (SELECT seq FROM deliveries WHERE state <> 'pending' AND ended_ms < ?"
        " LIMIT ?) RETURNING seq",
        (before_ms, DROPPED_AT_ONCE),
    )
    count += len(rows)
    rows = yield (
        "DELETE FROM messages WHERE seq IN (SELECT seq FROM messages WHERE addressed = 1 AND"
        " until_ms < ? LIMIT ?) RETURNING seq",
        (before_ms, DROPPED_AT_ONCE),
    )
    return count + len(rows)


def waiting(now_ms: int) -> Script[tuple[int, int, int]]:
    """How many deliveries are pending and dead, and for how many ms the oldest that is due has been."""
    ((pending, dead),) = yield (
        "SELECT COUNT(CASE WHEN state = 'pending' THEN 1 END), COUNT(CASE WHEN state = 'dead' THEN 1 END)"
        " FROM deliveries WHERE state IN ('pending', 'dead')",
        (),
    )
    rows = yield "SELECT MIN(due_ms) FROM deliveries WHERE state = 'pending' AND due_ms <= ?", (now_ms,)
    oldest = rows[0][0]
    return int(pending), int(dead), 0 if oldest is None else now_ms - int(oldest)


# ---- what a caller may do with them


def send_test(owner_id: int, public_id: str, delivery_id: str, body: bytes, now_ms: int) -> Script[Delivery]:
    """Send a hook a message that says only that it hears. Raises NotFound."""
    found = yield from hooks.view(owner_id, public_id)
    yield from deliver(found.id, delivery_id, found.account_id, 0, "hook.test", body.decode(), now_ms)
    made = yield from delivery(owner_id, delivery_id)
    return made


def deliveries(
    owner_id: int, public_id: str, *, state: str | None, limit: int, starting_after: str | None
) -> Script[tuple[list[Delivery], bool]]:
    """A page of a hook's deliveries, newest first, and whether there are more. Raises NotFound."""
    found = yield from hooks.view(owner_id, public_id)
    after = 2**62
    if starting_after is not None:
        after = (yield from delivery(owner_id, starting_after)).seq
    condition, values = ("", ()) if state is None else (" AND d.state = ?", (state,))
    rows = yield (
        f"SELECT {_DELIVERY} FROM {_DELIVERIES} WHERE d.hook_id = ? AND d.seq < ?{condition}"  # noqa: S608
        " ORDER BY d.seq DESC LIMIT ?",
        (found.id, after, *values, limit + 1),
    )
    return [_delivery(row) for row in rows[:limit]], len(rows) > limit


def delivery(owner_id: int, public_id: str) -> Script[Delivery]:
    """One delivery to a hook of the owner's subtree. Raises NotFound."""
    rows = yield (
        f"SELECT {_DELIVERY} FROM {_DELIVERIES} JOIN accounts AS a ON a.id = h.account_id"  # noqa: S608 - constants
        f" JOIN accounts AS o ON o.id = ? WHERE d.public_id = ? AND {UNDER_OWNER}",
        (owner_id, public_id),
    )
    if not rows:
        raise NotFound(public_id)
    return _delivery(rows[0])


_AGAIN = "UPDATE deliveries SET state = 'pending', tries = 0, due_ms = ?, ended_ms = NULL WHERE "


def retry(owner_id: int, public_id: str, now_ms: int) -> Script[Delivery]:
    """Send a delivery again now, whatever became of it: same id, same bytes. Raises NotFound."""
    found = yield from delivery(owner_id, public_id)
    yield _AGAIN + "seq = ?", (now_ms, found.seq)
    again = yield from delivery(owner_id, public_id)
    return again


def replay(owner_id: int, public_id: str, from_ms: int, to_ms: int, now_ms: int) -> Script[int]:
    """Send again what was written for a hook in `[from_ms, to_ms)`, whatever became of it; how many there are.

    Raises:
        NotFound: There is no such hook.
    """
    found = yield from hooks.view(owner_id, public_id)
    rows = yield (
        _AGAIN + "hook_id = ? AND created_ms >= ? AND created_ms < ? RETURNING seq",
        (now_ms, found.id, from_ms, to_ms),
    )
    return len(rows)


def _delivery(row: Row) -> Delivery:
    found = _DeliveryRow._make(row)
    return Delivery(**found._asdict() | {"attempts": _decode_attempts(found.attempts)})
