"""Test keys' large requests are simulated in a process of their own, and answered as if it had been done here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from gateway.apart import HelperFailed
from gateway.bounds import SIMULATION_MEMORY_BYTES_MAX
from gateway.upstream import simulating
from gateway.upstream.simulating import Asked, Simulations
from providers.simulator import Faults, Step, is_long_work, sounds
from providers.simulator.stored import files
from providers.simulator.stored.work import Work
from tests.gateway.call.test_upload import FORM, form
from tests.harness import Running, running
from tests.process import titled

LONG = "Some honest text, at length. " * 20_000
CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": LONG}], "max_tokens": 100}
JSON = {"content-type": "application/json"}
REQUESTS: tuple[tuple[str, str, dict[str, Any] | bytes], ...] = (
    ("openai", "/v1/chat/completions", CHAT),
    ("openai", "/v1/chat/completions", CHAT | {"stream": True, "stream_options": {"include_usage": True}, "n": 3}),
    ("openai", "/v1/responses", {"model": "gpt-5", "input": LONG, "instructions": LONG, "stream": True}),
    ("openai", "/v1/embeddings", {"model": "text-embedding-3-small", "input": [LONG, "short"]}),
    ("openai", "/v1/audio/speech", {"model": "tts-1", "input": "Say this.", "voice": "alloy"}),
    ("openai", "/v1/audio/transcriptions", form(("model", "whisper-1"), ("file", sounds.wav(9)))),
    ("anthropic", "/v1/messages", CHAT | {"model": "claude-haiku-4-5", "stream": True}),
    ("google", "/v1beta/models/gemini-2.5-flash:generateContent", {"contents": [{"parts": [{"text": LONG}]}]}),
    ("cohere", "/v2/rerank", {"model": "rerank-v3.5", "query": "q", "documents": [LONG, "x"]}),
    ("openai", "/v1/nowhere", CHAT),
    ("openai", "/v1/chat/completions", b"{" + b'"' * 3),
)
FAULTS = (
    "",
    "status=529",
    "delay_ms=5, usage=missing",
    "disconnect_after=2",
    "stall_after=1",
    "reset=before_head",
    "reset=after_head",
    "stream=on, output_tokens=4000, chunk_bytes=7, chunk_delay_ms=1, encoding=gzip",
)


@pytest.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, FARTHING_DISCONNECT_DRAIN_S="0") as made:
        yield made


@pytest.fixture
async def simulations() -> AsyncIterator[Simulations]:
    made = Simulations()
    yield made
    await made.close()


def helpers() -> list[psutil.Process]:
    return titled(psutil.Process().children(), "gateway.upstream.simulating")


def joined(steps: Iterator[Step]) -> list[Step]:
    """The steps, bytes that follow each other in one; those of a long answer come in other pieces."""
    found: list[Step] = []
    for step in steps:
        if isinstance(step, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += step
        else:
            found.append(step)
    return found


@pytest.mark.parametrize("faults", FAULTS)
async def test_the_helper_answers_as_the_simulator_does(simulations: Simulations, faults: str) -> None:
    """Status, head, and every byte, pause and cut, in every shape and with what may go wrong."""
    for provider, path, body in REQUESTS:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = FORM if path.endswith("transcriptions") else JSON
        asked = Asked(
            method="POST",
            path=path,
            headers=headers,
            provider=provider,
            faults=Faults.parse(faults),
            request_id="req_1",
            now_s=1_795_000_000,
        )
        here, there = asked.answered(sent), await simulations.answer(asked, sent)
        assert (there.status, there.headers) == (here.status, here.headers), path
        assert joined(there.steps) == joined(here.steps), path


async def test_a_large_call_of_a_test_key_is_answered_apart(farthing: Running) -> None:
    """It is counted and settled as one that is answered here; one helper answers them all, and small ones need none."""
    key = await farthing.mint(livemode=False)
    small = CHAT | {"messages": [{"role": "user", "content": "hi"}]}
    assert (await farthing.call(key["secret"], small))[0] == 200
    assert not helpers()
    for _ in range(2):
        status, _, answer = await farthing.call(key["secret"], CHAT)
        assert status == 200, answer[:200]
        used = json.loads(answer)["usage"]["prompt_tokens"]
        assert used > LONG.count(" ")
        (event, *_) = await farthing.events(livemode="false")
        assert event["usage"]["input_tokens"] == used
        assert len(helpers()) == 1
    assert not farthing.upstream.requests
    await farthing.audited()


async def test_a_long_stream_needs_no_helper_any_more_once_it_runs(farthing: Running) -> None:
    """A slow reader of one answer keeps nobody else from his."""
    key = await farthing.mint(livemode=False)
    asked = {"authorization": f"Bearer {key['secret']}", "x-farthing-sim": "chunk_delay_ms=1000, output_tokens=3"}
    async with farthing.http.post(
        farthing.url + "/v1/chat/completions", json=CHAT | {"stream": True}, headers=asked
    ) as slow:
        assert slow.status == 200
        assert (await slow.content.readany()).startswith(b"data: ")
        status, _, _ = await farthing.call(key["secret"], CHAT)
        assert status == 200
        assert not slow.content.at_eof()
        assert (await slow.read()).endswith(b"data: [DONE]\n\n")


async def test_a_helper_that_dies_costs_one_call_and_no_money(farthing: Running) -> None:
    """The call is one that never reached its provider; the next has a new helper."""
    key = await farthing.mint(livemode=False, max_spend_usd="100")
    assert (await farthing.call(key["secret"], CHAT))[0] == 200
    (helper,) = helpers()
    os.kill(helper.pid, signal.SIGSTOP)
    calling = asyncio.create_task(farthing.call(key["secret"], CHAT))
    async with asyncio.timeout(20):
        while not len(farthing.gateway.flights):  # noqa: ASYNC110 - admitted, and at the simulator
            await asyncio.sleep(0.01)
    os.kill(helper.pid, signal.SIGKILL)
    status, _, answer = await calling
    assert (status, json.loads(answer)["error"]["code"]) == (502, "upstream_unreachable")
    (event, *_) = await farthing.events(livemode="false")
    assert (event["status"], event["cost_micros"]) == ("released", 0)
    assert (await farthing.call(key["secret"], CHAT))[0] == 200
    assert helper.pid not in [each.pid for each in helpers()]
    await farthing.audited()


async def test_an_answer_at_the_threshold_is_the_same_on_both_sides(
    farthing: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes to the client do not tell where they were made, but for the ids."""
    key = await farthing.mint(livemode=False)
    seen = []
    for apart in (True, False):
        monkeypatch.setattr("gateway.upstream.simulating.is_long_work", lambda *_, apart=apart: apart)
        status, _, answer = await farthing.call(key["secret"], CHAT)
        assert status == 200
        told = json.loads(answer)
        seen.append((told["choices"], told["usage"]))
    assert seen[0] == seen[1]
    assert len(helpers()) == 1


