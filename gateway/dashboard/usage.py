"""What was used in a span of days: one report of the ledger, as a total, a table and a file that agree to the micro."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from gateway.api import usage
from gateway.api.tables import csv_response
from gateway.dashboard import charts, words
from gateway.dashboard.days import Days, calendar_ms, days_of, month_start_ms
from gateway.dashboard.page import Page
from gateway.problems import CallError
from ledger.glance import By, Sum, Summed, Wanted
from ledger.windows import DAY_MS

BY = {"key": "key", "model": "model", "day": "day", "end_user": "end user"}
SUMS = ("requests", "blocked", "input_tokens", "output_tokens", "cost_micros", "price_micros")
_TAG = "tag:"
_TABLED: dict[str, By] = {"key": "key", "model": "model", "day": "day", "end_user": "end_user"}
ROWS_MAX = 500  # of a table; the file has all


async def show(page: Page) -> Response:
    """GET /dashboard/usage."""
    days = days_of(page.query, page.now_ms)
    rows = await _rows(page, days)
    series: dict[str, dict[int, int]] = {}
    for day_ms, model, micros in await _daily(page, days):
        of = series.setdefault(model or "other", {})
        of[day_ms] = of.get(day_ms, 0) + micros
    shown = rows[:ROWS_MAX]
    await _name(page, shown)
    return page.show(
        "usage.html",
        by=_by(page),
        bys=BY,
        days=days,
        rows=shown,
        more=len(rows) - len(shown),
        total={name: sum(row[name] for row in rows) for name in SUMS},
        chart=charts.stacked(days.each, series),
        spans=_spans(days_of({"timezone": days.timezone}, page.now_ms).last_ms),
    )


async def _daily(page: Page, days: Days) -> list[tuple[int, str, int]]:
    """Day, model and cost in micros."""
    if not days.timezone:
        sums = await _summed(page, days, "day_model")
        return [(day_ms, model, of.cost_micros) for (day_ms, model), of in sums.items()]
    groups = filter(_wanted(page), (await _report(page, days, "day,model"))["groups"])
    return [(calendar_ms(row["day"]), row["model"], row["cost_micros"]) for row in groups]


async def _summed(page: Page, days: Days, by: By) -> Summed:
    wanted = Wanted(
        owner_id=page.key.account_id,
        livemode=not page.test,
        by=by,
        **{name: page.query.get(name) or None for name in ("key_id", "end_user", "provider", "model")},
    )
    return await page.means.glances.summed(wanted, days.from_ms, days.to_ms, page.now_ms)


async def show_csv(page: Page) -> Response:
    """GET /dashboard/usage.csv: the rows of the table."""
    rows = await _rows(page, days_of(page.query, page.now_ms))
    await _name(page, rows)
    names = [name for name in (rows[0] if rows else {}) if name not in (*SUMS, "label", "params")]
    return csv_response([*names, *SUMS], rows, "usage")


def _by(page: Page) -> str:
    by = page.query.get("by") or "key"
    if by not in BY and not (by.startswith(_TAG) and len(by) > len(_TAG)):
        raise CallError(400, "invalid_request", "Usage is by key, model, day, end user or tag:NAME.", param="by")
    return by


async def _report(page: Page, days: Days, by: str) -> dict[str, Any]:
    query = {
        "from_ms": str(days.from_ms),
        "to_ms": str(days.to_ms),
        "key_id": page.query.get("key_id"),
        "end_user": page.query.get("end_user"),
        "livemode": page.livemode,
        "group_by": by,
        "timezone": days.timezone,
    }
    found: dict[str, Any] = await page.ask(usage.usage, query=query)
    return found


def _wanted(page: Page) -> Any:
    """Whether a row is of the model that the page is about."""
    model, provider = page.query.get("model"), page.query.get("provider")
    return lambda row: (not model or row["model"] == model) and (not provider or row["provider"] == provider)


async def _rows(page: Page, days: Days) -> list[dict[str, Any]]:
    """Sums by what is asked for, those that cost most first; days in their order. Keys are named by `_name`."""
    by = _by(page)
    if by in _TABLED and not days.timezone:
        rows = await _tabled(page, days, by)
    else:
        rows = await _reported(page, days, by)
    rows = [row for row in rows if row["requests"] or row["blocked"] or row["cost_micros"]]
    return sorted(rows, key=lambda row: row["label"] if by == "day" else -row["cost_micros"])


async def _tabled(page: Page, days: Days, by: str) -> list[dict[str, Any]]:
    """The same from the sums of whole days."""
    sums = await _summed(page, days, _TABLED[by])
    if by == "key":
        return [{"label": "", "account_id": account_id} | _figures(of) for (account_id,), of in sums.items()]
    groups: list[dict[str, Any]] = []
    names = {}
    if by == "end_user":
        names = await page.services.ledger.reports.names([subject_id for (subject_id,) in sums if subject_id])
    for at, of in sums.items():
        if by == "model":
            said: dict[str, Any] = {"provider": at[0], "model": at[1]}
        elif by == "day":
            said = {"day": words.day(at[0])}
        else:
            said = {"end_user": names[at[0]].subject if at[0] else None}
        groups.append(said | _figures(of))
    return _merged(groups, by)


def _figures(of: Sum) -> dict[str, int]:
    return {name: getattr(of, name) for name in SUMS}


async def _name(page: Page, rows: list[dict[str, Any]]) -> None:
    """Say of rows by key whose they are."""
    unnamed = {row["account_id"]: row for row in rows if "account_id" in row}
    names = await page.services.ledger.reports.names(list(unnamed)) if unnamed else {}
    for account_id, row in unnamed.items():
        key_id, profile = names[account_id].public_id, names[account_id].profile
        figures = {name: row[name] for name in SUMS}
        name, external_id = profile.get("name", ""), profile.get("external_id")
        row.clear()
        row.update({"label": name or external_id or key_id, "params": {"key_id": key_id}})
        row.update({"key_id": key_id, "name": name, "external_id": external_id} | figures)


async def _reported(page: Page, days: Days, by: str) -> list[dict[str, Any]]:
    """The same from the bill: by local days, or by a tag."""
    narrow = bool(page.query.get("model") or page.query.get("provider"))
    report = await _report(page, days, "model" if by == "key" or by == "model" else f"{by},model" if narrow else by)
    if by == "key":
        return [_of_key(page, row, narrow) for row in report["by_key"]]
    groups = filter(_wanted(page), report["groups"]) if narrow or by == "model" else report["groups"]
    return _merged(groups, by)


def _of_key(page: Page, row: dict[str, Any], narrow: bool) -> dict[str, Any]:
    models = list(filter(_wanted(page), row["by_model"]))
    sums = {name: sum(each[name] for each in models) for name in SUMS}
    if not narrow:
        sums |= {name: row[name] for name in ("requests", "blocked", "cost_micros", "price_micros")}
    label = row["name"] or row["external_id"] or row["key_id"]
    names = {"key_id": row["key_id"], "name": row["name"], "external_id": row["external_id"]}
    return {"label": label, "params": {"key_id": row["key_id"]}, **names, **sums}


def _merged(groups: Iterable[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for group in groups:
        names, params = _names(group, by)
        row = merged.setdefault(
            tuple(names.values()),
            {"label": next(reversed(names.values())) or "", "params": params, **names, **dict.fromkeys(SUMS, 0)},
        )
        for name in SUMS:
            row[name] += group[name]
    return list(merged.values())


def _names(group: dict[str, Any], by: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a row is called, in columns, and what narrows the calls down to it."""
    if by == "model":
        names = {"provider": group["provider"], "model": group["model"]}
        return names, names
    if by == "day":
        return {"day": group["day"]}, {"from": group["day"], "to": group["day"]}
    return {by: group[by]}, {"end_user": group[by]} if by == "end_user" and group[by] else {}


def _spans(today_ms: int) -> list[tuple[str, int, int]]:
    """Spans of days that are asked for again and again: name, first day, last day."""
    month_ms = month_start_ms(today_ms)
    return [
        ("Today", today_ms, today_ms),
        ("7 days", today_ms - 6 * DAY_MS, today_ms),
        ("30 days", today_ms - 29 * DAY_MS, today_ms),
        ("This month", month_ms, today_ms),
        ("Last month", month_start_ms(today_ms, 1), month_ms - DAY_MS),
    ]
