"""Every cell of the conformance matrix: the same result as straight, metered to the micro, a 402 that is sent once."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.conformance.cells import ABSENT, Cell, cells
from tests.conformance.conftest import Programs
from tests.conformance.invoice import price_picos
from tests.harness import PROVIDER_KEY, Running
from tests.sdk.sides import Watch, comparable

pytestmark = pytest.mark.asyncio(loop_scope="session")

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def without_splice(value: Any) -> Any:
    """Asking for usage on the client's behalf leaves `"usage": null` in a stream's other chunks."""
    if isinstance(value, list):
        return [without_splice(item) for item in value]
    if isinstance(value, dict):
        return {name: without_splice(item) for name, item in value.items() if (name, item) != ("usage", None)}
    return value


def compared(outcome: dict[str, Any]) -> Any:
    """A result as both ways must have it: ids and times aside."""
    assert "result" in outcome, outcome
    return without_splice(comparable(json.loads(_UUID.sub("<uuid>", json.dumps(outcome["result"])))))


def _runnable(cell: Cell) -> Any:
    reason = ABSENT.get((cell.provider, cell.client))
    return pytest.param(cell, marks=pytest.mark.skip(reason=reason)) if reason is not None else cell


@pytest.mark.parametrize("cell", [_runnable(cell) for cell in cells()], ids=str)
async def test_a_cell(gate: Running, programs: Programs, cell: Cell) -> None:
    """The client gets through Farthing what it gets straight, for what the invoice says; over the cap it raises."""
    program = await programs.get(cell.client)
    job = {"provider": cell.provider, "operation": cell.operation, "model": cell.model}
    straight = await program.ask(**job, url=gate.upstream.origin(cell.provider), key=PROVIDER_KEY)

    key = await gate.mint(max_spend_usd="5")
    watch = Watch(gate)
    through = await program.ask(**job, url=gate.url, key=key["secret"])
    assert compared(through) == compared(straight)

    passed = await watch.passed()
    assert {seen.provider for seen in passed.seen} == {cell.provider}
    events = await gate.events(key_id=key["id"])
    assert [event["status"] for event in events] == ["settled"] * len(passed.lines)
    assert sum(event["cost_picos"] for event in events) == sum(price_picos(cell, line) for line in passed.lines)
    assert {event["provider"] for event in events} == {cell.provider}

    broke = await gate.mint(max_spend_usd="0")
    watch = Watch(gate)
    refused = await program.ask(**job, url=gate.url, key=broke["secret"])
    assert refused.get("error", {}).get("kind") == cell.refused, refused
    assert refused["error"]["status"] in (402, None), refused
    assert (await watch.passed()).seen == []
    blocked = await gate.events(key_id=broke["id"])
    assert [(event["decision"], event["reason"]) for event in blocked] == [("blocked", "spend_cap_exceeded")]
