"""Vendors who speak others' dialects, end to end: what is theirs alone, what is refused, what an hour changes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from providers.ground.usage import Usage
from tests.harness import Running, running

ROOT = Path(__file__).parents[3]
HELLO = [{"role": "user", "content": "Say hello"}]


async def get(farthing: Running, path: str, key: str = "") -> tuple[int, bytes]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with farthing.http.get(farthing.url + path, headers=headers) as response:
        return response.status, await response.read()


@pytest.mark.parametrize("path", ["/v1/tcp_warming", "/cerebras/v1/tcp_warming"])
async def test_warming_a_connection_asks_for_nothing(tmp_path: Path, path: str) -> None:
    """Cerebras' SDKs open a connection ahead: answered here, to anybody, without a call, an event or an error."""
    async with running(tmp_path) as farthing:
        assert await get(farthing, path) == (204, b"")
        assert not farthing.upstream.requests
        assert await farthing.events() == []


REFUSED = [
    "/user/balance", "/deepseek/user/balance", "/v1/users/me/balance", "/kimi/v1/users/me/balance",
    "/v1/deferred-completion/abc", "/xai/v1/api-key", "/minimax/v1/get_voice", "/v1/query/video_generation",
    "/compatible-mode/v1/files", "/qwen/compatible-mode/v1/batches", "/mistral/v1/conversations",
    "/mistral/v1/libraries", "/mistral/v1/agents",
]  # fmt: skip


async def test_what_is_not_offered_is_refused_by_name(tmp_path: Path) -> None:
    """Account reads, stored state and what cannot be metered: 403 with a reason, and nothing goes up."""
    async with running(tmp_path) as farthing:
        secret = (await farthing.mint(max_spend_usd="1"))["secret"]
        for path in REFUSED:
            status, body = await get(farthing, path, secret)
            assert status == 403, (path, body)
            assert b"route_not_allowed" in body, path
        for path in ("/v1/image_generation", "/v1/video_generation", "/v1/music_generation", "/v1/t2a_async_v2",
                     "/mistral/v1/agents/completions", "/mistral/v1/classifications"):  # fmt: skip
            status, _, body = await farthing.call(secret, {"model": "m"}, path)
            assert (status, b"route_not_allowed" in body) == (403, True), path
        status, _, body = await farthing.call(secret, {"model": "grok-4", "messages": HELLO, "deferred": True})
        assert (status, json.loads(body)["error"]["param"]) == (400, "deferred")
        assert not farthing.upstream.requests


@pytest.mark.parametrize("stream", [False, True])
async def test_minimax_refuses_in_a_200(tmp_path: Path, stream: bool) -> None:
    """The provider's own refusal passes as it is, HTTP 200 and all, and costs nothing; ours is a 402 in its shape."""
    async with running(tmp_path) as farthing:
        secret = (await farthing.mint(max_spend_usd="1"))["secret"]
        farthing.upstream.script("status=429")
        body = {"model": "speech-2.6-hd", "text": "Hello 你好", "stream": stream}
        status, _, answer = await farthing.call(secret, body, "/v1/t2a_v2")
        assert status == 200
        assert json.loads(answer)["base_resp"]["status_code"] == 1002
        (event,) = await farthing.events()
        assert (event["status"], event["cost_picos"]) == ("released", 0)

        status, _, answer = await farthing.call(secret, body, "/v1/t2a_v2")
        assert status == 200
        event = (await farthing.events())[0]
        assert (event["status"], event["usage"]["characters"], event["cost_picos"]) == ("settled", 10, 10 * 100_000_000)

        broke = (await farthing.mint(max_spend_usd="0"))["secret"]
        status, _, answer = await farthing.call(broke, body, "/v1/t2a_v2")
        assert (status, json.loads(answer)["base_resp"]["status_code"]) == (402, 1008)
        await farthing.audited()


