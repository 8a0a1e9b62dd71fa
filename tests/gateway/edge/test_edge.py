"""What stands at the door: paths as they may be spelt, and nothing that sends a client elsewhere."""

from __future__ import annotations

import json
import re

import pytest

from gateway.edge.headers import to_client, to_provider
from providers.ground.vendors import VENDORS
from tests.harness import MASTER, PROVIDER_KEY, Running


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/me", "/v1/holds", "/v1/plans", "/healthz", "/readyz", "/v1/events"])
async def test_a_slash_at_the_end_is_served(farthing: Running, path: str) -> None:
    """As the path without it, and never by a redirect: behind TLS that would lead to plain HTTP."""
    for spelt in (path, path + "/"):
        async with farthing.http.get(
            farthing.url + spelt,
            headers={"authorization": f"Bearer {MASTER}", "x-forwarded-proto": "https"},
            allow_redirects=False,
        ) as answer:
            assert answer.status == 200, await answer.text()


async def test_a_key_is_minted_at_a_slash(farthing: Running) -> None:
    """With its body, once; at two slashes there is nothing."""
    status, key = await farthing.api("POST", "/v1/keys/", {"name": "a", "max_spend_usd": "1"})
    assert (status, key["max_spend_micros"]) == (201, 1_000_000)
    status, answer = await farthing.api("PATCH", f"/v1/keys/{key['id']}/", {"max_spend_usd": "2"})
    assert (status, answer["max_spend_micros"]) == (200, 2_000_000)
    for path in ("/v1/keys//", "//v1/keys", "/v1//keys"):
        async with farthing.http.post(
            farthing.url + path, json={}, headers={"authorization": f"Bearer {MASTER}"}, allow_redirects=False
        ) as answered:
            assert answered.status in (403, 404), path
            assert "location" not in answered.headers


async def test_an_end_user_whose_id_ends_in_a_slash_is_another(farthing: Running) -> None:
    """Ids of end users are their owner's, and may hold slashes."""
    key = await farthing.mint(max_spend_usd="1")
    for name in ("a", "a/"):
        path = f"/v1/end_users/{name}?key_id={key['id']}"
        status, person = await farthing.api("PUT", path, {})
        assert status == 200, json.dumps(person)
        assert person["id"] == name


