"""Finding accounts, looking at them and listing them. Scripts only.

Each takes the caller's own account as `owner_id` and finds nothing outside its subtree: what belongs to somebody else
is as if it did not exist. Knows nothing of what a profile or a verifier means.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ledger.book import DEFAULT_MARKS, Account, Limit, Match
from ledger.engine import Script
from ledger.rows import (
    UNDER_OWNER,
    AccountRow,
    account_of,
    chain_of,
    limits_by_account,
    marks,
    select_accounts,
    select_limits,
    sources_of_limits,
)
from ledger.views import PER_KINDS, AccountView, Credential, LimitView, Node, NotFound
from ledger.windows import window_span_ms

_NODE = (
    "id, public_id, kind, livemode, version, disabled, revoked_ms, expires_ms, profile, plan_id,"
    " cap_micros IS NOT NULL OR EXISTS (SELECT 1 FROM limits WHERE account_id = accounts.id AND unit = 'micros'"
    " AND max IS NOT NULL AND removed_ms IS NULL)"
)
_LIKE = str.maketrans({"%": "~%", "_": "~_", "~": "~~"})
_OF_STATUS: Mapping[str, Callable[[int], tuple[str, list[int]]]] = {
    "active": lambda now_ms: (
        "revoked_ms IS NULL AND disabled = 0 AND (expires_ms IS NULL OR expires_ms > ?)",
        [now_ms],
    ),
    "revoked": lambda now_ms: ("revoked_ms IS NOT NULL", []),
    "disabled": lambda now_ms: ("revoked_ms IS NULL AND disabled <> 0", []),
    "expired": lambda now_ms: ("revoked_ms IS NULL AND disabled = 0 AND expires_ms <= ?", [now_ms]),
}
decode_profile = msgspec.json.Decoder(dict[str, Any]).decode


class _NodeRow(NamedTuple):
    """What is read of an account for a `Node`: see `_NODE`."""

    id: int
    public_id: str
    kind: str
    livemode: int
    version: int
    disabled: int
    revoked_ms: int | None
    expires_ms: int | None
    profile: str
    plan_id: int | None
    capped: int


class _OwnRow(NamedTuple):
    """What only an account's own view shows of it."""

    id: int
    path: str
    parent_id: int | None
    subject: str | None
    created_ms: int
    stripe_customer_id: str | None
    anchor_ms: int | None


class _Books(NamedTuple):
    """Accounts with their ancestors, by id, and the moment at which they are looked at."""

    accounts: Mapping[int, Account]
    nodes: Mapping[int, Node]
    limits: Mapping[int, Sequence[LimitView]]
    marks: Mapping[int, tuple[int, ...]]
    now_ms: int


def _node(row: _NodeRow, plan: Node | None) -> Node:
    return Node(
        id=row.id,
        public_id=row.public_id,
        kind=row.kind,
        livemode=bool(row.livemode),
        version=row.version,
        disabled=bool(row.disabled),
        revoked_ms=row.revoked_ms,
        expires_ms=row.expires_ms,
        profile=decode_profile(row.profile),
        capped=bool(row.capped),
        plan=plan,
    )


def chain(account_id: int) -> Script[tuple[Node, ...]]:
    """The account and its ancestors, up to the root; empty if there is no such account."""
    rows = yield "SELECT path FROM accounts WHERE id = ?", (account_id,)
    if not rows:
        return ()
    ids = chain_of(rows[0][0])
    nodes = yield from _nodes(ids)
    return tuple(nodes[id_] for id_ in ids)


def customer(account_id: int) -> Script[str | None]:
    """The one Stripe customer of an account: its own, else the nearest ancestor's; None if none of them has one.

    Of a call this is asked of its end user's account, where it has one, else of its key's.
    """
    rows = yield "SELECT path FROM accounts WHERE id = ?", (account_id,)
    if not rows:
        return None
    ids = chain_of(rows[0][0])
    rows = yield (
        "SELECT id, stripe_customer_id FROM accounts"  # noqa: S608 - constants and marks
        f" WHERE id IN ({marks(ids)}) AND stripe_customer_id IS NOT NULL",
        ids,
    )
    found: dict[int, str] = dict(rows)
    return next((found[id_] for id_ in ids if id_ in found), None)


