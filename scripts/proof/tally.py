"""What a run has found, added up over runs, and the table that says it.

A tally is kept in a JSON file, so that a long proof can be made of short runs: each adds to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

PROBLEMS_MAX = 200  # kept in full; the counts are whole


class Tally(msgspec.Struct, kw_only=True):
    """The sums of one engine. `rows`: how often each fault was tried. `calls`: how many clients made."""

    engine: str
    rows: dict[str, int] = {}
    skipped: dict[str, str] = {}
    seeds: list[int] = []
    dates: list[str] = []
    rounds: int = 0
    pairs: int = 0
    calls: int = 0
    kills: int = 0
    crashes: int = 0
    statuses: dict[str, int] = {}
    late: int = 0
    lost: int = 0
    double: int = 0
    overspent: int = 0
    other: int = 0
    problems: list[str] = []
    fresh_ms_max: int = 0
    fresh_slow: int = 0
    estimated_low_micros: int = 0
    unsettled_micros: int = 0
    cost_micros: int = 0
    seconds: int = 0

    def add(self, other: Tally) -> None:
        """Add another run's sums."""
        for counts, more in ((self.rows, other.rows), (self.statuses, other.statuses)):
            for name, count in more.items():
                counts[name] = counts.get(name, 0) + count
        self.skipped |= other.skipped
        self.seeds = sorted({*self.seeds, *other.seeds})
        self.dates = sorted({*self.dates, *other.dates})
        self.problems = (self.problems + other.problems)[:PROBLEMS_MAX]
        self.fresh_ms_max = max(self.fresh_ms_max, other.fresh_ms_max)
        for name in (
            "rounds", "pairs", "calls", "kills", "crashes", "late", "lost", "double", "overspent", "other",
            "fresh_slow", "estimated_low_micros", "unsettled_micros", "cost_micros", "seconds",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def broken(self) -> bool:
        """Whether anything was found."""
        return bool(self.lost or self.double or self.overspent or self.other)

    def note(self, kind: str, what: str) -> None:
        """Count a problem."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(f"{kind}: {what}")


def load(path: Path) -> dict[str, Tally]:
    """The tallies by engine; none where there is no file."""
    if not path.is_file():
        return {}
    return {tally.engine: tally for tally in msgspec.json.decode(path.read_bytes(), type=list[Tally])}


def save(path: Path, tallies: Iterable[Tally]) -> None:
    """Write them."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(list(tallies))))


_COLUMNS = (
    "engine", "faults", "rounds", "pairs", "calls", "kills", "database crashes", "settled", "estimated", "unsettled",
    "settled late", "lost", "double", "overspent", "other", "fresh call, worst s",
)  # fmt: skip


def table(tallies: Iterable[Tally]) -> str:
    """As Markdown."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "|".join(["---"] + ["--:"] * (len(_COLUMNS) - 1)) + "|"]
    for tally in tallies:
        cells = (
            tally.engine, len(tally.rows), tally.rounds, tally.pairs, tally.calls, tally.kills, tally.crashes,
            *(tally.statuses.get(status, 0) for status in ("settled", "estimated", "unsettled")),
            tally.late, tally.lost, tally.double, tally.overspent, tally.other, f"{tally.fresh_ms_max / 1000:.1f}",
        )  # fmt: skip
        lines.append("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells) + " |")
    return "\n".join(lines)
