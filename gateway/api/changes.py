"""`/v1/changes`: who changed what, from where, and what was before it and after it."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gateway.api.endpoint import Call, integer, list_response, page_size
from keys.requests import EXPIRES_MS_MAX
from ledger.history import ChangeQuery, Recorded


def change_object(change: Recorded) -> dict[str, Any]:
    """A change as the API shows it."""
    return {
        "id": change.public_id,
        "object": "change",
        "created_ms": change.created_ms,
        "type": change.type,
        "object_id": change.object_id,
        "actor": change.actor,
        "ip": change.ip,
        "request_id": change.request_id,
        "before": change.before,
        "after": change.after,
    }


async def changes(call: Call) -> Response:
    """GET /v1/changes, newest first."""
    parameters = call.parameters("limit", "starting_after", "object_id", "type", "from_ms", "to_ms")
    query = ChangeQuery(
        owner_id=call.key.account_id,
        limit=page_size(parameters.get("limit")),
        starting_after=parameters.get("starting_after"),
        object_id=parameters.get("object_id"),
        type=parameters.get("type"),
        from_ms=integer(parameters.get("from_ms"), "from_ms", low=0, high=EXPIRES_MS_MAX, default=0),
        to_ms=integer(parameters.get("to_ms"), "to_ms", low=0, high=EXPIRES_MS_MAX, default=EXPIRES_MS_MAX),
    )
    found, has_more = await call.services.ledger.reports.changes(query)
    return list_response([change_object(each) for each in found], has_more)
