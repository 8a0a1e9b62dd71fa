"""OpenAI's own account of an organisation's use: completions by day and model, and costs by day and line item.

Source: `GET /v1/organization/usage/completions` and `GET /v1/organization/costs` in OpenAI's specification (the types
`UsageCompletionsResponse` and `UsageCostsResponse` of its Python library 3.57.0). Embeddings, images and audio have
reports of their own there, which are not read; their costs are.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from providers.ground.statement import DAY_MS, BadStatement, Entry, Page, Parameters, Report, Statement, decoded

_PICOS_PER_USD = 10**12
_CLASSES = {
    "input": "input",
    "input_tokens": "input",
    "cached input": "cache_read",
    "cached_input": "cache_read",
    "cached_input_tokens": "cache_read",
    "input_cached_tokens": "cache_read",
    "cache write": "cache_write",
    "input_cache_write_tokens": "cache_write",
    "input_cache_write_30m_tokens": "cache_write",
    "input_cache_write_12h_tokens": "cache_write_12h",
    "output": "output",
    "output_tokens": "output",
}
"""Classes by what stands behind the model in a line item."""


class _Amount(msgspec.Struct, frozen=True):
    value: Decimal
    currency: str = "usd"


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    object: str
    model: str | None = None
    project_id: str | None = None
    input_tokens: int = 0  # cached ones and those written to the cache included
    input_cached_tokens: int | None = None
    input_cache_write_tokens: int | None = None
    input_cache_write_12h_tokens: int | None = None
    output_tokens: int = 0
    amount: _Amount | None = None
    line_item: str | None = None


class _Bucket(msgspec.Struct, frozen=True):
    start_time: int
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
        day_ms = bucket.start_time * 1000 // DAY_MS * DAY_MS
        for result in bucket.results:
            kinds.add(result.object)
            if result.object == "organization.usage.completions.result":
                entries += _counts(day_ms, result)
            elif result.object == "organization.costs.result":
                entries += _charge(day_ms, result)
            else:
                raise BadStatement(f"object: {result.object!r} is neither of completions nor of costs")
    if len(kinds) > 1:
        raise BadStatement("object: one page holds results of two reports")
    if page.has_more and not page.next_page:
        raise BadStatement("next_page: there is more, but it does not say where")
    return Page(report="".join(kinds), entries=entries, next_page=page.next_page if page.has_more else None)


def _counts(day_ms: int, result: _Result) -> list[Entry]:
    cached, written = result.input_cached_tokens or 0, result.input_cache_write_tokens or 0
    long = result.input_cache_write_12h_tokens or 0
    if result.model is None:
        raise BadStatement("model: missing; ask with group_by=model")
    if not 0 <= long <= written or cached + written > result.input_tokens:
        raise BadStatement("input_tokens: less than its parts")
    counts = {
        "input": result.input_tokens - cached - written,
        "cache_read": cached,
        "cache_write": written - long,
        "cache_write_12h": long,
        "output": result.output_tokens,
    }
    return [
        Entry(day_ms=day_ms, model=result.model, of=of, tokens=tokens, project=result.project_id or "")
        for of, tokens in counts.items()
        if tokens
    ]


def _charge(day_ms: int, result: _Result) -> list[Entry]:
    if result.amount is None:
        return []
    if result.amount.currency.lower() != "usd":
        raise BadStatement(f"amount.currency: {result.amount.currency!r} is not usd")
    if result.line_item is None:
        raise BadStatement("line_item: missing; ask with group_by=line_item")
    model, comma, what = result.line_item.rpartition(", ")
    return [
        Entry(
            day_ms=day_ms,
            model=model,
            of=_CLASSES.get(what.lower(), what) if comma else result.line_item,
            picos=round(result.amount.value * _PICOS_PER_USD),
            project=result.project_id or "",
        )
    ]


def _report(path: str, by: str) -> Report:
    def parameters(from_ms: int, to_ms: int) -> Parameters:
        return [
            ("start_time", str(from_ms // 1000)),
            ("end_time", str(to_ms // 1000)),
            ("bucket_width", "1d"),
            ("limit", "31"),
            ("group_by", by),
            ("group_by", "project_id"),
        ]

    return Report(path=path, parameters=parameters)


STATEMENT = Statement(
    key_env="OPENAI_ADMIN_KEY",
    headers=lambda key: {"authorization": f"Bearer {key}"},
    reports=(
        _report("/v1/organization/usage/completions", "model"),
        _report("/v1/organization/costs", "line_item"),
    ),
    read=read,
)
