"""`farthing reprice`: other prices for calls that were made, through the front door, on the gateway's own database."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.terminal import OK
from tests.harness import MASTER, Running

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50}


def price_file(path: Path, times: str) -> Path:
    """An operator's prices of the model: so many times ours."""
    rates = {
        "1/3": {"input": 50_000, "cache_read": 25_000, "output": 200_000},
        "7": {"input": 1_050_000, "cache_read": 525_000, "output": 4_200_000},
        "0": {"input": 1, "cache_read": 1, "output": 1},
    }[times]
    row = {
        "id": "gpt-4o-mini",
        "provider": "openai",
        "mode": "chat",
        "periods": [{"rates": rates}],
        "sources": ["a contract"],
        "dated": "2026-11-01",
    }
    path.write_text(json.dumps({"version": "own", "models": [row]}))
    return path


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FARTHING_DATABASE_URL", f"sqlite:///{tmp_path}/farthing.db")
    monkeypatch.setenv("FARTHING_MASTER_KEY", MASTER)
    return tmp_path


async def reprice(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    today = datetime.now(UTC).date()
    span = ("--from", str(today - timedelta(days=1)), "--to", str(today + timedelta(days=1)))
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["reprice", *span, "--json", *more]) == OK
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


async def priced(farthing: Running) -> tuple[int, int]:
    """Σ cost_picos and Σ price_micros of all allowed events."""
    events = [each for each in await farthing.events() if each["decision"] == "allowed"]
    return sum(each["cost_picos"] for each in events), sum(each["price_micros"] for each in events)


async def seeded(farthing: Running) -> dict[str, Any]:
    status, plan = await farthing.api("POST", "/v1/plans", {"name": "pro", "markup_percent": 25})
    assert status == 201, plan
    limits = [{"unit": "micros", "max": 10**6, "window": "day"}]
    key = await farthing.mint(max_spend_usd="1", reset="month", plan=plan["id"], limits=limits)
    for number in range(6):
        user = {"x-end-user-id": f"user-{number % 2}"}
        assert (await farthing.call(key["secret"], CHAT, headers=user))[0] == 200
    await farthing.quiet()
    return key


@pytest.mark.parametrize("times", ["1/3", "7", "0"])
async def test_other_prices_are_charged_once(
    farthing: Running, beside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, times: str
) -> None:
    """Cheaper, dearer and nearly free: exact to the pico, by events beside the first; the audit stays clean."""
    key = await seeded(farthing)
    assert (await reprice(capsys, "--apply"))["rows"] == []  # by the prices that they were made with
    before = await farthing.events()
    old_picos, _ = await priced(farthing)
    monkeypatch.setenv("FARTHING_PRICES", str(price_file(beside / "prices.json", times)))
    dry = await reprice(capsys)
    assert dry["applied"] == 0
    assert await farthing.events() == before
    done = await reprice(capsys, "--apply")
    assert (done["applied"], done["rows"]) == (6, dry["rows"])
    (row,) = dry["rows"]
    assert (row["key_id"], row["model"], row["events"], row["changed"]) == (key["id"], "gpt-4o-mini", 6, 6)
    expected = sum(
        cost(each["usage"], times) for each in before if each["decision"] == "allowed" and each["mode"] == "proxy"
    )
    new_picos, new_price = await priced(farthing)
    assert new_picos == expected == old_picos + row["difference_picos"]
    assert new_price in (new_picos * 5 // 4 // 10**6, new_picos * 5 // 4 // 10**6 - 1)
    await farthing.audited()
    _, shown = await farthing.api("GET", f"/v1/keys/{key['id']}")
    assert shown["spent_micros"] == new_picos // 10**6
    assert shown["held_micros"] == 0
    _, bill = await farthing.api("GET", "/v1/usage?from_ms=0")
    assert (bill["cost_micros"], bill["requests"]) == (new_picos // 10**6, 6)
    (daily,) = [each for each in shown["limits"] if each["window"] == "day"]
    assert daily["used"] == new_picos // 10**6
    events = await farthing.events()
    assert [each for each in events if each["mode"] == "proxy"] == before
    adjustments = [each for each in events if each["mode"] == "adjustment"]
    assert {each["metadata"]["adjusts"] for each in adjustments} == {each["id"] for each in before}
    assert {each["price_version"].startswith(done["catalogue"]) for each in adjustments} == {True}
    again = await reprice(capsys, "--apply")
    assert (again["applied"], again["rows"]) == (0, [])


def cost(usage: dict[str, Any], times: str) -> int:
    """An answer's exact cost in picos, by the price file."""
    rates = {"1/3": (50_000, 200_000), "7": (1_050_000, 4_200_000), "0": (1, 1)}[times]
    assert usage.get("cache_read_tokens", 0) == 0
    return int(usage["input_tokens"] * rates[0] + usage["output_tokens"] * rates[1])


async def test_prices_may_go_there_and_back(
    farthing: Running, beside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back at the first prices everything is as it was, with all its history."""
    await seeded(farthing)
    first = await priced(farthing)
    monkeypatch.setenv("FARTHING_PRICES", str(price_file(beside / "prices.json", "7")))
    await reprice(capsys, "--apply")
    monkeypatch.delenv("FARTHING_PRICES")
    assert (await reprice(capsys, "--apply"))["applied"] == 6
    assert (await priced(farthing))[0] == first[0]
    assert len(await farthing.events()) == 18
    await farthing.audited()
