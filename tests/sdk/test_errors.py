"""Refusals and failures: the official Python SDKs raise what their users expect, and retry nothing in vain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import pytest_asyncio

from tests.harness import MASTER, Running
from tests.sdk.sides import Tap, Watch, comparable, each, got, listed, make_client, no_secrets, opened, perform, plain

pytestmark = pytest.mark.asyncio(loop_scope="session")

HELLO: Any = [{"role": "user", "content": "Say hello"}]
GPT, CLAUDE = "gpt-4o-mini", "claude-sonnet-5-5"
NOBODY = "fk_live_" + "A" * 63
SDKS: dict[str, Any] = {"openai": openai, "anthropic": anthropic}
both = pytest.mark.parametrize("sdk", ["openai", "anthropic"])
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["full", "streamed"])

Events = list[dict[str, Any]]


async def ask(client: Any, *, stream: bool = False, **more: Any) -> Any:
    """One call of whichever SDK this is; a streamed answer read to its end."""
    if hasattr(client, "chat"):
        made = await got(client.chat.completions.create(**{"model": GPT, "messages": HELLO, "stream": stream} | more))
    else:
        more = {"model": CLAUDE, "max_tokens": 50, "messages": HELLO, "stream": stream} | more
        made = await got(client.messages.create(**more))
    return await listed(made) if stream else made


async def raised(sdk: str, url: str, key: str, *, sync: bool = False, **more: Any) -> tuple[Any, Tap]:
    """The SDK's error, with its own retry policy, and what went over the wire."""
    tap = Tap()

    async def run() -> Any:
        async with opened(make_client(sdk, url, key, tap, sync=sync, max_retries=2)) as client:
            with pytest.raises(SDKS[sdk].APIError) as caught:
                await ask(client, **more)
            return caught.value

    return (await asyncio.to_thread(asyncio.run, run()) if sync else await run()), tap


def body_of(error: Any) -> dict[str, Any]:
    """What stands in `error` of the answer: OpenAI's SDK unwraps it, Anthropic's does not."""
    body = error.body
    assert isinstance(body, dict)
    if "error" in body:
        assert body["type"] == "error"
        assert body["request_id"].startswith("req_")
        body = body["error"]
    return dict(body)


async def spent(gate: Running, *, cap: str = "0.000001", **fields: Any) -> dict[str, Any]:
    """A key whose cap is too small for any call."""
    return await gate.mint(max_spend_usd=cap, **fields)


@pytest_asyncio.fixture(loop_scope="session")
async def secret(gate: Running) -> str:
    """A live key's secret, of a key that has not called yet."""
    return str((await gate.mint(max_spend_usd="1"))["secret"])


# ---- ours


@both
@both_ways
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("livemode", [True, False], ids=["live", "test"])
async def test_over_the_cap_is_402_once(gate: Running, sdk: str, stream: bool, sync: bool, livemode: bool) -> None:
    """Over the cap the SDK raises a 402 that says which cap, asks once, and the provider is never called."""
    key = await spent(gate, livemode=livemode)
    before = len(gate.upstream.requests)
    error, tap = await raised(sdk, gate.url, key["secret"], stream=stream, sync=sync)
    assert error.status_code == 402
    assert error.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.response.headers
    body = body_of(error)
    assert body["code"] == "spend_cap_exceeded"
    if sdk == "openai":
        assert type(error) is openai.APIStatusError
        assert (error.code, error.type) == ("spend_cap_exceeded", "insufficient_quota")
    else:
        assert type(error) is anthropic.PaymentRequiredError
        assert (error.type, body["type"]) == ("billing_error", "billing_error")
    farthing = body["farthing"]
    assert (farthing["limit_micros"], farthing["spent_micros"], farthing["remaining_micros"]) == (1, 0, 1)
    assert farthing["required_micros"] > 1
    assert farthing["request_id"] == error.request_id == error.response.headers["x-farthing-request-id"]
    assert len(tap.exchanges) == 1
    assert len(gate.upstream.requests) == before
    (event,) = await gate.events(key_id=key["id"], livemode=str(livemode).lower())
    assert (event["decision"], event["reason"], event["cost_picos"]) == ("blocked", "spend_cap_exceeded", 0)


