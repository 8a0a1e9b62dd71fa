"""The official Google SDK for Python cannot tell Farthing from the provider."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from google.genai import errors, types
from pydantic import BaseModel

from tests.harness import PROVIDER_KEY, Running
from tests.sdk.sides import Case, Tap, Watch, comparable, got, listed, make_client, opened, perform, place, plain, same

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODEL = "gemini-3.5-flash"
HELLO = "Say hello - ¡olé! 🦊 \u2028"
GIF = base64.b64decode("R0lGODlhAQABAAAAACw=")
PDF = b"%PDF-1.4\n<< /Type /Page >>\n%%EOF\n"
WEATHER = types.FunctionDeclaration(
    name="weather",
    description="The weather.",
    parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
FUNCTIONS: Any = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=[WEATHER])],
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)


class Forecast(BaseModel):
    city: str
    days: int


async def answer(client: Any) -> Any:
    config = {
        "max_output_tokens": 60,
        "temperature": 0.25,
        "system_instruction": "Be brief.",
        "stop_sequences": ["zzz"],
    }
    return await got(client.models.generate_content(model=MODEL, contents=HELLO, config=config))


async def stream(client: Any) -> Any:
    chunks = await listed(await got(client.models.generate_content_stream(model=MODEL, contents=HELLO)))
    assert chunks[-1].usage_metadata.thoughts_token_count
    assert chunks[-1].candidates[0].finish_reason == "STOP"
    return chunks


async def choices(client: Any) -> Any:
    config = {"candidate_count": 2, "max_output_tokens": 30}
    full = await got(client.models.generate_content(model=MODEL, contents=HELLO, config=config))
    assert len(full.candidates) == 2
    return [
        full,
        await listed(await got(client.models.generate_content_stream(model=MODEL, contents="x", config=config))),
    ]


async def thinking(client: Any) -> Any:
    config = {"thinking_config": {"include_thoughts": True}, "max_output_tokens": 99}
    full = await got(client.models.generate_content(model=MODEL, contents=HELLO, config=config))
    assert full.candidates[0].content.parts[0].thought
    none = {"thinking_config": {"thinking_budget": 0}}
    return [full, await got(client.models.generate_content(model="gemini-2.5-flash", contents=HELLO, config=none))]


async def functions(client: Any) -> Any:
    first = await got(client.models.generate_content(model=MODEL, contents="Weather?", config=FUNCTIONS))
    (call,) = first.function_calls
    turns = [
        types.Content(role="user", parts=[types.Part(text="Weather?")]),
        first.candidates[0].content,
        types.Content(role="user", parts=[types.Part.from_function_response(name=call.name, response={"sky": "blue"})]),
    ]
    after = await got(client.models.generate_content(model=MODEL, contents=turns, config=FUNCTIONS))
    assert after.text
    streamed = await listed(
        await got(client.models.generate_content_stream(model=MODEL, contents="W?", config=FUNCTIONS))
    )
    return [first, after, streamed]


async def schema(client: Any) -> Any:
    config = {"response_mime_type": "application/json", "response_schema": Forecast}
    made = await got(client.models.generate_content(model=MODEL, contents="Forecast?", config=config))
    assert isinstance(made.parsed, Forecast)
    return made


async def media(client: Any) -> Any:
    parts = [
        types.Part.from_bytes(data=GIF, mime_type="image/gif"),
        types.Part.from_bytes(data=PDF, mime_type="application/pdf"),
        types.Part.from_bytes(data=bytes(64_000), mime_type="audio/pcm"),
        "what is this?",
    ]
    return await got(client.models.generate_content(model="gemini-2.5-flash", contents=parts))


async def pictures(client: Any) -> Any:
    config = {"response_modalities": ["IMAGE"]}
    made = await got(client.models.generate_content(model="gemini-2.5-flash-image", contents="a cat", config=config))
    assert made.candidates[0].content.parts[-1].inline_data.data.startswith(b"\x89PNG")
    return made


async def speech(client: Any) -> Any:
    config = {"response_modalities": ["AUDIO"]}
    return await got(client.models.generate_content(model="gemini-2.5-flash-tts", contents="Hello", config=config))


async def chat(client: Any) -> Any:
    talk = client.chats.create(model=MODEL)
    first = await got(talk.send_message("Hello"))
    second = await got(talk.send_message("And again " + "word " * 1_500))
    third = await got(talk.send_message("Once more"))
    assert third.usage_metadata.cached_content_token_count
    return [first, second, third]


async def tiers(client: Any) -> Any:
    return await got(client.models.generate_content(model=MODEL, contents=HELLO, config={"service_tier": "flex"}))


async def count_tokens(client: Any) -> Any:
    return await got(client.models.count_tokens(model=MODEL, contents=HELLO))


async def embeddings(client: Any) -> Any:
    config = {"output_dimensionality": 16, "task_type": "RETRIEVAL_QUERY"}
    return await got(client.models.embed_content(model="gemini-embedding-001", contents=["a", "b c"], config=config))


async def models(client: Any) -> Any:
    pager = await got(client.models.list(config={"page_size": 4}))
    return [await listed(pager), await got(client.models.get(model=MODEL))]


CASES: list[Case] = [
    answer, stream, choices, thinking, functions, schema, media, pictures, speech, chat, tiers, count_tokens,
    embeddings, models,
]  # fmt: skip
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"google-official-{case.__name__}")


@each_case
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_through_farthing_is_as_straight(gate: Running, live_key: str, case: Case, sync: bool) -> None:
    """Results, requests, headers and bytes are those of the same SDK straight at the provider."""
    assert await same(gate, "google", live_key, case, sync=sync)


@each_case
async def test_a_test_key_answers_like_the_provider(gate: Running, trial_key: str, case: Case) -> None:
    """The built-in simulator gives the SDK the same results, and nothing reaches the provider."""
    expected, _ = await perform("google", place(gate, "google"), PROVIDER_KEY, case)
    before = len(gate.upstream.requests)
    result, _ = await perform("google", gate.url, trial_key, case)
    assert comparable(result) == comparable(expected)
    assert len(gate.upstream.requests) == before


@pytest.mark.parametrize("base", ["", "/", "/v1", "/google", "/gemini", "/google/v1beta"])
async def test_any_usual_base_url_works(gate: Running, live_key: str, base: str) -> None:
    """With or without a version, with or without the provider's mount, the provider sees its own path."""
    result, _ = await perform("google", gate.url + base, live_key, answer)
    assert result["candidates"]
    assert gate.upstream.requests[-1].path == f"/v1/models/{MODEL}:generateContent"


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
async def test_the_version_is_kept(gate: Running, live_key: str, version: str) -> None:
    """The API's version that the client asks for is the one that the provider is asked for."""
    await perform("google", gate.url, live_key, stream, api_version=version)
    assert gate.upstream.requests[-1].path == f"/{version}/models/{MODEL}:streamGenerateContent?alt=sse"


