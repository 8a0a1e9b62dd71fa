"""A server that answers as Stripe's API does, as far as we ask it: objects by their ids, and the list of events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from gateway.stripe.client import VERSION
from tests.gateway.stripe.said import API_KEY

KINDS = {
    "subscriptions": "subscription",
    "invoices": "invoice",
    "charges": "charge",
    "disputes": "dispute",
    "checkout/sessions": "checkout.session",
}


class FakeStripe:
    """What there is, and what was asked. `status` answers everything with that, while it is set."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []  # newest first
        self.invoice_payments: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.status = 0
        self.url = ""

    def knows(self, *found: dict[str, Any]) -> None:
        self.objects |= {each["id"]: each for each in found}

    async def answer(self, request: web.Request) -> web.Response:
        assert request.method == "GET", "nothing is changed there"
        assert request.headers["authorization"] == f"Bearer {API_KEY}"
        assert request.headers["stripe-version"] == VERSION
        self.asked.append(unquote(request.path_qs))
        if self.status:
            return web.json_response({"error": {"type": "api_error"}}, status=self.status)
        path = request.path.removeprefix("/v1/")
        if path == "events":
            return self._page(request)
        if path == "invoice_payments":
            intent = request.query["payment[payment_intent]"]
            data = [each for each in self.invoice_payments if each["payment"]["payment_intent"] == intent]
            return web.json_response({"object": "list", "data": data, "has_more": False})
        kind, _, id_ = path.rpartition("/")
        found = self.objects.get(id_)
        if found is None or found["object"] != KINDS.get(kind):
            return web.json_response({"error": {"code": "resource_missing"}}, status=404)
        return web.json_response(found)

    def _page(self, request: web.Request) -> web.Response:
        types, from_s = request.query.getall("types[]"), int(request.query["created[gte]"])
        assert len(types) <= 20, "Stripe takes no more"
        found = [each for each in self.events if each["type"] in types and each["created"] >= from_s]
        after = request.query.get("starting_after")
        if after is not None:
            found = found[1 + next(number for number, each in enumerate(found) if each["id"] == after) :]
        size = int(request.query["limit"])
        assert 1 <= size <= 100
        return web.json_response({"object": "list", "data": found[:size], "has_more": len(found) > size})


@asynccontextmanager
async def answering() -> AsyncIterator[FakeStripe]:
    fake = FakeStripe()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()
