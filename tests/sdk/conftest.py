"""One gateway for all SDK tests: what they compare does not depend on what was called before."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness import Running, running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A running gateway; at the end its books must balance."""
    async with running(tmp_path_factory.mktemp("sdk")) as started:
        yield started
        await started.audited()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def live_key(gate: Running) -> AsyncIterator[str]:
    """A live key's secret; at the end every one of its calls must have been settled by what the provider reported."""
    key = await gate.mint(name="live", max_spend_usd="1000")
    yield key["secret"]
    events = await gate.events(key_id=key["id"])
    assert events
    assert {(event["decision"], event["status"]) for event in events} == {("allowed", "settled")}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def trial_key(gate: Running) -> str:
    """A test key's secret: answered by the built-in simulator."""
    return str((await gate.mint(name="trial", livemode=False, max_spend_usd="1000"))["secret"])
