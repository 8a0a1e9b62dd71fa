"""Medians over the rounds, ratios to the floor, and the tables."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from scripts.bench.scenarios import Sample

Row = dict[str, object]
Column = tuple[str, str, str]
"""(key of a row, heading, format)"""

TITLE = "Gateways side by side: medians of interleaved rounds"
COLUMNS: tuple[Column, ...] = (
    ("name", "gateway", "s"),
    ("calls32.per_s", "calls/s, 32 conn.", ",.0f"),
    ("calls64.per_s", "64 conn.", ",.0f"),
    ("of_floor", "of floor", ".2f"),
    ("of_nginx", "of nginx", ".2f"),
    ("calls64.cpu_us", "CPU µs/call", ".0f"),
    ("cpu_of_floor", "of floor's", ".2f"),
    ("added_p50_ms", "added p50 ms", ".2f"),
    ("added_p99_ms", "added p99 ms", ".2f"),
    ("sse.per_s", "SSE events/s", ",.0f"),
    ("sse.cpu_us", "CPU µs/event", ".1f"),
    ("paced.cpu_us", "CPU µs/paced chunk", ".0f"),
    ("held.idle_mb", "idle MB", ".0f"),
    ("held.kb_a_stream", "KB/open stream", ".0f"),
)


def summarise(samples: Sequence[Sample]) -> list[Row]:
    """A row for each contestant: the median of each figure, and what it comes to beside the others."""
    by_name: dict[str, dict[str, list[float]]] = {}
    for sample in samples:
        by_name.setdefault(sample.contestant, {}).setdefault(sample.figure, []).append(sample.value)
    rows: list[Row] = [
        {"name": name} | {figure: statistics.median(values) for figure, values in figures.items()}
        for name, figures in by_name.items()
    ]
    floor, nginx, direct = (_figures(rows, name) for name in ("floor", "nginx", "direct"))
    for row in rows:
        # Throughput at both numbers of connections: the geometric mean of the two ratios.
        row["of_floor"] = _ratio(row, floor)
        row["of_nginx"] = _ratio(row, nginx)
        row["cpu_of_floor"] = _number(row, "calls64.cpu_us") / _number(floor, "calls64.cpu_us")
        if row["name"] != "direct":
            row["added_p50_ms"] = _difference(row, direct, "added.p50_ms")
            row["added_p99_ms"] = _difference(row, direct, "added.p99_ms")
    order = ("direct", "nginx", "floor", "farthing", "farthing-aiohttp", "litellm")
    return sorted(rows, key=lambda row: order.index(str(row["name"])))


def _figures(rows: list[Row], name: str) -> Row:
    return next((row for row in rows if row["name"] == name), {})


def _ratio(row: Row, other: Row) -> float:
    ratios = [
        _number(row, figure) / _number(other, figure)
        for figure in ("calls32.per_s", "calls64.per_s")
        if figure in row and figure in other
    ]
    return math.prod(ratios) ** (1 / len(ratios)) if ratios else float("nan")


def _difference(row: Row, other: Row, figure: str) -> float:
    return _number(row, figure) - _number(other, figure)


def _number(row: Row, figure: str) -> float:
    value = row.get(figure, float("nan"))
    return value if isinstance(value, int | float) else float("nan")


def save(directory: Path, what: str, machine: dict[str, object], rows: list[Row], notes: list[str]) -> Path:
    """Write the run to a file named after its date."""
    directory.mkdir(parents=True, exist_ok=True)
    stamp = datetime.fromisoformat(str(machine["date"])).strftime("%Y-%m-%dT%H%M%SZ")
    path = directory / f"{stamp}-{what}.json"
    kept = [{key: None if _absent(value) else value for key, value in row.items()} for row in rows]
    path.write_text(json.dumps({"what": what, "machine": machine, "rows": kept, "notes": notes}, indent=2) + "\n")
    return path


def render(
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    machine: dict[str, object],
    notes: Sequence[str],
    *,
    markdown: bool,
) -> str:
    """The table, with what has to be known to read it."""
    shown = [column for column in columns if any(_cell(row, column) for row in rows)]
    cells = [[heading for _, heading, _ in shown], *([_cell(row, column) for column in shown] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(shown))]

    def line(values: list[str], pad: Callable[[str, int], str] = str.rjust) -> str:
        padded = [values[0].ljust(widths[0]), *(pad(value, width) for value, width in zip(values[1:], widths[1:]))]  # noqa: B905
        return f"| {' | '.join(padded)} |" if markdown else "  ".join(padded)

    rule = (
        ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])] if markdown else ["-" * w for w in widths]
    )
    versions = machine["versions"]
    assert isinstance(versions, dict)
    about = (
        f"{machine['date']}; {machine['cpu']}, {machine['cores']} cores; {machine['system']};"
        f" load {machine['load_average']}; " + ", ".join(f"{name} {version}" for name, version in versions.items())
    )
    parts = [title, "", line(cells[0]), line(rule), *(line(row) for row in cells[1:]), "", about]
    return "\n".join([*parts, *(f"note: {note}" for note in notes)])


def _cell(row: Row, column: Column) -> str:
    key, _, form = column
    value = row.get(key)
    return "" if _absent(value) else format(value, form)


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
