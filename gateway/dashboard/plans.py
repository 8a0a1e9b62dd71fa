"""Plans: terms that many keys share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from gateway.api import plans
from gateway.dashboard.keys import LIMIT_ROWS, limits_of, whole
from gateway.dashboard.page import Page
from gateway.problems import CallError

_COUNTED = ("window_start_ms", "resets_at_ms")  # what a limit shows, and nobody says


async def show_list(page: Page) -> Response:
    """GET /dashboard/plans."""
    query = {"limit": "100", "starting_after": page.query.get("starting_after")}
    return page.show("plans.html", plans=await page.ask(plans.list_plans, query=query), rows=range(LIMIT_ROWS))


async def show_one(page: Page) -> Response:
    """GET /dashboard/plans/{id}."""
    return page.show("plan.html", plan=await page.ask(plans.get, id=page.id), rows=range(LIMIT_ROWS))


async def make(page: Page) -> Response:
    """POST /dashboard/plans."""
    body = _said(page)
    if limits := limits_of(page.form):
        body["limits"] = limits
    made = await page.ask(plans.make, method="POST", body=body, once=page.form.get("once"))
    return page.go(f"/plans/{made['id']}", done="made")


async def change(page: Page) -> Response:
    """POST /dashboard/plans/{id}/change: in force on the next call of every key on it."""
    body = _said(page)
    if page.form.get("limits"):
        body["limits"] = _kept(await page.ask(plans.get, id=page.id), page.form) + limits_of(page.form)
    await page.ask(plans.change, id=page.id, method="PATCH", body=body, once=page.form.get("once"))
    return page.go(f"/plans/{page.id}", done="changed")


async def remove(page: Page) -> Response:
    """POST /dashboard/plans/{id}/remove, once the box is ticked and no key is on it."""
    if page.form.get("confirm") != "yes":
        raise CallError(400, "invalid_request", "Tick the box to remove the plan.", param="confirm")
    await page.ask(plans.remove, id=page.id, method="DELETE")
    return page.go("/plans", done="removed")


def _kept(plan: dict[str, Any], form: Mapping[str, str]) -> list[dict[str, Any]]:
    """The plan's limits as the form changes them: another maximum, or none any more. They keep what they counted."""
    kept = []
    for number, limit in enumerate(plan["limits"]):
        most = form.get(f"kept_{limit['id']}", str(limit["max"])).strip().replace(",", "")
        if not most:
            continue
        own = {name: value for name, value in limit.items() if name not in _COUNTED}
        if own["alert_at"] == plan["alert_at"]:
            del own["alert_at"]  # it has the plan's, and is to have them on
        kept.append(own | {"max": whole(most, f"limits[{number}].max")})
    return kept


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
