"""Hooks: who hears of what happens to a key and to all under it, and where he hears it.

A hook belongs to a key's account. The account says how many active ones it has, so that the rules know, without
looking, whether anything need be written for anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from ledger.engine import NotDone, Row, Script
from ledger.rows import UNDER_OWNER, marks
from ledger.views import NotFound

HOOKS_MAX = 100  # of one key
SECRETS_MAX = 5  # that a hook signs with at a time

Kind = Literal["webhook", "slack", "email"]
Status = Literal["active", "disabled"]


class TooManyHooks(NotDone):
    """The key has as many hooks as a key may have."""


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """Where messages go. `target` is a URL, which is a secret, or an address.

    Attributes:
        key_id: Public id of the key whose messages, and those of all under it, it hears.
        events: Types; `*` at the end of one stands for whatever follows.
        secrets: What webhooks are signed with, newest first: (secret, until when or None).
        failing_ms: Since when nothing got through; None if the last attempt did.
    """

    id: int
    public_id: str
    account_id: int
    key_id: str
    livemode: bool
    kind: Kind
    target: str
    events: tuple[str, ...]
    description: str
    status: Status
    reason: str | None
    secrets: tuple[tuple[str, int | None], ...]
    created_ms: int
    failing_ms: int | None

    def signing(self, now_ms: int) -> list[str]:
        """The secrets that a message is signed with now."""
        return [secret for secret, until_ms in self.secrets if until_ms is None or until_ms > now_ms]

    def hears(self, type_: str) -> bool:
        """Whether it wants to hear of such things."""
        return any(type_ == each or (each.endswith("*") and type_.startswith(each[:-1])) for each in self.events)


class NewHook(msgspec.Struct, frozen=True, kw_only=True):
    """A hook to make."""

    public_id: str
    kind: Kind
    target: str
    events: tuple[str, ...]
    description: str
    secret: str | None
    created_ms: int


class HookEdit(msgspec.Struct, frozen=True, kw_only=True):
    """Changes to a hook. None leaves a thing as it is."""

    target: str | None = None
    events: tuple[str, ...] | None = None
    description: str | None = None
    status: Status | None = None


_decode_words = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_secrets = msgspec.json.Decoder(tuple[tuple[str, int | None], ...]).decode


class _HookRow(NamedTuple):
    """What is read of a hook, with its key's id and mode: see `COLUMNS`."""

    id: int
    public_id: str
    account_id: int
    key_id: str
    livemode: int
    kind: Kind
    target: str
    events: str
    description: str
    status: Status
    reason: str | None
    secrets: str
    created_ms: int
    failing_ms: int | None


_OF_THE_KEY = {"key_id": "a.public_id", "livemode": "a.livemode"}
COLUMNS = ", ".join(_OF_THE_KEY.get(name, f"h.{name}") for name in _HookRow._fields)
TABLES = "hooks AS h JOIN accounts AS a ON a.id = h.account_id"


def make(owner_id: int, key_id: str, new: NewHook, touched: set[int]) -> Script[Hook]:
    """Make a hook on a key of the owner's subtree. Raises NotFound, TooManyHooks."""
    account_id = yield from _key(owner_id, key_id)
    ((number,),) = yield "SELECT COUNT(*) FROM hooks WHERE account_id = ?", (account_id,)
    if number >= HOOKS_MAX:
        raise TooManyHooks
    secrets = [] if new.secret is None else [[new.secret, None]]
    ((hook_id,),) = yield (
        "INSERT INTO hooks (public_id, account_id, kind, target, events, description, status, secrets, created_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, 'active', ?, ?) RETURNING id",
        (
            new.public_id,
            account_id,
            new.kind,
            new.target,
            msgspec.json.encode(new.events).decode(),
            new.description,
            msgspec.json.encode(secrets).decode(),
            new.created_ms,
        ),
    )
    yield from count(account_id, touched)
    rows = yield f"SELECT {COLUMNS} FROM {TABLES} WHERE h.id = ?", (hook_id,)  # noqa: S608 - constants
    return hook_of(rows[0])


def view(owner_id: int, public_id: str) -> Script[Hook]:
    """One hook of the owner's subtree. Raises NotFound."""
    rows = yield (
        f"SELECT {COLUMNS} FROM {TABLES} JOIN accounts AS o ON o.id = ? WHERE h.public_id = ? AND {UNDER_OWNER}",  # noqa: S608
        (owner_id, public_id),
    )
    if not rows:
        raise NotFound(public_id)
    return hook_of(rows[0])


