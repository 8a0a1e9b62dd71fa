"""Upstreams that the operator has named, and pools of credentials: a file, real sockets, and what arrives there."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from tests.harness import PROVIDER_KEY, Running, running
from tests.upstream import Upstream

CHAT = {"model": "our-mini", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}
AZURE = """
[[upstream]]
name = "azure"
speaks = "openai"
origin = "{origin}/openai"
auth = "api-key"
credential = "env:AZURE_KEY"
models = {{ "our-mini" = "openai/gpt-4o-mini", "our-large" = "openai/gpt-4o" }}
"""
POOL = """
[[credential]]
provider = "openai"
key = "env:ONE"
[[credential]]
provider = "openai"
key = "env:TWO"
[[credential]]
provider = "openai"
key = "env:THREE"
"""
SECRETS = {"ONE": "sk-pool-one-123456", "TWO": "sk-pool-two-123456", "THREE": "sk-pool-three-123456"}


@asynccontextmanager
async def gateway(tmp_path: Path, text: str, **environment: str) -> AsyncIterator[tuple[Running, Upstream]]:
    """A gateway with this file, whose `{origin}` is another provider's; and that provider."""
    async with Upstream() as elsewhere:
        file = tmp_path / "upstreams.toml"
        file.write_text(text.replace("{origin}", elsewhere.origin("openai")).replace("{{", "{").replace("}}", "}"))
        async with running(tmp_path, FARTHING_UPSTREAMS=str(file), **environment) as farthing:
            yield farthing, elsewhere


async def test_a_named_upstream_is_mounted_and_priced_as_what_its_deployment_is(tmp_path: Path) -> None:
    async with gateway(tmp_path, AZURE, AZURE_KEY="azure-secret-123456") as (farthing, azure):
        key = await farthing.mint(max_spend_usd="1", allowed_models=["gpt-4o-mini"])
        status, headers, body = await farthing.call(key["secret"], CHAT, "/azure/v1/chat/completions")
        assert status == 200, body
        assert headers["x-farthing-upstream"] == "azure"
        (seen,) = azure.requests
        assert (seen.path, seen.json()["model"]) == ("/openai/v1/chat/completions", "our-mini")
        assert (seen.header("api-key"), seen.header("authorization")) == ("azure-secret-123456", None)
        assert not farthing.upstream.requests
        (event,) = await farthing.events()
        assert (event["provider"], event["model"], event["upstream"]) == ("openai", "gpt-4o-mini", "azure")
        usage = json.loads(body)["usage"]
        assert event["cost_picos"] == usage["prompt_tokens"] * 150_000 + usage["completion_tokens"] * 600_000
        status, _, body = await farthing.call(
            key["secret"], CHAT | {"model": "our-large"}, "/azure/v1/chat/completions"
        )
        assert (status, json.loads(body)["error"]["code"]) == (403, "model_not_allowed")
        status, _, body = await farthing.call(key["secret"], CHAT | {"model": "gpt-4o"}, "/azure/v1/chat/completions")
        assert (status, json.loads(body)["error"]["code"]) == (400, "model_not_priced")
        assert "our-mini" in json.loads(body)["error"]["message"]
        async with farthing.http.get(
            f"{farthing.url}/azure/v1/models", headers={"authorization": f"Bearer {key['secret']}"}
        ) as response:
            assert response.status == 403
        assert (await farthing.call(key["secret"], CHAT, "/nowhere/v1/chat/completions"))[0] == 404
        await farthing.audited()


async def test_a_route_leads_to_a_named_upstream_and_back(tmp_path: Path) -> None:
    async with gateway(tmp_path, AZURE, AZURE_KEY="azure-secret-123456") as (farthing, azure):
        targets = [
            {"provider": "openai", "model": "our-mini", "upstream": "azure"},
            {"provider": "openai", "model": "gpt-4o-mini"},
        ]
        status, made = await farthing.api("POST", "/v1/routes", {"name": "smart", "targets": targets})
        assert status == 201, made
        key = await farthing.mint()
        azure.script("status=503")
        for upstream, attempts in (("openai", "2"), ("azure", "1")):
            status, headers, _ = await farthing.call(key["secret"], CHAT | {"model": "smart"})
            assert (status, headers["x-farthing-upstream"], headers["x-farthing-attempts"]) == (200, upstream, attempts)
        assert [each.json()["model"] for each in azure.requests] == ["our-mini", "our-mini"]
        assert [each.header("authorization") for each in farthing.upstream.requests] == [f"Bearer {PROVIDER_KEY}"]
        _, listed = await farthing.api("GET", "/v1/upstreams")
        (shown,) = [each for each in listed["data"] if each["name"] == "azure"]
        assert (shown["state"], [each["model"] for each in shown["models"]]) == ("up", ["our-large", "our-mini"])
        assert "azure-secret" not in json.dumps(listed)
        for target, param in (
            ({"provider": "openai", "model": "nothing", "upstream": "azure"}, "targets[0].model"),
            ({"provider": "mistral", "model": "our-mini", "upstream": "azure"}, "targets[0].provider"),
            ({"provider": "openai", "model": "our-mini", "upstream": "cellar"}, "targets[0].upstream"),
        ):
            status, error = await farthing.api("POST", "/v1/routes", {"name": "other", "targets": [target]})
            assert (status, error["error"]["param"]) == (400, param)
        test = await farthing.mint(livemode=False)
        status, headers, _ = await farthing.call(test["secret"], CHAT | {"model": "smart"})
        assert (status, headers["x-farthing-upstream"]) == (200, "azure")
        assert len(azure.requests) == 2
        await farthing.audited()


