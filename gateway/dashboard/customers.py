"""End users: the people under keys, what they spent, what they may spend, and forgetting them."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gateway.api import end_users, events
from gateway.api.end_users import end_user_object
from gateway.dashboard.overview import fullness
from gateway.dashboard.page import Page
from gateway.problems import CallError
from ledger.views import AccountView

PAGE = 25
EVENTS = 12


async def show_list(page: Page) -> Response:
    """GET /dashboard/customers: those of all keys, or of one key and the keys under it."""
    accounts = page.services.ledger.accounts
    owner_id, key_id = page.key.account_id, page.query.get("key_id")
    if key_id:
        owner_id = (await accounts.get(owner_id, key_id)).id
    views, has_more = await accounts.page(
        owner_id,
        kind="end_user",
        limit=PAGE,
        starting_after=page.query.get("starting_after"),
        livemode=not page.test,
        search=page.query.get("q", "").strip() or None,
    )
    people = [_shown(view) for view in views if view.subject is not None]
    return page.show("customers.html", people=people, has_more=has_more, last_id=views[-1].public_id if views else "")


def _shown(view: AccountView) -> dict[str, Any]:
    return end_user_object(view) | {"public_id": view.public_id, "status": view.status}


async def show_one(page: Page) -> Response:
    """GET /dashboard/customer?id=&key_id=."""
    subject, key_id = _whom(page)
    view = await page.services.end_users.get(page.key, key_id, subject)
    query = {"end_user": subject, "key_id": key_id, "limit": str(EVENTS), "livemode": page.livemode}
    listed = await page.ask(events.events, query=query)
    return page.show("customer.html", person=_shown(view), events=listed, fullness=fullness)


async def change(page: Page) -> Response:
    """POST /dashboard/customer/change."""
    subject, key_id = _whom(page)
    body: dict[str, Any] = {"disabled": bool(page.form.get("disabled"))}
    cap = page.form.get("max_spend_usd", "").strip()
    body |= {"max_spend_usd": cap or None}
    if page.form.get("reset"):
        body["reset"] = page.form["reset"]
    await page.ask(end_users.put, id=subject, method="PUT", query={"key_id": key_id}, body=body)
    return page.go("/customer", id=subject, key_id=key_id, done="changed")


async def forget(page: Page) -> Response:
    """POST /dashboard/customer/forget, once the box is ticked."""
    subject, key_id = _whom(page)
    if page.form.get("confirm") != "yes":
        raise CallError(400, "invalid_request", "Tick the box to forget who this is.", param="confirm")
    await page.ask(end_users.forget, id=subject, method="DELETE", query={"key_id": key_id})
    return page.go("/customers", key_id=key_id, done="forgotten")


def _whom(page: Page) -> tuple[str, str]:
    return page.query.get("id", ""), page.query.get("key_id") or page.key.public_id
