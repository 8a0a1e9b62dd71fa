"""The price catalogue: which model costs what, since when, by whose word.

Promises: exact ids only, looked up in constant time and memory; integers only, a float in a file is refused; retired
models stay priced; `version` names the content, so an event's usage, model and price version suffice to recompute its
cost. Knows nothing of usage, HTTP or the present time: the caller says when.

Three id rules stand beside exact ids and aliases, each a grammar that the vendor documents, never a guess:

- `ID-YYYY-MM-DD` or `ID-YYYYMMDD` of a catalogued ID is that model, and its price is marked `assumed`: vendors publish
  snapshots before any price list knows them, nearly always at the model's price. A snapshot known to cost otherwise
  has a row of its own, and that wins. A key with `unpriced: "deny"` may refuse an assumed price.
- `ft:ID:…` (OpenAI) is the row `ft:ID`.
- `ID-VOICE-LANGUAGE` (Deepgram) is the row ID where that row says `voices`.

The file is JSON: a header and `models`, one row each. An operator's file has only `models`, in the same format; its
rows replace rows of the same provider and id, and its ids and aliases win over ours. Fields of a row: see `ModelRow`.
"""

from __future__ import annotations

import hashlib
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec

from providers.ground.vendors import VENDORS
from providers.pricing.prices import INSTEAD, MEASURES, TOKEN_UNITS, TOOL, Price, Rates, Service

PROVIDERS: Final = tuple(VENDORS)
UNITS: Final = frozenset((*TOKEN_UNITS, *MEASURES, *(name + INSTEAD for name in MEASURES)))
PICOS_PER_CREDIT: Final = 80_000_000  # the list price that the catalogue's character prices are made of
CREDIT_SETTING: Final = "FARTHING_ELEVENLABS_USD_PER_CREDIT"
_FILE: Final = Path(__file__).with_name("catalogue.json")
_MODEL_CHARS_MAX: Final = 256  # longer names are nobody's, and are not even looked at
_SNAPSHOT: Final = re.compile(r"-20\d{2}(-?)(0[1-9]|1[0-2])\1(0[1-9]|[12]\d|3[01])\Z")
_NAMES_MAX: Final = 10_000  # of models, remembered: clients may invent any
_DAY_MS: Final = 86_400_000

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_Date: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^20\d{2}-\d{2}-\d{2}$")]
_Hour: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class CatalogueError(ValueError):
    """A price file cannot be used; the message names file, row and field."""


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rate that is no whole number of picos per unit: `picos` for `per` units."""

    picos: _Count
    per: Annotated[int, msgspec.Meta(ge=1)]


# Picos per unit; or [[above, picos], …], tiers by total input, the first above 0; or picos for a number of units.
Rate: TypeAlias = _Count | list[tuple[_Count, _Count]] | Measured


class Period(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"since": "from"}):
    """Rates from 00:00 UTC of a day until a later period of the list takes over; `hours` = daily [start, end) in UTC.

    Of the periods that apply at a time, the last in the list counts; where none does, the first.
    """

    rates: dict[str, Rate]
    since: _Date | None = None
    hours: tuple[_Hour, _Hour] | None = None


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"since": "from"}):
    """Rates that differ under a service tier or a speed. The first variant of a list that has a unit's rate counts."""

    rates: dict[str, Rate]
    service_tier: str = ""
    speed: str = ""
    since: _Date | None = None


class ModelRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model as the file has it.

    Attributes:
        provider: One of `PROVIDERS`.
        id: The model's own id, case and all; `aliases` are other exact ids of it.
        mode: "chat", "embedding", "audio_speech", …: for listings only.
        periods: Prices in USD by unit: `UNITS`, or `tool:NAME` for a separately priced tool call.
        geo: Multiplier of token rates by geography, as [numerator, denominator].
        free: Every rate is zero, on the record.
        voices: `ID-VOICE-LANGUAGE` is this model too.
        sources: Where the prices come from: "genai-prices", "litellm", "hand", "operator".
        dated: The day the sources were read that first gave this row as it stands.
        note: What a reader of the prices must know.
    """

    provider: str
    id: str
    periods: Annotated[list[Period], msgspec.Meta(min_length=1)]
    sources: Annotated[list[str], msgspec.Meta(min_length=1)]
    dated: _Date
    aliases: list[str] = []
    mode: str = ""
    variants: list[Variant] = []
    geo: dict[str, tuple[_Count, Annotated[int, msgspec.Meta(ge=1)]]] = {}
    max_input_tokens: _Count | None = None
    max_output_tokens: _Count | None = None
    free: bool = False
    voices: bool = False
    note: str = ""


class _File(msgspec.Struct, frozen=True):
    models: list[msgspec.Raw]
    version: str = ""


class _Entry:
    """A row with its prices laid out in time: epochs, and within each the hours of the day."""

    __slots__ = ("_picos_per_credit", "days", "prices", "row", "starts")

    def __init__(self, row: ModelRow, version: str, picos_per_credit: int) -> None:
        self.row = row
        self._picos_per_credit = picos_per_credit
        changes = {_ms(p.since) for p in row.periods} | {_ms(v.since) for v in row.variants} | {0}
        self.starts = sorted(changes)
        self.prices: dict[tuple[int, tuple[int, ...]], Price] = {}
        self.days = [self._day(start, version) for start in self.starts]
        if len(self.prices) > 1:
            for number, price in enumerate(self.prices.values(), 1):
                price.version = f"{version}/{number}"

    def _day(self, start_ms: int, version: str) -> tuple[list[int], list[Price]]:
        """Starts of the day's parts in ms, and the price of each, in the epoch that begins at `start_ms`."""
        periods = self.row.periods
        open_ = [at for at, period in enumerate(periods) if _ms(period.since) <= start_ms] or [0]
        edges = sorted({0} | {_clock_ms(h) for at in open_ for h in periods[at].hours or ()})
        chosen = []
        for edge in edges:
            apply = [at for at in open_ if _within(edge, periods[at].hours)]
            chosen.append(self._price(apply[-1] if apply else 0, start_ms, version))
        return edges, chosen

    def _price(self, at: int, start_ms: int, version: str) -> Price:
        active = tuple(i for i, variant in enumerate(self.row.variants) if _ms(variant.since) <= start_ms)
        if (price := self.prices.get((at, active))) is None:
            row = self.row
            price = self.prices[at, active] = Price(
                row.provider,
                row.id,
                version,
                _by_service(row.periods[at].rates, [row.variants[i] for i in active], row.geo),
                free=row.free,
                max_input_tokens=row.max_input_tokens,
                max_output_tokens=row.max_output_tokens,
                picos_per_credit=self._picos_per_credit,
            )
        return price

    def between(self, from_ms: int, to_ms: int) -> tuple[Price, ...]:
        """Every price in force at some time of a span of at most a day: at its ends, and at each change within."""
        epoch = max(bisect_right(self.starts, from_ms) - 1, 0)
        edges, prices = self.days[epoch]
        if len(edges) == 1 and all(start > to_ms for start in self.starts[epoch + 1 :]):
            return (prices[0],)  # nothing changes in so short a time: nearly always
        midnight = from_ms - from_ms % _DAY_MS
        changes = {day + edge for edges, _ in self.days for edge in edges for day in (midnight, midnight + _DAY_MS)}
        moments = {from_ms, to_ms, *changes, *self.starts}
        return tuple(dict.fromkeys(self.at(each) for each in sorted(moments) if from_ms <= each <= to_ms))

    def at(self, at_ms: int) -> Price:
        edges, prices = self.days[max(bisect_right(self.starts, at_ms) - 1, 0)]
        return prices[0] if len(edges) == 1 else prices[bisect_right(edges, at_ms % _DAY_MS) - 1]