async def test_another_s_models_at_an_upstream_that_speaks_openais_chat(tmp_path: Path) -> None:
    """Whoever resells Claude and Gemini in OpenAI's shape is asked at OpenAI's path, and priced as what it serves."""
    text = AZURE.replace('"openai/gpt-4o-mini"', '"anthropic/claude-haiku-4-5"').replace("gpt-4o", "gpt-4o-mini")
    text = text.replace('"openai/gpt-4o-mini"', '"google/gemini-2.5-flash"').replace('"api-key"', '"bearer"')
    async with gateway(tmp_path, text, AZURE_KEY="azure-secret-123456") as (farthing, azure):
        key = await farthing.mint(max_spend_usd="1")
        for name, provider in (("our-mini", "anthropic"), ("our-large", "google")):
            body = CHAT | {"model": name, "stream": True}
            status, _, answer = await farthing.call(key["secret"], body, "/azure/v1/chat/completions")
            assert (status, b"prompt_tokens" in answer) == (200, False), answer
            seen = azure.requests[-1]
            assert (seen.path, seen.json()["model"]) == ("/openai/v1/chat/completions", name)
            assert seen.header("authorization") == "Bearer azure-secret-123456"
            event = (await farthing.events())[0]
            assert (event["provider"], event["upstream"], event["status"]) == (provider, "azure", "settled")
        await farthing.audited()


async def test_messages_of_a_named_upstream_that_speaks_them(tmp_path: Path) -> None:
    text = """
[[upstream]]
name = "bedrock"
speaks = "anthropic"
origin = "{origin}/anthropic"
credential = "env:BEDROCK"
models = {{ "anthropic.claude-sonnet-4-5" = "anthropic/claude-sonnet-4-5" }}
"""
    async with gateway(tmp_path, text, BEDROCK="bedrock-secret-123456") as (farthing, bedrock):
        key = await farthing.mint()
        body = {"model": "anthropic.claude-sonnet-4-5", "max_tokens": 20, "stream": True}
        body["messages"] = CHAT["messages"]  # type: ignore[assignment]
        status, headers, answer = await farthing.call(
            key["secret"], body, "/bedrock/v1/messages", {"anthropic-version": "2023-06-01"}
        )
        assert (status, headers["x-farthing-upstream"]) == (200, "bedrock"), answer
        (seen,) = bedrock.requests
        assert (seen.path, seen.header("authorization")) == ("/anthropic/v1/messages", "Bearer bedrock-secret-123456")
        assert (seen.header("x-api-key"), seen.header("anthropic-version")) == (None, "2023-06-01")
        (event,) = await farthing.events()
        assert (event["model"], event["status"]) == ("claude-sonnet-4-5", "settled")
        # An OpenAI-shaped call is none of its.
        status, _, _ = await farthing.call(
            key["secret"], CHAT | {"model": body["model"]}, "/bedrock/v1/chat/completions"
        )
        assert status == 400


async def test_a_pool_rotates_on_a_rate_limit_and_rests_that_credential_only(tmp_path: Path) -> None:
    async with gateway(tmp_path, POOL, **SECRETS) as (farthing, _):
        key = await farthing.mint()
        body = CHAT | {"model": "gpt-4o-mini"}
        asked = farthing.upstream.requests
        status, headers, _ = await farthing.call(key["secret"], body)
        assert (status, headers["x-farthing-upstream"], headers["x-farthing-attempts"]) == (200, "openai", "1")
        first = asked[0].header("authorization")
        farthing.upstream.script("status=429")
        assert (await farthing.call(key["secret"], body))[1]["x-farthing-attempts"] == "2"
        assert (await farthing.call(key["secret"], body))[1]["x-farthing-attempts"] == "1"
        used = [each.header("authorization") for each in asked]
        assert used[1] == first != used[2] == used[3]
        assert set(used) <= {f"Bearer {secret}" for secret in SECRETS.values()}  # not the environment's own
        farthing.upstream.script("status=401", "status=401")
        status, headers, body_ = await farthing.call(key["secret"], body)
        assert status == 502, body_  # the last two are refused too: the operator's business
        assert b"sk-pool" not in body_
        status, headers, body_ = await farthing.call(key["secret"], body)
        assert (status, int(headers["retry-after"]) <= 60) == (429, True)
        (shown,) = [
            each for each in (await farthing.api("GET", "/v1/upstreams"))[1]["data"] if each["name"] == "openai"
        ]
        assert (shown["state"], len(shown["credentials"])) == ("resting", 3)
        await farthing.audited()


