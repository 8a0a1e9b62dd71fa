"""Keys that mint keys: nobody has more than its parent, and nothing outlives it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Running, running
from tests.limits.calls import call, chat, in_flight
from tests.limits.conftest import Clock, at

TEAM: dict[str, Any] = {
    "livemode": False,
    "scope": "team",
    "max_spend_usd": "1",
    "allowed_models": ["gpt-4o*"],
    "allowed_providers": ["openai"],
    "expires_at_ms": at("2026-12-31T00:00:00"),
}
TOO_MUCH = [
    ("max_spend_usd", {"max_spend_usd": "1.000001"}),
    ("scope", {"scope": "master"}),
    ("allowed_models", {"allowed_models": ["gpt-4o", "o3"]}),
    ("allowed_models", {"allowed_models": ["gpt-*"]}),
    ("allowed_providers", {"allowed_providers": ["anthropic"]}),
    ("expires_at_ms", {"expires_at_ms": at("2027-01-01T00:00:00")}),
    ("livemode", {"livemode": True}),
]


@pytest.mark.parametrize("distance", [1, 2])
@pytest.mark.parametrize(("param", "more"), TOO_MUCH, ids=[f"{p}-{list(m.values())}" for p, m in TOO_MUCH])
async def test_a_child_never_has_more_than_its_parent(
    timed: Running, param: str, more: dict[str, Any], distance: int
) -> None:
    """Minting or changing a key beyond its parent, or its parent's parent, is refused by the name of the field."""
    parent = await timed.mint(**TEAM)
    if distance == 2:
        parent = await timed.mint(by=parent["secret"], livemode=False, scope="team")
    status, body = await timed.api("POST", "/v1/keys", {"livemode": False} | more, key=parent["secret"])
    assert (status, body["error"]["code"], body["error"]["param"]) == (403, "exceeds_parent", param)
    if param in ("scope", "livemode"):
        return  # neither can be changed
    child = await timed.mint(by=parent["secret"], livemode=False)
    for caller in ("", parent["secret"]):  # not even the master can raise a child above its parent
        by = {"key": caller} if caller else {}
        status, body = await timed.api("PATCH", f"/v1/keys/{child['id']}", more, **by)
        assert (status, body["error"]["code"], body["error"]["param"]) == (403, "exceeds_parent", param)


async def test_a_parents_plan_binds_its_children_too(timed: Running) -> None:
    """What a team has from its plan is what its children may have at most, minted or changed."""
    _, plan = await timed.api("POST", "/v1/plans", {"allowed_models": ["gpt-4o-mini"], "max_spend_usd": "0.5"})
    team = await timed.mint(livemode=False, scope="team", plan=plan["id"])
    child = await timed.mint(by=team["secret"], livemode=False)
    for more in ({"allowed_models": ["gpt-4o"]}, {"max_spend_usd": "0.6"}):
        for method, path in (("POST", "/v1/keys"), ("PATCH", f"/v1/keys/{child['id']}")):
            body = more | ({"livemode": False} if method == "POST" else {})
            status, answer = await timed.api(method, path, body, key=team["secret"])
            assert (status, answer["error"]["code"]) == (403, "exceeds_parent")
    status, _, body = await call(timed, child["secret"], chat(model="gpt-4o"))
    assert (status, body["error"]["code"]) == (403, "model_not_allowed")
    status, answer = await timed.api("POST", f"/v1/keys/{child['id']}/credits", {"amount_usd": "1"})
    assert (status, answer["error"]["code"]) == (400, "no_cap")


async def test_children_never_out_spend_their_parent_together(gateway: Running) -> None:
    """Five children promised all of a cap, calling all at once, spend no more of it than there is."""
    team = await gateway.mint(livemode=False, scope="team", max_spend_micros=400, overdraft="never")
    children = [
        await gateway.mint(by=team["secret"], livemode=False, max_spend_micros=400, overdraft="never") for _ in range(5)
    ]
    answers = await asyncio.gather(*(call(gateway, child["secret"]) for child in children for _ in range(12)))
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 402}
    assert {body["error"]["farthing"]["account_id"] for status, _, body in answers if status == 402} == {team["id"]}
    await gateway.quiet()
    _, me = await gateway.api("GET", "/v1/me", key=team["secret"])
    assert 0 < me["spent_micros"] <= 400
    assert (me["held_micros"], me["remaining_micros"]) == (0, 400 - me["spent_micros"])

    _, usage = await gateway.api("GET", "/v1/usage?from_ms=0", key=team["secret"])
    rows = {row["key_id"]: row["cost_micros"] for row in usage["by_key"]}
    assert rows.get(team["id"], 0) == 0, "a row is a key's own calls"
    assert sum(rows.values()) == usage["cost_micros"] == me["spent_micros"], "a parent's spent includes its subtree"
    for child in children:
        _, seen = await gateway.api("GET", f"/v1/keys/{child['id']}")
        assert seen["spent_micros"] == rows.get(child["id"], 0)
        assert seen["remaining_micros"] == min(400 - seen["spent_micros"], me["remaining_micros"])


