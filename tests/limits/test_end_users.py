"""The people under one key: their quotas, their blocks, their usage, and how they are forgotten."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.harness import Running, running
from tests.limits.calls import call, chat, refusal
from tests.limits.conftest import Clock

QUOTA = {"unit": "micros", "max": 60, "window": "month", "per": "end_user"}


async def _until_refused(farthing: Running, secret: str, **headers: str) -> int:
    """How many calls are admitted."""
    for admitted in range(50):
        status, answered, body = await call(farthing, secret, **headers)
        if status != 200:
            assert refusal(status, answered, body, unit="micros")["cap"] == "end_user"
            return admitted
        await farthing.quiet()
    raise AssertionError("never refused")


@pytest.mark.parametrize("default_of", ["key", "plan", "team"])
async def test_a_default_quota_for_each(timed: Running, clock: Clock, default_of: str) -> None:
    """Everyone under a key has the default of the key, its plan or its team, from the first call to the month's end."""
    if default_of == "plan":
        _, plan = await timed.api("POST", "/v1/plans", {"limits": [QUOTA]})
        key = await timed.mint(livemode=False, plan=plan["id"])
    elif default_of == "team":
        team = await timed.mint(livemode=False, scope="team", limits=[QUOTA])
        key = await timed.mint(by=team["secret"], livemode=False)
    else:
        key = await timed.mint(livemode=False, limits=[QUOTA])
    counts = [await _until_refused(timed, key["secret"], x_end_user_id=name) for name in ("ann", "bob")]
    assert counts[0] == counts[1] > 2
    assert (await call(timed, key["secret"]))[0] == 200, "a call without an end user has no end user's quota"
    clock.set("2026-04-01T00:00:00")
    assert (await call(timed, key["secret"], x_end_user_id="ann"))[0] == 200
    await timed.quiet()
    _, usage = await timed.api(
        "GET", f"/v1/usage?livemode=false&from_ms=0&to_ms={clock() + 1000}&group_by=end_user&key_id={key['id']}"
    )
    requests = {row["end_user"]: row["requests"] for row in usage["groups"]}
    assert requests == {"ann": counts[0] + 1, "bob": counts[1], None: 1}


async def test_one_of_them(timed: Running) -> None:
    """PUT gives one end user a cap in place of the default, and a block of its own; the others keep theirs."""
    key = await timed.mint(livemode=False, max_spend_micros=5_000, limits=[QUOTA])
    path = f"/v1/end_users/{quote('org/7 ünï', safe='')}?key_id={key['id']}"
    user = {"x_end_user_id": "org/7 ünï"}
    assert (await timed.api("GET", path))[0] == 404
    status, shown = await timed.api("PUT", path, {"max_spend_micros": 150, "metadata": {"tier": "gold"}})
    assert (status, shown["id"], shown["max_spend_micros"], shown["reset"]) == (200, "org/7 ünï", 150, "none")
    assert shown["metadata"] == {"tier": "gold"}
    assert await _until_refused(timed, key["secret"], **user) > await _until_refused(
        timed, key["secret"], x_end_user_id="bob"
    )
    _, shown = await timed.api("GET", path)
    assert 0 < shown["spent_micros"] <= 150
    assert shown["remaining_micros"] == 150 - shown["spent_micros"]
    _, (cap, *_) = shown, shown["limits"]
    assert (cap["max"], cap["used"]) == (150, shown["spent_micros"])

    await timed.api("PUT", path, {"max_spend_usd": None})
    assert (await call(timed, key["secret"], **user))[0] == 402, "the default counts again, with all that was spent"
    await timed.api("PUT", path, {"max_spend_micros": 5_000, "disabled": True})
    status, _, body = await call(timed, key["secret"], **user)
    assert (status, body["error"]["code"]) == (403, "end_user_disabled")
    await timed.api("PUT", path, {"disabled": False})
    assert (await call(timed, key["secret"], **user))[0] == 200
    status, body = await timed.api("PUT", path, {"max_spend_micros": 5_001})
    assert (status, body["error"]["code"], body["error"]["param"]) == (403, "exceeds_parent", "max_spend_usd")


async def test_a_default_is_shown_with_what_the_user_has_left(timed: Running) -> None:
    """GET shows the quota that binds an end user, with that user's own progress."""
    key = await timed.mint(livemode=False, limits=[QUOTA, {"unit": "requests", "max": 9, "per": "end_user"}])
    await call(timed, key["secret"], x_end_user_id="ann")
    await timed.quiet()
    _, shown = await timed.api("GET", f"/v1/end_users/ann?key_id={key['id']}")
    by_unit = {limit["unit"]: limit for limit in shown["limits"]}
    assert (by_unit["requests"]["used"], by_unit["requests"]["remaining"]) == (1, 8)
    assert by_unit["micros"]["used"] == shown["spent_micros"] > 0
    assert shown["remaining_micros"] == by_unit["micros"]["remaining"] == 60 - shown["spent_micros"]