@pytest.mark.parametrize("path", ["responses", "completions", "embeddings"])
async def test_over_the_cap_is_402_on_every_operation(gate: Running, path: str) -> None:
    """Each billable operation of OpenAI's SDK raises the same 402."""
    key = await spent(gate, cap="0")
    async with openai.AsyncOpenAI(api_key=key["secret"], base_url=f"{gate.url}/v1") as client:
        calls: dict[str, Any] = {
            "responses": lambda: client.responses.create(model="gpt-5", input="hello"),
            "completions": lambda: client.completions.create(model="gpt-3.5-turbo-instruct", prompt="hello"),
            "embeddings": lambda: client.embeddings.create(model="text-embedding-3-small", input="hello"),
        }
        with pytest.raises(openai.APIStatusError) as caught:
            await calls[path]()
    assert (caught.value.status_code, caught.value.code) == (402, "spend_cap_exceeded")
    assert len(await gate.events(key_id=key["id"])) == 1


@both
async def test_over_the_cap_can_be_429_and_is_still_asked_once(gate: Running, sdk: str) -> None:
    """`over_cap_status: 429` raises the SDK's rate limit error, which it does not retry."""
    key = await spent(gate, over_cap_status=429)
    error, tap = await raised(sdk, gate.url, key["secret"])
    assert type(error) is SDKS[sdk].RateLimitError
    assert error.type == ("insufficient_quota" if sdk == "openai" else "billing_error")
    assert body_of(error)["code"] == "spend_cap_exceeded"
    assert error.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.response.headers
    assert len(tap.exchanges) == 1


@both
async def test_free_calls_work_over_the_cap(gate: Running, sdk: str) -> None:
    """What the provider does not charge for works with an empty purse."""
    key = await spent(gate, cap="0")
    async with opened(make_client(sdk, gate.url, key["secret"], Tap())) as client:
        assert await listed(client.models.list())
        if sdk == "anthropic":
            assert (await client.messages.count_tokens(model=CLAUDE, messages=HELLO)).input_tokens


@both
@both_ways
async def test_a_bad_key_is_401_once(gate: Running, sdk: str, stream: bool) -> None:
    """Unknown and revoked keys raise AuthenticationError with their reason, unretried."""
    revoked = await gate.mint()
    await gate.api("DELETE", f"/v1/keys/{revoked['id']}")
    keys = {NOBODY: "invalid_key", "sk-not-ours": "invalid_key", revoked["secret"]: "key_revoked"}
    before = len(gate.upstream.requests)
    for secret, code in keys.items():
        error, tap = await raised(sdk, gate.url, secret, stream=stream)
        assert type(error) is SDKS[sdk].AuthenticationError
        assert body_of(error)["code"] == code
        assert secret not in str(error)
        assert len(tap.exchanges) == 1
    assert len(gate.upstream.requests) == before


@both
async def test_what_a_key_may_not_do_is_403_once(gate: Running, sdk: str) -> None:
    """A model, a scope, an operation that is not allowed raises PermissionDeniedError, unretried."""
    narrow = await gate.mint(allowed_models=["gpt-4o", "claude-haiku-4-5"])
    reader = await gate.mint(scope="read")
    for secret, code in ((narrow["secret"], "model_not_allowed"), (reader["secret"], "scope_not_allowed")):
        error, tap = await raised(sdk, gate.url, secret)
        assert type(error) is SDKS[sdk].PermissionDeniedError
        assert body_of(error)["code"] == code
        assert len(tap.exchanges) == 1
    async with opened(make_client(sdk, gate.url, narrow["secret"], Tap())) as client:
        with pytest.raises(SDKS[sdk].PermissionDeniedError) as caught:
            await client.get("/fine_tuning/jobs" if sdk == "openai" else "/v1/organizations/me", cast_to=object)
    assert body_of(caught.value)["code"] == "route_not_allowed"


