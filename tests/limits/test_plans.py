"""Plans: terms that many keys share, changed for all of them at once, and the price beside the cost."""

from __future__ import annotations

from typing import Any

from tests.harness import Running
from tests.limits.calls import call, chat

FREE: dict[str, Any] = {
    "name": "free",
    "max_spend_micros": 100,
    "reset": "month",
    "limits": [{"unit": "requests", "max": 3, "window": "day"}],
    "allowed_models": ["gpt-4o-mini"],
    "allowed_providers": ["openai"],
    "over_cap_status": 429,
}
PRO: dict[str, Any] = {"name": "pro", "max_spend_micros": 5_000, "markup_percent": "20.5"}


async def _plan(farthing: Running, terms: dict[str, Any], by: str | None = None) -> dict[str, Any]:
    status, plan = await farthing.api("POST", "/v1/plans", terms, **({"key": by} if by else {}))
    assert status == 201, plan
    return dict(plan)


async def test_absent_null_and_value(timed: Running) -> None:
    """A key takes from its plan what it does not say; null is none of its own; a value replaces the plan's."""
    plan = await _plan(timed, FREE)
    taken = await timed.mint(livemode=False, plan=plan["id"])
    assert (taken["plan"], taken["max_spend_micros"], taken["reset"]) == (plan["id"], 100, "month")
    assert (taken["over_cap_status"], taken["allowed_models"]) == (429, ["gpt-4o-mini"])
    assert [limit["unit"] for limit in taken["limits"]] == ["micros", "requests"]

    nulls = dict.fromkeys(
        ("max_spend_usd", "reset", "limits", "allowed_models", "allowed_providers", "over_cap_status")
    )
    none = await timed.mint(livemode=False, plan=plan["id"], **nulls)
    assert (none["max_spend_micros"], none["reset"], none["limits"]) == (None, "none", [])
    assert (none["over_cap_status"], none["allowed_models"], none["allowed_providers"]) == (402, None, None)

    own = {"max_spend_micros": 700, "limits": [{"unit": "tokens", "max": 9}], "over_cap_status": 402}
    replaced = await timed.mint(livemode=False, plan=plan["id"], **own)
    assert (replaced["max_spend_micros"], replaced["reset"], replaced["over_cap_status"]) == (700, "month", 402)
    assert [limit["unit"] for limit in replaced["limits"]] == ["micros", "tokens"]
    patched = await timed.mint(livemode=False, plan=plan["id"])
    path = f"/v1/keys/{patched['id']}"
    _, patched = await timed.api("PATCH", path, {"reset": "day"})
    assert (patched["max_spend_micros"], patched["reset"]) == (100, "day"), "what was not said is the plan's still"
    _, patched = await timed.api("PATCH", path, nulls)
    assert (patched["max_spend_micros"], patched["limits"], patched["allowed_models"]) == (None, [], None)


