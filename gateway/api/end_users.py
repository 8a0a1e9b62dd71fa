"""`/v1/end_users/{id}`: the people under a key, by the key's own names for them."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gateway.api.endpoint import Call, json_response, replayed
from gateway.api.keys import limit_object
from gateway.bounds import SUBJECT_BYTES_MAX
from gateway.problems import CallError
from keys.plans import EndUserSpec
from ledger.views import AccountView


def end_user_object(user: AccountView) -> dict[str, Any]:
    """An end user as the API shows it."""
    cap = user.cap
    return {
        "id": user.subject,
        "object": "end_user",
        "key_id": user.parent_public_id,
        "disabled": user.disabled,
        "metadata": user.profile.get("metadata", {}),
        "plan": None if user.plan is None else user.plan.public_id,
        "stripe_customer_id": user.stripe_customer_id,
        "max_spend_micros": cap.max,
        "reset": "none" if cap.window == "total" else cap.window,
        "spent_micros": cap.used,
        "held_micros": cap.held,
        "unsettled_micros": cap.unsettled,
        "remaining_micros": user.remaining_micros,
        "window_start_ms": cap.window_start_ms,
        "resets_at_ms": cap.resets_at_ms,
        "alert_at": user.alert_at,
        "limits": [limit_object(limit) for limit in user.limits if limit.max is not None],
        "created_ms": user.created_ms,
        "last_used_ms": user.last_used_ms,
    }


def _names(call: Call) -> tuple[str, str]:
    """The key and the end user that a request is about."""
    parameters = call.parameters("key_id")
    subject = str(call.request.path_params["id"])
    if not 1 <= len(subject.encode()) <= SUBJECT_BYTES_MAX:
        raise CallError(400, "invalid_request", f"An end user's id has 1 to {SUBJECT_BYTES_MAX} bytes.", param="id")
    return parameters.get("key_id", call.key.public_id), subject


async def get(call: Call) -> Response:
    """GET /v1/end_users/{id}?key_id=."""
    key_id, subject = _names(call)
    return json_response(end_user_object(await call.services.end_users.get(call.key, key_id, subject)))


async def put(call: Call) -> Response:
    """PUT /v1/end_users/{id}?key_id=."""
    key_id, subject = _names(call)
    origin = await call.origin()
    asked = await call.body(EndUserSpec)
    call.may_make()
    user, is_replay = await call.services.end_users.put(call.key, key_id, subject, asked, origin)
    return json_response(end_user_object(user), headers=replayed(is_replay))


async def forget(call: Call) -> Response:
    """DELETE /v1/end_users/{id}?key_id=: the person is forgotten, the sums stay."""
    key_id, subject = _names(call)
    is_replay = await call.services.end_users.forget(call.key, key_id, subject, await call.origin())
    return json_response({"id": subject, "object": "end_user", "deleted": True}, headers=replayed(is_replay))
