"""`/v1/keys` and `/v1/me`: mint, look, change, revoke, rotate."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from gateway.api.endpoint import Call, choice, json_response, list_response, page_size, replayed
from gateway.api.progress import priced
from keys.ids import new_body
from keys.limits import Invalid
from keys.minting import OVERLAP_S_MAX
from keys.policy import read_policy
from keys.requests import Micros, Mint, Moment, Patch
from ledger.changes import Credit
from ledger.money import usd_to_micros
from ledger.views import AccountView, LimitView


class Rotate(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How long the old secret lives on."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=OVERLAP_S_MAX)] = 0


def key_object(account: AccountView) -> dict[str, Any]:
    """A key as the API shows it. Never a secret."""
    policy = read_policy(account.profile, account.plan.profile if account.plan is not None else None)
    cap = account.cap
    return {
        "id": account.public_id,
        "object": "key",
        "parent_id": account.parent_public_id,
        "livemode": account.livemode,
        "status": account.status,
        "secret_last4": account.last4,
        "name": policy.name,
        "scope": policy.scope,
        "external_id": policy.external_id,
        "metadata": policy.metadata,
        "allowed_models": policy.allowed_models,
        "allowed_providers": policy.allowed_providers,
        "allowed_origins": policy.allowed_origins,
        "overdraft": policy.overdraft,
        "on_insufficient": policy.on_insufficient,
        "over_cap_status": policy.over_cap_status,
        "unpriced": policy.unpriced,
        "end_user_required": policy.end_user_required,
        "end_user_cap": policy.end_user_cap,
        "loop_guard": None if policy.loop_guard is None else msgspec.to_builtins(policy.loop_guard),
        "plan": None if account.plan is None else account.plan.public_id,
        "stripe_customer_id": account.stripe_customer_id,
        "expires_at_ms": account.expires_ms,
        "max_spend_micros": cap.max,
        "reset": "none" if cap.window == "total" else cap.window,
        "spent_micros": cap.used,
        "held_micros": cap.held,
        "unsettled_micros": cap.unsettled,
        "remaining_micros": account.remaining_micros,
        "overrun_micros": account.overrun_micros,
        "window_start_ms": cap.window_start_ms,
        "resets_at_ms": cap.resets_at_ms,
        "alert_at": account.alert_at,
        "limits": [limit_object(limit) for limit in account.limits if limit.max is not None],
        "created_ms": account.created_ms,
        "last_used_ms": account.last_used_ms,
    }


def limit_object(limit: LimitView) -> dict[str, Any]:
    """A limit, with what is left of it. What is only counted, without a max, is not shown as a limit."""
    assert limit.max is not None  # noqa: S101 - the caller leaves out what is only counted
    shown = {
        "id": limit.public_id,
        "unit": limit.unit,
        "max": limit.max,
        "window": limit.window,
        "match": msgspec.to_builtins(limit.match),
        "per": limit.per,
        "used": limit.used,
        "held": limit.held + limit.unsettled,
        "remaining": max(limit.max - limit.used - limit.held - limit.unsettled, 0),
        "window_start_ms": limit.window_start_ms,
        "resets_at_ms": limit.resets_at_ms,
        "alert_at": limit.alert_at,
    }
    further = {"action": limit.action, "timezone": limit.timezone, "anchor_ms": limit.anchor_ms}
    return shown | {name: value for name, value in further.items() if value not in (None, "block")}


async def mint(call: Call) -> Response:
    """POST /v1/keys."""
    origin = await call.origin()
    asked = await call.body(Mint)
    call.may_make()
    minted = await call.services.minter.mint(call.key, call.secret, asked, origin)
    body = key_object(minted.account) | {"secret": minted.secret}
    return json_response(body, 201, replayed(minted.replayed))


async def list_keys(call: Call) -> Response:
    """GET /v1/keys."""
    parameters = call.parameters("limit", "starting_after", "livemode")
    mode = choice(parameters.get("livemode"), "livemode", ("true", "false"))
    accounts, has_more = await call.services.ledger.accounts.page(
        call.key.account_id,
        limit=page_size(parameters.get("limit")),
        starting_after=parameters.get("starting_after"),
        livemode=None if mode is None else mode == "true",
    )
    return list_response([key_object(account) for account in accounts], has_more)


async def get(call: Call) -> Response:
    """GET /v1/keys/{id}."""
    call.parameters()
    return json_response(key_object(await call.services.ledger.accounts.get(call.key.account_id, _id(call))))


async def me(call: Call) -> Response:
    """GET /v1/me. No cap ever blocks it."""
    call.parameters()
    account = await call.services.ledger.accounts.get(call.key.account_id, call.key.public_id)
    return json_response(key_object(account) | await priced(call, account))


async def change(call: Call) -> Response:
    """PATCH /v1/keys/{id}."""
    origin = await call.origin()
    asked = await call.body(Patch)
    account, is_replay = await call.services.minter.change(call.key, _id(call), asked, origin)
    return json_response(key_object(account), headers=replayed(is_replay))


async def revoke(call: Call) -> Response:
    """DELETE /v1/keys/{id} and POST /v1/keys/{id}/revoke."""
    parameters = call.parameters("in_flight")
    in_flight = choice(parameters.get("in_flight"), "in_flight", ("cut", "finish"), "cut")
    account, is_replay = await call.services.minter.revoke(call.key, _id(call), await call.origin())
    if in_flight == "cut":
        call.services.cut_account(account.id)
    return json_response(key_object(account), headers=replayed(is_replay))


async def rotate(call: Call) -> Response:
    """POST /v1/keys/{id}/rotate."""
    await call.services.ledger.accounts.get(
        call.key.account_id, _id(call)
    )  # what is not there is 404, whatever is said
    origin = await call.origin()
    asked = await call.body(Rotate)
    call.may_make()
    minted = await call.services.minter.rotate(call.key, call.secret, _id(call), asked.overlap_seconds, origin)
    body = key_object(minted.account) | {"secret": minted.secret}
    return json_response(body, headers=replayed(minted.replayed))


class Credits(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """By how much to raise a cap, and why; with an end, it is a temporary increase."""

    amount_usd: Decimal | None = None
    amount_micros: Micros | None = None
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""
    expires_at_ms: Moment | None = None


async def credit(call: Call) -> Response:
    """POST /v1/keys/{id}/credits."""
    origin = await call.origin()
    asked = await call.body(Credits)
    try:
        micros = usd_to_micros(asked.amount_usd) if asked.amount_usd is not None else asked.amount_micros
    except ValueError as error:
        raise Invalid("amount_usd", str(error)) from None
    if not micros or (asked.amount_micros is not None and asked.amount_micros != micros):
        raise Invalid("amount_usd", "amount_usd (or amount_micros, or both alike) must be above zero")
    now_ms = call.services.clock_ms()
    if asked.expires_at_ms is not None and asked.expires_at_ms <= now_ms:
        raise Invalid("expires_at_ms", "must be in the future")
    new = Credit(event_id=new_body(now_ms), amount_micros=micros, reason=asked.reason, until_ms=asked.expires_at_ms)
    account, is_replay = await call.services.minter.credit(call.key, _id(call), new, origin)
    return json_response(key_object(account), headers=replayed(is_replay))


def _id(call: Call) -> str:
    return str(call.request.path_params["id"])
