"""Keys: the list, one of them with every limit up the tree, and what can be done to it; and a form that mints one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from gateway.api import events, keys, plans
from gateway.api.keys import key_object, limit_object
from gateway.dashboard.overview import fullness
from gateway.dashboard.page import Page
from gateway.problems import CallError

PAGE = 25
EVENTS = 12
LIMIT_ROWS = 3  # of the form; the API takes more
STATUSES = ("active", "disabled", "expired", "revoked")
_WORDS = ("name", "external_id", "plan", "reset", "scope", "over_cap_status", "overdraft")


async def show_list(page: Page) -> Response:
    """GET /dashboard/keys."""
    status = page.query.get("status")
    views, has_more = await page.services.ledger.accounts.page(
        page.key.account_id,
        limit=PAGE,
        starting_after=page.query.get("starting_after"),
        livemode=not page.test,
        search=page.query.get("q", "").strip() or None,
        status=status if status in STATUSES else None,
    )
    return page.show(
        "keys.html", keys=[key_object(view) for view in views], has_more=has_more, statuses=STATUSES, fullness=fullness
    )


async def show_new(page: Page) -> Response:
    """GET /dashboard/keys/new."""
    scopes = [scope for scope in ("standard", "team", "read", "ingest", "master") if page.key.policy.may_mint(scope)]
    offered = (await page.ask(plans.list_plans, query={"limit": "100"}))["data"]
    return page.show("key_new.html", scopes=scopes, plans=offered, rows=range(LIMIT_ROWS))


async def mint(page: Page) -> Response:
    """POST /dashboard/keys: the secret is on the page that answers, and nowhere else."""
    form = page.form
    body: dict[str, Any] = {name: form[name] for name in _WORDS if form.get(name)}
    body |= {"livemode": not page.test, "max_spend_usd": form.get("max_spend_usd", "").strip() or None}
    if "over_cap_status" in body:
        body["over_cap_status"] = whole(body["over_cap_status"], "over_cap_status")
    for name in ("allowed_models", "allowed_providers"):
        if listed := form.get(name, "").replace(",", " ").split():
            body[name] = listed
    if metadata := _pairs(form.get("metadata", "")):
        body["metadata"] = metadata
    if form.get("expires"):
        body["expires_at_ms"] = moment_ms(form["expires"], "expires")
    if form.get("end_user_required"):
        body["end_user_required"] = True
    if limits := limits_of(form):
        body["limits"] = limits
    made = await page.ask(keys.mint, method="POST", body=body, once=form.get("once"))
    return page.show("key_made.html", key=made, rotated=False)


async def show_one(page: Page) -> Response:
    """GET /dashboard/keys/{id}."""
    accounts = page.services.ledger.accounts
    view = await accounts.get(page.key.account_id, page.id)
    nodes = await accounts.chain(view.id)
    line = await accounts.several(page.key.account_id, [node.public_id for node in nodes])
    by_id = {each.id: each for each in line}
    shown = [by_id[id_] for id_ in view.chain if id_ in by_id]
    rows: list[dict[str, Any]] = [
        {"key": key_object(each), "limit": limit_object(limit), "all": limit.of_all_money and limit.per == "key"}
        for each in shown
        if each.livemode == view.livemode
        for limit in each.limits
        if limit.max is not None
    ]
    money = [row for row in rows if row["all"] and row["limit"]["unit"] == "micros"]
    binding = min(money, key=lambda row: row["limit"]["remaining"], default=None)
    left = view.remaining_micros
    above = left is not None and (binding is None or left < binding["limit"]["remaining"])
    listed = await page.ask(events.key_usage, id=page.id, query={"limit": str(EVENTS)})
    return page.show(
        "key.html",
        key=key_object(view),
        line=[key_object(each) for each in shown],
        limits=rows,
        binding=None if above else binding,
        above=above,
        events=listed["events"],
        fullness=fullness,
    )


async def change(page: Page) -> Response:
    """POST /dashboard/keys/{id}/raise: another cap, in force on the next call."""
    cap = page.form.get("max_spend_usd", "").strip()
    body: dict[str, Any] = {"max_spend_usd": cap or None}
    if page.form.get("reset"):
        body["reset"] = page.form["reset"]
    await page.ask(keys.change, id=page.id, method="PATCH", body=body, once=page.form.get("once"))
    return page.go(f"/keys/{page.id}", done="raised")


async def credit(page: Page) -> Response:
    """POST /dashboard/keys/{id}/credit."""
    body: dict[str, Any] = {
        "amount_usd": page.form.get("amount_usd", "").strip() or None,
        "reason": page.form.get("reason", ""),
    }
    if page.form.get("expires"):
        body["expires_at_ms"] = moment_ms(page.form["expires"], "expires")
    await page.ask(keys.credit, id=page.id, method="POST", body=body, once=page.form.get("once"))
    return page.go(f"/keys/{page.id}", done="credited")


async def rotate(page: Page) -> Response:
    """POST /dashboard/keys/{id}/rotate: the new secret is on the page that answers."""
    overlap_s = whole(page.form.get("overlap_seconds") or "0", "overlap_seconds")
    body = {"overlap_seconds": overlap_s}
    made = await page.ask(keys.rotate, id=page.id, method="POST", body=body, once=page.form.get("once"))
    return page.show("key_made.html", key=made, rotated=True)


async def disable(page: Page) -> Response:
    """POST /dashboard/keys/{id}/disable."""
    await page.ask(keys.change, id=page.id, method="PATCH", body={"disabled": True})
    return page.go(f"/keys/{page.id}", done="disabled")


async def enable(page: Page) -> Response:
    """POST /dashboard/keys/{id}/enable."""
    await page.ask(keys.change, id=page.id, method="PATCH", body={"disabled": False})
    return page.go(f"/keys/{page.id}", done="enabled")


async def revoke(page: Page) -> Response:
    """POST /dashboard/keys/{id}/revoke, once the box is ticked."""
    if page.form.get("confirm") != "yes":
        raise CallError(400, "invalid_request", "Tick the box to revoke the key: it cannot be undone.", param="confirm")
    query = {"in_flight": "finish" if page.form.get("finish") else "cut"}
    await page.ask(keys.revoke, id=page.id, method="POST", query=query)
    return page.go(f"/keys/{page.id}", done="revoked")


def limits_of(form: Mapping[str, str]) -> list[dict[str, Any]]:
    """The limits that a form says, row by row. Raises CallError."""
    limits = []
    for row in range(LIMIT_ROWS):
        most = form.get(f"limit_max_{row}", "").strip()
        if not most:
            continue
        limit: dict[str, Any] = {
            "unit": form.get(f"limit_unit_{row}"),
            "max": whole(most.replace(",", ""), f"limits[{row}].max"),
            "window": form.get(f"limit_window_{row}"),
            "per": form.get(f"limit_per_{row}", "key"),
        }
        if model := form.get(f"limit_model_{row}", "").strip():
            limit["match"] = {"model": model}
        limits.append(limit)
    return limits


def moment_ms(text: str, name: str) -> int:
    """The end of a day in UTC, as a form says it. Raises CallError."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() + 86_400) * 1000 - 1
    except (ValueError, OverflowError):
        raise CallError(400, "invalid_request", f"{name} must be a day such as 2027-01-31.", param=name) from None


def whole(text: str, name: str) -> int:
    """A whole number, as a form says it. Raises CallError."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise CallError(400, "invalid_request", f"{name} must be a whole number.", param=name)
    return int(text)


def _pairs(text: str) -> dict[str, str]:
    """Lines such as `team = search`. Raises CallError."""
    pairs = {}
    for line in filter(str.strip, text.splitlines()):
        name, equals, value = line.partition("=")
        if not equals:
            raise CallError(400, "invalid_request", "Metadata is lines such as team = search.", param="metadata")
        pairs[name.strip()] = value.strip()
    return pairs
