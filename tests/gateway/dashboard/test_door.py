"""Who comes in, for how long, and what no other site can make his browser do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ledger.sessions import IDLE_MS, LIFE_MS
from tests.certificates import Certificates
from tests.gateway.dashboard.browsing import OURS, Visitor
from tests.harness import MASTER, Running, running
from tests.ledger.world import Clock, outside

WRONG = "fk_live_nothing"


async def test_browsers_are_led_to_the_sign_in_and_clients_are_not(farthing: Running, visitor: Visitor) -> None:
    """`/` is the dashboard for who reads pages; whoever is not signed in comes back where he wanted to go."""
    async with farthing.http.get(f"{farthing.url}/", headers={"accept": "text/html"}, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["location"]) == (303, "/dashboard")
    assert (await farthing.api("GET", "/"))[0] == 404
    assert (await visitor.get("/"))[1]["location"] == "/dashboard"
    status, headers, _ = await visitor.get("/keys?q=a%20b&env=test")
    assert (status, headers["location"]) == (
        303,
        "/dashboard/login?next=%2Fdashboard%2Fkeys%3Fq%3Da%2520b%26env%3Dtest",
    )
    status, headers, _ = await visitor.post("/login", {"key": MASTER, "next": "/dashboard/keys?q=a%20b"})
    assert headers["location"] == "/dashboard/keys?q=a%20b"
    for elsewhere in ("https://evil.example", "//evil.example", "/dashboard\\evil", "/v1/keys", "/dashboard/\nx"):
        _, headers, _ = await visitor.post("/login", {"key": MASTER, "next": elsewhere})
        assert headers["location"] == "/dashboard"


@pytest.mark.parametrize("scope", ["team", "read"])
async def test_keys_that_look_after_others_sign_in(farthing: Running, visitor: Visitor, scope: str) -> None:
    """A team or read key sees the overview, signs out, and is out."""
    key = await farthing.mint(scope=scope, name="Ann")
    await visitor.sign_in(key["secret"])
    status, headers, body = await visitor.get("")
    assert (status, "Overview" in body, "Ann" in body) == (200, True, True)
    before = visitor.cookies
    assert list(before) == ["farthing_session"]
    assert key["secret"] not in before["farthing_session"]
    status, headers, _ = await visitor.post("/logout")
    assert (status, headers["location"]) == (303, "/dashboard/login")
    assert visitor.cookies == {}
    assert (await visitor.get("", cookie=f"farthing_session={before['farthing_session']}"))[0] == 303


@pytest.mark.parametrize("scope", ["standard", "ingest"])
async def test_keys_that_only_call_do_not(farthing: Running, visitor: Visitor, scope: str) -> None:
    """403, and no cookie; a wrong key is told so, with 401."""
    key = await farthing.mint(scope=scope)
    status, headers, body = await visitor.post("/login", {"key": key["secret"]})
    assert (status, "set-cookie" in headers, "cannot sign in" in body) == (403, False, True)
    status, headers, body = await visitor.post("/login", {"key": WRONG})
    assert (status, "set-cookie" in headers, "not a valid key" in body) == (401, False, True)
    assert WRONG not in body


@pytest.mark.parametrize(
    ("whose", "method", "path", "body"),
    [
        ("key", "PATCH", "", {"disabled": True}),
        ("team", "PATCH", "", {"disabled": True}),
        ("key", "POST", "/rotate", {}),
        ("key", "DELETE", "", None),
        ("team", "DELETE", "", None),
    ],
)
async def test_a_session_ends_with_its_key(
    farthing: Running, visitor: Visitor, whose: str, method: str, path: str, body: Any
) -> None:
    """It or one above it is disabled or revoked, or it got a new secret: the next page is the sign-in."""
    keys = {"team": await farthing.mint(scope="team")}
    keys["key"] = await farthing.mint(by=keys["team"]["secret"], scope="read")
    await visitor.sign_in(keys["key"]["secret"])
    assert (await visitor.get(""))[0] == 200
    assert (await farthing.api(method, f"/v1/keys/{keys[whose]['id']}{path}", body))[0] == 200
    assert (await visitor.get(""))[0] == 303
    if method == "PATCH":
        assert (await farthing.api("PATCH", f"/v1/keys/{keys[whose]['id']}", {"disabled": False}))[0] == 200
        assert (await visitor.get(""))[0] == 303


async def test_a_session_ends_when_nobody_uses_it_and_after_a_week(tmp_path: Path, clock: Clock) -> None:
    """Twelve hours idle, seven days in all; what is kept of it is a hash."""
    async with (
        running(tmp_path, clock=clock) as farthing,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        person = Visitor(farthing, http)

        async def cookie() -> str:
            _, headers, _ = await person.post("/login", {"key": MASTER})
            return headers["set-cookie"].partition(";")[0]

        session = await cookie()
        clock.now_ms += IDLE_MS
        assert (await person.get("", cookie=session))[0] == 303
        session = await cookie()
        with outside(tmp_path / "farthing.db") as database:
            ((kept, locator),) = database.execute("SELECT id_hash, locator FROM sessions").fetchall()
        assert session.partition("=")[2] not in (kept, locator)
        for _ in range(LIFE_MS // IDLE_MS * 2 - 1):
            clock.now_ms += IDLE_MS // 2
            assert (await person.get("", cookie=session))[0] == 200
        clock.now_ms += IDLE_MS // 2
        assert (await person.get("", cookie=session))[0] == 303


async def test_guessing_is_slowed_down(farthing: Running, visitor: Visitor) -> None:
    """Ten wrong keys a minute from one address, then 429; right ones do not count."""
    for _ in range(15):
        await visitor.sign_in()
    statuses = [(await visitor.post("/login", {"key": WRONG}))[0] for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    status, headers, _ = await visitor.post("/login", {"key": MASTER})
    assert (status, 1 <= int(headers["retry-after"]) <= 60) == (429, True)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "origin": "SELF"},
    ],
)
async def test_what_other_pages_send_is_refused(farthing: Running, visitor: Visitor, headers: dict[str, str]) -> None:
    """No form of another site's does anything, the sign-in and the sign-out included."""
    headers = {name: farthing.url if value == "SELF" else value for name, value in headers.items()}
    assert (await visitor.post("/login", {"key": MASTER}, headers))[0] == 403
    await visitor.sign_in()
    before = (await farthing.api("GET", "/v1/keys"))[1]
    for path in ("/keys", "/logout"):
        status, answer, body = await visitor.post(path, {"name": "x"}, headers)
        assert (status, "set-cookie" in answer) == (403, False), body
    assert (await farthing.api("GET", "/v1/keys"))[1] == before
    assert (await visitor.get(""))[0] == 200