@both
async def test_nothing_there_is_404_once(gate: Running, sdk: str, secret: str) -> None:
    """A path that no provider has raises NotFoundError, unretried."""
    tap = Tap()
    async with opened(make_client(sdk, gate.url, secret, tap, max_retries=2)) as client:
        with pytest.raises(SDKS[sdk].NotFoundError) as caught:
            await client.get("/nothing/here", cast_to=object)
    assert body_of(caught.value)["code"] == "not_found"
    assert len(tap.exchanges) == 1


@both
async def test_what_cannot_be_capped_is_400_once(gate: Running, sdk: str) -> None:
    """A model without a price, and a body that is none, raise BadRequestError, unretried and never forwarded."""
    key = await gate.mint(max_spend_usd="1")
    before = len(gate.upstream.requests)
    error, tap = await raised(sdk, gate.url, key["secret"], model="a-model-of-nobody")
    assert type(error) is SDKS[sdk].BadRequestError
    assert body_of(error)["code"] == "model_not_priced"
    assert len(tap.exchanges) == 1
    error, tap = await raised(sdk, gate.url, key["secret"], extra_body={"model": 7})
    assert type(error) is SDKS[sdk].BadRequestError
    assert len(tap.exchanges) == 1
    assert len(gate.upstream.requests) == before


@both
async def test_a_key_s_own_rate_is_429_with_a_wait(gate: Running, sdk: str) -> None:
    """Over a limit of requests a minute the SDK raises RateLimitError and is told when to come back."""
    limits = [{"unit": "requests", "max": 1, "window": "minute"}]
    key = await gate.mint(max_spend_usd="1", limits=limits)
    tap = Tap()
    async with opened(make_client(sdk, gate.url, key["secret"], tap)) as client:
        outcomes = await asyncio.gather(ask(client), ask(client), ask(client), return_exceptions=True)
    errors: list[Any] = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(errors) >= 1  # all three, unless a minute began in between
    for error in errors:
        assert type(error) is SDKS[sdk].RateLimitError
        body = body_of(error)
        assert body["code"] == "rate_limited"
        assert (body["farthing"]["unit"], body["farthing"]["limit"]) == ("requests", 1)
        assert 1 <= int(error.response.headers["retry-after"]) <= 60
        assert error.response.headers.get("x-should-retry") != "false"


# ---- the provider's


@both
@pytest.mark.parametrize("status", [400, 404, 429, 500, 529])
async def test_the_provider_s_errors_pass_as_they_are(gate: Running, sdk: str, secret: str, status: int) -> None:
    """An error of the provider's is the same exception as without Farthing, headers included."""

    async def failing(client: Any) -> Any:
        gate.upstream.script(f"status={status}")
        with pytest.raises(SDKS[sdk].APIStatusError) as caught:
            await ask(client)
        error = caught.value
        seen = {name: error.response.headers.get(name) for name in ("retry-after", "retry-after-ms", "x-should-retry")}
        return [type(error).__name__, error.status_code, error.message, error.body, error.request_id, seen]

    straight, _ = await perform(sdk, gate.upstream.url, "k", failing)
    through, _ = await perform(sdk, gate.url, secret, failing)
    assert comparable(through) == comparable(straight)
    assert through[1] == status


