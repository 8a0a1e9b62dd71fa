"""Figures as bars: where each stands and how long it is. Pure; the templates draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

WIDTH, HEIGHT = 1000, 240  # of a chart's own units, stretched to its place
SERIES_MAX = 5  # told apart by colour; the rest is one more
REST = "others"
_GAP = 0.24  # of a bar's place


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a column. `tone` is the number of its colour."""

    x: float
    y: float
    width: float
    height: float
    tone: int


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """What stands on one day: its pieces from below, and the whole place to point at."""

    label: int
    total: int
    bars: tuple[Bar, ...]
    x: float
    width: float


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Columns beside each other. `top` is what the upper edge stands for; `series` are names by tone."""

    columns: tuple[Column, ...]
    series: tuple[str, ...]
    top: int


def stacked(labels: Sequence[int], values: Mapping[str, Mapping[int, int]]) -> Chart:
    """A column for each label, with a piece for each of the largest series and one for the rest."""
    sums = {name: sum(of.values()) for name, of in values.items()}
    large = sorted((name for name in sums if sums[name] > 0), key=lambda name: (-sums[name], name))[:SERIES_MAX]
    rest = [name for name in values if name not in large and sums[name] > 0]
    series = (*large, *([REST] if rest else []))
    rows = [values[name] for name in large]
    if rest:
        rows.append({label: sum(values[name].get(label, 0) for name in rest) for label in labels})
    totals = {label: sum(row.get(label, 0) for row in rows) for label in labels}
    top = _ceiling(max(totals.values(), default=0))
    place = WIDTH / max(len(labels), 1)
    columns = []
    for number, label in enumerate(labels):
        bars, below = [], float(HEIGHT)
        for tone, row in enumerate(rows, 1):
            height = row.get(label, 0) * HEIGHT / top
            if height <= 0:
                continue
            below -= height
            x, width = (number + _GAP / 2) * place, (1 - _GAP) * place
            bars.append(Bar(x=_(x), y=_(below), width=_(width), height=_(height), tone=tone))
        columns.append(Column(label=label, total=totals[label], bars=tuple(bars), x=_(number * place), width=_(place)))
    return Chart(columns=tuple(columns), series=series, top=top)


def _(length: float) -> float:
    return round(length, 2)


def _ceiling(most: int) -> int:
    """A round number that is at least this, and above zero."""
    step = 1
    while True:
        for factor in (1, 2, 4, 5, 8):
            if factor * step >= max(most, 1):
                return factor * step
        step *= 10
