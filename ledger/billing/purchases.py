"""What was paid at once becomes a credit, once; what went back takes it back. Scripts only.

A purchase, the payments that paid it and what of them went back are kept apart, each as it is told: whatever comes
first, a credit is in the end what was paid less what went back.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from ledger import history
from ledger.billing.records import Payment, Purchase, Reversal
from ledger.billing.standing import stripe
from ledger.changes import Credit, add_credit
from ledger.engine import Script
from ledger.lookup import first_root, views_of

MICROS_PER_CENT = 10_000
NewId = Callable[[str], str]


def bought(purchase: Purchase, account_id: int | None, event_id: str, now_ms: int, touched: set[int]) -> Script[None]:
    """A purchase was paid: its credit, or the reason why it gives none, on the record. A second time it is nothing."""
    rows = yield (
        "INSERT INTO stripe_credits (id, customer_id, account_id, amount_micros, refusal, created_ms)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING RETURNING id",
        (
            purchase.id,
            purchase.customer_id,
            account_id,
            0 if purchase.refusal else purchase.amount * MICROS_PER_CENT,
            purchase.refusal,
            now_ms,
        ),
    )
    for payment_id in purchase.payment_ids:
        yield from paid(Payment(payment_id=payment_id, purchase_id=purchase.id), event_id, now_ms, touched)
    if not rows:
        return
    reason = purchase.refusal or ("no_account" if account_id is None else None)
    if reason is not None:
        about = account_id or (yield from first_root())
        if about is not None:
            told = {"reason": reason, "amount": purchase.amount, "currency": purchase.currency}
            told |= {"customer": purchase.customer_id}
            yield from history.record("credits.refused", about, purchase.id, None, told, stripe(event_id), now_ms)
    yield from _balance(purchase.id, event_id, now_ms, touched)


def claim(customer_id: str, account_id: int, event_id: str | None, now_ms: int, touched: set[int]) -> Script[None]:
    """Give an account the credits that its customer has paid while nobody knew whose he is."""
    rows = yield (
        "UPDATE stripe_credits SET account_id = ? WHERE customer_id = ? AND account_id IS NULL RETURNING id",
        (account_id, customer_id),
    )
    for (id_,) in sorted(rows):
        yield from _balance(id_, event_id, now_ms, touched)


def paid(payment: Payment, event_id: str, now_ms: int, touched: set[int]) -> Script[None]:
    """It is known now which payment has paid a purchase."""
    yield (
        "INSERT INTO stripe_payments (id, purchase_id) VALUES (?, ?) ON CONFLICT (id, purchase_id) DO NOTHING",
        (payment.payment_id, payment.purchase_id),
    )
    yield from _balance(payment.purchase_id, event_id, now_ms, touched)


def went_back(reversal: Reversal, event_id: str, now_ms: int, touched: set[int]) -> Script[None]:
    """So much of a payment went back. What is told of a charge only grows; a dispute that was lifted stays so."""
    yield (
        "INSERT INTO stripe_reversals (id, payment_id, purchase_id, amount_micros, lifted) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET"
        " payment_id = COALESCE(stripe_reversals.payment_id, excluded.payment_id),"
        " purchase_id = COALESCE(stripe_reversals.purchase_id, excluded.purchase_id),"
        " amount_micros = CASE WHEN excluded.amount_micros > stripe_reversals.amount_micros"
        " THEN excluded.amount_micros ELSE stripe_reversals.amount_micros END,"
        " lifted = CASE WHEN excluded.lifted > stripe_reversals.lifted THEN 1 ELSE stripe_reversals.lifted END",
        (
            reversal.id,
            reversal.payment_id,
            reversal.purchase_id,
            reversal.amount * MICROS_PER_CENT,
            int(reversal.lifted),
        ),
    )
    rows = yield "SELECT purchase_id FROM stripe_payments WHERE id = ?", (reversal.payment_id,)
    for id_ in sorted({row[0] for row in rows} | ({reversal.purchase_id} if reversal.purchase_id else set())):
        yield from _balance(id_, event_id, now_ms, touched)


def _balance(purchase_id: str, event_id: str | None, now_ms: int, touched: set[int]) -> Script[None]:
    """Bring what an account was given for a purchase to what it is to have for it."""
    rows = yield (
        "SELECT account_id, amount_micros, given_micros FROM stripe_credits WHERE id = ?",
        (purchase_id,),
    )
    if not rows or rows[0][0] is None:
        return
    account_id, amount_micros, given_micros = rows[0]
    ((back_micros,),) = yield (
        "SELECT COALESCE(CAST(SUM(amount_micros) AS BIGINT), 0) FROM stripe_reversals WHERE lifted = 0 AND"
        " (purchase_id = ? OR payment_id IN (SELECT id FROM stripe_payments WHERE purchase_id = ?))",
        (purchase_id, purchase_id),
    )
    change_micros = max(amount_micros - back_micros, 0) - given_micros
    if not change_micros:
        return
    yield (
        "UPDATE stripe_credits SET given_micros = given_micros + ? WHERE id = ?",
        (change_micros, purchase_id),
    )
    touched.add(account_id)
    (before,) = yield from views_of([account_id], now_ms)
    new = Credit(
        event_id=f"{now_ms:012x}{secrets.token_hex(7)}",
        amount_micros=change_micros,
        reason=f"{'paid' if change_micros > 0 else 'went back'}: {purchase_id}",
    )
    after = yield from add_credit(account_id, new, now_ms)
    said = {"amount_micros": new.amount_micros, "reason": new.reason, "purchase": purchase_id}
    type_ = "credits.added" if change_micros > 0 else "credits.taken_back"
    yield from history.of_account(type_, before, after, stripe(event_id), now_ms, **said)