CHAT = {"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    "beside",
    [
        {"authorization": "Bearer "},
        {"authorization": "Bearer"},
        {"authorization": ""},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": "Bearer sk-ant-api03-from-the-environment"},
        {"authorization": "Token 0123456789abcdef"},
        {"api-key": "sk-azure", "xi-api-key": "sk_eleven"},
        {"authorization": "Bearer fk_live_" + "a" * 63},
    ],
)
async def test_what_is_not_ours_is_no_key(farthing: Running, beside: dict[str, str]) -> None:
    """Beside a good one it conflicts with nothing, and nothing of it reaches the provider."""
    key = await farthing.mint(max_spend_usd="1")
    headers = {"authorization": ""} | beside | {"x-api-key": key["secret"]}
    async with farthing.http.post(farthing.url + "/v1/chat/completions", json=CHAT, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
    async with farthing.http.get(farthing.url + "/v1/me", headers=headers) as answer:
        assert (answer.status, (await answer.json())["id"]) == (200, key["id"])
    (seen,) = farthing.upstream.requests
    told = [value for _, value in seen.headers]
    for foreign in beside.values():
        assert not foreign or foreign not in told
    assert seen.header("authorization") == f"Bearer {PROVIDER_KEY}"


async def test_two_keys_of_ours_are_a_conflict(farthing: Running) -> None:
    """Also of one that is revoked, since its owner meant it; the same one twice is one."""
    one, other = [await farthing.mint(max_spend_usd="1") for _ in range(2)]
    for twice in (False, True):
        headers = {"authorization": f"Bearer {one['secret']}", "x-api-key": one["secret"] if twice else other["secret"]}
        async with farthing.http.post(farthing.url + "/v1/chat/completions", json=CHAT, headers=headers) as answer:
            assert answer.status == (200 if twice else 401)
            assert twice or "conflicting_credentials" in await answer.text()


async def test_a_foreign_key_alone_is_an_invalid_one(farthing: Running) -> None:
    """Several of them, too: which of them was meant does not matter."""
    for headers in (
        {"authorization": "Bearer sk-proj-x"},
        {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": "sk-ant-x"},
        {"authorization": "Bearer "},
        {},
    ):
        async with farthing.http.post(farthing.url + "/v1/chat/completions", json=CHAT, headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (401, "invalid_key")


async def test_a_key_in_google_s_url_stands_beside_another_of_google_s(farthing: Running) -> None:
    """`?key=AIza…` from the environment is taken off and conflicts with nothing."""
    key = await farthing.mint(max_spend_usd="1")
    body = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 5}}
    path = "/v1beta/models/gemini-2.5-flash:generateContent?key=AIzaSyFromTheEnvironment&$alt=json;enum-encoding=int"
    status, _, answer = await farthing.call(key["secret"], body, path)
    assert status == 200, answer
    assert farthing.upstream.requests[0].path.partition("?")[2] == "$alt=json;enum-encoding=int"


@pytest.mark.parametrize(
    "name",
    ["api-key", "apikey", "API_KEY", "x-api-key", "xi-api-key", "$key", "%24key", "oauth_token", "Authorization"],
)
async def test_no_credential_in_a_url_goes_on(farthing: Running, name: str) -> None:
    """Whoever's it is: it would stand in logs here, and compete with ours at the provider."""
    key = await farthing.mint(max_spend_usd="1")
    for path in ("/v1/chat/completions", "/v1beta/models"):
        method = "GET" if "models" in path else "POST"
        status, answer = await farthing.api(method, f"{path}?{name}=foreign", CHAT, key=key["secret"])
        assert status == 400, answer
    assert not farthing.upstream.requests


@pytest.mark.parametrize(
    ("path", "model", "told"),
    [
        ("/v1/responses", "gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("/v1/responses", "claude-haiku-4-5", "/v1/messages"),
        ("/v1/messages", "gpt-4o-mini", "/v1/chat/completions"),
        ("/v1/responses", "command-a-03-2025", "/v2/chat"),
    ],
)
async def test_a_model_of_elsewhere_is_told_where(farthing: Running, path: str, model: str, told: str) -> None:
    """It has a price, only not here."""
    key = await farthing.mint(max_spend_usd="1")
    body = CHAT | {"model": model}
    status, _, answer = await farthing.call(
        key["secret"], body | ({"input": "hi"} if "responses" in path else {}), path
    )
    error = json.loads(answer)["error"]
    assert (status, error["code"]) == (400, "model_not_priced")
    assert told in error["message"]


async def test_a_caller_sees_the_models_that_he_may_use(farthing: Running) -> None:
    """In every provider's form of the list, by the names that he would ask for; an unrestricted one sees all."""
    everything = await farthing.mint(livemode=False)
    some = await farthing.mint(livemode=False, allowed_models=["gpt-4o-mini", "claude-haiku-*", "gemini-2.5-flash"])
    for path, member, name in (
        ("/v1/models", "data", "id"),
        ("/anthropic/v1/models", "data", "id"),
        ("/google/v1beta/models", "models", "name"),
    ):
        shown = []
        for key in (everything, some):
            status, answer = await farthing.api("GET", path, key=key["secret"])
            assert status == 200, answer
            shown.append({each[name].removeprefix("models/") for each in answer[member]})
        allowed = {
            id_ for id_ in shown[0] if id_ in ("gpt-4o-mini", "gemini-2.5-flash") or id_.startswith("claude-haiku-")
        }
        assert shown[1] == allowed < shown[0], path
    status, answer = await farthing.api("GET", "/v1/models/gpt-4o", key=some["secret"])
    assert (status, answer["error"]["code"]) == (403, "model_not_allowed")
    assert (await farthing.api("GET", "/v1/models/gpt-4o-mini", key=some["secret"]))[0] == 200


async def test_a_conversation_is_made_shorter_and_counted(farthing: Running) -> None:
    """`/v1/responses/compact` is held and charged by the usage that it states; `/input_tokens` costs nothing."""
    body = {"model": "gpt-5-mini", "input": [{"role": "user", "content": "word " * 200}]}
    for overdraft in ("inflight", "never"):
        key = await farthing.mint(max_spend_usd="1", overdraft=overdraft)
        status, _, answer = await farthing.call(key["secret"], body, "/v1/responses/input_tokens")
        assert (status, json.loads(answer)["object"]) == (200, "response.input_tokens")
        status, headers, answer = await farthing.call(key["secret"], body, "/v1/responses/compact")
        assert (status, json.loads(answer)["object"]) == (200, "response.compaction")
        assert farthing.upstream.requests[-1].body == json.dumps(body).encode()
        usage = json.loads(answer)["usage"]
        charged, free = await farthing.events(key_id=key["id"])
        assert (free["route"], free["status"], free["cost_micros"]) == ("responses.input_tokens", "settled", 0)
        assert (charged["route"], charged["status"]) == ("responses.compact", "settled")
        counted = charged["usage"]
        assert (counted["input_tokens"], counted["output_tokens"]) == (usage["input_tokens"], usage["output_tokens"])
        assert charged["cost_picos"] == usage["input_tokens"] * 250_000 + usage["output_tokens"] * 2_000_000
        assert int(headers["x-farthing-held-micros"]) >= (4096 if overdraft == "inflight" else 128_000) * 2
    poor = await farthing.mint(max_spend_usd="0.2", overdraft="never", on_insufficient="clamp")
    status, _, answer = await farthing.call(poor["secret"], body, "/v1/responses/compact")
    assert (status, json.loads(answer)["error"]["code"]) == (402, "spend_cap_exceeded")


async def test_what_is_counted_is_the_caller_s_own(farthing: Running) -> None:
    """Neither of them reads another tenant's stored answer."""
    one, other = [await farthing.mint(max_spend_usd="1") for _ in range(2)]
    _, _, answer = await farthing.call(one["secret"], {"model": "gpt-5-mini", "input": "hi"}, "/v1/responses")
    body = {"model": "gpt-5-mini", "input": "hi", "previous_response_id": json.loads(answer)["id"]}
    for path in ("/v1/responses/compact", "/v1/responses/input_tokens"):
        assert (await farthing.call(other["secret"], body, path))[0] == 400
        assert (await farthing.call(one["secret"], body, path))[0] == 200


async def test_a_stream_is_not_buffered_on_its_way(farthing: Running) -> None:
    """`X-Accel-Buffering: no` on what comes piece by piece, and on nothing else."""
    key = await farthing.mint(max_spend_usd="1")
    for body, expected in ((CHAT | {"stream": True}, "no"), (CHAT, None)):
        _, headers, _ = await farthing.call(key["secret"], body)
        assert headers.get("x-accel-buffering") == expected


OPERATORS = re.compile(
    r"organi[sz]ation|project|workspace|ratelimit|-limit|concurrent|account|(^|-)(uid|org|gid)($|-)", re.I
)


def test_no_list_of_fields_names_the_operator_s_account() -> None:
    """Neither what is forwarded picks an account, nor what comes back tells of one, or of limits shared by all."""
    for vendor in VENDORS.values():
        for name in (*vendor.passes, *vendor.returns):
            assert not OPERATORS.search(name), (vendor.name, name)
            assert not name.endswith("*") or name in ("x-stainless-*", "x-fern-*"), (vendor.name, name)


async def test_what_tells_of_the_operator_stays_here(farthing: Running) -> None:
    """In both directions, whatever a client or the provider sends."""
    sent = (
        "openai-organization openai-project x-dashscope-workspace x-dashscope-async x-goog-user-project x-grok-org "
        "anthropic-workspace-id x-deepgram-project msh-project-id x-amz-target"
    )
    returned = (
        "openai-organization openai-project anthropic-organization-id x-ratelimit-limit-requests set-cookie server "
        "X-RateLimit-Remaining-Tokens anthropic-ratelimit-requests-limit anthropic-priority-input-tokens-limit msh-uid "
        "msh-org-id dg-project-id current-concurrent-requests x-endpoint-monthly-call-limit x-dashscope-uid cf-ray "
        "x-trial-endpoint-call-remaining ratelimit-limit"
    )
    raw = [(name.encode(), b"v") for name in sent.split()]
    answered = [(name, "v") for name in returned.split()]
    for vendor in VENDORS.values():
        names = set(to_provider(raw, vendor, "secret")) - {name for name, _ in vendor.headers}
        assert names <= {"accept-encoding", "via", vendor.key_header, "content-type"}, vendor.name
        assert to_client(answered, vendor) == [], vendor.name
    key = await farthing.mint(max_spend_usd="1")
    _, headers, _ = await farthing.call(key["secret"], CHAT)
    assert not [name for name in headers if OPERATORS.search(name)]
    assert headers["openai-processing-ms"]
