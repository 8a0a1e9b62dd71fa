"""Browsers: preflights, who may read an answer, and from whose pages a key may be used."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gateway.config import BadSetting
from tests.harness import MASTER, Running, running, settings

PAGE = "https://app.example.com"
CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
ASKED = "authorization,content-type,x-stainless-os,x-stainless-retry-count"
INFERENCE = (
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/audio/speech",
    "/v1beta/models/gemini-2.5-flash:generateContent?key=none",
    "/v1/text-to-speech/id",
    "/deepgram/v1/listen",
    "/nowhere",
    "/v1/me",
)


async def preflight(gate: Running, path: str, origin: str = PAGE) -> tuple[int, dict[str, str]]:
    headers = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": ASKED}
    async with gate.http.options(gate.url + path, headers=headers) as answer:
        await answer.read()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}


@pytest.mark.parametrize("path", INFERENCE)
async def test_a_preflight_is_answered_without_a_key(farthing: Running, path: str) -> None:
    """Whoever asks, for any request that an SDK sends, and nothing is recorded."""
    status, headers = await preflight(farthing, path)
    assert status == 204
    assert headers["access-control-allow-origin"] == "*"
    assert headers["access-control-allow-headers"] == ASKED
    assert {"GET", "POST", "DELETE", "PUT", "PATCH"} <= set(headers["access-control-allow-methods"].split(", "))
    assert "access-control-allow-credentials" not in headers
    assert await farthing.events() == []


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/keys/", "/v1/usage", "/v1/events", "/metrics", "/v1/plans"])
async def test_the_back_office_has_no_pages_elsewhere(farthing: Running, path: str) -> None:
    """Neither its preflights nor its answers name a reader."""
    status, headers = await preflight(farthing, path)
    assert status == 405
    async with farthing.http.get(
        farthing.url + path, headers={"origin": PAGE, "authorization": f"Bearer {MASTER}"}
    ) as answer:
        await answer.read()
        for names in (headers, answer.headers):
            assert not [name for name in names if name.lower().startswith("access-control-")]


async def test_every_answer_and_refusal_can_be_read(farthing: Running) -> None:
    """Full, streamed, above the cap, without a key, at no path, of one's own cap: each exposes what SDKs read."""
    key = await farthing.mint(max_spend_usd="1")
    empty = await farthing.mint(max_spend_usd="0")
    stream = CHAT | {"stream": True}
    for secret, body, path, expected in (
        (key["secret"], CHAT, "/v1/chat/completions", 200),
        (key["secret"], stream, "/v1/chat/completions", 200),
        (empty["secret"], CHAT, "/v1/chat/completions", 402),
        ("none", CHAT, "/v1/chat/completions", 401),
        (key["secret"], b"{", "/v1/chat/completions", 400),
        (key["secret"], CHAT, "/nowhere", 404),
        (key["secret"], CHAT, "/v1/assistants", 403),
    ):
        status, headers, _ = await farthing.call(secret, body, path, {"origin": PAGE})
        assert (status, headers["access-control-allow-origin"]) == (expected, "*"), path
        assert {"x-farthing-request-id", "x-farthing-cost-micros", "x-request-id", "retry-after"} <= set(
            headers["access-control-expose-headers"].split(", ")
        )
    async with farthing.http.get(
        farthing.url + "/v1/me", headers={"origin": PAGE, "authorization": f"Bearer {key['secret']}"}
    ) as answer:
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    _, headers, _ = await farthing.call(key["secret"], CHAT)
    assert not [name for name in headers if name.startswith("access-control-")]


async def test_the_operator_narrows_whose_pages_may_read(tmp_path: Path) -> None:
    """Listed origins are named back, others get no leave and no secret cache."""
    async with running(tmp_path, FARTHING_CORS_ORIGINS=f"{PAGE}, http://localhost:5173") as gate:
        for origin in (PAGE, "http://localhost:5173"):
            status, headers = await preflight(gate, "/v1/chat/completions", origin)
            assert (status, headers["access-control-allow-origin"], headers["vary"]) == (204, origin, "origin")
        _, headers = await preflight(gate, "/v1/chat/completions", "https://evil.example.com")
        assert not [name for name in headers if name.startswith("access-control-")]
        key = await gate.mint(max_spend_usd="1")
        for origin, allowed in ((PAGE, PAGE), ("https://evil.example.com", None)):
            status, headers, _ = await gate.call(key["secret"], CHAT, headers={"origin": origin})
            assert (status, headers.get("access-control-allow-origin"), headers["vary"]) == (200, allowed, "origin")


@pytest.mark.parametrize("text", ["https://a.example.com/", "a.example.com", "https://*.example.com", "https://A.com"])
def test_what_is_no_origin_is_no_setting(tmp_path: Path, text: str) -> None:
    """A path, a bare host, a pattern and capitals would never match."""
    with pytest.raises(BadSetting, match="FARTHING_CORS_ORIGINS"):
        settings(tmp_path, None, FARTHING_CORS_ORIGINS=text)


@contextlib.asynccontextmanager
async def narrowed(gate: Running, **fields: Any) -> AsyncIterator[tuple[dict[str, Any], str]]:
    """A key for one page, and a key under it that says nothing itself."""
    team = await gate.mint(scope="team", max_spend_usd="1", allowed_origins=[PAGE], **fields)
    child = await gate.mint(by=team["secret"], max_spend_usd="1")
    yield team, child["secret"]


async def test_a_key_works_on_its_own_pages_only(farthing: Running) -> None:
    """Other origins are refused, also by what its parent says; who sends none is no page."""
    async with narrowed(farthing) as (team, secret):
        assert team["allowed_origins"] == [PAGE]
        for origin, expected in ((PAGE, 200), ("https://evil.example.com", 403), ("null", 403), ("", 403)):
            status, headers, body = await farthing.call(secret, CHAT, headers={"origin": origin})
            assert status == expected, origin
            if expected == 403:
                assert b"origin_not_allowed" in body
                assert headers["access-control-allow-origin"] == "*"
            status, me = await farthing.api("GET", "/v1/me", key=secret, headers={"origin": origin})
            assert status == expected, me
        assert (await farthing.call(secret, CHAT))[0] == 200
        with pytest.raises(InvalidStatus) as caught:
            await connect(
                f"{farthing.url.replace('http', 'ws')}/v1/listen?model=nova-3",
                additional_headers={"authorization": f"Token {secret}"},
                origin="https://evil.example.com",  # type: ignore[arg-type]
            )
        assert caught.value.response.status_code == 403
        status, _ = await farthing.api("PATCH", f"/v1/keys/{team['id']}", {"allowed_origins": None})
        assert status == 200
        assert (await farthing.call(secret, CHAT, headers={"origin": "https://evil.example.com"}))[0] == 200


async def test_a_child_has_no_pages_that_its_parent_has_not(farthing: Running) -> None:
    """Like models and providers; and what is no origin is refused by name."""
    async with narrowed(farthing) as (team, _):
        for origins, expected in (
            ([PAGE], 201),
            (["https://evil.example.com"], 403),
            ([PAGE + "/"], 400),
            (["x"], 400),
        ):
            status, answer = await farthing.api("POST", "/v1/keys", {"allowed_origins": origins}, key=team["secret"])
            assert status == expected, answer
            if expected != 201:
                assert answer["error"]["param"].startswith("allowed_origins")
