"""What every model costs, as the API tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.price_table import in_force
from providers.pricing.catalogue import Catalogue, ModelRow, Period
from tests.harness import Running, running


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started


async def _all(gateway: Running, secret: str, query: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while True:
        after = f"&starting_after={rows[-1]['id']}" if rows else ""
        status, page = await gateway.api("GET", f"/v1/prices?limit=100{query}{after}", key=secret)
        assert status == 200, page
        rows += page["data"]
        if not page["has_more"]:
            return rows


async def test_any_key_may_read_all_prices(gateway: Running) -> None:
    """A standard key pages through the whole catalogue, each row once, with its source, date and exact rates."""
    key = await gateway.mint(livemode=False)
    rows = await _all(gateway, key["secret"])
    assert [row["id"] for row in rows] == sorted({row["id"] for row in rows}, key=lambda name: name.split("/", 1))
    assert len(rows) == len(Catalogue.load())
    assert all(row["sources"] and row["dated"] and row["rates"] for row in rows)
    (mini,) = [row for row in rows if row["id"] == "openai/gpt-4o-mini"]
    rates = {rate["unit"]: rate for rate in mini["rates"]}
    assert (rates["input"]["price_picos"], rates["input"]["per"], rates["input"]["usd"]) == (150_000, 1, "0.15")
    for row in rows:
        for rate in row["rates"]:
            told = Decimal(rate["usd"])
            exact = Decimal(rate["price_picos"]) * rate["usd_per"] / rate["per"] / 10**12
            assert abs(told - exact) <= max(Decimal("0.0000005"), exact / 10), row["id"]


async def test_provider_and_search(gateway: Running) -> None:
    """`provider` takes aliases, `q` finds parts of ids and aliases in any case; what names nothing is 400 or 404."""
    key = await gateway.mint(livemode=False)
    named = await _all(gateway, key["secret"], "&provider=google")
    assert {row["provider"] for row in named} == {"google"}
    found = await _all(gateway, key["secret"], "&q=GPT-4O-MINI")
    assert 0 < len(found) < 30
    assert all(any("gpt-4o-mini" in name for name in (row["id"], *row["aliases"])) for row in found)
    for query, status, param in (("provider=nobody", 400, "provider"), ("starting_after=x/y", 404, None)):
        got, body = await gateway.api("GET", f"/v1/prices?{query}", key=key["secret"])
        assert (got, body["error"]["param"]) == (status, param)
    assert (await gateway.api("GET", "/v1/prices", key="fk_live_nothing"))[0] == 401


def test_the_rates_in_force() -> None:
    """Of the periods that apply at a moment the last counts, hours that run past midnight too; of none the first."""
    row = ModelRow(
        provider="deepseek",
        id="m",
        sources=["hand"],
        dated="2026-01-01",
        periods=[
            Period(rates={"input": 1}, since="2026-01-01"),
            Period(rates={"input": 2}, since="2026-02-01"),
            Period(rates={"input": 3}, since="2026-02-01", hours=("22:00", "02:00")),
        ],
    )
    day = 1_772_323_200_000  # 2026-03-01
    hour = 3_600_000
    at = [day - 86_400_000 * 40, day + hour, day + 3 * hour, day + 23 * hour, day - 86_400_000 * 400]
    assert [in_force(row, ms).rates["input"] for ms in at] == [1, 3, 2, 3, 1]
