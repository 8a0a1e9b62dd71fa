"""Plans: terms that many keys share."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gateway.api import plans
from gateway.dashboard.keys import LIMIT_ROWS, limits_of
from gateway.dashboard.page import Page
from gateway.problems import CallError


async def show_list(page: Page) -> Response:
    """GET /dashboard/plans."""
    query = {"limit": "100", "starting_after": page.query.get("starting_after")}
    return page.show("plans.html", plans=await page.ask(plans.list_plans, query=query), rows=range(LIMIT_ROWS))


async def show_one(page: Page) -> Response:
    """GET /dashboard/plans/{id}."""
    return page.show("plan.html", plan=await page.ask(plans.get, id=page.id))


async def make(page: Page) -> Response:
    """POST /dashboard/plans."""
    body = _said(page)
    if limits := limits_of(page.form):
        body["limits"] = limits
    made = await page.ask(plans.make, method="POST", body=body, once=page.form.get("once"))
    return page.go(f"/plans/{made['id']}", done="made")


async def change(page: Page) -> Response:
    """POST /dashboard/plans/{id}/change: in force on the next call of every key on it."""
    await page.ask(plans.change, id=page.id, method="PATCH", body=_said(page), once=page.form.get("once"))
    return page.go(f"/plans/{page.id}", done="changed")


async def remove(page: Page) -> Response:
    """POST /dashboard/plans/{id}/remove, once the box is ticked and no key is on it."""
    if page.form.get("confirm") != "yes":
        raise CallError(400, "invalid_request", "Tick the box to remove the plan.", param="confirm")
    await page.ask(plans.remove, id=page.id, method="DELETE")
    return page.go("/plans", done="removed")


def _said(page: Page) -> dict[str, Any]:
    form = page.form
    body: dict[str, Any] = {
        "name": form.get("name", ""),
        "max_spend_usd": form.get("max_spend_usd", "").strip() or None,
        "markup_percent": form.get("markup_percent", "").strip() or "0",
        "over_cap_status": 429 if form.get("over_cap_status") == "429" else 402,
    }
    if form.get("reset"):
        body["reset"] = form["reset"]
    for name in ("allowed_models", "allowed_providers"):
        body[name] = form.get(name, "").replace(",", " ").split() or None
    return body
