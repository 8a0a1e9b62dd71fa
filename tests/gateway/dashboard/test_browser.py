"""The whole way in a real browser, from the mint to the revocation; and every page, for everybody.

No page has an error on its console or asks another origin for anything; axe finds nothing to complain of, by day, by
night, on a telephone and on a desk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from gateway.dashboard.page import NAVIGATION
from tests.harness import MASTER, Running, running
from tests.process import FARTHING, ROOT

CHROMIUM = "/usr/bin/chromium"
AXE = "axe-core/axe.min.js"
MESSAGES: Any = [{"role": "user", "content": "hello"}]
PAGES = [path for path, _, _ in NAVIGATION]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        await started.close()


@contextlib.asynccontextmanager
async def browsing(browser: Browser, farthing: Running, **options: Any) -> AsyncIterator[Page]:
    """A page of a new visitor; at the end, nothing was wrong on its console and nobody else was asked."""
    context: BrowserContext = await browser.new_context(**options)
    page = await context.new_page()
    page.set_default_timeout(15_000)
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda asked: None if asked.url.startswith((farthing.url, "data:")) else wrong.append(asked.url))
    yield page
    assert wrong == []
    await context.close()


async def sign_in(page: Page, farthing: Running, key: str = MASTER) -> None:
    await page.goto(f"{farthing.url}/")
    await page.get_by_label("Key").fill(key)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("heading", name="Overview").wait_for()


def client(farthing: Running, secret: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{farthing.url}/v1", api_key=secret, max_retries=0)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
async def test_the_whole_way(browser: Browser, farthing: Running, scripts: bool) -> None:
    """Mint, call with an SDK, see the bar move, hit the cap, read why, raise, call, revoke, leave; scripts or not."""
    async with browsing(browser, farthing, java_script_enabled=scripts) as page:
        await sign_in(page, farthing)
        await page.get_by_role("group", name="Which keys").get_by_role("link", name="Test").click()
        await page.get_by_role("link", name="Mint a key").click()
        await page.get_by_label("Name", exact=True).fill("Ann")
        await page.get_by_label("Spend cap in dollars").fill("0.02")
        await page.get_by_role("button", name="Mint it").click()
        secret = (await page.locator("#secret").text_content() or "").strip()
        assert re.fullmatch(r"fk_test_\w+", secret)
        await page.get_by_role("link", name="To the key").click()
        here = page.url
        meter = page.get_by_role("meter").first
        assert await meter.get_attribute("value") == "0"
        async with client(farthing, secret) as sdk:
            await sdk.chat.completions.create(
                model="gpt-4o",
                messages=MESSAGES,
                max_tokens=1200,
                extra_headers={"x-farthing-sim": "output_tokens=1200"},
            )
            await farthing.quiet()
            await page.goto(here)
            assert int(await meter.get_attribute("value") or 0) > 40
            with pytest.raises(openai.APIStatusError) as refused:
                await sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=4000)
            assert (refused.value.status_code, refused.value.code) == (402, "spend_cap_exceeded")
            await farthing.quiet()
            await page.goto(here)
            await page.get_by_text("over its spend cap").wait_for()
            await page.locator("tbody a").first.click()
            await page.get_by_text("Refused: over its spend cap.").wait_for()
            await page.goto(here)
            await page.get_by_text("Raise or lower the cap").click()
            await page.get_by_label("Spend cap in dollars").fill("1.00")
            await page.get_by_role("button", name="Set the cap").click()
            await page.get_by_text("in force on the next call").wait_for()
            await sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=4000)
            await page.get_by_text("Revoke it").click()
            await page.get_by_label("I know that this cannot be undone").check()
            await page.get_by_role("button", name="Revoke", exact=True).click()
            await page.get_by_text("Its very next call is refused").wait_for()
            with pytest.raises(openai.AuthenticationError):
                await sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("heading", name="Sign in").wait_for()
        await page.goto(here)
        await page.get_by_role("heading", name="Sign in").wait_for()


async def test_a_newcomers_minute(browser: Browser, tmp_path: Path) -> None:
    """`farthing serve` in an empty directory, its printed key, and the rest by mouse: a call, its cost, who made it.

    No terminal but the one that it was started in, no provider's account.
    """
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    served = await asyncio.create_subprocess_exec(
        *FARTHING,
        "serve",
        cwd=tmp_path,
        env=environment | {"FARTHING_PORT": "0", "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert served.stdout is not None
    assert served.stderr is not None
    try:
        async with asyncio.timeout(60):
            while not (found := re.search(rb"listens on (http://127\.0\.0\.1:\d+)", await served.stderr.readline())):
                pass
            printed = (await served.stdout.readline()).decode()
        url = found[1].decode()
        (master,) = re.findall(r"fk_live_\w+", printed)
        context = await browser.new_context()
        page = await context.new_page()
        page.set_default_timeout(30_000)
        await page.goto(url)
        await page.get_by_label("Key").fill(master)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("link", name="Try it").click()
        await page.get_by_role("button", name="Call").click()
        await page.get_by_role("heading", name="200").wait_for()
        facts = await page.locator("dl.facts").inner_text()
        assert re.search(r"x-farthing-cost-micros\s+[1-9]\d*", facts)
        await page.get_by_role("group", name="Which keys").get_by_role("link", name="Test").click()
        await page.get_by_role("link", name="Calls").click()
        await page.locator("tbody a").first.click()
        await page.get_by_role("heading", name="Cost").or_(page.get_by_text("Charged")).first.wait_for()
        await context.close()
    finally:
        served.terminate()
        await served.communicate()


async def test_a_key_is_minted_by_keyboard_alone(browser: Browser, farthing: Running) -> None:
    """From the sign-in to the secret without a mouse, and each place that has the focus shows it."""
    async with browsing(browser, farthing) as page:
        await page.goto(f"{farthing.url}/dashboard")
        await page.keyboard.type(MASTER)
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Overview").wait_for()
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await page.goto(f"{farthing.url}/dashboard/keys/new?env=test")
        for _ in range(40):
            await page.keyboard.press("Tab")
            shown = "getComputedStyle(document.activeElement).outlineStyle"
            assert await page.evaluate(shown) != "none"
            if await page.evaluate("document.activeElement.name") == "name":
                break
        await page.keyboard.type("by keyboard")
        await page.keyboard.press("Enter")
        await page.locator("#secret").wait_for()
        assert (await farthing.api("GET", "/v1/keys"))[1]["data"][0]["name"] == "by keyboard"


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_read_it(
    browser: Browser, farthing: Running, node_modules: Path, scheme: Any, width: int
) -> None:
    """No violation that axe knows on any page, nothing wider than the screen, and markup of tenants does nothing."""
    canary = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    key = await farthing.mint(name=canary, livemode=False, unpriced="allow", metadata={"m": canary}, max_spend_usd="1")
    now_ms = farthing.gateway.ledger.clock_ms()
    events = [
        {
            "idempotency_key": str(number),
            "timestamp_ms": now_ms - number * 40_000_000,
            "cost_micros": 90_000 * number,
            "provider": "p",
            "model": canary if number else "m" * 80,
            "subject": {"key_id": key["id"], "end_user": canary},
            "metadata": {"t": canary},
        }
        for number in range(7)
    ]
    assert (await farthing.api("POST", "/v1/events", events))[1]["accepted"] == 7
    plan = (await farthing.api("POST", "/v1/plans", {"name": canary, "max_spend_usd": "1"}))[1]
    await farthing.call(key["secret"], {"model": "gpt-4o", "max_tokens": 9000, "messages": MESSAGES})
    hook = {"kind": "webhook", "url": "https://example.com/hooks", "description": canary}
    hook = (await farthing.api("POST", "/v1/hooks", hook))[1]
    event = (await farthing.events(livemode="false"))[0]
    further = [
        *("/keys/new", f"/keys/{key['id']}", "/usage?by=model", "/usage?by=end_user", f"/calls/{event['id']}"),
        *(f"/plans/{plan['id']}", f"/alerts/{hook['id']}", "/calls?state=unsettled", "/prices?q=gpt-4o"),
        f"/customer?id={canary}&key_id={key['id']}",
    ]
    size: Any = {"width": width, "height": 900}
    async with browsing(browser, farthing, color_scheme=scheme, viewport=size, bypass_csp=True) as page:
        await page.goto(f"{farthing.url}/dashboard/login")
        found = {"/login": await violations(page, node_modules / AXE)}
        await sign_in(page, farthing)
        for path in (*PAGES, *further):
            await page.goto(f"{farthing.url}/dashboard{path}{'&' if '?' in path else '?'}env=test")
            await page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            found[path] = await violations(page, node_modules / AXE)
            if (wide := await page.evaluate("document.documentElement.scrollWidth")) > width:
                found[path].append(f"{wide} px wide")
        assert {path: wrong for path, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_an_end_user_can_read_his_page(
    browser: Browser, tmp_path: Path, node_modules: Path, scheme: Any, width: int
) -> None:
    """The portal, in an operator's own colour: the page of a key, of a user, at the cap; and its file."""
    logo = tmp_path / "logo.svg"
    logo.write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle cx="4" cy="4" r="4"/></svg>')
    brand = {"FARTHING_PORTAL_NAME": "Ann & Co", "FARTHING_PORTAL_COLOR": "#8ad1ff", "FARTHING_PORTAL_LOGO": str(logo)}
    async with running(tmp_path, **brand) as farthing:
        plan = {"name": "Gold", "markup_percent": "25", "max_spend_usd": "2", "reset": "month"}
        plan = (await farthing.api("POST", "/v1/plans", plan))[1]
        limits = [{"unit": "requests", "max": 100, "window": "day"}, {"unit": "tokens", "max": 10**6, "window": "week"}]
        key = await farthing.mint(plan=plan["id"], name="A shop with a name that is long", limits=limits)
        now_ms = farthing.gateway.ledger.clock_ms()
        events = [
            {
                "idempotency_key": str(number),
                "timestamp_ms": now_ms - number * 50_000_000,
                "cost_micros": 15_000 * number,
                "provider": "p",
                "model": f"model-{number % 7}" if number else "m" * 80,
                "subject": {"key_id": key["id"], "end_user": "ann"},
            }
            for number in range(12)
        ]
        assert (await farthing.api("POST", "/v1/events", events))[1]["accepted"] == 12
        size: Any = {"width": width, "height": 900}
        asked = {"key_id": key["id"], "return_url": "https://shop.example/billing"}
        async with browsing(browser, farthing, color_scheme=scheme, viewport=size, bypass_csp=True) as page:
            found = {}
            for state in ("well", "ann", "disabled"):
                url = (
                    await farthing.api(
                        "POST", "/v1/portal_sessions", asked | {"end_user": "ann"} if state == "ann" else asked
                    )
                )[1]["url"]
                if state == "disabled":
                    await farthing.api("PATCH", f"/v1/keys/{key['id']}", {"disabled": True, "max_spend_usd": "0"})
                await page.goto(url)
                assert page.url == f"{farthing.url}/portal"
                await page.get_by_role("heading", name="Your usage").wait_for()
                assert await page.locator("header img").evaluate("each => each.naturalWidth > 0")
                await page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
                found[state] = await violations(page, node_modules / AXE)
                if (wide := await page.evaluate("document.documentElement.scrollWidth")) > width:
                    found[state].append(f"{wide} px wide")
                if (shots := os.environ.get("FARTHING_SHOTS")) is not None:
                    await page.screenshot(path=f"{shots}/portal-{state}-{scheme}-{width}.png", full_page=True)
            async with page.expect_download() as file:
                await page.get_by_role("link", name="CSV").click()
            assert (await file.value).suggested_filename == "usage.csv"
            link = page.get_by_role("link", name="Add credit")
            assert await link.get_attribute("href") == "https://shop.example/billing"
        assert {state: wrong for state, wrong in found.items() if wrong} == {}


async def violations(page: Page, axe: Path) -> list[Any]:
    """What axe finds wrong with a page."""
    await page.add_script_tag(path=axe)
    found: list[Any] = await page.evaluate("axe.run().then((done) => done.violations)")
    return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]
