"""The official Anthropic SDK for Python cannot tell Farthing from the provider."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from pydantic import BaseModel

from tests.harness import Running
from tests.sdk.sides import Case, comparable, each, got, listed, opened, perform, plain, same

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODEL = "claude-sonnet-5-5"
HELLO: Any = [{"role": "user", "content": "Say hello - ¡olé! 🦊 \u2028"}]
ASK: Any = {"model": MODEL, "max_tokens": 60, "messages": HELLO}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS: Any = [{"name": "weather", "description": "The weather.", "input_schema": SCHEMA}]
GIF: Any = {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAAAAACw="}
PDF: Any = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQKJSVFT0YK"}


class Forecast(BaseModel):
    city: str
    days: int


async def message(client: Any) -> Any:
    return await got(
        client.messages.create(
            **ASK,
            system="Be brief.",
            stop_sequences=["zzz"],
            metadata={"user_id": "u-1"},
            service_tier="standard_only",
            extra_body={"temperature": 0.25, "top_k": 3},
        )
    )


async def message_stream(client: Any) -> Any:
    events = await listed(await got(client.messages.create(**ASK, stream=True)))
    assert events[-1].type == "message_stop"
    return events


async def message_helper(client: Any) -> Any:
    async with opened(client.messages.stream(**ASK, system="Be brief.")) as stream:
        text = "".join(await listed(stream.text_stream))
        final = await got(stream.get_final_message())
    assert final.content[0].text == text
    async with opened(client.messages.stream(**ASK)) as stream:
        return [final, await listed(stream)]


async def tools(client: Any) -> Any:
    first = await got(client.messages.create(**ASK, tools=TOOLS, tool_choice={"type": "any"}))
    call = first.content[-1]
    assert first.stop_reason == "tool_use"
    said = {"type": "tool_use", "id": "toolu_1", "name": call.name, "input": call.input}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sunny"}]}
    turns: Any = [*HELLO, {"role": "assistant", "content": [said]}, {"role": "user", "content": [result]}]
    after = await got(client.messages.create(model=MODEL, max_tokens=60, messages=turns, tools=TOOLS))
    assert after.stop_reason == "end_turn"
    async with opened(client.messages.stream(**ASK, tools=TOOLS)) as stream:
        streamed = await got(stream.get_final_message())
    assert streamed.content[-1].input == call.input
    return [first, after, streamed]


async def server_tools(client: Any) -> Any:
    search: Any = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]
    return await got(client.messages.create(**ASK, tools=search))


async def parse(client: Any) -> Any:
    made = await got(client.messages.parse(**ASK, output_format=Forecast))
    assert isinstance(made.parsed_output, Forecast)
    return made


async def media(client: Any) -> Any:
    parts: Any = [{"type": "image", "source": GIF}, {"type": "document", "source": PDF, "citations": {"enabled": True}}]
    return await got(client.messages.create(model=MODEL, max_tokens=60, messages=[{"role": "user", "content": parts}]))


async def thinking(client: Any) -> Any:
    ask: Any = {"model": MODEL, "max_tokens": 2_000, "thinking": {"type": "enabled", "budget_tokens": 1_024}}
    first = await got(client.messages.create(**ask, messages=HELLO))
    assert first.content[0].type == "thinking"
    said = [block.to_dict() for block in first.content]
    said[0]["signature"] = "c2lnbmVk"
    turns: Any = [*HELLO, {"role": "assistant", "content": said}, {"role": "user", "content": "go on"}]
    async with opened(client.messages.stream(**ask, messages=turns)) as stream:
        return [first, await listed(stream)]


async def caching(client: Any) -> Any:
    system: Any = [{"type": "text", "text": "word " * 2_000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first = await got(client.messages.create(**ASK, system=system))
    assert first.usage.cache_creation.ephemeral_1h_input_tokens > 0
    more: Any = [{"type": "text", "text": "and now", "cache_control": {"type": "ephemeral"}}]
    turns: Any = [*HELLO, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": more}]
    second = await got(client.messages.create(model=MODEL, max_tokens=60, messages=turns, system=system))
    assert second.usage.cache_read_input_tokens > 0
    return [first, second]


async def beta(client: Any) -> Any:
    """Beta headers and `?beta=true` pass, and so do fields, headers and parameters of tomorrow."""
    betas = ["context-1m-2025-08-07", "of-tomorrow-2027-01-01"]
    made = await got(client.beta.messages.create(**ASK, betas=betas))
    async with opened(client.beta.messages.stream(**ASK, betas=betas)) as stream:
        final = await got(stream.get_final_message())
    counted = await got(client.beta.messages.count_tokens(model=MODEL, messages=HELLO, betas=betas))
    extra = await got(
        client.messages.create(
            **ASK,
            extra_query={"x": "a b&ü"},
            extra_headers={"anthropic-beta": "one,two", "Idempotency-Key": "once"},
            extra_body={"field_of_tomorrow": {"π": [1e300, -0.0, 12345678901234567890], "k": None}},
        )
    )
    return [made, final, counted, extra]


async def count_tokens(client: Any) -> Any:
    return await got(client.messages.count_tokens(model=MODEL, messages=HELLO, tools=TOOLS, system="Be brief."))


async def models(client: Any) -> Any:
    return [await listed(client.models.list(limit=2)), await got(client.models.retrieve(MODEL))]


async def raw(client: Any) -> Any:
    full = await got(client.messages.with_raw_response.create(**ASK))
    assert full.headers["request-id"]
    async with opened(client.messages.with_streaming_response.create(**ASK, stream=True)) as response:
        lines = [line async for line in each(response.iter_lines())]
    return [full.status_code, await got(full.parse()), lines[0], lines[-3:]]


CASES: list[Case] = [
    message, message_stream, message_helper, tools, server_tools, parse, media, thinking, caching, beta, count_tokens,
    models, raw,
]  # fmt: skip
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)


@each_case
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_through_farthing_is_as_straight(gate: Running, live_key: str, case: Case, sync: bool) -> None:
    """Results, requests, headers and bytes are those of the same SDK straight at the provider."""
    assert await same(gate, "anthropic", live_key, case, sync=sync)


@each_case
async def test_a_test_key_answers_like_the_provider(gate: Running, trial_key: str, case: Case) -> None:
    """The built-in simulator gives the SDK the same results, and nothing reaches the provider."""
    expected, _ = await perform("anthropic", gate.upstream.url, "k", case)
    before = len(gate.upstream.requests)
    result, _ = await perform("anthropic", gate.url, trial_key, case)
    assert comparable(result) == comparable(expected)
    assert len(gate.upstream.requests) == before


async def test_the_tool_runner_runs_a_whole_conversation(gate: Running, live_key: str) -> None:
    """The SDK's own loop of tool call, result and answer runs through Farthing."""

    @anthropic.beta_async_tool
    async def weather(city: str, days: int) -> str:
        """The weather.

        Args:
            city: Where.
            days: How many.
        """
        return f"sunny in {city} for {days} days"

    async with anthropic.AsyncAnthropic(api_key=live_key, base_url=gate.url, max_retries=0) as client:
        runner = client.beta.messages.tool_runner(model=MODEL, max_tokens=60, messages=HELLO, tools=[weather])
        final = await runner.until_done()
    assert final.stop_reason == "end_turn"
    last = gate.upstream.requests[-1]
    assert "sunny in" in str(last.json()["messages"][-1])


