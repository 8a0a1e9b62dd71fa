"""What Stripe says, as it says it: objects and events of both generations, signed by its own library."""

from __future__ import annotations

import io
import itertools
import json
from typing import Any

from stripe import WebhookSignature

from tests.harness import Running

SECRET = "whsec_of_the_tests_0123456789"
API_KEY = "rk_test_of_the_tests"
OLD = "2024-06-20"  # periods on the subscription, an invoice's subscription at its top
NEW = "2026-10-28.endive"  # periods on the items, an invoice's subscription under its parent

Json = dict[str, Any]
_numbers = itertools.count(1)


def price(id_: str, **more: Any) -> Json:
    return {"id": id_, "object": "price", "lookup_key": None, "product": f"prod_of_{id_}"} | more


def subscription(
    id_: str,
    customer: str,
    status: str,
    *,
    prices: list[Json | str],
    period_s: int,
    created_s: int = 1_700_000_000,
    version: str = NEW,
    **more: Any,
) -> Json:
    """A subscription in a state; its period is a month or so from `period_s`."""
    period = {"current_period_start": period_s, "current_period_end": period_s + 30 * 86_400}
    items = [
        {"id": f"si_{number}", "object": "subscription_item", "quantity": 1}
        | {"price": price(each) if isinstance(each, str) else each}
        | (period if version == NEW else {})
        for number, each in enumerate(prices)
    ]
    return (
        {
            "id": id_,
            "object": "subscription",
            "customer": customer,
            "status": status,
            "created": created_s,
            "cancel_at_period_end": False,
            "billing_cycle_anchor": period_s,
            "items": {"object": "list", "data": items, "has_more": False},
            "metadata": {},
        }
        | (period if version == OLD else {})
        | more
    )


def invoice(id_: str, customer: str, amount: int, *, of: str | None = None, version: str = NEW, **more: Any) -> Json:
    """A paid invoice, `of` a subscription or of none."""
    found: Json = {
        "id": id_,
        "object": "invoice",
        "customer": customer,
        "status": "paid",
        "billing_reason": "manual" if of is None else "subscription_cycle",
        "amount_paid": amount,
        "currency": "usd",
        "metadata": {},
    }
    if version == NEW:
        parent = {"type": "subscription_details", "subscription_details": {"subscription": of, "metadata": {}}}
        return found | {"parent": None if of is None else parent} | more
    return found | {"subscription": of, "payment_intent": f"pi_{id_}", "charge": f"ch_{id_}"} | more


def session(id_: str, **more: Any) -> Json:
    return {
        "id": id_,
        "object": "checkout.session",
        "mode": "payment",
        "payment_status": "paid",
        "amount_total": 0,
        "currency": "usd",
        "customer": None,
        "client_reference_id": None,
        "invoice": None,
        "subscription": None,
        "payment_intent": f"pi_{id_}",
        "metadata": {},
    } | more


def charge(id_: str, refunded: int, *, intent: str | None, **more: Any) -> Json:
    return {
        "id": id_,
        "object": "charge",
        "amount": 10_000,
        "amount_refunded": refunded,
        "currency": "usd",
        "payment_intent": intent,
        "refunded": False,
    } | more


def dispute(id_: str, amount: int, *, intent: str, status: str = "needs_response") -> Json:
    return {
        "id": id_,
        "object": "dispute",
        "amount": amount,
        "charge": f"ch_of_{intent}",
        "currency": "usd",
        "payment_intent": intent,
        "status": status,
    }


def event(type_: str, found: Json, created_s: int, *, version: str = NEW, before: Json | None = None) -> Json:
    data: Json = {"object": found} | ({} if before is None else {"previous_attributes": before})
    return {
        "id": f"evt_{next(_numbers):08d}",
        "object": "event",
        "api_version": version,
        "created": created_s,
        "data": data,
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type_,
    }


def signed(body: bytes, now_s: int, secret: str = SECRET) -> str:
    """The header, by Stripe's own library."""
    return str(WebhookSignature.generate_signature_header(body.decode(), secret, timestamp=now_s))


async def post(farthing: Running, body: bytes, header: str | None) -> tuple[int, Any]:
    headers = {"content-type": "application/json"} | ({} if header is None else {"stripe-signature": header})
    async with farthing.http.post(
        f"{farthing.url}/v1/inbound/stripe", data=io.BytesIO(body), headers=headers
    ) as response:
        assert "x-farthing-request-id" in response.headers
        return response.status, await response.json()


async def tell(farthing: Running, told: Json, *, times: int = 1) -> bool:
    """Deliver an event as Stripe does; whether the first delivery was used."""
    body = json.dumps(told, indent=2).encode()
    used = False
    for number in range(times):
        now_s = farthing.gateway.ledger.clock_ms() // 1000
        status, answer = await post(farthing, body, signed(body, now_s))
        assert status == 200, answer
        used = answer["used"] if number == 0 else used
        assert number == 0 or not answer["used"], "an event is used once"
    return used
