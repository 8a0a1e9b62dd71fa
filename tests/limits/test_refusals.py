"""Who is refused for ever fills no disk, and opens nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ledger.refusals import BURST
from tests.harness import Running

CALLS = BURST + 300
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


def _count(tmp_path: Path, table: str) -> int:
    connection = sqlite3.connect(tmp_path / "farthing.db")
    try:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - a constant
    finally:
        connection.close()
    return int(found)


@pytest.mark.parametrize("why", ["cap", "call cap", "user cap", "model", "revoked"])
async def test_a_flood_of_refused_calls(gateway: Running, tmp_path: Path, why: str) -> None:
    """Hundreds of refused calls, each of another end user, run and model: no account is opened, `blocked` is right."""
    fields: dict[str, Any] = {
        "cap": {"max_spend_micros": 0},
        "model": {"allowed_models": ["gpt-4o"]},
    }.get(why, {})
    key = await gateway.mint(livemode=False, **fields)
    if why == "revoked":
        await gateway.api("DELETE", f"/v1/keys/{key['id']}")
    accounts = _count(tmp_path, "accounts")
    caps = {"call cap": {"x-farthing-max-cost-usd": "0"}, "user cap": {"x-end-user-cap-usd": "0"}}.get(why, {})

    async def flood(number: int) -> None:
        for at in range(number, CALLS, 20):
            model = {"model": f"none-{at}"} if why == "model" else {}
            headers = {"x-end-user-id": f"user-{at}", "x-farthing-run-id": f"run-{at}", "x-farthing-metadata": LARGE}
            status, _, body = await gateway.call(key["secret"], CHAT | model, headers=headers | caps)
            assert status in (401, 402, 403), body

    await asyncio.gather(*map(flood, range(20)))
    await gateway.quiet()
    _, bill = await gateway.api("GET", "/v1/usage?from_ms=0&to_ms=9999999999999&livemode=false")
    assert bill["by_key"][0]["blocked"] == CALLS
    assert _count(tmp_path, "accounts") == accounts
    assert BURST <= _count(tmp_path, "events") <= BURST + 20 + 2, "calls at the same time may be written, too"
    events = await gateway.events(livemode="false")
    assert events[0]["count"] == CALLS - _count(tmp_path, "events") + 1
    assert {str(event["metadata"]) for event in events} == {"{}"}


async def test_a_refused_reservation_opens_no_end_user(gateway: Running, tmp_path: Path) -> None:
    """An end user is opened with the first reservation that is allowed, and not before."""
    key = await gateway.mint(livemode=False, max_spend_micros=10)
    accounts = _count(tmp_path, "accounts")
    for amount, opened in ((11, 0), (11, 0), (10, 1)):
        body = {"amount": amount, "subject": {"end_user": "ann"}}
        status, answer = await gateway.api("POST", "/v1/reservations", body, key=key["secret"])
        assert (status, answer["allowed"]) == ((201, True) if opened else (200, False))
        assert _count(tmp_path, "accounts") == accounts + opened
    assert len(await gateway.events(livemode="false", decision="blocked")) == 2


LARGE = '{"note":"' + "x" * 500 + '"}'
