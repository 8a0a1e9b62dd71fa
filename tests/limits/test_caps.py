"""Every kind of cap, from setting it to the answer beyond it (pains.md 4: set, exceed, refused)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.harness import Running
from tests.limits.calls import HEADERS, MODEL, call, chat, in_flight, refusal
from tests.limits.conftest import Clock, at

ENDS = {
    "total": None,
    "minute": "2026-03-11T10:21:00",
    "hour": "2026-03-11T11:00:00",
    "day": "2026-03-12T00:00:00",
    "week": "2026-03-16T00:00:00",  # a Monday
    "month": "2026-04-01T00:00:00",
}
MAXIMA = {"micros": 60, "tokens": 120, "requests": 2}  # room for two or more small calls, never for ten


async def _key_with(farthing: Running, holder: str, limit: dict[str, Any]) -> tuple[str, dict[str, str], str]:
    """A key that the limit binds through `holder`: its secret, the headers of its calls, whose cap will be named."""
    if holder == "plan":
        _, plan = await farthing.api("POST", "/v1/plans", {"name": "small", "limits": [limit]})
        key = await farthing.mint(livemode=False, plan=plan["id"])
    elif holder == "team":
        team = await farthing.mint(livemode=False, scope="team", limits=[limit])
        key = await farthing.mint(by=team["secret"], livemode=False)
    elif holder == "one end_user":
        key = await farthing.mint(livemode=False)
        path = f"/v1/end_users/ann?key_id={key['id']}"
        assert (await farthing.api("PUT", path, {"limits": [limit]}))[0] == 200
        return key["secret"], {"x_end_user_id": "ann"}, "end_user"
    else:
        key = await farthing.mint(livemode=False, limits=[limit | {"per": holder}])
    names = {HEADERS[holder].replace("-", "_"): "ann"} if holder in HEADERS else {}
    return key["secret"], names, holder if holder in HEADERS else "key"


@pytest.mark.parametrize("holder", ["key", "team", "plan", "end_user", "run", "one end_user"])
@pytest.mark.parametrize("unit", MAXIMA)
async def test_set_exceed_refused_reset(timed: Running, clock: Clock, unit: str, holder: str) -> None:
    """In every window a cap admits until it is full, refuses as documented, and is empty when the window ends."""
    for window, end in ENDS.items():
        clock.set("2026-03-11T10:20:30")
        limit = {"unit": unit, "max": MAXIMA[unit], "window": window}
        secret, names, named = await _key_with(timed, holder, limit)
        for admitted in range(10):  # noqa: B007 - counted on purpose
            status, headers, body = await call(timed, secret, **names)
            if status != 200:
                break
        said = refusal(status, headers, body, unit=unit)
        assert admitted >= 2
        assert (said["cap"], said["limit"], said["resets_at_ms"]) == (named, MAXIMA[unit], at(end) if end else None)
        if unit != "micros":
            assert int(headers["retry-after"]) == (30 if window == "minute" else 60)
        if names and holder != "one end_user":  # somebody else has all of it still
            assert (await call(timed, secret, **dict.fromkeys(names, "bob")))[0] == 200
        if end is None:
            continue
        clock.ms = at(end) - 1
        assert (await call(timed, secret, **names))[0] in (402, 429)
        clock.ms = at(end)
        assert (await call(timed, secret, **names))[0] == 200


async def test_a_call_is_refused_if_and_only_if_it_requires_more_than_remains(timed: Running) -> None:
    """What a refusal says it requires is exactly enough, and one less is not."""
    key = await timed.mint(livemode=False, max_spend_micros=0)
    for unit in ("micros", "tokens"):
        _, _, body = await call(timed, key["secret"], chat(50))
        required = body["error"]["farthing"]["required"]
        for maximum, expected in ((required - 1, {402, 429}), (required, {200})):
            change = {"limits": [{"unit": unit, "max": maximum}], "max_spend_usd": None}
            assert (await timed.api("PATCH", f"/v1/keys/{key['id']}", change))[0] == 200
            status, _, body = await call(timed, key["secret"], chat(50))
            assert status in expected, body
        tight = {"limits": [{"unit": "tokens", "max": 0}], "max_spend_usd": None}
        assert (await timed.api("PATCH", f"/v1/keys/{key['id']}", tight))[0] == 200


async def test_concurrent_calls(gateway: Running) -> None:
    """A third parallel call waits its turn: 429 until one of the two has ended."""
    key = await gateway.mint(livemode=False, limits=[{"unit": "concurrent", "max": 2}])
    slow = [asyncio.create_task(call(gateway, key["secret"], sim="delay_ms=400")) for _ in range(2)]
    await in_flight(gateway, 2)
    status, headers, body = await call(gateway, key["secret"])
    said = refusal(status, headers, body, unit="concurrent")
    assert (said["limit"], said["held"], headers["retry-after"]) == (2, 2, "1")
    assert [status for status, _, _ in await asyncio.gather(*slow)] == [200, 200]
    assert (await call(gateway, key["secret"]))[0] == 200


async def test_seconds(timed: Running, clock: Clock) -> None:
    """Seconds are reserved, committed, reported and reset like any other unit."""
    key = await timed.mint(livemode=False, limits=[{"unit": "seconds", "max": 90, "window": "day"}])
    asked = {"unit": "seconds", "amount": 60}
    _, first = await timed.api("POST", "/v1/reservations", asked, key=key["secret"])
    assert (first["allowed"], first["remaining"]) == (True, 30)
    _, second = await timed.api("POST", "/v1/reservations", asked, key=key["secret"])
    assert (second["allowed"], second["remaining"], second["reasons"][0]["unit"]) == (False, 30, "seconds")
    await timed.api("POST", f"/v1/reservations/{first['id']}/commit", {"actual": 10}, key=key["secret"])
    report = {"idempotency_key": "a", "timestamp_ms": clock(), "cost_micros": 5, "subject": {"key_id": key["id"]}}
    used = {"usage": {"audio_ms": 30_001}, "provider": "openai", "model": "gpt-4o-mini", "idempotency_key": "b"}
    del (counted := report | used)["cost_micros"]
    _, answer = await timed.api("POST", "/v1/events", [report, counted])
    assert answer["accepted"] == 2, answer
    _, me = await timed.api("GET", "/v1/me", key=key["secret"])
    assert me["limits"][0]["used"] == 10 + 31
    clock.set("2026-03-12T00:00:00")
    _, me = await timed.api("GET", "/v1/me", key=key["secret"])
    assert (me["limits"][0]["used"], me["limits"][0]["remaining"]) == (0, 90)


@pytest.mark.parametrize(
    ("match", "other"),
    [
        ({"provider": "openai"}, ("/v1/messages", {"model": "claude-haiku-4-5"}, {})),
        ({"model": MODEL}, ("/v1/chat/completions", {"model": "gpt-4o"}, {})),
        ({"model": "gpt-4o-*"}, ("/v1/chat/completions", {"model": "gpt-4.1-mini"}, {})),
        ({"route": "chat.completions"}, ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "hello"}, {})),
        ({"metadata": {"app": "bot"}}, ("/v1/chat/completions", {}, {"x_farthing_metadata": '{"app":"web"}'})),
    ],
    ids=["provider", "model", "prefix", "route", "metadata"],
)
async def test_a_limit_binds_what_it_matches_and_nothing_else(
    timed: Running, match: dict[str, Any], other: tuple[str, dict[str, Any], dict[str, str]]
) -> None:
    """A full limit refuses the calls that it is about; all others pass uncounted."""
    limit = {"unit": "requests", "max": 1, "match": match}
    key = await timed.mint(livemode=False, limits=[limit])
    mine = {"x_farthing_metadata": '{"app":"bot","more":"1"}'}
    path, change, headers = other
    body = chat() | change
    if "input" in change:
        body = change
    assert (await call(timed, key["secret"], **mine))[0] == 200
    for _ in range(2):
        assert (await call(timed, key["secret"], body, path=path, **headers))[0] == 200
    status, answered, refused = await call(timed, key["secret"], **mine)
    assert refusal(status, answered, refused, unit="requests")["used"] == 1


async def test_warn_only(timed: Running) -> None:
    """A limit that only warns never refuses; the calls above it are flagged on their events."""
    warn = {"unit": "micros", "max": 40, "action": "warn"}
    key = await timed.mint(livemode=False, max_spend_micros=10_000, limits=[warn])
    for _ in range(6):
        assert (await call(timed, key["secret"]))[0] == 200
        await timed.quiet()
    _, me = await timed.api("GET", "/v1/me", key=key["secret"])
    (_cap, shown) = sorted(me["limits"], key=lambda limit: limit.get("action", ""))
    assert (shown["action"], shown["remaining"]) == ("warn", 0)
    assert shown["used"] == me["spent_micros"]
    flags = [event["flags"] for event in reversed(await timed.events(livemode="false"))]
    assert flags[0] == []
    assert flags[-1] == [f"over:{shown['id']}"]
    assert flags == sorted(flags, key=len)


async def test_over_cap_status(timed: Running) -> None:
    """An operator who prefers 429 gets it for money, still without inviting a retry."""
    key = await timed.mint(livemode=False, max_spend_micros=0, over_cap_status=429)
    refusal(*await call(timed, key["secret"]), unit="micros", over_cap_status=429)
    anthropic = chat(model="claude-haiku-4-5")
    status, headers, body = await call(timed, key["secret"], anthropic, path="/v1/messages")
    assert (status, body["error"]["type"], body["error"]["farthing"]["cap"]) == (429, "billing_error", "key")
    assert headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("limit", "now", "end"),
    [
        (
            {"window": "day", "timezone": "America/New_York"},
            "2026-03-08T06:30:00",
            "2026-03-09T04:00:00",
        ),  # a short day
        ({"window": "day", "timezone": "Asia/Kathmandu"}, "2026-03-11T10:20:30", "2026-03-11T18:15:00"),
        ({"window": "week", "timezone": "Europe/Berlin"}, "2026-03-29T21:59:00", "2026-03-29T22:00:00"),
        ({"window": "month", "timezone": "Pacific/Auckland"}, "2026-03-31T10:00:00", "2026-03-31T11:00:00"),
        ({"window": "month", "anchor_ms": at("2026-01-31T15:00:00")}, "2026-02-20T00:00:00", "2026-02-28T15:00:00"),
        ({"window": "week", "anchor_ms": at("2026-03-04T09:00:00")}, "2026-03-11T10:20:30", "2026-03-18T09:00:00"),
        ({"window": "hour", "anchor_ms": at("2026-03-04T09:15:00")}, "2026-03-11T10:20:30", "2026-03-11T11:15:00"),
    ],
)
async def test_time_zones_and_anchors(timed: Running, clock: Clock, limit: dict[str, Any], now: str, end: str) -> None:
    """A window ends where its time zone or anchor says, not a millisecond before."""
    clock.set(now)
    key = await timed.mint(livemode=False, limits=[{"unit": "requests", "max": 1} | limit])
    assert (await call(timed, key["secret"]))[0] == 200
    _, _, body = await call(timed, key["secret"])
    assert body["error"]["farthing"]["resets_at_ms"] == at(end)
    clock.ms = at(end) - 1
    assert (await call(timed, key["secret"]))[0] == 429
    clock.ms = at(end)
    assert (await call(timed, key["secret"]))[0] == 200


async def test_a_hold_belongs_to_the_window_in_which_it_was_made(timed: Running, clock: Clock) -> None:
    """A call that is settled after midnight counts on the day on which it began, and leaves the new day whole."""
    clock.set("2026-03-31T23:59:59")
    key = await timed.mint(livemode=False, max_spend_micros=500, reset="month")
    slow = asyncio.create_task(call(timed, key["secret"], sim="delay_ms=300"))
    await in_flight(timed, 1)
    clock.set("2026-04-01T00:00:01")
    _, before = await timed.api("GET", "/v1/me", key=key["secret"])
    assert (await slow)[0] == 200
    await timed.quiet()
    _, after = await timed.api("GET", "/v1/me", key=key["secret"])
    assert [me["remaining_micros"] for me in (before, after)] == [500, 500]
    assert [me["held_micros"] + me["spent_micros"] for me in (before, after)] == [0, 0]
    assert after["window_start_ms"] == at("2026-04-01T00:00:00")
    assert after["resets_at_ms"] == at("2026-05-01T00:00:00")
    (event,) = await timed.events(livemode="false")
    assert event["created_ms"] == at("2026-03-31T23:59:59")
    _, month = await timed.api(
        "GET", f"/v1/usage?livemode=false&from_ms={at('2026-03-01T00:00:00')}&to_ms={at('2026-04-01T00:00:00')}"
    )
    assert month["cost_micros"] == event["cost_micros"] > 0


async def test_limits_are_replaced_and_an_id_keeps_its_counter(timed: Running) -> None:
    """PATCH replaces the list; a limit sent with its id keeps what it has counted, one without starts at nothing."""
    limit = {"unit": "requests", "max": 2}
    key = await timed.mint(livemode=False, limits=[limit])
    for _ in range(2):
        await call(timed, key["secret"])
    path = f"/v1/keys/{key['id']}"
    _, kept = await timed.api("PATCH", path, {"limits": [limit | {"id": key["limits"][0]["id"], "max": 3}]})
    assert (kept["limits"][0]["used"], kept["limits"][0]["remaining"]) == (2, 1)
    assert [(await call(timed, key["secret"]))[0] for _ in range(2)] == [200, 429]
    _, fresh = await timed.api("PATCH", path, {"limits": [limit]})
    assert (len(fresh["limits"]), fresh["limits"][0]["used"]) == (1, 0)
    for wrong, param in (
        ({"unit": "lira", "max": 1}, "limits[0].unit"),
        ({"unit": "tokens", "max": -1}, "limits[0].max"),
        ({"unit": "tokens", "max": 1, "window": "decade"}, "limits[0].window"),
        ({"unit": "tokens", "max": 1, "timezone": "Mars/Base"}, "limits[0].timezone"),
        ({"unit": "tokens", "max": 1, "id": "lim_none"}, "limits[0].id"),
        ({"unit": "tokens", "max": 1, "match": {"colour": "red"}}, "limits[0].match.colour"),
    ):
        status, body = await timed.api("PATCH", path, {"limits": [wrong]})
        assert (status, body["error"]["param"]) == (400, param), body


async def test_many_limits_are_taken_together_or_not_at_all(timed: Running) -> None:
    """A call that one of several limits refuses takes nothing from the others, and leaves one blocked event."""
    limits = [
        {"unit": "requests", "max": 100, "window": "hour"},
        {"unit": "tokens", "max": 10_000, "window": "day"},
        {"unit": "micros", "max": 1, "window": "week"},
    ]
    team = await timed.mint(livemode=False, scope="team", limits=limits[:2])
    key = await timed.mint(by=team["secret"], livemode=False, limits=limits)
    refusal(*await call(timed, key["secret"]), unit="micros")
    for secret in (key["secret"], team["secret"]):
        _, me = await timed.api("GET", "/v1/me", key=secret)
        assert {(limit["used"], limit["held"]) for limit in me["limits"]} == {(0, 0)}
    (event,) = await timed.events(livemode="false")
    assert (event["decision"], event["reason"], event["cost_micros"]) == ("blocked", "spend_cap_exceeded", 0)