class Catalogue:
    """All priced models. Immutable; to change prices, load another and swap the reference.

    Attributes:
        version: Day and content hash, e.g. "2026-11-22.1a2b3c4d"; "+…" where an operator's rows or rates are in.
    """

    def __init__(
        self,
        rows: Iterable[ModelRow],
        version: str,
        *,
        picos_per_credit: int = PICOS_PER_CREDIT,
    ) -> None:
        """See `load`."""
        self.version = version
        self._rows: dict[tuple[str, str], ModelRow] = {}
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._home: dict[str, str | None] = {}
        self._names: dict[tuple[str, str], tuple[str, ...]] = {}
        for row in rows:
            self._rows[row.provider, row.id] = row
        for row in self._rows.values():
            entry = _Entry(row, version, picos_per_credit if row.provider == "elevenlabs" else 0)
            for name in (row.id, *row.aliases):
                if name == row.id or (row.provider, name) not in self._rows:
                    self._entries[row.provider, name] = entry
        for provider, name in self._entries:
            self._home[name] = provider if self._home.get(name, provider) == provider else None

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        overrides: Sequence[Path] = (),
        *,
        picos_per_credit: int = PICOS_PER_CREDIT,
    ) -> Catalogue:
        """Reads a catalogue (ours unless `path` names another) and an operator's files, a later one winning.

        Args:
            picos_per_credit: The contract's rate; the character prices of ElevenLabs follow it, and where it
                states credits they are priced at it.

        Raises:
            CatalogueError: A file is missing or malformed; the message names file, row and field.
        """
        version, rows = _read(path or _FILE)
        added = hashlib.sha256()
        for extra in overrides:
            rows = _overridden(rows, _read(extra)[1])
            added.update(extra.read_bytes())
        if picos_per_credit != PICOS_PER_CREDIT:
            rows = [_at_credit_rate(row, picos_per_credit) for row in rows]
            added.update(str(picos_per_credit).encode())
        if overrides or picos_per_credit != PICOS_PER_CREDIT:
            version += "+" + added.hexdigest()[:8]
        return cls(rows, version, picos_per_credit=picos_per_credit)

    def __len__(self) -> int:
        """How many models are priced; aliases do not count."""
        return len(self._rows)

    def find(self, provider: str, model: str, at_ms: int) -> Price | None:
        """The price of a model at a time (Unix ms; of completion), or None: then it is not priced and not served."""
        if (entry := self._entries.get((provider, model))) is not None:
            return entry.at(at_ms)
        entry, assumed = self._by_rule(provider, model)
        if entry is None:
            return None
        return entry.at(at_ms).assume() if assumed else entry.at(at_ms)

    def priced(self, provider: str, model: str, version: str) -> Price | None:
        """The price that an event names by its `price_version`; None if this catalogue is not of that version."""
        entry = self._entries.get((provider, model)) or self._by_rule(provider, model)[0]
        prices = entry.prices.values() if entry else ()
        return next((price for price in prices if price.version == version), None)

    def current(self, price: Price, at_ms: int) -> Price:
        """The price of the same model at another time: some change with the hour of the day."""
        entry = self._entries.get((price.provider, price.model))
        return price if entry is None or len(entry.prices) == 1 else entry.at(at_ms)

    def between(self, price: Price, from_ms: int, to_ms: int) -> tuple[Price, ...]:
        """The prices of the same model that are in force at some time of a span of at most a day; most have one."""
        entry = self._entries.get((price.provider, price.model))
        return (price,) if entry is None or len(entry.prices) == 1 else entry.between(from_ms, to_ms)

    def entry_of(self, provider: str, model: str) -> str | None:
        """The id of the row that a model's id means; None if it means none."""
        entry = self._entries.get((provider, model)) or self._by_rule(provider, model)[0]
        return entry.row.id if entry is not None else None

    def names_of(self, provider: str, model: str) -> tuple[str, ...]:
        """What a model is called beside its id: its row's, and the one that it is a snapshot of."""
        known = self._names.get((provider, model))
        if known is not None:
            return known
        found = []
        if (entry := self.entry_of(provider, model)) is not None:
            found.append(entry)
        if snapshot := _SNAPSHOT.search(model[:_MODEL_CHARS_MAX]):
            found.append(model[: snapshot.start()])
        if len(self._names) >= _NAMES_MAX:
            self._names.clear()
        names = self._names[provider, model] = tuple(name for name in dict.fromkeys(found) if name != model)
        return names

    def provider_of(self, model: str) -> str | None:
        """Who serves this model; None where nobody or more than one provider does."""
        if model in self._home:
            return self._home[model]
        owners = [provider for provider in PROVIDERS if self._by_rule(provider, model)[0] is not None]
        return owners[0] if len(owners) == 1 else None

    def models(self, provider: str | None = None) -> list[ModelRow]:
        """All rows, or one provider's, by provider and id."""
        rows = (row for row in self._rows.values() if provider is None or row.provider == provider)
        return sorted(rows, key=lambda row: (row.provider, row.id))

    def _by_rule(self, provider: str, model: str) -> tuple[_Entry | None, bool]:
        """The row that one of the three id rules names, and whether its price is only assumed."""
        if len(model) > _MODEL_CHARS_MAX:
            return None, False
        if provider == "openai" and model.startswith("ft:"):
            return self._entries.get((provider, ":".join(model.split(":")[:2]))), False
        if provider == "deepgram":
            entry = self._entries.get((provider, model.rsplit("-", 2)[0]))
            return (entry, False) if entry is not None and entry.row.voices else (None, False)
        if snapshot := _SNAPSHOT.search(model):
            return self._entries.get((provider, model[: snapshot.start()])), True
        return None, False


def _read(path: Path) -> tuple[str, list[ModelRow]]:
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.MsgspecError) as error:
        raise CatalogueError(f"{path}: {error}") from error
    return file.version, [_row(path, at, json_text) for at, json_text in enumerate(file.models)]


