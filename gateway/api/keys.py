"""`/v1/keys` and `/v1/me`: mint, look, change, revoke, rotate."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from gateway.api.endpoint import Call, choice, json_response, list_response, page_size, replayed
from keys.minting import OVERLAP_S_MAX, Mint, Patch
from keys.policy import read_policy
from ledger.accounts import AccountView, LimitView


class Rotate(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How long the old secret lives on."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=OVERLAP_S_MAX)] = 0


def key_object(account: AccountView) -> dict[str, Any]:
    """A key as the API shows it. Never a secret."""
    policy = read_policy(account.profile)
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
        "overdraft": policy.overdraft,
        "on_insufficient": policy.on_insufficient,
        "over_cap_status": policy.over_cap_status,
        "unpriced": policy.unpriced,
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
        "limits": [_limit_object(limit) for limit in account.limits if limit.max is not None],
        "created_ms": account.created_ms,
        "last_used_ms": account.last_used_ms,
    }


def _limit_object(limit: LimitView) -> dict[str, Any]:
    assert limit.max is not None  # noqa: S101 - the caller leaves out what is only counted
    return {
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
    }


async def mint(call: Call) -> Response:
    """POST /v1/keys."""
    once = await call.once()
    asked = await call.body(Mint)
    minted = await call.services.minter.mint(call.key, call.secret, asked, once)
    body = key_object(minted.account) | {"secret": minted.secret}
    return json_response(body, 201, replayed(minted.replayed))


async def list_keys(call: Call) -> Response:
    """GET /v1/keys."""
    parameters = call.parameters("limit", "starting_after", "livemode")
    mode = choice(parameters.get("livemode"), "livemode", ("true", "false"))
    accounts, has_more = await call.services.ledger.keys(
        call.key.account_id,
        limit=page_size(parameters.get("limit")),
        starting_after=parameters.get("starting_after"),
        livemode=None if mode is None else mode == "true",
    )
    return list_response([key_object(account) for account in accounts], has_more)


async def get(call: Call) -> Response:
    """GET /v1/keys/{id}."""
    call.parameters()
    return json_response(key_object(await call.services.ledger.account(call.key.account_id, _id(call))))


async def me(call: Call) -> Response:
    """GET /v1/me. No cap ever blocks it."""
    call.parameters()
    return json_response(key_object(await call.services.ledger.account(call.key.account_id, call.key.public_id)))


async def change(call: Call) -> Response:
    """PATCH /v1/keys/{id}."""
    once = await call.once()
    asked = await call.body(Patch)
    account, is_replay = await call.services.minter.change(call.key, _id(call), asked, once)
    return json_response(key_object(account), headers=replayed(is_replay))


async def revoke(call: Call) -> Response:
    """DELETE /v1/keys/{id} and POST /v1/keys/{id}/revoke."""
    parameters = call.parameters("in_flight")
    in_flight = choice(parameters.get("in_flight"), "in_flight", ("cut", "finish"), "cut")
    account, is_replay = await call.services.minter.revoke(call.key, _id(call), await call.once())
    if in_flight == "cut":
        call.services.cut_account(account.id)
    return json_response(key_object(account), headers=replayed(is_replay))


async def rotate(call: Call) -> Response:
    """POST /v1/keys/{id}/rotate."""
    once = await call.once()
    asked = await call.body(Rotate)
    minted = await call.services.minter.rotate(call.key, call.secret, _id(call), asked.overlap_seconds, once)
    body = key_object(minted.account) | {"secret": minted.secret}
    return json_response(body, headers=replayed(minted.replayed))


def _id(call: Call) -> str:
    return str(call.request.path_params["id"])
