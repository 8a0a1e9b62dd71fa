"""What callers state of calls that they make themselves, as the API takes it. Nothing they say is without a bound."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.bounds import SUBJECT_BYTES_MAX
from keys.requests import Metadata
from ledger.money import CHARGE_MICROS_MAX
from ledger.records import Unit
from providers.ground.usage import Usage

TTL_S_MAX = 24 * 3600
COUNT_MAX = 10**9  # of any unit in one call: more is a mistake, and the sums must stay within 64 bits

Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Amount = Annotated[int, Meta(ge=0, le=CHARGE_MICROS_MAX)]
Ttl = Annotated[int, Meta(ge=1, le=TTL_S_MAX)]


class Payer(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Whose limits count: a key, and perhaps an end user under it."""

    key_id: str | None = None
    end_user: Annotated[str, Meta(min_length=1, max_length=SUBJECT_BYTES_MAX)] | None = None


class Reserve(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What to reserve."""

    amount: Amount
    unit: Unit = "micros"
    subject: Payer = Payer()
    provider: str = ""
    model: str = ""
    metadata: Metadata = {}
    ttl_seconds: Ttl = 60


class Commit(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What was really used, in the reservation's unit."""

    actual: Amount


class Extend(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How long the reservation lives on, from now."""

    ttl_seconds: Ttl = 60


class ReportedUsage(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a call used, by the names of `by_model`, and those parts of it that have prices of their own."""

    input_tokens: Count = 0
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0
    cache_write_1h_tokens: Count = 0
    cache_write_12h_tokens: Count = 0
    input_audio_tokens: Count = 0
    input_image_tokens: Count = 0
    cache_read_audio_tokens: Count = 0
    output_tokens: Count = 0
    reasoning_tokens: Count = 0
    output_audio_tokens: Count = 0
    output_image_tokens: Count = 0
    characters: Count = 0
    audio_ms: Count = 0
    video_ms: Count = 0
    images: Count = 0
    pages: Count = 0
    searches: Count = 0
    tools: Annotated[dict[Annotated[str, Meta(max_length=64)], Count], Meta(max_length=20)] = {}
    service_tier: Annotated[str, Meta(max_length=64)] = ""
    speed: Annotated[str, Meta(max_length=64)] = ""
    geo: Annotated[str, Meta(max_length=64)] = ""

    def usage(self) -> Usage:
        """The same as the prices take it."""
        return Usage(**msgspec.structs.asdict(self))


class Estimate(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A call to price."""

    provider: str
    model: str
    usage: ReportedUsage
