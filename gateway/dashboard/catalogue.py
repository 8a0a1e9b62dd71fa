"""What there is to call: the providers, whether we have a credential for each, and the price of every model."""

from __future__ import annotations

from starlette.responses import Response

from gateway.dashboard.days import month_start_ms
from gateway.dashboard.page import Page
from gateway.price_table import price_line
from providers.ground.vendors import VENDORS

MODELS_MAX = 200  # of a search; who wants more says more


async def show_providers(page: Page) -> Response:
    """GET /dashboard/providers. Where they live is for the operator to know."""
    now_ms, month_ms = page.now_ms, month_start_ms(page.now_ms)
    spent: dict[str, int] = {}
    sums = await page.means.glances.of(page.key.account_id, livemode=not page.test, now_ms=now_ms)
    for (day_ms, provider, _), of in sums.days.items():
        if day_ms >= month_ms:
            spent[provider] = spent.get(provider, 0) + of.cost_micros
    operates = page.key.policy.scope == "master"
    providers = [
        {
            "name": name,
            "is_set": bool(page.services.places[name].credential),
            "setting": vendor.key_env if operates else "",
            "origin": page.services.places[name].origin if operates else "",
            "models": len(page.services.catalogue.models(name)),
            "cost_micros": spent.get(name, 0),
        }
        for name, vendor in VENDORS.items()
    ]
    return page.show("providers.html", providers=providers, month_ms=month_start_ms(page.now_ms))


async def show_prices(page: Page) -> Response:
    """GET /dashboard/prices?provider=&q=."""
    catalogue, provider = page.services.catalogue, page.query.get("provider")
    word = page.query.get("q", "").strip().lower()
    found = [
        row
        for row in catalogue.models(provider if provider in VENDORS else None)
        if word in row.id.lower() or any(word in alias.lower() for alias in row.aliases)
    ]
    lines = [(row, price_line(row, page.now_ms)) for row in found[:MODELS_MAX]]
    return page.show("prices.html", lines=lines, count=len(found), version=catalogue.version, providers=list(VENDORS))
