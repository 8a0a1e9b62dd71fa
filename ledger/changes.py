"""Scripts that open, change and close accounts.

Like the looking, the changing finds nothing outside the caller's subtree.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from ledger import limits
from ledger.book import EVERY_ACCOUNT
from ledger.engine import NotDone, Script
from ledger.limits import WantedLimit
from ledger.lookup import chain, decode_profile, find, views_of
from ledger.outbox.alerts import Message, passed
from ledger.outbox.messages import heard, tell
from ledger.views import AccountView, Credential, Node, NotFound
from ledger.windows import Window

DEPTH_MAX = 8  # every hold walks the chain
SUBJECTS_MAX = 10_000_000  # end users and runs of one key, ever: a client that invents ids must not fill the disk


class Closed(NotDone):
    """The account is revoked, disabled or expired; `status` says which."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class TooDeep(NotDone):
    """The tree would get deeper than `DEPTH_MAX`."""


class TooManySubjects(NotDone):
    """The key has opened as many end users and runs as a key may."""


class Uncapped(NotDone):
    """The account has no spend cap that could be raised."""


class InUse(NotDone):
    """Some key is on the plan."""


class NewAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account to open.

    Attributes:
        balance_id: The public id of its balance, under which its spend cap is named too.
        cap_micros: Its spend cap; None for none; UNSET for the plan's.
        reset: The window in which the cap counts; UNSET for the plan's.
        limits: Its own further limits; None for the plan's.
        plan: Public id of a plan of the parent's.
        alert_at: At which percentages of its limits somebody is told; None for the plan's, or the default.
        stripe_customer_id: Whom Stripe knows it as.
    """

    public_id: str
    parent_id: int | None
    kind: str
    livemode: bool
    created_ms: int
    balance_id: str
    cap_micros: int | None | UnsetType = None
    reset: Window | UnsetType = "total"
    limits: tuple[WantedLimit, ...] | None = None
    expires_ms: int | None = None
    subject: str | None = None
    profile: dict[str, Any] = {}
    plan: str | None = None
    alert_at: tuple[int, ...] | None = None
    stripe_customer_id: str | None = None
    credential: Credential | None = None


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """Changes to an account. UNSET leaves a thing as it is."""

    disabled: bool | UnsetType = UNSET
    expires_ms: int | None | UnsetType = UNSET
    cap_micros: int | None | UnsetType = UNSET
    reset: Window | UnsetType = UNSET
    limits: tuple[WantedLimit, ...] | UnsetType = UNSET
    plan: str | None | UnsetType = UNSET
    alert_at: tuple[int, ...] | None | UnsetType = UNSET
    stripe_customer_id: str | None | UnsetType = UNSET
    profile: dict[str, Any] = {}  # put over the profile, entry by entry
    merge: tuple[str, ...] = ()  # entries of the profile that are themselves merged; there None removes


class Credit(msgspec.Struct, frozen=True, kw_only=True):
    """A raise of a spend cap; `until_ms` None lasts. It is recorded as the event `event_id`."""

    event_id: str
    amount_micros: int
    reason: str
    until_ms: int | None = None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def open_account(new: NewAccount) -> Script[AccountView]:
    """Open an account under its parent.

    Raises:
        NotFound: There is no such parent.
        Closed: The parent lets nothing through.
        TooDeep: The tree would get too deep.
    """
    parents: tuple[Node, ...] = ()
    if new.parent_id is not None:
        parents = yield from chain(new.parent_id)
        if not parents:
            raise NotFound(str(new.parent_id))
        if len(parents) >= DEPTH_MAX:
            raise TooDeep
        for parent in parents:
            if (status := parent.status(new.created_ms)) != "active":
                raise Closed(status)
    account_id = yield from _insert(new, parents)
    views = yield from views_of([account_id], new.created_ms)
    return views[0]


def open_first(new: NewAccount) -> Script[AccountView | None]:
    """Open the first account of all; None if there is one already."""
    rows = yield "SELECT 1 FROM accounts WHERE parent_id IS NULL LIMIT 1", ()
    if rows:
        return None
    account = yield from open_account(new)
    return account


def _insert(new: NewAccount, parents: tuple[Node, ...]) -> Script[int]:
    plan_id = None
    if new.plan is not None:
        plan_id = yield from _find_plan(parents[0].id, new.plan)
    cap_micros, window = yield from _cap(plan_id, None, None, new.cap_micros, new.reset)
    ((account_id,),) = yield (
        "INSERT INTO accounts (public_id, parent_id, path, kind, livemode, subject, expires_ms, profile, created_ms,"
        " plan_id, cap_micros, cap_window, own_limits, alert_at, stripe_customer_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " RETURNING id",
        (
            new.public_id,
            new.parent_id,
            new.public_id,
            new.kind,
            int(new.livemode),
            new.subject,
            new.expires_ms,
            _json(new.profile),
            new.created_ms,
            plan_id,
            cap_micros,
            window,
            int(new.limits is not None),
            limits.marks_text(new.alert_at),
            new.stripe_customer_id,
        ),
    )
    path = "/" + "/".join(str(id_) for id_ in (*reversed([parent.id for parent in parents]), account_id)) + "/"
    yield "UPDATE accounts SET path = ? WHERE id = ?", (path, account_id)
    balance = WantedLimit(public_id=new.balance_id, unit="micros", max=None, window="total")
    yield from limits.add(account_id, "total", balance, new.created_ms)
    for wanted in new.limits or ():
        yield from limits.add(account_id, "limit", wanted, new.created_ms)
    if new.credential is not None:
        yield from _add_credential(account_id, new.credential, new.created_ms)
    return int(account_id)


def _find_plan(owner_id: int, public_id: str) -> Script[int]:
    """A plan of the owner's or of one of its ancestors. Raises NotFound."""
    rows = yield (
        "SELECT plan.id FROM accounts AS plan JOIN accounts AS owner ON owner.id = ?"
        " WHERE plan.public_id = ? AND plan.kind = 'plan' AND plan.revoked_ms IS NULL"
        " AND owner.path LIKE (SELECT path FROM accounts WHERE id = plan.parent_id) || '%'",
        (owner_id, public_id),
    )
    if not rows:
        raise NotFound(public_id)
    return int(rows[0][0])


