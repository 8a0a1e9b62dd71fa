"""What the management API answers with, as types. Nothing is decoded into them: they are there to be described.

A field may be added to an answer; what is here is always there, but for fields that are UNSET by default.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from keys.policy import EndUserCap, LoopGuard, Overdraft, Scope
from keys.requests import Reset
from ledger.billing.terms import PlanTerms
from ledger.book import Match
from ledger.outbox.deliveries import Attempt, State
from ledger.outbox.hooks import Kind
from ledger.records import Mode, Unit
from ledger.windows import Window

Status = Literal["active", "disabled", "revoked", "expired"]
Micros = Annotated[int, Meta(description="Millionths of a US dollar.")]
Ms = Annotated[int, Meta(description="Unix time in milliseconds, UTC.")]


class Problem(Struct):
    """Why a request was refused. `param` names the field, where it is about one."""

    code: str
    message: str
    param: str | None
    request_id: str
    farthing: dict[str, Any] | UnsetType = UNSET


class Error(Struct):
    """What every refusal looks like."""

    error: Problem


class PlanLimit(Struct, kw_only=True):
    """A limit of a plan: each key on it counts it by itself."""

    id: str
    unit: Unit
    max: int
    window: Window
    match: Match
    per: Literal["key", "end_user", "run"]
    window_start_ms: Ms
    resets_at_ms: Ms | None
    alert_at: list[int]
    action: Literal["warn"] | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    anchor_ms: Ms | UnsetType = UNSET


class Limit(PlanLimit, kw_only=True):
    """A limit, with what is left of it in its present window."""

    used: int
    held: int
    remaining: int


class _Capped(Struct, kw_only=True):
    max_spend_micros: Micros | None
    reset: Reset
    spent_micros: Micros
    held_micros: Micros
    unsettled_micros: Micros
    remaining_micros: Micros | None
    window_start_ms: Ms
    resets_at_ms: Ms | None
    alert_at: list[int]
    limits: list[Limit]
    created_ms: Ms
    last_used_ms: Ms | None


class Key(_Capped, kw_only=True):
    """A key. Its secret is in the answer that made it, and in no other."""

    id: str
    object: Literal["key"]
    parent_id: str | None
    livemode: bool
    status: Status
    secret_last4: str | None
    name: str
    scope: Scope
    external_id: str | None
    metadata: dict[str, str]
    allowed_models: list[str] | None
    allowed_providers: list[str] | None
    allowed_origins: list[str] | None
    overdraft: Overdraft
    on_insufficient: Literal["reject", "clamp"]
    over_cap_status: Literal[402, 429]
    unpriced: Literal["deny", "allow"]
    end_user_required: bool
    end_user_cap: EndUserCap
    loop_guard: LoopGuard | None
    plan: str | None
    stripe_customer_id: str | None
    expires_at_ms: Ms | None
    overrun_micros: Micros


class KeyWithSecret(Key, kw_only=True):
    """A key, and its new secret, once."""

    secret: str


class OwnKey(Key, kw_only=True):
    """The caller's own key; where its plan has a markup, also in what its user is charged."""

    price_spent_micros: Micros | UnsetType = UNSET
    price_remaining_micros: Micros | None | UnsetType = UNSET
    price_max_micros: Micros | None | UnsetType = UNSET


class Plan(Struct, kw_only=True):
    """Terms that many keys share."""

    id: str
    object: Literal["plan"]
    name: str
    max_spend_micros: Micros | None
    reset: Reset
    limits: list[PlanLimit]
    alert_at: list[int]
    allowed_models: list[str] | None
    allowed_providers: list[str] | None
    markup_percent: str
    over_cap_status: Literal[402, 429]
    stripe: PlanTerms | None
    routes: dict[str, str]
    created_ms: Ms


class Received(Struct, kw_only=True):
    """That an event of Stripe's was taken; `used`: that it was new, and said something to us."""

    received: Literal[True]
    used: bool


class StripeRefusal(Struct, kw_only=True):
    """A customer's hour that Stripe does not take, and why."""

    customer: str
    hour_ms: Ms
    price_micros: int
    reason: str


