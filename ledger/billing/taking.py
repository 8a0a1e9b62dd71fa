"""An event of Stripe's is written down once, and does what it says in the same transaction. Scripts only."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ledger.billing import links, purchases, standing
from ledger.billing.purchases import NewId
from ledger.billing.records import FETCHED, Happening, Link, Payment, Purchase, Reversal, Subscription
from ledger.engine import Script

FETCH_LEASE_MS = 60_000  # then another gateway looks an object up that the first one did not
FETCH_LAST_MS = 3_600_000  # between two tries, at most


class Fetch(NamedTuple):
    """An object to be looked up. `due_ms` is what says whether it was asked for again meanwhile."""

    object_id: str
    due_ms: int
    tries: int


def take(
    event: Happening, new_id: NewId, now_ms: int, grace_ms: int, touched: set[int], *, fetch: bool
) -> Script[bool]:
    """Write an event down and do what it says; False if it was here before. `fetch`: its object is to be looked up."""
    subscription = next((each for each in event.facts if isinstance(each, Subscription)), None)
    rows = yield (
        "INSERT INTO stripe_events (id, type, object_id, customer_id, created_s, received_ms, facts)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING RETURNING id",
        (
            event.id,
            event.type,
            event.object_id,
            None if subscription is None else subscription.customer_id,
            event.created_s,
            now_ms,
            None if subscription is None else msgspec.json.encode(subscription).decode(),
        ),
    )
    if not rows:
        return False
    yield from _do(event, new_id, now_ms, grace_ms, touched)
    if fetch:
        yield (
            "INSERT INTO stripe_fetches (object_id, due_ms, tries) VALUES (?, ?, 0)"
            " ON CONFLICT (object_id) DO UPDATE SET due_ms = excluded.due_ms, tries = 0",
            (event.object_id, now_ms),
        )
    return True


def _do(event: Happening, new_id: NewId, now_ms: int, grace_ms: int, touched: set[int]) -> Script[None]:
    for fact in event.facts:
        match fact:
            case Subscription():
                yield from standing.settle(fact.customer_id, now_ms, grace_ms, touched)
            case Link():
                yield from links.link(fact, event.id, new_id, now_ms, grace_ms, touched)
            case Purchase():
                account_id = None
                if fact.reference is not None:
                    account_id = yield from links.account_of(fact.reference, new_id, now_ms)
                account_id = account_id or (yield from links.oldest_of(fact.customer_id))
                yield from purchases.bought(fact, account_id, event.id, now_ms, touched)
            case Payment():
                yield from purchases.paid(fact, event.id, now_ms, touched)
            case Reversal():
                yield from purchases.went_back(fact, event.id, now_ms, touched)


def fetched(found: Happening, new_id: NewId, now_ms: int, grace_ms: int, touched: set[int]) -> Script[None]:
    """An object was looked up, at `created_s` of our clock: it is as it is, whatever was told of it until then."""
    subscription = next((each for each in found.facts if isinstance(each, Subscription)), None)
    if subscription is None:
        yield from _do(found, new_id, now_ms, grace_ms, touched)
        return
    ((last_s, number),) = yield (
        "SELECT COALESCE(MAX(created_s), 0), COUNT(*) FROM stripe_events WHERE object_id = ?",
        (found.object_id,),
    )
    state = msgspec.structs.replace(
        found,
        id=f"{FETCHED}:{found.object_id}:{number:08d}",
        type=FETCHED,
        created_s=max(found.created_s, last_s),
    )
    yield from take(state, new_id, now_ms, grace_ms, touched, fetch=False)


def claim_fetches(limit: int, now_ms: int) -> Script[list[Fetch]]:
    """Objects that are to be looked up, which are ours for a while."""
    rows = yield (
        "SELECT object_id, tries FROM stripe_fetches WHERE due_ms <= ? ORDER BY due_ms LIMIT ?",
        (now_ms, limit),
    )
    lease_ms = now_ms + FETCH_LEASE_MS
    for object_id, _ in rows:
        yield (
            "UPDATE stripe_fetches SET due_ms = ?, tries = tries + 1 WHERE object_id = ?",
            (lease_ms, object_id),
        )
    return [Fetch(object_id, lease_ms, tries + 1) for object_id, tries in rows]


def any_fetch(now_ms: int) -> Script[bool]:
    """Whether an object is to be looked up."""
    rows = yield "SELECT 1 FROM stripe_fetches WHERE due_ms <= ? LIMIT 1", (now_ms,)
    return bool(rows)


def end_fetch(fetch: Fetch) -> Script[None]:
    """An object was looked up; one that was asked for again meanwhile stays to be."""
    yield "DELETE FROM stripe_fetches WHERE object_id = ? AND due_ms = ?", (fetch.object_id, fetch.due_ms)


def put_off(fetch: Fetch, now_ms: int) -> Script[None]:
    """An object could not be looked up: again later, and later each time."""
    wait_ms = min(1_000 * 2 ** min(fetch.tries, 12), FETCH_LAST_MS)
    yield (
        "UPDATE stripe_fetches SET due_ms = ? WHERE object_id = ? AND due_ms = ?",
        (now_ms + wait_ms, fetch.object_id, fetch.due_ms),
    )