def _nodes(ids: Sequence[int]) -> Script[dict[int, Node]]:
    rows = yield from _node_rows(ids)
    plan_ids = sorted({row.plan_id for row in rows if row.plan_id is not None})
    plan_rows: list[_NodeRow] = []
    if plan_ids:
        plan_rows = yield from _node_rows(plan_ids)
    plans = {row.id: _node(row, None) for row in plan_rows}
    return {row.id: _node(row, None if row.plan_id is None else plans.get(row.plan_id)) for row in rows}


def _node_rows(ids: Sequence[int]) -> Script[list[_NodeRow]]:
    rows = yield f"SELECT {_NODE} FROM accounts WHERE id IN ({marks(ids)})", tuple(ids)  # noqa: S608 - constants, marks
    return list(map(_NodeRow._make, rows))


def credential(locator: str) -> Script[tuple[Credential, tuple[Node, ...]] | None]:
    """The credential with this locator and the chain of its account."""
    rows = yield (
        "SELECT locator, verifier, last4, expires_ms, id, account_id FROM credentials WHERE locator = ?",
        (locator,),
    )
    if not rows:
        return None
    locator, verifier, last4, expires_ms, credential_id, account_id = rows[0]
    nodes = yield from chain(account_id)
    return (
        Credential(
            locator=locator,
            verifier=verifier,
            last4=last4,
            expires_ms=expires_ms,
            id=credential_id,
            account_id=account_id,
        ),
        nodes,
    )


def find(owner_id: int, public_id: str, kind: str = "key") -> Script[int]:
    """The id of an account of this kind in the owner's subtree, the owner included.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    rows = yield (
        "SELECT a.id FROM accounts AS a JOIN accounts AS o ON o.id = ?"  # noqa: S608 - constants
        f" WHERE a.public_id = ? AND a.kind = ? AND {UNDER_OWNER}",
        (owner_id, public_id, kind),
    )
    if not rows:
        raise NotFound(public_id)
    (account_id,) = rows[0]
    return int(account_id)


def view(owner_id: int, public_id: str, now_ms: int, kind: str = "key") -> Script[AccountView]:
    """One account of the owner's subtree. Raises NotFound."""
    account_id = yield from find(owner_id, public_id, kind)
    views = yield from views_of([account_id], now_ms)
    return views[0]


def several(owner_id: int, public_ids: Sequence[str], now_ms: int) -> Script[list[AccountView]]:
    """Those of these keys that are in the owner's subtree."""
    rows = yield (
        "SELECT a.id FROM accounts AS a JOIN accounts AS o ON o.id = ?"  # noqa: S608 - constants and marks
        f" WHERE a.public_id IN ({marks(public_ids)}) AND a.kind = 'key' AND {UNDER_OWNER}",
        (owner_id, *public_ids),
    )
    views = yield from views_of([row[0] for row in rows], now_ms)
    return views


def subject_view(key_id: int, kind: str, subject: str, now_ms: int) -> Script[AccountView]:
    """A key's end user or run, by the key's own name for it. Raises NotFound."""
    rows = yield (
        "SELECT id FROM accounts WHERE parent_id = ? AND kind = ? AND subject = ?",
        (key_id, kind, subject),
    )
    if not rows:
        raise NotFound(subject)
    views = yield from views_of([rows[0][0]], now_ms)
    return views[0]


def find_subject(key_id: int, kind: str, subject: str) -> Script[int]:
    """The id of a key's end user or run; 0 if it has not been seen."""
    rows = yield "SELECT id FROM accounts WHERE parent_id = ? AND kind = ? AND subject = ?", (key_id, kind, subject)
    return int(rows[0][0]) if rows else 0


