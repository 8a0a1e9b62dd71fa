"""Anthropic's own account of an organisation's use: messages by day and model, and costs by day and description.

Source: `GET /v1/organizations/usage_report/messages` and `GET /v1/organizations/cost_report` in Anthropic's reference
of its Admin API: amounts are decimal strings of cents, days are UTC. The costs of the priority tier are in neither.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from providers.ground.statement import DAY_MS, BadStatement, Entry, Page, Parameters, Report, Statement, decoded

_PICOS_PER_CENT = 10**10
_CLASSES = {
    "uncached_input_tokens": "input",
    "cache_read_input_tokens": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
    "output_tokens": "output",
}


class _Creation(msgspec.Struct, frozen=True):
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    model: str | None = None
    workspace_id: str | None = None
    uncached_input_tokens: int | None = None
    cache_read_input_tokens: int = 0
    cache_creation: _Creation = _Creation()
    output_tokens: int = 0
    amount: Decimal | None = None
    currency: str = "USD"
    cost_type: str | None = None
    token_type: str | None = None
    description: str | None = None


class _Bucket(msgspec.Struct, frozen=True):
    starting_at: datetime
    results: list[_Result]


class _Page(msgspec.Struct, frozen=True):
    data: list[_Bucket]
    has_more: bool = False
    next_page: str | None = None


def read(json_text: bytes) -> Page:
    """A page of either report. Raises BadStatement."""
    page: _Page = decoded(json_text, _Page)
    entries: list[Entry] = []
    kinds: set[str] = set()
    for bucket in page.data:
        if bucket.starting_at.tzinfo is None:
            raise BadStatement("starting_at: has no time zone")
        day_ms = int(bucket.starting_at.timestamp()) * 1000 // DAY_MS * DAY_MS
        for result in bucket.results:
            if (result.amount is None) == (result.uncached_input_tokens is None):
                raise BadStatement("results: neither tokens (uncached_input_tokens) nor a cost (amount)")
            kinds.add("costs" if result.amount is not None else "messages")
            entries += _charge(day_ms, result, result.amount) if result.amount is not None else _counts(day_ms, result)
    if len(kinds) > 1:
        raise BadStatement("results: one page holds results of two reports")
    if page.has_more and not page.next_page:
        raise BadStatement("next_page: there is more, but it does not say where")
    return Page(report="".join(kinds), entries=entries, next_page=page.next_page if page.has_more else None)


def _counts(day_ms: int, result: _Result) -> list[Entry]:
    if result.model is None:
        raise BadStatement("model: missing; ask with group_by[]=model")
    counts = {
        "input": result.uncached_input_tokens or 0,
        "cache_read": result.cache_read_input_tokens,
        "cache_write": result.cache_creation.ephemeral_5m_input_tokens,
        "cache_write_1h": result.cache_creation.ephemeral_1h_input_tokens,
        "output": result.output_tokens,
    }
    return [
        Entry(day_ms=day_ms, model=result.model, of=of, tokens=tokens, project=result.workspace_id or "")
        for of, tokens in counts.items()
        if tokens
    ]


def _charge(day_ms: int, result: _Result, amount: Decimal) -> list[Entry]:
    if result.currency.upper() != "USD":
        raise BadStatement(f"currency: {result.currency!r} is not USD")
    if result.cost_type is None:
        raise BadStatement("cost_type: missing; ask with group_by[]=description")
    of = _CLASSES.get(result.token_type or "", result.token_type or result.cost_type)
    return [
        Entry(
            day_ms=day_ms,
            model=result.model or "",
            of=of,
            picos=round(amount * _PICOS_PER_CENT),
            project=result.workspace_id or "",
        )
    ]


def _report(path: str, by: str) -> Report:
    def parameters(from_ms: int, to_ms: int) -> Parameters:
        return [
            ("starting_at", _moment(from_ms)),
            ("ending_at", _moment(to_ms)),
            ("bucket_width", "1d"),
            ("limit", "31"),
            ("group_by[]", by),
            ("group_by[]", "workspace_id"),
        ]

    return Report(path=path, parameters=parameters)


def _moment(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


STATEMENT = Statement(
    key_env="ANTHROPIC_ADMIN_KEY",
    headers=lambda key: {"x-api-key": key, "anthropic-version": "2023-06-01"},
    reports=(
        _report("/v1/organizations/usage_report/messages", "model"),
        _report("/v1/organizations/cost_report", "description"),
    ),
    read=read,
)