@both
async def test_the_provider_s_own_checks_pass_as_they_are(gate: Running, sdk: str, secret: str) -> None:
    """What only the provider finds wrong is said in its own words."""

    async def wrong(client: Any) -> Any:
        errors = []
        for call in (
            lambda: ask(client, messages=[]),
            lambda: client.models.retrieve("a-model-that-does-not-exist"),
        ):
            with pytest.raises(SDKS[sdk].APIStatusError) as caught:
                await call()
            errors.append([caught.value.status_code, caught.value.body])
        return errors

    straight, _ = await perform(sdk, gate.upstream.url, "k", wrong)
    through, _ = await perform(sdk, gate.url, secret, wrong)
    assert comparable(through) == comparable(straight)


@both
async def test_the_sdk_s_own_retries_work_through_farthing(gate: Running, sdk: str) -> None:
    """After a 500 the SDK asks again and gets its answer; only the answer is paid for."""
    key = await gate.mint(max_spend_usd="1")
    gate.upstream.script("status=500")
    tap = Tap()
    async with opened(make_client(sdk, gate.url, key["secret"], tap, max_retries=1)) as client:
        assert plain(await ask(client))["id"]
    assert [exchange.status for exchange in tap.exchanges] == [500, 200]
    paid, free = await gate.events(key_id=key["id"])
    assert free["cost_picos"] == 0
    assert paid["cost_picos"] > 0


@both
@pytest.mark.parametrize("status", [401, 402])
async def test_the_operator_s_own_account_is_not_the_client_s_fault(
    gate: Running, sdk: str, secret: str, status: int
) -> None:
    """If the provider refuses the operator's credential or has no credit, the client does not read that of its own."""
    gate.upstream.script(f"status={status}")
    error, tap = await raised(sdk, gate.url, secret)
    assert type(error) is SDKS[sdk].InternalServerError
    assert (error.status_code, body_of(error)["code"]) == (502, "upstream_account")
    assert len(tap.exchanges) == 1


# ---- in the middle


async def _started(stream: Any, pieces: int) -> AsyncIterator[Any]:
    """The stream's items, the first ones taken already."""
    items = each(stream)
    for _ in range(pieces):
        await anext(items)
    return items


@both
async def test_a_revoked_key_s_stream_raises(gate: Running, sdk: str) -> None:
    """A revocation in the middle of a stream is raised by the SDK, never a silent end, and what was said is paid."""
    key = await gate.mint(max_spend_usd="1")
    gate.upstream.script("chunk_delay_ms=20,output_tokens=500")
    async with opened(make_client(sdk, gate.url, key["secret"], Tap())) as client:
        more: Any = {"model": GPT} if sdk == "openai" else {"model": CLAUDE, "max_tokens": 600}
        create = client.chat.completions.create if sdk == "openai" else client.messages.create
        items = await _started(await create(messages=HELLO, stream=True, **more), 5)
        assert (await gate.api("DELETE", f"/v1/keys/{key['id']}"))[0] == 200
        with pytest.raises(SDKS[sdk].APIError) as caught:
            [item async for item in items]
    assert body_of(caught.value)["code"] == "key_revoked"
    if sdk == "openai":
        assert caught.value.code == "key_revoked"
    else:
        assert isinstance(caught.value, anthropic.APIStatusError)
        assert caught.value.type == "authentication_error"
    (event,) = await gate.events(key_id=key["id"])
    assert event["status"] == "estimated"
    assert event["cost_picos"] > 0


async def test_a_revoked_key_s_response_raises(gate: Running) -> None:
    """The Responses API's stream raises too, by its iterator and by the helper."""
    for helper in (False, True):
        key = await gate.mint(max_spend_usd="1")
        gate.upstream.script("chunk_delay_ms=20,output_tokens=500")
        async with openai.AsyncOpenAI(api_key=key["secret"], base_url=f"{gate.url}/v1", max_retries=0) as client:
            with pytest.raises(openai.APIError) as caught:
                if helper:
                    async with client.responses.stream(model="gpt-5", input="hello") as events:
                        items = await _started(events, 5)
                        await gate.api("DELETE", f"/v1/keys/{key['id']}")
                        [item async for item in items]
                else:
                    stream = await client.responses.create(model="gpt-5", input="hello", stream=True)
                    items = await _started(stream, 5)
                    await gate.api("DELETE", f"/v1/keys/{key['id']}")
                    [item async for item in items]
        assert caught.value.code == "key_revoked"


