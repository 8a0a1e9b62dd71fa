"""Older Anthropic SDKs, and other clients that still send `x-api-key` with an older version, by their bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from tests.harness import PROVIDER_KEY, Running
from tests.sdk.sides import Watch, answered, no_secrets, normalised

pytestmark = pytest.mark.asyncio(loop_scope="session")

OLD = {"anthropic-version": "2023-06-01", "content-type": "application/json", "user-agent": "Anthropic/Python 0.39.0"}
ASK = {"model": "claude-sonnet-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Say hello"}]}
CALLS: list[tuple[str, str, Any]] = [
    ("POST", "/v1/messages", ASK),
    ("POST", "/v1/messages", ASK | {"stream": True}),
    ("POST", "/v1/messages?beta=true", ASK),
    ("POST", "/v1/messages/count_tokens", {name: ASK[name] for name in ("model", "messages")}),
    ("GET", "/v1/models?limit=2", None),
    ("GET", "/v1/models/claude-sonnet-5-5", None),
]


async def raw(gate: Running, url: str, key: str, method: str, path: str, body: Any) -> tuple[int, bytes, bytes]:
    """One call as an old SDK sends it: status, body sent, body received."""
    sent = b"" if body is None else json.dumps(body, separators=(", ", ": ")).encode()
    headers = OLD | {"x-api-key": key}
    async with gate.http.request(method, url + path, data=sent or None, headers=headers) as response:
        return response.status, sent, await response.read()


@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=[f"{call[1]}-{n}" for n, call in enumerate(CALLS)])
async def test_the_old_credential_and_version_work(
    gate: Running, live_key: str, method: str, path: str, body: Any
) -> None:
    """The answer is the provider's to the byte, the version arrives as sent, and the child key stays here."""
    watch = Watch(gate)
    status, sent, got = await raw(gate, gate.url, live_key, method, path, body)
    assert status == 200
    passed = await watch.passed()
    (seen,), (line,) = passed.seen, passed.lines
    assert (seen.method, seen.path, seen.body) == (method, path, sent)
    assert got == b"".join(answered(seen, line))
    assert seen.header("anthropic-version") == "2023-06-01"
    assert seen.header("user-agent") == "Anthropic/Python 0.39.0"
    no_secrets(seen, live_key)
    _, _, straight = await raw(gate, gate.upstream.url, PROVIDER_KEY, method, path, body)
    assert normalised(got.decode()) == normalised(straight.decode())


async def test_a_header_in_several_lines_arrives_whole(gate: Running, live_key: str) -> None:
    """Beta features named in several header lines all reach the provider, in order."""
    plain = [(name, value) for name, value in OLD.items() if name != "content-type"]
    headers = [*plain, ("x-api-key", live_key), ("anthropic-beta", "one-2026"), ("anthropic-beta", "two, three")]
    async with gate.http.post(gate.url + "/v1/messages", json=ASK, headers=CIMultiDict(headers)) as response:
        assert response.status == 200
    assert gate.upstream.requests[-1].header("anthropic-beta") == "one-2026, two, three"


@pytest.mark.parametrize("livemode", [True, False], ids=["live", "test"])
async def test_refusals_have_anthropic_s_shape(gate: Running, livemode: bool) -> None:
    """402, 401 and 404 are told in the shape that old SDKs parse as well."""
    key = await gate.mint(max_spend_usd="0", livemode=livemode)
    for secret, path, status, kind in (
        (key["secret"], "/v1/messages", 402, "billing_error"),
        ("sk-ant-not-ours", "/v1/messages", 401, "authentication_error"),
        (key["secret"], "/v1/nothing", 404, "not_found_error"),
    ):
        found, _, body = await raw(gate, gate.url, secret, "POST", path, ASK)
        answer = json.loads(body)
        assert (found, answer["type"], answer["error"]["type"]) == (status, "error", kind)
        assert answer["request_id"].startswith("req_")
