"""The official Cohere SDK for Python cannot tell Farthing from the provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import cohere
import pytest
from cohere.core.api_error import ApiError

from tests.harness import PROVIDER_KEY, Running
from tests.sdk.sides import Watch, comparable, got, listed, plain, same_requests

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODEL = "command-a-03-2025"
HELLO: Any = [{"role": "user", "content": "Say hello - ¡olé! 🦊 \u2028"}]
ASK: Any = {"model": MODEL, "messages": HELLO, "max_tokens": 60}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "description": "W.", "parameters": PARAMETERS}}]
GIF = "data:image/gif;base64,R0lGODlhAQABAAAAACw="

Case = Callable[[Any], Awaitable[Any]]


async def chat(client: Any) -> Any:
    return await got(client.chat(**ASK, temperature=0.25, stop_sequences=["zzz"], documents=["a", "b"]))


async def chat_stream(client: Any) -> Any:
    events = await listed(client.chat_stream(**ASK))
    assert (events[0].type, events[-1].type) == ("message-start", "message-end")
    assert events[-1].delta.usage.billed_units.output_tokens
    return events


async def chat_tools(client: Any) -> Any:
    first = await got(client.chat(**ASK, tools=TOOLS))
    (call,) = first.message.tool_calls
    turns = [
        *HELLO,
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": dict(call.function)}]},
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [{"type": "document", "document": {"data": {"sky": "blue"}}}],
        },
    ]
    after = await got(client.chat(model=MODEL, messages=turns, tools=TOOLS))
    assert after.message.content
    return [first, after, await listed(client.chat_stream(**ASK, tools=TOOLS))]


async def chat_json(client: Any) -> Any:
    return await got(client.chat(**ASK, response_format={"type": "json_object", "json_schema": PARAMETERS}))


async def embed(client: Any) -> Any:
    ask: Any = {"model": "embed-v4.0", "input_type": "search_document", "embedding_types": ["float"]}
    texts = await got(client.embed(**ask, texts=["a", "b c"], output_dimension=8))
    return [texts, await got(client.embed(**ask | {"input_type": "image"}, images=[GIF]))]


async def rerank(client: Any) -> Any:
    documents = ["Paris", "a cat", "word " * 1_500]
    return await got(client.rerank(model="rerank-v3.5", query="a city", documents=documents, top_n=2))


async def tokens(client: Any) -> Any:
    made = await got(client.tokenize(text="some words", model=MODEL, offline=False))
    return [made, await got(client.detokenize(tokens=made.tokens, model=MODEL, offline=False))]


async def models(client: Any) -> Any:
    return [await got(client.models.list()), await got(client.models.get(MODEL))]


async def old_chat(client: Any) -> Any:
    ask: Any = {"model": "command-r-08-2024", "message": "Hello", "max_tokens": 40, "preamble": "Be brief."}
    full = await got(client.chat(**ASK_1 | ask))
    events = await listed(client.chat_stream(**ASK_1 | ask))
    assert events[-1].event_type == "stream-end"
    return [full, events]


async def old_embed(client: Any) -> Any:
    return await got(client.embed(model="embed-english-v3.0", texts=["a", "b"], input_type="search_query"))


async def old_rerank(client: Any) -> Any:
    ask: Any = {"model": "rerank-v3.5", "query": "q", "documents": [{"text": "a"}, {"text": "b"}]}
    return await got(client.rerank(**ask, return_documents=True))


ASK_1: Any = {"chat_history": [{"role": "USER", "message": "Hi"}, {"role": "CHATBOT", "message": "Hello"}]}
OLD: list[Case] = [old_chat, old_embed, old_rerank]
CASES: list[Case] = [chat, chat_stream, chat_tools, chat_json, embed, rerank, tokens, models, *OLD]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"cohere-official-{case.__name__}")


def client_of(url: str, key: str, case: Case, *, sync: bool = False) -> Any:
    made: dict[tuple[bool, bool], Any] = {
        (False, False): cohere.AsyncClientV2,
        (False, True): cohere.ClientV2,
        (True, False): cohere.AsyncClient,
        (True, True): cohere.Client,
    }
    return made[case in OLD, sync](api_key=key, base_url=url)


async def perform(url: str, key: str, case: Case, *, sync: bool = False) -> Any:
    """The case's result on one side."""

    async def run() -> Any:
        client = client_of(url, key, case, sync=sync)
        if sync:
            with client:
                return plain(await case(client))
        async with client:
            return plain(await case(client))

    return comparable(await (asyncio.to_thread(asyncio.run, run()) if sync else run()))


@each_case
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_through_farthing_is_as_straight(gate: Running, live_key: str, case: Case, sync: bool) -> None:
    """Results and requests are those of the same SDK straight at the provider."""
    watch = Watch(gate)
    expected = await perform(gate.upstream.origin("cohere"), PROVIDER_KEY, case, sync=sync)
    direct = await watch.passed()
    watch = Watch(gate)
    assert await perform(gate.url, live_key, case, sync=sync) == expected
    same_requests(direct, await watch.passed(), live_key)


