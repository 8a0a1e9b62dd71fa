"""The official OpenAI SDK for Python cannot tell Farthing from the provider."""

from __future__ import annotations

import base64
import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.harness import Running
from tests.sdk.sides import Case, comparable, each, got, listed, opened, perform, plain, same

pytestmark = pytest.mark.asyncio(loop_scope="session")

HELLO: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello - ¡olé! 🦊 \u2028"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
FLAT_TOOLS: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}]
GIF = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


class Forecast(BaseModel):
    city: str
    days: int


# ---- chat completions


async def chat(client: Any) -> Any:
    return await got(
        client.chat.completions.create(
            model="gpt-4o-mini",
            messages=HELLO,
            temperature=0.25,
            top_p=1,
            seed=7,
            stop=["zzz"],
            user="u-1",
            metadata={"a": "b"},
            store=False,
            max_completion_tokens=64,
            service_tier="auto",
        )
    )


async def chat_choices(client: Any) -> Any:
    return await got(client.chat.completions.create(model="gpt-4o", messages=HELLO, n=3, logprobs=True, max_tokens=9))


async def chat_reasoning(client: Any) -> Any:
    return await got(client.chat.completions.create(model="gpt-5", messages=HELLO, reasoning_effort="medium"))


async def chat_stream(client: Any) -> Any:
    return await listed(await got(client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True)))


async def chat_stream_choices(client: Any) -> Any:
    return await listed(
        await got(client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True, n=2, logprobs=True))
    )


async def chat_stream_usage(client: Any) -> Any:
    stream = await got(
        client.chat.completions.create(
            model="gpt-4o-mini", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    chunks = await listed(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    return chunks


async def chat_stream_options(client: Any) -> Any:
    stream = await got(
        client.chat.completions.create(
            model="gpt-4o-mini", messages=HELLO, stream=True, stream_options={"include_obfuscation": False}
        )
    )
    chunks = await listed(stream)
    assert all(chunk.choices for chunk in chunks)
    return chunks


async def chat_stream_helper(client: Any) -> Any:
    async with opened(client.chat.completions.stream(model="gpt-4o-mini", messages=HELLO)) as stream:
        events = await listed(stream)
        return [events, await got(stream.get_final_completion())]


async def chat_tools(client: Any) -> Any:
    first = await got(client.chat.completions.create(model="gpt-4o", messages=HELLO, tools=TOOLS))
    said = first.choices[0].message.to_dict()
    said["tool_calls"][0]["id"] = "call_1"  # what the model says next depends on every byte of the request
    turns = [*HELLO, said, {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    after = await got(client.chat.completions.create(model="gpt-4o", messages=turns, tools=TOOLS))
    assert after.choices[0].finish_reason == "stop"
    return [first, after]


async def chat_tools_helper(client: Any) -> Any:
    tools: Any = [openai.pydantic_function_tool(Forecast)]
    async with opened(client.chat.completions.stream(model="gpt-4o", messages=HELLO, tools=tools)) as stream:
        final = await got(stream.get_final_completion())
    assert isinstance(final.choices[0].message.tool_calls[0].function.parsed_arguments, Forecast)
    return final


async def chat_parse(client: Any) -> Any:
    made = await got(client.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Forecast))
    assert isinstance(made.choices[0].message.parsed, Forecast)
    async with opened(
        client.chat.completions.stream(model="gpt-4o", messages=HELLO, response_format=Forecast)
    ) as stream:
        final = await got(stream.get_final_completion())
    assert isinstance(final.choices[0].message.parsed, Forecast)
    return [made, final]


async def chat_media(client: Any) -> Any:
    parts: Any = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": GIF, "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(bytes(48_000)).decode(), "format": "wav"}},
    ]
    return await got(client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": parts}]))


async def chat_cached(client: Any) -> Any:
    turns: Any = [
        {"role": "user", "content": "word " * 40_000},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "more"},
    ]
    made = await got(client.chat.completions.create(model="gpt-6-sol", messages=turns))
    assert made.usage.prompt_tokens_details.cached_tokens > 0
    return made


async def chat_extras(client: Any) -> Any:
    """Query parameters, headers and fields of tomorrow pass."""
    return await got(
        client.chat.completions.create(
            model="gpt-4o-mini",
            messages=HELLO,
            extra_query={"api-version": "a b&c", "x": "ü"},
            extra_headers={"OpenAI-Beta": "tomorrow=v1", "X-Client-Request-Id": "mine-1", "Idempotency-Key": "once"},
            extra_body={"field_of_tomorrow": {"π": [1e300, -0.0, 12345678901234567890], "k": None}},
        )
    )


async def chat_raw(client: Any) -> Any:
    raw = await got(client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO))
    assert raw.headers["x-request-id"]
    manager = client.chat.completions.with_streaming_response.create(model="gpt-4o-mini", messages=HELLO, stream=True)
    async with opened(manager) as response:
        lines = [line async for line in each(response.iter_lines())]
    return [raw.status_code, raw.parse(), lines[0][:20], lines[-2:]]


# ---- the other operations


async def completions(client: Any) -> Any:
    ask: Any = {"model": "gpt-3.5-turbo-instruct", "prompt": "Once", "max_tokens": 12}
    made = await got(client.completions.create(**ask, n=2, echo=True))
    return [
        made,
        await listed(await got(client.completions.create(**ask, stream=True))),
        await listed(await got(client.completions.create(**ask, stream=True, stream_options={"include_usage": True}))),
    ]


