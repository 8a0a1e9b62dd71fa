"""Accounts get what their customer's subscriptions come to: plan, windows, or the loss of them. Scripts only.

What is decided is written in the transaction of what it was decided upon; every change is on the record, by `stripe`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ledger import history, settings
from ledger.billing import terms
from ledger.billing.deciding import Course, Offer, Standing, courses, decided, entitled, next_due_ms
from ledger.billing.records import State, Subscription
from ledger.changes import ring
from ledger.engine import Script
from ledger.lookup import views_of
from ledger.outbox import messages
from ledger.replays import Origin
from ledger.views import AccountView

STATES_MAX = 5_000  # of one customer's subscriptions, the newest: a year of one has some thirty
UNMAPPED = "stripe.unmapped_price"
PRICE = "stripe_price:"
"""What begins the names of settings that remember which prices were said to be no plan's."""

_decode = msgspec.json.Decoder(Subscription).decode


def stripe(because: str | None) -> Origin:
    """Who makes a change: Stripe, by an event."""
    return Origin(account_id=0, actor="stripe", request_id=because)


def settle(customer_id: str, now_ms: int, grace_ms: int, touched: set[int]) -> Script[None]:
    """Give every account of a customer what its subscriptions come to now, and look again when that ends."""
    found = yield from _courses(customer_id)
    yield (
        "INSERT INTO stripe_customers (id, due_ms) VALUES (?, ?)"
        " ON CONFLICT (id) DO UPDATE SET due_ms = excluded.due_ms",
        (customer_id, next_due_ms(found, now_ms, grace_ms)),
    )
    if not found:
        return
    yield from _tell_unmapped(found, now_ms, grace_ms)
    rows = yield (
        "SELECT id FROM accounts WHERE stripe_customer_id = ? AND revoked_ms IS NULL ORDER BY id",
        (customer_id,),
    )
    views = yield from views_of([row[0] for row in rows], now_ms)
    for view in views:
        rows = yield "SELECT subscription_id, disabled FROM stripe_standings WHERE account_id = ?", (view.id,)
        source, is_off = rows[0] if rows else (None, 0)
        offer: Offer = yield from terms.offer(view.chain[1:])
        standing = decided(found, offer, source, now_ms, grace_ms)
        if standing is not None:
            yield from _give(view, standing, bool(is_off), now_ms, touched)


def _courses(customer_id: str) -> Script[tuple[Course, ...]]:
    rows = yield (
        "SELECT id, type, created_s, facts FROM stripe_events"
        " WHERE customer_id = ? AND facts IS NOT NULL ORDER BY created_s DESC, id LIMIT ?",
        (customer_id, STATES_MAX),
    )
    return courses(
        State(event_id=id_, type=type_, created_s=created_s, subscription=_decode(facts))
        for id_, type_, created_s, facts in rows
    )


def _give(before: AccountView, standing: Standing, is_off: bool, now_ms: int, touched: set[int]) -> Script[None]:
    """Put an account on what it has now. Who was disabled by hand stays so."""
    yield (
        "INSERT INTO stripe_standings (account_id, subscription_id, disabled) VALUES (?, ?, ?)"
        " ON CONFLICT (account_id) DO UPDATE SET subscription_id = excluded.subscription_id,"
        " disabled = excluded.disabled",
        (before.id, standing.subscription_id, int(standing.disabled and (is_off or not before.disabled))),
    )
    plan_id = standing.plan_id or (None if before.plan is None else before.plan.id)
    disabled = standing.disabled or (before.disabled and not is_off)
    was = (None if before.plan is None else before.plan.id, before.anchor_ms, before.disabled)
    if was == (plan_id, standing.anchor_ms, disabled):
        return
    touched.add(before.id)
    yield (
        "UPDATE accounts SET plan_id = ?, anchor_ms = ?, disabled = ?, version = version + 1,"
        " cap_window = CASE WHEN kind = 'end_user' AND cap_micros IS NULL THEN NULL ELSE cap_window END WHERE id = ?",
        (plan_id, standing.anchor_ms, int(disabled), before.id),
    )
    after = yield from ring(before.id, now_ms)
    yield from history.of_account("updated", before, after, stripe(standing.because), now_ms)


def _tell_unmapped(found: tuple[Course, ...], now_ms: int, grace_ms: int) -> Script[None]:
    """Tell the operator of prices that are paid for and belong to no plan: once each, until they do."""
    for course in found:
        items = course.now.items
        if not items or not entitled(course, now_ms, grace_ms):
            continue
        mapped = False
        for item in items:
            mapped = mapped or (yield from terms.is_sold(item))
        name = f"{PRICE}{items[0].price_id}"
        if mapped:
            yield "DELETE FROM settings WHERE name = ?", (name,)
            continue
        facts: dict[str, Any] = {"price": items[0].price_id, "product": items[0].product_id}
        about = facts | {"subscription": course.now.id, "customer": course.now.customer_id}
        yield from messages.turned(name, UNMAPPED, about, now_ms)


def unmapped() -> Script[list[str]]:
    """Prices that somebody pays for and that belong to no plan."""
    found = yield from settings.names(PRICE, UNMAPPED)
    return found


def any_due(now_ms: int) -> Script[bool]:
    """Whether some customer must be looked at."""
    rows = yield "SELECT 1 FROM stripe_customers WHERE due_ms <= ? LIMIT 1", (now_ms,)
    return bool(rows)


def settle_due(limit: int, now_ms: int, grace_ms: int, touched: set[int]) -> Script[int]:
    """Look at customers whose time has come; how many there were."""
    rows = yield "SELECT id FROM stripe_customers WHERE due_ms <= ? ORDER BY due_ms, id LIMIT ?", (now_ms, limit)
    for (customer_id,) in rows:
        yield from settle(customer_id, now_ms, grace_ms, touched)
    return len(rows)