def _row(path: Path, at: int, json_text: msgspec.Raw) -> ModelRow:
    """One row, validated. Its name in the error is what it calls itself, or its place in the file."""
    name = f"models[{at}]"
    try:
        loose = msgspec.json.decode(json_text)
        if isinstance(loose, dict):
            name = f"{loose.get('provider')}/{loose.get('id')}"
        row = msgspec.json.decode(json_text, type=ModelRow)
    except msgspec.MsgspecError as error:
        raise CatalogueError(f"{path}: row {name}: {error}") from error
    if row.provider not in PROVIDERS:
        raise CatalogueError(f"{path}: row {name}: field `provider` is none of {', '.join(PROVIDERS)}")
    zero = True
    parts = [(f"periods[{number}]", period.rates) for number, period in enumerate(row.periods)]
    parts += [(f"variants[{number}]", variant.rates) for number, variant in enumerate(row.variants)]
    for where, rates in parts:
        if not rates:
            raise CatalogueError(f"{path}: row {name}: field `{where}.rates` is empty")
        for unit, rate in rates.items():
            field = f"{path}: row {name}: field `{where}.rates.{unit}`"
            if unit not in UNITS and not unit.startswith(TOOL):
                raise CatalogueError(f"{field} is no known unit")
            if isinstance(rate, list) and (not rate or rate[0][0] != 0 or sorted(rate) != rate):
                raise CatalogueError(f"{field} needs tiers in rising order, the first above 0")
            if isinstance(rate, Measured) and unit in TOKEN_UNITS:
                raise CatalogueError(f"{field} is priced per token, in whole picos")
            zero = zero and _is_zero(rate)
    if zero != row.free:
        raise CatalogueError(f"{path}: row {name}: field `free` must be true where, and only where, every rate is 0")
    return row


def _overridden(rows: Sequence[ModelRow], by: Sequence[ModelRow]) -> list[ModelRow]:
    """Rows with some added or replaced; a name that a newcomer claims is taken from the aliases of all others."""
    claimed = {(row.provider, name) for row in by for name in (row.id, *row.aliases)}
    kept = []
    for row in rows:
        if (row.provider, row.id) not in claimed:
            aliases = [name for name in row.aliases if (row.provider, name) not in claimed]
            kept.append(msgspec.structs.replace(row, aliases=aliases))
    return [*kept, *by]


def _at_credit_rate(row: ModelRow, picos_per_credit: int) -> ModelRow:
    """A row of ElevenLabs with its character prices at another price of a credit."""
    if row.provider != "elevenlabs":
        return row
    periods = []
    for period in row.periods:
        rates = dict(period.rates)
        if isinstance(rate := rates.get("characters"), int):
            shared = math.gcd(rate * picos_per_credit, PICOS_PER_CREDIT)
            rates["characters"] = Measured(rate * picos_per_credit // shared, PICOS_PER_CREDIT // shared)
        periods.append(msgspec.structs.replace(period, rates=rates))
    return msgspec.structs.replace(row, periods=periods)


def _by_service(
    rates: Mapping[str, Rate], variants: Sequence[Variant], geo: Mapping[str, tuple[int, int]]
) -> dict[Service, list[tuple[int, Rates]]]:
    """The tiers of rates under every combination of service tier, speed and geography that is priced."""
    tiers = {"", *(v.service_tier for v in variants)}
    speeds = {"", *(v.speed for v in variants)}
    out: dict[Service, list[tuple[int, Rates]]] = {}
    for tier in sorted(tiers):
        for speed in sorted(speeds):
            merged: dict[str, Rate] = {}
            for variant in variants:
                if variant.service_tier in ("", tier) and variant.speed in ("", speed):
                    merged = {**variant.rates, **merged}
            merged = {**rates, **merged}
            steps = sorted({0, *(above for rate in merged.values() if isinstance(rate, list) for above, _ in rate)})
            for place, (times, over) in {"": (1, 1), **geo}.items():
                out[tier, speed, place] = [
                    (above or -1, {unit: _rate(unit, rate, above, times, over) for unit, rate in merged.items()})
                    for above in steps
                ]
    return out


def _rate(unit: str, rate: Rate, above: int, times: int, over: int) -> tuple[int, int]:
    """One unit's rate in the tier above a total input, as (picos, per); a geography multiplies tokens, rounded up."""
    if isinstance(rate, Measured):
        return rate.picos, rate.per
    picos = rate if isinstance(rate, int) else [p for start, p in rate if start <= above][-1]
    return (-(-picos * times // over) if unit in TOKEN_UNITS else picos), 1


def _is_zero(rate: Rate) -> bool:
    if isinstance(rate, Measured):
        return rate.picos == 0
    return rate == 0 if isinstance(rate, int) else not any(picos for _, picos in rate)


def _ms(day: str | None) -> int:
    """Start of a day in UTC as Unix ms; 0 for "always"."""
    return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1000 if day else 0


def _clock_ms(hour: str) -> int:
    return (int(hour[:2]) * 60 + int(hour[3:])) * 60_000


def _within(clock_ms: int, hours: tuple[str, str] | None) -> bool:
    """Whether a time of day is inside [start, end), which may run past midnight."""
    if hours is None:
        return True
    start, end = _clock_ms(hours[0]), _clock_ms(hours[1])
    return start <= clock_ms < end if start <= end else clock_ms >= start or clock_ms < end
