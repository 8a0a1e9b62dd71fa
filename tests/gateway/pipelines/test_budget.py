"""The budget of a run holds: beside others, beside itself, and against its key's own caps."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.gateway.pipelines.support import Json, kinds, run, says, workflow
from tests.harness import Running, running

TEXT = "/output/0/content/0/text"


def side_by_side(number: int, **execution: object) -> Json:
    """So many calls at once."""
    nodes = [says(f"n{index}", "Say something.") for index in range(number)]
    return workflow(*nodes, outputs={f"n{index}": (f"n{index}", TEXT) for index in range(number)}, **execution)


async def held_micros(farthing: Running, secret: str) -> int:
    """What is held for one of these calls."""
    body = {"model": "gpt-5-mini", "input": "Say something.", "max_output_tokens": 100}
    _, headers, _ = await farthing.call(secret, body, "/v1/responses")
    return int(headers["x-farthing-held-micros"])


async def test_what_does_not_fit_is_not_started(farthing: Running) -> None:
    """Of four side by side three fit: three are finished, the fourth has no start, and no event that was let in."""
    key = await farthing.mint(livemode=False)
    held = await held_micros(farthing, key["secret"])
    told = await run(
        farthing, key["secret"], side_by_side(4, max_cost_micros=4 * held - 1), x_farthing_sim="delay_ms=200"
    )
    last = told[-1]
    assert (last["type"], last["status"]) == ("run_completed", "budget_exceeded")
    assert kinds(told).count("node_started") == kinds(told).count("node_succeeded") == 3
    started = {event["node_id"] for event in told if event["type"] == "node_started"}
    assert last["outputs"].keys() == started
    assert last["refused"]["node_id"] not in started
    assert last["refused"]["required_micros"] == held
    events = await farthing.events(livemode="false", run_id=last["run_id"])
    assert sorted(event["decision"] for event in events) == ["allowed"] * 3 + ["blocked"]
    assert last["cost_micros"] == sum(event["cost_micros"] for event in events)
    told = await run(farthing, key["secret"], side_by_side(4, max_cost_micros=4 * held), x_farthing_sim="delay_ms=200")
    assert told[-1]["status"] == "succeeded"
    await farthing.audited()


async def test_nothing_fits_into_nothing(farthing: Running) -> None:
    """With a budget of zero no node starts, and nothing is asked of any provider."""
    key = await farthing.mint()
    told = await run(farthing, key["secret"], side_by_side(3, max_cost_usd=0))
    assert kinds(told) == ["run_started", "run_completed"]
    assert (told[-1]["status"], told[-1]["cost_micros"], told[-1]["outputs"]) == ("budget_exceeded", 0, {})
    assert len(farthing.upstream.requests) == 0


async def test_the_lower_of_two_budgets_counts(farthing: Running) -> None:
    """One in the specification, one in the header."""
    key = await farthing.mint(livemode=False)
    for spec, header in ((side_by_side(1, max_cost_usd="0"), "1"), (side_by_side(1, max_cost_usd="1"), "0")):
        told = await run(farthing, key["secret"], spec, x_farthing_max_cost_usd=header)
        assert told[-1]["status"] == "budget_exceeded"
    told = await run(farthing, key["secret"], side_by_side(1), x_farthing_max_cost_usd="0")
    assert told[-1]["status"] == "budget_exceeded"


async def test_a_limit_of_each_run_is_a_budget_too(farthing: Running) -> None:
    """What the key says of each of its runs ends one in the same way; its requests do not."""
    limit = {"unit": "micros", "max": 0, "window": "total", "per": "run"}
    key = await farthing.mint(livemode=False, limits=[limit])
    told = await run(farthing, key["secret"], side_by_side(1, max_cost_usd="1"))
    assert told[-1]["status"] == "budget_exceeded"
    key = await farthing.mint(livemode=False, limits=[limit | {"unit": "requests", "max": 1}])
    told = await run(farthing, key["secret"], side_by_side(3))
    assert (told[-1]["type"], told[-1]["error"]["code"]) == ("run_failed", "rate_limited")


async def _fifty(farthing: Running) -> None:
    key = await farthing.mint(livemode=False, max_spend_usd="5")
    held = await held_micros(farthing, key["secret"])
    await farthing.quiet()
    before = (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1]["spent_micros"]
    chance = random.Random(7)  # noqa: S311 - repeatable
    budgets = [chance.randrange(0, 7 * held) for _ in range(50)]
    asked = (
        run(farthing, key["secret"], side_by_side(6, max_cost_micros=budget), x_farthing_sim="delay_ms=1500")
        for budget in budgets
    )
    told = await asyncio.gather(*asked)
    await farthing.quiet(60)
    total = 0
    for budget, events in zip(budgets, told, strict=True):
        last, started = events[-1], kinds(events).count("node_started")
        listed = await farthing.events(livemode="false", run_id=last["run_id"])
        cost = sum(event["cost_micros"] for event in listed)
        assert last["cost_micros"] == cost <= budget
        assert last["status"] == ("succeeded" if started == 6 else "budget_exceeded")
        # All six ask before any of them is over, on a machine that is not slow: then no more start than fit.
        assert started >= min(budget // held, 6)
        total += cost
    shown = (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1]
    assert shown["spent_micros"] == before + total
    await farthing.audited()


async def test_fifty_runs_of_one_key_stay_within_their_budgets(farthing: Running) -> None:
    """300 calls at once under 50 budgets: each run starts as many as fit, and costs what its events say."""
    await _fifty(farthing)


async def test_and_so_they_do_on_postgresql(tmp_path: Path, postgres: Cluster) -> None:
    """The same, where the ledger is shared."""
    async with running(tmp_path, FARTHING_DATABASE_URL=postgres.database()) as farthing:
        await _fifty(farthing)


async def test_fifty_runs_share_what_their_key_has(farthing: Running) -> None:
    """The key's own cap holds over all its runs; what it refuses fails its run with the key's 402."""
    key = await farthing.mint(livemode=False, max_spend_usd="0.004", overdraft="never")
    told = await asyncio.gather(*(run(farthing, key["secret"], side_by_side(3, max_cost_usd="1")) for _ in range(50)))
    ends = {events[-1]["status"] for events in told}
    assert ends == {"succeeded", "failed"}
    codes = {events[-1]["error"]["code"] for events in told if events[-1]["status"] == "failed"}
    assert codes == {"spend_cap_exceeded"}
    await farthing.quiet()
    shown = (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1]
    assert shown["spent_micros"] == sum(events[-1]["cost_micros"] for events in told) <= 4000
    await farthing.audited()


@pytest.mark.parametrize("budget", ["-1", "1e3", "0.0000001", "x", 10**9])
async def test_a_budget_is_an_amount(farthing: Running, budget: object) -> None:
    """400 for what is none, and an issue of a check."""
    key = await farthing.mint(livemode=False)
    spec = side_by_side(1, max_cost_usd=budget)
    status, body = await farthing.api("POST", "/v1/pipelines/runs", spec, key=key["secret"])
    assert status == 400
    assert "max_cost_usd" in body["error"]["param"]
    status, body = await farthing.api("POST", "/v1/pipelines/check", spec, key=key["secret"])
    assert (status, body["issues"][0]["path"], body["max_cost_micros"]) == (200, "/execution/max_cost_usd", None)
