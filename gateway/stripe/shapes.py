"""What Stripe's objects say, read from their JSON as it was before 2025-03-31 and as it has been since. Pure.

An endpoint's payloads have the shape of the version that it was made with, so both must be read. What is looked for
first stands where it is now: a period on the subscription's item, an invoice's subscription under its `parent`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ledger.billing.records import (
    FETCHED,
    Fact,
    Happening,
    Item,
    Link,
    Payment,
    Purchase,
    Reference,
    Reversal,
    Subscription,
)

Json = dict[str, Any]

USED = (
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.refunded",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.updated",
    "invoice.paid",
    "invoice_payment.paid",
)
"""Types of events that say something to us; of all others nothing is kept."""

SECONDS_MAX = 253_402_300_799  # the end of the year 9999
AMOUNT_MAX = 10**12  # in cents; Stripe's own bound is far below
ITEMS_MAX = 100
_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_LIFTED = frozenset(("won", "warning_closed"))


class Malformed(ValueError):
    """It is no object of Stripe's; the message names what is wrong with it."""


def read(event: Json) -> Happening | None:
    """What an event says; None if it is none that is used. Raises Malformed."""
    type_ = event.get("type")
    if not isinstance(type_, str):
        raise Malformed("type must be a text")
    if type_ not in USED:
        return None
    data = event.get("data")
    found = data.get("object") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(found, dict):
        raise Malformed("data.object must be an object")
    before = data.get("previous_attributes")
    return Happening(
        id=_id(event, "id"),
        type=type_,
        created_s=_seconds(event, "created"),
        object_id=_id(found, "id"),
        facts=tuple(_facts(found, before if isinstance(before, dict) else {})),
    )


def looked_up(found: Json, now_s: int, more: tuple[Fact, ...] = ()) -> Happening:
    """What an object says that was looked up. Raises Malformed."""
    id_ = _id(found, "id")
    return Happening(id=id_, type=FETCHED, created_s=now_s, object_id=id_, facts=(*_facts(found, {}), *more))


def payments(found: Json) -> Iterator[Payment]:
    """Which invoices were paid, of a list of `invoice_payment`."""
    for each in found.get("data") or ():
        if isinstance(each, dict):
            yield from _payment(each, {})


def _facts(found: Json, before: Json) -> Iterator[Fact]:
    reader = _READERS.get(str(found.get("object")))
    if reader is None:
        raise Malformed("data.object.object is none that the event is about")
    return reader(found, before)


def _subscription(found: Json, before: Json) -> Iterator[Fact]:
    items = found.get("items")
    rows = items.get("data") if isinstance(items, dict) else None
    yield Subscription(
        id=_id(found, "id"),
        customer_id=_id(found, "customer"),
        status=_text(found, "status") or "",
        created_s=_seconds(found, "created"),
        items=tuple(
            _item(each, found)
            for each in (rows if isinstance(rows, list) else ())[:ITEMS_MAX]
            if isinstance(each, dict)
        ),
        was_status=_text(before, "status"),
        cycle_anchor_s=_seconds_or_none(found, "billing_cycle_anchor"),
    )


def _item(item: Json, subscription: Json) -> Item:
    price = item.get("price") or item.get("plan")
    if not isinstance(price, dict):
        raise Malformed("items.data[].price must be an object")
    start_s = _seconds_or_none(item, "current_period_start")
    return Item(
        price_id=_id(price, "id"),
        lookup_key=_text(price, "lookup_key"),
        product_id=_id_or_none(price, "product"),
        period_start_s=_seconds_or_none(subscription, "current_period_start") if start_s is None else start_s,
    )


def _session(found: Json, before: Json) -> Iterator[Fact]:
    reference = _reference(found, _text(found, "client_reference_id"))
    customer_id = _id_or_none(found, "customer")
    if reference is not None and customer_id is not None:
        yield Link(reference=reference, customer_id=customer_id)
    amount = _amount(found, "amount_total")
    if found.get("mode") == "payment" and found.get("payment_status") == "paid" and amount:
        yield _purchase(found, _id_or_none(found, "invoice") or _id(found, "id"), amount, None, reference)


