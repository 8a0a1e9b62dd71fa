"""Limits and lists by the catalogue: a model is its entry, and what names nothing is refused where it is said."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import Running
from tests.limits.calls import call
from tests.limits.conftest import Clock

CHAT = {"messages": [{"role": "user", "content": "hi"}]}


async def _call(farthing: Running, secret: str, model: str) -> int:
    status, _, _ = await farthing.call(secret, CHAT | {"model": model})
    return status


@pytest.mark.parametrize(
    ("said", "shown", "models"),
    [
        ("gpt-4o", "gpt-4o", ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20", "gpt-4o-2024-05-13"]),
        ("gpt-4o-2024-08-06", "gpt-4o", ["gpt-4o", "gpt-4o-2024-08-06"]),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13", ["gpt-4o-2024-05-13"]),
        ("gpt-4o-mini*", "gpt-4o-mini*", ["gpt-4o-mini", "gpt-4o-mini-2024-07-18"]),
    ],
)
async def test_a_limit_counts_a_model_by_its_entry(timed: Running, said: str, shown: str, models: list[str]) -> None:
    """A budget of a model is not walked round by its aliases and dated ids."""
    limit = {"unit": "requests", "max": len(models), "match": {"model": said}}
    key = await timed.mint(livemode=False, limits=[limit])
    assert key["limits"][0]["match"] == {"model": shown}
    for model in models:
        assert await _call(timed, key["secret"], model) == 200
    for model in models:
        assert await _call(timed, key["secret"], model) == 429
    assert await _call(timed, key["secret"], "gpt-4.1") == 200
    body = {"amount": 1, "unit": "requests", "provider": "openai", "model": models[-1]}
    _, answer = await timed.api("POST", "/v1/check", body, key=key["secret"])
    assert not answer["allowed"]


async def test_allowed_models_are_entries_and_providers_have_aliases(timed: Running) -> None:
    """Who may use a model may use its snapshots at its price, and nothing dearer; a snapshot alone stays alone."""
    team = await timed.mint(
        livemode=False, scope="team", allowed_models=["gpt-4o"], allowed_providers=["gemini", "openai"]
    )
    assert team["allowed_providers"] == ["google", "openai"]
    key = await timed.mint(by=team["secret"], livemode=False, allowed_models=["gpt-4o-2024-08-06"])
    for secret, model, status in (
        (team["secret"], "gpt-4o", 200),
        (team["secret"], "gpt-4o-2024-11-20", 200),
        (team["secret"], "gpt-4o-2024-05-13", 403),
        (team["secret"], "gpt-4o-mini", 403),
        (key["secret"], "gpt-4o-2024-08-06", 200),
        (key["secret"], "gpt-4o", 403),
    ):
        assert await _call(timed, secret, model) == status, model
    status, answer = await timed.api("POST", "/v1/keys", {"allowed_models": ["gpt-4o-2024-05-13"]}, key=team["secret"])
    assert (status, answer["error"]["code"]) == (403, "exceeds_parent")


NOTHING: tuple[tuple[dict[str, Any], str], ...] = (
    ({"limits": [{"unit": "requests", "max": 1, "match": {"provider": "antropic"}}]}, "limits[0].match.provider"),
    ({"limits": [{"unit": "requests", "max": 1, "match": {"model": "gpt-4oo"}}]}, "limits[0].match.model"),
    (
        {
            "limits": [
                {"unit": "requests", "max": 1},
                {"unit": "tokens", "max": 1, "match": {"route": "chat.completion"}},
            ]
        },
        "limits[1].match.route",
    ),
    (
        {"limits": [{"unit": "requests", "max": 1, "match": {"provider": "anthropic", "model": "gpt-4o"}}]},
        "limits[0].match.model",
    ),
    ({"allowed_models": ["gpt-4o", "gpt-fourty"]}, "allowed_models[1]"),
    ({"allowed_providers": ["openai", "opena1"]}, "allowed_providers[1]"),
)


@pytest.mark.parametrize(("fields", "param"), NOTHING)
async def test_what_names_nothing_is_refused_where_it_is_said(
    timed: Running, fields: dict[str, Any], param: str
) -> None:
    """A word that no call can ever match is 400 with the field, on keys, plans and end users, minted and changed."""
    key = await timed.mint(livemode=False)
    status, plan = await timed.api("POST", "/v1/plans", {"name": "p"})
    assert status == 201
    asked = [
        ("POST", "/v1/keys", fields),
        ("PATCH", f"/v1/keys/{key['id']}", fields),
        ("POST", "/v1/plans", fields),
        ("PATCH", f"/v1/plans/{plan['id']}", fields),
    ]
    if "limits" in fields:
        asked.append(("PUT", f"/v1/end_users/ann?key_id={key['id']}", fields))
    for method, path, body in asked:
        status, answer = await timed.api(method, path, body)
        assert (status, answer["error"]["param"]) == (400, param), (method, path, answer)
    assert (await timed.api("GET", f"/v1/end_users/ann?key_id={key['id']}"))[0] == 404


async def test_words_that_may_come_true(timed: Running) -> None:
    """Prefixes stay as they are, aliases of providers are theirs, and who may use unpriced models may name any."""
    limits = [
        {"unit": "requests", "max": 9, "match": {"model": "gpt-9*", "route": "chat.completions"}},
        {"unit": "requests", "max": 9, "match": {"provider": "gemini", "model": "gemini-2.5-flash"}},
        {"unit": "requests", "max": 9, "match": {"route": "reservation"}},
    ]
    key = await timed.mint(livemode=False, limits=limits, allowed_models=["gpt-9*", "claude-*"])
    assert key["limits"][1]["match"]["provider"] == "google"
    own = await timed.mint(livemode=False, unpriced="allow", allowed_models=["my-own"])
    assert await _call(timed, own["secret"], "my-own") == 200
    assert (await timed.api("PATCH", f"/v1/keys/{own['id']}", {"allowed_models": ["my-other"]}))[0] == 200


BAD_BODIES: tuple[tuple[bytes, str | None], ...] = (
    (b"", None),
    (b'{"name":"a","max_spend_usd":"5","max_spend_usd":null}', "max_spend_usd"),
    (b'{"name":"a","limits":[{"unit":"tokens","max":1,"max":9}]}', "max"),
    (b'{"metadata":{"team":"a","Team":"b"}}', "Team"),
    (b'{"metadata":{"a\\u0062":"a","ab":"b"}}', "ab"),
    *(
        (b'{"max_spend_usd":"%b"}' % text.encode(), "max_spend_usd")
        for text in ("5_000", "\uff11\uff12", "1e3", " 5", "5 ", "+5", "-5", "NaN", "Infinity", "0x5", "1,5", "")
    ),
    (b'{"expires_at_ms":1800000000}', "expires_at_ms"),
    (b'{"expires_at_ms":1}', "expires_at_ms"),
)


@pytest.mark.parametrize(("body", "param"), BAD_BODIES)
async def test_a_body_that_can_be_read_in_two_ways_mints_nothing(
    timed: Running, body: bytes, param: str | None
) -> None:
    """No body, a member twice, an amount that only some take for one, an end that is past: 400, never a default."""
    url, headers = f"{timed.url}/v1/keys", {"authorization": "Bearer master-key-of-the-tests-0123456789"}
    async with timed.http.post(url, data=body, headers=headers) as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["code"], error["param"]) == (400, "invalid_request", param), error
    _, keys = await timed.api("GET", "/v1/keys?livemode=true")
    assert keys["data"] == []


async def test_every_change_needs_a_body(timed: Running, clock: Clock) -> None:
    """PATCH, rotate, credits, plans, end users, reservations: without a body nothing is changed."""
    key = await timed.mint(livemode=False, max_spend_usd="5")
    _, made = await timed.api("POST", "/v1/reservations", {"amount": 1}, key=key["secret"])
    for method, path in (
        ("PATCH", f"/v1/keys/{key['id']}"),
        ("POST", f"/v1/keys/{key['id']}/rotate"),
        ("POST", f"/v1/keys/{key['id']}/credits"),
        ("POST", "/v1/plans"),
        ("PUT", f"/v1/end_users/ann?key_id={key['id']}"),
        ("POST", "/v1/reservations"),
        ("POST", f"/v1/reservations/{made['id']}/extend"),
        ("POST", f"/v1/reservations/{made['id']}/commit"),
        ("POST", "/v1/events"),
        ("POST", "/v1/check"),
        ("POST", "/v1/estimate"),
    ):
        status, answer = await timed.api(method, path)
        assert (status, answer["error"]["code"]) == (400, "invalid_request"), (method, path, answer)
    seconds = {"expires_at_ms": clock() // 1000 + 86_400}
    status, answer = await timed.api("PATCH", f"/v1/keys/{key['id']}", seconds)
    assert (status, answer["error"]["param"]) == (400, "expires_at_ms")
    assert (await call(timed, key["secret"]))[0] == 200
