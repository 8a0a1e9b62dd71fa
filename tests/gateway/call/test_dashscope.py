"""DashScope's own API, end to end: held, streamed, refused in its own words, never above a cap that must hold."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from providers.simulator import Faults
from tests.conformance.cells import Cell
from tests.conformance.invoice import price_picos
from tests.harness import PROVIDER_KEY, Running, running

TEXT = "/api/v1/services/aigc/text-generation/generation"
PICTURED = "/api/v1/services/aigc/multimodal-generation/generation"
EMBED = "/api/v1/services/embeddings/text-embedding/text-embedding"
SSE = {"x-dashscope-sse": "enable"}
BODY: dict[str, Any] = {
    "model": "qwen-plus",
    "input": {"messages": [{"role": "user", "content": "Say hello"}]},
    "parameters": {"result_format": "message"},
}
CELL = Cell(provider="qwen", client="alibaba", operation="chat", model="qwen-plus", refused="")


@pytest_asyncio.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started
        await started.audited()


@pytest.mark.parametrize("mount", ["", "/qwen", "/dashscope"])
@pytest.mark.parametrize("headers", [{}, SSE], ids=["whole", "stream"])
async def test_a_call_goes_up_as_it_came_and_costs_what_is_invoiced(
    farthing: Running, mount: str, headers: dict[str, str]
) -> None:
    key = await farthing.mint(max_spend_usd="1")
    status, _, answer = await farthing.call(key["secret"], BODY, mount + TEXT, headers)
    assert status == 200, answer
    assert answer.startswith(b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:{") is bool(headers)
    (seen,) = farthing.upstream.requests
    assert (seen.provider, seen.path, seen.json()) == ("qwen", TEXT, BODY)
    assert seen.header("authorization") == f"Bearer {PROVIDER_KEY}"
    assert seen.header("x-dashscope-sse") == headers.get("x-dashscope-sse")
    (event,) = await farthing.events()
    (line,) = farthing.upstream.invoice
    assert (event["status"], event["stream"]) == ("settled", bool(headers))
    assert event["cost_picos"] == price_picos(CELL, line) > 0


async def test_refusals_are_in_its_own_words(farthing: Running) -> None:
    """A cap, a model without a price, and an operation that is not offered."""
    broke = await farthing.mint(max_spend_usd="0")
    for path, body in (
        (TEXT, BODY),
        (PICTURED, BODY),
        (EMBED, {"model": "text-embedding-v4", "input": {"texts": ["a"]}}),
    ):
        status, _, answer = await farthing.call(broke["secret"], body, path)
        told = json.loads(answer)
        assert (status, told["code"]) == (402, "Arrearage")
        assert told["farthing"]["remaining_micros"] == 0
        assert told["request_id"]
    key = await farthing.mint(max_spend_usd="1")
    status, _, answer = await farthing.call(key["secret"], BODY | {"model": "nobody-has-this"}, TEXT)
    assert (status, json.loads(answer)["code"]) == (400, "model_not_priced")
    searching = BODY | {"parameters": {"enable_search": True}}
    status, _, answer = await farthing.call(key["secret"], searching, TEXT)
    assert (status, json.loads(answer)["code"]) == (400, "unbounded_cost")
    status, _, _ = await farthing.call(key["secret"], BODY, "/api/v1/services/rerank/text-rerank/text-rerank")
    assert status == 403
    assert not farthing.upstream.requests


async def test_the_operators_account_is_none_of_the_callers_business(farthing: Running) -> None:
    key = await farthing.mint(max_spend_usd="1")
    farthing.upstream.script("status=402", "status=429", "status=500")
    status, _, answer = await farthing.call(key["secret"], BODY, TEXT)
    assert (status, json.loads(answer)["code"]) == (502, "upstream_account")
    status, _, answer = await farthing.call(key["secret"], BODY, TEXT)
    assert (status, json.loads(answer)["code"]) == (429, "Throttling.RateQuota")
    status, _, answer = await farthing.call(key["secret"], BODY, TEXT)
    assert (status, json.loads(answer)["code"]) == (500, "InternalError")


async def test_a_cap_that_must_hold_holds(farthing: Running) -> None:
    """The largest limit that fits is written into the parameters; what no limit holds is refused."""
    key = await farthing.mint(max_spend_usd="0.01", overdraft="never")
    farthing.upstream.always = Faults.parse("output_tokens=1500")
    statuses = []
    for _ in range(60):
        status, _, answer = await farthing.call(key["secret"], BODY, TEXT, SSE)
        statuses.append(status)
        if status == 402:
            break
        assert status == 200, answer
        assert farthing.upstream.requests[-1].json()["parameters"]["max_tokens"] > 0
        await farthing.quiet()
    assert (statuses[0], statuses[-1]) == (200, 402)
    _, found = await farthing.api("GET", f"/v1/keys/{key['id']}")
    assert 0 < found["spent_micros"] <= 10_000
    assert found["overrun_micros"] == 0
    rich = await farthing.mint(max_spend_usd="50", overdraft="never")
    for more in ({"enable_thinking": True}, {"brand_new": 1}):
        status, _, answer = await farthing.call(rich["secret"], BODY | {"parameters": more}, TEXT)
        assert (status, json.loads(answer)["code"]) == (400, "unbounded_cost"), answer


async def test_a_stream_that_is_cut_costs_what_came_of_it(farthing: Running) -> None:
    """Every event counts, so the bill of a broken stream is the provider's own count."""
    key = await farthing.mint(max_spend_usd="1")
    farthing.upstream.script("disconnect_after=5")
    with contextlib.suppress(aiohttp.ClientError):
        await farthing.call(key["secret"], BODY, TEXT, SSE)
    (event,) = await farthing.events()
    (line,) = farthing.upstream.invoice
    assert event["status"] == "estimated"
    assert event["usage"]["output_tokens"] == (line.billed or {})["output_tokens"] == 5


async def test_test_keys_are_answered_by_the_simulator(farthing: Running) -> None:
    key = await farthing.mint(livemode=False)
    status, _, answer = await farthing.call(key["secret"], BODY, TEXT)
    assert (status, json.loads(answer)["output"]["choices"][0]["finish_reason"]) == (200, "stop")
    assert not farthing.upstream.requests