async def test_callers_are_spread_over_a_pool_and_stay(tmp_path: Path) -> None:
    async with gateway(tmp_path, POOL, **SECRETS) as (farthing, _):
        seen: dict[str, set[str | None]] = {}
        for _ in range(24):
            key = await farthing.mint()
            for _ in range(2):
                await farthing.call(key["secret"], CHAT | {"model": "gpt-4o-mini"})
                seen.setdefault(key["id"], set()).add(farthing.upstream.requests[-1].header("authorization"))
        assert all(len(each) == 1 for each in seen.values())
        assert len(set().union(*seen.values())) == 3


async def test_what_a_provider_keeps_is_all_with_one_credential(tmp_path: Path) -> None:
    async with gateway(tmp_path, POOL, **SECRETS) as (farthing, _):
        used = set()
        for _ in range(6):
            key = await farthing.mint()
            kept: dict[str, Any] = {"model": "gpt-4o-mini", "input": "hello", "max_output_tokens": 20}
            status, _, answer = await farthing.call(key["secret"], kept, "/v1/responses")
            assert status == 200, answer
            used.add(farthing.upstream.requests[-1].header("authorization"))
            follows = kept | {"previous_response_id": json.loads(answer)["id"]}
            assert (await farthing.call(key["secret"], follows, "/v1/responses"))[0] == 200
            used.add(farthing.upstream.requests[-1].header("authorization"))
        assert used == {f"Bearer {SECRETS['ONE']}"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[upstream]]\nname = 'x y'\nspeaks='openai'\norigin='https://a.example'\nmodels={a='openai/gpt-4o'}", "name"),
        (
            "[[upstream]]\nname = 'openai'\nspeaks='openai'\norigin='https://a.example'\nmodels={a='openai/gpt-4o'}",
            "own",
        ),
        ("[[upstream]]\nname = 'a'\nspeaks='grpc'\norigin='https://a.example'\nmodels={a='openai/gpt-4o'}", "speaks"),
        ("[[upstream]]\nname = 'a'\nspeaks='openai'\norigin='a.example'\nmodels={a='openai/gpt-4o'}", "origin"),
        ("[[upstream]]\nname = 'a'\nspeaks='openai'\norigin='https://a.example'\nmodels={}", "models"),
        ("[[upstream]]\nname = 'a'\nspeaks='openai'\norigin='https://a.example'\nmodels={a='gpt-4o'}", "models.a"),
        (
            "[[upstream]]\nname = 'a'\nspeaks='openai'\norigin='https://a.example'\nmodels={a='openai/gpt-4o'}\nkey='x'",
            "key",
        ),
        ("[[credential]]\nprovider='openai'\nkey='sk-real-secret'", "variable"),
        ("[[credential]]\nprovider='openai'\nkey='env:NOT_SET'", "NOT_SET is not set"),
        ("[[credential]]\nprovider='nobody'\nkey='env:ONE'", "nobody"),
        (
            "[[credential]]\nprovider='openai'\nkey='env:ONE'\n[[credential]]\nprovider='openai'\nkey='env:ONE'",
            "already",
        ),
        ("[[upstream", "upstreams.toml"),
    ],
)
def test_a_file_that_could_not_work_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "upstreams.toml"
    file.write_text(text)
    with pytest.raises(config.BadSetting, match="FARTHING_UPSTREAMS") as refused:
        config.load({"FARTHING_UPSTREAMS": str(file), "ONE": "sk-one"})
    assert said in str(refused.value)
    assert "sk-real-secret" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(config.BadSetting, match="cannot be read"):
        config.load({"FARTHING_UPSTREAMS": str(tmp_path / "none.toml")})


async def test_the_manuals_places_and_prices_are_taken_and_called(tmp_path: Path) -> None:
    """Every place of `docs/upstreams.md`, moved to a server of ours, with its prices, called by its mount."""
    page = (Path(__file__).parents[3] / "docs" / "upstreams.md").read_text("utf-8")
    places = "\n".join(re.findall(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    (prices,) = re.findall(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "prices.json").write_text(prices)
    variables = {name: f"sk-{name.lower()}-123456" for name in re.findall(r'"env:(\w+)"', places)}
    moved = re.sub(r'origin = "https?://[^/"]+', 'origin = "{origin}', places)
    async with gateway(tmp_path, moved, FARTHING_PRICES=str(tmp_path / "prices.json"), **variables) as (farthing, _):
        key = await farthing.mint(max_spend_usd="1")
        settings = farthing.gateway.settings
        assert len(settings.elsewhere.upstreams) == 7
        for upstream in settings.elsewhere.upstreams.values():
            path = "/v1/chat/completions" if upstream.speaks == "openai" else "/v1/messages"
            for model in upstream.models:
                status, headers, body = await farthing.call(
                    key["secret"], CHAT | {"model": model}, f"/{upstream.name}{path}"
                )
                assert (status, headers["x-farthing-upstream"]) == (200, upstream.name), body
        await farthing.audited()
