"""The overview and the keys: what is shown is what the API says, and what is done is done by it."""

from __future__ import annotations

import re

import pytest

from tests.gateway.dashboard.browsing import Visitor, hidden
from tests.harness import Running

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
DEAR = {"model": "gpt-4o", "max_tokens": 4000, "messages": [{"role": "user", "content": "hello"}]}
CANARY = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"
SECRET = re.compile(r"fk_(?:live|test)_\w+")


async def test_a_key_is_minted_once_and_its_secret_works(farthing: Running, visitor: Visitor) -> None:
    """The secret is on one page; the form that is sent again shows the same key again; the list never has it."""
    await visitor.sign_in()
    _, _, form = await visitor.get("/keys/new?env=test")
    fields = {
        "once": hidden(form, "once"),
        "name": "Ann",
        "max_spend_usd": "0.02",
        "reset": "month",
        "metadata": "team = search\nregion=eu",
        "limit_unit_0": "requests",
        "limit_max_0": "1,000",
        "limit_window_0": "day",
        "limit_per_0": "key",
        "expires": "2030-01-31",
        "allowed_models": "gpt-4o, gpt-4o-mini",
    }
    status, _, body = await visitor.post("/keys?env=test", fields)
    assert status == 200, body
    (secret, *_) = SECRET.findall(body)
    assert SECRET.findall((await visitor.post("/keys?env=test", fields))[2])[0] == secret
    ((key, *others),) = ((await farthing.api("GET", "/v1/keys"))[1]["data"],)
    assert [each["scope"] for each in others] == ["master"] or others == []
    assert (key["name"], key["max_spend_micros"], key["reset"], key["livemode"]) == ("Ann", 20_000, "month", False)
    assert (key["metadata"], key["allowed_models"]) == (
        {"team": "search", "region": "eu"},
        ["gpt-4o", "gpt-4o-mini"],
    )
    assert key["expires_at_ms"] == 1_896_134_400_000 - 1
    assert [(each["unit"], each["max"]) for each in key["limits"] if each["unit"] == "requests"] == [("requests", 1000)]
    assert (await farthing.call(secret, CHAT))[0] == 200
    await farthing.quiet()
    for path in ("/keys?env=test", f"/keys/{key['id']}", "?env=test"):
        status, _, body = await visitor.get(path)
        assert (status, "Ann" in body, secret in body) == (200, True, False)


async def test_what_the_api_refuses_the_form_tells(farthing: Running, visitor: Visitor) -> None:
    """The reason and the field, with what was typed still there; nothing is made."""
    await visitor.sign_in()
    for fields, told in (
        ({"max_spend_usd": "ten"}, "max_spend_usd"),
        ({"max_spend_usd": "1e2"}, "max_spend_usd"),
        ({"scope": "emperor"}, "scope"),
        ({"allowed_models": "nonesuch"}, "allowed_models[0]"),
        ({"expires": "tomorrow"}, "expires"),
        ({"expires": "2020-01-01"}, "expires_at_ms"),
        ({"metadata": "nothing"}, "metadata"),
        ({"limit_max_1": "many"}, "limits[1].max"),
    ):
        status, _, body = await visitor.post("/keys", {"name": "typed already"} | fields)
        (alert,) = re.findall(r'role="alert">(.*?)</div>', body)
        assert (status, told in alert, "typed already" in body) == (400, True, True), (fields, alert)
    assert "typed already" not in str((await farthing.api("GET", "/v1/keys"))[1])


async def test_a_key_is_changed_by_its_page(farthing: Running, visitor: Visitor) -> None:
    """The cap is met and told, raised, credited; disabled and enabled; rotated; revoked once the box is ticked."""
    await visitor.sign_in()
    key = await farthing.mint(name="Ann", livemode=False, max_spend_usd="0.02")
    here = f"/keys/{key['id']}"
    assert (await farthing.call(key["secret"], DEAR))[0] == 402
    await farthing.quiet()
    body = (await visitor.get(here))[2]
    assert "over its spend cap" in body and "$0.02" in body and "binds" in body
    assert "over its spend cap" in (await visitor.get("?env=test"))[2]
    status, headers, _ = await visitor.post(f"{here}/raise", {"max_spend_usd": "1", "reset": "month"})
    assert (status, headers["location"]) == (303, f"/dashboard{here}?done=raised")
    assert "in force on the next call" in (await visitor.get(f"{here}?done=raised"))[2]
    assert (await farthing.call(key["secret"], DEAR))[0] == 200
    assert (await visitor.post(f"{here}/credit", {"amount_usd": "0.5", "reason": "sorry"}))[0] == 303
    shown = (await farthing.api("GET", f"/v1{here}"))[1]
    assert (shown["max_spend_micros"], shown["reset"]) == (1_500_000, "month")
    assert (await visitor.post(f"{here}/disable"))[0] == 303
    assert (await farthing.call(key["secret"], CHAT))[0] == 401
    assert "Enable it" in (await visitor.get(here))[2]
    assert (await visitor.post(f"{here}/enable"))[0] == 303
    status, _, body = await visitor.post(f"{here}/rotate", {"overlap_seconds": "0"})
    (secret, *_) = SECRET.findall(body)
    assert (status, (await farthing.call(key["secret"], CHAT))[0]) == (200, 401)
    assert (await farthing.call(secret, CHAT))[0] == 200
    status, _, body = await visitor.post(f"{here}/revoke")
    assert (status, "Tick the box" in body) == (400, True)
    assert (await visitor.post(f"{here}/revoke", {"confirm": "yes"}))[0] == 303
    assert (await farthing.call(secret, CHAT))[0] == 401
    body = (await visitor.get(here))[2]
    assert "revoked" in body and "/raise" not in body


