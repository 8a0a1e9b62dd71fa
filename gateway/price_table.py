"""The catalogue as a table to be read: dollars a million tokens, and whatever else a model charges for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from providers.pricing.catalogue import Measured, ModelRow, Rate
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


def price_table(rows: Sequence[ModelRow], today: str) -> list[str]:
    """A line for each model, with the rates that began last; where more input costs more, the first, with a plus."""
    lines = [_HEAD, *(_line(row, today) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD) - 1)]
    table = []
    for model, *prices, other in lines:
        cells = [model.ljust(widths[0]), *(price.rjust(width) for price, width in zip(prices, widths[1:], strict=True))]
        table.append("  ".join((*cells, other)).rstrip())
    return table


def _line(row: ModelRow, today: str) -> tuple[str, ...]:
    rates = next((each.rates for each in reversed(row.periods) if (each.since or "") <= today), row.periods[0].rates)
    shown = {unit: _usd(unit, rate) for unit, rate in rates.items()}
    other = [f"{unit} {usd}{_MANY.get(unit, (1, ''))[1]}" for unit, usd in shown.items() if unit not in _COLUMNS]
    return (f"{row.provider}/{row.id}", *(shown.get(unit, "") for unit in _COLUMNS), "  ".join(other))


def _usd(unit: str, rate: Rate) -> str:
    more = "+" if isinstance(rate, list) and len(rate) > 1 else ""
    picos, per = (rate.picos, rate.per) if isinstance(rate, Measured) else (_first(rate), 1)
    usd = Decimal(picos * _MANY.get(unit, (1, ""))[0]) / (_PICOS_PER_USD * per)
    text = f"{usd:.6f}".rstrip("0").rstrip(".")
    return (text if usd == 0 or Decimal(text) else f"{usd:.2g}") + more


def _first(rate: int | list[tuple[int, int]]) -> int:
    return rate if isinstance(rate, int) else rate[0][1]