async def test_the_header_may_only_lower(timed: Running, clock: Clock) -> None:
    """`x-end-user-cap-usd` binds its own call, by what the user has spent in the quota's window; it never raises."""
    key = await timed.mint(livemode=False, limits=[QUOTA])
    user = {"x_end_user_id": "ann"}
    assert (await call(timed, key["secret"], **user))[0] == 200
    await timed.quiet()
    status, headers, body = await call(timed, key["secret"], x_end_user_cap_usd="0.000020", **user)
    said = refusal(status, headers, body, unit="micros")
    assert (said["cap"], said["limit_micros"]) == ("end_user", 20)
    assert said["spent_micros"] > 0
    assert await _until_refused(timed, key["secret"], x_end_user_cap_usd="5", **user) > 0
    status, _, body = await call(timed, key["secret"], x_end_user_cap_usd="5", **user)
    assert (status, body["error"]["farthing"]["limit_micros"]) == (402, 60)
    clock.set("2026-04-01T00:00:00")
    assert (await call(timed, key["secret"], x_end_user_cap_usd="0.000020", **user))[0] == 200, "a new month"
    status, _, body = await call(timed, key["secret"], x_end_user_cap_usd="1")
    assert (status, body["error"]["param"]) == (400, "x-end-user-cap-usd")


async def test_the_header_may_set(timed: Running, clock: Clock) -> None:
    """With `end_user_cap: "set"` the header is the user's cap for its call, up or down, by what he has spent."""
    key = await timed.mint(livemode=False, limits=[QUOTA], end_user_cap="set")
    assert key["end_user_cap"] == "set"
    user = {"x_end_user_id": "ann"}
    assert await _until_refused(timed, key["secret"], **user) > 2
    status, headers, body = await call(timed, key["secret"], x_end_user_cap_usd="0.000020", **user)
    said = refusal(status, headers, body, unit="micros")
    assert (said["cap"], said["limit_micros"]) == ("end_user", 20)
    assert (await call(timed, key["secret"], x_end_user_cap_usd="0.001", **user))[0] == 200
    await timed.quiet()
    assert (await call(timed, key["secret"], **user))[0] == 402, "for its own call only"
    await timed.api("PUT", f"/v1/end_users/ann?key_id={key['id']}", {"max_spend_usd": "0.000001"})
    assert (await call(timed, key["secret"], **user))[0] == 402
    assert (await call(timed, key["secret"], x_end_user_cap_usd="0.001", **user))[0] == 200
    await timed.api("PATCH", f"/v1/keys/{key['id']}", {"end_user_cap": "lower"})
    assert (await call(timed, key["secret"], x_end_user_cap_usd="0.001", **user))[0] == 402
    assert (await timed.api("PATCH", f"/v1/keys/{key['id']}", {"end_user_cap": "raise"}))[0] == 400


@pytest.mark.parametrize("bound", ["key", "team", "team's default", "shared plan", "other limit"])
async def test_what_the_header_cannot_raise(timed: Running, bound: str) -> None:
    """The key's own cap stays, and so does what its parents say of each user; and so do limits that are no cap."""
    own: dict[str, object] = {"limits": [QUOTA]}
    above: dict[str, object] = {}
    if bound == "key":
        own |= {"max_spend_usd": "0.00006"}
    elif bound == "team":
        above = {"max_spend_usd": "0.00006"}
    elif bound == "team's default":
        above = {"limits": [QUOTA]}
    elif bound == "shared plan":
        _, plan = await timed.api("POST", "/v1/plans", {"limits": [QUOTA]})
        own = above = {"plan": plan["id"]}
    else:
        own = {"limits": [QUOTA | {"match": {"model": "gpt-4o*"}}]}
    team = await timed.mint(livemode=False, scope="team", **above)
    key = await timed.mint(by=team["secret"], livemode=False, end_user_cap="set", **own)
    for admitted in range(20):  # noqa: B007 - counted
        status, _, body = await call(timed, key["secret"], x_end_user_id="ann", x_end_user_cap_usd="1")
        if status != 200:
            break
        await timed.quiet()
    assert (status, body["error"]["farthing"]["limit_micros"]) == (402, 60)
    assert admitted > 2


async def test_the_header_holds_under_parallel_calls(gateway: Running) -> None:
    """Calls of one user that come together cannot out-spend the cap that each of them brings."""
    key = await gateway.mint(livemode=False, overdraft="never")
    together = await asyncio.gather(
        *(call(gateway, key["secret"], x_end_user_id="ann", x_end_user_cap_usd="0.0001") for _ in range(40))
    )
    assert {status for status, _, _ in together} == {200, 402}
    await gateway.quiet()
    _, shown = await gateway.api("GET", f"/v1/end_users/ann?key_id={key['id']}")
    assert 0 < shown["spent_micros"] <= 100