@pytest.mark.parametrize("base", ["", "/", "/v1", "/anthropic", "/anthropic/v1"])
async def test_any_usual_base_url_works(gate: Running, live_key: str, base: str) -> None:
    """With or without the version, with or without the provider's mount, the provider sees its own path."""
    async with anthropic.AsyncAnthropic(api_key=live_key, base_url=gate.url + base, max_retries=0) as client:
        assert plain(await message(client))["type"] == "message"
    assert gate.upstream.requests[-1].path == "/v1/messages"


async def test_a_browser_s_header_and_both_credentials_pass_as_one(gate: Running, live_key: str) -> None:
    """The same key as `api_key` and as `auth_token` is one key; the browser's header reaches the provider."""
    options = {"default_headers": {"anthropic-dangerous-direct-browser-access": "true", "x-api-key": live_key}}
    await perform("anthropic", gate.url, live_key, message, **options)
    seen = gate.upstream.requests[-1]
    assert seen.header("anthropic-dangerous-direct-browser-access") == "true"
    assert live_key not in str(seen.headers)


async def test_workspace_and_profile_stay_with_the_operator(gate: Running, live_key: str) -> None:
    """A workspace or profile that the client names is its own, so it never reaches the operator's account."""
    account = {"anthropic-workspace-id": "wrkspc_1", "anthropic-user-profile-id": "uprof_1"}
    await perform("anthropic", gate.url, live_key, message, default_headers=account)
    assert not {name for name, _ in gate.upstream.requests[-1].headers} & account.keys()