def _invoice(found: Json, before: Json) -> Iterator[Fact]:
    amount = _amount(found, "amount_paid")
    if found.get("status") in (None, "paid") and amount:
        refusal = "subscription" if _of_subscription(found) else None
        yield _purchase(found, _id(found, "id"), amount, refusal, _reference(found, None))


def _of_subscription(invoice: Json) -> bool:
    parent = invoice.get("parent")
    details = parent.get("subscription_details") if isinstance(parent, dict) else None
    reason = _text(invoice, "billing_reason") or ""
    return bool(details or invoice.get("subscription") or reason.startswith("subscription"))


def _purchase(found: Json, id_: str, amount: int, refusal: str | None, reference: Reference | None) -> Purchase:
    currency = (_text(found, "currency") or "").lower()
    listed = found.get("payments")
    paid = [payment for each in payments(listed) for payment in (each.payment_id,)] if isinstance(listed, dict) else []
    intent = _id_or_none(found, "payment_intent")
    return Purchase(
        id=id_,
        customer_id=_id_or_none(found, "customer"),
        amount=amount,
        currency=currency,
        refusal=refusal or (None if currency == "usd" else "currency"),
        reference=reference,
        payment_ids=tuple(dict.fromkeys([*([intent] if intent else []), *paid])),
    )


def _payment(found: Json, before: Json) -> Iterator[Payment]:
    paid = found.get("payment")
    payment_id = _id_or_none(paid, "payment_intent") if isinstance(paid, dict) else None
    invoice_id = _id_or_none(found, "invoice")
    if payment_id is not None and invoice_id is not None:
        yield Payment(payment_id=payment_id, purchase_id=invoice_id)


def _charge(found: Json, before: Json) -> Iterator[Fact]:
    if amount := _amount(found, "amount_refunded"):
        yield _reversal(found, amount, lifted=False)


def _dispute(found: Json, before: Json) -> Iterator[Fact]:
    yield _reversal(found, _amount(found, "amount"), lifted=found.get("status") in _LIFTED)


def _reversal(found: Json, amount: int, *, lifted: bool) -> Reversal:
    return Reversal(
        id=_id(found, "id"),
        amount=amount,
        payment_id=_id_or_none(found, "payment_intent"),
        purchase_id=_id_or_none(found, "invoice"),
        lifted=lifted,
    )


_READERS: dict[str, Callable[[Json, Json], Iterator[Fact]]] = {
    "subscription": _subscription,
    "checkout.session": _session,
    "invoice": _invoice,
    "invoice_payment": _payment,
    "charge": _charge,
    "dispute": _dispute,
}


def _reference(found: Json, text: str | None) -> Reference | None:
    """Whom a checkout is for: what the operator's program has written beside it, or what its address says."""
    metadata = found.get("metadata")
    said = metadata if isinstance(metadata, dict) else {}
    key_id, end_user = _text(said, "farthing_key_id"), _text(said, "farthing_end_user")
    if not key_id and not text:
        return None
    return Reference(key_id=key_id or None, end_user=end_user or None, text=None if key_id else text)


def _text(found: Json, name: str) -> str | None:
    value = found.get(name)
    return value if isinstance(value, str) else None


def _id(found: Json, name: str) -> str:
    value = _id_or_none(found, name)
    if value is None:
        raise Malformed(f"{name} must be an id")
    return value


def _id_or_none(found: Json, name: str) -> str | None:
    """An id, or that of an object that stands in its place."""
    value = found.get(name)
    if isinstance(value, dict):
        value = value.get("id")
    if value is None:
        return None
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Malformed(f"{name} must be an id")
    return value


def _seconds(found: Json, name: str) -> int:
    value = _seconds_or_none(found, name)
    if value is None:
        raise Malformed(f"{name} must be Unix seconds")
    return value


def _seconds_or_none(found: Json, name: str) -> int | None:
    return _whole(found, name, SECONDS_MAX)


def _amount(found: Json, name: str) -> int:
    return _whole(found, name, AMOUNT_MAX) or 0


def _whole(found: Json, name: str, most: int) -> int | None:
    value = found.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= most:
        raise Malformed(f"{name} must be a whole number from 0 to {most}")
    return value
