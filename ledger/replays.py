"""Changes that are made once, however often they are asked for: the Idempotency-Keys and what was answered.

A change and the answer to its key are one transaction. Scripts only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from ledger.engine import Refusal, Script
from ledger.views import AccountView

T = TypeVar("T")


class ReplayMismatch(Refusal):
    """The Idempotency-Key was used before, with another request."""


class Once(msgspec.Struct, frozen=True, kw_only=True):
    """An Idempotency-Key: who sent it, with what, and for how long it is remembered.

    `note` is kept beside the answer for the caller's own use and given back with it.
    """

    account_id: int
    key: str
    fingerprint: str
    expires_ms: int
    note: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The account after a change; `replayed` if the change was made by an earlier request with the same key."""

    account: AccountView
    note: str = ""
    replayed: bool = False


def once(guard: Once | None, now_ms: int, change: Callable[[], Script[AccountView]]) -> Script[Answer]:
    """Make a change of an account, once: see `made_once`."""

    def made() -> Script[Answer]:
        account = yield from change()
        return Answer(account=account, note="" if guard is None else guard.note)

    answer, replayed = yield from made_once(guard, now_ms, Answer, made)
    return msgspec.structs.replace(answer, replayed=True) if replayed else answer


def made_once(
    guard: Once | None, now_ms: int, kind: type[T], change: Callable[[], Script[T]]
) -> Script[tuple[T, bool]]:
    """Make a change, or give the answer of the earlier request with the same Idempotency-Key, and say which.

    Raises:
        ReplayMismatch: The earlier request was another one.
    """
    if guard is None:
        answer = yield from change()
        return answer, False
    yield "DELETE FROM replays WHERE expires_ms <= ?", (now_ms,)
    rows = yield (
        "SELECT fingerprint, answer FROM replays WHERE account_id = ? AND key = ?",
        (guard.account_id, guard.key),
    )
    if rows:
        if rows[0][0] != guard.fingerprint:
            raise ReplayMismatch(guard.key)
        return msgspec.json.decode(rows[0][1], type=kind), True
    answer = yield from change()
    yield (
        "INSERT INTO replays (account_id, key, fingerprint, answer, expires_ms) VALUES (?, ?, ?, ?, ?)",
        (guard.account_id, guard.key, guard.fingerprint, msgspec.json.encode(answer).decode(), guard.expires_ms),
    )
    return answer, False
