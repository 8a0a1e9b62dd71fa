"""Alerts: who is told, what went out and what did not; a test, another try, all of a time once more."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gateway.api import hooks
from gateway.dashboard.days import days_of
from gateway.dashboard.page import Page
from gateway.outbox import words
from gateway.problems import CallError

KINDS = ("webhook", "slack", "email")
STATES = ("pending", "delivered", "dead")


async def show_list(page: Page) -> Response:
    """GET /dashboard/alerts."""
    query = {"limit": "100", "starting_after": page.query.get("starting_after")}
    return page.show("alerts.html", hooks=await page.ask(hooks.list_hooks, query=query), kinds=KINDS, types=words.TYPES)


async def make(page: Page) -> Response:
    """POST /dashboard/alerts: a webhook's secret is on the page that answers, and nowhere else."""
    form = page.form
    body: dict[str, Any] = {"kind": form.get("kind", ""), "description": form.get("description", "")}
    target = form.get("target", "").strip()
    body["to" if body["kind"] == "email" else "url"] = target
    if events := form.get("events", "").replace(",", " ").split():
        body["events"] = events
    if key_id := form.get("key_id", "").strip():
        body["key_id"] = key_id
    made = await page.ask(hooks.make, method="POST", body=body, once=form.get("once"))
    if "secret" in made:
        return page.show("alert_made.html", hook=made)
    return page.go(f"/alerts/{made['id']}", done="made")


async def show_one(page: Page) -> Response:
    """GET /dashboard/alerts/{id}."""
    state = page.query.get("state")
    query = {
        "state": state if state in STATES else None,
        "limit": "25",
        "starting_after": page.query.get("starting_after"),
    }
    return page.show(
        "alert.html",
        hook=await page.ask(hooks.get, id=page.id),
        deliveries=await page.ask(hooks.deliveries, id=page.id, query=query),
        states=STATES,
    )


async def test(page: Page) -> Response:
    """POST /dashboard/alerts/{id}/test."""
    await page.ask(hooks.test, id=page.id, method="POST")
    return page.go(f"/alerts/{page.id}", done="sent")


async def switch(page: Page) -> Response:
    """POST /dashboard/alerts/{id}/switch: make it active, or disable it."""
    await page.ask(hooks.change, id=page.id, method="PATCH", body={"status": page.form.get("status", "")})
    return page.go(f"/alerts/{page.id}", done="changed")


async def rotate(page: Page) -> Response:
    """POST /dashboard/alerts/{id}/rotate: both secrets sign for a day."""
    body = {"overlap_seconds": 86_400}
    made = await page.ask(hooks.rotate, id=page.id, method="POST", body=body, once=page.form.get("once"))
    return page.show("alert_made.html", hook=made)


async def replay(page: Page) -> Response:
    """POST /dashboard/alerts/{id}/replay: what was written for it in a span of days."""
    days = days_of(page.form, page.now_ms)
    body = {"from_ms": days.from_ms, "to_ms": days.to_ms}
    await page.ask(hooks.replay, id=page.id, method="POST", body=body)
    return page.go(f"/alerts/{page.id}", done="replayed")


async def remove(page: Page) -> Response:
    """POST /dashboard/alerts/{id}/remove, once the box is ticked."""
    if page.form.get("confirm") != "yes":
        raise CallError(
            400, "invalid_request", "Tick the box to remove it, with what was to go to it.", param="confirm"
        )
    await page.ask(hooks.remove, id=page.id, method="DELETE")
    return page.go("/alerts", done="removed")


async def show_delivery(page: Page) -> Response:
    """GET /dashboard/deliveries/{id}: the message, its tries, and what came of them."""
    return page.show("delivery.html", delivery=await page.ask(hooks.get_delivery, id=page.id))


async def retry(page: Page) -> Response:
    """POST /dashboard/deliveries/{id}/retry."""
    await page.ask(hooks.retry, id=page.id, method="POST")
    return page.go(f"/deliveries/{page.id}", done="retried")
