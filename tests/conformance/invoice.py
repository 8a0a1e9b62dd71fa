"""What the provider's invoice line costs by the catalogue's file: arithmetic that shares nothing with the meter.

The rates are read from `catalogue.json` as they stand, base rates of the period in force; no tiers, no variants: the
matrix's calls are small and plain.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import providers
from tests.conformance.cells import Cell
from tests.upstream import Line

_FILE = Path(providers.__file__).parent / "pricing" / "catalogue.json"
_MICROS = {"usd_ticks": 100, "millicredits": 80_000}  # picos per unit of the provider's own money
_MEASURES = ("characters", "audio_ms", "images", "pages")


@cache
def _rows() -> dict[tuple[str, str], dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in json.loads(_FILE.read_text("utf-8"))["models"]:
        for name in (row["id"], *row.get("aliases", ())):
            rows.setdefault((row["provider"], name), row)
    return rows


def price_picos(cell: Cell, line: Line) -> int:
    """The price of one line in picos."""
    billed = dict(line.billed or {})
    for name, picos in _MICROS.items():
        if name in billed:
            return billed[name] * picos
    rates = {name: _base(rate) for name, rate in _rates(cell, line.ended_ms).items()}
    cached = billed.get("cached_tokens", 0) + billed.get("cache_read_input_tokens", 0)
    written = billed.get("cache_write_tokens", 0) + billed.get("cache_creation_input_tokens", 0)
    outside = "cache_read_input_tokens" in billed  # Anthropic's count of input leaves the cache out
    plain = billed.get("input_tokens", 0) - (0 if outside else cached + written)
    heard, shown = billed.get("audio_tokens", 0), billed.get("image_tokens", 0)
    measured = sum(_measured(_rates(cell, line.ended_ms).get(name, 0), billed.get(name, 0)) for name in _MEASURES)
    written_rate = (
        rates.get("output_image", rates.get("output", 0)) if "image_tokens" in billed else rates.get("output", 0)
    )
    return (
        measured
        + heard * (rates.get("input_audio", rates.get("input", 0)) - rates.get("input", 0))
        + shown * (rates.get("input_image", rates.get("input", 0)) - rates.get("input", 0))
        + plain * rates.get("input", 0)
        + cached * rates.get("cache_read", rates.get("input", 0))
        + written * rates.get("cache_write", rates.get("input", 0))
        + billed.get("output_tokens", 0) * written_rate
        + billed.get("search_units", 0) * rates.get("searches", 0)
    )


def _rates(cell: Cell, at_ms: int) -> dict[str, Any]:
    """The rates of the last period that applies at a time."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    found: dict[str, Any] = {}
    row = _rows().get((cell.provider, cell.model)) or _rows()[cell.provider, cell.model.rsplit("-", 2)[0]]  # a voice's
    for period in row["periods"]:
        start, end = period.get("hours", ("00:00", "24:00"))
        clock = f"{at:%H:%M}"
        within = start <= clock < end if start < end else clock >= start or clock < end
        if within and period.get("from", "") <= f"{at:%Y-%m-%d}":
            found = period["rates"]
    return found


def _base(rate: Any) -> int:
    """The rate of the lowest tier."""
    return rate if isinstance(rate, int) else rate[0][1] if isinstance(rate, list) else 0


def _measured(rate: Any, units: int) -> int:
    """So much of what is no token, half up to a pico."""
    picos, per = (rate["picos"], rate["per"]) if isinstance(rate, dict) else (rate, 1)
    return (2 * units * picos + per) // (2 * per)
