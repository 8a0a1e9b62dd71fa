"""Ours and theirs, day by day: what a provider says of a span held against the events. Pure.

Promises: a difference in money is told as two that add up to it: what comes of tokens that the two count differently,
at the provider's own rate, and what comes of the price. Each finding says which kind of error it is. Knows no files and
no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ledger.money import PICOS_PER_MICRO
from ledger.purchases import Purchase
from providers.ground.statement import CLASSES, DAY_MS, Entry
from providers.ground.usage import Usage
from providers.pricing.catalogue import Catalogue

NOON_MS = DAY_MS // 2
ROUNDING_PICOS = PICOS_PER_MICRO  # of a day's money of a model: less is no difference
_Cell = tuple[int, str, str]


class Line(msgspec.Struct, kw_only=True):
    """One day, model and class. Money is None where a side does not break it down, or does not say it."""

    day_ms: int
    model: str
    of: str
    ours_tokens: int = 0
    theirs_tokens: int = 0
    ours_picos: int | None = None
    theirs_picos: int | None = None


class Day(msgspec.Struct, kw_only=True):
    """The money of one day and model: `difference = of_tokens + of_price`, ours less theirs, in picos."""

    day_ms: int
    model: str
    ours_picos: int = 0
    theirs_picos: int = 0
    of_tokens_picos: int = 0

    @property
    def difference_picos(self) -> int:
        """Ours less theirs."""
        return self.ours_picos - self.theirs_picos

    @property
    def of_price_picos(self) -> int:
        """What the tokens do not explain."""
        return self.difference_picos - self.of_tokens_picos


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One error by its kind.

    Attributes:
        kind: "tokens" (counted differently), "class_missed" (they have a class that we never count),
            "class_not_billed" (the other way round), "day" (the same in all, on other days), "price",
            "only_theirs" (a model that never went through here), "only_ours", "other_charge" (of no tokens).
        days_ms: On which days.
        tokens: Ours less theirs over all days.
        picos: Ours less theirs, in money.
    """

    kind: str
    model: str
    of: str
    days_ms: tuple[int, ...]
    tokens: int = 0
    picos: int = 0


class Comparison(msgspec.Struct, kw_only=True):
    """Everything that was compared, and what was found."""

    lines: list[Line]
    days: list[Day]
    findings: list[Finding]


def compare(
    provider: str, ours: Iterable[Purchase], theirs: Iterable[Entry], catalogue: Catalogue, tolerance_ppm: int
) -> Comparison:
    """Hold both against each other. Differences up to `tolerance_ppm` millionths of the larger side are none."""
    cells: dict[_Cell, Line] = {}
    days: dict[tuple[int, str], Day] = {}

    def named(model: str) -> str:
        return catalogue.entry_of(provider, model) or model if model else ""

    def cell(day_ms: int, model: str, of: str) -> Line:
        return cells.setdefault((day_ms, model, of), Line(day_ms=day_ms, model=model, of=of))

    told = charged = False
    for entry in theirs:
        model = named(entry.model)
        line = cell(entry.day_ms, model, entry.of)
        if entry.tokens is not None:
            told, line.theirs_tokens = True, line.theirs_tokens + entry.tokens
        if entry.picos is not None:
            charged, line.theirs_picos = True, (line.theirs_picos or 0) + entry.picos
            day = days.setdefault((entry.day_ms, model), Day(day_ms=entry.day_ms, model=model))
            day.theirs_picos += entry.picos
    for each in ours:
        model = named(each.model)
        for of, tokens in _classes(each.tokens).items():
            if tokens:
                cell(each.day_ms, model, of).ours_tokens += tokens
        days.setdefault((each.day_ms, model), Day(day_ms=each.day_ms, model=model)).ours_picos += each.cost_picos
    prices = _Prices(provider, catalogue)
    of_day: dict[tuple[int, str], list[Line]] = {}
    for line in cells.values():
        of_day.setdefault((line.day_ms, line.model), []).append(line)
    for key, day in days.items():
        _break_down(day, of_day.get(key, []), prices, told=told)
    above = _above(tolerance_ppm)
    lines = sorted(cells.values(), key=lambda line: (line.day_ms, line.model, line.of))
    findings = (_of_tokens(lines, days, above) if told else []) + (_of_prices(days, of_day, above) if charged else [])
    kept = sorted(days.values(), key=lambda day: (day.day_ms, day.model)) if charged else []
    return Comparison(lines=lines, days=kept, findings=findings)