async def test_a_key_in_the_query_works_and_goes_no_further(gate: Running, live_key: str) -> None:
    """`?key=`, as the REST documentation has it, authenticates, and the provider never sees it."""
    body = json.dumps({"contents": {"parts": {"text": "hi"}}})
    url = f"{gate.url}/v1beta/models/{MODEL}:generateContent?key={live_key}&prettyPrint=false"
    async with gate.http.post(url, data=body, headers={"content-type": "application/json"}) as response:
        assert response.status == 200
        assert "candidates" in await response.json(content_type=None)
    seen = gate.upstream.requests[-1]
    assert seen.path == f"/v1beta/models/{MODEL}:generateContent?prettyPrint=false"
    assert seen.header("x-goog-api-key") == PROVIDER_KEY
    assert live_key not in str(seen.headers)


async def test_without_sse_the_array_passes_as_it_is(gate: Running, live_key: str) -> None:
    """A stream without `alt=sse` is a JSON array; it is metered from its last element."""
    headers = {"x-goog-api-key": live_key}
    status, head, content = await gate.call(
        live_key, {"contents": [{"parts": [{"text": "hi"}]}]}, f"/v1beta/models/{MODEL}:streamGenerateContent", headers
    )
    assert (status, head["content-type"].split(";")[0]) == (200, "application/json")
    chunks = json.loads(content)
    assert chunks[-1]["usageMetadata"]["totalTokenCount"] > 24


# ---- refusals and failures


async def raised(client: Any, case: Case = answer) -> Any:
    with pytest.raises(errors.APIError) as caught:
        await case(client)
    return caught.value


@pytest.mark.parametrize("case", [answer, stream, embeddings], ids=lambda case: f"google-official-{case.__name__}")
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_over_the_cap_is_402_once(gate: Running, case: Case, sync: bool) -> None:
    """Over the cap the SDK raises a ClientError that says so, asks once, and the provider is never called."""
    key = await gate.mint(max_spend_usd="0")
    before = len(gate.upstream.requests)
    tap = Tap()

    async def run() -> Any:
        async with opened(make_client("google", gate.url, key["secret"], tap, sync=sync)) as client:
            return await raised(client, case)

    error = await (asyncio.to_thread(asyncio.run, run()) if sync else run())
    assert isinstance(error, errors.ClientError)
    assert (error.code, error.status) == (402, "RESOURCE_EXHAUSTED")
    detail = error.details["error"]
    assert (detail["reason"], detail["farthing"]["limit_micros"]) == ("spend_cap_exceeded", 0)
    assert len(tap.exchanges) == 1
    assert len(gate.upstream.requests) == before


async def test_a_bad_key_is_401_and_a_server_error_is_one(gate: Running) -> None:
    """A key that is none, and a failure of the provider's, raise what the SDK's users expect."""
    async with opened(make_client("google", gate.url, "fk_live_" + "A" * 63, Tap())) as client:
        error = await raised(client)
        assert (type(error), error.code, error.status) == (errors.ClientError, 401, "UNAUTHENTICATED")
    key = await gate.mint(max_spend_usd="1")
    gate.upstream.script("status=503")
    async with opened(make_client("google", gate.url, key["secret"], Tap())) as client:
        error = await raised(client)
    assert (type(error), error.code, error.status) == (errors.ServerError, 503, "UNAVAILABLE")


