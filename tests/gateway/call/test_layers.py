"""One API, end to end: OpenAI's chat at every path that leads to Claude, Gemini and Command."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from tests.conformance.cells import Cell
from tests.conformance.invoice import price_picos
from tests.harness import PROVIDER_KEY, Running, running

HELLO: Any = [{"role": "user", "content": "Say hello"}]
MODELS = {"anthropic": "claude-haiku-4-5", "google": "gemini-3.5-flash", "cohere": "command-a-03-2025"}
UPSTREAM = {
    "anthropic": "/v1/chat/completions",
    "google": "/v1beta/openai/chat/completions",
    "cohere": "/compatibility/v1/chat/completions",
}
PATHS = [
    ("anthropic", "/v1/chat/completions"),
    ("anthropic", "/anthropic/v1/chat/completions"),
    ("google", "/v1/chat/completions"),
    ("google", "/google/v1/chat/completions"),
    ("google", "/gemini/v1beta/openai/chat/completions"),
    ("google", "/v1beta/openai/chat/completions"),
    ("cohere", "/v1/chat/completions"),
    ("cohere", "/cohere/v1/chat/completions"),
    ("cohere", "/cohere/compatibility/v1/chat/completions"),
]
CREDENTIALS = {
    "anthropic": {"x-api-key": PROVIDER_KEY, "authorization": None},
    "google": {"authorization": f"Bearer {PROVIDER_KEY}", "x-goog-api-key": None},
    "cohere": {"authorization": f"Bearer {PROVIDER_KEY}"},
}


@pytest_asyncio.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started
        await started.audited()


def cell(provider: str) -> Cell:
    return Cell(provider=provider, client="official", operation="openai chat", model=MODELS[provider], refused="")


@pytest.mark.parametrize(("provider", "path"), PATHS)
@pytest.mark.parametrize("stream", [False, True])
async def test_every_path_leads_to_the_vendors_own_endpoint(
    farthing: Running, provider: str, path: str, stream: bool
) -> None:
    """With its credential in the place that it documents; one event, at that vendor's price of that model."""
    key = await farthing.mint(max_spend_usd="1")
    body = {"model": MODELS[provider], "messages": HELLO, "stream": stream, "reasoning_effort": "low"}
    status, _, answer = await farthing.call(key["secret"], body, path)
    assert status == 200, answer
    assert (b"prompt_tokens" in answer) is not stream  # nobody asked for it in the stream
    (seen,) = farthing.upstream.requests
    assert (seen.provider, seen.path) == (provider, UPSTREAM[provider])
    for name, value in CREDENTIALS[provider].items():
        assert seen.header(name) == value
    assert ("stream_options" in seen.json()) is stream
    (event,) = await farthing.events()
    assert (event["provider"], event["model"], event["status"]) == (provider, MODELS[provider], "settled")
    (line,) = farthing.upstream.invoice
    assert event["cost_picos"] == price_picos(cell(provider), line)
    assert event["usage"].get("reasoning_tokens", 0) == (16 if provider == "google" else 0)


@pytest.mark.parametrize("provider", MODELS)
async def test_refusals_are_in_the_shape_of_whose_client_asks(farthing: Running, provider: str) -> None:
    """A 402 of ours, a provider that may not be used, and a model that nobody has: OpenAI's errors."""
    broke = await farthing.mint(max_spend_usd="0")
    body = {"model": MODELS[provider], "messages": HELLO}
    for _, path in (each for each in PATHS if each[0] == provider):
        status, headers, answer = await farthing.call(broke["secret"], body, path)
        error = json.loads(answer)["error"]
        assert (status, error["type"], error["code"]) == (402, "insufficient_quota", "spend_cap_exceeded")
        assert (error["farthing"]["remaining_micros"], headers["x-should-retry"]) == (0, "false")
    other = await farthing.mint(max_spend_usd="1", allowed_providers=["openai"])
    status, _, answer = await farthing.call(other["secret"], body)
    assert (status, json.loads(answer)["error"]["code"]) == (403, "route_not_allowed")
    key = await farthing.mint(max_spend_usd="1")
    unknown = {"model": "nobody-has-this", "messages": HELLO}
    status, _, answer = await farthing.call(key["secret"], unknown, f"/{provider}/v1/chat/completions")
    assert (status, json.loads(answer)["error"]["code"]) == (400, "model_not_priced")
    assert not farthing.upstream.requests


@pytest.mark.parametrize("provider", MODELS)
async def test_the_providers_own_errors_pass_and_its_words_to_the_operator_do_not(
    farthing: Running, provider: str
) -> None:
    """A rate limit as it came, and nothing is charged; of our own account in whatever shape, nothing but that."""
    key = await farthing.mint(max_spend_usd="1")
    body = {"model": MODELS[provider], "messages": HELLO}
    farthing.upstream.script("status=503", "status=401", "status=403")
    status, _, answer = await farthing.call(key["secret"], body)
    assert status == 503
    assert isinstance(json.loads(answer), list if provider == "google" else dict)
    status, _, answer = await farthing.call(key["secret"], body)
    assert (status, json.loads(answer)["error"]["code"]) == (502, "upstream_account")
    status, _, answer = await farthing.call(key["secret"], body)
    assert status in (403, 502)
    events = await farthing.events()
    assert [(event["status"], event["cost_picos"]) for event in events] == [("released", 0)] * 3