CHAT = {"messages": HELLO}
MESSAGE = {"messages": HELLO, "max_tokens": 9}
PATHS = [
    # path, model, more of the body; provider and path upstream; status of the event
    ("/v1/messages", "kimi-k2.6", MESSAGE, "kimi", "/anthropic/v1/messages", "settled"),
    ("/v1/messages", "deepseek-chat", MESSAGE, "deepseek", "/anthropic/v1/messages", "settled"),
    ("/minimax/anthropic/v1/messages", "MiniMax-M2", MESSAGE, "minimax", "/anthropic/v1/messages", "settled"),
    ("/qwen/apps/anthropic/v1/messages", "qwen-plus", MESSAGE, "qwen", "/apps/anthropic/v1/messages", "settled"),
    ("/qwen/v1/messages", "qwen-plus", MESSAGE, "qwen", "/apps/anthropic/v1/messages", "settled"),
    ("/v1/chat/completions", "qwen-plus", CHAT, "qwen", "/compatible-mode/v1/chat/completions", "settled"),
    ("/compatible-mode/v1/chat/completions", "qwen-plus", CHAT, "qwen", "/compatible-mode/v1/chat/completions",
     "settled"),
    ("/dashscope/compatible-mode/v1/responses", "qwen-plus", {"input": "hi"}, "qwen",
     "/compatible-mode/v1/responses", "settled"),
    ("/beta/chat/completions", "deepseek-chat", CHAT, "deepseek", "/beta/chat/completions", "settled"),
    ("/beta/completions", "deepseek-chat", {"prompt": "a", "suffix": "b"}, "deepseek", "/beta/completions", "settled"),
    ("/v1/completions", "deepseek-chat", {"prompt": "a"}, "deepseek", "/beta/completions", "settled"),
    ("/v1/text/chatcompletion_v2", "MiniMax-M2", CHAT | {"stream": True}, "minimax", "/v1/text/chatcompletion_v2",
     "settled"),
    ("/v1/tokenizers/estimate-token-count", "kimi-k2.6", CHAT, "kimi", "/v1/tokenizers/estimate-token-count",
     "settled"),
    ("/v1/tokenize-text", "grok-4", {"text": "hi"}, "xai", "/v1/tokenize-text", "settled"),
    ("/grok/v1/chat/completions", "grok-4", CHAT, "xai", "/v1/chat/completions", "settled"),
    # the SDK's types have no usage there
    ("/v1/moderations", "mistral-moderation-latest", {"input": ["a"]}, "mistral", "/v1/moderations", "estimated"),
    ("/v1/chat/moderations", "mistral-moderation-latest", {"input": HELLO}, "mistral", "/v1/chat/moderations",
     "estimated"),
]  # fmt: skip


async def test_paths_go_to_whom_they_belong(tmp_path: Path) -> None:
    """By the model, by the mount and by the vendor's own paths: up as that vendor has them, each call one event."""
    async with running(tmp_path) as farthing:
        secret = (await farthing.mint(max_spend_usd="1"))["secret"]
        for path, model, more, provider, upstream, status in PATHS:
            answer = await farthing.call(secret, {"model": model, **more}, path, {"anthropic-version": "2023-06-01"})
            assert answer[0] == 200, (path, answer)
            seen = farthing.upstream.requests[-1]
            assert (seen.provider, seen.path) == (provider, upstream), path
            event = (await farthing.events())[0]
            assert (event["provider"], event["status"]) == (provider, status), path
        await farthing.audited()


