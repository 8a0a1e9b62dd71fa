"""Usage by the days of a time zone, a key's progress, and what its user is charged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import Running, running
from tests.limits.calls import call
from tests.limits.conftest import Clock, at

SPAN = f"from_ms=0&to_ms={10**14}&livemode=false"


async def test_days_of_a_time_zone(timed: Running, clock: Clock) -> None:
    """`timezone` makes `group_by=day` days of that zone, summer time included; the sums stay the same."""
    key = await timed.mint(livemode=False)
    for moment in ("2026-03-28T23:30:00", "2026-03-29T00:30:00", "2026-03-29T22:30:00", "2026-03-29T23:30:00"):
        clock.set(moment)
        assert (await call(timed, key["secret"]))[0] == 200
        await timed.quiet()
    expected = {
        "Europe/London": {"2026-03-28": 1, "2026-03-29": 2, "2026-03-30": 1},  # an hour is lost on the 29th
        "America/New_York": {"2026-03-28": 2, "2026-03-29": 2},
        "UTC": {"2026-03-28": 1, "2026-03-29": 3},
    }
    for zone, days in expected.items():
        _, usage = await timed.api("GET", f"/v1/usage?{SPAN}&group_by=day&timezone={zone}")
        assert {row["day"]: row["requests"] for row in usage["groups"]} == days
        assert usage["requests"] == 4
        text = (await timed.api("GET", f"/v1/usage?{SPAN}&group_by=day&timezone={zone}&format=csv"))[1]
        assert {line.split(",")[3] for line in text.splitlines()[1:]} == set(days)
    _, usage = await timed.api("GET", f"/v1/usage?{SPAN}&group_by=day&timezone=Europe/London")
    assert [row["day_start_ms"] for row in usage["groups"]] == [
        at("2026-03-28T00:00:00"),
        at("2026-03-29T00:00:00"),
        at("2026-03-29T23:00:00"),
    ]


@pytest.mark.parametrize("zone", ["Nowhere/Land", "../../etc/passwd", "/etc/localtime", "", "A" * 300])
async def test_what_is_no_time_zone(timed: Running, zone: str) -> None:
    """What names no zone is 400 and named."""
    status, body = await timed.api("GET", f"/v1/usage?{SPAN}&timezone={zone}")
    assert (status, body["error"]["param"]) == (400, "timezone")


async def test_what_is_no_livemode(timed: Running) -> None:
    """It is 400 and named, also where a key is of one mode anyway."""
    team = await timed.mint(livemode=False, scope="team")
    for path in ("/v1/usage?from_ms=0&", "/v1/events?", f"/v1/keys/{team['id']}/usage?"):
        status, body = await timed.api("GET", f"{path}livemode=-1", key=team["secret"])
        assert (status, body["error"]["param"]) == (400, "livemode"), path


async def test_days_that_only_dropped_events_knew(tmp_path: Path, clock: Clock) -> None:
    """Where retention has dropped the events, UTC days are still told, and other zones' are 400 `events_dropped`."""
    async with running(tmp_path, clock=clock) as timed:
        key = await timed.mint(livemode=False)
        assert (await call(timed, key["secret"]))[0] == 200
        await timed.quiet()
        clock.set("2026-03-25T00:00:00")
        assert await timed.gateway.ledger.tending.drop_events(7) > 0
        span = f"from_ms=0&to_ms={at('2026-03-24T00:00:00')}&livemode=false&group_by=day"
        assert (await timed.api("GET", f"/v1/usage?{span}"))[1]["requests"] == 1
        status, body = await timed.api("GET", f"/v1/usage?{span}&timezone=Asia/Tokyo")
        assert (status, body["error"]["code"]) == (400, "events_dropped")


async def test_a_keys_progress(timed: Running, clock: Clock) -> None:
    """`cost_micros`, `cap_micros`, `by_model` of a key are those of its cap's window, or of the time that is asked."""
    team = await timed.mint(livemode=False, scope="team", max_spend_usd="1", reset="month")
    key = await timed.mint(by=team["secret"], livemode=False)
    first = clock()
    for secret in (team["secret"], key["secret"]):
        assert (await call(timed, secret))[0] == 200
    await timed.quiet()
    _, shown = await timed.api("GET", f"/v1/keys/{team['id']}/usage")
    assert shown["cap_micros"] == 1_000_000
    assert shown["cost_micros"] == shown["key"]["spent_micros"] == sum(row["cost_micros"] for row in shown["by_model"])
    assert [(row["model"], row["requests"]) for row in shown["by_model"]] == [("gpt-4o-mini", 2)]
    assert len(shown["events"]["data"]) == 2
    _, own = await timed.api("GET", f"/v1/keys/{key['id']}/usage")
    assert (own["cap_micros"], own["by_model"][0]["requests"]) == (None, 1)
    clock.set("2026-04-02T00:00:00")
    _, later = await timed.api("GET", f"/v1/keys/{team['id']}/usage")
    assert (later["cost_micros"], later["by_model"]) == (0, [])
    for span in (f"from_ms={first}&to_ms={first + 1}", f"to_ms={first + 1}"):
        assert (await timed.api("GET", f"/v1/keys/{team['id']}/usage?{span}"))[1]["cost_micros"] == shown["cost_micros"]
    status, body = await timed.api("GET", f"/v1/keys/{team['id']}/usage?from_ms=5&to_ms=4")
    assert (status, body["error"]["param"]) == (400, "to_ms")


async def test_what_a_user_is_charged(timed: Running, clock: Clock) -> None:
    """`/v1/me` of a key whose plan has a markup tells prices beside costs, as its events do; of others it does not."""
    _, plan = await timed.api("POST", "/v1/plans", {"max_spend_usd": "0.01", "reset": "month", "markup_percent": 25})
    key = await timed.mint(livemode=False, plan=plan["id"])
    plain = await timed.mint(livemode=False)
    for _ in range(3):
        assert (await call(timed, key["secret"]))[0] == 200
    await timed.quiet()
    _, me = await timed.api("GET", "/v1/me", key=key["secret"])
    priced = sum(event["price_micros"] for event in await timed.events(livemode="false", key_id=key["id"]))
    assert me["price_spent_micros"] == priced > me["spent_micros"]
    assert me["price_max_micros"] == 12_500
    assert me["price_remaining_micros"] == me["remaining_micros"] * 125 // 100
    assert "price_spent_micros" not in (await timed.api("GET", "/v1/me", key=plain["secret"]))[1]
    clock.set("2026-04-02T00:00:00")
    _, me = await timed.api("GET", "/v1/me", key=key["secret"])
    assert (me["price_spent_micros"], me["price_remaining_micros"]) == (0, 12_500)
