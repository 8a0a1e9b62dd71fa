"""Stripe's meters, as its reference tells of them: an hour's newest event counts, identifiers live a day.

It can be away, be slow, break off after it has taken an event, refuse customers; and it takes one event at a time of
each customer. Source: docs.stripe.com, "Record usage" (limits, event ingestion) and the reference of meter events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

DAY_S = 86_400
HOUR_S = 3_600
API_KEY = "rk_test_of_the_tests"
METER = "ai_usage"


class Meters:
    """One account with one pre-aggregated meter. `faults` are what becomes of the next events: "500", "429", "cut"."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self.clock_ms = clock_ms
        self.url = ""
        self.events: dict[tuple[str, int], list[tuple[int, int]]] = {}  # (timestamp, value) in order of arrival
        self.requests: list[dict[str, str]] = []
        self.faults: list[str] = []
        self.unknown: set[str] = set()  # customers
        self.delay_s = 0.0
        self.overlaps = 0
        self._seen: dict[str, int] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._busy: set[str] = set()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/billing/meter_events", self._take)
        app.router.add_get("/v1/billing/meters", self._meters)
        app.router.add_get("/v1/billing/meters/mtr_1/event_summaries", self._summaries)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def sums(self) -> dict[tuple[str, int], int]:
        """What each customer's hours come to, empty ones left out; hours in Unix ms."""
        found = {
            key: max(enumerate(each), key=lambda item: (item[1][0], item[0]))[1][1] for key, each in self.events.items()
        }
        return {(customer, hour_s * 1000): value for (customer, hour_s), value in found.items() if value}

    async def _take(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["authorization"] == f"Bearer {API_KEY}"
        assert request.headers["stripe-version"]
        form = {name: str(value) for name, value in (await request.post()).items()}
        key = request.headers["idempotency-key"]
        customer = form["payload[stripe_customer_id]"]
        if customer in self._busy:
            self.overlaps += 1
            return _error(429, "rate_limit", "one at a time of each customer and meter")
        self._busy.add(customer)
        try:
            await asyncio.sleep(self.delay_s)
            fault = self.faults.pop(0) if self.faults else ""
            if fault in ("500", "429", "401"):
                return _error(int(fault), "api_error", "not now")
            if key in self._answers:
                return web.json_response(self._answers[key])
            refusal = self._refusal(form, customer)
            if refusal is not None:
                return _error(400, *refusal)
            now_s, moment_s = self.clock_ms() // 1000, int(form["timestamp"])
            self.requests.append(form)
            self._seen[form["identifier"]] = now_s
            hour = (customer, moment_s - moment_s % HOUR_S)
            self.events.setdefault(hour, []).append((moment_s, int(form["payload[value]"])))
            self._answers[key] = {"object": "billing.meter_event", "identifier": form["identifier"]}
            if fault == "cut":
                assert request.transport is not None
                request.transport.abort()
            return web.json_response(self._answers[key])
        finally:
            self._busy.discard(customer)

    def _refusal(self, form: dict[str, str], customer: str) -> tuple[str, str] | None:
        now_s, moment_s, value = self.clock_ms() // 1000, int(form["timestamp"]), form["payload[value]"]
        if form["event_name"] != METER or len(form["identifier"]) > 100:
            return "parameter_invalid", "event_name or identifier"
        if customer in self.unknown:
            return "resource_missing", f"No such customer: '{customer}'"
        if not now_s - 35 * DAY_S <= moment_s <= now_s + 300:
            return "timestamp_invalid", "timestamp"
        if str(int(value)) != value or len(value.removeprefix("-")) > 15:
            return "meter_event_value_too_many_digits", "payload[value]"
        if now_s - self._seen.get(form["identifier"], -DAY_S) < DAY_S:
            return "duplicate_meter_event", "identifier"
        return None

    async def _meters(self, request: web.Request) -> web.Response:
        meters = [{"id": "mtr_0", "event_name": "other"}, {"id": "mtr_1", "event_name": METER}]
        at = 1 if request.query.get("starting_after") == "mtr_0" else 0
        return web.json_response(
            {"object": "list", "data": meters[at : at + 1], "has_more": at == 0, "url": "/v1/billing/meters"}
        )

    async def _summaries(self, request: web.Request) -> web.Response:
        start_s, end_s = int(request.query["start_time"]), int(request.query["end_time"])
        assert start_s % HOUR_S == end_s % HOUR_S == 0
        assert request.query["value_grouping_window"] == "hour"
        rows = [
            {
                "id": f"mtrusg_{hour_ms}",
                "object": "billing.meter_event_summary",
                "aggregated_value": float(value),
                "start_time": hour_ms // 1000,
                "end_time": hour_ms // 1000 + HOUR_S,
                "meter": "mtr_1",
                "livemode": False,
            }
            for (customer, hour_ms), value in sorted(self.sums().items(), reverse=True)
            if customer == request.query["customer"] and start_s * 1000 <= hour_ms < end_s * 1000
        ]
        ids = [row["id"] for row in rows]
        after = request.query.get("starting_after")
        at = ids.index(after) + 1 if after is not None else 0
        limit = min(int(request.query.get("limit", 10)), 5)
        url = "/v1/billing/meters/mtr_1/event_summaries"
        more = at + limit < len(rows)
        return web.json_response({"object": "list", "data": rows[at : at + limit], "has_more": more, "url": url})


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response(
        {"error": {"type": "invalid_request_error", "code": code, "message": message}}, status=status
    )