def _classes(tokens: dict[str, int]) -> dict[str, int]:
    """An event's totals as classes that do not overlap."""
    read, written = tokens["cache_read_tokens"], tokens["cache_write_tokens"]
    hour, half_day = tokens["cache_write_1h_tokens"], tokens["cache_write_12h_tokens"]
    return {
        "input": tokens["input_tokens"] - read - written,
        "cache_read": read,
        "cache_write": written - hour - half_day,
        "cache_write_1h": hour,
        "cache_write_12h": half_day,
        "output": tokens["output_tokens"],
    }


class _Prices:
    """What tokens of one class alone cost by the catalogue."""

    def __init__(self, provider: str, catalogue: Catalogue) -> None:
        self._provider = provider
        self._catalogue = catalogue

    def of(self, line: Line, tokens: int) -> int | None:
        """In picos; None where the model has no price."""
        price = self._catalogue.find(self._provider, line.model, line.day_ms + NOON_MS)
        return price.cost_picos(_alone(line.of, tokens)) if price is not None else None


def _alone(of: str, tokens: int) -> Usage:
    """So many tokens of one class, and of no other."""
    match of:
        case "output":
            return Usage(output_tokens=tokens)
        case "cache_read":
            return Usage(input_tokens=tokens, cache_read_tokens=tokens)
        case "cache_write":
            return Usage(input_tokens=tokens, cache_write_tokens=tokens)
        case "cache_write_1h":
            return Usage(input_tokens=tokens, cache_write_tokens=tokens, cache_write_1h_tokens=tokens)
        case "cache_write_12h":
            return Usage(input_tokens=tokens, cache_write_tokens=tokens, cache_write_12h_tokens=tokens)
    return Usage(input_tokens=tokens)


def _break_down(day: Day, lines: list[Line], prices: _Prices, *, told: bool) -> None:
    """Our money by class, where the classes' prices add up to it; and how much of the difference is of tokens."""
    counted = [line for line in lines if line.of in CLASSES]
    shares = [prices.of(line, line.ours_tokens) for line in counted]
    whole = [share for share in shares if share is not None]
    if len(whole) == len(shares) and sum(whole) == day.ours_picos:
        for line, share in zip(counted, whole, strict=True):
            line.ours_picos = share
    if not told:
        return
    for line in counted:
        difference = line.ours_tokens - line.theirs_tokens
        if not difference:
            continue
        if line.theirs_picos and line.theirs_tokens:
            day.of_tokens_picos += difference * line.theirs_picos // line.theirs_tokens
        else:
            share = prices.of(line, abs(difference)) or 0
            day.of_tokens_picos += share if difference > 0 else -share


def _above(tolerance_ppm: int) -> Callable[[int, int], bool]:
    def above(one: int, other: int) -> bool:
        return abs(one - other) * 1_000_000 > tolerance_ppm * max(abs(one), abs(other))

    return above


def _of_tokens(lines: list[Line], days: dict[tuple[int, str], Day], above: Callable[[int, int], bool]) -> list[Finding]:
    models: dict[str, dict[str, list[Line]]] = {}
    for line in lines:
        if line.of in CLASSES:
            models.setdefault(line.model, {}).setdefault(line.of, []).append(line)
    found = []
    for model, classes in models.items():
        ours = sum(line.ours_tokens for each in classes.values() for line in each)
        theirs = sum(line.theirs_tokens for each in classes.values() for line in each)
        money = [day for day in days.values() if day.model == model]
        if not ours or not theirs:
            if ours or theirs:
                days_ms = tuple(sorted({line.day_ms for each in classes.values() for line in each}))
                kind = "only_ours" if ours else "only_theirs"
                picos = sum(day.difference_picos for day in money)
                found.append(Finding(kind=kind, model=model, of="", days_ms=days_ms, tokens=ours - theirs, picos=picos))
            continue
        for of, each in classes.items():
            differ = [line for line in each if above(line.ours_tokens, line.theirs_tokens)]
            if differ:
                found.append(_kind_of_tokens(model, of, each, differ, above))
    return found