def _cap(
    plan_id: int | None,
    own_micros: int | None,
    own_window: Window | None,
    micros: int | None | UnsetType,
    window: Window | UnsetType,
) -> Script[tuple[int | None, Window | None]]:
    """An account's own cap and its window after this was said of them; (None, None) where both are the plan's.

    Saying one of them makes the cap the account's own; the other is taken over as it stands.
    """
    if micros is UNSET and window is UNSET:
        return own_micros, own_window
    if own_window is None:
        rows = yield "SELECT cap_micros, cap_window FROM accounts WHERE id = ?", (plan_id,)
        own_micros, own_window = rows[0] if rows else (None, "total")
    return own_micros if micros is UNSET else micros, own_window if window is UNSET else window


def open_subject(
    key_id: int,
    kind: str,
    subject: str,
    public_id: str,
    balance_id: str,
    now_ms: int,
    *,
    cap_micros: int | None = None,
    alert_at: tuple[int, ...] | None = None,
) -> Script[int]:
    """The end user's or run's account under a key, opened at first sight, with a cap of its own if one is given.

    Raises:
        NotFound: There is no such key.
        TooManySubjects: The key has `SUBJECTS_MAX` of them.
    """
    rows = yield (
        "SELECT id FROM accounts WHERE parent_id = ? AND kind = ? AND subject = ?",
        (key_id, kind, subject),
    )
    if rows:
        return int(rows[0][0])
    keys = yield from chain(key_id)
    if not keys:
        raise NotFound(str(key_id))
    ((count,),) = yield "UPDATE accounts SET subjects = subjects + 1 WHERE id = ? RETURNING subjects", (key_id,)
    if count > SUBJECTS_MAX:
        raise TooManySubjects
    account_id = yield from _insert(
        NewAccount(
            public_id=public_id,
            parent_id=key_id,
            kind=kind,
            livemode=keys[0].livemode,
            created_ms=now_ms,
            balance_id=balance_id,
            cap_micros=cap_micros,
            subject=subject,
            alert_at=alert_at,
        ),
        keys,
    )
    if kind == "end_user" and (yield from heard(key_id)):
        first = Message(type="end_user.first_seen", account_id=account_id, subject_id=account_id, data="{}")
        yield from tell((first,), now_ms)
    return account_id


