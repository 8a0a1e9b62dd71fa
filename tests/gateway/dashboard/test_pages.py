"""Usage, calls, customers, plans, alerts, providers, prices, a call to try: each says what the API says."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest

from gateway.api import events
from gateway.dashboard.page import NAVIGATION
from gateway.dashboard.trial import SAMPLES
from keys.ids import new_body
from ledger.records import Ask, Facts, Held, Recover
from tests.gateway.dashboard.browsing import Visitor, hidden
from tests.gateway.dashboard.test_keys import CANARY, CHAT, DEAR, SECRET
from tests.harness import Running, running
from tests.ledger.world import START_MS, Clock

DAY_MS = 86_400_000
PAGES = [path for path, _, _ in NAVIGATION]


def usd(micros: int) -> str:
    return f"${micros // 10**6:,}.{micros % 10**6:06}" if micros % 10_000 else f"${micros / 10**6:,.2f}"


async def reported(farthing: Running, key: dict[str, Any], *events: dict[str, Any]) -> None:
    now_ms = farthing.gateway.ledger.clock_ms()
    sent = [
        {"idempotency_key": f"{key['id']}-{number}", "timestamp_ms": now_ms, "subject": {"key_id": key["id"]}} | event
        for number, event in enumerate(events)
    ]
    for event in sent:
        event["subject"] = {"key_id": key["id"]} | event["subject"]
    status, answer = await farthing.api("POST", "/v1/events", sent)
    assert (status, answer["accepted"]) == (200, len(events)), answer


async def test_usage_is_one_sum_in_the_head_the_table_the_file_and_the_api(farthing: Running, visitor: Visitor) -> None:
    """Whatever it is by, and whatever it is narrowed to."""
    now_ms = farthing.gateway.ledger.clock_ms()
    ann, bob = await farthing.mint(name="Ann"), await farthing.mint(name="Bob")
    for key, factor in ((ann, 1), (bob, 3)):
        events = [
            {
                "cost_micros": factor * (10_001 + number),
                "provider": "p",
                "model": f"m{number % 2}",
                "subject": {"end_user": f"u{number % 3}"},
                "metadata": {"team": f"t{number % 2}"},
                "timestamp_ms": now_ms - number * DAY_MS,
            }
            for number in range(5)
        ]
        await reported(farthing, key, *events)
    await visitor.sign_in()
    _, _, body = await visitor.get("/usage")
    first = (await visitor.get("/usage?from=2020-01-31&to=2020-02-01"))[2]
    assert "Nothing was called" in first and "<h1>$0.00</h1>" in first
    from_day, to_day = (re.search(rf'name="{name}" type="date" value="([\d-]+)"', body)[1] for name in ("from", "to"))  # type: ignore[index]
    assert from_day.endswith("-01") and from_day <= to_day

    def day(back: int) -> str:
        return datetime.fromtimestamp(now_ms / 1000 - back * 86_400, UTC).date().isoformat()

    span = f"from={day(10)}&to={day(0)}"
    whole = sum(factor * (10_001 + number) for number in range(5) for factor in (1, 3))
    for narrowed, expected in (
        ("", whole),
        (f"&key_id={ann['id']}", whole // 4),
        ("&model=m1", 4 * (2 * 10_001 + 4)),
        ("&end_user=u2", 4 * 10_003),
    ):
        for by in ("key", "model", "day", "end_user", "tag:team"):
            status, _, body = await visitor.get(f"/usage?{span}&by={by}{narrowed}")
            assert status == 200
            assert f"<h1>{usd(expected)}</h1>" in body, (by, narrowed)
            foot = body.partition("<tfoot>")[2].partition("</tfoot>")[0]
            assert usd(expected) in foot
            _, headers, file = await visitor.get(f"/usage.csv?{span}&by={by}{narrowed}")
            rows = list(csv.DictReader(io.StringIO(file)))
            assert headers["content-type"].startswith("text/csv")
            assert sum(int(row["cost_micros"]) for row in rows) == expected
            shown = re.findall(
                r'<td class="num">(\$[\d.,]+)</td>', body.partition("<tbody>")[2].partition("</tbody>")[0]
            )
            assert shown[::2] == [usd(int(row["cost_micros"])) for row in rows]
    assert (await farthing.api("GET", "/v1/usage?from_ms=0"))[1]["cost_micros"] == whole
    for wrong in ("by=moon", "by=tag:", "from=x", "from=2027-01-02&to=2027-01-01", "from=1990-01-01"):
        assert (await visitor.get(f"/usage?{wrong}"))[0] == 400


async def test_a_call_is_told_in_full(farthing: Running, visitor: Visitor) -> None:
    """What was held and charged; why one was refused; filters; and the file of the list."""
    await visitor.sign_in()
    key = await farthing.mint(name="Ann", livemode=False, max_spend_usd="0.02")
    _, headers, _ = await farthing.call(key["secret"], CHAT, headers={"x-end-user-id": "u1"})
    assert (await farthing.call(key["secret"], DEAR))[0] == 402
    await farthing.quiet()
    refused, settled = (await farthing.api("GET", "/v1/events?livemode=false"))[1]["data"]
    for path, ids in (
        ("", [refused, settled]),
        ("&decision=blocked", [refused]),
        ("&decision=allowed", [settled]),
        ("&reason=spend_cap_exceeded", [refused]),
        ("&model=gpt-4o-mini", [settled]),
        ("&end_user=u1", [settled]),
        (f"&key_id={key['id']}", [refused, settled]),
        ("&mode=monitor", []),
        ("&from=2020-01-01&to=2020-01-02", []),
    ):
        _, _, body = await visitor.get(f"/calls?env=test{path}")
        assert [each["id"] for each in (refused, settled) if each["id"] in body] == [each["id"] for each in ids], path
        _, _, file = await visitor.get(f"/calls.csv?env=test{path}")
        assert [row["id"] for row in csv.DictReader(io.StringIO(file))] == [each["id"] for each in ids]
    _, _, body = await visitor.get(f"/calls/{settled['id']}")
    for word in (usd(settled["held_micros"]), usd(settled["cost_micros"]), settled["request_id"], "u1", "input tokens"):
        assert word in body
    assert headers["x-farthing-request-id"] == settled["request_id"]
    _, _, body = await visitor.get(f"/calls/{refused['request_id']}")
    assert "over its spend cap" in body and "nothing was charged" in body
    assert (await visitor.get("/calls/evt_none"))[0] == 404
    team = await farthing.mint(scope="team")
    await visitor.sign_in(team["secret"])
    assert (await visitor.get(f"/calls/{settled['id']}"))[0] == 404


async def test_what_nobody_settled_is_resolved_by_the_operator(farthing: Running, visitor: Visitor) -> None:
    """A call whose gateway died: listed, told, charged by the operator's word and by no other's."""
    team = await farthing.mint(scope="team", max_spend_usd="1")
    key = await farthing.mint(by=team["secret"], livemode=False, max_spend_usd="1")
    ledger = farthing.gateway.ledger
    root = await ledger.accounts.root()
    assert root is not None
    call = Ask(
        id=new_body(ledger.clock_ms()),
        account_id=(await ledger.accounts.get(root, key["id"])).id,
        subject_id=0,
        facts=Facts(mode="proxy", provider="p", model="lost"),
        owner="dead",
        fixed_picos=5_000 * 10**6,
    )
    assert isinstance(await ledger.calls.hold(call), Held)
    await ledger._writer.submit(Recover(id=call.id))
    (held,) = (await farthing.api("GET", "/v1/holds?state=unsettled"))[1]["data"]
    await visitor.sign_in(team["secret"])
    here = f"/calls/{held['id']}"
    assert held["id"] in (await visitor.get("/calls?state=unsettled"))[2]
    assert "/resolve" not in (await visitor.get(here))[2]
    assert (await visitor.post(f"{here}/resolve", {"action": "release"}))[0] == 403
    await visitor.sign_in()
    assert usd(held["amount"]) in (await visitor.get("?env=test"))[2]
    assert "/resolve" in (await visitor.get(here))[2]
    assert (await visitor.post(f"{here}/resolve", {"action": "charge", "cost_micros": "many"}))[0] == 400
    status, headers, _ = await visitor.post(f"{here}/resolve", {"action": "charge", "cost_micros": "123"})
    here = headers["location"].removeprefix("/dashboard")
    assert status == 303
    assert (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1]["spent_micros"] == 123
    assert "$0.000123" in (await visitor.get(here))[2]


async def test_an_end_user_is_capped_and_forgotten(farthing: Running, visitor: Visitor) -> None:
    """Its own cap, its calls refused, and in the end nobody knows who it was; ids may have any letters in them."""
    await visitor.sign_in()
    key = await farthing.mint(name="Ann", livemode=False, max_spend_usd="1")
    who = "ann/../b?c=d&e <b>"
    assert (await farthing.call(key["secret"], CHAT, headers={"x-end-user-id": who}))[0] == 200
    assert (await farthing.call(key["secret"], CHAT, headers={"x-end-user-id": "another"}))[0] == 200
    await farthing.quiet()
    _, _, body = await visitor.get("/customers?env=test")
    assert "another" in body and "ann/../b?c=d&amp;e &lt;b&gt;" in body
    (path,) = {each.replace("&amp;", "&") for each in re.findall(r'href="/dashboard(/customer\?id=ann[^"]*)"', body)}
    status, _, body = await visitor.get(path)
    assert (status, "ann/../b?c=d&amp;e &lt;b&gt;" in body, "gpt-4o-mini" in body) == (200, True, True)
    act = path.replace("/customer?", "/customer/{}?")
    assert (await visitor.post(act.format("change"), {"max_spend_usd": "2"}))[0] == 403
    assert (await visitor.post(act.format("change"), {"max_spend_usd": "0.5", "reset": "day"}))[0] == 303
    assert "$0.50" in (await visitor.get(path))[2]
    assert (await visitor.post(act.format("change"), {"max_spend_usd": "", "disabled": "yes"}))[0] == 303
    assert (await farthing.call(key["secret"], CHAT, headers={"x-end-user-id": who}))[0] != 200
    assert (await visitor.post(act.format("forget")))[0] == 400
    assert (await visitor.post(act.format("forget"), {"confirm": "yes"}))[0] == 303
    assert (await visitor.get(path))[0] == 404
    body = (await visitor.get(f"/customers?env=test&key_id={key['id']}"))[2]
    assert "ann/.." not in body and "another" in body
    assert "another" in (await visitor.get("/customers?env=test&q=another"))[2]


async def test_plans_are_made_changed_and_removed(farthing: Running, visitor: Visitor) -> None:
    """A change is in force on the keys on it; one that is in use stays."""
    await visitor.sign_in()
    fields = {"name": "Pro", "max_spend_usd": "10", "reset": "month", "markup_percent": "12.5"}
    limit = {"limit_unit_0": "requests", "limit_max_0": "100", "limit_window_0": "day", "limit_per_0": "end_user"}
    once = hidden((await visitor.get("/plans"))[2], "once")
    status, headers, _ = await visitor.post("/plans", fields | limit | {"once": once})
    path = headers["location"].removeprefix("/dashboard").partition("?")[0]
    assert (await visitor.post("/plans", fields | limit | {"once": once}))[1]["location"] == headers["location"]
    (plan,) = (await farthing.api("GET", "/v1/plans"))[1]["data"]
    assert (plan["max_spend_micros"], plan["markup_percent"], len(plan["limits"])) == (10_000_000, "12.5", 1)
    key = await farthing.mint(plan=plan["id"], name="Ann")
    assert (await visitor.post(f"{path}/change", fields | {"max_spend_usd": "20"}))[0] == 303
    assert (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1]["max_spend_micros"] == 20_000_000
    assert len((await farthing.api("GET", f"/v1/plans/{plan['id']}"))[1]["limits"]) == 1
    assert "Pro" in (await visitor.get(path))[2]
    await limits_are_edited(farthing, visitor, path, fields)
    status, _, body = await visitor.post(f"{path}/remove", {"confirm": "yes"})
    assert (status, 'role="alert"' in body) == (400, True)
    assert (await farthing.api("PATCH", f"/v1/keys/{key['id']}", {"plan": None}))[0] == 200
    assert (await visitor.post(f"{path}/remove", {"confirm": "yes"}))[0] == 303
    assert (await visitor.get(path))[0] == 404


async def limits_are_edited(farthing: Running, visitor: Visitor, path: str, fields: dict[str, str]) -> None:
    """Another maximum, one more, one less; what a form cannot say of a limit stays as it is."""
    plan_id = path.rpartition("/")[2]
    special = {"unit": "tokens", "max": 9, "window": "week", "match": {"metadata": {"a": "b"}}, "action": "warn"}
    special |= {"timezone": "Europe/London", "alert_at": [7]}

    async def limits() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await farthing.api("GET", f"/v1/plans/{plan_id}"))[1]["limits"]
        return found

    (first,) = await limits()
    kept = {"id": first["id"], "unit": "requests", "max": 100, "window": "day", "per": "end_user"}
    assert (await farthing.api("PATCH", f"/v1/plans/{plan_id}", {"limits": [kept, special]}))[0] == 200
    second = (await limits())[1]
    for field in (f"kept_{first['id']}", f"kept_{second['id']}"):
        assert f'name="{field}"' in (await visitor.get(path))[2]
    edit = fields | {"limits": "yes", f"kept_{first['id']}": "1,200", f"kept_{second['id']}": "10"}
    edit |= {"limit_unit_0": "requests", "limit_max_0": "5", "limit_window_0": "minute", "limit_per_0": "key"}
    assert (await visitor.post(f"{path}/change", edit))[0] == 303
    found = await limits()
    assert [limit["max"] for limit in found] == [1200, 10, 5]
    assert found[0] | {"max": 100} == first and found[1] | {"max": 9} == second
    status, _, body = await visitor.post(f"{path}/change", edit | {f"kept_{first['id']}": "many"})
    assert (status, "limits[0].max" in body, 'value="many"' in body) == (400, True, True)
    gone = {f"kept_{limit['id']}": "" for limit in found[1:]}
    assert (await visitor.post(f"{path}/change", fields | {"limits": "yes"} | gone))[0] == 303
    assert [limit["max"] for limit in await limits()] == [1200]


async def test_days_are_those_of_a_time_zone(tmp_path: Path) -> None:
    """What was called at 23:30 in UTC is of the next day in Berlin: bar, table, file, total, and calls."""
    clock = Clock(
        1_782_000_000_000 - 1_782_000_000_000 % 86_400_000 + 86_400_000 - 1_800_000
    )  # 23:30 on a summer's day
    async with (
        running(tmp_path, clock=clock) as farthing,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
    ):
        visitor = await Visitor(farthing, http).sign_in()
        key = await farthing.mint(name="Ann")
        made = {"idempotency_key": "e", "timestamp_ms": clock(), "cost_micros": 10_000, "provider": "p", "model": "m"}
        made |= {"subject": {"key_id": key["id"]}}
        assert (await farthing.api("POST", "/v1/events", made))[1]["accepted"] == 1
        here, there = (
            f"{datetime.fromtimestamp(clock() / 1000, zone):%Y-%m-%d}" for zone in (UTC, ZoneInfo("Europe/Berlin"))
        )
        assert here < there
        for zone, day, other in (("", here, there), ("Europe/Berlin", there, here)):
            _, _, body = await visitor.get(f"/usage?by=day&timezone={zone}")
            table = body.partition("<tbody>")[2].partition("</tbody>")[0]
            assert (f">{day}</a>" in table, f">{other}</a>" in table) == (True, False)
            assert f"from={day}&amp;to={day}" in body.partition("<svg")[2].partition("</svg>")[0]
            for asked, expected in ((day, "$0.01"), (other, "$0.00")):
                _, _, body = await visitor.get(f"/usage?from={asked}&to={asked}&timezone={zone}")
                assert f"<h1>{expected}</h1>" in body and f", {zone or 'UTC'}" in body
                _, _, body = await visitor.get(f"/calls?from={asked}&to={asked}&timezone={zone}")
                assert ("evt_" in body) == (expected == "$0.01")
            _, _, file = await visitor.get(f"/usage.csv?by=day&timezone={zone}")
            assert [row["day"] for row in csv.DictReader(io.StringIO(file))] == [day]
        for wrong in ("Nowhere/At_All", "../etc/passwd", "x" * 300):
            assert (await visitor.get(f"/usage?timezone={wrong}"))[0] == 400


async def test_the_file_of_calls_has_all_of_them(
    farthing: Running, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only the page's: newest first, over many reads, while the filters hold; up to what a spreadsheet opens."""
    monkeypatch.setattr(events, "EXPORT_ROWS_AT_ONCE", 7)
    await visitor.sign_in()
    key = await farthing.mint(name="Ann")
    made = [
        {"idempotency_key": str(number), "timestamp_ms": farthing.gateway.ledger.clock_ms(), "cost_micros": number}
        | {"provider": "p", "model": f"m{number % 2}", "subject": {"key_id": key["id"]}}
        for number in range(130)
    ]
    assert (await farthing.api("POST", "/v1/events", made))[1]["accepted"] == 130

    async def costs(query: str) -> list[int]:
        status, headers, file = await visitor.get(f"/calls.csv?{query}")
        assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        return [int(row["cost_micros"]) for row in csv.DictReader(io.StringIO(file))]

    _, _, body = await visitor.get("/calls?model=m1")
    (link,) = re.findall(r'href="/dashboard/calls\.csv\?([^"]*)"', body)
    assert await costs(link) == list(range(129, 0, -2))
    assert await costs("") == list(range(129, -1, -1))
    assert await costs("model=none") == []
    monkeypatch.setattr(events, "EXPORT_ROWS_MAX", 14)
    assert len(await costs("")) == 14
    assert (await visitor.get("/calls.csv?from=x"))[0] == 400
    assert (await visitor.get("/calls.csv?key_id=key_none"))[0] == 404


