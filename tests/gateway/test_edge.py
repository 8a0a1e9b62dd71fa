"""What stands at the door: paths as they may be spelt, and nothing that sends a client elsewhere."""

from __future__ import annotations

import json

import pytest

from tests.harness import MASTER, Running


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
