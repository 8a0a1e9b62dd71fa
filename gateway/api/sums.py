"""What the management API answers with of sums, prices and reservations, as types. See `gateway.api.shapes`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.shapes import Event, Key, Micros, Ms
from ledger.records import Unit

Usd = Annotated[str, Meta(description="A decimal number of US dollars.")]


class _Counts(Struct, kw_only=True):
    requests: int
    blocked: int
    cost_micros: Micros
    price_micros: Micros


class _Figures(_Counts, kw_only=True):
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    characters: int
    audio_ms: int
    images: int
    latency_ms_avg: int | None
    latency_ms_p50: int | None
    latency_ms_p95: int | None


class ModelUsage(_Figures, kw_only=True):
    """What one provider's model came to."""

    provider: str
    model: str


class KeyRow(_Counts, kw_only=True):
    """What a key's own calls came to; the rows add up to the total."""

    key_id: str
    name: str
    external_id: str | None
    by_model: list[ModelUsage]


class UsageGroup(_Figures, kw_only=True):
    """What a group came to. A tag stands under `tag:NAME`."""

    day: str | UnsetType = UNSET
    day_start_ms: Ms | UnsetType = UNSET
    end_user: str | None | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    model: str | UnsetType = UNSET


class Usage(_Counts, kw_only=True):
    """The bill of a span of time, `[from_ms, to_ms)`."""

    object: Literal["usage"]
    from_ms: Ms
    to_ms: Ms
    by_key: list[KeyRow]
    groups: list[UsageGroup] | UnsetType = UNSET


class Estimated(Struct, kw_only=True):
    """What a usage would cost. `unpriced` names what of it has no price here."""

    object: Literal["estimate"]
    cost_micros: Micros
    cost_picos: int
    price_version: str
    unpriced: list[str]


class Reason(Struct, kw_only=True):
    """Why something is not allowed, and by which limit."""

    code: str
    cap: str | UnsetType = UNSET
    limit_id: str | UnsetType = UNSET
    unit: Unit | UnsetType = UNSET
    limit: int | UnsetType = UNSET
    used: int | UnsetType = UNSET
    held: int | UnsetType = UNSET
    remaining: int | UnsetType = UNSET
    required: int | UnsetType = UNSET
    resets_at_ms: Ms | None | UnsetType = UNSET


class Check(Struct, kw_only=True):
    """Whether a reservation would be allowed."""

    object: Literal["check"]
    allowed: bool
    remaining: int | None
    reasons: list[Reason]


class Reservation(Struct, kw_only=True):
    """What came of a wish to reserve; `id` is null where it was not allowed."""

    id: str | None
    object: Literal["reservation"]
    allowed: bool
    unit: Unit
    amount: int
    remaining: int | None
    reasons: list[Reason]
    expires_at_ms: Ms | None
    state: str | None | UnsetType = UNSET


class ExtendedReservation(Struct, kw_only=True):
    """A reservation that lives on."""

    id: str
    object: Literal["reservation"]
    state: Literal["open"]
    unit: Unit
    amount: int
    expires_at_ms: Ms


class EndedReservation(Struct, kw_only=True):
    """A reservation that was committed or released."""

    id: str
    object: Literal["reservation"]
    state: str | None
    unit: Unit
    amount: int
    actual: int
    cost_micros: Micros
    flags: list[str]
    event_id: str


class RejectedReport(Struct, kw_only=True):
    """A reported call that was not counted."""

    index: int
    idempotency_key: str | None
    code: str
    reason: str


class SubjectState(Struct, kw_only=True):
    """Whether the next call is allowed."""

    key_id: str
    end_user: str | None
    allowed: bool
    remaining_micros: Micros | None


class Accepted(Struct, kw_only=True):
    """What came of a batch of reported calls."""

    accepted: int
    duplicates: int
    rejected: list[RejectedReport]
    state: list[SubjectState]


class RateShown(Struct, kw_only=True):
    """A rate: exactly, as `price_picos` for `per` units; and to be read, as `usd` for `usd_per` units."""

    unit: str
    above_input_tokens: int
    price_picos: int
    per: int
    usd: Usd
    usd_per: int


class PricePeriod(Struct, kw_only=True, rename={"since": "from"}):
    """Rates of a time: from a day on, or of some hours of the day (UTC)."""

    since: str | None
    hours: list[str] | None
    rates: list[RateShown]


class PriceVariant(Struct, kw_only=True, rename={"since": "from"}):
    """Rates of a service tier or a speed."""

    service_tier: str
    speed: str
    since: str | None
    rates: list[RateShown]


class Multiplier(Struct, kw_only=True):
    """By what token rates are multiplied in a place."""

    numerator: int
    denominator: int


class Price(Struct, kw_only=True):
    """What a model costs, since when, and by whose word."""

    id: str
    object: Literal["price"]
    provider: str
    model: str
    aliases: list[str]
    mode: str
    free: bool
    max_input_tokens: int | None
    max_output_tokens: int | None
    rates: list[RateShown]
    periods: list[PricePeriod]
    variants: list[PriceVariant]
    geo: dict[str, Multiplier]
    sources: list[str]
    dated: str
    note: str


class Health(Struct, kw_only=True):
    """Whether it lives, or is ready."""

    status: str


class EventList(Struct, kw_only=True):
    """A page of events."""

    object: Literal["list"]
    data: list[Event]
    has_more: bool


class KeyUsage(Struct, kw_only=True):
    """How far a key is, with its subtree: in its cap's window, or in the time that was asked for."""

    cost_micros: Micros
    cap_micros: Micros | None
    by_model: list[ModelUsage]
    key: Key
    events: EventList
