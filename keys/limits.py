"""Caps and limits as a client writes them, as the ledger takes them; and what of them cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from keys.ids import new_id
from keys.requests import LimitSpec, Reset
from ledger.book import Match
from ledger.limits import WantedLimit
from ledger.money import usd_to_micros
from ledger.views import AccountView, LimitView
from ledger.windows import Window, zone

F = TypeVar("F", bound=msgspec.Struct)


class Invalid(Exception):
    """A field cannot be as it is. `param` names it; `message` is fit for the client."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param
        self.message = message


class Exceeds(Invalid):
    """A child would have more than its parent."""


class Names(Protocol):
    """What providers, models and operations there are, by the words of whoever knows them."""

    def provider(self, name: str) -> str | None:
        """A provider's own name, by any name that it goes by; None if it names none."""
        ...

    def model(self, name: str, provider: str | None) -> str | None:
        """The entry of the catalogue that a model's id means, at this provider or at any; None if it means none."""
        ...

    def route(self, name: str) -> bool:
        """Whether an operation is called so."""
        ...


class AnyNames:
    """Knows nothing, and takes every word as it is."""

    def provider(self, name: str) -> str | None:
        """See `Names`."""
        return name

    def model(self, name: str, provider: str | None) -> str | None:
        """See `Names`."""
        return name

    def route(self, name: str) -> bool:
        """See `Names`."""
        return True


ANY_NAMES = AnyNames()


class HasCap(Protocol):
    """Something that may say a cap."""

    @property
    def max_spend_usd(self) -> Decimal | None | UnsetType:
        """In dollars."""
        ...

    @property
    def max_spend_micros(self) -> int | None | UnsetType:
        """In micros."""
        ...


def named(asked: F, names: Names, *, unpriced: bool, stored: Mapping[str, Any] = {}) -> F:
    """A key's or plan's lists of providers and models, canonical. What a key has already stays as it is.

    With `unpriced`, models that nobody knows are as good as others. Prefixes may come true later.

    Raises:
        Invalid: An entry names nothing; `param` says which.
    """
    changed: dict[str, list[str]] = {}
    for param, find in (
        ("allowed_providers", names.provider),
        ("allowed_models", lambda name: names.model(name, None)),
    ):
        patterns = getattr(asked, param)
        if not isinstance(patterns, list):
            continue
        kept = stored.get(param) or ()
        for index, pattern in enumerate(patterns):
            if pattern.endswith("*") or pattern in kept or (unpriced and param == "allowed_models"):
                continue
            if (found := find(pattern)) is None:
                raise Invalid(f"{param}[{index}]", f"there is no {param[8:-1]} {pattern!r} here")
            if (
                param == "allowed_providers"
            ):  # of a model, the very id that is said is allowed, and no other of its entry
                changed.setdefault(param, list(patterns))[index] = found
    return msgspec.structs.replace(asked, **changed) if changed else asked


def within(cap_micros: int | None | UnsetType, parent: AccountView, param: str = "max_spend_usd") -> None:
    """Refuse a cap above the parent's and its ancestors'. Raises Exceeds."""
    if isinstance(cap_micros, int) and parent.ceiling_micros is not None and cap_micros > parent.ceiling_micros:
        raise Exceeds(param, "a cap cannot be more than the parent's")


def cap_of(asked: HasCap) -> int | None | UnsetType:
    """The cap in micros, said in dollars or in micros. Raises Invalid."""
    usd: int | None | UnsetType = UNSET
    if isinstance(asked.max_spend_usd, Decimal):
        try:
            usd = usd_to_micros(asked.max_spend_usd)
        except ValueError as error:
            raise Invalid("max_spend_usd", f"max_spend_usd {error}") from None
    else:
        usd = asked.max_spend_usd
    micros = asked.max_spend_micros
    if usd is not UNSET and micros is not UNSET and usd != micros:
        raise Invalid("max_spend_micros", "max_spend_usd and max_spend_micros say different amounts")
    return micros if usd is UNSET else usd