async def embeddings(client: Any) -> Any:
    texts = ["a cat", "a dog"]
    packed = await got(client.embeddings.create(model="text-embedding-3-small", input=texts))
    floats = await got(
        client.embeddings.create(
            model="text-embedding-3-large", input=texts, dimensions=64, encoding_format="float", user="u"
        )
    )
    tokens = await got(client.embeddings.create(model="text-embedding-3-small", input=[[1, 2, 3]]))
    return [packed, floats, tokens]


async def models(client: Any) -> Any:
    return [await listed(client.models.list()), await got(client.models.retrieve("gpt-4o"))]


async def responses(client: Any) -> Any:
    made = await got(
        client.responses.create(
            model="gpt-5",
            input=[{"role": "user", "content": [{"type": "input_image", "image_url": GIF, "detail": "auto"}]}],
            instructions="Be brief.",
            reasoning={"effort": "low"},
            max_output_tokens=200,
            store=False,
            include=["reasoning.encrypted_content"],
        )
    )
    assert made.output_text
    return made


async def responses_stream(client: Any) -> Any:
    events = await listed(await got(client.responses.create(model="gpt-5", input="Say hello", stream=True)))
    assert events[-1].type == "response.completed"
    return events


async def responses_helper(client: Any) -> Any:
    async with opened(client.responses.stream(model="gpt-5", input="Weather?", tools=FLAT_TOOLS)) as stream:
        events = await listed(stream)
        return [events, await got(stream.get_final_response())]


async def responses_tools(client: Any) -> Any:
    first = await got(client.responses.create(model="gpt-5", input="Weather?", tools=FLAT_TOOLS))
    call = first.output[-1]
    turns: Any = [
        {"role": "user", "content": "Weather?"},
        *[item.to_dict() for item in first.output],
        {"type": "function_call_output", "call_id": call.call_id, "output": json.dumps({"sky": "blue"})},
    ]
    after = await got(client.responses.create(model="gpt-5", input=turns, tools=FLAT_TOOLS))
    assert after.output_text
    return [first, after]


async def responses_parse(client: Any) -> Any:
    made = await got(client.responses.parse(model="gpt-5", input="Weather?", text_format=Forecast))
    assert isinstance(made.output_parsed, Forecast)
    async with opened(client.responses.stream(model="gpt-5", input="Weather?", text_format=Forecast)) as stream:
        final = await got(stream.get_final_response())
    assert isinstance(final.output_parsed, Forecast)
    return [made, final]


CASES: list[Case] = [
    chat, chat_choices, chat_reasoning, chat_stream, chat_stream_choices, chat_stream_usage, chat_stream_options,
    chat_stream_helper, chat_tools, chat_tools_helper, chat_parse, chat_media, chat_cached, chat_extras, chat_raw,
    completions, embeddings, models, responses, responses_stream, responses_helper, responses_tools, responses_parse,
]  # fmt: skip
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)


@each_case
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_through_farthing_is_as_straight(gate: Running, live_key: str, case: Case, sync: bool) -> None:
    """Results, requests, headers and bytes are those of the same SDK straight at the provider."""
    assert await same(gate, "openai", live_key, case, sync=sync)


@pytest.mark.parametrize("size", [1, 7, 1_000, 1_000_000])
async def test_it_does_not_matter_how_a_stream_is_cut_up(gate: Running, live_key: str, size: int) -> None:
    """Events that arrive in pieces, or many at once, give the same bytes and the same results."""
    for case in (chat_stream, chat_stream_usage, responses_stream):
        gate.upstream.script(f"chunk_bytes={size}", f"chunk_bytes={size}")  # straight and through
        assert await same(gate, "openai", live_key, case)


@each_case
async def test_a_test_key_answers_like_the_provider(gate: Running, trial_key: str, case: Case) -> None:
    """The built-in simulator gives the SDK the same results, and nothing reaches the provider."""
    expected, _ = await perform("openai", gate.upstream.url, "k", case)
    before = len(gate.upstream.requests)
    result, _ = await perform("openai", gate.url, trial_key, case)
    assert comparable(result) == comparable(expected)
    assert len(gate.upstream.requests) == before


@pytest.mark.parametrize("base", ["", "/v1", "/openai", "/openai/v1", "/openai/v1/", "/v1/v1"])
async def test_any_usual_base_url_works(gate: Running, live_key: str, base: str) -> None:
    """With or without the version, with or without the provider's mount, the provider sees its own path."""
    async with openai.AsyncOpenAI(api_key=live_key, base_url=gate.url + base, max_retries=0) as client:
        assert plain(await chat(client))["object"] == "chat.completion"
    assert gate.upstream.requests[-1].path == "/v1/chat/completions"


async def test_organization_and_project_stay_with_the_operator(gate: Running, live_key: str) -> None:
    """An organization that the client names is its own, so it never reaches the operator's account."""
    await perform("openai", gate.url, live_key, chat, organization="org-1", project="proj-1")
    names = {name for name, _ in gate.upstream.requests[-1].headers}
    assert not names & {"openai-organization", "openai-project"}