def _kind_of_tokens(
    model: str, of: str, lines: list[Line], differ: list[Line], above: Callable[[int, int], bool]
) -> Finding:
    ours, theirs = sum(line.ours_tokens for line in lines), sum(line.theirs_tokens for line in lines)
    moved = sum(abs(line.ours_tokens - line.theirs_tokens) for line in lines)
    if not above(moved + ours - theirs, moved):
        kind = "day"  # what is missing on one stands on another
    elif not ours:
        kind = "class_missed"
    elif not theirs:
        kind = "class_not_billed"
    else:
        kind = "tokens"
    days_ms = tuple(line.day_ms for line in differ)
    return Finding(kind=kind, model=model, of=of, days_ms=days_ms, tokens=ours - theirs)


def _of_prices(
    days: dict[tuple[int, str], Day],
    of_day: dict[tuple[int, str], list[Line]],
    above: Callable[[int, int], bool],
) -> list[Finding]:
    """Prices that differ, by the class where both sides say it; and charges for what is no tokens."""
    found: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for key, day in sorted(days.items()):
        lines = of_day.get(key, [])
        if not any(line.ours_tokens or line.theirs_tokens for line in lines) and not day.ours_picos:
            for line in lines:
                if line.theirs_picos and line.of not in CLASSES:
                    found.setdefault(("other_charge", day.model, line.of), []).append((day.day_ms, -line.theirs_picos))
            if any(line.of not in CLASSES for line in lines):
                continue
        explained = day.ours_picos - day.of_price_picos
        if abs(day.of_price_picos) <= ROUNDING_PICOS or not above(day.ours_picos, explained):
            continue
        if day.ours_picos and day.theirs_picos:
            for of, picos in _classes_of(day, lines, above):
                found.setdefault(("price", day.model, of), []).append((day.day_ms, picos))
        elif not any(line.ours_tokens or line.theirs_tokens for line in lines):
            kind = "only_theirs" if day.theirs_picos else "only_ours"
            found.setdefault((kind, day.model, ""), []).append((day.day_ms, day.difference_picos))
    return [
        Finding(
            kind=kind,
            model=model,
            of=of,
            days_ms=tuple(day_ms for day_ms, _ in each),
            picos=sum(picos for _, picos in each),
        )
        for (kind, model, of), each in found.items()
    ]


def _classes_of(day: Day, lines: list[Line], above: Callable[[int, int], bool]) -> list[tuple[str, int]]:
    """In which classes a day's price differs: those whose rates do; "" where nobody can say."""
    named = []
    for line in lines:
        if line.ours_picos and line.theirs_picos and line.ours_tokens and line.theirs_tokens:
            ours = line.ours_picos * line.theirs_tokens // line.ours_tokens
            if abs(ours - line.theirs_picos) > ROUNDING_PICOS and above(ours, line.theirs_picos):
                named.append((line.of, ours - line.theirs_picos))
    return named or [("", day.of_price_picos)]


def line_object(line: Line) -> dict[str, Any]:
    """A line as `--json` shows it; money in micros, rounded to the nearest."""
    return {
        "day_ms": line.day_ms,
        "model": line.model,
        "class": line.of,
        "ours_tokens": line.ours_tokens,
        "theirs_tokens": line.theirs_tokens,
        "difference_tokens": line.ours_tokens - line.theirs_tokens,
        "ours_micros": None if line.ours_picos is None else micros(line.ours_picos),
        "theirs_micros": None if line.theirs_picos is None else micros(line.theirs_picos),
    }


def day_object(day: Day) -> dict[str, Any]:
    """A day's money as `--json` shows it."""
    return {
        "day_ms": day.day_ms,
        "model": day.model,
        "ours_micros": micros(day.ours_picos),
        "theirs_micros": micros(day.theirs_picos),
        "difference_micros": micros(day.difference_picos),
        "of_tokens_micros": micros(day.of_tokens_picos),
        "of_price_micros": micros(day.difference_picos) - micros(day.of_tokens_picos),
    }


def micros(picos: int) -> int:
    """To the nearest micro, halves up."""
    return (2 * picos + PICOS_PER_MICRO) // (2 * PICOS_PER_MICRO)
