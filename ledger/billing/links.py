"""Whom a customer of Stripe's is here: by what the API was told, or a checkout. Scripts only."""

from __future__ import annotations

from ledger import history
from ledger.billing import purchases, standing
from ledger.billing.purchases import NewId
from ledger.billing.records import Link, Reference
from ledger.billing.standing import stripe
from ledger.changes import open_subject
from ledger.engine import Script
from ledger.lookup import views_of
from ledger.views import AccountView


def account_of(reference: Reference, new_id: NewId, now_ms: int) -> Script[int | None]:
    """The account that a checkout names; an end user of a key is opened. None for nobody, or for more than one."""
    for key_id in (reference.key_id,) if reference.key_id is not None else (reference.text,):
        rows = yield (
            "SELECT id FROM accounts WHERE public_id = ? AND kind = 'key' AND revoked_ms IS NULL",
            (key_id or "",),
        )
        if rows and reference.end_user is None:
            return int(rows[0][0])
        if rows and reference.end_user is not None:
            subject = yield from open_subject(
                rows[0][0], "end_user", reference.end_user, new_id("eu"), new_id("lim"), now_ms
            )
            return subject
    if reference.key_id is not None or not reference.text:
        return None
    rows = yield (
        "SELECT id FROM accounts WHERE kind = 'end_user' AND subject = ? AND revoked_ms IS NULL LIMIT 2",
        (reference.text,),
    )
    return int(rows[0][0]) if len(rows) == 1 else None


def oldest_of(customer_id: str | None) -> Script[int | None]:
    """The account to which what a customer pays goes, where no checkout says more: the oldest of his."""
    rows = yield (
        "SELECT id FROM accounts WHERE stripe_customer_id = ? AND revoked_ms IS NULL ORDER BY id LIMIT 1",
        (customer_id or "",),
    )
    return int(rows[0][0]) if rows else None


def link(said: Link, event_id: str, new_id: NewId, now_ms: int, grace_ms: int, touched: set[int]) -> Script[None]:
    """Take a customer for the account that a checkout names.

    What stands in a payment link's address may be anybody's word: it takes nobody's account from a customer who pays
    for it. What the operator's own program has said in `metadata` does.
    """
    account_id = yield from account_of(said.reference, new_id, now_ms)
    if account_id is None:
        return
    (before,) = yield from views_of([account_id], now_ms)
    if before.stripe_customer_id == said.customer_id:
        return
    if said.reference.key_id is None and before.stripe_customer_id is not None and (yield from _pays(before.id)):
        told = {"customer": said.customer_id, "kept": before.stripe_customer_id}
        yield from history.record(
            "stripe.link_refused", before.id, before.public_id, None, told, stripe(event_id), now_ms
        )
        return
    touched.add(account_id)
    yield (
        "UPDATE accounts SET stripe_customer_id = ?, version = version + 1 WHERE id = ?",
        (said.customer_id, account_id),
    )
    (after,) = yield from views_of([account_id], now_ms)
    yield from history.of_account("updated", before, after, stripe(event_id), now_ms)
    yield from adopt(after, event_id, now_ms, grace_ms, touched)


def _pays(account_id: int) -> Script[bool]:
    """Whether an account has its plan by a subscription."""
    rows = yield (
        "SELECT 1 FROM stripe_standings WHERE account_id = ? AND subscription_id IS NOT NULL",
        (account_id,),
    )
    return bool(rows)


def adopt(
    account: AccountView, event_id: str | None, now_ms: int, grace_ms: int, touched: set[int]
) -> Script[AccountView]:
    """An account has a customer now: it gets what he has paid for."""
    if account.stripe_customer_id is None:
        return account
    yield from standing.settle(account.stripe_customer_id, now_ms, grace_ms, touched)
    yield from purchases.claim(account.stripe_customer_id, account.id, event_id, now_ms, touched)
    (found,) = yield from views_of([account.id], now_ms)
    return found
