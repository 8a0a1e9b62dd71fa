"""`/v1/inbound/stripe`: what Stripe tells. No key opens it, but the signature of each request does.

`/v1/stripe`: how it stands with what Stripe is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.api.endpoint import Call, error_response, json_response
from gateway.bounds import STRIPE_BODY_BYTES_MAX
from gateway.edge.headers import too_large
from gateway.problems import PROBLEMS, CallError, as_problem
from gateway.services import Services
from gateway.stripe import shapes
from gateway.stripe.signature import BadSignature, verify
from keys.ids import new_body, new_id

ID_MAX = 255
THIN = "v2.core.event"
METERS = "v1.billing.meter."
"""Thin events that are taken all the same: what became of usage that was sent."""


def inbound(services: Services) -> Callable[[Request], Awaitable[Response]]:
    """POST /v1/inbound/stripe."""

    async def run(request: Request) -> Response:
        request_id = new_body(services.clock_ms())
        try:
            response = json_response({"received": True, "used": await _taken(request, services)})
        except ClientDisconnect:
            return Response(status_code=400)
        except PROBLEMS as error:
            response = error_response(as_problem(error), request_id)
        response.headers["x-farthing-request-id"] = f"req_{request_id}"
        return response

    return run


async def standing(call: Call) -> Response:
    """GET /v1/stripe."""
    call.parameters()
    ledger, settings = call.services.ledger, call.services.settings.stripe
    found, unmapped = await ledger.metered.standing(), await ledger.stripe.unmapped()
    return json_response(
        {
            "object": "stripe",
            "meter": settings.meter or None,
            "mode": "hourly" if settings.meter else None,
            "since_ms": found.since_ms,
            "waiting": found.waiting,
            "sent": found.sent,
            "refused": found.refused,
            "refusals": [
                {
                    "customer": each.customer_id,
                    "hour_ms": each.hour_ms,
                    "price_micros": each.price_micros,
                    "reason": each.reason,
                }
                for each in found.refusals
            ],
            "unmapped": unmapped,
            "without_customer_micros": found.without_customer_micros,
        }
    )


async def _taken(request: Request, services: Services) -> bool:
    """Whether an event was new and said something to us. Raises CallError, LedgerUnavailable."""
    settings = services.settings.stripe
    if not settings.webhook_secret:
        raise CallError(404, "stripe_not_configured", "There is no STRIPE_WEBHOOK_SECRET here.")
    if too_large(request.scope["headers"]):
        raise CallError(431, "headers_too_large", "The request has too many header fields.")
    body = await _body(request)
    _verified(request, body, services)
    event = _event(body)
    if event.get("object") == THIN:
        if str(event.get("type")).startswith(METERS):
            return await _reported(event, services)
        message = "This is a thin event: give the endpoint at Stripe snapshot payloads."
        raise CallError(400, "thin_event", message, param="object")
    try:
        found = shapes.read(event)
    except shapes.Malformed as error:
        raise CallError(400, "invalid_request", f"The event cannot be read: {error}.") from None
    if found is None:
        return False
    return await services.ledger.stripe.take(
        found, lambda prefix: new_id(prefix, services.clock_ms()), fetch=bool(settings.api_key)
    )


def _verified(request: Request, body: bytes, services: Services) -> None:
    """Each endpoint at Stripe signs with a secret of its own; any of ours will do. Raises CallError."""
    why = ""
    for secret in services.settings.stripe.webhook_secret.split(","):
        try:
            verify(request.headers.get("stripe-signature", ""), body, secret, services.clock_ms() // 1000)
        except BadSignature as error:
            why = why or str(error)
        else:
            return
    raise CallError(400, "invalid_signature", why, param="Stripe-Signature")


async def _reported(event: dict[str, Any], services: Services) -> bool:
    """Whether a thin event says of a meter, and for the first time, that events were not counted. It holds no more."""
    meter = event.get("related_object")
    event_id, meter_id = event.get("id"), meter.get("id") if isinstance(meter, dict) else None
    if not isinstance(event_id, str) or not isinstance(meter_id, str) or max(len(event_id), len(meter_id)) > ID_MAX:
        return False
    return await services.ledger.metered.reported(event_id, meter_id)


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > STRIPE_BODY_BYTES_MAX:
            raise CallError(413, "request_too_large", f"The body is above {STRIPE_BODY_BYTES_MAX} bytes.")
    return body


def _event(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise CallError(400, "invalid_request", "The body is not a JSON object.") from None
    except RecursionError:
        raise CallError(400, "invalid_request", "The body's JSON is nested too deep.") from None
