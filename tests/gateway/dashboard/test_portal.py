"""The end user's own page: opened once, at his own prices, and nothing in it that is not his."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.config import BadSetting
from gateway.dashboard.portal.brand import READABLE, contrast, readable, stylesheet
from ledger.portal import LIFE_MS
from tests.certificates import Certificates
from tests.harness import MASTER, Running, running, settings
from tests.ledger.world import Clock

CHAT = {"model": "gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
SESSION = "/v1/portal_sessions"
Page = tuple[int, dict[str, str], str]


class Guest:
    """An end user's browser."""

    def __init__(self, farthing: Running) -> None:
        self.farthing = farthing
        self.cookie = ""

    async def get(self, path: str, **headers: str) -> Page:
        """A page, with the cookie that was given; redirections are not followed."""
        sent = ({"cookie": self.cookie} if self.cookie else {}) | headers
        async with self.farthing.http.get(
            self.farthing.url + path, headers=sent, allow_redirects=False, skip_auto_headers=("accept",)
        ) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.text()

    async def open(self, by: str = MASTER, **asked: Any) -> Page:
        """A new address, opened; the page that it leads to."""
        url = await address(self.farthing, by=by, **asked)
        status, headers, _ = await self.get(url.removeprefix(self.farthing.url))
        assert (status, headers["location"]) == (303, "/portal")
        self.cookie = headers["set-cookie"].partition(";")[0]
        return await self.get("/portal")


async def address(farthing: Running, *, by: str = MASTER, **asked: Any) -> str:
    status, made = await farthing.api("POST", SESSION, asked, key=by)
    assert status == 201, made
    return str(made["url"])


@pytest.fixture
async def guest(farthing: Running) -> Guest:
    # The tests' client keeps cookies: each guest here shows his own only.
    farthing.http._cookie_jar = aiohttp.DummyCookieJar()
    return Guest(farthing)


async def test_an_address_is_swapped_for_a_cookie_once(farthing: Running, guest: Guest) -> None:
    """A clean address, a cookie of the portal's own path; used, wrong or looked at ahead, it gives none."""
    key = await farthing.mint(max_spend_usd="1")
    status, made = await farthing.api("POST", SESSION, {"key_id": key["id"]})
    assert status == 201 and set(made) == {"url", "expires_at_ms"}
    assert 890_000 < made["expires_at_ms"] - farthing.gateway.ledger.clock_ms() <= 900_000
    path = made["url"].removeprefix(farthing.url)
    assert re.fullmatch(r"/portal/ps_[\w-]{43}", path)
    async with farthing.http.head(made["url"]) as answer:
        assert (answer.status, "set-cookie" in answer.headers) == (405, False)
    status, headers, _ = await guest.get(path, **{"sec-purpose": "prefetch;prerender"})
    assert (status, "set-cookie" in headers) == (405, False)
    status, headers, body = await guest.get(path)
    assert (status, headers["location"], body) == (303, "/portal", "")
    cookie = {part.strip() for part in headers["set-cookie"].split(";")}
    assert {"HttpOnly", "Path=/portal", "SameSite=lax", f"Max-Age={LIFE_MS // 1000}"} <= cookie
    assert headers["set-cookie"].startswith("farthing_portal=")
    assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")
    for wrong in (path, "/portal/ps_nothing", "/portal/x/y"):
        status, wrong_headers, _ = await guest.get(wrong)
        assert (status, "set-cookie" in wrong_headers) == (404, False)
    assert (await guest.get("/portal"))[0] == (await guest.get("/portal/usage.csv"))[0] == 401
    guest.cookie = headers["set-cookie"].partition(";")[0]
    assert (await guest.get("/portal"))[0] == (await guest.get("/portal/"))[0] == 200
    assert (await guest.get("/dashboard"))[0] == 303
    assert (await guest.get("/v1/me"))[0] == 401
    assert path.removeprefix("/portal/") not in str(await farthing.gateway.ledger.accounts._access.read(_rows))


def _rows() -> Any:
    sessions = yield "SELECT * FROM portal_sessions", ()
    replays = yield "SELECT * FROM replays", ()
    return sessions, replays


