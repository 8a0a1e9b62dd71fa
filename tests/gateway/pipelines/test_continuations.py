"""A run that waits for its client's tools: what he is given, what he can do with it, and what nobody can."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.pipelines.support import Json, kinds, native, run, says, workflow
from tests.harness import MASTER, Running, running

TOOL = {"type": "function", "name": "price", "parameters": {"type": "object", "properties": {"of": {"type": "string"}}}}
CLIENT = {"mode": "client"}


def asks(node_id: str = "ask", **more: Any) -> Json:
    """A node whose model asks for the client's tool once."""
    request = {"model": "gpt-5-mini", "input": "What is it worth?", "max_output_tokens": 100, "tools": [TOOL]}
    return {
        "id": node_id,
        "type": "llm.responses",
        "input": {"request": request, "tool_execution": CLIENT} | more,
    }


SPEC = workflow(asks(), outputs={"answer": ("ask", "/output/0/content/0/text")}, max_cost_usd="0.01")


def results(told: list[Json], output: Any = "12.50") -> list[Json]:
    """A result for everything that a run waits for."""
    return [
        {"node_id": event["node_id"], "tool_call_id": call["tool_call_id"], "name": call["name"], "output": output}
        for event in told
        if event["type"] == "node_waiting"
        for call in event["waiting"]["pending_tool_calls"]
    ]


async def refused(farthing: Running, secret: str, body: Json, status: int, code: str) -> Json:
    """The error with which a continuation is refused."""
    got, answer = await farthing.api("POST", "/v1/pipelines/runs", body, key=secret)
    assert (got, answer["error"]["code"]) == (status, code), answer
    return answer["error"]  # type: ignore[no-any-return]


async def test_a_run_goes_on_with_its_tools_results(farthing: Running) -> None:
    """Its id, its numbers and its end user go on; the sum is that of all its events."""
    key = await farthing.mint(livemode=False)
    first = await run(farthing, key["secret"], SPEC, x_end_user_id="ann")
    assert kinds(first) == ["run_started", "node_started", "node_llm_call", "node_waiting", "run_waiting"]
    (call,) = first[3]["waiting"]["pending_tool_calls"]
    assert (call["name"], first[3]["waiting"]["step"], json.loads(call["arguments"]).keys()) == ("price", 1, {"of"})
    assert first[-1]["status"] == "waiting"
    again = {"continuation": first[-1]["continuation"], "tool_results": results(first)}
    second = await run(farthing, key["secret"], again)
    assert kinds(second) == ["run_resumed", "node_llm_call", "node_succeeded", "run_completed"]
    told = [*first, *second]
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    assert {event["run_id"] for event in told} == {first[0]["run_id"]}
    events = await farthing.events(livemode="false", end_user="ann")
    assert second[-1]["cost_micros"] == sum(event["cost_micros"] for event in events) > first[-1]["cost_micros"]
    assert second[-1]["line_items"][0]["requests"] == len(events) == 2
    assert second[-1]["outputs"]["answer"].startswith("This is")
    await farthing.audited()


async def test_the_result_stands_in_the_next_request(farthing: Running) -> None:
    """Behind what the model has asked for, in the provider's shape; JSON as text."""
    key = await farthing.mint(max_spend_usd="1")
    first = await run(farthing, key["secret"], SPEC)
    again = {"continuation": first[-1]["continuation"], "tool_results": results(first, {"price": 12})}
    await run(farthing, key["secret"], again)
    user, asked, answered = json.loads(farthing.upstream.requests[-1].body)["input"]
    assert user == {"role": "user", "content": "What is it worth?"}
    assert (asked["type"], answered["type"], answered["output"]) == (
        "function_call", "function_call_output", '{"price":12}',
    )  # fmt: skip
    assert asked["call_id"] == answered["call_id"]


async def test_it_is_used_once(farthing: Running) -> None:
    """The second time is refused, and so are nine of ten at the same time."""
    key = await farthing.mint(livemode=False)
    told = await run(farthing, key["secret"], SPEC)
    again = {"continuation": told[-1]["continuation"], "tool_results": results(told)}
    answers = await asyncio.gather(
        *(farthing.api("POST", "/v1/pipelines/runs", again, key=key["secret"]) for _ in range(10))
    )
    assert sorted(status for status, _ in answers) == [200] + [409] * 9
    await refused(farthing, key["secret"], again, 409, "continuation_used")
    assert len(await farthing.events(livemode="false")) == 2