class StripeStanding(Struct, kw_only=True):
    """What Stripe is told of usage: hours that wait, that it has taken, that it has refused.

    `unmapped`: prices that are paid for and belong to no plan. `without_customer_micros`: usage that is nobody's.
    """

    object: Literal["stripe"]
    meter: str | None
    mode: Literal["hourly"] | None
    since_ms: Ms | None
    waiting: int
    sent: int
    refused: int
    refusals: list[StripeRefusal]
    unmapped: list[str]
    without_customer_micros: int


class EndUser(_Capped, kw_only=True):
    """One of a key's own users; `id` is the key's own name for him."""

    id: str
    object: Literal["end_user"]
    key_id: str
    disabled: bool
    metadata: dict[str, str]
    plan: str | None
    stripe_customer_id: str | None


class ForgottenEndUser(Struct, kw_only=True):
    """Who is forgotten."""

    id: str
    object: Literal["end_user"]
    deleted: Literal[True]


class PortalSession(Struct, kw_only=True):
    """Where an end user's page is opened, once, and until when."""

    url: Annotated[str, Meta(description="Give it to the end user's browser, and to nobody else.")]
    expires_at_ms: Ms


class Event(Struct, kw_only=True):
    """A call that was allowed or blocked, or a correction of one. Never edited."""

    id: str
    object: Literal["event"]
    request_id: str
    key_id: str
    end_user: str | None
    run_id: str | None
    created_ms: Ms
    settled_ms: Ms
    mode: Mode
    provider: str
    model: str
    route: str
    livemode: bool
    decision: Literal["allowed", "blocked"]
    reason: str | None
    status: Literal["settled", "estimated", "unsettled", "released"]
    usage: dict[str, Any]
    cost_micros: Micros
    cost_picos: int
    price_micros: Micros
    price_version: str
    held_micros: Micros
    http_status: int | None
    latency_ms: int | None
    ttft_ms: int | None
    stream: bool
    metadata: dict[str, Any]
    flags: list[str]
    attempt: Annotated[int, Meta(description="Which attempt at its request it was; from 1.")]
    upstream: Annotated[str, Meta(description="Who was asked: the provider, or an upstream that the operator named.")]
    count: Annotated[int, Meta(description="How many refused calls this stands for.")]


class Hold(Struct, kw_only=True):
    """What a call in flight, a reservation or an unsettled call holds back."""

    id: str
    object: Literal["hold"]
    key_id: str
    unit: Unit
    amount: int
    state: Literal["open", "unsettled"]
    mode: Mode
    provider: str
    model: str
    created_ms: Ms
    expires_at_ms: Ms | None


class Hook(Struct, kw_only=True):
    """Who is told. Its URL is a secret: the host and the last four characters are shown."""

    id: str
    object: Literal["hook"]
    kind: Kind
    url: str | None
    to: str | None
    events: list[str]
    key_id: str
    livemode: bool
    description: str
    status: Literal["active", "disabled"]
    disabled_reason: str | None
    failing_since_ms: Ms | None
    created_ms: Ms


class HookWithSecret(Hook, kw_only=True):
    """A hook, and what a webhook is signed with, once."""

    secret: str | UnsetType = UNSET


class DeletedHook(Hook, kw_only=True):
    """A hook that is no more."""

    deleted: Literal[True]


class Delivery(Struct, kw_only=True):
    """A message on its way to a hook, and the attempts to deliver it."""

    id: str
    object: Literal["delivery"]
    hook_id: str
    type: str
    state: State
    tries: int
    next_try_ms: Ms | None
    created_ms: Ms
    ended_ms: Ms | None
    attempts: list[Attempt]
    message: dict[str, Any]


class Replay(Struct, kw_only=True):
    """How many messages are sent again."""

    object: Literal["replay"]
    hook_id: str
    deliveries: int


class Change(Struct, kw_only=True):
    """Who changed what: `before` and `after` hold what differs."""

    id: str
    object: Literal["change"]
    created_ms: Ms
    type: str
    object_id: str
    actor: str
    ip: str | None
    request_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
