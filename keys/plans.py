"""Plans and end users: caps and limits that stand in for a key's own, and people under a key.

A plan is an account that never calls: the keys on it take from it what they do not say themselves, and a change of
the plan is in force on their next call. An end user is an account under a key, opened at first sight or by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from keys.ids import new_id
from keys.keyring import Key
from keys.limits import (
    ANY_NAMES,
    Invalid,
    Names,
    cap_of,
    changed_marks,
    limits_of,
    named,
    new_marks,
    window_of,
    within,
)
from keys.requests import (
    LIMITS_MAX,
    AlertAt,
    Customer,
    LimitSpec,
    MetadataName,
    MetadataValue,
    Micros,
    Name,
    Patterns,
    Reset,
)
from ledger.billing.terms import PlanTerms
from ledger.changes import Edit, NewAccount
from ledger.ledger import Ledger
from ledger.replays import Answer, Origin
from ledger.views import AccountView, NotFound

MARKUP_PERCENT_MAX = 10_000
ModelName = Annotated[str, Meta(min_length=1, max_length=200)]
Routes = Annotated[dict[ModelName, ModelName], Meta(max_length=100)]
"""What a model's name means on a plan: a route's name, or another model."""

Limits = Annotated[list[LimitSpec], Meta(max_length=LIMITS_MAX)]


class PlanSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A plan to make, or changes to one. UNSET was not said."""

    name: Name | UnsetType = UNSET
    max_spend_usd: Decimal | None | UnsetType = UNSET
    max_spend_micros: Micros | None | UnsetType = UNSET
    reset: Reset | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET
    allowed_models: Patterns | None | UnsetType = UNSET
    allowed_providers: Patterns | None | UnsetType = UNSET
    markup_percent: Decimal | UnsetType = UNSET
    alert_at: AlertAt | None | UnsetType = UNSET
    over_cap_status: Literal[402, 429] | UnsetType = UNSET
    stripe: PlanTerms | None | UnsetType = UNSET
    routes: Routes | UnsetType = UNSET


class EndUserSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What is said of an end user. Its spend cap stands instead of its key's default."""

    max_spend_usd: Decimal | None | UnsetType = UNSET
    max_spend_micros: Micros | None | UnsetType = UNSET
    reset: Reset | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    alert_at: AlertAt | None | UnsetType = UNSET
    metadata: dict[MetadataName, MetadataValue | None] | UnsetType = UNSET
    stripe_customer_id: Customer | None | UnsetType = UNSET


class Plans:
    """The plans of a caller."""

    def __init__(self, ledger: Ledger, clock_ms: Callable[[], int], names: Names = ANY_NAMES) -> None:
        self._names = names
        self._ledger = ledger
        self._clock_ms = clock_ms

    async def make(self, caller: Key, asked: PlanSpec, origin: Origin | None) -> tuple[AccountView, bool]:
        """Make a plan. Raises Invalid, ReplayMismatch, LedgerUnavailable."""
        now_ms = self._clock_ms()
        cap_micros = cap_of(asked)
        asked = named(asked, self._names, unpriced=False)
        new = NewAccount(
            public_id=new_id("plan", now_ms),
            parent_id=caller.account_id,
            kind="plan",
            livemode=caller.livemode,
            created_ms=now_ms,
            balance_id=new_id("lim", now_ms),
            cap_micros=None if cap_micros is UNSET else cap_micros,
            reset="total" if asked.reset is UNSET else window_of(asked.reset),
            limits=() if asked.limits is UNSET else limits_of(asked.limits, now_ms, names=self._names),
            profile=_profile(asked),
            alert_at=new_marks(asked.alert_at),
        )
        answer = await self._ledger.accounts.open(new, origin, sold=asked.stripe or None)
        return answer.account, answer.replayed

    async def get(self, caller: Key, public_id: str) -> AccountView:
        """A plan that has not been removed. Raises NotFound."""
        found = await self._ledger.accounts.get(caller.account_id, public_id, "plan")
        if found.revoked_ms is not None:
            raise NotFound(public_id)
        return found

    async def change(
        self, caller: Key, public_id: str, asked: PlanSpec, origin: Origin | None
    ) -> tuple[AccountView, bool]:
        """Change a plan, and with it every key on it. Raises NotFound, Invalid, ReplayMismatch, LedgerUnavailable."""
        current = await self.get(caller, public_id)
        asked = named(asked, self._names, unpriced=False, stored=current.profile)
        edit = Edit(
            cap_micros=cap_of(asked),
            reset=window_of(asked.reset),
            limits=UNSET
            if asked.limits is UNSET
            else limits_of(asked.limits, self._clock_ms(), current, names=self._names),
            profile=_profile(asked),
            alert_at=changed_marks(asked.alert_at),
        )
        answer = await self._ledger.accounts.edit(
            caller.account_id, public_id, edit, kind="plan", origin=origin, sold=asked.stripe
        )
        return answer.account, answer.replayed


