"""What a client writes to mint or change a key. UNSET was not said. Knows nothing of HTTP."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from keys.policy import ORIGIN, EndUserCap, LoopGuard, Overdraft, Scope
from ledger.money import MICROS_MAX
from ledger.records import Unit
from ledger.windows import Window

LIMITS_MAX = 20  # every call walks them
PATTERNS_MAX = 200
EXPIRES_MS_MAX = 253_402_300_799_000  # the end of the year 9999

Name = Annotated[str, Meta(max_length=200)]
MetadataName = Annotated[str, Meta(min_length=1, max_length=40)]
MetadataValue = Annotated[str, Meta(max_length=500)]
Metadata = Annotated[dict[MetadataName, MetadataValue], Meta(max_length=50)]
Patterns = Annotated[list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(max_length=PATTERNS_MAX)]
Origins = Annotated[list[Annotated[str, Meta(pattern=ORIGIN)]], Meta(max_length=PATTERNS_MAX)]
Micros = Annotated[int, Meta(ge=0, le=MICROS_MAX)]
Moment = Annotated[int, Meta(ge=0, le=EXPIRES_MS_MAX)]
AlertAt = Annotated[list[Annotated[int, Meta(ge=1, le=1_000)]], Meta(max_length=10)]
Customer = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,255}\Z")]
Reset = Literal["none", "day", "week", "month"]


class MatchSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which calls a limit is about."""

    provider: str | None = None
    model: str | None = None
    route: str | None = None
    metadata: Metadata | None = None


class LimitSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A limit as a client writes it. `id` names one that the key has, which then keeps its counter."""

    unit: Unit
    max: Annotated[int, Meta(ge=0, le=MICROS_MAX)]
    window: Window = "total"
    match: MatchSpec = MatchSpec()
    per: Literal["key", "end_user", "run"] = "key"
    action: Literal["block", "warn"] = "block"
    timezone: Annotated[str, Meta(max_length=64)] | None = None
    anchor_ms: Moment | None = None
    alert_at: AlertAt | None = None
    id: str | None = None


_PROFILE = (
    "name",
    "allowed_models",
    "allowed_providers",
    "allowed_origins",
    "external_id",
    "metadata",
    "overdraft",
    "on_insufficient",
    "over_cap_status",
    "unpriced",
    "end_user_required",
    "end_user_cap",
    "loop_guard",
)


class Fields(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What both a mint and a change may say. UNSET was not said."""

    name: Name | UnsetType = UNSET
    max_spend_usd: Decimal | None | UnsetType = UNSET
    max_spend_micros: Micros | None | UnsetType = UNSET
    reset: Reset | None | UnsetType = UNSET
    limits: Annotated[list[LimitSpec], Meta(max_length=LIMITS_MAX)] | None | UnsetType = UNSET
    allowed_models: Patterns | None | UnsetType = UNSET
    allowed_providers: Patterns | None | UnsetType = UNSET
    allowed_origins: Origins | None | UnsetType = UNSET
    external_id: Name | None | UnsetType = UNSET
    expires_at_ms: Moment | None | UnsetType = UNSET
    overdraft: Overdraft | UnsetType = UNSET
    on_insufficient: Literal["reject", "clamp"] | UnsetType = UNSET
    over_cap_status: Literal[402, 429] | None | UnsetType = UNSET
    unpriced: Literal["deny", "allow"] | UnsetType = UNSET
    end_user_required: bool | UnsetType = UNSET
    end_user_cap: EndUserCap | UnsetType = UNSET
    loop_guard: LoopGuard | None | UnsetType = UNSET
    plan: str | None | UnsetType = UNSET
    alert_at: AlertAt | None | UnsetType = UNSET
    stripe_customer_id: Customer | None | UnsetType = UNSET


class Mint(Fields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to mint."""

    scope: Scope = "standard"
    livemode: bool = True
    metadata: Metadata | UnsetType = UNSET


class Patch(Fields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes to a key."""

    metadata: dict[MetadataName, MetadataValue | None] | UnsetType = UNSET  # an entry set to null goes
    disabled: bool | UnsetType = UNSET


def profile_of(asked: Mint | Patch) -> dict[str, Any]:
    """What was said of the policy."""
    said = {name: getattr(asked, name) for name in _PROFILE}
    if asked.over_cap_status is None:
        said["over_cap_status"] = 402
    return {name: msgspec.to_builtins(value) for name, value in said.items() if value is not UNSET}
