"""Monitoring mode: calls that callers made themselves, counted after the fact and never refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import Running
from tests.limits.calls import call
from tests.limits.conftest import Clock, at

DAY_MS = 86_400_000


def _event(key: str, timestamp_ms: int, **more: Any) -> dict[str, Any]:
    return {"idempotency_key": key, "timestamp_ms": timestamp_ms, "cost_micros": 100} | more


async def _report(farthing: Running, secret: str, events: Any) -> dict[str, Any]:
    status, answer = await farthing.api("POST", "/v1/events", events, key=secret)
    assert status == 200, answer
    return dict(answer)


async def test_a_batch(timed: Running, clock: Clock) -> None:
    """A thousand events, once; the bad ones are named and do not stop the others; each subject has one state."""
    team = await timed.mint(livemode=False, scope="team")
    key = await timed.mint(by=team["secret"], livemode=False, max_spend_micros=100_000)
    subjects = [{"key_id": key["id"]}, {"key_id": key["id"], "end_user": "ann"}]
    events: list[Any] = [_event(f"e{n}", clock() - n, subject=subjects[n % 2], cost_micros=7) for n in range(990)]
    events[10]["timestamp_ms"] = clock() + 5 * 60_000 + 1
    events[11]["timestamp_ms"] = clock() - 35 * DAY_MS - 1
    events[12]["subject"] = {"key_id": "key_nobody"}
    events[13] = {"idempotency_key": "x"}
    events[14]["colour"] = "red"
    events[15] |= {"usage": {"input_tokens": 1}}
    del events[16]["cost_micros"]
    events[17] = _event("neg", clock(), cost_micros=-1)
    del (negative := _event("neg2", clock(), provider="openai", model="gpt-4o", usage={"output_tokens": -5}))[
        "cost_micros"
    ]
    events[18] = negative
    del (unpriced := _event("nop", clock(), provider="openai", model="gpt-nope", usage={"output_tokens": 5}))[
        "cost_micros"
    ]
    events[19] = unpriced
    events[20]["idempotency_key"] = "e21"
    answer = await _report(timed, team["secret"], events)
    assert (answer["accepted"], answer["duplicates"]) == (979, 1)
    assert {bad["index"]: bad["code"] for bad in answer["rejected"]} == {
        10: "timestamp_in_future",
        11: "timestamp_too_old",
        12: "not_found",
        13: "invalid_request",
        14: "unknown_parameter",
        15: "usage_or_cost_required",
        16: "usage_or_cost_required",
        17: "invalid_request",
        18: "invalid_request",
        19: "model_not_priced",
    }
    keys = {bad["index"]: bad["idempotency_key"] for bad in answer["rejected"]}
    assert (keys[10], keys[13], keys[14], keys[17]) == ("e10", "x", "e14", "neg")
    assert all(bad["reason"].endswith(".") for bad in answer["rejected"])
    left = 100_000 - 979 * 7
    assert answer["state"] == [
        {"key_id": key["id"], "end_user": end_user, "allowed": True, "remaining_micros": left}
        for end_user in (None, "ann")
    ]
    again = await _report(timed, team["secret"], events)
    assert (again["accepted"], again["duplicates"]) == (0, 980)
    _, me = await timed.api("GET", "/v1/me", key=key["secret"])
    assert (me["spent_micros"], me["overrun_micros"]) == (979 * 7, 0)
    status, body = await timed.api("POST", "/v1/events", [_event(f"f{n}", clock()) for n in range(1_001)])
    assert (status, body["error"]["code"]) == (400, "invalid_request")


async def test_a_report_counts_in_the_window_of_its_own_time(timed: Running, clock: Clock) -> None:
    """A late report fills the month in which the call was made, and leaves this one alone; the bill says the same."""
    key = await timed.mint(livemode=False, max_spend_micros=1_000, reset="month")
    before, today = at("2026-02-20T00:00:00"), clock()
    subject = {"key_id": key["id"]}
    answer = await _report(timed, (await timed.mint(livemode=True, scope="team"))["secret"], _event("no", today))
    assert answer["accepted"] == 1, "one event needs no array"
    events = [_event("old", before, cost_micros=900, subject=subject), _event("new", today, subject=subject)]
    status, answer = await timed.api("POST", "/v1/events", events)
    assert (status, answer["accepted"], answer["state"][0]["remaining_micros"]) == (200, 2, 900)
    _, me = await timed.api("GET", "/v1/me", key=key["secret"])
    assert (me["spent_micros"], me["remaining_micros"]) == (100, 900)
    for start, end, cost in (("02-01", "03-01", 900), ("03-01", "04-01", 100)):
        span = f"from_ms={at(f'2026-{start}T00:00:00')}&to_ms={at(f'2026-{end}T00:00:00')}"
        _, usage = await timed.api("GET", f"/v1/usage?livemode=false&{span}")
        assert usage["cost_micros"] == cost
    edge = [_event("edge1", today - 35 * DAY_MS, subject=subject), _event("edge2", today + 300_000, subject=subject)]
    _, answer = await timed.api("POST", "/v1/events", edge)
    assert (answer["accepted"], answer["rejected"]) == (2, [])


@pytest.mark.parametrize(
    ("limits", "cap"),
    [
        ([], 150),
        ([{"unit": "requests", "max": 2, "window": "day"}], None),
        ([{"unit": "tokens", "max": 150}], None),
        ([{"unit": "micros", "max": 150, "match": {"metadata": {"app": "bot"}}}], None),
        ([{"unit": "micros", "max": 150, "per": "end_user"}], None),
    ],
    ids=["cap", "requests", "tokens", "group", "end user"],
)
async def test_a_cap_never_refuses_a_report_and_the_state_says_when_to_stop(
    timed: Running, clock: Clock, limits: list[dict[str, Any]], cap: int | None
) -> None:
    """Everything that happened is counted; the answer says from when on the next such call is not allowed."""
    key = await timed.mint(livemode=False, limits=limits, max_spend_micros=cap)
    more = {"subject": {"key_id": key["id"], "end_user": "ann"}, "metadata": {"app": "bot"}}
    usage = {"provider": "openai", "model": "gpt-4o-mini", "usage": {"input_tokens": 100}}
    allowed = []
    for number in range(3):
        event = _event(f"e{number}", clock(), **more)
        if limits and limits[0]["unit"] == "tokens":
            del event["cost_micros"]
            event |= usage
        _, answer = await timed.api("POST", "/v1/events", event)
        assert answer["accepted"] == 1
        (state,) = answer["state"]
        allowed.append(state["allowed"])
        if cap:
            assert state["remaining_micros"] == max(cap - 100 * (number + 1), 0)
    assert allowed == [True, False, False]
    status, _, _ = await call(timed, key["secret"], x_end_user_id="ann", x_farthing_metadata='{"app":"bot"}')
    assert status in (402, 429), "the same limits"


async def test_usage_is_priced_as_a_call_is(timed: Running, clock: Clock) -> None:
    """A report of usage costs what the same call through the gateway does, with its price version."""
    key = await timed.mint(livemode=False)
    await call(timed, key["secret"])
    (proxied,) = await timed.events(livemode="false")
    event = _event("same", clock(), provider="openai", model="gpt-4o-mini", subject={"key_id": key["id"]})
    del event["cost_micros"]
    await timed.api("POST", "/v1/events", event | {"usage": proxied["usage"]})
    (reported, _) = await timed.events(livemode="false")
    for name in ("cost_picos", "price_version", "usage", "provider", "model"):
        assert reported[name] == proxied[name]
    assert (reported["mode"], reported["status"]) == ("monitor", "settled")


async def test_who_may_report(timed: Running, clock: Clock) -> None:
    """A standard key may not; an ingest key reports for its parent's subtree and for nobody else."""
    team = await timed.mint(livemode=False, scope="team")
    mine = await timed.mint(by=team["secret"], livemode=False)
    stranger = await timed.mint(livemode=False)
    ingest = await timed.mint(by=team["secret"], livemode=False, scope="ingest")
    status, body = await timed.api("POST", "/v1/events", _event("a", clock()), key=mine["secret"])
    assert (status, body["error"]["code"]) == (403, "scope_not_allowed")
    events = [_event(who["id"], clock(), subject={"key_id": who["id"]}) for who in (mine, team, ingest, stranger)]
    answer = await _report(timed, ingest["secret"], events)
    assert answer["accepted"] == 3
    assert [(bad["index"], bad["code"]) for bad in answer["rejected"]] == [(3, "not_found")]
    assert (await timed.api("GET", "/v1/events", key=ingest["secret"]))[0] == 403
