"""`GET /v1/usage`: the bill, by key and model, and by day, end user or tag where asked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, tzinfo
from typing import Any

from starlette.responses import Response

from gateway.api.endpoint import Call, choice, integer, json_response, livemode
from gateway.api.tables import csv_response
from gateway.problems import CallError
from keys.policy import read_policy
from ledger.latency import percentile_ms
from ledger.usage import MEASURES, Group, Names, Query, Sums, UsageReport
from ledger.windows import zone

RANGE_MS_MAX = 10**14
_COUNTS = ("requests", "blocked", "cost_micros", "price_micros")
_LATENCIES = ("latency_ms_avg", "latency_ms_p50", "latency_ms_p95")
_INVOICE = ("markup_micros", "period_start_ms", "period_end_ms", "currency")
CURRENCY = "USD"  # of the ledger, and of every amount in a file
_BY = ("model", "end_user", "day")


async def usage(call: Call) -> Response:
    """GET /v1/usage."""
    parameters = call.parameters("from_ms", "to_ms", "key_id", "end_user", "group_by", "format", "livemode", "timezone")
    by, tag = _group_by(parameters.get("group_by"))
    now_ms = call.services.clock_ms()
    from_ms = integer(parameters.get("from_ms"), "from_ms", low=0, high=RANGE_MS_MAX)
    to_ms = integer(parameters.get("to_ms"), "to_ms", low=0, high=RANGE_MS_MAX, default=now_ms + 1)
    if to_ms < from_ms:
        raise CallError(400, "invalid_request", "to_ms must not be before from_ms.", param="to_ms")
    form = choice(parameters.get("format"), "format", ("json", "csv"), "json")
    timezone, live = _timezone(parameters.get("timezone")), livemode(parameters.get("livemode"))
    report = await call.services.ledger.reports.usage(
        Query(
            owner_id=call.key.account_id,
            from_ms=from_ms,
            to_ms=to_ms,
            livemode=live and call.key.livemode,
            key=parameters.get("key_id"),
            end_user=parameters.get("end_user"),
            by_day="day" in by,
            by_end_user="end_user" in by,
            timezone=timezone,
            tag=tag,
        )
    )
    tz = zone(timezone) if timezone is not None else UTC
    # A bill of many thousand keys takes a while to write: the calls need not wait for it.
    if form == "csv":
        return await asyncio.to_thread(_csv, report, (from_ms, to_ms), by, tag, tz)
    return await asyncio.to_thread(lambda: json_response(_json(report, from_ms, to_ms, by, tag, tz)))


def _timezone(name: str | None) -> str | None:
    """The zone whose days are meant; None for UTC. Raises CallError."""
    if name is None or name == "UTC":
        return None
    try:
        zone(name)
    except (ValueError, LookupError, OSError):
        raise CallError(400, "invalid_request", "timezone must be an IANA time zone.", param="timezone") from None
    return name


def _group_by(text: str | None) -> tuple[tuple[str, ...], str | None]:
    by: list[str] = []
    tag = None
    for part in (text or "").split(",") if text else ():
        name, colon, value = part.partition(":")
        if name == "tag" and colon and value and tag is None:
            tag = value
        elif part in _BY and part not in by:
            by.append(part)
        else:
            raise CallError(
                400, "invalid_request", "group_by takes model, end_user, day and one tag:NAME.", param="group_by"
            )
    return tuple(by), tag


def _figures(sums: Sums) -> dict[str, Any]:
    """All figures of a group."""
    timed = sum(sums.histogram.values())
    return {
        "requests": sums.requests,
        "blocked": sums.blocked,
        "cost_micros": sums.cost_micros,
        "price_micros": sums.price_micros,
        **dict(zip(MEASURES, sums.measures, strict=True)),
        "latency_ms_avg": sums.latency_ms_sum // timed if timed else None,
        "latency_ms_p50": percentile_ms(sums.histogram, 50),
        "latency_ms_p95": percentile_ms(sums.histogram, 95),
    }


def _invoiced(sums: Sums, span: tuple[int, int]) -> dict[str, Any]:
    """What an invoice's line says beside: how much of the price is markup, of which period, in which currency."""
    return {
        "markup_micros": sums.price_micros - sums.cost_micros,
        "period_start_ms": span[0],
        "period_end_ms": span[1],
        "currency": CURRENCY,
    }