async def test_what_is_asked_for_is_checked(farthing: Running) -> None:
    """A master or team key, for itself and those under it; each bad field is named; others' keys are not there."""
    team = await farthing.mint(scope="team")
    mine, other = await farthing.mint(by=team["secret"]), await farthing.mint()
    for by, key_id, status in (
        (team["secret"], mine["id"], 201),
        (team["secret"], team["id"], 201),
        (MASTER, mine["id"], 201),
        (team["secret"], other["id"], 404),
        (team["secret"], "key_none", 404),
        (mine["secret"], mine["id"], 403),
    ):
        assert (await farthing.api("POST", SESSION, {"key_id": key_id}, key=by))[0] == status
    for field, value in (
        *(("return_url", url) for url in ("javascript:alert(1)", "//a.example", "ftp://a.example", "https://", "x")),
        *(("return_url", url) for url in ("https://u:p@a.example", "https://a.example/ b", 'https://a.example/"', 7)),
        *(("ttl_seconds", ttl) for ttl in (0, -1, 86_401, "9", 1.5)),
        *(("end_user", who) for who in ("", "x" * 256, "ä" * 200, 7)),
        ("key_id", 7),
        ("theme", "dark"),
    ):
        status, answer = await farthing.api("POST", SESSION, {"key_id": mine["id"]} | {field: value})
        assert (status, answer["error"]["param"]) == (400, field), (field, value)
    assert (await farthing.api("POST", SESSION, {}))[1]["error"]["param"] == "key_id"
    assert (await farthing.api("POST", f"{SESSION}?a=b", {"key_id": mine["id"]}))[0] == 400
    await farthing.api("DELETE", f"/v1/keys/{mine['id']}")
    assert (await farthing.api("POST", SESSION, {"key_id": mine["id"]}))[1]["error"]["code"] == "key_revoked"
    origin = {"origin": "https://a.example", "authorization": f"Bearer {MASTER}"}
    for method in ("OPTIONS", "POST"):
        async with farthing.http.request(method, farthing.url + SESSION, headers=origin, json={}) as answer_:
            assert not [name for name in answer_.headers if name.lower().startswith("access-control")]


async def test_a_repeated_request_gives_the_same_address(farthing: Running) -> None:
    """With an Idempotency-Key; another body is refused, and nothing that is kept could tell the address."""
    key = await farthing.mint()
    asked, once = {"key_id": key["id"], "end_user": "ann"}, {"idempotency-key": "a"}
    first = await farthing.api("POST", SESSION, asked, headers=once)
    assert await farthing.api("POST", SESSION, asked, headers=once) == first
    assert (await farthing.api("POST", SESSION, asked | {"ttl_seconds": 5}, headers=once))[0] == 422
    assert (await farthing.api("POST", SESSION, asked))[1]["url"] != first[1]["url"]
    assert first[1]["url"].rpartition("/")[2] not in str(await farthing.gateway.ledger.accounts._access.read(_rows))


async def sold(farthing: Running) -> tuple[dict[str, Any], dict[str, str]]:
    """A key at twice and 3 % the cost, with two users' calls, and every figure and id that its user must not see."""
    plan = {"name": "Gold", "markup_percent": "103", "max_spend_usd": "7.654321", "reset": "month"}
    plan = (await farthing.api("POST", "/v1/plans", plan))[1]
    key = await farthing.mint(
        plan=plan["id"],
        name="Ann's shop",
        external_id="cus_secret",
        metadata={"deal": "secret-deal"},
        limits=[
            {"unit": "requests", "max": 500, "window": "day"},
            {"unit": "micros", "max": 3_111_111, "window": "week"},
        ],
    )
    now_ms = farthing.gateway.ledger.clock_ms()
    costs = {"ann": 1_234_567, "bob": 76_543}
    events = [
        {
            "idempotency_key": f"{who}{number}",
            "timestamp_ms": now_ms - number,
            "cost_micros": micros + number,
            "provider": "p",
            "model": f"model-{number}-{who[0]}",
            "subject": {"key_id": key["id"], "end_user": who},
            "metadata": {"secret": "margin"},
        }
        for who, micros in costs.items()
        for number in range(2)
    ]
    assert (await farthing.api("POST", "/v1/events", events))[1]["accepted"] == 4
    return key, plan


