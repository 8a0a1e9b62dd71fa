"""The first page: what is spent, against before; by whom, on what; who is near a cap; what was refused, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from gateway.api import events, usage
from gateway.api.keys import key_object, limit_object
from gateway.dashboard import charts, words
from gateway.dashboard.days import month_start_ms
from gateway.dashboard.page import Page
from ledger.windows import DAY_MS, day_start_ms

DAYS = 30
REFUSALS_DAYS = 7
TOP = 6  # rows of a list of who or what spends most
NEAR_PERCENT = 80
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

    async def bill(from_ms: int, to_ms: int, by: str = "") -> dict[str, Any]:
        query = {"from_ms": str(from_ms), "to_ms": str(to_ms), "group_by": by, "livemode": page.livemode}
        found: dict[str, Any] = await page.ask(usage.usage, query=query)
        return found

    month = await bill(month_ms, until_ms)
    days = await bill(first_ms, until_ms, "day,model")
    people = (await bill(month_ms, until_ms, "end_user"))["groups"]
    last = await bill(last_ms, same_day_ms)
    series: dict[str, dict[int, int]] = {}
    by_day: dict[int, int] = {}
    for row in days["groups"]:
        of = series.setdefault(row["model"] or "other", {})
        of[row["day_start_ms"]] = of.get(row["day_start_ms"], 0) + row["cost_micros"]
        by_day[row["day_start_ms"]] = by_day.get(row["day_start_ms"], 0) + row["cost_micros"]
    refused = await page.services.ledger.reports.refusals(
        page.key.account_id, livemode=not page.test, from_ms=today_ms - (REFUSALS_DAYS - 1) * DAY_MS, to_ms=until_ms
    )
    unsettled = await page.ask(events.holds, query={"state": "unsettled", "limit": "100"})
    near, overrun = await _near(page, month["by_key"])
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
        models=_top(_by_model(month["by_key"])),
        keys=_top(month["by_key"]),
        people=_top(row for row in people if row["end_user"]),
        near=near,
        overrun=overrun,
        refused=refused,
        refused_from_ms=today_ms - (REFUSALS_DAYS - 1) * DAY_MS,
        unsettled=unsettled,
        unsettled_micros=sum(each["amount"] for each in unsettled["data"] if each["unit"] == "micros"),
    )


def _by_model(keys: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    models: dict[tuple[str, str], dict[str, Any]] = {}
    for row in (row for key in keys for row in key["by_model"]):
        of = models.setdefault(
            (row["provider"], row["model"]),
            {"provider": row["provider"], "model": row["model"], "cost_micros": 0, "requests": 0},
        )
        of["cost_micros"] += row["cost_micros"]
        of["requests"] += row["requests"]
    return list(models.values())


def _top(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that cost most, each with its share of the first one's cost in percent."""
    most = sorted((row for row in rows if row["cost_micros"] > 0), key=lambda row: -row["cost_micros"])[:TOP]
    return [row | {"percent": max(row["cost_micros"] * 100 // most[0]["cost_micros"], 1)} for row in most]


async def _near(page: Page, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Keys with a limit that is nearly full, the fullest first; and those that went over what was held."""
    first = sorted(rows, key=lambda row: (not row["blocked"], -row["cost_micros"]))[:LOOKED_AT_MAX]
    views = await page.services.ledger.accounts.several(page.key.account_id, [row["key_id"] for row in first])
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