@pytest.mark.parametrize("provider", MODELS)
async def test_a_cap_that_must_hold_holds(farthing: Running, provider: str) -> None:
    """The limit is written in the field that the endpoint takes, the largest that fits; spending ends below the cap."""
    key = await farthing.mint(max_spend_usd="0.02", overdraft="never")
    thinking: dict[str, Any] = {
        "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        "google": {"extra_body": {"google": {"thinking_config": {"thinking_budget": 200}}}},
        "cohere": {"reasoning_effort": "high"},
    }[provider]
    body = {"model": MODELS[provider], "messages": HELLO, "stream": True, **thinking}
    farthing.upstream.always = type(farthing.upstream.always).parse("output_tokens=2000")
    statuses = []
    for _ in range(40):
        status, _, answer = await farthing.call(key["secret"], body)
        statuses.append(status)
        if status == 402:
            break
        assert status == 200, answer
        assert farthing.upstream.requests[-1].json()["max_tokens"] > 0
        await farthing.quiet()
    assert statuses[-1] == 402
    _, found = await farthing.api("GET", f"/v1/keys/{key['id']}")
    assert 0 < found["spent_micros"] <= 20_000
    assert found["overrun_micros"] == 0
    invoiced = sum(price_picos(cell(provider), line) for line in farthing.upstream.invoice)
    assert sum(event["cost_picos"] for event in await farthing.events()) == invoiced


async def test_what_is_thought_unseen_is_charged_when_the_answer_is_cut(farthing: Running) -> None:
    """Claude's thoughts are not given back there: a stream that is cut before its count costs what is held for it."""
    key = await farthing.mint(max_spend_usd="1")
    body = {"model": MODELS["anthropic"], "messages": HELLO, "stream": True, "max_tokens": 500}
    charged = []
    for more in ({}, {"thinking": {"type": "enabled", "budget_tokens": 256}}):
        farthing.upstream.script("disconnect_after=4")
        with contextlib.suppress(aiohttp.ClientError):
            await farthing.call(key["secret"], body | more)
        event = (await farthing.events())[0]
        assert event["status"] == "estimated"
        charged.append(event["usage"]["output_tokens"])
    assert charged[0] < 20
    assert charged[1] == 500


async def test_test_keys_are_answered_by_the_simulator(farthing: Running) -> None:
    """Without a credential, in the same shape."""
    key = await farthing.mint(livemode=False)
    for provider, path in PATHS:
        status, _, answer = await farthing.call(key["secret"], {"model": MODELS[provider], "messages": HELLO}, path)
        assert (status, json.loads(answer)["object"]) == (200, "chat.completion")
    assert not farthing.upstream.requests


async def test_googles_own_base_url_for_openais_sdk(farthing: Running) -> None:
    """As Google documents it, behind the mount: chat, and the list of models that the key may use."""
    key = await farthing.mint(max_spend_usd="1", allowed_models=["gemini-2.5-flash", "gemini-3.5-flash"])
    client = openai.AsyncOpenAI(api_key=key["secret"], base_url=f"{farthing.url}/gemini/v1beta/openai/")
    async with client:
        models = [model.id async for model in client.models.list()]
        made = await client.chat.completions.create(model="gemini-2.5-flash", messages=HELLO, n=2)
    assert sorted(models) == ["models/gemini-2.5-flash", "models/gemini-3.5-flash"]
    assert len(made.choices) == 2
    assert made.usage is not None
    assert made.usage.total_tokens >= made.usage.prompt_tokens + made.usage.completion_tokens
    assert {seen.header("authorization") for seen in farthing.upstream.requests} == {f"Bearer {PROVIDER_KEY}"}


CHAIN = [("openai", "gpt-4o-mini"), *MODELS.items()]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_route_leads_from_one_vendor_to_the_next_in_openais_shape(farthing: Running, stream: bool) -> None:
    """OpenAI is out of order, then Anthropic, then Google: who answers is told by `model`, and is who is paid."""
    targets = [{"provider": provider, "model": model} for provider, model in CHAIN]
    status, made = await farthing.api("POST", "/v1/routes", {"name": "smart", "targets": targets})
    assert status == 201, made
    key = await farthing.mint(max_spend_usd="1")
    client = openai.AsyncOpenAI(api_key=key["secret"], base_url=f"{farthing.url}/v1", max_retries=0)
    async with client:
        for down, (provider, model) in enumerate(CHAIN):
            for _, tired in CHAIN[:down]:
                farthing.upstream.script("status=503", model=tired)
            if stream:
                chunks = [
                    chunk
                    async for chunk in await client.chat.completions.create(
                        model="smart", messages=HELLO, stream=True, stream_options={"include_usage": True}
                    )
                ]
                text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
                answered, usage = chunks[-1].model, chunks[-1].usage
            else:
                whole = await client.chat.completions.create(model="smart", messages=HELLO)
                text, answered, usage = whole.choices[0].message.content or "", whole.model, whole.usage
            assert (bool(text), answered) == (True, model)
            assert usage is not None
            events = (await farthing.events())[: down + 1]
            assert [event["provider"] for event in events] == [name for name, _ in CHAIN[down::-1]]
            assert events[0]["usage"]["output_tokens"] == usage.total_tokens - usage.prompt_tokens
            assert (events[0]["provider"], events[0]["status"]) == (provider, "settled")
            assert {event["status"] for event in events[1:]} <= {"released"}
            assert sum(event["cost_picos"] for event in events[1:]) == 0
