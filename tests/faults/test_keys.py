"""F7 and F26: keys that open nothing, keys in the wrong place, and requests that are repeated."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

import pytest

from keys.hashing import SecretHasher
from tests.faults.support import CHAT, MESSAGES, PATHS, Site
from tests.harness import MASTER


async def test_a_key_that_opens_nothing_is_refused_in_one_shape(site: Site) -> None:
    """F7: garbage, truncated, forged and foreign secrets get the same 401, on every route; nothing is forwarded."""
    secret = await site.key()
    forged = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    wrong = (
        *("x", "fk_live_", secret[:-1], secret[1:], secret + "x", secret.swapcase(), forged),
        *(secret.replace("live", "test"), "fk_live_" + "0" * 63, "sk-" + "a" * 48, "Bearer " + secret + "z"),
        *("ключ".encode().decode("latin-1"), "a" * 5000),
    )
    for path in (PATHS["chat"], PATHS["messages"], "/v1/me"):
        shapes = set()
        for key in wrong:
            for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
                method = "GET" if path == "/v1/me" else "POST"
                async with site.farthing.http.request(method, site.url + path, data=b"{}", headers=headers) as answer:
                    body = await answer.read()
                    request_id = answer.headers["x-farthing-request-id"]
                    shapes.add((answer.status, body.replace(request_id.encode(), b"ID")))
        assert len(shapes) == 1, shapes
        assert next(iter(shapes))[0] == 401
    for headers in ({}, {"authorization": "Bearer "}, {"authorization": "Basic dTpw"}, {"authorization": "Bearer"}):
        async with site.farthing.http.post(site.url + PATHS["chat"], json=CHAT, headers=headers) as answer:
            assert answer.status == 401, headers
    assert not site.upstream.requests


async def test_a_key_that_opens_nothing_any_more_says_why(site: Site) -> None:
    """F7: revoked, disabled, expired and ended by rotation, also through the parent; each blocked call is on record."""
    soon = int(time.time() * 1000) + 60_000
    team = await site.mint(scope="team")
    child = await site.mint(by=team["secret"])
    revoked, disabled, expiring, rotated = [await site.mint(expires_at_ms=soon) for _ in range(4)]
    for key in (team, child, revoked, disabled, expiring, rotated):
        site.secrets.add(key["secret"])
        assert (await site.call(key["secret"], CHAT))[1] == 200
    await site.api("DELETE", f"/v1/keys/{revoked['id']}")
    await site.api("PATCH", f"/v1/keys/{disabled['id']}", {"disabled": True})
    assert (await site.api("PATCH", f"/v1/keys/{expiring['id']}", {"expires_at_ms": 1}))[0] == 200
    assert (await site.api("POST", f"/v1/keys/{rotated['id']}/rotate", {}))[0] == 200
    await site.api("PATCH", f"/v1/keys/{team['id']}", {"disabled": True})
    before = len(site.upstream.requests)
    for key, code in (
        (revoked, "key_revoked"),
        (disabled, "key_disabled"),
        (expiring, "key_expired"),
        (rotated, "invalid_key"),
        (team, "key_disabled"),
        (child, "key_disabled"),
    ):
        for path, body in ((PATHS["chat"], CHAT), (PATHS["messages"], MESSAGES)):
            mark, status, _, answer = await site.call(key["secret"], body, path=path)
            assert (status, json.loads(answer)["error"]["code"]) == (401, code), answer
            assert mark
        status, refusal = await site.api("GET", "/v1/me", key=key["secret"])
        assert (status, refusal["error"]["code"]) == (401, code), refusal
    assert len(site.upstream.requests) == before
    blocked = [event for event in await site.events() if event["decision"] == "blocked"]
    assert {event["reason"] for event in blocked} >= {"key_revoked", "key_disabled", "key_expired"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/keys", "/v1/me"])
async def test_a_key_in_a_url_or_two_keys_are_refused(site: Site, path: str) -> None:
    """F7: 400 that says why, even with a good key beside it; the URL stands in no log. Two different keys: 401."""
    secret, other = await site.key(), await site.key()
    for name in ("key", "api_key", "access_token", "token"):
        for headers in ({}, {"authorization": f"Bearer {secret}"}):
            async with site.farthing.http.post(
                f"{site.url}{path}?a=b&{name}={secret}", json=CHAT, headers=headers
            ) as got:
                expected = 405 if path == "/v1/me" else 400
                assert got.status == expected, await got.text()
                assert expected == 405 or "credential_in_url" in await got.text()
    if path == "/v1/me":
        return
    for headers in (
        {"authorization": f"Bearer {secret}", "x-api-key": other},
        {"x-api-key": secret, "api-key": other},
        {"authorization": f"Bearer {secret}", "x-goog-api-key": MASTER},
    ):
        async with site.farthing.http.post(site.url + path, json=CHAT, headers=headers) as got:
            assert got.status == 401
            assert "conflicting_credentials" in await got.text()
    assert not site.upstream.requests


async def test_garbage_keys_cost_no_hash(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """F7: 2,000 of them are turned away by their checksum while a good call is served as ever."""
    hashed = 0
    verify = SecretHasher._verify

    def counted(hasher: SecretHasher, verifier: str, secret: str) -> bool:
        nonlocal hashed
        hashed += 1
        return verify(hasher, verifier, secret)

    monkeypatch.setattr(SecretHasher, "_verify", counted)
    secret = await site.key()
    random_ = random.Random(7)  # noqa: S311 - a corpus, not a secret
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    garbage = ["fk_live_" + "".join(random_.choices(alphabet, k=63)) for _ in range(2000)]

    async def knock(keys: list[str]) -> None:
        for key in keys:
            async with site.farthing.http.post(site.url + PATHS["chat"], data=b"{}", headers={"x-api-key": key}) as got:
                assert got.status == 401

    started = time.monotonic()
    knocking = asyncio.gather(*(knock(garbage[at::16]) for at in range(16)))
    assert (await site.call(secret, CHAT))[1] == 200
    await knocking
    assert time.monotonic() - started < 15
    assert hashed == 2  # the master key that minted, and the good key


async def test_a_repeated_mint_is_one_key(site: Site) -> None:
    """F26: again the same secret, for another body 422; concurrent ones make one key; tenants are apart."""
    once = {"idempotency-key": "k-1"}
    first = await site.api("POST", "/v1/keys", {"name": "a"}, headers=once)
    second = await site.api("POST", "/v1/keys", {"name": "a"}, headers=once)
    assert first == second
    assert first[0] == 201
    site.secrets.add(first[1]["secret"])
    for body in ({"name": "b"}, {}, {"name": "a", "max_spend_usd": 1}):
        status, answer = await site.api("POST", "/v1/keys", body, headers=once)
        assert (status, answer["error"]["code"]) == (422, "idempotency_mismatch")
    answers = await asyncio.gather(
        *(site.api("POST", "/v1/keys", {"name": "c"}, headers={"idempotency-key": "k-2"}) for _ in range(20))
    )
    assert {status for status, _ in answers} <= {201, 409}
    assert len({key["secret"] for status, key in answers if status == 201}) == 1
    teams = [await site.mint(scope="team") for _ in range(2)]
    made: list[Any] = [
        await site.api("POST", "/v1/keys", {"name": "a"}, key=team["secret"], headers=once) for team in teams
    ]
    assert [status for status, _ in made] == [201, 201]
    assert len({key["id"] for _, key in made} | {first[1]["id"]}) == 3
    for _, key in (first, *made, *[answer for answer in answers if answer[0] == 201][:1]):
        assert (await site.call(key["secret"], CHAT))[1] == 200
    assert len((await site.api("GET", "/v1/keys?limit=100"))[1]["data"]) == 6


async def test_a_repeated_mint_never_answers_with_a_secret_that_opens_nothing(site: Site) -> None:
    """F26: what cannot be derived again, because the caller's own secret is another now, is 422."""
    team = await site.mint(scope="team")
    once = {"idempotency-key": "k-1"}
    status, key = await site.api("POST", "/v1/keys", {"name": "a"}, key=team["secret"], headers=once)
    assert status == 201
    _, rotated = await site.api("POST", f"/v1/keys/{team['id']}/rotate", {"overlap_seconds": 60})
    site.secrets |= {team["secret"], key["secret"], rotated["secret"]}
    status, answer = await site.api("POST", "/v1/keys", {"name": "a"}, key=rotated["secret"], headers=once)
    assert (status, answer["error"]["code"]) == (422, "idempotency_mismatch")
    assert await site.api("POST", "/v1/keys", {"name": "a"}, key=team["secret"], headers=once) == (201, key)


async def test_a_repeated_change_is_made_once(site: Site) -> None:
    """F26: rotate, patch and revoke repeat their answer, too."""
    key = await site.mint()
    path = f"/v1/keys/{key['id']}"
    for method, where, body in (
        ("POST", f"{path}/rotate", {"overlap_seconds": 60}),
        ("PATCH", path, {"name": "new"}),
        ("DELETE", path, None),
    ):
        once = {"idempotency-key": f"{method}-1"}
        answers = await asyncio.gather(*(site.api(method, where, body, headers=once) for _ in range(5)))
        assert {status for status, _ in answers} == {200}
        assert all(answer == answers[0] for answer in answers), answers
        status, _ = await site.api(method, where, {"name": "other"}, headers=once)
        assert status in (400, 422)
