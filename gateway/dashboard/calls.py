"""Calls: every allowed and every refused one, and one of them in full: what was held, what was charged, why not."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gateway.api import events
from gateway.api.events import event_object, hold_object
from gateway.dashboard.days import days_of
from gateway.dashboard.page import Page
from gateway.problems import CallError
from ledger.events import EventView

PAGE = 50
_SAID = ("key_id", "end_user", "decision", "mode", "reason", "provider", "model")
DECISIONS = ("allowed", "blocked")
MODES = ("proxy", "monitor", "reservation", "adjustment")
STATES = ("open", "unsettled")


def _query(page: Page) -> dict[str, Any]:
    query: dict[str, Any] = {name: page.query.get(name) for name in _SAID} | {"livemode": page.livemode}
    query |= {"limit": str(PAGE), "starting_after": page.query.get("starting_after")}
    if page.query.get("from") or page.query.get("to"):
        days = days_of(page.query, page.now_ms)
        query |= {"from_ms": str(days.from_ms), "to_ms": str(days.to_ms)}
    return query


async def show_list(page: Page) -> Response:
    """GET /dashboard/calls: events, or with `state` the holds that are open or unsettled."""
    state = page.query.get("state")
    if state in STATES:
        query = {"state": state, "limit": str(PAGE), "starting_after": page.query.get("starting_after")}
        return page.show("holds.html", holds=await page.ask(events.holds, query=query), state=state)
    listed = await page.ask(events.events, query=_query(page))
    return page.show("calls.html", events=listed, decisions=DECISIONS, modes=MODES)


async def show_csv(page: Page) -> Response:
    """GET /dashboard/calls.csv: all calls that the filters let through, not the page's only."""
    return await page.answer(events.export, query=_query(page) | {"limit": None, "starting_after": None})


async def show_one(page: Page) -> Response:
    """GET /dashboard/calls/{id}: an event, or the hold that has not become one yet."""
    call_id = page.id.partition("_")[2] if page.id.startswith(("evt_", "req_", "hold_")) else page.id
    found = await page.services.ledger.calls.promise(page.key.account_id, call_id)
    if isinstance(found, EventView):
        return page.show("call.html", event=event_object(found), hold=None)
    return page.show("call.html", event=None, hold=hold_object(found))


async def resolve(page: Page) -> Response:
    """POST /dashboard/calls/{id}/resolve: the operator's word on a call whose end nobody saw."""
    if page.key.policy.scope != "master":
        raise CallError(403, "scope_not_allowed", "Only a master key may resolve what nobody settled.")
    cost = page.form.get("cost_micros", "").strip().replace(",", "")
    body: dict[str, Any] = {"action": page.form.get("action", "")}
    if cost:
        body["cost_micros"] = int(cost) if cost.isascii() and cost.isdigit() and len(cost) < 20 else cost
    resolved = await page.ask(events.resolve, id=page.id, method="POST", body=body)
    return page.go(f"/calls/{resolved['id']}", done="resolved")
