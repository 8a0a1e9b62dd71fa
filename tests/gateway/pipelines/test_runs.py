"""Runs, from outside: what their clients are told, what their calls are, and what ends them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.gateway.pipelines.support import Json, kinds, native, run, says, workflow
from tests.harness import Running

TEXT = "/output/0/content/0/text"
MESSAGES = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "three"}]}
JOINED = [("one", "all"), ("two", "all"), ("three", "all")]
ALL = {"id": "all", "type": "join.all"}
SUM = says("sum", "Sum up: {{all}}", bindings=[{"from": "all", "to_placeholder": "all"}])


def fan(**execution: Any) -> Json:
    """Three calls side by side, joined for a fourth."""
    three = native("three", "/v1/messages", MESSAGES)
    nodes = (says("one", "first"), says("two", "second"), three, ALL, SUM)
    return workflow(
        *nodes, edges=JOINED, outputs={"sum": ("sum", TEXT), "three": ("three", "/content/0/text")}, **execution
    )


async def test_a_run_is_told_as_it_goes_and_costs_what_its_events_do(farthing: Running) -> None:
    """Every node starts after what it needs; the end has the outputs and the sum, to the micro."""
    key = await farthing.mint(livemode=False, max_spend_usd="1")
    told = await run(farthing, key["secret"], fan(max_cost_usd="0.5"), x_end_user_id="ann")
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    assert {event["run_id"] for event in told} == {told[0]["run_id"]}
    at = {(event["type"], event["node_id"]): event["seq"] for event in told if "node_id" in event}
    for name in ("one", "two", "three"):
        assert at["node_started", name] < at["node_llm_call", name] < at["node_succeeded", name]
        assert at["node_succeeded", name] < at["node_started", "all"]
    assert at["node_succeeded", "all"] < at["node_started", "sum"]
    last = told[-1]
    assert (last["type"], last["status"]) == ("run_completed", "succeeded")
    assert all(last["outputs"][name].startswith("This is a simulated answer") for name in ("sum", "three"))
    events = await farthing.events(livemode="false", run_id=last["run_id"])
    assert [event["end_user"] for event in events] == ["ann"] * 4
    assert last["cost_micros"] == sum(event["cost_micros"] for event in events)
    assert last["cost_micros"] == sum(item["cost_micros"] for item in last["line_items"])
    called = {event["request_id"]: event["cost_micros"] for event in told if event["type"] == "node_llm_call"}
    assert called == {event["request_id"]: event["cost_micros"] for event in events}
    await farthing.audited()


async def test_without_asking_for_lines_the_last_event_is_the_answer(farthing: Running) -> None:
    """One JSON, when the run is over."""
    key = await farthing.mint(livemode=False)
    status, answer = await farthing.api("POST", "/v1/pipelines/runs", fan(), key=key["secret"])
    assert (status, answer["type"], set(answer["outputs"])) == (200, "run_completed", {"sum", "three"})


async def test_no_more_calls_run_side_by_side_than_is_said(farthing: Running) -> None:
    """With one at a time no node starts before the one before has its output."""
    key = await farthing.mint(livemode=False)
    told = kinds(await run(farthing, key["secret"], fan(max_parallelism=1)))
    assert told[1:10] == ["node_started", "node_llm_call", "node_succeeded"] * 3


async def test_a_node_is_sent_what_its_bindings_say(farthing: Running) -> None:
    """Values, JSON as text, and placeholders stand in the provider's request, and nothing of ours."""
    key = await farthing.mint(max_spend_usd="1")
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "{{who}}: "}], "max_tokens": 9}
    node = native(
        "chat",
        "/v1/chat/completions",
        body,
        bindings=[
            {"from": "made", "pointer": "/model", "to_placeholder": "who"},
            {"from": "made", "pointer": "/choices/0/message", "to": "/messages/-"},
            {"from": "made", "pointer": "/usage", "to": "/messages/1/content", "encoding": "json_string"},
            {"from": "made", "pointer": "/model", "to": "/user"},
        ],
    )
    first = native("first", "/v1/chat/completions", body | {"messages": [{"role": "user", "content": "hello"}]})
    made = {"id": "made", "type": "transform.json", "input": {"merge": [{"from": "first"}]}}
    told = await run(
        farthing, key["secret"], workflow(first, made, node, outputs={"all": ("chat", "")}), user_agent="x"
    )
    assert told[-1]["status"] == "succeeded", told[-1]
    sent = json.loads(farthing.upstream.requests[-1].body)
    assert sent["messages"][0]["content"].endswith(": ")
    assert "{{" not in sent["messages"][0]["content"]
    assert set(json.loads(sent["messages"][1]["content"])) >= {"prompt_tokens"}
    assert sent["user"] + ": " == sent["messages"][0]["content"]
    headers = {name.lower() for name, _ in farthing.upstream.requests[-1].headers}
    assert not any(name.startswith(("x-farthing", "x-end-user")) for name in headers)
    assert key["secret"] not in str(farthing.upstream.requests[-1].headers)