async def test_tools_that_the_vendor_runs_cannot_be_bounded(tmp_path: Path) -> None:
    """Each run has a price and counts the input again, as often as the model likes: no cap that must hold allows it."""
    asks: list[tuple[str, dict[str, Any], str]] = [
        ("/v1/responses", {"model": "grok-4", "input": "hi", "tools": [{"type": "x_search"}]}, "tools[0].type"),
        ("/v1/responses", {"model": "gpt-5", "input": "hi", "tools": [{"type": "web_search"}]}, "tools[0].type"),
        ("/v1/chat/completions", {"model": "grok-4", "messages": HELLO, "search_parameters": {"mode": "on"}},
         "search_parameters"),
        ("/v1/chat/completions", {"model": "kimi-k2.6", "messages": HELLO, "tools": [
            {"type": "builtin_function", "function": {"name": "$web_search"}}]}, "tools[0].type"),
        ("/v1/messages", {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": HELLO, "tools": [
            {"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ]  # fmt: skip
    async with running(tmp_path) as farthing:
        sound = (await farthing.mint(max_spend_usd="100", overdraft="never"))["secret"]
        usual = (await farthing.mint(max_spend_usd="100"))["secret"]
        for path, body, param in asks:
            status, _, answer = await farthing.call(sound, body, path, {"anthropic-version": "2023-06-01"})
            error = json.loads(answer)["error"]
            assert (status, error["code"], error["param"]) == (400, "unbounded_cost", param), path
            assert (await farthing.call(usual, body, path, {"anthropic-version": "2023-06-01"}))[0] == 200, path


def at(hour: str) -> int:
    """A moment of a day; DeepSeek is dearer from 01:00 to 04:00 and from 06:00 to 10:00."""
    return int(datetime.fromisoformat(f"2026-11-25T{hour}").replace(tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("begun", "ended", "dear"),
    [("03:59:30", "04:00:30", False), ("05:59:30", "06:00:30", True), ("02:00:00", "02:00:05", True)],
)
async def test_the_hour_of_completion_makes_the_price(tmp_path: Path, begun: str, ended: str, dear: bool) -> None:
    """A call that runs into another hour costs what that hour costs, was held at the dearer, and can be recomputed."""
    now = [at(begun)]
    clock: Callable[[], int] = lambda: now[0]  # noqa: E731 - the harness takes a clock
    async with running(tmp_path, clock=clock) as farthing:
        secret = (await farthing.mint(max_spend_usd="1", overdraft="never"))["secret"]
        farthing.upstream.script("delay_ms=400")
        body = {"model": "deepseek-v4-pro", "messages": HELLO, "max_tokens": 500}
        calling = asyncio.create_task(farthing.call(secret, body))
        async with asyncio.timeout(10):
            while not farthing.upstream.requests:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        now[0] = at(ended)
        assert (await calling)[0] == 200
        (event,) = await farthing.events()
        usage = msgspec.convert(event["usage"], Usage)
        peak = 2 if dear else 1
        cached = usage.cache_read_tokens
        expected = (usage.input_tokens - cached) * 660_000 + cached * 22_000 + usage.output_tokens * 1_980_000
        assert event["cost_picos"] == expected * peak
        assert event["held_micros"] >= 500 * 3_960_000 // 1_000_000
        price = farthing.gateway.services.catalogue.priced("deepseek", "deepseek-v4-pro", event["price_version"])
        assert price is not None
        assert price.cost_picos(usage) == event["cost_picos"]


PROGRAM = r"""
import asyncio, json, sys, types
from pathlib import Path

source = Path("providers/ground/vendors.py").read_text("utf-8")
mark = ")  # fmt: skip\n\nVENDORS"
assert source.count(mark) == 1
module = types.ModuleType("providers.ground.vendors")
module.__file__ = "providers/ground/vendors.py"
import providers.ground
sys.modules["providers.ground.vendors"] = providers.ground.vendors = module
exec(compile(source.replace(mark, sys.argv[1] + mark), "providers/ground/vendors.py", "exec"), module.__dict__)

from tests.harness import running

async def main():
    async with running(Path(sys.argv[2]), FARTHING_PRICES=sys.argv[3]) as farthing:
        secret = (await farthing.mint(max_spend_usd="1"))["secret"]
        said = {"model": "example-large", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        results = []
        for path in ("/v1/chat/completions", "/example/v1/chat/completions"):
            status, _, body = await farthing.call(secret, said, path)
            results.append([status, body.count(b'"choices":[]'), b"[DONE]" in body])
        seen = [[one.provider, one.path, one.json().get("stream_options")] for one in farthing.upstream.requests]
        events = [[e["provider"], e["status"], e["cost_picos"], e["usage"]] for e in await farthing.events()]
        trial = (await farthing.mint(max_spend_usd="1", livemode=False))["secret"]
        results.append([(await farthing.call(trial, said))[0]])
        await farthing.audited()
        print(json.dumps([results, seen, events]))

asyncio.run(main())
"""


def manual(start: str) -> str:
    """The manual's example that begins so."""
    text = (ROOT / "docs" / "providers.md").read_text("utf-8")
    return start + text.split("\n" + start, 1)[1].split("```", 1)[0]


def test_a_new_vendor_is_the_manual_s_row_and_a_price_file(tmp_path: Path) -> None:
    """The manual's row and prices, as printed there, make a vendor that is routed, asked for usage and billed."""
    prices = tmp_path / "prices.json"
    prices.write_text(manual('{"models": ['))
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, manual("    Vendor(\n"), str(tmp_path), str(prices)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    results, seen, events = json.loads(run.stdout)
    assert results == [[200, 0, True], [200, 0, True], [200]]
    assert seen == [["example", "/v1/chat/completions", {"include_usage": True}]] * 2
    for provider, status, cost_picos, usage in events:
        assert (provider, status) == ("example", "settled")
        assert cost_picos == _cost(usage)


def _cost(usage: dict[str, Any]) -> int:
    return int(usage["input_tokens"] * 200_000 + usage["output_tokens"] * 800_000)
