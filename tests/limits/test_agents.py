"""Loops and runs: velocity limits, the fingerprint guard, and an agent's budget with its steps."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness import Running
from tests.limits.calls import call, chat, refusal
from tests.limits.conftest import Clock


@pytest.mark.parametrize(("unit", "maximum"), [("requests", 3), ("tokens", 150), ("micros", 80)])
async def test_velocity(timed: Running, clock: Clock, unit: str, maximum: int) -> None:
    """Calls, tokens or money per minute stop a runaway at once, also when it calls in parallel, and let go in time."""
    key = await timed.mint(livemode=False, limits=[{"unit": unit, "max": maximum, "window": "minute"}])
    answers = await asyncio.gather(*(call(timed, key["secret"]) for _ in range(20)))
    refused = [answer for answer in answers if answer[0] != 200]
    assert 10 < len(refused) < 20
    for answer in refused:
        refusal(*answer, unit=unit)
    await timed.quiet()
    _, me = await timed.api("GET", "/v1/me", key=key["secret"])
    assert me["limits"][0]["used"] <= maximum
    if unit == "requests":
        assert me["limits"][0]["used"] == maximum == 20 - len(refused), "refused calls count nothing"
    clock.set("2026-03-11T10:21:00")
    assert (await call(timed, key["secret"]))[0] == 200


async def test_identical_calls(timed: Running, clock: Clock) -> None:
    """N identical calls in T seconds pass, the next is `loop_detected`; other calls and other end users go on."""
    key = await timed.mint(livemode=False, loop_guard={"max_identical": 3, "window_seconds": 20})
    for _ in range(3):
        assert (await call(timed, key["secret"]))[0] == 200
    status, headers, body = await call(timed, key["secret"])
    assert (status, body["error"]["code"], headers["x-should-retry"]) == (429, "loop_detected", "false")
    assert 1 <= int(headers["retry-after"]) <= 20
    assert (await call(timed, key["secret"], chat(21)))[0] == 200
    assert (await call(timed, key["secret"], x_end_user_id="ann"))[0] == 200
    (event, *_) = await timed.events(livemode="false", decision="blocked")
    assert (event["reason"], event["model"], event["cost_micros"]) == ("loop_detected", "gpt-4o-mini", 0)
    clock.ms += 20_000
    assert (await call(timed, key["secret"]))[0] == 200
    path = f"/v1/keys/{key['id']}"
    await timed.api("PATCH", path, {"loop_guard": {"max_identical": 1, "window_seconds": 20}})
    assert (await call(timed, key["secret"]))[0] == 429, "in force on the next call"
    await timed.api("PATCH", path, {"loop_guard": None})
    assert (await call(timed, key["secret"]))[0] == 200, "and so is its end"


async def test_no_key_has_a_limit_that_it_was_not_given(timed: Running) -> None:
    """Forty identical calls at once pass on a key without limits."""
    key = await timed.mint(livemode=False)
    answers = await asyncio.gather(*(call(timed, key["secret"]) for _ in range(40)))
    assert {status for status, _, _ in answers} == {200}


async def test_a_run_has_a_budget_and_a_list_of_steps(timed: Running) -> None:
    """Every run under a key has the cap per run to itself, and its steps are listed by its id."""
    limits = [{"unit": "micros", "max": 70, "per": "run"}, {"unit": "requests", "max": 50, "per": "run"}]
    key = await timed.mint(livemode=False, limits=limits)
    steps = []
    for run in ("run-1", "run-2"):
        status, taken = 200, 0
        while status == 200:
            status, headers, body = await call(timed, key["secret"], x_farthing_run_id=run)
            await timed.quiet()
            taken += 1
        assert refusal(status, headers, body, unit="micros")["cap"] == "run"
        steps.append(taken)
    assert steps[0] == steps[1] > 2
    assert (await call(timed, key["secret"]))[0] == 200
    events = await timed.events(livemode="false", run_id="run-1")
    assert len(events) == steps[0]
    assert {event["run_id"] for event in events} == {"run-1"}
    assert [event["decision"] for event in events] == ["blocked"] + ["allowed"] * (steps[0] - 1)
    assert 0 < sum(event["cost_micros"] for event in events) <= 70