def figures(*amounts: int) -> list[str]:
    """Amounts of money as they may be written."""
    return [
        form for micros in amounts for form in (str(micros), f"{micros:,}", f"{micros // 10**6}.{micros % 10**6:06}")
    ]


async def test_only_prices_leave_by_it(farthing: Running, guest: Guest) -> None:
    """Left, spent, by model, by day and each call at the plan's prices; no cost, no id, in no byte of page or file."""
    key, plan = await sold(farthing)
    shown = (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1]
    own = (await farthing.api("GET", "/v1/me", key=key["secret"]))[1]
    status, _, page = await guest.open(key_id=key["id"], return_url="https://shop.example/top-up?a=1&b=2")
    assert status == 200
    _, headers, file = await guest.get("/portal/usage.csv")
    assert headers["content-type"].startswith("text/csv")
    for micros in (own["price_spent_micros"], own["price_remaining_micros"], own["price_max_micros"]):
        assert f"${micros / 10**6:,.6f}" in page
    assert "Gold" in page and "Ann&#39;s shop" in page and "Requests left" in page and "500 requests a day" in page
    assert '<a class="button" href="https://shop.example/top-up?a=1&amp;b=2" rel="noreferrer">Add credit</a>' in page
    assert re.search(r"in \d+ days|in \d+ hours?|in 1 day", page)
    rows = list(csv.DictReader(io.StringIO(file)))
    assert sum(int(row["price_micros"]) for row in rows) == own["price_spent_micros"]
    assert {row["model"] for row in rows} == {"model-0-a", "model-1-a", "model-0-b", "model-1-b"}
    everything = page + file
    listed = (await farthing.api("GET", "/v1/events"))[1]["data"]
    micros = [shown["spent_micros"], shown["remaining_micros"], shown["max_spend_micros"], 3_111_111]
    micros += [event["cost_micros"] for event in listed]
    ids = [key["id"], plan["id"], key["secret"], shown["parent_id"], "cus_secret", "secret-deal"]
    ids += [event["id"][4:] for event in listed] + [limit["id"] for limit in shown["limits"]]
    for told in (*figures(*micros), *ids, "margin", "markup", "bob", "ann<", "cost"):
        assert told not in everything, told


