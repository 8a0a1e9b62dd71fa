"""What a customer's subscriptions come to: a plan from a moment on, or the loss of it. Pure.

It is decided upon all that was ever told of them, in Stripe's own order and not in that of arrival: disorder, repeats
and gaps end in the same place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cmp_to_key

import msgspec

from ledger.billing.records import FETCHED, Item, State, Subscription
from ledger.windows import window_span_ms

ENTITLED = frozenset(("trialing", "active"))
ENDED = frozenset(("canceled", "incomplete_expired"))
CREATED = "customer.subscription.created"
GRACE_DAYS = 3


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """One subscription: its states in order, and since when it has been past due, by which event."""

    states: tuple[State, ...]
    late_from_s: int | None = None
    late_event_id: str | None = None

    @property
    def now(self) -> Subscription:
        """What it is."""
        return self.states[-1].subscription


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The plans that an account can be on: by what is said of a price, and the one without any.

    `plans` has ("price", id), ("lookup", key) and ("product", id) as its keys.
    """

    plans: Mapping[tuple[str, str], int]
    fallback_id: int | None = None

    def plan_of(self, item: Item) -> int | None:
        """The plan of a price: a price's own, else its lookup key's, else its product's."""
        said = (("price", item.price_id), ("lookup", item.lookup_key), ("product", item.product_id))
        return next((self.plans[kind, name] for kind, name in said if name and (kind, name) in self.plans), None)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has by its subscriptions.

    Attributes:
        plan_id: None leaves it on the plan that it is on.
        anchor_ms: From when the plan's windows count.
        disabled: There is nothing to fall back to.
        subscription_id: By which subscription it has the plan; None where it has lost it.
        because: The event that says so.
    """

    plan_id: int | None = None
    anchor_ms: int | None = None
    disabled: bool = False
    subscription_id: str | None = None
    because: str | None = None


def courses(states: Iterable[State]) -> tuple[Course, ...]:
    """Subscriptions, each from all that was told of it, whenever it arrived."""
    found: dict[str, list[State]] = {}
    for state in sorted(states, key=lambda each: (each.created_s, each.event_id)):
        found.setdefault(state.subscription.id, []).append(state)
    return tuple(_course(sorted(found[id_], key=cmp_to_key(_compared))) for id_ in sorted(found))


def _course(states: list[State]) -> Course:
    late: State | None = None
    for state in reversed(states):
        if state.subscription.status != "past_due":
            break
        late = state
    if late is None:
        return Course(states=tuple(states))
    return Course(states=tuple(states), late_from_s=late.created_s, late_event_id=late.event_id)


def _compared(one: State, other: State) -> int:
    """Which of two states of a subscription is the later one: above zero if the first is."""
    first, second = _rank(one), _rank(other)
    if first != second:
        return 1 if first > second else -1
    follows, precedes = _follows(one, other), _follows(other, one)
    if follows != precedes:
        return 1 if follows else -1
    return 1 if one.event_id > other.event_id else -1


def _rank(state: State) -> tuple[int, bool, bool, bool]:
    looked_up = state.type == FETCHED
    ended = not looked_up and state.subscription.status in ENDED
    return (state.created_s, looked_up, ended, state.type != CREATED)


def _follows(state: State, other: State) -> bool:
    """Whether what a state says that it was before is what the other says that it is."""
    was = state.subscription.was_status
    return was is not None and was == other.subscription.status and was != state.subscription.status


def entitled(course: Course, now_ms: int, grace_ms: int) -> bool:
    """Whether a subscription gives its plan: it runs, or its payment is late and its grace is not over."""
    status = course.now.status
    if status == "past_due" and course.late_from_s is not None:
        return course.late_from_s * 1000 + grace_ms > now_ms
    return status in ENTITLED


def next_due_ms(found: Iterable[Course], now_ms: int, grace_ms: int) -> int | None:
    """When the next of them loses its plan by time alone; None if none does."""
    ends = (course.late_from_s * 1000 + grace_ms for course in found if course.late_from_s is not None)
    return min((each for each in ends if each > now_ms), default=None)


def decided(found: Sequence[Course], offer: Offer, source: str | None, now_ms: int, grace_ms: int) -> Standing | None:
    """What an account has; None if it is left as it is.

    `source` is the subscription by which it has its plan now. Of several that give one the one created last counts. A
    price that is no plan's changes nothing: what its subscription gave before, it gives on.
    """
    given = {course.now.id: _given(course, offer) for course in found}
    running = [course for course in found if entitled(course, now_ms, grace_ms)]
    giving = [course for course in running if given[course.now.id] is not None]
    if giving:
        best = max(giving, key=lambda course: (course.now.created_s, course.now.id))
        return given[best.now.id]
    if any(course.now.id == source for course in running):
        return None
    lost = [course for course in found if course not in running and (given[course.now.id] or course.now.id == source)]
    if not lost:
        return None
    last = max((course.states[-1] for course in lost), key=lambda state: (state.created_s, state.event_id))
    return Standing(plan_id=offer.fallback_id, disabled=offer.fallback_id is None, because=last.event_id)


def _given(course: Course, offer: Offer) -> Standing | None:
    """The plan of a subscription's price, or of the last one that was a plan's."""
    for state in reversed(course.states):
        for item in state.subscription.items:
            if (plan_id := offer.plan_of(item)) is not None:
                return Standing(
                    plan_id=plan_id,
                    anchor_ms=_anchor_ms(state.subscription, item),
                    subscription_id=state.subscription.id,
                    because=state.event_id,
                )
    return None


def _anchor_ms(subscription: Subscription, item: Item) -> int | None:
    """From when windows are counted: the start of the item's period.

    A period that began on the last day of a short month is one of those that begin on a later day of longer ones: then
    it is the day on which the first began.
    """
    if item.period_start_s is None:
        return None
    start_ms, cycle_ms = item.period_start_s * 1000, (subscription.cycle_anchor_s or item.period_start_s) * 1000
    first, began = (datetime.fromtimestamp(each // 1000, UTC) for each in (cycle_ms, start_ms))
    if first.day > began.day and window_span_ms(start_ms, "month", None, cycle_ms)[0] == start_ms:
        return cycle_ms
    return start_ms
