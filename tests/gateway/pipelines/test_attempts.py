"""A node whose model is a route: each attempt is an event, and the run's sum is that of them all."""

from __future__ import annotations

import pytest

from tests.gateway.pipelines.support import kinds, native, run, workflow
from tests.harness import Running

FIRST, SECOND = "gpt-4o-mini", "mistral-small-latest"
TARGETS = [{"provider": "openai", "model": FIRST}, {"provider": "mistral", "model": SECOND}]
CHAT = {"model": "smart", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50}


@pytest.mark.parametrize(("faults", "attempts"), [((), 1), (("status=529",), 2)])
async def test_a_node_may_go_by_a_route(farthing: Running, faults: tuple[str, ...], attempts: int) -> None:
    """It starts once, and every attempt is told with its own event, under the request's id."""
    assert (await farthing.api("POST", "/v1/routes", {"name": "smart", "targets": TARGETS}))[0] == 201
    key = await farthing.mint()
    farthing.upstream.script(*faults, model=FIRST)
    spec = workflow(
        native("x", "/v1/chat/completions", CHAT),
        outputs={"o": ("x", "/choices/0/message/content")},
        max_cost_usd="0.01",
    )
    _, check = await farthing.api("POST", "/v1/pipelines/check", spec, key=key["secret"])
    told = await run(farthing, key["secret"], spec)
    assert told[-1]["status"] == "succeeded", told[-1]
    assert kinds(told).count("node_started") == 1
    calls = [event for event in told if event["type"] == "node_llm_call"]
    events = list(reversed(await farthing.events(run_id=told[-1]["run_id"])))
    fields = ("request_id", "attempt", "provider", "status", "cost_micros")
    assert [[call[name] for name in fields] for call in calls] == [[each[name] for name in fields] for each in events]
    assert [call["attempt"] for call in calls] == list(range(1, attempts + 1))
    assert told[-1]["cost_micros"] == sum(event["cost_micros"] for event in events) <= check["max_cost_micros"]
    assert check["issues"] == []
    await farthing.audited()