async def test_hooks_are_made_tested_and_removed(tmp_path: Path) -> None:
    """A webhook's secret is shown once; a test is sent and sent again; it is disabled, replayed, removed."""
    async with (
        running(tmp_path, FARTHING_HOOKS_PRIVATE="allow") as farthing,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
    ):
        visitor = await Visitor(farthing, http).sign_in()
        status, _, body = await visitor.post("/alerts", {"kind": "webhook", "target": "ftp://example.com"})
        assert (status, "url: must" in body, "ftp://example.com" in body) == (400, True, True)
        fields = {
            "kind": "webhook",
            "target": "http://127.0.0.1:1234/hook/secret-path",
            "events": "limit.* call.overrun",
        }
        status, _, body = await visitor.post("/alerts", fields | {"description": CANARY})
        assert (status, "whsec_" in body) == (200, True), body
        (hook,) = (await farthing.api("GET", "/v1/hooks"))[1]["data"]
        here = f"/alerts/{hook['id']}"
        for path in ("/alerts", here):
            _, _, body = await visitor.get(path)
            assert "whsec_" not in body and "secret-path" not in body and "<script>" not in body
        assert (await visitor.post(f"{here}/test"))[0] == 303
        (sent,) = (await farthing.api("GET", f"/v1/hooks/{hook['id']}/deliveries"))[1]["data"]
        assert sent["id"] in (await visitor.get(here))[2]
        assert sent["id"] not in (await visitor.get(f"{here}?state=delivered"))[2]
        _, _, body = await visitor.get(f"/deliveries/{sent['id']}")
        assert "hook.test" in body and hook["id"] in body
        assert (await visitor.post(f"/deliveries/{sent['id']}/retry"))[0] == 303
        assert (await visitor.post(f"{here}/replay", {"from": "2026-01-01", "to": "2026-01-02"}))[0] == 303
        assert (await visitor.post(f"{here}/replay", {"from": "then"}))[0] == 400
        assert "whsec_" in (await visitor.post(f"{here}/rotate"))[2]
        assert (await visitor.post(f"{here}/switch", {"status": "disabled"}))[0] == 303
        assert (await farthing.api("GET", f"/v1/hooks/{hook['id']}"))[1]["status"] == "disabled"
        assert (await visitor.post(f"{here}/remove"))[0] == 400
        assert (await visitor.post(f"{here}/remove", {"confirm": "yes"}))[0] == 303
        assert (await visitor.get(here))[0] == 404


