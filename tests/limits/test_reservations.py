"""Limits for callers who call the provider themselves: reserve, commit, release, extend, and the end of waiting."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.harness import MASTER, Running, running
from tests.limits.calls import call
from tests.limits.conftest import Clock


async def _reserve(farthing: Running, secret: str, amount: int, unit: str = "tokens", **more: Any) -> dict[str, Any]:
    body = {"amount": amount, "unit": unit} | more
    status, answer = await farthing.api("POST", "/v1/reservations", body, key=secret)
    assert status == (201 if answer["allowed"] else 200), answer
    return dict(answer)


async def _say(farthing: Running, secret: str, reservation: dict[str, Any], word: str) -> tuple[int, Any]:
    body = {"commit": {"actual": 300}, "release": None, "extend": {"ttl_seconds": 60}}[word]
    return await farthing.api("POST", f"/v1/reservations/{reservation['id']}/{word}", body, key=secret)


async def _left(farthing: Running, secret: str) -> int:
    _, me = await farthing.api("GET", "/v1/me", key=secret)
    return int(me["limits"][0]["remaining"])


async def test_two_at_once_on_the_last_four_thousand_tokens(gateway: Running) -> None:
    """Of parallel reservations on what is left, as many are allowed as there is room for, and the rest is told why."""
    key = await gateway.mint(livemode=False, limits=[{"unit": "tokens", "max": 4_000, "window": "month"}])
    answers = await asyncio.gather(*(_reserve(gateway, key["secret"], 2_500) for _ in range(2)))
    allowed, refused = sorted(answers, key=lambda answer: not answer["allowed"])
    assert (allowed["remaining"], allowed["reasons"]) == (1_500, [])
    assert (refused["allowed"], refused["id"], refused["remaining"]) == (False, None, 1_500)
    (reason,) = refused["reasons"]
    assert (reason["code"], reason["unit"], reason["required"], reason["remaining"]) == (
        "rate_limited",
        "tokens",
        2_500,
        1_500,
    )
    exact = await asyncio.gather(*(_reserve(gateway, key["secret"], 500) for _ in range(5)))
    assert sum(answer["allowed"] for answer in exact) == 3
    assert await _left(gateway, key["secret"]) == 0


@pytest.mark.parametrize("unit", ["micros", "tokens", "requests", "seconds"])
async def test_commit_charges_what_was_used(timed: Running, unit: str) -> None:
    """A commit below the reserved gives back the rest; an operator's above is charged whole and flagged."""
    for actual in (0, 400, 1_000, 1_700):
        key = await timed.mint(livemode=False, limits=[{"unit": unit, "max": 2_000}])
        made = await _reserve(timed, key["secret"], 1_000, unit, metadata={"job": "7"})
        assert (made["remaining"], await _left(timed, key["secret"])) == (1_000, 1_000)
        path = f"/v1/reservations/{made['id']}/commit"
        if actual > 1_000:
            status, refused = await timed.api("POST", path, {"actual": actual}, key=key["secret"])
            error = refused["error"]
            assert (status, error["code"], error["param"]) == (422, "exceeds_reservation", "actual")
        by = MASTER if actual > 1_000 else key["secret"]
        status, ended = await timed.api("POST", path, {"actual": actual}, key=by)
        assert (status, ended["state"], ended["actual"], ended["amount"]) == (200, "committed", actual, 1_000)
        assert await _left(timed, key["secret"]) == 2_000 - actual
        assert ("over_reserved" in ended["flags"]) == (actual > 1_000)
        (event,) = await timed.events(livemode="false", mode="reservation", key_id=key["id"])
        assert (event["id"], event["status"], event["metadata"]) == (ended["event_id"], "settled", {"job": "7"})
        assert event["cost_micros"] == (actual if unit == "micros" else 0)


@pytest.mark.parametrize("parallel", [False, True])
async def test_exactly_one_end(timed: Running, parallel: bool) -> None:
    """The first of commit and release ends a reservation; whatever is said later is answered with that."""
    orders = [*itertools.permutations(["commit", "release", "extend"]), ("commit",) * 2, ("release",) * 2]
    for words in orders:
        key = await timed.mint(livemode=False, limits=[{"unit": "tokens", "max": 1_000}])
        made = await _reserve(timed, key["secret"], 1_000)
        said = [_say(timed, key["secret"], made, word) for word in words]
        answers = await asyncio.gather(*said) if parallel else [await each for each in said]
        assert {status for status, _ in answers} == {200}
        ends = [answer for _, answer in answers if answer["state"] != "open"]
        assert all(end == ends[0] for end in ends)
        if not parallel:
            first = next(word for word in words if word != "extend")
            assert ends[0]["state"] == ("committed" if first == "commit" else "released")
        assert await _left(timed, key["secret"]) == (700 if ends[0]["state"] == "committed" else 1_000)
        assert len(await timed.events(livemode="false", mode="reservation", key_id=key["id"])) == 1


