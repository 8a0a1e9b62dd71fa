"""What Stripe is told of usage: through the front door, and by the ledger alone on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import stripe

from gateway import config
from gateway.cli import main
from gateway.stripe.client import StripeClient
from gateway.stripe.sending import Sending
from gateway.terminal import CANNOT_START, DIFFERENCE, FAILED, OK, USAGE
from ledger.records import Facts, Report
from tests.gateway.stripe.conftest import made_plan, soon
from tests.gateway.stripe.meters import API_KEY, HOUR_S, METER, Meters
from tests.gateway.stripe.said import SECRET, tell
from tests.harness import MASTER, Running, running
from tests.ledger.conftest import database  # noqa: F401 - both engines
from tests.ledger.world import Clock as LedgerClock
from tests.ledger.world import World, opened
from tests.limits.conftest import Clock

HOUR_MS = HOUR_S * 1000
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50}


@pytest.fixture
async def meters(clock: Clock) -> AsyncIterator[Meters]:
    async with Meters(clock) as started:
        yield started


@pytest.fixture
async def told(tmp_path: Path, clock: Clock, meters: Meters, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A gateway that tells the meters, looked at each second; the command line beside it has the same settings."""
    values = {
        "STRIPE_API_KEY": API_KEY,
        "STRIPE_WEBHOOK_SECRET": f"whsec_of_the_other_endpoint,{SECRET}",
        "FARTHING_STRIPE_URL": meters.url,
        "FARTHING_STRIPE_METER": METER,
        "FARTHING_STRIPE_EVERY_S": "1",
    }
    monkeypatch.chdir(tmp_path)
    for name, value in (values | {"FARTHING_MASTER_KEY": MASTER}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FARTHING_DATABASE_URL", f"sqlite:///{tmp_path}/farthing.db")
    async with running(tmp_path, clock=clock, **values) as started:
        await soon(lambda: standing(started, "since_ms"), clock())
        yield started
        await started.audited()


async def standing(farthing: Running, *names: str) -> Any:
    status, found = await farthing.api("GET", "/v1/stripe")
    assert status == 200, found
    values = [found[name] for name in names]
    return values[0] if len(values) == 1 else values


async def rung(farthing: Running, hook_id: str) -> list[str]:
    """The types of what a hook was told."""
    status, page = await farthing.api("GET", f"/v1/hooks/{hook_id}/deliveries")
    assert status == 200, page
    return [each["type"] for each in page["data"]]


async def sold(farthing: Running, customers: dict[tuple[str, str | None], str]) -> dict[tuple[str, int], int]:
    """Σ price_micros by customer and hour, as the API tells of the events."""
    sums: dict[tuple[str, int], int] = {}
    for each in await farthing.events():
        customer = customers.get((each["key_id"], each["end_user"]))
        if customer is not None:
            hour = (customer, each["created_ms"] // HOUR_MS * HOUR_MS)
            sums[hour] = sums.get(hour, 0) + each["price_micros"]
    return {hour: micros for hour, micros in sums.items() if micros}


async def check(capsys: pytest.CaptureFixture[str], month: str = "2026-01") -> tuple[int, Any]:
    capsys.readouterr()
    code = await asyncio.to_thread(main, ["stripe", "check", "--month", month, "--json"])
    out, error = capsys.readouterr()
    assert code != CANNOT_START, error
    return code, json.loads(out) if out else None


async def test_customers_are_billed_to_the_micro(
    told: Running, meters: Meters, clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """End user before key before parent; late names, settlements and other prices; never a test call. Stripe's own
    library sees the same sums, the check is clean, and names a difference that is planted."""
    plan = await made_plan(told, "pro", None, markup_percent=25)
    team = await told.mint(scope="team", stripe_customer_id="cus_team")
    key = await told.mint(plan=plan)
    named = await told.mint(stripe_customer_id="cus_key")
    test_key = await told.mint(livemode=False, stripe_customer_id="cus_test")
    child = await told.mint(by=team["secret"])
    status, _ = await told.api("PUT", f"/v1/end_users/ann?key_id={named['id']}", {"stripe_customer_id": "cus_ann"})
    assert status in (200, 201)
    customers: dict[tuple[str, str | None], str] = {
        (named["id"], "ann"): "cus_ann",
        (named["id"], "bob"): "cus_key",
        (named["id"], None): "cus_key",
        (child["id"], None): "cus_team",
    }
    for hour in range(3):
        for secret, user in (
            (named, "ann"),
            (named, "bob"),
            (named, None),
            (child, None),
            (key, None),
            (test_key, None),
        ):
            for _ in range(1 + hour):
                headers = {} if user is None else {"x-end-user-id": user}
                assert (await told.call(secret["secret"], CHAT, headers=headers))[0] == 200
        await told.quiet()
        clock.ms += HOUR_MS
    expected = await sold(told, customers)
    await soon(_sums(meters), expected)
    assert len(expected) == 9
    await soon(lambda: standing(told, "waiting", "refused", "sent"), [0, 0, 9])
    assert await standing(told, "without_customer_micros") > 0
    await told.api("PATCH", f"/v1/keys/{key['id']}", {"stripe_customer_id": "cus_late"})
    customers[key["id"], None] = "cus_late"
    expected = await sold(told, customers)
    await soon(_sums(meters), expected)
    assert await standing(told, "without_customer_micros") == 0
    assert (await check(capsys))[0] == OK
    assert await _by_their_library(meters, "cus_late") == {k: v for k, v in expected.items() if k[0] == "cus_late"}
    monkeypatch.setenv("FARTHING_PRICES", str(_dearer(Path.cwd() / "prices.json")))
    assert await asyncio.to_thread(main, ["reprice", "--from", "2026-01-01", "--to", "2026-02-01", "--apply"]) == OK
    monkeypatch.delenv("FARTHING_PRICES")
    dearer = await sold(told, customers)
    assert all(dearer[hour] > 2 * micros for hour, micros in expected.items())
    await soon(_sums(meters), dearer)
    assert (await check(capsys))[0] == OK
    assert meters.overlaps == 0
    hour = ("cus_ann", min(ms for _, ms in dearer))
    meters.events[hour[0], hour[1] // 1000].append((2**40, dearer[hour] + 1))
    code, found = await check(capsys)
    assert code == DIFFERENCE
    assert found["differences"] == [
        {
            "customer": "cus_ann",
            "hour_ms": hour[1],
            "ours_micros": dearer[hour],
            "theirs_micros": dearer[hour] + 1,
        }
    ]


def _sums(meters: Meters) -> Any:
    async def sums() -> dict[tuple[str, int], int]:
        return meters.sums()

    return sums


def _dearer(path: Path) -> Path:
    row = {
        "id": "gpt-4o-mini",
        "provider": "openai",
        "mode": "chat",
        "periods": [{"rates": {"input": 450_000, "cache_read": 225_000, "output": 1_800_000}}],
        "sources": ["a contract"],
        "dated": "2026-01-01",
    }
    path.write_text(json.dumps({"version": "own", "models": [row]}))
    return path


async def _by_their_library(meters: Meters, customer: str) -> dict[tuple[str, int], int]:
    """What Stripe's own library reads of the meter."""
    http = stripe.AIOHTTPClient()
    client = stripe.StripeClient(API_KEY, base_addresses={"api": meters.url}, http_client=http)
    start = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    asked: Any = {
        "customer": customer,
        "start_time": start,
        "end_time": start + 31 * 86_400,
        "value_grouping_window": "hour",
        "limit": 5,
    }
    page = await client.v1.billing.meters.event_summaries.list_async("mtr_1", asked)
    found = {(customer, each.start_time * 1000): int(each.aggregated_value) async for each in page.auto_paging_iter()}
    await http.close_async()
    return found


async def test_stripe_may_be_away_and_refuse(
    told: Running, meters: Meters, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """What fails for a moment is told again; what is refused is kept, shown and rung, and told again by hand."""
    good = await told.mint(stripe_customer_id="cus_good")
    bad = await told.mint(stripe_customer_id="cus_bad")
    meters.unknown.add("cus_bad")
    meters.faults[:] = ["500", "cut", "429", "401"]
    status, made = await told.api("POST", "/v1/hooks", HOOK)
    assert status == 201, made
    for key in (good, bad):
        assert (await told.call(key["secret"], CHAT))[0] == 200
    async with asyncio.timeout(30):
        while meters.faults:
            clock.ms += 60_000
            await asyncio.sleep(0.3)
    clock.ms += 3_600_000
    await soon(lambda: standing(told, "waiting"), 0)
    expected = await sold(told, {(good["id"], None): "cus_good", (bad["id"], None): "cus_bad"})
    assert meters.sums() == {hour: micros for hour, micros in expected.items() if hour[0] == "cus_good"}
    (refusal,) = await standing(told, "refusals")
    assert (refusal["customer"], refusal["price_micros"]) == ("cus_bad", sum(expected.values()) // 2)
    assert "No such customer" in refusal["reason"]
    await soon(lambda: rung(told, made["id"]), ["stripe.rejected"])
    assert (await check(capsys))[0] == DIFFERENCE
    meters.unknown.clear()
    assert await asyncio.to_thread(main, ["stripe", "retry"]) == OK
    await soon(_sums(meters), expected)
    assert (await check(capsys))[0] == OK
    assert await standing(told, "refused") == 0
    meters.faults[:] = ["500"]


HOOK = {"kind": "webhook", "url": "https://example.com/hook", "events": ["stripe.rejected"]}


async def test_what_was_lost_there_is_told_again(
    told: Running, meters: Meters, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stripe reports later that it did not count something: it rings once, the check says what, a retry mends it."""
    key = await told.mint(stripe_customer_id="cus_1")
    status, made = await told.api("POST", "/v1/hooks", HOOK)
    assert status == 201, made
    assert (await told.call(key["secret"], CHAT))[0] == 200
    expected = await sold(told, {(key["id"], None): "cus_1"})
    await soon(_sums(meters), expected)
    meters.events.clear()
    report = {
        "id": "evt_report",
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
    }
    assert await tell(told, report, times=2)
    await soon(lambda: rung(told, made["id"]), ["stripe.rejected"])
    assert (await check(capsys))[0] == DIFFERENCE
    assert await asyncio.to_thread(main, ["stripe", "retry", "--month", "2026-01"]) == OK
    await soon(_sums(meters), expected)
    assert (await check(capsys))[0] == OK


async def test_settings_that_cannot_be(meters: Meters, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A meter without a key, a mode that there is not; and a check without a meter, or with one that Stripe has not."""
    with pytest.raises(config.BadSetting, match="STRIPE_API_KEY"):
        config.load({"FARTHING_STRIPE_METER": METER})
    with pytest.raises(config.BadSetting, match="STRIPE_WEBHOOK_SECRET"):
        config.load({"STRIPE_WEBHOOK_SECRET": "whsec_1,"})
    with pytest.raises(config.BadSetting, match="FARTHING_STRIPE_MODE"):
        config.load({"FARTHING_STRIPE_MODE": "weekly"})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setenv("FARTHING_DATABASE_URL", f"sqlite:///{tmp_path}/farthing.db")
        assert (await check(capsys))[0] == USAGE
        patch.setenv("FARTHING_STRIPE_METER", "no_such")
        patch.setenv("STRIPE_API_KEY", API_KEY)
        patch.setenv("FARTHING_STRIPE_URL", meters.url)
        assert (await check(capsys))[0] == FAILED


def sender(world: World, meters: Meters) -> Sending:
    return Sending(StripeClient(meters.url, API_KEY), world.ledger.metered, world.clock, METER)


async def report(world: World, key: str, number: int, picos: int, at_ms: int) -> None:
    facts = Facts(mode="monitor", provider="openai", model="m", markup_ppm=100_000)
    await world.ledger.calls.report(
        Report(id=f"r{number}", account_id=world.accounts[key], facts=facts, at_ms=at_ms, cost_picos=picos)
    )


@pytest.fixture
async def world(database: Path | str) -> AsyncIterator[World]:  # noqa: F811 - the fixture
    async with opened(database, LedgerClock()) as found:
        yield found


async def priced(world: World) -> dict[tuple[str, int], int]:
    """Σ price_micros of keys and hours, by an SQL statement of the test's own."""
    rows = world.rows(
        "SELECT a.stripe_customer_id, e.created_ms / 3600000, SUM(e.price_micros) FROM events AS e"
        " JOIN accounts AS a ON a.id = e.account_id WHERE a.stripe_customer_id IS NOT NULL GROUP BY 1, 2"
    )
    return {(customer, int(hour) * HOUR_MS): int(micros) for customer, hour, micros in rows if micros}


async def test_a_sender_that_dies_bills_nobody_twice(world: World) -> None:
    """It was killed after Stripe had taken the events and before that was written: another takes over, with the same
    sums; and while it lives nobody else sends."""
    async with Meters(world.clock) as meters:
        first = sender(world, meters)
        await first.send()
        keys = [await world.open(stripe_customer_id=f"cus_{number}") for number in range(3)]
        for number in range(60):
            await report(world, keys[number % 3], number, 1_234_567 * (number + 1), world.clock() + number * 120_000)
        world.clock.now_ms += 3 * HOUR_MS
        await world.ledger.metered.claim(120_000)
        await world.ledger.metered.collect()
        await first._told(await world.ledger.metered.take(100))  # and no word to the ledger
        before = len(meters.requests)
        world.ledger.metered._owner = "another"
        second = sender(world, meters)
        await second.send()
        assert len(meters.requests) == before  # the lease is not over
        world.clock.now_ms += 121_000
        await report(world, keys[0], 99, 5_000_000, world.clock.now_ms)
        await second.send()
        assert len(meters.requests) > before
        assert meters.sums() == await priced(world) == await world.ledger.metered.priced_hours(0, 2**53)
        assert len({each["identifier"] for each in meters.requests}) == len(meters.requests)
        await first.close()
        await second.close()


async def test_a_whole_month_of_many_calls(world: World) -> None:
    """100,000 calls of 40 customers over 30 hours, with Stripe away now and then: each sum to the micro."""
    if isinstance(world.database, str):
        pytest.skip("one database is enough for the number")
    async with Meters(world.clock) as meters:
        sending = sender(world, meters)
        await sending.send()
        keys = [await world.open(stripe_customer_id=f"cus_{number}") for number in range(40)]
        start_ms = world.clock()
        for start in range(0, 100_000, 5_000):
            meters.faults[:] = ["500", "cut", "429"]
            await asyncio.gather(
                *(
                    report(world, keys[n % 40], n, (n * 7_919_311) % 90_000_000, start_ms + n * 1_080)
                    for n in range(start, start + 5_000)
                )
            )
            world.clock.now_ms = start_ms + (start + 5_000) * 1_080
            await sending.send()
        meters.faults.clear()
        world.clock.now_ms += 2 * HOUR_MS
        await sending.send()
        sums = meters.sums()
        assert sums == await priced(world)
        assert len(sums) == 40 * 31 or len(sums) == 40 * 30
        assert (await world.ledger.metered.standing()).waiting == 0
        await sending.close()