def _key_names(names: Names) -> dict[str, Any]:
    policy = read_policy(names.profile)
    return {"key_id": names.public_id, "name": policy.name, "external_id": policy.external_id}


def by_model_of(models: dict[tuple[str, str], Sums]) -> list[dict[str, Any]]:
    """The figures of each provider's model, the dearest first."""
    rows = [
        {"provider": provider, "model": model, **_figures(sums)}
        for (provider, model), sums in models.items()
        if sums.requests or sums.cost_micros
    ]
    rows.sort(key=lambda row: (-row["cost_micros"], row["provider"], row["model"]))
    return rows


def _json(
    report: UsageReport, from_ms: int, to_ms: int, by: tuple[str, ...], tag: str | None, tz: tzinfo
) -> dict[str, Any]:
    keys: dict[int, dict[tuple[str, str], Sums]] = {}
    for group, sums in report.groups.items():
        keys.setdefault(group[0], {}).setdefault((group[1], group[2]), Sums()).add(sums)
    rows = []
    for account_id, models in keys.items():
        total = Sums()
        for sums in models.values():
            total.add(sums)
        rows.append(
            _key_names(report.names[account_id])
            | {name: getattr(total, name) for name in _COUNTS}
            | {"by_model": by_model_of(models)}
        )
    rows.sort(key=lambda row: (-row["cost_micros"], row["key_id"]))
    body: dict[str, Any] = {
        "object": "usage",
        "from_ms": from_ms,
        "to_ms": to_ms,
        "cost_micros": sum(row["cost_micros"] for row in rows),
        "price_micros": sum(row["price_micros"] for row in rows),
        "requests": sum(row["requests"] for row in rows),
        "blocked": sum(row["blocked"] for row in rows),
        "by_key": rows,
    }
    if by or tag is not None:
        body["groups"] = _groups(report, by, tag, tz)
    return body


def _groups(report: UsageReport, by: tuple[str, ...], tag: str | None, tz: tzinfo) -> list[dict[str, Any]]:
    """The figures by the dimensions that were asked for, over all keys."""
    merged: dict[tuple[Any, ...], tuple[dict[str, Any], Sums]] = {}
    for group, sums in report.groups.items():
        labels = _labels(report, group, by, tag, tz)
        merged.setdefault(tuple(labels.values()), (labels, Sums()))[1].add(sums)
    rows = [labels | _figures(sums) for labels, sums in merged.values()]
    rows.sort(key=lambda row: (row.get("day", ""), -row["cost_micros"]))
    return rows


def _labels(report: UsageReport, group: Group, by: tuple[str, ...], tag: str | None, tz: tzinfo) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    if "day" in by:
        labels |= {"day": _day(group[3], tz), "day_start_ms": group[3]}
    if "end_user" in by:
        labels["end_user"] = report.names[group[4]].subject if group[4] else None
    if "model" in by:
        labels |= {"provider": group[1], "model": group[2]}
    if tag is not None:
        labels[f"tag:{tag}"] = group[5] or None
    return labels


def _day(day_ms: int, tz: tzinfo) -> str:
    return datetime.fromtimestamp(day_ms // 1000, tz).date().isoformat()


def _csv(report: UsageReport, span: tuple[int, int], by: tuple[str, ...], tag: str | None, tz: tzinfo) -> Response:
    """One line a key and model, and every further dimension that was asked for: as an invoice's lines."""
    extra = [name for name in ("day", "end_user") if name in by] + ([f"tag:{tag}"] if tag is not None else [])
    columns = [
        "key_id",
        "name",
        "external_id",
        *extra,
        "provider",
        "model",
        *_COUNTS,
        *MEASURES,
        *_LATENCIES,
        *_INVOICE,
    ]
    rows = [
        _key_names(report.names[group[0]])
        | _labels(report, group, by, tag, tz)
        | {"provider": group[1], "model": group[2]}
        | _figures(sums)
        | _invoiced(sums, span)
        for group, sums in report.groups.items()
    ]
    rows.sort(key=lambda row: (row["key_id"], row.get("day", ""), row["provider"], row["model"]))
    return csv_response(columns, rows, "usage")