async def test_an_old_browser_says_its_origin(farthing: Running, visitor: Visitor) -> None:
    """Without Sec-Fetch-Site, as on plain http elsewhere than on this machine, the page's own origin will do."""
    status, headers, _ = await visitor.post("/login", {"key": MASTER}, {"origin": farthing.url})
    assert (status, headers["location"]) == (303, "/dashboard")


async def test_every_page_bears_the_headers(farthing: Running, visitor: Visitor) -> None:
    """Nothing inline, nothing kept, nothing framed; nothing told to other sites: on errors too."""
    await visitor.sign_in()
    key = await farthing.mint(name="k")
    for path in ("", "/keys", "/keys/new", f"/keys/{key['id']}", "/keys/key_none", "/login", "/nothing"):
        _, headers, body = await visitor.get(path)
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert (headers["referrer-policy"], headers["x-content-type-options"]) == ("same-origin", "nosniff")
        assert " style=" not in body and "<script>" not in body and " onclick" not in body
    assert (await visitor.get("/keys/key_none"))[0] == 404
    assert (await visitor.get("/nothing"))[0] == 404
    assert (await visitor.post("/login/x"))[0] == 404


async def test_the_cookie_opens_no_api(farthing: Running, visitor: Visitor) -> None:
    """It is no key: neither as a cookie nor in a key's place."""
    await visitor.sign_in()
    cookie = visitor.cookies["farthing_session"]
    for headers in ({"cookie": f"farthing_session={cookie}"}, {"authorization": f"Bearer {cookie}"}):
        async with farthing.http.get(f"{farthing.url}/v1/keys", headers=headers | OURS) as answer:
            assert answer.status == 401


async def test_over_tls_the_cookie_is_bound_to_the_host(tmp_path: Path, certificates: Certificates) -> None:
    """`__Host-`, Secure, HttpOnly, Lax; the same where a proxy speaks TLS for us."""
    async with running(tmp_path, tls=certificates) as farthing:
        connector = aiohttp.TCPConnector(ssl=certificates.trusting())
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
            _, headers, _ = await Visitor(farthing, http).post("/login", {"key": MASTER})
    async with running(tmp_path) as farthing:
        proxied = OURS | {"x-forwarded-proto": "https"}
        _, behind, _ = await Visitor(farthing, farthing.http).post("/login", {"key": MASTER}, proxied)
    for cookie in (headers["set-cookie"], behind["set-cookie"]):
        assert cookie.startswith("__Host-farthing=")
        assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}


async def test_a_form_too_long_is_refused(visitor: Visitor) -> None:
    """413, whoever sends it."""
    assert (await visitor.post("/login", {"key": "x" * (1024 * 1024 + 1)}))[0] == 413