async def test_an_end_user_sees_himself_only(farthing: Running, guest: Guest) -> None:
    """His calls and limits, not his key's, nor another user's; without a cap of his own, not what the key has left."""
    key, _ = await sold(farthing)
    _, _, page = await guest.open(key_id=key["id"], end_user="ann")
    file = (await guest.get("/portal/usage.csv"))[2]
    assert "model-0-a" in page and "model-1-a" in file
    spent = 2 * 1_234_567 + 1
    assert f"${(spent * 203 // 100) / 10**6:,.6f}" in page
    assert "no cap of your own" in page and "Add credit" not in page and "Limits" not in page
    for told in ("bob", "model-0-b", "Ann&#39;s shop", key["id"], *figures(76_543, 76_543 * 203 // 100)):
        assert told not in page + file, told
    await farthing.api("PUT", f"/v1/end_users/ann?key_id={key['id']}", {"max_spend_usd": "2.5", "reset": "day"})
    _, _, page = await guest.get("/portal")
    assert "of $5.07" in page and "today" in page and "resets in" in page
    _, _, page = await guest.open(key_id=key["id"], end_user="new <b>")
    assert "new &lt;b&gt;" in page and "Nothing was called" in page
    await farthing.api("DELETE", f"/v1/end_users/new%20%3Cb%3E?key_id={key['id']}")
    assert (await guest.get("/portal"))[0] == 401


async def test_a_user_of_a_key_below_is_another(farthing: Running, guest: Guest) -> None:
    """The same name under a key of the same team is somebody else."""
    team = await farthing.mint(scope="team")
    child = await farthing.mint(by=team["secret"])
    now_ms = farthing.gateway.ledger.clock_ms()
    for number, key in enumerate((team, child)):
        event = {"idempotency_key": f"{number}", "timestamp_ms": now_ms, "cost_micros": 1000 + number}
        event |= {"provider": "p", "model": f"m{number}", "subject": {"key_id": key["id"], "end_user": "ann"}}
        assert (await farthing.api("POST", "/v1/events", event))[1]["accepted"] == 1
    _, _, page = await guest.open(by=team["secret"], key_id=team["id"], end_user="ann")
    assert "m0" in page and "m1" not in page and "$0.001001" not in page


async def test_markup_of_tenants_does_nothing(farthing: Running, guest: Guest) -> None:
    """Names of keys, plans, users and models are text, and no formula in the file."""
    canary = "<script>alert(1)</script>"
    plan = (await farthing.api("POST", "/v1/plans", {"name": canary}))[1]
    key = await farthing.mint(name=canary, plan=plan["id"])
    for number, model in enumerate((canary, "=cmd()")):
        event = {"idempotency_key": str(number), "timestamp_ms": farthing.gateway.ledger.clock_ms(), "cost_micros": 1}
        event |= {"provider": "p", "model": model, "subject": {"key_id": key["id"], "end_user": canary}}
        assert (await farthing.api("POST", "/v1/events", event))[1]["accepted"] == 1
    for end_user in (None, canary):
        _, _, page = await guest.open(key_id=key["id"], end_user=end_user)
        assert canary not in page and page.count("&lt;script&gt;") >= 3 and " style=" not in page
        assert "'=cmd()" in (await guest.get("/portal/usage.csv"))[2]


async def test_it_works_at_the_cap_and_when_disabled_until_the_revoke(farthing: Running, guest: Guest) -> None:
    """Who may call no more still sees why; whose key, or one above it, is revoked sees nothing more."""
    team = await farthing.mint(scope="team")
    key = await farthing.mint(by=team["secret"], livemode=False, max_spend_usd="0.000001")
    assert (await farthing.call(key["secret"], CHAT))[0] == 402
    status, _, page = await guest.open(key_id=key["id"])
    assert (status, "over its spend cap" in page, "A test account" in page) == (200, True, True)
    await farthing.api("PATCH", f"/v1/keys/{key['id']}", {"max_spend_usd": "0"})
    assert "Nothing is left: calls are refused" in (await guest.get("/portal"))[2]
    await farthing.api("PATCH", f"/v1/keys/{key['id']}", {"disabled": True})
    status, _, page = await guest.open(key_id=key["id"])
    assert (status, "is disabled: its calls are refused" in page) == (200, True)
    url = await address(farthing, key_id=key["id"])
    await farthing.api("DELETE", f"/v1/keys/{team['id']}")
    assert (await guest.get("/portal"))[0] == 401
    await guest.get(url.removeprefix(farthing.url))
    assert (await guest.get("/portal"))[0] == 401


async def test_time_ends_address_and_session(tmp_path: Path, clock: Clock) -> None:
    """An address after `ttl_seconds`, a session an hour after it was opened."""
    async with running(tmp_path, clock=clock) as farthing:
        guest = Guest(farthing)
        key = await farthing.mint()
        url = await address(farthing, key_id=key["id"], ttl_seconds=1)
        clock.now_ms += 1000
        status, headers, _ = await guest.get(url.removeprefix(farthing.url))
        assert (status, "set-cookie" in headers) == (404, False)
        assert (await guest.open(key_id=key["id"]))[0] == 200
        clock.now_ms += LIFE_MS - 1
        assert (await guest.get("/portal"))[0] == 200
        clock.now_ms += 1
        assert (await guest.get("/portal"))[0] == 401


async def test_every_answer_bears_the_headers(farthing: Running, guest: Guest) -> None:
    """Nothing inline, framed, kept, or told to whom a link leads: on refusals too; no script at all, nothing posted."""
    key = await farthing.mint(name="k")
    await guest.open(key_id=key["id"])
    for path in ("/portal", "/portal/usage.csv", "/portal/ps_none", "/portal/x/y", "/portal/static/x/y.css"):
        _, headers, body = await guest.get(path)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self'") and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and headers["x-frame-options"] == "DENY"
        assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")
        assert headers["x-content-type-options"] == "nosniff"
        assert "<script" not in body and "<form" not in body and " style=" not in body
    async with farthing.http.post(f"{farthing.url}/portal", headers={"cookie": guest.cookie}) as answer:
        assert answer.status == 405


async def test_over_tls_the_cookie_is_secure(tmp_path: Path, certificates: Certificates) -> None:
    """`__Secure-`, Secure, HttpOnly, Lax, of the portal's path; the address is https."""
    async with running(tmp_path, tls=certificates) as farthing:
        key = await farthing.mint()
        url = await address(farthing, key_id=key["id"])
        assert url.startswith("https://")
        async with farthing.http.get(url, allow_redirects=False) as answer:
            cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Secure-farthing-portal=")
    assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/portal"} <= {part.strip() for part in cookie.split(";")}


async def test_it_is_the_operators(tmp_path: Path) -> None:
    """His name, his logo, his colour, where browsers find him; all from our own origin."""
    logo = tmp_path / "logo.svg"
    logo.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    named = {"FARTHING_PORTAL_NAME": "Ann & Co", "FARTHING_PORTAL_LOGO": str(logo), "FARTHING_PORTAL_COLOR": "#FF0000"}
    async with running(tmp_path, FARTHING_PUBLIC_URL="https://ai.example.com", **named) as farthing:
        key = await farthing.mint()
        url = await address(farthing, key_id=key["id"])
        assert url.startswith("https://ai.example.com/portal/ps_")
        guest = Guest(farthing)
        _, headers, _ = await guest.get(url.removeprefix("https://ai.example.com"))
        guest.cookie = headers["set-cookie"].partition(";")[0]
        _, _, page = await guest.get("/portal")
        assert "Ann &amp; Co" in page and "Farthing" not in page
        found = {path.rpartition("/")[2]: path for path in re.findall(r'(?:href|src)="(/portal/static/[^"]+)"', page)}
        assert set(found) == {"logo.svg", "farthing.css", "portal.css", "brand.css"}
        status, headers, body = await guest.get(found["logo.svg"])
        assert (status, headers["content-type"], body) == (200, "image/svg+xml", logo.read_text())
        assert "default-src 'none'" in headers["content-security-policy"]
        _, headers, body = await guest.get(found["brand.css"])
        assert (
            headers["content-type"].startswith("text/css")
            and "--accent: #" in body
            and "immutable" in headers["cache-control"]
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("FARTHING_PORTAL_COLOR", value) for value in ("red", "#fff", "#1234567", "#12345g", "#000000;}")),
        *(("FARTHING_PORTAL_LOGO", value) for value in ("nowhere.png", "/etc/hostname", "/etc")),
        *(("FARTHING_PORTAL_NAME", value) for value in ("x" * 81, "a\nb")),
        *(("FARTHING_PUBLIC_URL", value) for value in ("example.com", "https://example.com/path", "ftp://example.com")),
    ],
)
def test_a_brand_that_cannot_be_is_refused_at_the_start(tmp_path: Path, name: str, value: str) -> None:
    """And the setting is named."""
    with pytest.raises(BadSetting, match=name):
        settings(tmp_path, None, **{name: value})
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(BadSetting, match="FARTHING_PORTAL_LOGO"):
        settings(tmp_path, None, FARTHING_PORTAL_LOGO=str(empty))


def test_any_colour_can_be_read() -> None:
    """On the paper of the day and of the night; one that can be read already stays as it is."""
    assert stylesheet("") == ""
    for color in ("#000000", "#ffffff", "#ffff00", "#1f6feb", "#808080", "#00ff00"):
        for paper in ("#f2ede4", "#221f1b"):
            found = readable(color, paper)
            assert contrast(found, paper) >= READABLE
            assert contrast(color, paper) < READABLE or found == color
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