@both
async def test_a_truncated_stream_raises(gate: Running, sdk: str) -> None:
    """If the provider's stream breaks off, the SDK raises: half an answer is never taken for a whole one."""
    for livemode in (True, False):
        key = await gate.mint(max_spend_usd="1", livemode=livemode)
        fault = "disconnect_after=6"
        more: dict[str, Any] = {"stream": True}
        if livemode:
            gate.upstream.script(fault)
        else:
            more["extra_headers"] = {"x-farthing-sim": fault}
        async with opened(make_client(sdk, gate.url, key["secret"], Tap())) as client:
            with pytest.raises((SDKS[sdk].APIConnectionError, httpx2.TransportError)):
                await ask(client, **more)


@both
async def test_a_truncated_answer_raises(gate: Running, sdk: str) -> None:
    """A full answer that breaks off is an error of the gateway's, in the SDK's own type."""
    key = await gate.mint(max_spend_usd="1")
    for fault in ("disconnect_after=40", "reset=before_head", "reset=after_head"):
        gate.upstream.script(fault)
        error, tap = await raised(sdk, gate.url, key["secret"])
        assert type(error) is SDKS[sdk].InternalServerError
        assert (error.status_code, body_of(error)["code"]) == (502, "upstream_unreachable")
        assert len(tap.exchanges) == 1  # it may have cost something, so it is not repeated unasked


@both
async def test_an_error_in_the_provider_s_stream_is_raised_as_it_is(gate: Running, sdk: str, secret: str) -> None:
    """The provider's in-band error reaches the SDK's user unchanged."""

    async def failing(client: Any) -> Any:
        gate.upstream.script("error_after=4")
        with pytest.raises(SDKS[sdk].APIError) as caught:
            await ask(client, stream=True)
        return [type(caught.value).__name__, caught.value.message, caught.value.body]

    straight, _ = await perform(sdk, gate.upstream.url, "k", failing)
    through, _ = await perform(sdk, gate.url, secret, failing)
    assert comparable(through) == comparable(straight)


# ---- secrets


@both
async def test_nothing_of_the_client_s_and_of_farthing_s_reaches_the_provider(gate: Running, sdk: str) -> None:
    """The child key, cookies, proxies' headers and every header of Farthing's own stay here; their effect does not."""
    key = await gate.mint(max_spend_usd="1")
    headers = {
        "cookie": f"session={key['secret']}",
        "x-end-user-id": "user-1",
        "x-end-user-cap-usd": "0.5",
        "x-farthing-metadata": '{"team": "a"}',
        "x-farthing-run-id": "run-1",
        "x-farthing-max-cost-usd": "0.5",
        "x-farthing-of-tomorrow": "1",
        "x-forwarded-for": "10.0.0.1",
        "forwarded": "for=10.0.0.1",
        "proxy-authorization": "Basic eDp5",
        "x-api-key": key["secret"],
        "api-key": key["secret"],
        "x-real-ip": "10.0.0.1",
        "referer": f"https://example.com/?key={key['secret']}",
        "te": "trailers",
    }
    watch = Watch(gate)
    async with opened(make_client(sdk, gate.url, key["secret"], Tap(), default_headers=headers)) as client:
        await ask(client)
        await ask(client, stream=True)
    for seen in (await watch.passed()).seen:
        no_secrets(seen, key["secret"])
        assert not {name for name, _ in seen.headers} & (headers.keys() - {"x-api-key"})
        assert MASTER not in str(seen.headers)
    for event in await gate.events(key_id=key["id"]):
        assert (event["end_user"], event["metadata"]) == ("user-1", {"team": "a"})