async def test_a_request_in_the_schemas_own_words_is_one_in_the_providers(farthing: Running) -> None:
    """Parts of type `text`, and functions in a member of their own; what is bound stands in its place."""
    key = await farthing.mint(max_spend_usd="1", overdraft="never")
    turns = [
        {"type": "message", "role": "user", "content": [{"type": "text", "text": "Weigh this."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Which?"}]},
        {"type": "message", "role": "user", "content": [{"type": "text", "text": ""}]},
    ]
    function = {"name": "price", "description": "What it costs.", "parameters": {"type": "object", "properties": {}}}
    node = says("two", "", bindings=[{"from": "one", "pointer": TEXT, "to": "/input/2/content/0/text"}])
    node["input"]["request"] |= {
        "input": turns, "tools": [{"type": "function", "function": function}], "tool_choice": "none",
    }  # fmt: skip
    told = await run(farthing, key["secret"], workflow(says("one", "x"), node, outputs={"o": ("two", TEXT)}))
    assert told[-1]["status"] == "succeeded", told[-1]
    sent = farthing.upstream.requests[-1].json()
    assert [part["type"] for turn in sent["input"] for part in turn["content"]] == [
        "input_text", "output_text", "input_text",
    ]  # fmt: skip
    assert sent["input"][2]["content"][0]["text"].startswith("This is")
    assert sent["tools"] == [{"type": "function", **function}]


async def test_a_gateway_that_stops_lets_its_runs_finish(farthing: Running) -> None:
    """What has begun goes on to its last node; nothing new is begun."""
    key = await farthing.mint(livemode=False)
    headers = {"authorization": f"Bearer {key['secret']}", "x-farthing-sim": "delay_ms=400"}
    running = asyncio.create_task(_answered(farthing, fan(), headers))
    while len(farthing.gateway.flights) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    farthing.gateway.drain()
    status, body = await farthing.api("POST", "/v1/pipelines/runs", fan(), key=key["secret"])
    assert (status, body["error"]["code"]) == (503, "overloaded")
    assert json.loads(await running)["status"] == "succeeded"


async def test_a_failed_node_ends_its_run_with_the_true_error(farthing: Running) -> None:
    """What is refused or fails is told as a client would be told; nothing more is started."""
    key = await farthing.mint(livemode=False, allowed_models=["gpt-5-mini"])
    told = await run(farthing, key["secret"], fan())
    assert told[-1]["type"] == "run_failed"
    assert told[-1]["error"]["code"] == "model_not_allowed"
    assert told[-1]["error"]["body"]["error"]["type"] == "permission_error"
    assert not any(event.get("node_id") in ("all", "sum") for event in told)
    told = await run(
        farthing, key["secret"], workflow(says("one", "x"), outputs={"x": ("one", "")}), x_farthing_sim="status=529"
    )
    assert (told[-1]["type"], told[-1]["error"]["code"], told[-1]["error"]["status"]) == (
        "run_failed",
        "call_failed",
        529,
    )
    await farthing.audited()


async def test_a_cap_of_the_keys_own_is_its_nodes_failure(farthing: Running) -> None:
    """402 with the key's cap, not an end by the run's budget."""
    key = await farthing.mint(livemode=False, max_spend_usd="0.000100")
    told = await run(farthing, key["secret"], fan(max_cost_usd="1"))
    assert told[-1]["status"] == "failed"
    assert told[-1]["error"]["code"] == "spend_cap_exceeded"


async def test_a_pointer_that_leads_nowhere_is_said(farthing: Running) -> None:
    """Of an output: the others are there."""
    key = await farthing.mint(livemode=False)
    spec = workflow(says("one", "x"), outputs={"good": ("one", TEXT), "bad": ("one", "/nothing")})
    told = await run(farthing, key["secret"], spec)
    assert (told[-1]["type"], told[-1]["error"]["code"]) == ("run_failed", "pointer_not_found")
    assert set(told[-1]["outputs"]) == {"good"}


async def test_sound_is_an_output_too(farthing: Running) -> None:
    """What is no JSON stands in base64, with its type."""
    key = await farthing.mint(livemode=False)
    speech = {"model": "tts-1", "voice": "alloy", "input": "Hello"}
    told = await run(
        farthing, key["secret"], workflow(native("say", "/v1/audio/speech", speech), outputs={"o": ("say", "")})
    )
    assert told[-1]["status"] == "succeeded", told[-1]
    assert set(told[-1]["outputs"]["o"]) == {"content_type", "base64"}


async def test_time_ends_a_node_and_a_run(farthing: Running) -> None:
    """Each says which of the two it was; the call lands all the same."""
    key = await farthing.mint(livemode=False)
    spec = workflow(says("one", "x"), outputs={"x": ("one", "")}, node_timeout_ms=100)
    told = await run(farthing, key["secret"], spec, x_farthing_sim="delay_ms=600")
    assert told[-1]["error"]["code"] == "node_timeout"
    spec["execution"] = {"run_timeout_ms": 100}
    told = await run(farthing, key["secret"], spec, x_farthing_sim="delay_ms=600")
    assert told[-1]["error"]["code"] == "run_timeout"
    events = await farthing.events(livemode="false")
    assert [event["status"] for event in events] == ["settled", "settled"]
    assert told[-1]["cost_micros"] == events[0]["cost_micros"] > 0
    await farthing.audited()


@pytest.mark.parametrize("accept", ["application/x-ndjson", "application/json"])
async def test_deleting_a_run_ends_it(farthing: Running, accept: str) -> None:
    """200, the last event is `run_canceled`, the calls in flight have their events, and nothing starts any more."""
    key = await farthing.mint(livemode=False)
    headers = {"authorization": f"Bearer {key['secret']}", "accept": accept, "x-farthing-sim": "delay_ms=700"}
    running = asyncio.create_task(_answered(farthing, fan(), headers))
    while not farthing.gateway._runs._runs:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)
    while len(farthing.gateway.flights) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    (run_id,) = farthing.gateway._runs._runs
    status, answer = await farthing.api("DELETE", f"/v1/pipelines/runs/{run_id}", key=key["secret"])
    assert (status, answer["id"], answer["status"]) == (200, run_id, "canceled")
    last = json.loads((await running).splitlines()[-1])
    assert (last["type"], last["status"]) == ("run_canceled", "canceled")
    events = await farthing.events(livemode="false", run_id=run_id)
    assert [event["status"] for event in events] == ["settled"] * 3
    assert answer["cost_micros"] == last["cost_micros"] == sum(event["cost_micros"] for event in events) > 0
    assert (await farthing.api("DELETE", f"/v1/pipelines/runs/{run_id}", key=key["secret"]))[0] == 404
    chat = {"model": "gpt-4o-mini", "messages": []}
    status, _, body = await farthing.call(key["secret"], chat, headers={"x-farthing-run-id": run_id})
    assert (status, json.loads(body)["error"]["code"]) == (403, "run_closed")
    await farthing.audited()


async def _answered(farthing: Running, spec: Json, headers: dict[str, str]) -> str:
    async with farthing.http.post(f"{farthing.url}/v1/pipelines/runs", json=spec, headers=headers) as response:
        return await response.text()


async def test_a_client_that_leaves_ends_its_run(farthing: Running) -> None:
    """Its calls land; the fourth is never made."""
    key = await farthing.mint(livemode=False)
    headers = {"authorization": f"Bearer {key['secret']}", "x-farthing-sim": "delay_ms=500"}
    running = asyncio.create_task(_answered(farthing, fan(), headers))
    while len(farthing.gateway.flights) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    running.cancel()
    async with asyncio.timeout(5):
        while farthing.gateway._runs._runs:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    events = await farthing.events(livemode="false")
    assert [event["status"] for event in events] == ["settled"] * 3
    await farthing.audited()


async def test_a_revoked_key_ends_its_runs(farthing: Running) -> None:
    """Its calls are cut, as all calls of the key are; the run fails with what they were told."""
    key = await farthing.mint(livemode=False)
    headers = {"authorization": f"Bearer {key['secret']}", "x-farthing-sim": "delay_ms=5000"}
    running = asyncio.create_task(_answered(farthing, fan(), headers))
    while len(farthing.gateway.flights) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await farthing.api("DELETE", f"/v1/keys/{key['id']}")
    async with asyncio.timeout(2):
        last = json.loads(await running)
    assert (last["type"], last["error"]["status"]) == ("run_failed", 401)
    await farthing.audited()


async def test_anothers_run_is_none(farthing: Running) -> None:
    """Another key's id answers as one that does not exist."""
    one, other = await farthing.mint(livemode=False), await farthing.mint(livemode=False)
    headers = {"authorization": f"Bearer {one['secret']}", "x-farthing-sim": "delay_ms=300"}
    running = asyncio.create_task(_answered(farthing, fan(), headers))
    while not farthing.gateway._runs._runs:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    (run_id,) = farthing.gateway._runs._runs
    assert (await farthing.api("DELETE", f"/v1/pipelines/runs/{run_id}", key=other["secret"]))[0] == 404
    assert (await farthing.api("DELETE", "/v1/pipelines/runs/run_nothing", key=other["secret"]))[0] == 404
    assert json.loads(await running)["status"] == "succeeded"


async def test_an_idempotency_key_makes_one_run(farthing: Running) -> None:
    """A second request is told its id; another one with the key is refused."""
    key = await farthing.mint(livemode=False)
    once = {"idempotency-key": "once"}
    _, first = await farthing.api("POST", "/v1/pipelines/runs", fan(), key=key["secret"], headers=once)
    status, again = await farthing.api("POST", "/v1/pipelines/runs", fan(), key=key["secret"], headers=once)
    assert (status, again["error"]["code"]) == (409, "run_not_kept")
    assert first["run_id"] in again["error"]["message"]
    status, other = await farthing.api(
        "POST", "/v1/pipelines/runs", fan(max_parallelism=2), key=key["secret"], headers=once
    )
    assert (status, other["error"]["code"]) == (422, "idempotency_mismatch")
    assert len(await farthing.events(livemode="false")) == 4


@pytest.mark.parametrize(
    ("headers", "param"),
    [
        ({"x-farthing-run-id": "mine"}, "x-farthing-run-id"),
        ({"x-end-user-cap-usd": "1"}, "x-end-user-cap-usd"),
        ({"x-farthing-max-cost-usd": "much"}, "x-farthing-max-cost-usd"),
        ({"x-farthing-sim": "nonsense"}, "x-farthing-sim"),
        ({"x-farthing-metadata": "[]"}, "x-farthing-metadata"),
    ],
)
async def test_headers_are_read_before_anything_is_run(farthing: Running, headers: dict[str, str], param: str) -> None:
    """400, naming the header, and no call."""
    key = await farthing.mint(livemode=False)
    status, body = await farthing.api("POST", "/v1/pipelines/runs", fan(), key=key["secret"], headers=headers)
    assert (status, body["error"]["param"]) == (400, param)
    assert await farthing.events(livemode="false") == []