@pytest.mark.parametrize("number", range(4))
async def test_a_call_is_tried(farthing: Running, visitor: Visitor, number: int) -> None:
    """In each shape: a fresh test key, the answer and the same as code; the same key again; the cap; no live key."""
    assert len(SAMPLES) == 4
    await visitor.sign_in()
    form = {"sample": SAMPLES[number]["name"], "tokens": "50", "prompt": 'Say "hello", it\'s <b>me</b>', "fault": ""}
    status, _, body = await visitor.post("/try", form)
    secret = SECRET.findall(body)[0]
    assert (status, ">200 <" in body, "x-farthing-cost-micros" in body) == (200, True, True), body
    assert secret.startswith("fk_test_") and "<b>me</b>" not in body
    for word in ("curl http://127.0.0.1", "base", "Url" if number == 3 else "baseURL"):
        assert word in body
    status, _, body = await visitor.post("/try", form | {"key": secret, "fault": "status=429"})
    assert ">200 <" not in body
    _, _, body = await visitor.post("/try", form | {"key": secret, "tokens": "40000"})
    assert (">402 <" in body) == (number != 3), body
    live = (await farthing.mint())["secret"]
    for wrong in ({"key": live}, {"tokens": "x"}, {"sample": "x"}, {"fault": "x"}):
        assert (await visitor.post("/try", form | wrong))[0] == 400
    assert (await farthing.api("GET", "/v1/usage?from_ms=0"))[1]["requests"] == 0


