"""Messages: written in the transaction that moves the money or makes the change, and addressed once.

A message is frozen when it is written, with how who it is about was called then. It is addressed in a transaction of
its own: to each hook on the key that it concerns, or above it, that wants to hear of such a thing. Knows nothing of
what a message says to whom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from ledger import settings
from ledger.engine import Row, Script
from ledger.outbox import hooks
from ledger.outbox.alerts import Message
from ledger.rows import chain_of, marks
from ledger.windows import HOUR_MS

ADDRESSED_AT_ONCE = 200
EXPIRED_TOLD_MS = 48 * 3600 * 1000  # how long after its end it is still told that a key has expired


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it was frozen: what it is about, and how who it is about was called then."""

    type: str
    created_ms: int
    livemode: bool
    key_id: str
    profile: dict[str, Any]
    plan: str | None
    subject_kind: str | None
    subject: str | None
    data: dict[str, Any]


INSERT_MESSAGE = (
    "INSERT INTO messages (once, type, created_ms, until_ms, used, data, account_id, key_id, profile, plan, livemode,"
    " subject_id, subject_kind, subject)"
    " SELECT ?, ?, ?, ?, ?, ?, k.id, k.public_id, k.profile, p.public_id, k.livemode, COALESCE(s.id, 0), s.kind,"
    " s.subject"
    " FROM accounts AS o JOIN accounts AS k ON k.id = CASE WHEN o.kind IN ('end_user', 'run') THEN o.parent_id"
    " ELSE o.id END LEFT JOIN accounts AS p ON p.id = k.plan_id LEFT JOIN accounts AS s ON s.id = ?"
    " WHERE o.id = ? ON CONFLICT (once) DO NOTHING"
)
"""Writes one message, with how who it is about is called now."""


def message_row(message: Message, used: int | None, now_ms: int) -> Row:
    """The parameters of `INSERT_MESSAGE`."""
    until_ms = now_ms if message.until_ms == 0 else message.until_ms
    return (message.once, message.type, now_ms, until_ms, used, message.data, message.subject_id, message.account_id)


def tell(messages: Iterable[Message], now_ms: int) -> Script[None]:
    """Write messages, each about an account that somebody listens to or above which somebody does."""
    for message in messages:
        yield INSERT_MESSAGE, message_row(message, message.used, now_ms)


def heard(account_id: int) -> Script[bool]:
    """Whether anybody listens to an account or to one above it."""
    rows = yield "SELECT path FROM accounts WHERE id = ?", (account_id,)
    if not rows:
        return False
    chain = chain_of(rows[0][0])
    rows = yield f"SELECT 1 FROM accounts WHERE id IN ({marks(chain)}) AND hooks > 0 LIMIT 1", chain  # noqa: S608
    return bool(rows)


class _Waiting(NamedTuple):
    """A message that waits to be addressed."""

    seq: int
    type: str
    created_ms: int
    livemode: int
    key_id: str
    profile: str
    plan: str | None
    subject_id: int
    subject_kind: str | None
    subject: str | None
    data: str
    used: int | None
    account_id: int
    path: str


_SELECT_WAITING = (
    f"SELECT {', '.join(f'm.{name}' for name in _Waiting._fields[:-1])}, a.path"  # noqa: S608 - names
    " FROM messages AS m JOIN accounts AS a ON a.id = m.account_id WHERE m.addressed = 0 ORDER BY m.seq LIMIT ?"
)


def address(compose: Callable[[Told], bytes], new_id: Callable[[], str], now_ms: int) -> Script[int]:
    """Turn messages into deliveries, a number at a time; how many messages there were. To run alone.

    What a message says is composed here, once, and goes to every hook in the same bytes.
    """
    rows = yield _SELECT_WAITING, (ADDRESSED_AT_ONCE,)
    waiting = [_Waiting._make(row) for row in rows]
    if not waiting:
        return 0
    above = sorted({id_ for each in waiting for id_ in chain_of(each.path)})
    listeners = yield from hooks.active(above)
    for each in waiting:
        told = _frozen(each)
        chain = frozenset(chain_of(each.path))
        body = None
        for hook in listeners:
            if hook.account_id in chain and hook.livemode == told.livemode and hook.hears(told.type):
                body = body or compose(told).decode()
                yield from deliver(hook.id, new_id(), each.account_id, each.subject_id, told.type, body, now_ms)
        yield "UPDATE messages SET addressed = 1 WHERE seq = ?", (each.seq,)
    return len(waiting)