async def test_a_read_key_changes_nothing(farthing: Running, visitor: Visitor) -> None:
    """No form is shown but the sign-out, and what is sent all the same is refused."""
    key = await farthing.mint(name="Ann", max_spend_usd="1")
    reader = await farthing.mint(scope="read")
    status, _, _ = await visitor.post("/login", {"key": reader["secret"]})
    for path in ("", "/keys", "/keys/new", f"/keys/{reader['id']}"):
        status, _, body = await visitor.get(path)
        assert (status, re.findall(r'<form method="post" action="([^"]*)"', body)) == (200, ["/dashboard/logout"])
    for path in ("/keys", f"/keys/{reader['id']}/raise", f"/keys/{key['id']}/revoke", f"/keys/{key['id']}/disable"):
        assert (await visitor.post(path, {"confirm": "yes", "name": "x"}))[0] == 403
    assert (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1]["status"] == "active"


async def test_a_team_key_sees_its_own_and_nobody_elses(farthing: Running, visitor: Visitor) -> None:
    """Neither names, figures nor keys of others; a cap above it is told of, but not whose it is."""
    theirs = await farthing.mint(name="Somebody else", livemode=False)
    assert (await farthing.call(theirs["secret"], CHAT))[0] == 200
    above = await farthing.mint(name="The house above", scope="team", max_spend_usd="1")
    team = await farthing.mint(by=above["secret"], name="Our team", scope="team", max_spend_usd="1")
    beside = await farthing.mint(by=above["secret"], name="Beside us", max_spend_usd="1")
    ours = await farthing.mint(by=team["secret"], name="Ours", max_spend_usd="1")
    event = {"idempotency_key": "1", "timestamp_ms": farthing.gateway.ledger.clock_ms(), "cost_micros": 400_000}
    reported = [event | {"subject": {"key_id": beside["id"]}}]
    assert (await farthing.api("POST", "/v1/events", reported, key=above["secret"]))[1]["accepted"] == 1
    await visitor.sign_in(team["secret"])
    for path in ("", "?env=test", "/keys", "/keys?env=test", f"/keys/{ours['id']}", f"/keys/{team['id']}"):
        status, _, body = await visitor.get(path)
        assert status == 200
        for word in ("Somebody else", "The house above", "Beside us", above["id"], theirs["id"]):
            assert word not in body, path
    body = (await visitor.get(f"/keys/{ours['id']}"))[2]
    assert "A limit above your own key binds" in body and "$0.60" in body
    for key in (theirs, above, beside):
        assert (await visitor.get(f"/keys/{key['id']}"))[0] == 404
        assert (await visitor.post(f"/keys/{key['id']}/disable"))[0] == 404


@pytest.mark.parametrize("term", ["ann", "ANN@EX", "cus_7", "blue", "KEY"])
async def test_keys_are_found_by_what_was_said_of_them(farthing: Running, visitor: Visitor, term: str) -> None:
    """Part of a name, an external id or metadata, in any case; a whole id; nothing else. `%` and `_` are themselves."""
    await visitor.sign_in()
    ann = await farthing.mint(name='Ann "x" ann@example.com', external_id="cus_7", metadata={"colour": "blue"})
    bob = await farthing.mint(name="Bob", external_id="cusX8")
    _, _, body = await visitor.get(f"/keys?q={ann['id'] if term == 'KEY' else term}")
    assert (ann["id"] in body, bob["id"] in body) == (True, False)
    assert ann["id"] not in (await visitor.get("/keys?q=%25zz"))[2]
    assert (await farthing.api("PATCH", f"/v1/keys/{bob['id']}", {"disabled": True}))[0] == 200
    for status, found in (("active", ann), ("disabled", bob)):
        _, _, body = await visitor.get(f"/keys?status={status}")
        assert [each["id"] for each in (ann, bob) if f"/keys/{each['id']}" in body] == [found["id"]]


async def test_what_tenants_write_is_text(farthing: Running, visitor: Visitor) -> None:
    """Names, ids and metadata, models and end users with markup in them are shown as they are, everywhere."""
    key = await farthing.mint(
        name=CANARY, external_id=CANARY, metadata={"a<b>": CANARY}, livemode=False, unpriced="allow", max_spend_usd="1"
    )
    event = {
        "idempotency_key": "1",
        "timestamp_ms": farthing.gateway.ledger.clock_ms(),
        "cost_micros": 900_000,
        "provider": CANARY[:60],
        "model": CANARY,
        "subject": {"key_id": key["id"], "end_user": CANARY},
        "metadata": {"tag": CANARY},
    }
    assert (await farthing.api("POST", "/v1/events", [event]))[1]["accepted"] == 1
    await visitor.sign_in()
    for path in (
        "?env=test",
        "/keys?env=test",
        f"/keys/{key['id']}",
        f"/keys?env=test&q={CANARY[:20]}",
        f"/keys?q={CANARY}",
    ):
        status, _, body = await visitor.get(path)
        assert status == 200
        assert "<script>" not in body and "<img src=x" not in body and "<b>" not in body, path
        assert "&lt;script&gt;" in body
    status, _, body = await visitor.post("/keys", {"name": CANARY, "max_spend_usd": CANARY})
    assert (status, "<script>" in body) == (400, False)
    status, _, body = await visitor.post("/login", {"key": CANARY, "next": f"/dashboard/{CANARY}"})
    assert (status, "<script>" in body) == (401, False)
