"""What a customer has, said once more and otherwise: from the true course of things, not from what was told of it.

It shares no code with what it tests, and no idea either: here the states of a subscription are numbered as they
happened, and nobody has to find their order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from tests.gateway.stripe.said import NEW, OLD, charge, dispute, event, invoice, session, subscription

DAY_S = 86_400
T0_S = 1_767_225_600  # 2026-01-01
PLANS = {"price_a": "A", "price_b": "B"}  # of the prices; price_x is no plan's
ENDED = ("canceled", "incomplete_expired")


@dataclass
class Step:
    """One true state of a subscription, and the event that tells of it."""

    at_s: int
    status: str
    prices: tuple[str, ...]
    period_s: int
    told: dict[str, Any]

    @property
    def plan(self) -> str | None:
        return next((PLANS[price] for price in self.prices if price in PLANS), None)


@dataclass
class Paid:
    """One true purchase, and what of it went back by each event that says so.

    `told`: events, whether each tells of the purchase, and whether it tells by which payment it was paid.
    """

    amount: int
    counts: bool
    told: list[tuple[dict[str, Any], bool, bool]]
    back: list[tuple[dict[str, Any], str, int]] = field(default_factory=list)  # event, charge or dispute, amount so far


@dataclass
class History:
    """The true course of one customer's affairs."""

    customer: str
    courses: dict[str, list[Step]]
    created_s: dict[str, int]
    purchases: list[Paid]

    def events(self) -> list[dict[str, Any]]:
        steps = [step.told for steps in self.courses.values() for step in steps]
        paid = [told for each in self.purchases for told, _, _ in each.told]
        return [*steps, *paid, *(told for each in self.purchases for told, _, _ in each.back)]

    def wanted(self, known: set[str], grace_s: int, now_s: int, looked_up_s: int = 0) -> tuple[str | None, int | None]:
        """The plan's name and the start of its windows in seconds, of the states that are `known`, by event.

        `looked_up_s`: when they were all looked up; 0 for never.
        """
        best: tuple[int, str, str, int] | None = None
        lost = False
        for name, steps in self.courses.items():
            seen = [step for step in steps if step.told["id"] in known]
            if looked_up_s:
                seen.append(replace(steps[-1], at_s=looked_up_s))
            if not seen:
                continue
            sold = [step for step in seen if step.plan is not None]
            if not has(seen, grace_s, now_s):
                lost = lost or bool(sold)
            elif sold:
                best = max(best or (0, "", "", 0), (self.created_s[name], name, sold[-1].plan or "", sold[-1].period_s))
        if best is not None:
            return best[2], best[3]
        return ("free", None) if lost else (None, None)

    def credit(self, known: set[str]) -> int:
        """Cents."""
        total = 0
        for paid in self.purchases:
            heard = [(is_purchase, is_link) for told, is_purchase, is_link in paid.told if told["id"] in known]
            if not paid.counts or not any(is_purchase for is_purchase, _ in heard):
                continue
            back: dict[str, int] = {}
            for told, name, amount in paid.back if any(is_link for _, is_link in heard) else ():
                if told["id"] in known:
                    back[name] = max(back.get(name, 0), amount)
            total += max(paid.amount - sum(back.values()), 0)
        return total


def has(seen: list[Step], grace_s: int, now_s: int) -> bool:
    """Whether a subscription with these states gives anything now."""
    if seen[-1].status in ("active", "trialing"):
        return True
    if seen[-1].status != "past_due":
        return False
    first = len(seen) - 1
    while first and seen[first - 1].status == "past_due":
        first -= 1
    return seen[first].at_s + grace_s > now_s


STATUSES = ("trialing", "active", "past_due", "unpaid", "paused", "incomplete", "canceled", "incomplete_expired")
GAPS = (1, 60, 3_600, DAY_S, 2 * DAY_S, 4 * DAY_S, 30 * DAY_S)


