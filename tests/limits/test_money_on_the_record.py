"""Credits, and the holds that nobody settled: what an operator does about money is an event beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keys.ids import new_body
from ledger.ledger import Ledger
from ledger.records import Ask, Facts, Held
from tests.harness import Running, running
from tests.limits.calls import call, chat
from tests.limits.conftest import Clock


async def _remaining(farthing: Running, key: dict[str, Any]) -> int:
    await farthing.quiet()
    _, me = await farthing.api("GET", "/v1/me", key=key["secret"])
    return int(me["remaining_micros"])


async def test_credits(timed: Running, clock: Clock) -> None:
    """A top-up raises the cap for good, a temporary one until its end; both are events with amount and reason."""
    key = await timed.mint(livemode=False, max_spend_micros=5)
    path = f"/v1/keys/{key['id']}/credits"
    assert (await call(timed, key["secret"]))[0] == 402
    status, raised = await timed.api("POST", path, {"amount_usd": "0.0005", "reason": "invoice 17"})
    assert (status, raised["max_spend_micros"]) == (200, 505)
    assert (await call(timed, key["secret"]))[0] == 200
    end = clock() + 60_000
    body = {"amount_micros": 10_000, "reason": "goodwill", "expires_at_ms": end}
    once = {"idempotency-key": "twice"}
    for _ in range(2):
        status, raised = await timed.api("POST", path, body, headers=once)
        assert (status, raised["max_spend_micros"]) == (200, 10_505), "the same Idempotency-Key raises once"
    assert (await call(timed, key["secret"], chat(10_000)))[0] == 200
    _, patched = await timed.api("PATCH", f"/v1/keys/{key['id']}", {"reset": "day"})
    assert patched["max_spend_micros"] == 10_505
    clock.ms = end
    _, me = await timed.api("GET", "/v1/me", key=key["secret"])
    assert me["max_spend_micros"] == 505, "a temporary raise ends, whatever was changed meanwhile"
    events = await timed.events(livemode="false", mode="adjustment")
    assert [(event["reason"], event["metadata"]) for event in events] == [
        ("credit", {"amount_micros": "10000", "reason": "goodwill", "until_ms": str(end)}),
        ("credit", {"amount_micros": "500", "reason": "invoice 17"}),
    ]
    assert {(event["cost_micros"], event["price_micros"]) for event in events} == {(0, 0)}
    _, usage = await timed.api("GET", f"/v1/usage?from_ms=0&livemode=false&to_ms={clock() + 1}")
    assert usage["requests"] == 2, "a credit is no call"
    for wrong, code in (
        ({"amount_usd": 0}, 400),
        ({"amount_usd": "-1"}, 400),
        ({}, 400),
        ({"amount_usd": "1e-9"}, 400),
    ):
        assert (await timed.api("POST", path, wrong))[0] == code
    past = {"amount_usd": 1, "expires_at_ms": clock()}
    assert (await timed.api("POST", path, past))[0] == 400
    team = await timed.mint(livemode=False, scope="team", max_spend_usd="1")
    child = await timed.mint(by=team["secret"], livemode=False, max_spend_usd="0.9")
    path = f"/v1/keys/{child['id']}/credits"
    status, body = await timed.api("POST", path, {"amount_usd": "0.2"}, key=team["secret"])
    assert (status, body["error"]["code"], body["error"]["param"]) == (403, "exceeds_parent", "amount_usd")
    assert (await timed.api("POST", path, {"amount_usd": "0.1"}, key=team["secret"]))[0] == 200


async def test_prepaid_and_monthly_together(timed: Running, clock: Clock) -> None:
    """A balance without reset and a monthly limit bind together; a top-up fills the one, a new month the other."""
    monthly = {"unit": "micros", "max": 60, "window": "month"}
    key = await timed.mint(livemode=False, max_spend_micros=100, limits=[monthly])

    async def drain() -> tuple[int, str]:
        while True:
            status, _, body = await call(timed, key["secret"])
            await timed.quiet()
            if status != 200:
                return status, body["error"]["farthing"]["cap_id"]

    cap_id, monthly_id = (limit["id"] for limit in key["limits"])
    assert await drain() == (402, monthly_id)
    first = await _remaining(timed, key)
    assert 0 <= first < 20, "what remains is the least of both"
    clock.set("2026-04-01T00:00:00")
    assert await drain() == (402, cap_id)
    await timed.api("POST", f"/v1/keys/{key['id']}/credits", {"amount_micros": 1_000, "reason": "top-up"})
    assert await drain() == (402, monthly_id)
    clock.set("2026-05-01T00:00:00")
    assert (await call(timed, key["secret"]))[0] == 200


async def _abandon(tmp_path: Path, account_id: int, micros: int) -> str:
    """What a process that is killed leaves behind: a durable hold that nobody will settle."""
    ledger = await Ledger.open(
        f"sqlite:///{tmp_path}/farthing.db", clock_ms=lambda: 1_773_224_430_000, owner="dead", serving=False
    )
    try:
        ask = Ask(
            id=new_body(1_773_224_430_000),
            account_id=account_id,
            facts=Facts(provider="openai", model="gpt-4o"),
            owner="dead",
            fixed_picos=micros * 10**6,
        )
        assert isinstance(await ledger.calls.hold(ask), Held)
        return ask.id
    finally:
        await ledger.close()


async def _prepared(tmp_path: Path, *micros: int) -> tuple[dict[str, Any], list[str]]:
    async with running(tmp_path) as farthing:
        team = await farthing.mint(livemode=False, scope="team", max_spend_micros=1_000)
        key = await farthing.mint(by=team["secret"], livemode=False, max_spend_micros=1_000)
        account = await farthing.gateway.ledger.accounts.get(1, key["id"])
    return key | {"team": team}, [await _abandon(tmp_path, account.id, each) for each in micros]


@pytest.mark.parametrize("action", ["charge", "part", "release"])
async def test_an_operator_resolves_an_unsettled_hold(tmp_path: Path, action: str) -> None:
    """A lost hold stays counted and listed until it is charged or released, once; the first event is never edited."""
    key, (lost,) = await _prepared(tmp_path, 400)
    async with running(tmp_path) as farthing:
        for secret in (key["secret"], key["team"]["secret"]):
            _, me = await farthing.api("GET", "/v1/me", key=secret)
            assert (me["unsettled_micros"], me["spent_micros"], me["remaining_micros"]) == (400, 0, 600)
        _, holds = await farthing.api("GET", "/v1/holds?state=unsettled")
        (hold,) = holds["data"]
        assert (hold["id"], hold["amount"], hold["state"], hold["key_id"]) == (
            f"hold_{lost}",
            400,
            "unsettled",
            key["id"],
        )
        (before,) = await farthing.events(livemode="false")
        assert (before["status"], before["cost_micros"], before["held_micros"]) == ("unsettled", 0, 400)

        path = f"/v1/holds/hold_{lost}/resolve"
        status, _ = await farthing.api("POST", path, {"action": "release"}, key=key["team"]["secret"])
        assert status == 403, "who is bound by a cap does not write off what counts against it"
        assert (await farthing.api("POST", path, {"action": "keep"}))[0] == 200
        assert await _remaining(farthing, key) == 600
        word: dict[str, Any] = {"action": "release"} if action == "release" else {"action": "charge"}
        charged = {"charge": 400, "part": 150, "release": 0}[action]
        if action == "part":
            word["cost_micros"] = charged
        status, resolved = await farthing.api("POST", path, word)
        assert (status, resolved["mode"], resolved["cost_micros"]) == (200, "adjustment", charged)
        assert resolved["metadata"]["adjusts"] == before["id"]
        for other in ({"action": "charge"}, {"action": "release"}, {"action": "keep"}):
            status, again = await farthing.api("POST", path, other)
            assert (status, again) == (200, resolved), "the second word is answered with the first"
        assert await _remaining(farthing, key) == 1_000 - charged
        (adjustment, first) = await farthing.events(livemode="false")
        assert (first, adjustment) == (before, resolved)
        _, usage = await farthing.api("GET", f"/v1/usage?from_ms=0&to_ms={10**14}&livemode=false")
        assert (usage["cost_micros"], usage["requests"]) == (charged, 1)
        assert (await farthing.audited()).unsettled_holds == 0


@pytest.mark.parametrize(("policy", "charged", "unsettled"), [("keep", 0, 2), ("charge", 700, 0), ("release", 0, 0)])
async def test_a_policy_resolves_them_at_the_start(tmp_path: Path, policy: str, charged: int, unsettled: int) -> None:
    """`FARTHING_UNSETTLED` says what becomes of the holds that a dead process left."""
    key, _ = await _prepared(tmp_path, 400, 300)
    async with running(tmp_path, FARTHING_UNSETTLED=policy) as farthing:
        _, me = await farthing.api("GET", "/v1/me", key=key["secret"])
        assert (me["spent_micros"], me["unsettled_micros"]) == (charged, 700 if unsettled else 0)
        assert (await farthing.audited()).unsettled_holds == unsettled
        adjustments = await farthing.events(livemode="false", mode="adjustment")
        assert [event["reason"] for event in adjustments] == ([] if policy == "keep" else [f"resolved:{policy}"] * 2)
        assert (await call(farthing, key["secret"], chat(1)))[0] == 200
        await farthing.audited()