async def test_providers_and_prices_are_listed(farthing: Running, visitor: Visitor) -> None:
    """Whether a credential is there, never the credential; the price of a model, by part of its name."""
    await visitor.sign_in()
    _, _, body = await visitor.get("/providers")
    assert body.count('<span class="tag set">present</span>') == 13
    assert "sk-provider-canary" not in body
    _, _, body = await visitor.get("/prices?q=GPT-4o-mini&provider=openai")
    assert "gpt-4o-mini" in body and "0.15" in body and "claude" not in body
    assert "No model is called so" in (await visitor.get("/prices?q=nonesuch"))[2]
    team = await farthing.mint(scope="team")
    await visitor.sign_in(team["secret"])
    body = (await visitor.get("/providers"))[2]
    assert farthing.upstream.origin("openai") not in body and "OPENAI_API_KEY" not in body


async def test_a_read_key_finds_no_form_anywhere(farthing: Running, visitor: Visitor) -> None:
    """No page has one but the sign-out; those of alerts and trials are not for it; nothing is taken."""
    plan = (await farthing.api("POST", "/v1/plans", {"name": "Pro"}))[1]
    reader = await farthing.mint(scope="read")
    await visitor.sign_in(reader["secret"])
    for path in PAGES:
        status, _, body = await visitor.get(path)
        expected = 403 if path in ("/alerts", "/try") else 200
        assert status == expected, path
        assert set(re.findall(r'<form method="post" action="([^"]*)"', body)) <= {"/dashboard/logout"}
    for path in ("/plans", f"/plans/{plan['id']}/change", "/alerts", "/try", "/customer/forget?id=a&key_id=b"):
        assert (await visitor.post(path, {"confirm": "yes", "name": "x"}))[0] == 403