async def test_a_key_moves_between_plans_live(timed: Running) -> None:
    """A move is in force on the next call, for a key that was minted on a plan, on none, or taken off one."""
    free, pro = await _plan(timed, FREE), await _plan(timed, PRO)
    for start in ({"plan": free["id"]}, {}):
        key = await timed.mint(livemode=False, **start)
        path = f"/v1/keys/{key['id']}"
        await timed.api("PATCH", path, {"plan": free["id"]})
        statuses = [(await call(timed, key["secret"], chat(1)))[0] for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        status, _, body = await call(timed, key["secret"], chat(model="gpt-4o"))
        assert (status, body["error"]["code"]) == (403, "model_not_allowed")
        _, moved = await timed.api("PATCH", path, {"plan": pro["id"]})
        assert (moved["plan"], moved["max_spend_micros"], moved["reset"]) == (pro["id"], 5_000, "none")
        assert moved["spent_micros"] > 0, "what was spent stays spent"
        assert (await call(timed, key["secret"], chat(1, model="gpt-4o")))[0] == 200
        _, freed = await timed.api("PATCH", path, {"plan": None})
        assert (freed["plan"], freed["max_spend_micros"], freed["limits"]) == (None, None, [])
        _, back = await timed.api("PATCH", path, {"plan": free["id"]})
        assert back["max_spend_micros"] == 100
        assert (await call(timed, key["secret"], chat(1)))[0] == 429


async def test_a_change_of_a_plan_bites_on_the_next_call_of_all_its_keys(timed: Running) -> None:
    """Cap, limits and models of a plan change for every key on it, and for no other."""
    plan = await _plan(timed, PRO)
    keys = [await timed.mint(livemode=False, plan=plan["id"]) for _ in range(3)]
    other = await timed.mint(livemode=False)
    path = f"/v1/plans/{plan['id']}"

    async def statuses() -> list[tuple[int, str]]:
        answers = [await call(timed, key["secret"]) for key in (*keys, other)]
        return [(status, body.get("error", {}).get("code", "")) for status, _, body in answers]

    fine = (200, "")
    assert await statuses() == [fine] * 4
    for change, refused in (
        ({"max_spend_micros": 1}, (402, "spend_cap_exceeded")),
        ({"over_cap_status": 429}, (429, "spend_cap_exceeded")),
        ({"max_spend_micros": 5_000}, fine),
        ({"limits": [{"unit": "requests", "max": 0, "window": "day"}]}, (429, "rate_limited")),
        ({"limits": []}, fine),
        ({"allowed_models": ["o3"]}, (403, "model_not_allowed")),
        ({"allowed_models": None}, fine),
        ({"allowed_providers": ["anthropic"]}, (403, "route_not_allowed")),
    ):
        assert (await timed.api("PATCH", path, change))[0] == 200
        assert await statuses() == [refused] * 3 + [fine], change


async def test_members_count_apart(timed: Running) -> None:
    """A plan's limits are counted for each of its keys; a key's own list cannot take over the plan's counters."""
    plan = await _plan(timed, {"limits": [{"unit": "requests", "max": 2}], "max_spend_usd": "1"})
    one, two = [await timed.mint(livemode=False, plan=plan["id"]) for _ in range(2)]
    assert [(await call(timed, one["secret"]))[0] for _ in range(3)] == [200, 200, 429]
    assert (await call(timed, two["secret"]))[0] == 200
    limit = next(limit for limit in one["limits"] if limit["unit"] == "requests")
    again = {"limits": [{"unit": "requests", "max": 5, "id": limit["id"]}]}
    status, body = await timed.api("PATCH", f"/v1/keys/{one['id']}", again)
    assert (status, body["error"]["param"]) == (400, "limits[0].id")
    _, shown = await timed.api("PATCH", f"/v1/plans/{plan['id']}", again)
    assert shown["limits"][0]["id"] == limit["id"]
    assert [(await call(timed, one["secret"]))[0] for _ in range(4)] == [200, 200, 200, 429], "it kept its counters"


async def test_price_beside_cost(timed: Running) -> None:
    """`price_micros` is the cost with the plan's markup, beside `cost_micros`, summed exactly and never mixed."""
    plan = await _plan(timed, PRO)
    assert plan["markup_percent"] == "20.5"
    key = await timed.mint(livemode=False, plan=plan["id"])
    plain = await timed.mint(livemode=False)
    for secret in (key["secret"], plain["secret"]):
        for _ in range(7):
            assert (await call(timed, secret))[0] == 200
    reserve = await timed.api("POST", "/v1/reservations", {"amount": 1_000}, key=key["secret"])
    await timed.api("POST", f"/v1/reservations/{reserve[1]['id']}/commit", {"actual": 1_000}, key=key["secret"])
    report = {"idempotency_key": "a", "timestamp_ms": timed.gateway._clock_ms(), "cost_micros": 1_000}
    await timed.api("POST", "/v1/events", report | {"subject": {"key_id": key["id"]}})
    _, usage = await timed.api("GET", f"/v1/usage?from_ms=0&to_ms={10**14}&livemode=false")
    rows = {row["key_id"]: row for row in usage["by_key"]}
    events = await timed.events(livemode="false")
    for who, percent in ((key, 1205), (plain, 1000)):
        mine = [event for event in events if event["key_id"] == who["id"]]
        assert rows[who["id"]]["cost_micros"] == sum(event["cost_micros"] for event in mine)
        assert rows[who["id"]]["price_micros"] == sum(event["price_micros"] for event in mine)
        assert sum(event["cost_picos"] for event in mine) * percent // 1000 // 10**6 == rows[who["id"]]["price_micros"]
    assert usage["price_micros"] == sum(row["price_micros"] for row in usage["by_key"])
    for event in events:
        if event["mode"] in ("reservation", "monitor"):
            assert (event["cost_micros"], event["price_micros"]) == (1_000, 1_205)
    _, me = await timed.api("GET", "/v1/me", key=key["secret"])
    assert me["spent_micros"] == rows[key["id"]]["cost_micros"], "a cap is measured by cost"


async def test_plans_of_others(timed: Running) -> None:
    """A plan is offered to the keys under its owner; for others there is none. In use, it cannot be removed."""
    team = await timed.mint(livemode=False, scope="team")
    other = await timed.mint(livemode=False, scope="team")
    mine = await _plan(timed, PRO, team["secret"])
    masters = await _plan(timed, PRO)
    for method, path, body in (
        ("GET", f"/v1/plans/{mine['id']}", None),
        ("PATCH", f"/v1/plans/{mine['id']}", {"name": "x"}),
        ("DELETE", f"/v1/plans/{mine['id']}", None),
        ("POST", "/v1/keys", {"livemode": False, "plan": mine["id"]}),
        ("PATCH", f"/v1/plans/{masters['id']}", {"name": "x"}),
    ):
        status, answer = await timed.api(method, path, body, key=other["secret"])
        assert (status, answer["error"]["code"]) == (404, "not_found"), (method, path)
    for plan in (mine, masters):
        for own in ({}, {"max_spend_micros": 7}, {"reset": "day"}):
            child = await timed.mint(by=team["secret"], livemode=False, plan=plan["id"], **own)
            assert child["max_spend_micros"] == own.get("max_spend_micros", 5_000)
    status, answer = await timed.api("DELETE", f"/v1/plans/{mine['id']}", key=team["secret"])
    assert (status, answer["error"]["code"]) == (400, "plan_in_use")
    unused = await _plan(timed, PRO, team["secret"])
    path = f"/v1/plans/{unused['id']}"
    assert [(await timed.api(method, path, key=team["secret"]))[0] for method in ("DELETE", "GET")] == [200, 404]
    _, listed = await timed.api("GET", "/v1/plans", key=team["secret"])
    assert [plan["id"] for plan in listed["data"]] == [mine["id"]]
