"""The official JavaScript SDKs cannot tell Farthing from the provider either. Needs Node and npm."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.harness import PROVIDER_KEY, Running
from tests.sdk.sides import Watch, comparable, same_requests

pytestmark = pytest.mark.asyncio(loop_scope="session")

STREAMS = {"chat_stream": "gpt-4o-mini", "responses_stream": "gpt-5", "messages_stream": "claude-sonnet-5-5"}


@pytest.fixture
def script(node_modules: Path) -> Path:
    """The program that runs the cases, with its SDKs installed as package.json pins them."""
    return node_modules.parent / "conformance.mjs"


async def node(script: Path, what: str, url: str, key: str, *names: str) -> Any:
    """What the program prints."""
    process = await asyncio.create_subprocess_exec(
        *(shutil.which("node") or "node", str(script), what, *names),
        env={"BASE_URL": url, "API_KEY": key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode(errors="replace")[-4000:]
    return json.loads(out)


async def test_through_farthing_is_as_straight(gate: Running, live_key: str, script: Path) -> None:
    """Every case's result, and every request that the provider saw, are those of the SDKs straight at it."""
    watch = Watch(gate)
    expected = await node(script, "answers", gate.upstream.url, PROVIDER_KEY)
    direct = await watch.passed()
    watch = Watch(gate)
    result = await node(script, "answers", gate.url, live_key)
    through = await watch.passed()
    assert result.keys() == expected.keys()
    for name in ("chat_stream", "chat_helper", "chat_tools_stream"):
        for item in result[name] if isinstance(result[name], list) else [result[name]]:
            assert item.pop("usage", None) is None  # asking for usage on the client's behalf adds this to other chunks
    for name in expected:
        assert comparable(result[name]) == comparable(expected[name]), name
    same_requests(direct, through, live_key)


async def test_a_test_key_answers_like_the_provider(gate: Running, trial_key: str, script: Path) -> None:
    """The built-in simulator gives the SDKs the same results, and nothing reaches the provider."""
    expected = await node(script, "answers", gate.upstream.url, PROVIDER_KEY)
    before = len(gate.upstream.requests)
    result = await node(script, "answers", gate.url, trial_key)
    for name in ("chat_stream", "chat_helper", "chat_tools_stream"):
        for item in result[name] if isinstance(result[name], list) else [result[name]]:
            assert item.pop("usage", None) is None  # asking for usage on the client's behalf adds this to other chunks
    for name in expected:
        assert comparable(result[name]) == comparable(expected[name]), name
    assert len(gate.upstream.requests) == before


async def test_over_the_cap_is_402_once(gate: Running, script: Path) -> None:
    """Over the cap every operation raises a 402 after one request, and the provider is never called."""
    key = await gate.mint(max_spend_usd="0")
    before = len(gate.upstream.requests)
    refused = await node(script, "refusals", gate.url, key["secret"])
    for name, error in refused.items():
        vendor = "anthropic" if name.startswith("messages") else "openai"
        assert (error["status"], error["requests"], error[vendor]) == (402, 1, True), name
        body = error["body"] if vendor == "openai" else error["body"]["error"]
        assert body["code"] == "spend_cap_exceeded"
        assert body["farthing"]["limit_micros"] == 0
    assert refused["chat"]["code"] == "spend_cap_exceeded"
    assert refused["messages"]["type"] == "billing_error"
    assert len(gate.upstream.requests) == before
    events = await gate.events(key_id=key["id"])
    assert [event["decision"] for event in events] == ["blocked"] * len(refused)


async def test_a_bad_key_is_401_once(gate: Running, script: Path) -> None:
    """A key that is none raises the SDKs' AuthenticationError after one request."""
    refused = await node(script, "refusals", gate.url, "fk_live_" + "A" * 63)
    assert {(error["kind"], error["status"], error["requests"]) for error in refused.values()} == {
        ("AuthenticationError", 401, 1)
    }


async def test_a_truncated_stream_raises(gate: Running, script: Path) -> None:
    """If the provider's stream breaks off, the SDKs raise: half an answer is never taken for a whole one."""
    key = await gate.mint(max_spend_usd="1")
    for model in STREAMS.values():
        gate.upstream.script("disconnect_after=6", model=model)
    broken = await node(script, "refusals", gate.url, key["secret"], *STREAMS)
    assert [(error["kind"] is not None, error["requests"]) for error in broken.values()] == [(True, 1)] * len(STREAMS)


async def test_a_revoked_key_s_stream_raises(gate: Running, script: Path) -> None:
    """A revocation in the middle of a stream is raised by the SDKs with its reason, never a silent end."""

    async def cut(name: str) -> Any:
        key = await gate.mint(max_spend_usd="1")
        gate.upstream.script("chunk_delay_ms=60,output_tokens=500", model=STREAMS[name])
        running = asyncio.create_task(node(script, "refusals", gate.url, key["secret"], name))
        while not (await gate.api("GET", f"/v1/keys/{key['id']}"))[1]["held_micros"]:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert (await gate.api("DELETE", f"/v1/keys/{key['id']}"))[0] == 200
        return (await running)[name]

    for name, error in zip(STREAMS, await asyncio.gather(*map(cut, STREAMS)), strict=True):
        vendor = "anthropic" if name.startswith("messages") else "openai"
        assert error[vendor], name
        assert "key_revoked" in json.dumps(error["body"]), name
        assert error["requests"] == 1