@pytest.mark.parametrize(
    ("change", "code"),
    [("DELETE", "key_revoked"), ({"disabled": True}, "key_disabled"), ({"expires_at_ms": 0}, "key_expired")],
    ids=["revoked", "disabled", "expired"],
)
async def test_a_parents_end_stops_the_subtree_at_once(timed: Running, clock: Clock, change: Any, code: str) -> None:
    """When a parent is revoked, disabled or expires, its grandchild's next call answers 401 with that code."""
    team = await timed.mint(**TEAM)
    child = await timed.mint(by=team["secret"], livemode=False, scope="team")
    grandchild = await timed.mint(by=child["secret"], livemode=False)
    assert (await call(timed, grandchild["secret"]))[0] == 200
    running = asyncio.create_task(call(timed, grandchild["secret"], chat(stream=True), sim="chunk_delay_ms=200"))
    await in_flight(timed, 1)
    path = f"/v1/keys/{team['id']}"
    if change == "DELETE":
        assert (await timed.api("DELETE", path))[0] == 200
        assert b"key_revoked" in (await running)[2], "a running stream is cut"
    else:
        if "expires_at_ms" in change:
            change = {"expires_at_ms": clock() + 1000}
        assert (await timed.api("PATCH", path, change))[0] == 200
        running.cancel()
    if code == "key_expired":
        clock.ms += 1000
    for secret in (grandchild["secret"], child["secret"], team["secret"]):
        status, _, body = await call(timed, secret)
        assert (status, body["error"]["code"]) == (401, code)
        status, body = await timed.api("GET", "/v1/me", key=secret)
        assert (status, body["error"]["code"]) == (401, code)
    _, shown = await timed.api("GET", f"/v1/keys/{grandchild['id']}")
    assert shown["status"] == code.removeprefix("key_")


async def test_nobody_changes_itself_or_a_stranger(timed: Running) -> None:
    """A key cannot change, raise or revoke itself, nor see what is not under it; a master key cannot call."""
    one, other = await timed.mint(**TEAM), await timed.mint(**TEAM)
    mine = f"/v1/keys/{one['id']}"
    for method, path, body in (
        ("PATCH", mine, {"max_spend_usd": "0.5"}),
        ("DELETE", mine, None),
        ("POST", f"{mine}/credits", {"amount_usd": "1"}),
    ):
        status, answer = await timed.api(method, path, body, key=one["secret"])
        assert (status, answer["error"]["code"]) == (403, "scope_not_allowed")
        status, answer = await timed.api(method, path, body, key=other["secret"])
        assert (status, answer["error"]["code"]) == (404, "not_found")
    standard = await timed.mint(by=one["secret"], livemode=False)
    for method, path, body in (("POST", "/v1/keys", {}), ("PATCH", mine, {}), ("GET", mine, None)):
        status, answer = await timed.api(method, path, body, key=standard["secret"])
        assert (status, answer["error"]["code"]) == (403, "scope_not_allowed")
    master = await timed.mint(livemode=False, scope="master")
    status, _, body = await call(timed, master["secret"])
    assert (status, body["error"]["code"]) == (403, "scope_not_allowed")


async def test_a_team_makes_itself_no_new_secret(timed: Running) -> None:
    """A team key cannot rotate itself, as it cannot change or revoke itself; its parent can, and so can a master."""
    team = await timed.mint(livemode=False, scope="team")
    path = f"/v1/keys/{team['id']}/rotate"
    status, answer = await timed.api("POST", path, {}, key=team["secret"])
    assert (status, answer["error"]["code"]) == (403, "scope_not_allowed")
    assert (await timed.api("POST", path, {"overlap_seconds": 60}))[0] == 200
    _, me = await timed.api("GET", "/v1/me")
    assert (await timed.api("POST", f"/v1/keys/{me['id']}/rotate", {"overlap_seconds": 60}))[0] == 200


async def test_minting_has_a_rate(tmp_path: Path, clock: Clock) -> None:
    """A team key mints, rotates and opens so many times a minute; a master as often as it likes."""
    async with running(tmp_path, clock=clock, FARTHING_MINTS_PER_MINUTE="3") as farthing:
        team = await farthing.mint(livemode=False, scope="team")
        child = await farthing.mint(by=team["secret"], livemode=False)
        assert (await farthing.api("POST", f"/v1/keys/{child['id']}/rotate", {}, key=team["secret"]))[0] == 200
        user = f"/v1/end_users/ann?key_id={child['id']}"
        assert (await farthing.api("PUT", user, {"max_spend_usd": "1"}, key=team["secret"]))[0] == 200
        for method, path in (
            ("POST", "/v1/keys"),
            ("POST", "/v1/plans"),
            ("POST", f"/v1/keys/{child['id']}/rotate"),
            ("PUT", user),
        ):
            status, answer = await farthing.api(method, path, {}, key=team["secret"])
            assert (status, answer["error"]["code"]) == (429, "rate_limited"), path
        for _ in range(4):
            await farthing.mint(livemode=False)
        clock.ms += 20_000
        await farthing.mint(by=team["secret"], livemode=False)
