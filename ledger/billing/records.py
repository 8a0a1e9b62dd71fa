"""What is known of Stripe's objects: ids, states and amounts, as much as plans, windows and credits need. Nothing of a
person.
"""

from __future__ import annotations

import msgspec

FETCHED = "fetched"
"""The type of a state that was not told but looked up: it outranks what was told until then."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What is subscribed to. `period_start_s` is when its present period began, in Unix seconds."""

    price_id: str
    lookup_key: str | None = None
    product_id: str | None = None
    period_start_s: int | None = None


class Subscription(msgspec.Struct, frozen=True, kw_only=True, tag="subscription"):
    """A subscription in one state.

    Attributes:
        status: In Stripe's words: trialing, active, past_due, canceled, …
        was_status: What the same event says that it was before; None where it says nothing.
        cycle_anchor_s: The moment from which its periods are counted.
    """

    id: str
    customer_id: str
    status: str
    created_s: int
    items: tuple[Item, ...] = ()
    was_status: str | None = None
    cycle_anchor_s: int | None = None


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a checkout is for, as the operator has named him.

    Attributes:
        key_id: Of a key; `end_user` is one of its users, in its own words.
        text: Without a key: the id of a key, or the name of an end user.
    """

    key_id: str | None = None
    end_user: str | None = None
    text: str | None = None


class Link(msgspec.Struct, frozen=True, kw_only=True, tag="link"):
    """A checkout that says whom a customer is."""

    reference: Reference
    customer_id: str


class Purchase(msgspec.Struct, frozen=True, kw_only=True, tag="purchase"):
    """An invoice, or a checkout without one, that was paid.

    Attributes:
        id: Of the invoice, else of the checkout: it gives its credit once.
        amount: In the smallest unit of its currency.
        refusal: Why it gives no credit; None if it gives one.
        payment_ids: The payment intents that paid it, as far as it says.
    """

    id: str
    customer_id: str | None
    amount: int
    currency: str
    refusal: str | None = None
    reference: Reference | None = None
    payment_ids: tuple[str, ...] = ()


class Payment(msgspec.Struct, frozen=True, kw_only=True, tag="payment"):
    """Which payment intent has paid which purchase."""

    payment_id: str
    purchase_id: str


class Reversal(msgspec.Struct, frozen=True, kw_only=True, tag="reversal"):
    """What of a payment went back: so far, of a charge; at once, of a dispute, until it is `lifted`.

    `purchase_id` is the invoice where the charge itself says it.
    """

    id: str
    amount: int
    payment_id: str | None = None
    purchase_id: str | None = None
    lifted: bool = False


Fact = Subscription | Link | Purchase | Payment | Reversal


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """An event, or an object that was looked up, and what it says. `created_s` is Stripe's own time of it."""

    id: str
    type: str
    created_s: int
    object_id: str
    facts: tuple[Fact, ...]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as an event has told it. What was looked up is numbered in `event_id`."""

    event_id: str
    type: str
    created_s: int
    subscription: Subscription
