"""Counts, times and states in words for people. What money is told in is in `gateway.dashboard.money`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec
from markupsafe import Markup

from gateway.dashboard.money import count, usd

_SCOPES = {
    "master": "may everything",
    "team": "mints under itself and calls",
    "standard": "calls only",
    "read": "reads only",
    "ingest": "reports calls only",
}
_REASONS = {
    "spend_cap_exceeded": "over its spend cap",
    "rate_limited": "over a limit of requests, tokens or seconds",
    "loop_detected": "the same call again and again",
    "model_not_allowed": "a model that the key may not use",
    "route_not_allowed": "an operation that the key may not use",
    "origin_not_allowed": "a web page that the key is not for",
    "model_not_priced": "a model without a price",
    "unbounded_cost": "no bound to what it could cost",
    "key_disabled": "the key or one above it is disabled",
    "key_revoked": "the key or one above it was revoked",
    "key_expired": "the key or one above it has expired",
}
_SPANS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def plain_usd(micros: int | None) -> str:
    """An amount as a form takes it."""
    return "" if micros is None else usd(micros)[1:].replace(",", "")


def when(at_ms: int | None) -> Markup:
    """A moment, to the second, in UTC."""
    if at_ms is None:
        return Markup("<span class='quiet'>never</span>")
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    said = f"{moment:%Y-%m-%d %H:%M:%S}"
    return Markup("<time datetime='{}'>{}</time>").format(f"{moment:%Y-%m-%dT%H:%M:%SZ}", said)


def day(at_ms: int) -> str:
    """A day, in UTC."""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%d}"


def short_day(at_ms: int) -> str:
    """A day of the year, in UTC."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment.day} {moment:%b}"


def span(ms: int) -> str:
    """How long, in the largest whole unit."""
    seconds = max(ms, 0) // 1000
    for each, name in _SPANS:
        if seconds >= each:
            number = seconds // each
            return f"{number} {name}{'s' if number > 1 else ''}"
    return "less than a minute"


def reason(code: str | None) -> str:
    """Why a call was refused."""
    return _REASONS.get(code or "", (code or "").replace("_", " "))


def scope(name: str) -> str:
    """What a scope may do."""
    return _SCOPES.get(name, name)


def compared(now: int, before: int) -> str:
    """How an amount stands to an earlier one."""
    if not before:
        return "nothing before" if now else "as before: nothing"
    percent = (now - before) * 100 // before
    return "as before" if not percent else f"{abs(percent):,} % {'more' if percent > 0 else 'less'}"


def matching(match: Mapping[str, Any]) -> str:
    """Which calls a limit is about."""
    said = [f"{name} {value}" for name, value in match.items() if value and not isinstance(value, dict)]
    said += [f"{name} = {value}" for name, value in (match.get("metadata") or {}).items()]
    return ", ".join(said) or "every call"


def combine(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The members of both; where both have one, the second's."""
    return {**first, **second}


def tojson_plain(value: Any) -> str:
    """JSON to be read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "plain_usd": plain_usd,
        "count": count,
        "when": when,
        "day": day,
        "short_day": short_day,
        "span": span,
        "reason": reason,
        "scope": scope,
        "matching": matching,
        "combine": combine,
        "tojson_plain": tojson_plain,
    }
)