async def test_a_revoked_key_s_stream_raises(gate: Running) -> None:
    """A revocation in the middle of a stream is raised by the SDK, and what was said is paid by the running count."""
    key = await gate.mint(max_spend_usd="1")
    gate.upstream.script("chunk_delay_ms=20,output_tokens=500")
    async with opened(make_client("google", gate.url, key["secret"], Tap())) as client:
        items = await client.models.generate_content_stream(model=MODEL, contents="Say hello")
        for _ in range(5):
            await anext(items)
        assert (await gate.api("DELETE", f"/v1/keys/{key['id']}"))[0] == 200
        with pytest.raises(errors.APIError) as caught:
            [item async for item in items]
    assert caught.value.details["error"]["reason"] == "key_revoked"
    (event,) = await gate.events(key_id=key["id"])
    assert event["status"] == "estimated"
    assert 0 < event["usage"]["output_tokens"] < 500


async def test_an_error_in_the_provider_s_stream_is_raised_as_it_is(gate: Running, live_key: str) -> None:
    """The provider's in-band error reaches the SDK's user unchanged."""
    key = await gate.mint(max_spend_usd="1")

    async def failing(client: Any) -> Any:
        gate.upstream.script("error_after=4")
        error = await raised(client, stream)
        return [type(error).__name__, error.code, error.status, error.message]

    straight, _ = await perform("google", place(gate, "google"), PROVIDER_KEY, failing)
    through, _ = await perform("google", gate.url, key["secret"], failing)
    assert through == straight


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1beta/cachedContents"),
        ("GET", "/v1beta/cachedContents/abc"),
        ("POST", "/v1alpha/auth_tokens"),
        ("POST", "/v1beta/tunedModels/x:generateContent"),
        ("GET", "/v1beta/tunedModels"),
        ("POST", "/v1beta/fileSearchStores"),
        ("POST", "/v1beta/agents"),
        ("POST", "/v1beta/models/gemini-3.5-flash:batchGenerateContent"),
        ("POST", "/v1beta/models/veo-3.1-generate-preview:predictLongRunning"),
    ],
)
async def test_what_cannot_be_metered_is_refused_by_name(gate: Running, live_key: str, method: str, path: str) -> None:
    """Operations that lead round the meter, or cost what cannot be told, are refused in Google's shape."""
    before = len(gate.upstream.requests)
    async with gate.http.request(method, gate.url + path, headers={"x-goog-api-key": live_key}, data=b"{}") as response:
        error = (await response.json())["error"]
        assert (response.status, error["status"], error["reason"]) == (403, "PERMISSION_DENIED", "route_not_allowed")
    assert len(gate.upstream.requests) == before


async def test_metered_to_the_micro(gate: Running) -> None:
    """Every class of token, every search and every tier is billed as the provider's invoice has it."""
    key = await gate.mint(max_spend_usd="100")
    faults = ["", "cache=hit", "web_searches=3", "service_tier=priority", "output_tokens=400"]
    flash = {"input": 1_500_000, "cache_read": 150_000, "output": 9_000_000}
    prices = [flash, flash, flash, {"input": 2_700_000, "cache_read": 270_000, "output": 16_200_000}, flash]
    expected = 0
    async with opened(make_client("google", gate.url, key["secret"], Tap())) as client:
        for fault, price in zip(faults, prices, strict=True):
            for case in (answer, stream):
                gate.upstream.script(fault)
                watch = Watch(gate)
                plain(await case(client))
                (line,) = (await watch.passed()).lines
                billed = line.billed or {}
                cached = billed["cached_tokens"]
                expected += (billed["input_tokens"] - cached) * price["input"] + cached * price["cache_read"]
                expected += billed["output_tokens"] * price["output"] + billed.get("web_searches", 0) * 14_000_000_000
    events = await gate.events(key_id=key["id"])
    assert {event["status"] for event in events} == {"settled"}
    assert sum(event["cost_picos"] for event in events) == expected


async def test_a_revoked_key_s_array_ends_in_an_error(gate: Running) -> None:
    """A stream without `alt=sse` that we cut is still a JSON array, whose last element is the error."""
    key = await gate.mint(max_spend_usd="1")
    gate.upstream.script("chunk_delay_ms=20,output_tokens=500")
    url = f"{gate.url}/v1beta/models/{MODEL}:streamGenerateContent"
    headers = {"x-goog-api-key": key["secret"]}
    async with gate.http.post(url, json={"contents": {"parts": {"text": "hi"}}}, headers=headers) as response:
        started = await response.content.read(200)
        assert (await gate.api("DELETE", f"/v1/keys/{key['id']}"))[0] == 200
        elements = json.loads(started + await response.content.read())
    assert elements[0]["candidates"]
    assert elements[-1]["error"]["reason"] == "key_revoked"
    (event,) = await gate.events(key_id=key["id"])
    assert (event["status"], event["usage"]["output_tokens"] > 0) == ("estimated", True)