def window_of(reset: Reset | None | UnsetType) -> Window | UnsetType:
    """The window in which a cap with this reset counts."""
    if reset is UNSET:
        return UNSET
    return "total" if reset is None or reset == "none" else reset


def limits_of(
    specs: list[LimitSpec],
    now_ms: int,
    current: AccountView | None = None,
    *,
    names: Names = ANY_NAMES,
    unpriced: bool = False,
) -> tuple[WantedLimit, ...]:
    """Limits as the ledger takes them. An id must be one that the account has, and keeps unit and counting.

    What a limit is about is said in the words of the catalogue; one that could never count anything is refused.

    Raises:
        Invalid: `param` names the limit and its field.
    """
    limits = current.limits if current is not None else ()
    own = {limit.public_id: limit for limit in limits if limit.role == "limit" and limit.own}
    wanted: list[WantedLimit] = []
    for index, spec in enumerate(specs):
        kept = own.get(spec.id) if spec.id is not None else None
        if spec.id is not None and (kept is None or spec.id in {each.public_id for each in wanted}):
            raise Invalid(f"limits[{index}].id", f"there is no such limit: {spec.id}")
        if kept is not None and (kept.unit, kept.per) != (spec.unit, spec.per):
            raise Invalid(f"limits[{index}].id", "a limit that keeps its counter keeps its unit and per")
        if spec.unit == "concurrent" and spec.window != "total":
            raise Invalid(f"limits[{index}].window", "concurrent calls are not counted in windows")
        if spec.timezone is not None:
            try:
                zone(spec.timezone)
            except (ValueError, LookupError, OSError):
                raise Invalid(f"limits[{index}].timezone", "must be an IANA time zone") from None
        wanted.append(
            WantedLimit(
                public_id=spec.id or new_id("lim", now_ms),
                unit=spec.unit,
                max=spec.max,
                window=spec.window,
                timezone=spec.timezone,
                anchor_ms=spec.anchor_ms,
                match=_match(spec, f"limits[{index}].match", names, kept, unpriced=unpriced),
                per=spec.per,
                action=spec.action,
                alert_at=None if spec.alert_at is None else marks_of(spec.alert_at),
            )
        )
    return tuple(wanted)


def marks_of(alert_at: list[int]) -> tuple[int, ...]:
    """Marks as the ledger takes them: each once, from the lowest on."""
    return tuple(sorted(set(alert_at)))


def new_marks(alert_at: list[int] | None | UnsetType) -> tuple[int, ...] | None:
    """The marks of what is made; None where nothing was said."""
    return marks_of(alert_at) if isinstance(alert_at, list) else None


def changed_marks(alert_at: list[int] | None | UnsetType) -> tuple[int, ...] | None | UnsetType:
    """The marks of what is changed; None where those of its plan, or the default, are to hold again."""
    return marks_of(alert_at) if isinstance(alert_at, list) else alert_at


def _match(spec: LimitSpec, where: str, names: Names, kept: LimitView | None, *, unpriced: bool) -> Match:
    """Which calls a limit is about. Raises Invalid: no call ever would be."""
    said = Match(
        provider=spec.match.provider, model=spec.match.model, route=spec.match.route, metadata=spec.match.metadata
    )
    if kept is not None and kept.match == said:
        return said
    provider, model = said.provider, said.model
    if provider is not None and (provider := names.provider(provider)) is None:
        raise Invalid(f"{where}.provider", f"there is no provider {said.provider!r} here")
    if model is not None and not model.endswith("*") and not unpriced:
        model = names.model(model, provider)
        if model is None:
            at = f" of {provider}" if provider is not None else ""
            raise Invalid(f"{where}.model", f"there is no model {said.model!r}{at} here")
    if said.route is not None and not names.route(said.route):
        raise Invalid(f"{where}.route", f"there is no operation {said.route!r} here")
    return msgspec.structs.replace(said, provider=provider, model=model)
