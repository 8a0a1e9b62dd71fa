"""What an end user is told: of his key or of himself under it, at his own prices.

Promises: no figure here is what a call cost the operator: money is `price_micros`, or a cap at the plan's markup. No id
is told, no other end user, and of an end user without a cap of his own nothing that his key has left.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.api.progress import marked_up
from gateway.dashboard import charts
from gateway.services import Services
from keys.policy import Policy, read_policy
from ledger.book import Match
from ledger.events import EventQuery, EventView
from ledger.portal import Visit
from ledger.retention import Dropped
from ledger.usage import MEASURES, Query, Sums, UsageReport
from ledger.views import AccountView, LimitView
from ledger.windows import DAY_MS, day_start_ms

DAYS = 30
CALLS = 20
_CREDITS = "credits"  # the route of what is no call
_BEFORE_MS = 36 * DAY_MS  # calls can be reported that were made before the account was
_INPUT, _OUTPUT = MEASURES.index("input_tokens"), MEASURES.index("output_tokens")


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """A limit and what is left of it; money is at the end user's prices."""

    unit: str
    window: str
    max: int
    used: int
    held: int
    remaining: int
    resets_at_ms: int | None
    match: Match

    @property
    def percent(self) -> int:
        """How much of it is taken."""
        return min((self.used + self.held) * 100 // self.max, 100) if self.max else 100


class Used(msgspec.Struct, kw_only=True):
    """What was used of a model, or on a day."""

    label: str = ""
    day_ms: int = 0
    requests: int = 0
    blocked: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    price_micros: int = 0

    def add(self, sums: Sums) -> None:
        """Add a group of calls."""
        self.requests += sums.requests
        self.blocked += sums.blocked
        self.input_tokens += sums.measures[_INPUT]
        self.output_tokens += sums.measures[_OUTPUT]
        self.price_micros += sums.price_micros


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """One of the last calls."""

    created_ms: int
    model: str
    decision: str
    status: str
    reason: str | None
    count: int
    price_micros: int


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """All of the page. `left_micros` and `max_micros` are None where nothing is capped that is the end user's own."""

    name: str
    plan: str
    livemode: bool
    status: str
    is_used_up: bool
    left_micros: int | None
    max_micros: int | None
    spent_micros: int
    held_micros: int
    window: str
    resets_at_ms: int | None
    requests_left: int | None
    limits: tuple[Allowance, ...]
    chart: charts.Chart
    days: tuple[Used, ...]
    models: tuple[Used, ...]
    calls: tuple[Called, ...]
    now_ms: int


async def statement(services: Services, visit: Visit) -> Statement:
    """What is told of a visit's key or end user. Raises NotFound, LedgerUnavailable."""
    key = await services.ledger.accounts.get(visit.account_id, visit.key_id)
    policy = read_policy(key.profile, key.plan.profile if key.plan is not None else None)
    account = key
    if visit.end_user is not None:
        account = await services.ledger.accounts.subject(key.id, "end_user", visit.end_user)
    limits = tuple(_allowance(each, policy) for each in account.limits if _is_told(each, account))
    own_cap = any(each.max is not None and each.of_all_money for each in account.limits)
    cap = account.cap
    now_ms = services.clock_ms()
    days = await _report(services, visit, key, day_start_ms(now_ms) - (DAYS - 1) * DAY_MS, now_ms + 1)
    requests = [each.remaining for each in limits if each.unit == "requests" and each.match == Match()]
    return Statement(
        name=visit.end_user if visit.end_user is not None else policy.name,
        plan=str(key.plan.profile.get("name", "")) if key.plan is not None else "",
        livemode=key.livemode,
        status="disabled" if account.disabled else account.status,
        is_used_up=account.remaining_micros == 0,
        left_micros=marked_up(account.remaining_micros, policy.markup_ppm) if own_cap or account is key else None,
        max_micros=marked_up(cap.max, policy.markup_ppm),
        spent_micros=await _spent(services, visit, key, account, policy),
        held_micros=_priced(cap.held + cap.unsettled, policy),
        window=cap.window,
        resets_at_ms=cap.resets_at_ms if cap.max is not None else None,
        requests_left=min(requests, default=None),
        limits=limits,
        now_ms=now_ms,
        calls=await _calls(services, visit, key),
        **_by_day_and_model(days, now_ms),
    )


async def by_day(services: Services, visit: Visit) -> list[dict[str, Any]]:
    """The last days by model, as rows of a file."""
    key = await services.ledger.accounts.get(visit.account_id, visit.key_id)
    now_ms = services.clock_ms()
    report = await _report(services, visit, key, day_start_ms(now_ms) - (DAYS - 1) * DAY_MS, now_ms + 1)
    rows: dict[tuple[int, str], Used] = {}
    for group, sums in report.groups.items():
        rows.setdefault((group[3], group[2]), Used(label=group[2], day_ms=group[3])).add(sums)
    return [msgspec.structs.asdict(rows[each]) for each in sorted(rows)]


def _is_told(limit: LimitView, account: AccountView) -> bool:
    """Whether a limit is of the account itself: not one that each of its own end users or runs has."""
    return limit.max is not None and (account.kind == "end_user" or limit.per == "key")


def _allowance(limit: LimitView, policy: Policy) -> Allowance:
    assert limit.max is not None  # noqa: S101 - `_is_told` leaves out what is only counted
    held = limit.held + limit.unsettled
    figures = {
        "max": limit.max,
        "used": limit.used,
        "held": held,
        "remaining": max(limit.max - limit.used - held, 0),
    }
    if limit.unit == "micros":
        figures = {name: _priced(micros, policy) for name, micros in figures.items()}
    return Allowance(
        unit=limit.unit, window=limit.window, resets_at_ms=limit.resets_at_ms, match=limit.match, **figures
    )


def _priced(micros: int, policy: Policy) -> int:
    return marked_up(micros, policy.markup_ppm) or 0


async def _spent(services: Services, visit: Visit, key: AccountView, account: AccountView, policy: Policy) -> int:
    """What was charged in the cap's window."""
    cap = account.cap
    from_ms = max(cap.window_start_ms, day_start_ms(account.created_ms) - _BEFORE_MS, 0)
    try:
        report = await _report(services, visit, key, from_ms, services.clock_ms() + 1)
    except Dropped:  # the window began within a day whose calls are gone
        return _priced(cap.used, policy)
    return sum(sums.price_micros for sums in report.groups.values())


async def _report(services: Services, visit: Visit, key: AccountView, from_ms: int, to_ms: int) -> UsageReport:
    return await services.ledger.reports.usage(
        Query(
            owner_id=key.id,
            from_ms=from_ms,
            to_ms=to_ms,
            livemode=key.livemode,
            subject_id=visit.subject_id or None,
            by_day=True,
        )
    )


def _by_day_and_model(report: UsageReport, now_ms: int) -> dict[str, Any]:
    first_ms = day_start_ms(now_ms) - (DAYS - 1) * DAY_MS
    each_day = [first_ms + number * DAY_MS for number in range(DAYS)]
    days = {day_ms: Used(day_ms=day_ms) for day_ms in each_day}
    models: dict[str, Used] = {}
    series: dict[str, dict[int, int]] = {}
    for group, sums in report.groups.items():
        model, day_ms = group[2] or "other", group[3]
        days[day_ms].add(sums)
        models.setdefault(model, Used(label=model)).add(sums)
        of = series.setdefault(model, {})
        of[day_ms] = of.get(day_ms, 0) + sums.price_micros
    most = sorted(models.values(), key=lambda used: (-used.price_micros, -used.requests, used.label))
    return {
        "chart": charts.stacked(each_day, series),
        "days": tuple(each for each in reversed(days.values()) if each.requests or each.blocked or each.price_micros),
        "models": tuple(most),
    }


async def _calls(services: Services, visit: Visit, key: AccountView) -> tuple[Called, ...]:
    found, _ = await services.ledger.reports.events(
        EventQuery(owner_id=visit.account_id, limit=CALLS, livemode=key.livemode, subject_id=visit.subject_id or None)
    )
    return tuple(_called(event) for event in found if event.route != _CREDITS)


def _called(event: EventView) -> Called:
    return Called(
        created_ms=event.created_ms,
        model=event.model or "other",
        decision=event.decision,
        status=event.status,
        reason=event.reason,
        count=event.count,
        price_micros=event.price_micros,
    )
