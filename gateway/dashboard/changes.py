"""Changes: who changed what, from where, and what was before it and after it."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from gateway.api import changes
from gateway.dashboard.page import Page

PAGE = 50


async def show_list(page: Page) -> Response:
    """GET /dashboard/changes, newest first; of one object, or of one kind."""
    query = {name: page.query.get(name) for name in ("object_id", "type", "starting_after")}
    listed = await page.ask(changes.changes, query=query | {"limit": str(PAGE)})
    for change in listed["data"]:
        before, after = change["before"] or {}, change["after"] or {}
        change["said"] = [
            (_named(name), _said(page, name, before.get(name)), _said(page, name, after.get(name)))
            for name in before | after
        ]
    return page.show("changes.html", changes=listed)


def _named(name: str) -> str:
    return name.removesuffix("_micros").removesuffix("_ms").replace("_", " ")


def _said(page: Page, name: str, value: Any) -> str:
    """A value, in the fewest words."""
    if value is None or value in ([], {}):
        return "none"
    if name.endswith("_micros") and isinstance(value, int):
        return page.means.templates.money.said(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