def list_accounts(
    owner_id: int,
    *,
    kind: str,
    limit: int,
    starting_after: str | None,
    livemode: bool | None,
    now_ms: int,
    search: str | None = None,
    status: str | None = None,
) -> Script[tuple[list[AccountView], bool]]:
    """A page of the keys or plans under the owner, newest first, and whether there are more. Raises NotFound.

    `search` is an id, or part of whatever was said of them, in any case; `status` is their own, not an ancestor's.
    """
    below = None
    if starting_after is not None:
        below = yield from find(owner_id, starting_after, kind)
    ((path, parent_id),) = yield "SELECT path, parent_id FROM accounts WHERE id = ?", (owner_id,)
    # Under a root nearly every key is a hit, so the newest ids are walked; under a team the subtree's range is.
    range_sql = "+path" if parent_id is None else "path"
    sql = f"SELECT id FROM accounts WHERE {range_sql} > ? AND {range_sql} < ? AND kind = ?"  # noqa: S608 - constants
    if kind == "plan":
        sql += " AND revoked_ms IS NULL"
    parameters: list[Any] = [path, path[:-1] + "0", kind]
    if below is not None:
        sql += " AND id < ?"
        parameters.append(below)
    if livemode is not None:
        sql += " AND livemode = ?"
        parameters.append(int(livemode))
    if search is not None:
        said = msgspec.json.encode(search.lower())[1:-1].decode().translate(_LIKE)
        sql += " AND (public_id = ? OR subject = ? OR lower(profile) LIKE ? ESCAPE '~')"
        parameters += [search, search, f"%{said}%"]
    if status is not None:
        condition, values = _OF_STATUS[status](now_ms)
        sql += f" AND {condition}"
        parameters += values
    rows = yield f"{sql} ORDER BY id DESC LIMIT ?", (*parameters, limit + 1)
    ids = [row[0] for row in rows]
    views = yield from views_of(ids[:limit], now_ms)
    return views, len(ids) > limit


def views_of(account_ids: list[int], now_ms: int) -> Script[list[AccountView]]:
    """The accounts in the order of their ids, with limits, counters and what their ancestors leave them."""
    if not account_ids:
        return []
    rows = yield (
        "SELECT id, path, parent_id, subject, created_ms, stripe_customer_id, anchor_ms FROM accounts"  # noqa: S608 - constants and marks
        f" WHERE id IN ({marks(account_ids)})",
        tuple(account_ids),
    )
    own = {row.id: row for row in map(_OwnRow._make, rows)}
    ancestors = sorted({id_ for row in own.values() for id_ in chain_of(row.path)})
    nodes = yield from _nodes(ancestors)
    rows = yield select_accounts(ancestors)
    account_rows = list(map(AccountRow._make, rows))
    limit_rows = yield select_limits(sources_of_limits(account_rows))
    limits_of = limits_by_account(limit_rows)
    accounts = {row.id: account_of(row, limits_of) for row in account_rows}
    shown = {id_: (*account.limits, *_defaults(account, accounts)) for id_, account in accounts.items()}
    marks_of = {id_: _marks(account, accounts) for id_, account in accounts.items()}
    limits = yield from _limit_views(shown, marks_of, now_ms)
    rows = yield (
        "SELECT account_id, last4 FROM credentials WHERE id IN (SELECT max(id) FROM credentials"  # noqa: S608
        f" WHERE account_id IN ({marks(account_ids)}) GROUP BY account_id)",
        tuple(account_ids),
    )
    last4: dict[int, str] = dict(rows)
    books = _Books(accounts, nodes, limits, marks_of, now_ms)
    return [_view(own[id_], books, last4.get(id_)) for id_ in account_ids]


def _view(row: _OwnRow, books: _Books, last4: str | None) -> AccountView:
    account, node = books.accounts[row.id], books.nodes[row.id]
    line = [books.nodes[id_] for id_ in account.chain]
    statuses = [each.status(books.now_ms) for each in line]
    money = [
        (limit, limit.max)
        for each in line
        if each.livemode == node.livemode
        for limit in books.limits[each.id]
        if limit.max is not None and limit.of_all_money
    ]
    return AccountView(
        id=row.id,
        public_id=account.public_id,
        parent_id=row.parent_id,
        parent_public_id=books.nodes[row.parent_id].public_id if row.parent_id is not None else None,
        chain=account.chain,
        kind=account.kind,
        livemode=account.livemode,
        subject=row.subject,
        status=next((status for status in statuses if status != "active"), "active"),
        disabled=account.disabled,
        revoked_ms=account.revoked_ms,
        expires_ms=account.expires_ms,
        profile=node.profile,
        plan=node.plan,
        spent_micros=account.spent_micros,
        overrun_micros=account.overrun_micros,
        last4=last4,
        created_ms=row.created_ms,
        last_used_ms=account.last_used_ms,
        limits=tuple(books.limits[row.id]),
        alert_at=books.marks[row.id],
        remaining_micros=min(
            (max(most - limit.used - limit.held - limit.unsettled, 0) for limit, most in money), default=None
        ),
        ceiling_micros=min((most for limit, most in money if limit.role != "limit"), default=None),
        end_ms=min((each.expires_ms for each in line if each.expires_ms is not None), default=None),
        anchor_ms=row.anchor_ms,
        stripe_customer_id=row.stripe_customer_id,
    )


