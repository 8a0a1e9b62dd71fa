"""`/v1/plans`: caps and limits that many keys share."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gateway.api.endpoint import Call, json_response, list_response, page_size, replayed
from gateway.api.keys import limit_object
from keys.plans import PlanSpec
from ledger.money import micros_to_usd
from ledger.views import AccountView


def plan_object(plan: AccountView) -> dict[str, Any]:
    """A plan as the API shows it."""
    profile = plan.profile
    return {
        "id": plan.public_id,
        "object": "plan",
        "name": profile.get("name", ""),
        "max_spend_micros": plan.cap.max,
        "reset": "none" if plan.cap.window == "total" else plan.cap.window,
        "limits": [
            {name: value for name, value in limit_object(limit).items() if name not in ("used", "held", "remaining")}
            for limit in plan.limits
            if limit.role == "limit"
        ],
        "alert_at": plan.alert_at,
        "allowed_models": profile.get("allowed_models"),
        "allowed_providers": profile.get("allowed_providers"),
        "markup_percent": micros_to_usd(100 * int(profile.get("markup_ppm", 0))),
        "over_cap_status": profile.get("over_cap_status", 402),
        "stripe": profile.get("stripe"),
        "routes": profile.get("routes", {}),
        "created_ms": plan.created_ms,
    }


async def make(call: Call) -> Response:
    """POST /v1/plans."""
    origin = await call.origin()
    call.may_make()
    plan, is_replay = await call.services.plans.make(call.key, await call.body(PlanSpec), origin)
    return json_response(plan_object(plan), 201, replayed(is_replay))


async def list_plans(call: Call) -> Response:
    """GET /v1/plans."""
    parameters = call.parameters("limit", "starting_after")
    plans, has_more = await call.services.ledger.accounts.page(
        call.key.account_id,
        kind="plan",
        limit=page_size(parameters.get("limit")),
        starting_after=parameters.get("starting_after"),
    )
    return list_response([plan_object(plan) for plan in plans], has_more)


async def get(call: Call) -> Response:
    """GET /v1/plans/{id}."""
    call.parameters()
    plan = await call.services.plans.get(call.key, str(call.request.path_params["id"]))
    return json_response(plan_object(plan))


async def change(call: Call) -> Response:
    """PATCH /v1/plans/{id}; in force on the next call of every key on it."""
    origin = await call.origin()
    asked = await call.body(PlanSpec)
    plan, is_replay = await call.services.plans.change(call.key, str(call.request.path_params["id"]), asked, origin)
    return json_response(plan_object(plan), headers=replayed(is_replay))


async def remove(call: Call) -> Response:
    """DELETE /v1/plans/{id}, once no key is on it."""
    answer = await call.services.ledger.accounts.remove_plan(
        call.key.account_id, str(call.request.path_params["id"]), origin=await call.origin()
    )
    return json_response(plan_object(answer.account), headers=replayed(answer.replayed))