async def test_every_page_keeps_to_the_rules(farthing: Running, visitor: Visitor) -> None:
    """Nothing inline; markup of tenants is text; each has one main, one h1, and a label for every field."""
    key = await farthing.mint(name=CANARY, livemode=False, unpriced="allow", metadata={"m": CANARY}, max_spend_usd="1")
    event = {"cost_micros": 950_000, "model": CANARY, "subject": {"end_user": CANARY}, "metadata": {"t": CANARY}}
    await reported(farthing, key, event | {"provider": "p<b>"})
    plan = (await farthing.api("POST", "/v1/plans", {"name": CANARY}))[1]
    (told,) = (await farthing.api("GET", "/v1/events?livemode=false"))[1]["data"]
    await visitor.sign_in()
    further = [
        *(f"/usage?by={by}" for by in ("model", "day", "end_user", "tag:t", f"tag:{CANARY[:30].replace('&', '')}")),
        *(f"/keys/{key['id']}", "/keys/new", f"/plans/{plan['id']}", f"/calls/{told['id']}", "/calls?state=open"),
        "/calls?state=unsettled",
    ]
    for path in (f"{each}{'&' if '?' in each else '?'}env=test" for each in (*PAGES, *further)):
        status, headers, body = await visitor.get(path)
        assert status == 200, path
        assert "default-src 'none'" in headers["content-security-policy"]
        for forbidden in ("<script>", "<img src=x", " style=", " onclick", "javascript:", "<b>", "http://www"):
            assert forbidden not in body, (path, forbidden)
        assert body.count("<main") == body.count("<h1>") == 1
        ids = set(re.findall(r' id="([^"]+)"', body))
        labelled = set(re.findall(r'<label for="([^"]+)"', body))
        assert labelled <= ids
        fields = re.findall(r"<(?:input|select|textarea)\b[^>]*>", body)
        for field in fields:
            if 'type="hidden"' not in field and 'type="checkbox"' not in field:
                assert re.search(r' id="([^"]+)"', field)[1] in labelled, field  # type: ignore[index]