def forget_subject(key_id: int, kind: str, subject: str, *, now_ms: int, touched: set[int]) -> Script[None]:
    """Forget who an end user is: the name and all that was kept of it go, the sums stay. Raises NotFound."""
    rows = yield (
        "SELECT id FROM accounts WHERE parent_id = ? AND kind = ? AND subject = ?",
        (key_id, kind, subject),
    )
    if not rows:
        raise NotFound(subject)
    account_id = int(rows[0][0])
    touched.add(account_id)
    yield (
        "UPDATE accounts SET subject = NULL, profile = '{}', stripe_customer_id = NULL, revoked_ms = ?,"
        " version = version + 1 WHERE id = ?",
        (now_ms, account_id),
    )


def edit(
    owner_id: int, public_id: str, changes: Edit, *, kind: str = "key", now_ms: int, touched: set[int]
) -> Script[AccountView]:
    """Change an account of the owner's subtree; in force on the next call. Raises NotFound."""
    account_id = yield from find(owner_id, public_id, kind)
    ((parent_id, disabled, expires_ms, profile_json, cap_micros, window, boosts, own_limits, plan_id),) = yield (
        "SELECT parent_id, disabled, expires_ms, profile, cap_micros, cap_window, boosts, own_limits, plan_id"
        " FROM accounts WHERE id = ?",
        (account_id,),
    )
    # A plan's members are not listed here: what a plan says is read anew for every account.
    touched.add(EVERY_ACCOUNT if kind == "plan" else account_id)
    if changes.disabled is not UNSET:
        disabled = int(changes.disabled)
        yield "UPDATE stripe_standings SET disabled = 0 WHERE account_id = ?", (account_id,)  # this is said by hand
    if changes.expires_ms is not UNSET:
        expires_ms = changes.expires_ms
    if changes.plan is not UNSET:
        yield "UPDATE accounts SET anchor_ms = NULL WHERE id = ?", (account_id,)  # that was another plan's
        plan_id = None
        if changes.plan is not None:
            plan_id = yield from _find_plan(parent_id, changes.plan)
    cap_micros, window = yield from _cap(plan_id, cap_micros, window, changes.cap_micros, changes.reset)
    if changes.cap_micros is not UNSET:
        boosts = "[]"  # the cap is what was said, not that and former credits
    if changes.limits is not UNSET:
        own_limits = 1
        yield from limits.replace(account_id, changes.limits, now_ms)
    profile = decode_profile(profile_json)
    for name, value in changes.profile.items():
        merged = name in changes.merge and isinstance(value, dict)
        profile[name] = {k: v for k, v in (profile.get(name, {}) | value).items() if v is not None} if merged else value
    yield (
        "UPDATE accounts SET disabled = ?, expires_ms = ?, profile = ?, cap_micros = ?, cap_window = ?, boosts = ?,"
        " own_limits = ?, plan_id = ?, version = version + 1 WHERE id = ?",
        (disabled, expires_ms, _json(profile), cap_micros, window, boosts, own_limits, plan_id, account_id),
    )
    if changes.alert_at is not UNSET:
        yield "UPDATE accounts SET alert_at = ? WHERE id = ?", (limits.marks_text(changes.alert_at), account_id)
    if changes.stripe_customer_id is not UNSET:
        yield (
            "UPDATE accounts SET stripe_customer_id = ? WHERE id = ?",
            (changes.stripe_customer_id, account_id),
        )
    account = yield from ring(account_id, now_ms)
    return account


def ring(account_id: int, now_ms: int) -> Script[AccountView]:
    """The account after a change, and told to whoever listens: marks of its limits that the change has passed."""
    (account,) = yield from views_of([account_id], now_ms)
    if account.kind != "plan" and (yield from heard(account_id)):
        yield from tell(passed(account), now_ms)
    return account


def credit(owner_id: int, public_id: str, new: Credit, *, now_ms: int, touched: set[int]) -> Script[AccountView]:
    """Raise an account's spend cap, for ever or until a moment, on the record.

    Raises:
        NotFound: There is no such account.
        Uncapped: It has no cap that could be raised.
    """
    account_id = yield from find(owner_id, public_id)
    touched.add(account_id)
    views = yield from views_of([account_id], now_ms)
    if views[0].cap.max is None:
        raise Uncapped
    account = yield from add_credit(account_id, new, now_ms)
    return account


