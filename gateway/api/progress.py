"""How far a key is in its cap's window: what it and all under it cost, by model, and at its plan's prices."""

from __future__ import annotations

from typing import Any

from gateway.api.endpoint import Call
from gateway.api.usage import by_model_of
from gateway.problems import CallError
from keys.policy import read_policy
from ledger.retention import Dropped
from ledger.usage import Query, Sums
from ledger.views import AccountView
from ledger.windows import DAY_MS, day_start_ms

_REPORTED_BEFORE_MS = 36 * DAY_MS  # calls can be reported that were made before the key was


async def usage_of(
    call: Call,
    account: AccountView,
    *,
    from_ms: int | None = None,
    to_ms: int | None = None,
    end_user: str | None = None,
) -> dict[tuple[str, str], Sums]:
    """Sums by provider and model; of the cap's present window, where no time is said. Raises CallError, Dropped."""
    if from_ms is None:
        window_start_ms = account.cap.window_start_ms if to_ms is None else 0
        from_ms = max(window_start_ms, day_start_ms(account.created_ms) - _REPORTED_BEFORE_MS, 0)
    if to_ms is None:
        to_ms = max(call.services.clock_ms() + 1, from_ms)
    if to_ms < from_ms:
        raise CallError(400, "invalid_request", "to_ms must not be before from_ms.", param="to_ms")
    report = await call.services.ledger.reports.usage(
        Query(
            owner_id=account.id,
            from_ms=from_ms,
            to_ms=to_ms,
            livemode=account.livemode,
            end_user=end_user,
        )
    )
    models: dict[tuple[str, str], Sums] = {}
    for group, sums in report.groups.items():
        models.setdefault((group[1], group[2]), Sums()).add(sums)
    return models


def progress(account: AccountView, models: dict[tuple[str, str], Sums]) -> dict[str, Any]:
    """What a key's usage says at its top."""
    return {
        "cost_micros": sum(sums.cost_micros for sums in models.values()),
        "cap_micros": account.cap.max,
        "by_model": by_model_of(models),
    }


async def priced(call: Call, account: AccountView) -> dict[str, Any]:
    """A key's spending at the prices of its plan; nothing where that takes no more than the cost."""
    policy = read_policy(account.profile, account.plan.profile if account.plan is not None else None)
    if not policy.markup_ppm:
        return {}
    try:
        models = await usage_of(call, account)
        spent_micros = sum(sums.price_micros for sums in models.values())
    except Dropped:  # the window began within a day whose calls are gone
        spent_micros = marked_up(account.cap.used, policy.markup_ppm) or 0
    return {
        "price_spent_micros": spent_micros,
        "price_remaining_micros": marked_up(account.remaining_micros, policy.markup_ppm),
        "price_max_micros": marked_up(account.cap.max, policy.markup_ppm),
    }


def marked_up(micros: int | None, markup_ppm: int) -> int | None:
    """An amount at the prices of a plan, rounded down; None of none."""
    return None if micros is None else micros + micros * markup_ppm // 1_000_000