def _defaults(account: Account, accounts: Mapping[int, Account]) -> Iterator[Limit]:
    """The limits that an end user or a run has because its key or an ancestor gives them to each."""
    if account.kind not in PER_KINDS:
        return
    for owner in (accounts[id_] for id_ in account.chain[1:]):
        for limit in owner.limits if owner.livemode == account.livemode else ():
            replaced = account.own_cap and owner.id == account.chain[1] and limit.is_default_cap
            if limit.per == account.kind and not replaced:
                marks = limit.alert_at if limit.alert_at is not None else _marks(owner, accounts)
                yield msgspec.structs.replace(limit, subject_id=account.id, alert_at=marks)


def _marks(account: Account, accounts: Mapping[int, Account]) -> tuple[int, ...]:
    """At which percentages somebody is told of an account's limits: its own, its plan's, or its key's."""
    found = account.alert_at
    if found is None and account.kind in PER_KINDS:
        found = accounts[account.chain[1]].alert_at
    return DEFAULT_MARKS if found is None else found


def _limit_views(
    limits_of: Mapping[int, Collection[Limit]], marks_of: Mapping[int, tuple[int, ...]], now_ms: int
) -> Script[dict[int, list[LimitView]]]:
    spans = {
        (id_, limit.id, limit.role): window_span_ms(now_ms, limit.window, limit.timezone, limit.anchor_ms)
        for id_, limits in limits_of.items()
        for limit in limits
    }
    if not spans:
        return {}
    keys = {
        (limit.id, limit.subject_id, spans[id_, limit.id, limit.role][0])
        for id_, limits in limits_of.items()
        for limit in limits
    }
    # One row of VALUES says what all of them are: PostgreSQL takes a bare parameter for text.
    triples = ", ".join(("(CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT))", *["(?, ?, ?)"] * (len(keys) - 1)))
    rows = yield (
        "SELECT limit_id, subject_id, window_start_ms, used, held, unsettled FROM counters"  # noqa: S608 - marks
        f" WHERE (limit_id, subject_id, window_start_ms) IN (VALUES {triples})",
        tuple(part for key in sorted(keys) for part in key),
    )
    counters = {row[:3]: row[3:] for row in rows}
    views: dict[int, list[LimitView]] = {}
    for id_, limits in limits_of.items():
        views[id_] = []
        for limit in limits:
            start_ms, end_ms = spans[id_, limit.id, limit.role]
            used, held, unsettled = counters.get((limit.id, limit.subject_id, start_ms), (0, 0, 0))
            views[id_].append(
                LimitView(
                    public_id=limit.public_id,
                    role=limit.role,
                    unit=limit.unit,
                    max=limit.max_at(now_ms),
                    window=limit.window,
                    timezone=limit.timezone,
                    anchor_ms=limit.anchor_ms,
                    match=limit.match or Match(),
                    per=limit.per,
                    action=limit.action,
                    used=used,
                    held=held,
                    unsettled=unsettled,
                    window_start_ms=start_ms,
                    resets_at_ms=end_ms,
                    own=limit.subject_id <= 0,
                    id=limit.id,
                    subject_id=limit.subject_id,
                    alert_at=marks_of[id_] if limit.alert_at is None else limit.alert_at,
                )
            )
    return views


def first_root() -> Script[int | None]:
    """The id of the first account, if there is one."""
    rows = yield "SELECT id FROM accounts WHERE parent_id IS NULL ORDER BY id LIMIT 1", ()
    return rows[0][0] if rows else None
