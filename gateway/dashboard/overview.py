"""The first page: what is spent, against before; by whom, on what; who is near a cap; what was refused, and why."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest, nsmallest
from typing import Any

from starlette.responses import Response

from gateway.api import events
from gateway.api.keys import key_object, limit_object
from gateway.dashboard import charts, words
from gateway.dashboard.days import month_start_ms
from gateway.dashboard.glances import DAYS
from gateway.dashboard.page import Page
from ledger.glance import Glance, Sum
from ledger.windows import DAY_MS, day_start_ms

REFUSALS_DAYS = 7
TOP = 6  # rows of a list of who or what spends most
NEAR_PERCENT = 80
PEOPLE_LOOKED_AT_MAX = 1_000  # one person may be under several keys
LOOKED_AT_MAX = 300  # keys whose limits are looked at: those that were refused, then those that spend most


def fullness(limit: dict[str, Any]) -> int:
    """How many percent of a limit are used or held."""
    taken = limit["used"] + limit["held"]
    return taken * 100 // limit["max"] if limit["max"] else 100


async def show(page: Page) -> Response:
    """GET /dashboard."""
    now_ms, today_ms = page.now_ms, day_start_ms(page.now_ms)
    month_ms, last_ms = month_start_ms(now_ms), month_start_ms(now_ms, 1)
    same_day_ms = min(last_ms + today_ms - month_ms + DAY_MS, month_ms)
    first_ms = today_ms - (DAYS - 1) * DAY_MS
    until_ms = now_ms + 1

    sums = await page.means.glances.of(page.key.account_id, livemode=not page.test, now_ms=now_ms)
    series: dict[str, dict[int, int]] = {}
    by_day: dict[int, int] = {}
    models: dict[tuple[str, str], Sum] = {}
    month, last = Sum(), Sum()
    for (day_ms, provider, model), of_day in sums.days.items():
        if day_ms >= first_ms:
            of = series.setdefault(model or "other", {})
            of[day_ms] = of.get(day_ms, 0) + of_day.cost_micros
            by_day[day_ms] = by_day.get(day_ms, 0) + of_day.cost_micros
        if day_ms >= month_ms:
            month.add(of_day)
            models.setdefault((provider, model), Sum()).add(of_day)
        elif last_ms <= day_ms < same_day_ms:
            last.add(of_day)
    keys, people = await _named(page, sums)
    refused = await page.services.ledger.reports.refusals(
        page.key.account_id, livemode=not page.test, from_ms=today_ms - (REFUSALS_DAYS - 1) * DAY_MS, to_ms=until_ms
    )
    unsettled = await page.ask(events.holds, query={"state": "unsettled", "limit": "100"})
    near, overrun = await _near(page, sums)
    return page.show(
        "overview.html",
        chart=charts.stacked([first_ms + number * DAY_MS for number in range(DAYS)], series),
        month=month,
        month_ms=month_ms,
        until_ms=until_ms,
        last=last,
        last_ms=last_ms,
        same_day_ms=same_day_ms,
        today_ms=today_ms,
        first_ms=first_ms,
        today_micros=by_day.get(today_ms, 0),
        yesterday_micros=by_day.get(today_ms - DAY_MS, 0),
        compared=words.compared,
        models=_top({"provider": at[0], "model": at[1], "cost_micros": of.cost_micros} for at, of in models.items()),
        keys=_top(keys),
        people=_top(people),
        near=near,
        overrun=overrun,
        refused=refused,
        refused_from_ms=today_ms - (REFUSALS_DAYS - 1) * DAY_MS,
        unsettled=unsettled,
        unsettled_micros=sum(each["amount"] for each in unsettled["data"] if each["unit"] == "micros"),
    )


async def _named(page: Page, sums: Glance) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Keys, and end users by their own names, that cost the most this month."""
    keys = nlargest(TOP, sums.keys.items(), key=lambda each: each[1].cost_micros)
    people = nlargest(PEOPLE_LOOKED_AT_MAX, sums.people.items(), key=lambda each: each[1].cost_micros)
    names = await page.services.ledger.reports.names([account_id for account_id, _ in (*keys, *people)])
    shown = [
        {"key_id": names[account_id].public_id, "cost_micros": of.cost_micros}
        | {name: names[account_id].profile.get(name) for name in ("name", "external_id")}
        for account_id, of in keys
    ]
    by_name: dict[str, int] = {}
    for account_id, of in people:
        if (subject := names[account_id].subject) is not None:
            by_name[subject] = by_name.get(subject, 0) + of.cost_micros
    return shown, [{"end_user": name, "cost_micros": cost_micros} for name, cost_micros in by_name.items()]


def _top(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that cost most, each with its share of the first one's cost in percent."""
    most = sorted((row for row in rows if row["cost_micros"] > 0), key=lambda row: -row["cost_micros"])[:TOP]
    return [row | {"percent": max(row["cost_micros"] * 100 // most[0]["cost_micros"], 1)} for row in most]


async def _near(page: Page, sums: Glance) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Keys with a limit that is nearly full, the fullest first; and those that went over what was held."""
    first = nsmallest(LOOKED_AT_MAX, sums.keys.items(), key=lambda each: (not each[1].blocked, -each[1].cost_micros))
    names = await page.services.ledger.reports.names([account_id for account_id, _ in first])
    public_ids = [each.public_id for each in names.values()]
    views = await page.services.ledger.accounts.several(page.key.account_id, public_ids)
    near: list[dict[str, Any]] = []
    overrun = []
    for view in views:
        shown = key_object(view)
        limits = [limit_object(limit) for limit in view.limits if limit.max is not None]
        fullest = max(limits, key=fullness, default=None)
        if fullest is not None and fullness(fullest) >= NEAR_PERCENT and shown["status"] == "active":
            near.append({"key": shown, "limit": fullest, "percent": fullness(fullest)})
        if shown["overrun_micros"]:
            overrun.append(shown)
    near.sort(key=lambda each: -each["percent"])
    return near, overrun