def _frozen(row: _Waiting) -> Told:
    data: dict[str, Any] = msgspec.json.decode(row.data)
    if row.used is not None:
        data["limit"]["used"] = row.used
    return Told(
        type=row.type,
        created_ms=row.created_ms,
        livemode=bool(row.livemode),
        key_id=row.key_id,
        profile=msgspec.json.decode(row.profile),
        plan=row.plan,
        subject_kind=row.subject_kind,
        subject=row.subject,
        data=data,
    )


def deliver(
    hook_id: int, public_id: str, account_id: int, subject_id: int, type_: str, body: str, now_ms: int
) -> Script[None]:
    """Put a body on its way to a hook."""
    yield (
        "INSERT INTO deliveries (public_id, hook_id, account_id, subject_id, type, state, tries, due_ms, created_ms,"
        " body) VALUES (?, ?, ?, ?, ?, 'pending', 0, ?, ?, ?)",
        (public_id, hook_id, account_id, subject_id, type_, now_ms, now_ms, body),
    )


def alarm(type_: str, facts: dict[str, Any], now_ms: int) -> Script[None]:
    """Tell whoever listens to the first account of all of a trouble of the operator's own, once an hour."""
    yield from _tell_operator(
        type_, facts, ":".join((type_, *map(str, facts.values()), str(now_ms // HOUR_MS))), now_ms
    )


def turned(name: str, type_: str, facts: dict[str, Any], now_ms: int) -> Script[None]:
    """Tell him that something of his own is in another state than before; `type_` says in which."""
    if (yield from settings.turned(name, type_)):
        yield from _tell_operator(type_, facts, None, now_ms)


def _tell_operator(type_: str, facts: dict[str, Any], once: str | None, now_ms: int) -> Script[None]:
    rows = yield "SELECT id FROM accounts WHERE parent_id IS NULL AND hooks > 0 ORDER BY id LIMIT 1", ()
    if rows:
        data = msgspec.json.encode(facts).decode()
        yield from tell((Message(type=type_, account_id=rows[0][0], data=data, once=once),), now_ms)


_EXPIRED = (
    "FROM accounts AS a WHERE a.expires_ms > ? AND a.expires_ms <= ? AND a.kind = 'key' AND a.revoked_ms IS NULL"
    " AND EXISTS (SELECT 1 FROM accounts AS o WHERE o.hooks > 0 AND a.path >= o.path"
    " AND a.path < substr(o.path, 1, length(o.path) - 1) || '0')"
    " AND NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.once = 'expired:' || a.id || ':' || a.expires_ms)"
)
"""Keys that have expired, above which somebody listens who has not been told."""


def any_expired(now_ms: int) -> Script[bool]:
    """Whether there is anything for `tell_expired` to tell."""
    rows = yield "SELECT 1 FROM accounts WHERE hooks > 0 LIMIT 1", ()
    if rows:
        rows = yield f"SELECT 1 {_EXPIRED} LIMIT 1", (now_ms - EXPIRED_TOLD_MS, now_ms)
    return bool(rows)


def tell_expired(now_ms: int) -> Script[None]:
    """Tell of keys that have expired, each once."""
    rows = yield (
        f"SELECT a.id, a.expires_ms {_EXPIRED} LIMIT ?",
        (now_ms - EXPIRED_TOLD_MS, now_ms, ADDRESSED_AT_ONCE),
    )
    until_ms = now_ms + EXPIRED_TOLD_MS
    yield from tell(
        (
            Message(
                type="key.expired",
                account_id=account_id,
                data=f'{{"expired_ms":{expires_ms}}}',
                once=f"expired:{account_id}:{expires_ms}",
                until_ms=until_ms,
            )
            for account_id, expires_ms in rows
        ),
        now_ms,
    )


def forget(subject_id: int) -> Script[None]:
    """Nothing that was or is to be told names this end user any more."""
    yield "DELETE FROM messages WHERE subject_id = ? AND addressed = 0", (subject_id,)
    yield "UPDATE messages SET subject = NULL WHERE subject_id = ?", (subject_id,)
    yield "DELETE FROM deliveries WHERE subject_id = ?", (subject_id,)