def add_credit(account_id: int, new: Credit, now_ms: int) -> Script[AccountView]:
    """The account after a credit, whether it has a cap now or not; one below zero takes back from what there is."""
    ((boosts_json,),) = yield "SELECT boosts FROM accounts WHERE id = ?", (account_id,)
    boosts = [boost for boost in msgspec.json.decode(boosts_json) if boost[1] is None or boost[1] > now_ms]
    lasting = sum(amount for amount, until in boosts if until is None)
    if new.until_ms is None:
        lasting = max(lasting + new.amount_micros, 0)
    ending = [boost for boost in boosts if boost[1] is not None]
    if new.until_ms is not None:
        ending.append([new.amount_micros, new.until_ms])
    boosts = ([[lasting, None]] if lasting else []) + ending
    yield (
        "UPDATE accounts SET boosts = ?, version = version + 1 WHERE id = ?",
        (_json(boosts), account_id),
    )
    metadata = {"amount_micros": str(new.amount_micros), "reason": new.reason}
    if new.until_ms is not None:
        metadata["until_ms"] = str(new.until_ms)
    yield (
        "INSERT INTO events (id, account_id, created_ms, settled_ms, mode, provider, model, route, decision, reason,"
        " status, usage, cost_micros, cost_picos, price_micros, price_version, held_micros, stream, metadata, flags,"
        " legs) VALUES (?, ?, ?, ?, 'adjustment', '', '', 'credits', 'allowed', 'credit', 'settled', '{}', 0, 0, 0, '',"
        " 0, 0, ?, '[]', '[]')",
        (new.event_id, account_id, now_ms, now_ms, _json(metadata)),
    )
    account = yield from ring(account_id, now_ms)
    return account


def remove_plan(owner_id: int, public_id: str, *, now_ms: int, touched: set[int]) -> Script[AccountView]:
    """Remove a plan that no key is on.

    Raises:
        NotFound: There is no such plan.
        InUse: Some key is on it.
    """
    plan_id = yield from find(owner_id, public_id, "plan")
    rows = yield "SELECT 1 FROM accounts WHERE plan_id = ? AND revoked_ms IS NULL LIMIT 1", (plan_id,)
    if rows:
        raise InUse
    views = yield from views_of([plan_id], now_ms)
    yield "UPDATE accounts SET revoked_ms = ?, version = version + 1 WHERE id = ?", (now_ms, plan_id)
    yield "DELETE FROM stripe_terms WHERE plan_id = ?", (plan_id,)
    touched.add(plan_id)
    return views[0]


def revoke(owner_id: int, public_id: str, *, now_ms: int, touched: set[int]) -> Script[AccountView]:
    """Close an account for ever, and with it its subtree. Doing it again changes nothing. Raises NotFound."""
    account_id = yield from find(owner_id, public_id)
    touched.add(account_id)
    yield (
        "UPDATE accounts SET revoked_ms = ?, version = version + 1 WHERE id = ? AND revoked_ms IS NULL",
        (now_ms, account_id),
    )
    views = yield from views_of([account_id], now_ms)
    return views[0]


def rotate(
    owner_id: int, public_id: str, new: Credential, *, old_until_ms: int, now_ms: int, touched: set[int]
) -> Script[AccountView]:
    """Give an account a new secret; the old ones end at `old_until_ms` or before.

    Raises:
        NotFound: There is no such account.
        Closed: It has been revoked.
    """
    account_id = yield from find(owner_id, public_id)
    touched.add(account_id)
    ((revoked_ms,),) = yield "SELECT revoked_ms FROM accounts WHERE id = ?", (account_id,)
    if revoked_ms is not None:
        raise Closed("revoked")
    yield (
        "UPDATE credentials SET expires_ms = ? WHERE account_id = ? AND (expires_ms IS NULL OR expires_ms > ?)",
        (old_until_ms, account_id, old_until_ms),
    )
    yield from _add_credential(account_id, new, now_ms)
    yield "UPDATE accounts SET version = version + 1 WHERE id = ?", (account_id,)
    views = yield from views_of([account_id], now_ms)
    return views[0]


def _add_credential(account_id: int, new: Credential, now_ms: int) -> Script[None]:
    yield (
        "INSERT INTO credentials (account_id, locator, verifier, last4, created_ms, expires_ms)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (account_id, new.locator, new.verifier, new.last4, now_ms, new.expires_ms),
    )