async def test_the_helper_ends_with_the_gateway(tmp_path: Path) -> None:
    """Nobody is left behind."""
    async with running(tmp_path) as farthing:
        key = await farthing.mint(livemode=False)
        assert (await farthing.call(key["secret"], CHAT))[0] == 200
        assert len(helpers()) == 1
    assert not helpers()


LONG_WORK: dict[str, tuple[str, dict[str, Any], str]] = {
    "many vectors": ("/v1/embeddings", {"model": "text-embedding-3-large", "input": ["a"] * 2_048}, ""),
    "a long answer": ("/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": "hi"}], "n": 128,
        "logprobs": True}, "output_tokens=200000"),
}  # fmt: skip


@pytest.mark.parametrize("name", LONG_WORK)
async def test_long_work_for_a_short_request_is_done_apart(farthing: Running, name: str) -> None:
    """Ten kilobytes of names to embed, or a hundred that ask for a book, are not made on the loop."""
    key = await farthing.mint(livemode=False)
    path, body, faults = LONG_WORK[name]
    status, _, answer = await farthing.call(key["secret"], body, path, {"x-farthing-sim": faults})
    assert (status, len(helpers())) == (200, 1)
    assert len(answer) > 100_000
    await farthing.audited()


async def test_whatever_is_asked_of_the_simulator_takes_no_machine_s_memory(simulations: Simulations) -> None:
    """A helper that runs out of what it may have ends, and costs its one call; the next has a new one."""
    asked = Asked(
        method="POST", path="/v1/embeddings", headers=JSON, provider="openai", faults=Faults(), request_id="1", now_s=0
    )
    assert (await simulations.answer(asked, b"{}")).status == 400
    (helper,) = helpers()
    if sys.platform == "linux":
        assert helper.rlimit(psutil.RLIMIT_AS)[0] == SIMULATION_MEMORY_BYTES_MAX
        helper.rlimit(psutil.RLIMIT_AS, (helper.memory_info().vms + (1 << 20),) * 2)
        with pytest.raises(HelperFailed):
            await simulations.answer(asked, b"{}" + b" " * (8 << 20))
        assert (await simulations.answer(asked, b"{}")).status == 400


def test_what_is_made_of_a_short_request_is_reckoned_with() -> None:
    """The results of many lines and the content of a large file are in an id; small ones are written here."""
    many = files.ident(files.File("0" * 10, 9, "batch_output", 1, "a", Work(lines=1_000, url="/v1/responses"), 1_000))
    large = files.ident(files.File("0" * 10, 1 << 20, "user_data", 1, "a", Work()))
    small = files.ident(files.File("0" * 10, 9, "batch_output", 1, "a", Work(lines=3, url="/v1/responses"), 3))
    for id_, long in ((many, True), (large, True), (small, False), ("file-x", False), ("", False)):
        assert is_long_work(f"/v1/files/{id_}/content?x=y", b"", Faults()) is long
    assert not is_long_work("/v1/chat/completions", b"{}" * 8_000, Faults())
    assert is_long_work("/v1/chat/completions", b"{}" * 9_000, Faults())


def test_an_answer_that_is_too_long_to_hand_over_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its call fails, and the next one has the helper."""
    asked = Asked(
        method="POST", path="/v1/embeddings", headers=JSON, provider="openai", faults=Faults(), request_id="1", now_s=0
    )
    question = msgspec.msgpack.encode(asked)
    assert msgspec.msgpack.decode(simulating._work(question, b"{}"))["status"] == 400
    monkeypatch.setattr(simulating, "_PACKED_BYTES_MAX", 10)
    assert msgspec.msgpack.decode(simulating._work(question, b"{}"))["status"] == 0
