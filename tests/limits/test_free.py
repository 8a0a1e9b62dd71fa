"""What costs nothing has a bound of its own for a key that others have: how often, and how much it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp

from gateway.bounds import BROKE_PER_MINUTE
from tests.harness import Running, running
from tests.limits.calls import call
from tests.limits.conftest import Clock


async def _upload(farthing: Running, secret: str, size: int) -> tuple[int, dict[str, Any]]:
    form = aiohttp.FormData()
    form.add_field("purpose", "user_data")
    form.add_field("file", b"x" * size, filename="a.txt", content_type="text/plain")
    headers = {"authorization": f"Bearer {secret}"}
    async with farthing.http.post(f"{farthing.url}/v1/files", data=form, headers=headers) as answer:
        return answer.status, await answer.json()


async def _models(farthing: Running, secret: str) -> int:
    headers = {"authorization": f"Bearer {secret}"}
    async with farthing.http.get(f"{farthing.url}/v1/models", headers=headers) as answer:
        if answer.status == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        return answer.status


async def test_free_operations_have_a_rate(tmp_path: Path, clock: Clock) -> None:
    """A capped key asks for what costs nothing so many times a minute; one without any cap as often as it likes."""
    async with running(tmp_path, clock=clock, FARTHING_FREE_PER_MINUTE="3") as farthing:
        capped = await farthing.mint(livemode=False, max_spend_usd="1")
        free = await farthing.mint(livemode=False)
        assert [await _models(farthing, capped["secret"]) for _ in range(5)] == [200] * 3 + [429] * 2
        assert [await _models(farthing, free["secret"]) for _ in range(5)] == [200] * 5
        assert (await call(farthing, capped["secret"]))[0] == 200
        clock.ms += 20_000
        assert [await _models(farthing, capped["secret"]) for _ in range(2)] == [200, 429]
        blocked = await farthing.events(livemode="false", decision="blocked")
        assert {event["reason"] for event in blocked} == {"rate_limited"}
        await farthing.audited()


async def test_a_key_with_nothing_left_keeps_nothing_and_asks_little(timed: Running, clock: Clock) -> None:
    """Without money left nothing new is kept at a provider, and what costs nothing is had once a second."""
    key = await timed.mint(livemode=False, max_spend_usd="0")
    status, answer = await _upload(timed, key["secret"], 10)
    assert (status, answer["error"]["code"]) == (402, "spend_cap_exceeded")
    statuses = [await _models(timed, key["secret"]) for _ in range(BROKE_PER_MINUTE + 3)]
    assert statuses == [200] * (BROKE_PER_MINUTE + 1) + [429] * 2, "the first shows that nothing is left"
    assert (await timed.api("POST", f"/v1/keys/{key['id']}/credits", {"amount_usd": "1"}))[0] == 200
    clock.ms += 1_000
    assert (await _upload(timed, key["secret"], 10))[0] == 200


async def test_what_a_key_keeps_has_a_bound(tmp_path: Path) -> None:
    """The files that a capped key keeps are so many bytes in all; what it deletes makes room."""
    async with running(tmp_path, FARTHING_FREE_STORAGE_MB="1") as farthing:
        key = await farthing.mint(livemode=False, max_spend_usd="1")
        size = 600_000
        status, made = await _upload(farthing, key["secret"], size)
        assert status == 200, made
        status, answer = await _upload(farthing, key["secret"], size)
        assert (status, answer["error"]["code"]) == (403, "storage_full")
        headers = {"authorization": f"Bearer {key['secret']}"}
        async with farthing.http.delete(f"{farthing.url}/v1/files/{made['id']}", headers=headers) as deleted:
            assert deleted.status == 200
        assert (await _upload(farthing, key["secret"], size))[0] == 200
        other = await farthing.mint(livemode=False)
        for _ in range(2):
            assert (await _upload(farthing, other["secret"], size))[0] == 200
        await farthing.audited()
