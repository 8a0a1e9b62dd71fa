"""Which plan belongs to what is sold at Stripe: by price, lookup key or product, and which one is without a price.

Scripts only. Of two plans of one owner only one can say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from ledger.billing.deciding import Offer
from ledger.billing.records import Item
from ledger.engine import NotDone, Script
from ledger.rows import marks

Names = Annotated[list[Annotated[str, Meta(min_length=1, max_length=255)]], Meta(max_length=100)]
_FIELDS = {"price_ids": "price", "lookup_keys": "lookup", "product_ids": "product"}


class PlanTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose price a plan has at Stripe; `fallback`: who has no subscription any more is on it."""

    lookup_keys: Names = []
    price_ids: Names = []
    product_ids: Names = []
    fallback: bool = False


class TermTaken(NotDone):
    """Another plan of the owner's says the same; `param` names the field."""

    def __init__(self, param: str, plan_id: str) -> None:
        super().__init__(param)
        self.param = param
        self.plan_id = plan_id


def keep(plan_id: int, terms: PlanTerms | None, now_ms: int) -> Script[None]:
    """Write down what a plan says, in the place of what it said; every customer is looked at again.

    Raises:
        TermTaken: Another plan of its owner's says the same.
    """
    yield "DELETE FROM stripe_terms WHERE plan_id = ?", (plan_id,)
    for (kind, value), param in _listed(terms).items():
        rows = yield (
            "SELECT o.public_id FROM stripe_terms AS t JOIN accounts AS o ON o.id = t.plan_id"
            " WHERE t.kind = ? AND t.value = ? AND o.revoked_ms IS NULL"
            " AND o.parent_id = (SELECT parent_id FROM accounts WHERE id = ?)",
            (kind, value, plan_id),
        )
        if rows:
            raise TermTaken(f"stripe.{param}", rows[0][0])
        yield "INSERT INTO stripe_terms (kind, value, plan_id) VALUES (?, ?, ?)", (kind, value, plan_id)
    yield "UPDATE stripe_customers SET due_ms = ?", (now_ms,)


def _listed(terms: PlanTerms | None) -> dict[tuple[str, str], str]:
    """Kind and value, each once, and the field that says it."""
    if terms is None:
        return {}
    found = {
        (kind, value): f"{field}[{index}]"
        for field, kind in _FIELDS.items()
        for index, value in enumerate(getattr(terms, field))
    }
    return found | ({("fallback", ""): "fallback"} if terms.fallback else {})


def offer(owners: Sequence[int]) -> Script[Offer]:
    """What the plans of these accounts say, nearest owner first: of two that say the same his counts."""
    rows = yield (
        "SELECT t.kind, t.value, t.plan_id, p.parent_id FROM stripe_terms AS t JOIN accounts AS p ON p.id = t.plan_id"  # noqa: S608
        f" WHERE p.parent_id IN ({marks(owners)}) AND p.revoked_ms IS NULL",
        tuple(owners),
    )
    plans: dict[tuple[str, str], int] = {}
    for kind, value, plan_id, _ in sorted(rows, key=lambda row: owners.index(row[3])):
        plans.setdefault((kind, value), plan_id)
    return Offer(plans=plans, fallback_id=plans.pop(("fallback", ""), None))


def is_sold(item: Item) -> Script[bool]:
    """Whether a price is a plan's, whoever's."""
    said = [("price", item.price_id), ("lookup", item.lookup_key or ""), ("product", item.product_id or "")]
    rows = yield (
        "SELECT 1 FROM stripe_terms AS t JOIN accounts AS p ON p.id = t.plan_id WHERE p.revoked_ms IS NULL"
        " AND ((t.kind = ? AND t.value = ?) OR (t.kind = ? AND t.value = ?) OR (t.kind = ? AND t.value = ?)) LIMIT 1",
        tuple(part for each in said for part in each),
    )
    return bool(rows)