async def test_what_is_not_ended_in_time_goes_back(timed: Running, clock: Clock) -> None:
    """After `ttl_seconds` a reservation goes back by itself and every word answers 422; `extend` counts from now."""
    key = await timed.mint(livemode=False, limits=[{"unit": "tokens", "max": 1_000}])
    short, long = await _reserve(timed, key["secret"], 400), await _reserve(timed, key["secret"], 600)
    assert short["expires_at_ms"] == clock() + 60_000
    clock.ms += 50_000
    status, extended = await _say(timed, key["secret"], long, "extend")
    assert (status, extended["expires_at_ms"]) == (200, clock() + 60_000)
    clock.ms += 10_000
    for word in ("commit", "release", "extend"):
        status, body = await _say(timed, key["secret"], short, word)
        assert (status, body["error"]["code"]) == (422, "reservation_expired")
    assert await _left(timed, key["secret"]) == 400
    assert (await _say(timed, key["secret"], long, "commit"))[0] == 200
    (event,) = [event for event in await timed.events(livemode="false") if event["reason"] == "expired"]
    assert (event["status"], event["cost_micros"]) == ("released", 0)
    swept = await _reserve(timed, key["secret"], 700, ttl_seconds=1)
    assert swept["allowed"]
    clock.ms += 1_000
    async with asyncio.timeout(5):
        while await _left(timed, key["secret"]) < 700:  # noqa: ASYNC110 - nobody asks for it: the sweep finds it
            await asyncio.sleep(0.05)
    for wrong in (0, -1, 10**9):
        body = {"amount": 1, "ttl_seconds": wrong}
        status, answer = await timed.api("POST", "/v1/reservations", body, key=key["secret"])
        assert (status, answer["error"]["param"]) == (400, "ttl_seconds")


async def test_an_extension_beats_the_sweep_that_saw_it_expired(timed: Running, clock: Clock) -> None:
    """A reservation that was prolonged while its end was being written lives on."""
    key = await timed.mint(livemode=False, limits=[{"unit": "tokens", "max": 1_000}])
    made = await _reserve(timed, key["secret"], 1_000, ttl_seconds=10)
    clock.ms += 9_999
    extending = asyncio.create_task(_say(timed, key["secret"], made, "extend"))
    await asyncio.sleep(0)
    clock.ms += 1
    await timed.gateway.ledger.tending.expire()
    status, answer = await extending
    await timed.quiet()
    left = await _left(timed, key["secret"])
    assert (status, left) in ((200, 0), (422, 1_000)), answer


async def test_strict_and_subjects(timed: Running) -> None:
    """`strict` answers 402 or 429; a reservation is for oneself or, by a team, for a key under it; nobody else's."""
    team = await timed.mint(livemode=False, scope="team")
    key = await timed.mint(by=team["secret"], livemode=False, max_spend_micros=100)
    other = await timed.mint(livemode=False, scope="team")
    status, body = await timed.api("POST", "/v1/reservations?strict=true", {"amount": 101}, key=key["secret"])
    assert (status, body["error"]["code"]) == (402, "spend_cap_exceeded")
    assert body["error"]["farthing"]["required_micros"] == 101
    made = await _reserve(timed, team["secret"], 100, "micros", subject={"key_id": key["id"], "end_user": "ann"})
    assert made["allowed"]
    for word in ("commit", "release", "extend"):
        status, body = await _say(timed, other["secret"], made, word)
        assert (status, body["error"]["code"]) == (404, "not_found")
    about = {"amount": 1, "subject": {"key_id": key["id"]}}
    assert (await timed.api("POST", "/v1/reservations", about, key=other["secret"]))[0] == 404
    assert (await timed.api("POST", "/v1/check", about, key=other["secret"]))[0] == 404
    sibling = await timed.mint(by=team["secret"], livemode=False)
    ingest = await timed.mint(by=team["secret"], livemode=False, scope="ingest")
    for caller in (sibling, ingest):
        assert (await timed.api("POST", "/v1/reservations", about, key=caller["secret"]))[0] == 403
    assert (await call(timed, key["secret"]))[0] == 402, "what is reserved is not there for calls"
    _, holds = await timed.api("GET", "/v1/holds", key=team["secret"])
    (hold,) = holds["data"]
    assert (hold["key_id"], hold["unit"], hold["amount"], hold["state"]) == (key["id"], "micros", 100, "open")
    assert hold["expires_at_ms"] == made["expires_at_ms"]
    assert (await _say(timed, team["secret"], made, "release"))[0] == 200
    assert (await call(timed, key["secret"]))[0] == 200