async def test_an_old_events_page_says_that_they_are_gone(tmp_path: Path) -> None:
    """Whole days stay billed when their events are dropped; a tag's cannot be, and the page says why."""
    clock = Clock()
    async with (
        running(tmp_path, clock=clock, FARTHING_EVENTS_RETENTION_DAYS="7") as farthing,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
    ):
        key = await farthing.mint(name="Ann")
        await reported(farthing, key, {"cost_micros": 5, "model": "m", "provider": "p"})
        clock.now_ms += 20 * DAY_MS
        await farthing.gateway.ledger.tending.drop_events(7)
        visitor = await Visitor(farthing, http).sign_in()
        day = datetime.fromtimestamp(START_MS / 1000, UTC).date().isoformat()
        assert "<h1>$0.000005</h1>" in (await visitor.get(f"/usage?from={day}"))[2]
        status, _, body = await visitor.get(f"/usage?from={day}&by=tag:x")
        assert (status, "are gone" in body) == (400, True)
        assert (await visitor.get(""))[0] == 200


async def test_it_is_shown_who_changed_what(farthing: Running, visitor: Visitor) -> None:
    """By the API and by the dashboard, of all or of one; a team sees its own."""
    team = await farthing.mint(scope="team", name="Sales")
    key = await farthing.mint(by=team["secret"], name=CANARY, max_spend_usd="1")
    await farthing.api("PATCH", f"/v1/keys/{key['id']}", {"max_spend_usd": "2.5"}, key=team["secret"])
    await visitor.sign_in()
    await visitor.post(f"/keys/{key['id']}/revoke", {"confirm": "yes"})

    _, _, body = await visitor.get(f"/changes?object_id={key['id']}")
    rows = re.findall(r"<tr><td>.*?</tr>", body, re.DOTALL)
    assert [re.search(r"<td>(key\.\w+)</td>", row)[1] for row in rows] == [  # type: ignore[index]
        "key.revoked",
        "key.updated",
        "key.created",
    ]
    assert 'max spend: <span class="quiet">$1.00</span> → $2.50' in rows[1]
    assert team["id"] in rows[1]
    assert "dashboard:key_" in rows[0]
    assert key["secret"] not in body
    _, _, body = await visitor.get("/changes?type=key.revoked")
    assert body.count("<td>key.revoked</td>") == 1
    other = await farthing.mint(scope="team")
    await visitor.post("/logout")
    await visitor.sign_in(other["secret"])
    _, _, body = await visitor.get("/changes")
    assert key["id"] not in body
    assert other["id"] in body