@st.composite
def steps(draw: st.DrawFn, name: str, customer: str, start_s: int, version: str) -> list[Step]:
    """The course of one subscription. Two states in one second are told apart as Stripe lets them be."""
    found: list[Step] = []
    at_s, period_s, prices = start_s, start_s, ("price_a",)
    for number in range(draw(st.integers(1, 6))):
        before = found[-1].status if found else None
        if before in ENDED:
            break
        status = draw(st.sampled_from(STATUSES))
        same = number == 1 or status in ENDED  # "created" is the first of a second, an end its last
        at_s += 0 if not found or (same and draw(st.booleans())) else draw(st.sampled_from(GAPS))
        prices = draw(st.sampled_from([prices, ("price_a",), ("price_b",), ("price_x",), ("price_x", "price_b")]))
        period_s = at_s - at_s % 60 if draw(st.booleans()) else period_s
        state = subscription(
            name, customer, status, prices=list(prices), period_s=period_s, created_s=start_s, version=version
        )
        kind = "created" if not found else "deleted" if status in ENDED else "updated"
        was = None if before in (None, status) else {"status": before}
        told = event(f"customer.subscription.{kind}", state, at_s, version=version, before=was)
        found.append(Step(at_s, status, prices, period_s, told))
    return found


@st.composite
def purchase(draw: st.DrawFn, name: str, customer: str, version: str) -> Paid:
    """An invoice or a checkout, or both of one; and what of it went back."""
    amount = draw(st.integers(1, 5_000))
    currency = draw(st.sampled_from(["usd", "usd", "usd", "eur"]))
    kind = draw(st.sampled_from(["invoice", "session", "both", "subscription", "unpaid"]))
    at_s, told = T0_S + draw(st.integers(0, 100 * DAY_S)), []
    more = {"customer": customer, "currency": currency}
    if kind in ("invoice", "both", "subscription"):
        of = "sub_any" if kind == "subscription" else None
        bill = invoice(f"in_{name}", customer, amount, of=of, version=version, currency=currency)
        told.append((event("invoice.paid", bill, at_s, version=version), True, version == OLD and kind != "both"))
    if kind in ("session", "both"):
        bill_id = f"in_{name}" if kind == "both" else None
        checkout = session(f"cs_{name}", amount_total=amount, invoice=bill_id, **more)
        told.append((event("checkout.session.completed", checkout, at_s + 1), True, True))
    if kind == "unpaid":
        checkout = session(f"cs_{name}", amount_total=amount, payment_status="unpaid", **more)
        told.append((event("checkout.session.completed", checkout, at_s), True, True))
    found = Paid(amount, currency == "usd" and kind not in ("subscription", "unpaid"), told)
    intent = f"pi_in_{name}" if kind in ("invoice", "subscription") else f"pi_cs_{name}"
    if kind in ("invoice", "both") and version == NEW:
        payment = {"type": "payment_intent", "payment_intent": intent}
        link = {"id": f"inpay_{name}", "object": "invoice_payment", "invoice": f"in_{name}", "payment": payment}
        found.told.append((event("invoice_payment.paid", link, at_s), False, True))
    back = 0
    for number in range(draw(st.integers(0, 2))):
        back += draw(st.integers(1, 4_000))
        refund = charge(f"ch_{name}", back, intent=intent)
        found.back.append((event("charge.refunded", refund, at_s + 2 + number), "charge", back))
    if draw(st.integers(0, 3)) == 0:
        lost = dispute(f"dp_{name}", amount, intent=intent)
        found.back.append((event("charge.dispute.created", lost, at_s + 9), "dispute", amount))
    return found


@st.composite
def history(draw: st.DrawFn, number: int) -> History:
    customer, version = f"cus_{number}", draw(st.sampled_from([OLD, NEW]))
    courses, created_s = {}, {}
    for each in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        name, start_s = f"sub_{number}_{each}", T0_S + each * 7 * DAY_S + draw(st.integers(0, DAY_S))
        created_s[name] = start_s
        courses[name] = draw(steps(name, customer, start_s, version))
    paid = [draw(purchase(f"{number}_{each}", customer, version)) for each in range(draw(st.integers(0, 2)))]
    return History(customer, courses, created_s, paid)
