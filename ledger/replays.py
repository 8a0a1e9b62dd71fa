"""Changes that are made once, however often they are asked for: the Idempotency-Keys and what was answered.

A change and the answer to its key are one transaction. Scripts only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from ledger.engine import NotDone, Script
from ledger.views import AccountView

T = TypeVar("T")


class ReplayMismatch(NotDone):
    """The Idempotency-Key was used before, with another request."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a change comes from: who asked for it, from where, and with which Idempotency-Key.

    Attributes:
        account_id: The caller's; an Idempotency-Key is his own.
        actor: Public id of the key that asked, or what else did.
        key: The Idempotency-Key; None for a request that is made anew each time.
        fingerprint: Of the request: the same key with another one is refused.
        expires_ms: Until when the answer is remembered.
        note: Kept beside the answer for the caller's own use, and given back with it.
    """

    account_id: int
    actor: str = "system"
    ip: str | None = None
    request_id: str | None = None
    key: str | None = None
    fingerprint: str = ""
    expires_ms: int = 0
    note: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The account after a change; `replayed` if the change was made by an earlier request with the same key."""

    account: AccountView
    note: str = ""
    replayed: bool = False


def account_made_once(origin: Origin | None, now_ms: int, change: Callable[[], Script[AccountView]]) -> Script[Answer]:
    """Make a change of an account, once: see `made_once`."""

    def made() -> Script[Answer]:
        account = yield from change()
        return Answer(account=account, note="" if origin is None else origin.note)

    answer, replayed = yield from made_once(origin, now_ms, Answer, made)
    return msgspec.structs.replace(answer, replayed=True) if replayed else answer


def made_once(
    origin: Origin | None, now_ms: int, kind: type[T], change: Callable[[], Script[T]]
) -> Script[tuple[T, bool]]:
    """Make a change, or give the answer of the earlier request with the same Idempotency-Key, and say which.

    Raises:
        ReplayMismatch: The earlier request was another one.
    """
    if origin is None or origin.key is None:
        answer = yield from change()
        return answer, False
    earlier = yield from recalled(origin, now_ms, kind)
    if earlier is not None:
        return earlier, True
    answer = yield from change()
    yield from keep(origin, answer, now_ms)
    return answer, False


def recalled(origin: Origin, now_ms: int, kind: type[T]) -> Script[T | None]:
    """What the earlier request with the same Idempotency-Key was answered, if there was one. Raises ReplayMismatch."""
    rows = yield (
        "SELECT fingerprint, answer FROM replays WHERE account_id = ? AND key = ? AND expires_ms > ?",
        (origin.account_id, origin.key, now_ms),
    )
    if not rows:
        return None
    if rows[0][0] != origin.fingerprint:
        raise ReplayMismatch(origin.key)
    return msgspec.json.decode(rows[0][1], type=kind)


def keep(origin: Origin, answer: object, now_ms: int) -> Script[None]:
    """Remember what a request was answered; what is remembered for long enough goes."""
    yield "DELETE FROM replays WHERE expires_ms <= ?", (now_ms,)
    yield (
        "INSERT INTO replays (account_id, key, fingerprint, answer, expires_ms) VALUES (?, ?, ?, ?, ?)",
        (origin.account_id, origin.key, origin.fingerprint, msgspec.json.encode(answer).decode(), origin.expires_ms),
    )


def forget(account_ids: Sequence[int], public_id: str) -> Script[None]:
    """No answer to one of these accounts tells of an end user any more."""
    yield (
        f"DELETE FROM replays WHERE account_id IN ({', '.join('?' * len(account_ids))}) AND answer LIKE ?",  # noqa: S608
        (*account_ids, f'%"{public_id}"%'),
    )