class EndUsers:
    """The end users of a caller's keys."""

    def __init__(self, ledger: Ledger, clock_ms: Callable[[], int], names: Names = ANY_NAMES) -> None:
        self._names = names
        self._ledger = ledger
        self._clock_ms = clock_ms

    async def put(
        self, caller: Key, key_id: str, subject: str, asked: EndUserSpec, origin: Origin | None = None
    ) -> tuple[AccountView, bool]:
        """Say something of an end user, seen before or not; and whether an earlier request did.

        Raises:
            NotFound, Invalid, Exceeds, ReplayMismatch, LedgerUnavailable: See there.
        """
        earlier = None if origin is None else await self._ledger.repeats.find(origin, Answer)
        if earlier is not None:  # nobody is opened again who was forgotten since
            return earlier.account, True
        key = await self._ledger.accounts.get(caller.account_id, key_id)
        cap_micros = cap_of(asked)
        within(cap_micros, key)
        now_ms = self._clock_ms()
        unpriced = key.profile.get("unpriced") == "allow"
        if asked.limits is not UNSET:
            limits_of([spec for spec in asked.limits if spec.id is None], now_ms, names=self._names, unpriced=unpriced)
        await self._ledger.accounts.open_subject(
            key.id, "end_user", subject, public_id=new_id("eu", now_ms), balance_id=new_id("lim", now_ms)
        )
        current = await self._ledger.accounts.subject(key.id, "end_user", subject)
        edit = Edit(
            disabled=asked.disabled,
            cap_micros=cap_micros,
            reset=window_of(asked.reset),
            limits=UNSET
            if asked.limits is UNSET
            else limits_of(asked.limits, now_ms, current, names=self._names, unpriced=unpriced),
            profile={} if asked.metadata is UNSET else {"metadata": asked.metadata},
            merge=("metadata",),
            alert_at=changed_marks(asked.alert_at),
            stripe_customer_id=asked.stripe_customer_id,
        )
        answer = await self._ledger.accounts.edit(
            caller.account_id, current.public_id, edit, kind="end_user", origin=origin
        )
        return answer.account, answer.replayed

    async def get(self, caller: Key, key_id: str, subject: str) -> AccountView:
        """An end user. Raises NotFound."""
        key = await self._ledger.accounts.get(caller.account_id, key_id)
        return await self._ledger.accounts.subject(key.id, "end_user", subject)

    async def forget(self, caller: Key, key_id: str, subject: str, origin: Origin | None = None) -> bool:
        """Forget who an end user is; the sums stay. Whether an earlier request did. Raises NotFound, ReplayMismatch."""
        key = await self._ledger.accounts.get(caller.account_id, key_id)
        return await self._ledger.accounts.forget_subject(key.id, "end_user", subject, origin)


def _profile(asked: PlanSpec) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": asked.name,
        "allowed_models": asked.allowed_models,
        "allowed_providers": asked.allowed_providers,
        "over_cap_status": asked.over_cap_status,
        "routes": asked.routes,
        "markup_ppm": _markup_ppm(asked.markup_percent),
        "stripe": msgspec.to_builtins(asked.stripe) if isinstance(asked.stripe, PlanTerms) else asked.stripe,
    }
    return {name: value for name, value in said.items() if value is not UNSET}


def _markup_ppm(percent: Decimal | UnsetType) -> int | UnsetType:
    """A percentage in millionths, exactly. Raises Invalid."""
    if percent is UNSET:
        return UNSET
    if not percent.is_finite() or not 0 <= percent <= MARKUP_PERCENT_MAX or percent * 10_000 != int(percent * 10_000):
        raise Invalid("markup_percent", f"must be from 0 to {MARKUP_PERCENT_MAX}, with at most 4 decimals")
    return int(percent * 10_000)