async def test_a_restart_keeps_them(tmp_path: Path) -> None:
    """A reservation outlives the process: it is not unsettled, and is committed with the next one."""
    async with running(tmp_path) as farthing:
        key = await farthing.mint(livemode=False, limits=[{"unit": "tokens", "max": 1_000}])
        made = await _reserve(farthing, key["secret"], 600)
    async with running(tmp_path) as farthing:
        assert await _left(farthing, key["secret"]) == 400
        assert (await farthing.audited()).unsettled_holds == 0
        status, ended = await _say(farthing, key["secret"], made, "commit")
        assert (status, ended["state"]) == (200, "committed")
        assert await _left(farthing, key["secret"]) == 700
        await farthing.audited()


async def test_looking_changes_nothing(timed: Running) -> None:
    """`check` and `estimate` answer as the real thing would and leave no hold, event, counter or end user behind."""
    limits = [{"unit": "tokens", "max": 10, "per": "end_user"}, {"unit": "tokens", "max": 1_000}]
    key = await timed.mint(livemode=False, limits=limits)
    for amount, end_user, allowed in ((10, "ann", True), (11, "ann", False), (1_000, None, True), (1_001, None, False)):
        body = {"amount": amount, "unit": "tokens", "subject": {"end_user": end_user}}
        status, answer = await timed.api("POST", "/v1/check", body, key=key["secret"])
        assert (status, answer["allowed"], len(answer["reasons"])) == (200, allowed, not allowed), answer
        real = await _reserve(timed, key["secret"], amount, subject={"end_user": f"{end_user}2"} if end_user else {})
        assert (real["allowed"], real["remaining"]) == (answer["allowed"], answer["remaining"])
        if allowed:
            await _say(timed, key["secret"], real, "release")
    usage = {"input_tokens": 1_000, "output_tokens": 100, "cache_read_tokens": 500}
    body = {"provider": "openai", "model": "gpt-4o-mini", "usage": usage}
    _, answer = await timed.api("POST", "/v1/estimate", body, key=key["secret"])
    assert answer["cost_picos"] == 500 * 150_000 + 500 * 75_000 + 100 * 600_000
    assert answer["cost_micros"] == -(-answer["cost_picos"] // 10**6)
    status, answer = await timed.api("POST", "/v1/estimate", body | {"model": "nothing"}, key=key["secret"])
    assert (status, answer["error"]["code"]) == (400, "model_not_priced")
    for count in (-1, 2**63, 1.5):
        wrong = body | {"usage": {"output_tokens": count}}
        status, answer = await timed.api("POST", "/v1/estimate", wrong, key=key["secret"])
        assert (status, answer["error"]["param"]) == (400, "usage.output_tokens")
    assert (await timed.api("GET", f"/v1/end_users/ann?key_id={key['id']}"))[0] == 404
    _, holds = await timed.api("GET", "/v1/holds")
    assert holds["data"] == []
    assert {event["mode"] for event in await timed.events(livemode="false")} == {"reservation"}
    assert len(await timed.events(livemode="false", decision="blocked")) == 2


async def test_a_repeated_idempotency_key_reserves_once(farthing: Running) -> None:
    """The same request again, even at the same time, is the same reservation; another one under the key is refused."""
    key = await farthing.mint(limits=[{"unit": "tokens", "max": 4000}])
    wanted = {"subject": {"key_id": key["id"]}, "unit": "tokens", "amount": 3000}
    once = {"idempotency-key": "retry-1"}
    answers = await asyncio.gather(*(farthing.api("POST", "/v1/reservations", wanted, headers=once) for _ in range(5)))
    assert {(status, answer["id"]) for status, answer in answers} == {(201, answers[0][1]["id"])}
    status, answer = await farthing.api("POST", "/v1/reservations", wanted | {"amount": 5}, headers=once)
    assert (status, answer["error"]["code"]) == (422, "idempotency_mismatch")
    assert (await farthing.api("POST", f"/v1/reservations/{answers[0][1]['id']}/commit", {"actual": 10}))[0] == 200
    status, answer = await farthing.api("POST", "/v1/reservations", wanted, headers=once)
    assert (status, answer["id"], answer["state"]) == (201, answers[0][1]["id"], "committed")
    refused = wanted | {"amount": 4001}
    for _ in range(2):
        status, answer = await farthing.api("POST", "/v1/reservations", refused, headers={"idempotency-key": "no"})
        assert (status, answer["allowed"], answer["id"]) == (200, False, None)
    await farthing.audited()