@each_case
async def test_a_test_key_answers_like_the_provider(gate: Running, trial_key: str, case: Case) -> None:
    """The built-in simulator gives the SDK the same results, and nothing reaches the provider."""
    expected = await perform(gate.upstream.origin("cohere"), PROVIDER_KEY, case)
    before = len(gate.upstream.requests)
    assert await perform(gate.url, trial_key, case) == expected
    assert len(gate.upstream.requests) == before


REFUSED: list[Case] = [chat, chat_stream, embed, rerank, old_chat, old_embed, old_rerank]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"cohere-official-{case.__name__}")
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_over_the_cap_is_402_once(gate: Running, case: Case, sync: bool) -> None:
    """Over the cap the SDK raises an ApiError of 402 after one request, and the provider is never called."""
    key = await gate.mint(max_spend_usd="0")
    before = len(gate.upstream.requests)
    with pytest.raises(ApiError) as caught:
        await perform(gate.url, key["secret"], case, sync=sync)
    assert caught.value.status_code == 402
    body = caught.value.body
    assert isinstance(body, dict)
    assert (body["code"], body["farthing"]["limit_micros"]) == ("spend_cap_exceeded", 0)
    assert body["id"].startswith("req_")
    assert len(gate.upstream.requests) == before
    events = await gate.events(key_id=key["id"])
    assert [(event["decision"], event["reason"]) for event in events] == [("blocked", "spend_cap_exceeded")]


async def test_metered_to_the_micro(gate: Running) -> None:
    """Tokens, pictures and search units are billed as the provider's invoice has them."""
    key = await gate.mint(max_spend_usd="100")
    picos = {
        MODEL: {"input_tokens": 2_500_000, "output_tokens": 10_000_000},
        "embed-v4.0": {"input_tokens": 120_000, "image_tokens": 470_000},
        "rerank-v3.5": {"search_units": 2_000_000_000},
    }
    watch = Watch(gate)
    for case in (chat, chat_stream, chat_tools, embed, rerank):
        await perform(gate.url, key["secret"], case)
    lines = (await watch.passed()).lines
    expected = sum(
        number * picos[line.model].get(name, 0) for line in lines for name, number in (line.billed or {}).items()
    )
    events = await gate.events(key_id=key["id"])
    assert {event["status"] for event in events} == {"settled"}
    assert sum(event["cost_picos"] for event in events) == expected > 0


async def test_a_revoked_key_s_stream_ends_in_an_error(gate: Running) -> None:
    """Cohere's SDK has no exception inside a stream: its last event says ERROR, and what was said is paid."""
    key = await gate.mint(max_spend_usd="1")
    gate.upstream.script("chunk_delay_ms=20,output_tokens=500")
    async with cohere.AsyncClientV2(api_key=key["secret"], base_url=gate.url) as client:
        events = client.chat_stream(model=MODEL, messages=HELLO).__aiter__()
        for _ in range(5):
            await anext(events)
        assert (await gate.api("DELETE", f"/v1/keys/{key['id']}"))[0] == 200
        rest = [event async for event in events]
    assert rest[-1].delta.finish_reason == "ERROR"
    (event,) = await gate.events(key_id=key["id"])
    assert event["status"] == "estimated"
    assert event["cost_picos"] > 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/check-api-key"),
        ("POST", "/v1/classify"),
        ("POST", "/v1/generate"),
        ("GET", "/v1/datasets"),
        ("POST", "/v1/embed-jobs"),
        ("GET", "/v1/finetuning/finetuned-models"),
    ],
)
async def test_what_is_not_offered_is_refused_by_name(gate: Running, live_key: str, method: str, path: str) -> None:
    """What cannot be metered, or speaks of the operator's account, is refused in Cohere's shape."""
    headers = {"authorization": f"Bearer {live_key}", "x-fern-sdk-name": "cohere"}
    async with gate.http.request(method, gate.url + path, headers=headers, data=b"{}") as response:
        assert (response.status, (await response.json())["code"]) == (403, "route_not_allowed")


async def test_a_revoked_key_s_old_stream_ends_in_an_error(gate: Running) -> None:
    """Version 1 streams lines of JSON; its last line says ERROR too."""
    key = await gate.mint(max_spend_usd="1")
    gate.upstream.script("chunk_delay_ms=20,output_tokens=500")
    async with cohere.AsyncClient(api_key=key["secret"], base_url=gate.url) as client:
        lines = client.chat_stream(model="command-r-08-2024", message="hi").__aiter__()
        for _ in range(5):
            await anext(lines)
        assert (await gate.api("DELETE", f"/v1/keys/{key['id']}"))[0] == 200
        rest = [line async for line in lines]
    assert (rest[-1].event_type, rest[-1].finish_reason) == ("stream-end", "ERROR")
    (event,) = await gate.events(key_id=key["id"])
    assert (event["status"], event["cost_picos"] > 0) == ("estimated", True)
