"""Runs on gateways that are real processes: killed in the middle, restarted, and one of several on a database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from providers.simulator import Faults
from tests.cluster import Cluster
from tests.gateway.pipelines.support import Json, workflow
from tests.harness import MASTER
from tests.process import Served
from tests.upstream import Upstream

KILLS = 5
MODELS = ("gpt-5-mini", "gpt-4o-mini", "gpt-4o", "gpt-5-nano")
PROMPT, TOOL_OUTPUT, ANSWER = "prompt-canary-81c2", "tool-canary-77af", "This is a simulated answer"
CLIENT = {"mode": "client"}
TOOL = {"type": "function", "name": "price", "parameters": {"type": "object", "properties": {"of": {"type": "string"}}}}


def spec(mark: str, **last: Any) -> Json:
    """Three calls side by side and one after them, each of its own model; what is asked bears the mark."""
    nodes: list[Json] = [
        {
            "id": f"n{number}",
            "type": "llm.responses",
            "input": {"request": {"model": model, "input": f"{PROMPT} {mark}", "max_output_tokens": 60}},
        }
        for number, model in enumerate(MODELS)
    ]
    nodes[3]["input"]["bindings"] = [{"from": "all", "to": "/input", "encoding": "json_string"}]
    nodes[3]["input"] |= {name: value for name, value in last.items() if name != "tools"}
    if "tools" in last:
        nodes[3]["input"]["request"]["tools"] = last["tools"]
    edges = [(f"n{number}", "all") for number in range(3)]
    join = {"id": "all", "type": "join.all"}
    return workflow(*nodes, join, edges=edges, outputs={"end": ("n3", "")}, max_cost_usd="1")


class Node(Served):
    """A gateway in a process of its own, and how it is asked."""

    def __init__(self, place: Path, upstream: Upstream, **settings: str) -> None:
        super().__init__(place, upstream.url, **settings)
        self.upstream = upstream

    async def ask(
        self,
        http: aiohttp.ClientSession,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str = MASTER,
        begun: asyncio.Future[str] | None = None,
        **headers: str,
    ) -> tuple[int, Any]:
        """Status and JSON; the lines of a run; 0 where it broke off. `begun` is told a run's id."""
        given = {"authorization": f"Bearer {key}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        status, text = 0, ""
        with contextlib.suppress(aiohttp.ClientError):
            async with http.request(method, self.url + path, json=body, headers=given) as response:
                status = response.status
                if begun is not None:
                    begun.set_result(response.headers["x-farthing-run-id"])
                async for line in response.content:
                    text += line.decode()
        found = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return status, found if "accept" in headers else (found or [None])[0]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as started:
        yield started


def check_silence(place: Path, *canaries: str) -> None:
    """Nothing that was asked, answered or given by a tool stands in any file."""
    files = [path for path in place.rglob("*") if path.is_file()]
    assert len(files) > 1
    for path in files:
        content = path.read_bytes()
        for canary in (PROMPT, TOOL_OUTPUT, ANSWER, *canaries):
            assert canary.encode() not in content, f"{canary[:20]!r} stands in {path.name}"


async def test_killed_in_the_middle_every_call_has_its_event(tmp_path: Path, upstream: Upstream) -> None:
    """After each SIGKILL: one event of each call that its provider has seen; the books close; nothing said is left."""
    node, dice = Node(tmp_path, upstream), random.Random(3)  # noqa: S311 - moments, not secrets
    upstream.always = Faults.parse("delay_ms=120")
    await node.start()
    try:
        async with aiohttp.ClientSession() as http:
            _, key = await node.ask(http, "POST", "/v1/keys", {"name": "runs"})
            ends = Counter[str]()
            for number in range(KILLS):
                marks = [f"run-{number}-{index}" for index in range(3)]
                runs = [
                    asyncio.create_task(
                        node.ask(
                            http, "POST", "/v1/pipelines/runs", spec(mark), key=key["secret"],
                            accept="application/x-ndjson", x_farthing_metadata=json.dumps({"mark": mark}),
                        )
                    )
                    for mark in marks
                ]  # fmt: skip
                await asyncio.sleep(dice.uniform(0.05, 0.45))
                node.signal(signal.SIGKILL)
                await node.ended()
                for _, told in await asyncio.gather(*runs):
                    ends[told[-1]["type"] if told else "nothing"] += 1
                await node.start()
            await asyncio.sleep(0.2)
            code, out, err = await node.run("audit", "--json")
            assert code == 0, out + err
            events = [event for event in await node.events() if event["decision"] == "allowed"]
            by_call = Counter((event["metadata"]["mark"], event["model"]) for event in events)
            assert max(by_call.values()) == 1
            seen = [(_mark(each.json()), each.json()["model"]) for each in upstream.requests]
            assert {call for call in seen if call[0]} <= set(by_call)
            assert len(seen) <= len(events)
            assert len({event["run_id"] for event in events}) <= KILLS * 3
            statuses = Counter(event["status"] for event in events)
            assert statuses["unsettled"] > 0, (statuses, ends)
            assert ends["run_completed"] < KILLS * 3, ends
        check_silence(tmp_path, key["secret"])
    finally:
        await node.kill()


def _mark(body: Json) -> str:
    """The mark in a request; the last node's has an answer's text in its place, and none."""
    words = body["input"].split(" ")
    return words[1] if words[0] == PROMPT else ""


async def test_what_waits_outlives_its_process_and_is_nowhere_on_the_disk(tmp_path: Path, upstream: Upstream) -> None:
    """Killed while a run waits: its continuation goes on, once; no file has a word of it, or the continuation."""
    node = Node(tmp_path, upstream)
    await node.start()
    try:
        async with aiohttp.ClientSession() as http:
            _, key = await node.ask(http, "POST", "/v1/keys", {"name": "runs"})
            asked = spec("x", tools=[TOOL], tool_execution=CLIENT)
            lines = {"key": key["secret"], "accept": "application/x-ndjson"}
            _, told = await node.ask(http, "POST", "/v1/pipelines/runs", asked, **lines)
            assert told[-1]["type"] == "run_waiting", told[-1]
            node.signal(signal.SIGKILL)
            await node.ended()
            check_silence(tmp_path, told[-1]["continuation"][:40])
            await node.start()
            (call,) = next(each for each in told if each["type"] == "node_waiting")["waiting"]["pending_tool_calls"]
            result = {"node_id": "n3", "tool_call_id": call["tool_call_id"], "output": TOOL_OUTPUT}
            again = {"continuation": told[-1]["continuation"], "tool_results": [result]}
            _, more = await node.ask(http, "POST", "/v1/pipelines/runs", again, **lines)
            assert more[-1]["status"] == "succeeded", more[-1]
            assert (await node.ask(http, "POST", "/v1/pipelines/runs", again, **lines))[0] == 409
            events = await node.events()
            assert sum(event["cost_micros"] for event in events) == more[-1]["cost_micros"]
            assert len(events) == 5
            assert TOOL_OUTPUT in upstream.requests[-1].body.decode()
        check_silence(tmp_path, told[-1]["continuation"][:40])
    finally:
        await node.kill()


async def test_several_gateways_are_one(tmp_path: Path, upstream: Upstream, postgres: Cluster) -> None:
    """Canceled through another one within a second or so; begun on one and gone on with on another, once."""
    database = postgres.database()
    nodes = [Node(tmp_path / name, upstream, FARTHING_DATABASE_URL=database) for name in "ab"]
    for node in nodes:
        node.place.mkdir()
    one, other = nodes
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        async with aiohttp.ClientSession() as http:
            _, key = await one.ask(http, "POST", "/v1/keys", {"name": "runs"})
            lines = {"key": key["secret"], "accept": "application/x-ndjson"}
            upstream.always = Faults.parse("delay_ms=1000")
            told_id: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            running = asyncio.create_task(
                one.ask(http, "POST", "/v1/pipelines/runs", spec("x"), begun=told_id, **lines)
            )
            while len(upstream.requests) < 3:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.02)
            run_id = await told_id
            status, answer = await other.ask(http, "DELETE", f"/v1/pipelines/runs/{run_id}", key=key["secret"])
            assert (status, answer["status"]) == (200, "canceled")
            _, told = await asyncio.wait_for(running, 4)
            assert told[-1]["type"] == "run_canceled"
            assert {each.get("node_id") for each in told} == {None, "n0", "n1", "n2"}
            upstream.always = Faults()
            asked = spec("x", tools=[TOOL], tool_execution=CLIENT)
            _, told = await one.ask(http, "POST", "/v1/pipelines/runs", asked, **lines)
            (call,) = next(each for each in told if each["type"] == "node_waiting")["waiting"]["pending_tool_calls"]
            result = {"node_id": "n3", "tool_call_id": call["tool_call_id"], "output": TOOL_OUTPUT}
            again = {"continuation": told[-1]["continuation"], "tool_results": [result]}
            answers = await asyncio.gather(
                *(node.ask(http, "POST", "/v1/pipelines/runs", again, **lines) for node in (one, other) * 3)
            )
            assert sorted(status for status, _ in answers) == [200, 409, 409, 409, 409, 409]
            (more,) = [found for status, found in answers if status == 200]
            assert more[-1]["status"] == "succeeded"
    finally:
        for node in nodes:
            await node.kill()