async def test_end_user_required(timed: Running) -> None:
    """A key that needs an end user refuses a call without one, before anything is held."""
    key = await timed.mint(livemode=False, end_user_required=True)
    status, _, body = await call(timed, key["secret"])
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "end_user_required", "x-end-user-id")
    assert (await call(timed, key["secret"], x_end_user_id="x" * 255))[0] == 200
    status, _, body = await call(timed, key["secret"], x_end_user_id="x" * 256)
    assert (status, body["error"]["param"]) == (400, "x-end-user-id")


async def test_who_may_speak_for_end_users(timed: Running) -> None:
    """PUT and DELETE take a master or team key, and only what is under it."""
    team = await timed.mint(livemode=False, scope="team")
    other = await timed.mint(livemode=False, scope="team")
    key = await timed.mint(by=team["secret"], livemode=False)
    reader = await timed.mint(by=team["secret"], livemode=False, scope="read")
    path = f"/v1/end_users/ann?key_id={key['id']}"
    assert (await timed.api("PUT", path, {}, key=team["secret"]))[0] == 200
    for method in ("PUT", "DELETE"):
        for secret, expected in ((key["secret"], 403), (reader["secret"], 403), (other["secret"], 404)):
            assert (await timed.api(method, path, {}, key=secret))[0] == expected
    assert (await timed.api("GET", path, key=other["secret"]))[0] == 404


async def test_deleting_forgets_the_person_and_keeps_the_sums(tmp_path: Path) -> None:
    """After DELETE the id is found nowhere, in no answer and in no byte of the database; the bill is as it was."""
    canary = "person-4a7d1ed4-canary"
    async with running(tmp_path) as farthing:
        key = await farthing.mint(livemode=False, limits=[QUOTA])
        path = f"/v1/end_users/{canary}?key_id={key['id']}"
        for name in (canary, canary, "bob"):
            assert (await call(farthing, key["secret"], x_end_user_id=name))[0] == 200
        await farthing.api("PUT", path, {"metadata": {"mail": f"{canary}@example.com"}})
        subject = {"end_user": canary}
        await farthing.api("POST", "/v1/reservations", {"amount": 5, "subject": subject}, key=key["secret"])
        await farthing.quiet()
        usage = f"/v1/usage?from_ms=0&livemode=false&key_id={key['id']}"
        _, before = await farthing.api("GET", usage)
        assert (await farthing.api("DELETE", path))[0] == 200
        assert [(await farthing.api(method, path))[0] for method in ("GET", "DELETE")] == [404, 404]
        _, after = await farthing.api("GET", usage)
        assert before["by_key"] == after["by_key"]
        for query in ("", "&format=csv", "&group_by=end_user"):
            assert canary not in str(await farthing.api("GET", usage + query))
        assert canary not in str(await farthing.events(livemode="false"))
        assert canary not in str(await farthing.api("GET", f"/v1/events?livemode=false&end_user={canary}"))
        await farthing.audited()

        status, _, _ = await call(farthing, key["secret"], x_end_user_id="bob")
        assert status == 200
    with sqlite3.connect(tmp_path / "farthing.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    for file in list(tmp_path.iterdir()):  # noqa: ASYNC240 - nothing else runs
        assert canary.encode() not in file.read_bytes(), file.name
    async with running(tmp_path) as farthing:
        status, _, _ = await call(farthing, key["secret"], x_end_user_id=canary)
        assert status == 200, "the same id is a new person"
        await farthing.quiet()
        _, shown = await farthing.api("GET", path)
        assert (shown["metadata"], shown["spent_micros"] > 0) == ({}, True)
        _, events = await farthing.api("GET", f"/v1/events?livemode=false&end_user={canary}")
        assert len(events["data"]) == 1
        await farthing.audited()


async def test_a_person_forgotten_between_two_calls_is_opened_anew(gateway: Running) -> None:
    """The gateway's memory of an end user does not survive a DELETE: the next call is admitted as a stranger's."""
    key = await gateway.mint(livemode=False, limits=[{"unit": "requests", "max": 1, "per": "end_user"}])
    path = f"/v1/end_users/ann?key_id={key['id']}"
    for _ in range(2):
        assert (await call(gateway, key["secret"], chat(), x_end_user_id="ann"))[0] == 200
        assert (await call(gateway, key["secret"], chat(), x_end_user_id="ann"))[0] == 429
        assert (await gateway.api("DELETE", path))[0] == 200