async def test_it_is_its_keys_own(farthing: Running) -> None:
    """Another key, its parent, or the other mode's gets nothing out of it; a new secret of the same key does."""
    team = await farthing.mint(livemode=False, scope="team")
    key = await farthing.mint(livemode=False, by=team["secret"])
    other = await farthing.mint(livemode=False)
    told = await run(farthing, key["secret"], SPEC)
    again = {"continuation": told[-1]["continuation"], "tool_results": results(told)}
    for foreign in (team, other):
        error = await refused(farthing, foreign["secret"], again, 400, "invalid_continuation")
        assert error["param"] == "continuation"
    _, rotated = await farthing.api("POST", f"/v1/keys/{key['id']}/rotate", {"overlap_seconds": 0})
    assert (await run(farthing, rotated["secret"], again))[-1]["status"] == "succeeded"


async def test_it_cannot_be_changed(farthing: Running) -> None:
    """Whatever is altered, cut off or made up opens as nothing; and a run is not lost by it."""
    key = await farthing.mint(livemode=False)
    told = await run(farthing, key["secret"], SPEC)
    good = told[-1]["continuation"]
    forged = [good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :] for at in range(7, len(good), 29)]
    forged += ["", "fcont1_", "x", good[:-4], good + "AAAA", good[7:], "fcont1_é", good.replace("fcont1_", "fcont2_")]
    for text in forged:
        again = {"continuation": text, "tool_results": results(told)}
        await refused(farthing, key["secret"], again, 400, "invalid_continuation")
    again = {"continuation": good, "tool_results": results(told)}
    assert (await run(farthing, key["secret"], again))[-1]["status"] == "succeeded"


async def test_nothing_of_it_can_be_read(farthing: Running) -> None:
    """What is sealed does not show, packed or not."""
    key = await farthing.mint(livemode=False)
    told = await run(farthing, key["secret"], SPEC)
    assert "worth" not in told[-1]["continuation"]
    again = await run(farthing, key["secret"], SPEC)
    assert again[-1]["continuation"][:60] != told[-1]["continuation"][:60]


async def test_it_ends_with_its_time(tmp_path: Path) -> None:
    """After `wait_ttl_ms` it is refused, and only then."""
    offset = 0
    async with running(tmp_path, clock=lambda: time.time_ns() // 1_000_000 + offset) as farthing:
        key = await farthing.mint(livemode=False)
        spec = workflow(asks(tool_limits={"wait_ttl_ms": 60_000}), outputs={"o": ("ask", "")})
        stale, good = await run(farthing, key["secret"], spec), await run(farthing, key["secret"], SPEC)
        assert stale[-1]["expires_at_ms"] - stale[-1]["ts_ms"] <= 60_000
        offset = 61_000
        again = {"continuation": stale[-1]["continuation"], "tool_results": results(stale)}
        await refused(farthing, key["secret"], again, 400, "continuation_expired")
        again = {"continuation": good[-1]["continuation"], "tool_results": results(good)}
        assert (await run(farthing, key["secret"], again))[-1]["status"] == "succeeded"


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ([], "tool_results"),
        ([{"tool_call_id": "call_x"}], "tool_results[0].tool_call_id"),
        ([{"node_id": "other"}], "tool_results[0].tool_call_id"),
        ([{"name": "weight"}], "tool_results[0].name"),
        ([{}, {}], "tool_results[1].tool_call_id"),
        ([{"more": 1}], "/tool_results/0/more"),
    ],
)
async def test_wrong_results_lose_nothing(farthing: Running, changed: list[Json], param: str) -> None:
    """400 that names them; the run still waits."""
    key = await farthing.mint(livemode=False)
    told = await run(farthing, key["secret"], SPEC)
    (good,) = results(told)
    wrong = {"continuation": told[-1]["continuation"], "tool_results": [good | each for each in changed]}
    error = await refused(farthing, key["secret"], wrong, 400, "invalid_request")
    assert error["param"] == param
    again = {"continuation": told[-1]["continuation"], "tool_results": [good]}
    status, body = await farthing.api(
        "POST", "/v1/pipelines/runs", again, key=key["secret"], headers={"x-end-user-id": "somebody else"}
    )
    assert (status, body["error"]["param"]) == (400, "x-end-user-id")
    assert (await run(farthing, key["secret"], again))[-1]["status"] == "succeeded"