def page(owner_id: int, limit: int, starting_after: str | None) -> Script[tuple[list[Hook], bool]]:
    """A page of the hooks of the owner's subtree, newest first, and whether there are more. Raises NotFound."""
    after = 2**62
    if starting_after is not None:
        after = (yield from view(owner_id, starting_after)).id
    rows = yield (
        f"SELECT {COLUMNS} FROM {TABLES} JOIN accounts AS o ON o.id = ? WHERE h.id < ? AND {UNDER_OWNER}"  # noqa: S608
        " ORDER BY h.id DESC LIMIT ?",
        (owner_id, after, limit + 1),
    )
    return [hook_of(row) for row in rows[:limit]], len(rows) > limit


def active(account_ids: Sequence[int]) -> Script[list[Hook]]:
    """The active hooks on these accounts."""
    rows = yield (
        f"SELECT {COLUMNS} FROM {TABLES} WHERE h.status = 'active' AND h.account_id IN ({marks(account_ids)})"  # noqa: S608
        " ORDER BY h.id",
        tuple(account_ids),
    )
    return [hook_of(row) for row in rows]


def change(owner_id: int, public_id: str, edit: HookEdit, touched: set[int]) -> Script[Hook]:
    """Change a hook; one that is made active begins anew. Raises NotFound."""
    found = yield from view(owner_id, public_id)
    status = edit.status or found.status
    begins = status == "active" and found.status != "active"
    yield (
        "UPDATE hooks SET target = ?, events = ?, description = ?, status = ?, reason = ?, failing_ms = ? WHERE id = ?",
        (
            found.target if edit.target is None else edit.target,
            msgspec.json.encode(found.events if edit.events is None else edit.events).decode(),
            found.description if edit.description is None else edit.description,
            status,
            None if status == "active" else found.reason or "by hand",
            None if begins else found.failing_ms,
            found.id,
        ),
    )
    if status != found.status:
        yield from count(found.account_id, touched)
    changed = yield from view(owner_id, public_id)
    return changed


def rotate(owner_id: int, public_id: str, secret: str, old_until_ms: int, now_ms: int) -> Script[Hook]:
    """Give a hook a new secret; the old one signs too, until then. Raises NotFound."""
    found = yield from view(owner_id, public_id)
    old = [(each, old_until_ms if until is None else min(until, old_until_ms)) for each, until in found.secrets]
    kept = [(secret, None), *((each, until) for each, until in old if until > now_ms)][:SECRETS_MAX]
    yield "UPDATE hooks SET secrets = ? WHERE id = ?", (msgspec.json.encode(kept).decode(), found.id)
    changed = yield from view(owner_id, public_id)
    return changed


def remove(owner_id: int, public_id: str, touched: set[int]) -> Script[Hook]:
    """Remove a hook and all that was to go to it. Raises NotFound."""
    found = yield from view(owner_id, public_id)
    yield "DELETE FROM deliveries WHERE hook_id = ?", (found.id,)
    yield "DELETE FROM hooks WHERE id = ?", (found.id,)
    yield from count(found.account_id, touched)
    return found


def _key(owner_id: int, public_id: str) -> Script[int]:
    rows = yield (
        "SELECT a.id FROM accounts AS a JOIN accounts AS o ON o.id = ?"  # noqa: S608 - constants
        f" WHERE a.public_id = ? AND a.kind = 'key' AND {UNDER_OWNER}",
        (owner_id, public_id),
    )
    if not rows:
        raise NotFound(public_id)
    return int(rows[0][0])


def count(account_id: int, touched: set[int]) -> Script[None]:
    """Let the rules know whether anybody listens to an account: a new version makes every gateway read it anew."""
    touched.add(account_id)
    yield (
        "UPDATE accounts SET hooks = (SELECT COUNT(*) FROM hooks WHERE account_id = accounts.id AND status = 'active'),"
        " version = version + 1 WHERE id = ?",
        (account_id,),
    )


def shown(found: Hook) -> dict[str, Any]:
    """What is recorded of a hook: neither where it leads nor its secrets."""
    return {
        "kind": found.kind,
        "key_id": found.key_id,
        "events": found.events,
        "description": found.description,
        "status": found.status,
    }


def hook_of(row: Row) -> Hook:
    """A hook from its `COLUMNS`."""
    found = _HookRow._make(row)
    read = {
        "livemode": bool(found.livemode),
        "events": _decode_words(found.events),
        "secrets": _decode_secrets(found.secrets),
    }
    return Hook(**found._asdict() | read)
