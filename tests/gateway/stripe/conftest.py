"""A gateway that Stripe tells things, on a clock that is set by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.stripe.said import SECRET
from tests.harness import Running, running
from tests.limits.conftest import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock("2026-01-01T00:00:00")


@pytest.fixture
async def paid(tmp_path: Path, clock: Clock) -> AsyncIterator[Running]:
    """Its audit must be clean at the end."""
    async with running(tmp_path, clock=clock, STRIPE_WEBHOOK_SECRET=SECRET) as started:
        yield started
        await started.audited()


async def soon(found: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """What housework does is done within seconds."""
    async with asyncio.timeout(10):
        while await found() != wanted:  # noqa: ASYNC110 - what is waited for is not ours to signal
            await asyncio.sleep(0.05)


async def made_plan(farthing: Running, name: str, usd: str | None, **more: Any) -> str:
    """A plan's id."""
    fields = {"name": name} | ({} if usd is None else {"max_spend_usd": usd, "reset": "month"}) | more
    status, plan = await farthing.api("POST", "/v1/plans", fields)
    assert status == 201, plan
    return str(plan["id"])


async def key_of(farthing: Running, key_id: str) -> dict[str, Any]:
    status, key = await farthing.api("GET", f"/v1/keys/{key_id}")
    assert status == 200, key
    return dict(key)
