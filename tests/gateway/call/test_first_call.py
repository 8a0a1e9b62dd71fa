"""The main job, once through: mint, call, stream, cap, bill, revoke."""

from __future__ import annotations

import json

import pytest

from tests.harness import Running

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(params=["lean", "aiohttp"])
def upstream_client(request: pytest.FixtureRequest) -> str:
    """Both clients keep what is promised here."""
    return str(request.param)


async def test_the_main_job(farthing: Running) -> None:
    """A minted key calls, streams, is billed what arithmetic says, and is refused after its revocation."""
    key = await farthing.mint(name="alice", max_spend_usd="0.01")
    status, headers, body = await farthing.call(key["secret"], CHAT)
    assert status == 200, body
    answer = json.loads(body)
    cost = answer["usage"]["prompt_tokens"] * 150_000 + answer["usage"]["completion_tokens"] * 600_000
    assert int(headers["x-farthing-cost-micros"]) == round(cost / 10**6)

    status, _, body = await farthing.call(key["secret"], CHAT | {"stream": True})
    assert status == 200
    assert body.endswith(b"data: [DONE]\n\n")
    assert b'"choices":[]' not in body

    (second, first) = await farthing.events()
    assert first["cost_picos"] == second["cost_picos"] == cost
    assert second["status"] == "settled"

    status, _, body = await farthing.call(key["secret"], CHAT | {"max_tokens": 4000, "model": "gpt-4o"})
    assert status == 402
    assert json.loads(body)["error"]["code"] == "spend_cap_exceeded"
    assert len(farthing.upstream.requests) == 2

    _, bill = await farthing.api("GET", "/v1/usage?from_ms=0")
    assert bill["cost_micros"] == bill["by_key"][0]["cost_micros"] == 2 * cost // 10**6
    assert (bill["requests"], bill["by_key"][0]["blocked"]) == (2, 1)

    assert (await farthing.api("DELETE", f"/v1/keys/{key['id']}"))[0] == 200
    status, _, body = await farthing.call(key["secret"], CHAT)
    assert (status, json.loads(body)["error"]["code"]) == (401, "key_revoked")
    assert (await farthing.audited()).events == 4
