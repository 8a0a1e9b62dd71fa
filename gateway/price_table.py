"""The catalogue to be read: dollars a million tokens, and whatever else a model charges for. Pure.

A table for the terminal, and the same row by row for the API, where every rate stands beside its exact integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from providers.pricing.catalogue import Measured, ModelRow, Period, Rate
from providers.pricing.prices import TOKEN_UNITS

_HEAD = ("MODEL", "INPUT", "OUTPUT", "CACHE READ", "OTHER (USD; tokens a million each)")
_COLUMNS = ("input", "output", "cache_read")
_PICOS_PER_USD = 10**12
_MANY = {
    **dict.fromkeys(TOKEN_UNITS, (10**6, "/M")),
    "characters": (10**6, "/M"),
    "audio_ms": (3_600_000, "/h"),
    "video_ms": (3_600_000, "/h"),
}
"""How many of a unit a price is told for, and what says so."""


def price_table(rows: Sequence[ModelRow], at_ms: int) -> list[str]:
    """A line for each model, with the rates of a moment; where more input costs more, the first, with a plus."""
    lines = [_HEAD, *(price_line(row, at_ms) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD) - 1)]
    table = []
    for model, *prices, other in lines:
        cells = [model.ljust(widths[0]), *(price.rjust(width) for price, width in zip(prices, widths[1:], strict=True))]
        table.append("  ".join((*cells, other)).rstrip())
    return table


def in_force(row: ModelRow, at_ms: int) -> Period:
    """The rates of a moment, of a call in the usual tier: of the periods that apply the last, of none the first."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    day, clock = f"{moment:%Y-%m-%d}", f"{moment:%H:%M}"
    apply = [each for each in row.periods if (each.since or "") <= day and _within(clock, each.hours)]
    return (apply or row.periods[:1])[-1]


def price_object(row: ModelRow, at_ms: int) -> dict[str, Any]:
    """A model's prices as the API shows them: `rates` are those of the moment, the others stand in `periods`."""
    return {
        "id": price_id(row),
        "object": "price",
        "provider": row.provider,
        "model": row.id,
        "aliases": row.aliases,
        "mode": row.mode,
        "free": row.free,
        "max_input_tokens": row.max_input_tokens,
        "max_output_tokens": row.max_output_tokens,
        "rates": _rates(in_force(row, at_ms).rates),
        "periods": [
            {"from": each.since, "hours": each.hours, "rates": _rates(each.rates)}
            for each in row.periods
            if len(row.periods) > 1
        ],
        "variants": [
            {
                "service_tier": each.service_tier,
                "speed": each.speed,
                "from": each.since,
                "rates": _rates(each.rates),
            }
            for each in row.variants
        ],
        "geo": {place: {"numerator": over, "denominator": under} for place, (over, under) in row.geo.items()},
        "sources": row.sources,
        "dated": row.dated,
        "note": row.note,
    }


def price_id(row: ModelRow) -> str:
    """What a row is called in a list."""
    return f"{row.provider}/{row.id}"


def _rates(rates: Mapping[str, Rate]) -> list[dict[str, Any]]:
    """Each rate twice: exactly, as `price_picos` for `per` units; and to be read, as `usd` for `usd_per` units."""
    return [
        {
            "unit": unit,
            "above_input_tokens": above,
            "price_picos": picos,
            "per": per,
            "usd": _usd(unit, picos, per),
            "usd_per": _MANY.get(unit, (1, ""))[0],
        }
        for unit, rate in rates.items()
        for above, picos, per in _steps(rate)
    ]


def price_line(row: ModelRow, at_ms: int) -> tuple[str, ...]:
    """The cells of a model's line."""
    shown = {}
    for unit, rate in in_force(row, at_ms).rates.items():
        (_, picos, per), *more = _steps(rate)
        shown[unit] = _usd(unit, picos, per) + ("+" if more else "")
    other = [f"{unit} {usd}{_MANY.get(unit, (1, ''))[1]}" for unit, usd in shown.items() if unit not in _COLUMNS]
    return (price_id(row), *(shown.get(unit, "") for unit in _COLUMNS), "  ".join(other))


def _usd(unit: str, picos: int, per: int) -> str:
    usd = Decimal(picos * _MANY.get(unit, (1, ""))[0]) / (_PICOS_PER_USD * per)
    text = f"{usd:.6f}".rstrip("0").rstrip(".")
    return text if usd == 0 or Decimal(text) else f"{usd:.2g}"


def _steps(rate: Rate) -> list[tuple[int, int, int]]:
    """A rate as (above so many tokens of input, picos, for so many units)."""
    if isinstance(rate, Measured):
        return [(0, rate.picos, rate.per)]
    return [(0, rate, 1)] if isinstance(rate, int) else [(above, picos, 1) for above, picos in rate]


def _within(clock: str, hours: tuple[str, str] | None) -> bool:
    """Whether a time of day is inside `[start, end)`, which may run past midnight."""
    if hours is None:
        return True
    start, end = hours
    return start <= clock < end if start <= end else clock >= start or clock < end