async def test_its_budget_goes_on_across_a_restart(tmp_path: Path) -> None:
    """What was spent before still counts, and what is left is not enough for the next call."""
    async with running(tmp_path) as farthing:
        key = await farthing.mint(livemode=False)
        check = (await farthing.api("POST", "/v1/pipelines/check", SPEC, key=key["secret"]))[1]
        one_call = check["max_cost_micros"] // 8  # max_llm_calls
        exact = workflow(asks(), outputs={"o": ("ask", "")}, max_cost_micros=one_call + 5)
        short, good = await run(farthing, key["secret"], exact), await run(farthing, key["secret"], SPEC)
    async with running(tmp_path) as farthing:
        again = {"continuation": short[-1]["continuation"], "tool_results": results(short)}
        told = await run(farthing, key["secret"], again)
        assert kinds(told) == ["run_resumed", "run_completed"]
        assert (told[-1]["status"], told[-1]["outputs"]) == ("budget_exceeded", {})
        assert told[-1]["cost_micros"] == short[-1]["cost_micros"] > 0
        assert told[-1]["refused"]["limit_micros"] == one_call + 5
        again = {"continuation": good[-1]["continuation"], "tool_results": results(good)}
        assert (await run(farthing, key["secret"], again))[-1]["status"] == "succeeded"
        await refused(farthing, key["secret"], again, 409, "continuation_used")


async def test_a_canceled_run_waits_no_longer(farthing: Running) -> None:
    """`DELETE` of one that waits: 200 with its cost, and its continuation is nothing any more."""
    key = await farthing.mint(livemode=False)
    told = await run(farthing, key["secret"], SPEC)
    status, answer = await farthing.api("DELETE", f"/v1/pipelines/runs/{told[0]['run_id']}", key=MASTER)
    assert (status, answer["cost_micros"]) == (200, told[-1]["cost_micros"])
    again = {"continuation": told[-1]["continuation"], "tool_results": results(told)}
    await refused(farthing, key["secret"], again, 409, "continuation_used")


async def test_what_does_not_wait_has_run_before(farthing: Running) -> None:
    """Two nodes wait while a third runs; both are answered at once, and the rest goes on."""
    key = await farthing.mint(livemode=False)
    chat_tool = {"type": "function", "function": {"name": "price", "parameters": TOOL["parameters"]}}
    chat = {"model": "gpt-4o-mini", "max_tokens": 50, "tools": [chat_tool]}
    spec = workflow(
        asks("one"),
        native(
            "two",
            "/v1/chat/completions",
            chat | {"messages": [{"role": "user", "content": "x"}]},
            tool_execution=CLIENT,
        ),
        says("three", "Hello"),
        {"id": "all", "type": "join.all"},
        edges=[("one", "all"), ("two", "all"), ("three", "all")],
        outputs={"all": ("all", "")},
    )
    told = await run(farthing, key["secret"], spec)
    assert {event["node_id"] for event in told if event["type"] == "node_waiting"} == {"one", "two"}
    assert {event["node_id"] for event in told if event["type"] == "node_succeeded"} == {"three"}
    again = {"continuation": told[-1]["continuation"], "tool_results": results(told)}
    more = await run(farthing, key["secret"], again)
    assert more[-1]["status"] == "succeeded"
    assert more[-1]["outputs"]["all"].keys() == {"one", "two", "three"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "gpt-5-mini", "input": "x", "tools": [TOOL]}),
        (
            "/v1/messages",
            {
                "model": "claude-haiku-4-5",
                "max_tokens": 99,
                "messages": [{"role": "user", "content": "x"}],
                "tools": [{"name": "price", "input_schema": TOOL["parameters"]}],
            },
        ),
        (
            "/v1beta/models/gemini-2.5-flash:generateContent",
            {
                "contents": [{"role": "user", "parts": [{"text": "x"}]}],
                "tools": [{"functionDeclarations": [{"name": "price", "parameters": TOOL["parameters"]}]}],
            },
        ),
    ],
)
async def test_every_shape_has_its_tools(farthing: Running, path: str, body: Json) -> None:
    """The model's question is understood, and its answer is what that provider takes."""
    key = await farthing.mint(livemode=False)
    spec = workflow(native("ask", path, body, tool_execution=CLIENT), outputs={"o": ("ask", "")})
    told = await run(farthing, key["secret"], spec)
    assert told[-1]["status"] == "waiting", told[-1]
    again = {"continuation": told[-1]["continuation"], "tool_results": results(told)}
    more = await run(farthing, key["secret"], again)
    assert more[-1]["status"] == "succeeded", more[-1]
    server = workflow(native("ask", path, body), outputs={"o": ("ask", "")})
    assert (await run(farthing, key["secret"], server))[-1]["error"]["code"] == "tool_needs_client"


async def test_tools_are_bounded(farthing: Running) -> None:
    """`max_llm_calls` calls in all, and no more."""
    key = await farthing.mint(livemode=False)
    spec = workflow(asks(tool_limits={"max_llm_calls": 1}), outputs={"o": ("ask", "")})
    told = await run(farthing, key["secret"], spec)
    assert (told[-1]["type"], told[-1]["error"]["code"]) == ("run_failed", "too_many_llm_calls")
