"""The official SDKs against the simulator over a socket: their own types read every shape that it answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from tests.upstream import Upstream

HELLO: Any = [{"role": "user", "content": "Say hello"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
ARGUMENTS = {"city": "simulated", "days": 2}
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
FLAT_TOOLS: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}]
CLAUDE_TOOLS: Any = [{"name": "weather", "input_schema": SCHEMA}]
CLAUDE = "claude-sonnet-5-5"


class Forecast(BaseModel):
    city: str
    days: int


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def gpt(upstream: Upstream) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{upstream.url}/v1", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(upstream: Upstream) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=upstream.url, max_retries=0) as client:
        yield client


# OpenAI: chat completions


async def test_chat_answers_in_full(gpt: openai.AsyncOpenAI) -> None:
    made = await gpt.chat.completions.create(model="gpt-4o", messages=HELLO, service_tier="fast", logprobs=True)
    assert made.choices[0].finish_reason == "stop"
    assert made.choices[0].message.content
    assert made.choices[0].message.content.startswith("This is a simulated answer.")
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert made.service_tier == "priority"
    assert made.choices[0].logprobs is not None
    assert len(made.choices[0].logprobs.content or []) == made.usage.completion_tokens
    assert made._request_id


async def test_chat_respects_the_maximum_and_the_stop_sequence(gpt: openai.AsyncOpenAI) -> None:
    short = await gpt.chat.completions.create(model="gpt-4o", messages=HELLO, max_completion_tokens=3)
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 3
    stopped = await gpt.chat.completions.create(model="gpt-4o", messages=HELLO, stop=["simulated", "zzz"])
    assert stopped.choices[0].message.content == "This is a "
    assert stopped.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("asked", [True, False])
async def test_chat_streams_usage_in_an_extra_chunk_only_if_asked(gpt: openai.AsyncOpenAI, asked: bool) -> None:
    options: Any = {"include_usage": True} if asked else openai.omit
    stream = await gpt.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, stream_options=options)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.choices for chunk in chunks[: -1 if asked else None])
    assert [("usage" in chunk.model_fields_set, chunk.usage) for chunk in chunks[:-1]] == [(asked, None)] * (
        len(chunks) - 1
    )
    if asked:
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == len(chunks) - 3
    else:
        assert chunks[-1].choices[0].finish_reason == "stop"


async def test_chat_gives_n_choices_in_full_and_streamed(gpt: openai.AsyncOpenAI) -> None:
    made = await gpt.chat.completions.create(model="gpt-4o", messages=HELLO, n=3)
    texts = [choice.message.content for choice in made.choices]
    assert len(set(texts)) == 3
    streamed = ["", "", ""]
    async for chunk in await gpt.chat.completions.create(model="gpt-4o", messages=HELLO, n=3, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts


async def test_chat_calls_a_tool_and_then_answers_its_result(gpt: openai.AsyncOpenAI) -> None:
    made = await gpt.chat.completions.create(model="gpt-4o", messages=HELLO, tools=CHAT_TOOLS)
    assert made.choices[0].finish_reason == "tool_calls"
    message = made.choices[0].message
    assert message.tool_calls is not None
    call = message.tool_calls[0]
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", ARGUMENTS)
    result = [*HELLO, message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    after = await gpt.chat.completions.create(model="gpt-4o", messages=result, tools=CHAT_TOOLS)
    assert after.choices[0].message.content
    assert after.choices[0].message.tool_calls is None


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", False),
        ("auto", True),
        ("required", True),
        ({"type": "function", "function": {"name": "weather"}}, True),
    ],
)
async def test_chat_honours_the_tool_choice(gpt: openai.AsyncOpenAI, choice: Any, called: bool) -> None:
    made = await gpt.chat.completions.create(model="gpt-4o", messages=HELLO, tools=CHAT_TOOLS, tool_choice=choice)
    assert bool(made.choices[0].message.tool_calls) == called


async def test_chat_streams_tool_calls_and_structured_answers(gpt: openai.AsyncOpenAI) -> None:
    tools: Any = [openai.pydantic_function_tool(Forecast)]
    async with gpt.chat.completions.stream(model="gpt-4o", messages=HELLO, tools=tools) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert isinstance(calls[0].function.parsed_arguments, Forecast)
    async with gpt.chat.completions.stream(model="gpt-4o", messages=HELLO, response_format=Forecast) as stream:
        answer = await stream.get_final_completion()
    assert isinstance(answer.choices[0].message.parsed, Forecast)


async def test_chat_parses_structured_answers(gpt: openai.AsyncOpenAI) -> None:
    made = await gpt.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Forecast)
    assert isinstance(made.choices[0].message.parsed, Forecast)
    plain = await gpt.chat.completions.create(model="gpt-4o", messages=HELLO, response_format={"type": "json_object"})
    assert json.loads(plain.choices[0].message.content or "") == {"answer": "simulated"}


async def test_chat_reports_reasoning_and_a_resent_prefix_as_cached(gpt: openai.AsyncOpenAI) -> None:
    made = await gpt.chat.completions.create(model="gpt-5", messages=HELLO, reasoning_effort="medium")
    assert made.usage is not None
    assert made.usage.completion_tokens_details is not None
    assert made.usage.completion_tokens_details.reasoning_tokens == 64
    turns: Any = [
        {"role": "user", "content": "word " * 2_000},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "more"},
    ]
    again = await gpt.chat.completions.create(model="gpt-6-mini", messages=turns)
    assert again.usage is not None
    details = again.usage.prompt_tokens_details
    assert details is not None
    assert (details.cached_tokens, details.cache_write_tokens) == (1_920, 0)
    first = await gpt.chat.completions.create(model="gpt-6-mini", messages=turns[:1])
    assert first.usage is not None
    details = first.usage.prompt_tokens_details
    assert details is not None
    assert (details.cached_tokens, details.cache_write_tokens) == (0, 1_920)


async def test_chat_counts_images_and_sound(gpt: openai.AsyncOpenAI) -> None:
    parts: Any = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlhAQABAAAAACw=", "detail": "auto"}},
        {"type": "input_audio", "input_audio": {"data": "A" * 64_000, "format": "wav"}},
    ]
    made = await gpt.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": parts}])
    assert made.usage is not None
    assert made.usage.prompt_tokens_details is not None
    assert made.usage.prompt_tokens_details.audio_tokens == 10
    assert made.usage.prompt_tokens == 3 + 3 + 1 + 1_229 + 2 + 10


async def test_a_seen_error_is_the_sdk_s_own(gpt: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await gpt.chat.completions.create(model="gpt-does-not-exist", messages=HELLO)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as empty:
        await gpt.chat.completions.create(model="gpt-4o", messages=[])
    assert empty.value.param == "messages"
    with pytest.raises(openai.RateLimitError):
        await gpt.chat.completions.create(model="gpt-4o", messages=HELLO, extra_headers={"x-sim": "status=429"})
    with pytest.raises(openai.APIError):
        stream = await gpt.chat.completions.create(
            model="gpt-4o", messages=HELLO, stream=True, extra_headers={"x-sim": "error_after=3"}
        )
        assert [chunk async for chunk in stream]


# OpenAI: the other operations


async def test_completions_in_full_and_streamed(gpt: openai.AsyncOpenAI) -> None:
    made = await gpt.completions.create(model="gpt-3.5-turbo-instruct", prompt=["Once", "Twice"], n=2, echo=True)
    assert [choice.index for choice in made.choices] == [0, 1, 2, 3]
    assert made.choices[2].text.startswith("Twice")
    assert made.choices[0].finish_reason == "length"
    assert made.usage is not None
    assert made.usage.completion_tokens == 4 * 16
    stream = await gpt.completions.create(
        model="gpt-3.5-turbo-instruct", prompt="Once", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 16


async def test_embeddings_are_unit_vectors_in_both_encodings(gpt: openai.AsyncOpenAI) -> None:
    packed = await gpt.embeddings.create(model="text-embedding-3-small", input=["a cat", "a dog"])
    plain = await gpt.embeddings.create(
        model="text-embedding-3-small", input=["a cat", "a dog"], encoding_format="float"
    )
    assert len(packed.data[0].embedding) == 1_536
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding)
    assert packed.data[0].embedding != packed.data[1].embedding
    assert sum(value * value for value in plain.data[0].embedding) == pytest.approx(1)
    assert packed.usage.prompt_tokens == 4
    small = await gpt.embeddings.create(model="text-embedding-3-large", input="a cat", dimensions=256)
    assert len(small.data[0].embedding) == 256


async def test_models_are_listed_and_described(gpt: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic) -> None:
    assert "gpt-4o" in [model.id async for model in gpt.models.list()]
    assert (await gpt.models.retrieve("gpt-9")).id == "gpt-9"
    names = [model.id async for model in claude.models.list(limit=2)]
    assert CLAUDE in names
    assert len(names) == len(set(names)) == 5
    assert (await claude.models.retrieve(CLAUDE)).lifecycle == "active"
    with pytest.raises(anthropic.NotFoundError):
        await claude.models.retrieve("claude-does-not-exist")


async def test_responses_answer_in_full(gpt: openai.AsyncOpenAI) -> None:
    made = await gpt.responses.create(model="gpt-5", input="Say hello", reasoning={"effort": "low"})
    assert made.status == "completed"
    assert made.output_text.startswith("This is a simulated answer.")
    assert [item.type for item in made.output] == ["reasoning", "message"]
    assert made.usage is not None
    assert made.usage.output_tokens_details.reasoning_tokens == 16
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    short = await gpt.responses.create(model="gpt-5", input="Say hello", max_output_tokens=16)
    assert short.status == "incomplete"
    assert short.incomplete_details is not None
    assert short.incomplete_details.reason == "max_output_tokens"


async def test_responses_stream_the_whole_sequence_of_typed_events(gpt: openai.AsyncOpenAI) -> None:
    stream = await gpt.responses.create(model="gpt-5", input="Say hello", stream=True)
    seen = [event async for event in stream]
    kinds = [event.type for event in seen if event.type != "response.output_text.delta"]
    assert kinds == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    last = seen[-1]
    assert last.type == "response.completed"
    deltas = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
    assert last.response.output_text == deltas
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == len(seen) - 8


async def test_responses_call_tools_and_take_their_results(gpt: openai.AsyncOpenAI) -> None:
    async with gpt.responses.stream(model="gpt-5", input="Weather?", tools=FLAT_TOOLS) as stream:
        kinds = [event.type async for event in stream]
        made = await stream.get_final_response()
    assert "response.function_call_arguments.done" in kinds
    call = made.output[0]
    assert call.type == "function_call"
    assert json.loads(call.arguments) == ARGUMENTS
    turns: Any = [
        {"role": "user", "content": "Weather?"},
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    after = await gpt.responses.create(model="gpt-5", input=turns, tools=FLAT_TOOLS)
    assert after.output_text
    counted = await gpt.responses.input_tokens.count(model="gpt-5", input=turns, tools=FLAT_TOOLS)
    assert after.usage is not None
    assert counted.input_tokens == after.usage.input_tokens


async def test_responses_parse_structured_answers_and_report_failures(gpt: openai.AsyncOpenAI) -> None:
    made = await gpt.responses.parse(model="gpt-5", input="Weather?", text_format=Forecast)
    assert isinstance(made.output_parsed, Forecast)
    stream = await gpt.responses.create(
        model="gpt-5", input="Weather?", stream=True, extra_headers={"x-sim": "error_after=4"}
    )
    kinds = [event.type async for event in stream]
    assert kinds[-2:] == ["error", "response.failed"]


# Anthropic


async def test_messages_answer_in_full(claude: anthropic.AsyncAnthropic) -> None:
    made = await claude.messages.create(model=CLAUDE, max_tokens=100, messages=HELLO, system="Be brief.")
    assert made.stop_reason == "end_turn"
    assert made.content[0].type == "text"
    assert made.usage.output_tokens > 20
    assert made.usage.input_tokens == 3 + 2 + 3
    short = await claude.messages.create(model=CLAUDE, max_tokens=4, messages=HELLO)
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 4)
    stopped = await claude.messages.create(model=CLAUDE, max_tokens=50, messages=HELLO, stop_sequences=["answer"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "answer")


async def test_messages_stream_to_the_same_message(claude: anthropic.AsyncAnthropic) -> None:
    full = await claude.messages.create(model=CLAUDE, max_tokens=100, messages=HELLO)
    async with claude.messages.stream(model=CLAUDE, max_tokens=100, messages=HELLO) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert full.content[0].type == "text"
    assert text == full.content[0].text
    assert final.usage.output_tokens == full.usage.output_tokens
    assert final.stop_reason == "end_turn"


async def test_messages_use_a_tool_and_then_answer_its_result(claude: anthropic.AsyncAnthropic) -> None:
    made = await claude.messages.create(model=CLAUDE, max_tokens=100, messages=HELLO, tools=CLAUDE_TOOLS)
    assert made.stop_reason == "tool_use"
    call = made.content[0]
    assert call.type == "tool_use"
    assert call.input == ARGUMENTS
    async with claude.messages.stream(model=CLAUDE, max_tokens=100, messages=HELLO, tools=CLAUDE_TOOLS) as stream:
        streamed = (await stream.get_final_message()).content[0]
    assert streamed.type == "tool_use"
    assert streamed.input == ARGUMENTS
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns: Any = [*HELLO, {"role": "assistant", "content": made.content}, {"role": "user", "content": [result]}]
    after = await claude.messages.create(model=CLAUDE, max_tokens=100, messages=turns, tools=CLAUDE_TOOLS)
    assert after.stop_reason == "end_turn"


async def test_messages_think_before_they_answer(claude: anthropic.AsyncAnthropic) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1_024}
    made = await claude.messages.create(model=CLAUDE, max_tokens=2_000, messages=HELLO, thinking=thinking)
    async with claude.messages.stream(model=CLAUDE, max_tokens=2_000, messages=HELLO, thinking=thinking) as stream:
        final = await stream.get_final_message()
    for message in (made, final):
        first, second = message.content
        assert first.type == "thinking"
        assert first.signature.startswith("sim")
        assert first.thinking
        assert second.type == "text"
        assert message.usage.output_tokens_details is not None
        assert message.usage.output_tokens_details.thinking_tokens == 48


async def test_messages_parse_structured_answers(claude: anthropic.AsyncAnthropic) -> None:
    made = await claude.messages.parse(model=CLAUDE, max_tokens=100, messages=HELLO, output_format=Forecast)
    assert isinstance(made.parsed_output, Forecast)


async def test_messages_write_the_cache_on_a_first_turn_and_read_it_on_the_next(
    claude: anthropic.AsyncAnthropic,
) -> None:
    system: Any = [{"type": "text", "text": "word " * 2_000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first = await claude.messages.create(model=CLAUDE, max_tokens=50, messages=HELLO, system=system)
    usage = first.usage
    assert usage.cache_creation is not None
    assert (usage.cache_creation_input_tokens, usage.cache_read_input_tokens) == (2_001, 0)
    assert usage.cache_creation.ephemeral_1h_input_tokens == 2_001
    more: Any = [{"type": "text", "text": "and now", "cache_control": {"type": "ephemeral"}}]
    turns: Any = [*HELLO, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": more}]
    second = await claude.messages.create(model=CLAUDE, max_tokens=50, messages=turns, system=system)
    assert second.usage.cache_read_input_tokens == 2_001
    assert second.usage.cache_creation is not None
    assert second.usage.cache_creation.ephemeral_5m_input_tokens == second.usage.cache_creation_input_tokens == 15
    forced = await claude.messages.create(
        model=CLAUDE, max_tokens=50, messages=HELLO, system=system, extra_headers={"x-sim": "cache=hit"}
    )
    assert forced.usage.cache_read_input_tokens == 2_001


async def test_count_tokens_is_what_messages_bills(claude: anthropic.AsyncAnthropic) -> None:
    counted = await claude.messages.count_tokens(model=CLAUDE, messages=HELLO, tools=CLAUDE_TOOLS)
    made = await claude.messages.create(model=CLAUDE, max_tokens=50, messages=HELLO, tools=CLAUDE_TOOLS)
    assert counted.input_tokens == made.usage.input_tokens > 346


async def test_messages_fail_natively(claude: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: Field required"):
        await claude.post("/v1/messages", body={"model": CLAUDE, "messages": HELLO}, cast_to=object)
    with pytest.raises(anthropic.NotFoundError, match="claude-does-not-exist"):
        await claude.messages.create(model="claude-does-not-exist", max_tokens=5, messages=HELLO)
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        await claude.messages.create(model=CLAUDE, max_tokens=5, messages=HELLO, extra_headers={"x-sim": "status=529"})
    assert overloaded.value.status_code == 529
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        stream = await claude.messages.create(
            model=CLAUDE, max_tokens=50, messages=HELLO, stream=True, extra_headers={"x-sim": "error_after=5"}
        )
        assert [event async for event in stream]


async def test_the_synchronous_sdks_read_the_same(upstream: Upstream) -> None:
    def calls() -> None:
        with openai.OpenAI(api_key="k", base_url=f"{upstream.url}/v1", max_retries=0) as gpt:
            made = gpt.chat.completions.create(model="gpt-4o", messages=HELLO)
            stream = gpt.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            assert text == made.choices[0].message.content
            assert gpt.responses.create(model="gpt-5", input="hello").output_text
        with anthropic.Anthropic(api_key="k", base_url=upstream.url, max_retries=0) as claude:
            full = claude.messages.create(model=CLAUDE, max_tokens=100, messages=HELLO)
            with claude.messages.stream(model=CLAUDE, max_tokens=100, messages=HELLO) as events:
                assert events.get_final_message().to_dict()["content"] == full.to_dict()["content"]

    await asyncio.to_thread(calls)
    assert {line.end for line in await upstream.invoiced(5)} == {"whole"}
