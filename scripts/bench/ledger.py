"""The ledger alone: pairs of a hold and a settlement, without HTTP. Run as a process of its own for each measurement.

`settled` waits until the settlement is durable too, `kept` hands it over as the gateway does. Afterwards the audit
must find nothing.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from keys.hashing import SecretHasher
from keys.ids import new_body
from keys.keyring import Keyring
from keys.minting import Minter
from keys.requests import Mint
from ledger.ledger import Ledger
from ledger.records import Ask, Facts, Held, Measures, Settlement
from scripts.bench.machine import GATEWAY_CORE, pin
from scripts.bench.report import Column, Row

TITLE = "The ledger alone: pairs of a hold and a settlement, SQLite, synchronous=FULL"
COLUMNS: tuple[Column, ...] = (
    ("name", "callers, keys, settling", "s"),
    ("pairs_per_s", "pairs/s", ",.0f"),
    ("hold_p50_ms", "hold p50 ms", ".2f"),
    ("hold_p99_ms", "hold p99 ms", ".2f"),
    ("cpu_us", "CPU µs/pair", ".1f"),
    ("pairs_a_commit", "pairs/commit", ".0f"),
)
CASES = ((64, 1000, "settled"), (64, 1000, "kept"), (64, 1, "settled"), (1, 1, "settled"), (1, 1, "kept"))
WARM_S = 0.5
_MASTER = secrets.token_hex(32)
_FACTS = Facts(provider="openai", model="gpt-4o-mini", route="chat.completions", price_version="bench")
_USAGE = {"input_tokens": 27, "output_tokens": 16, "service_tier": "default"}


def measure(*, rounds: int, seconds: int) -> list[Row]:
    """A row for each case: medians over the rounds."""
    results: dict[str, list[dict[str, float]]] = {}
    for turn in range(rounds):
        for callers, keys, settling in CASES:
            command = [sys.executable, "-m", "scripts.bench.ledger", str(callers), str(keys), settling, str(seconds)]
            shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60)
            name = f"{callers} callers, {keys} keys, {settling}"
            results.setdefault(name, []).append(json.loads(shown.stdout))
        print(f"round {turn + 1}/{rounds}", flush=True)
    return [
        {"name": name} | {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
        for name, runs in results.items()
    ]


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


async def _open_keys(ledger: Ledger, keys: int) -> list[tuple[int, tuple[tuple[int, int], ...]]]:
    """Capped keys under one master key, with what their holds must find unchanged."""
    hasher = SecretHasher()
    try:
        keyring = await Keyring.open(ledger, hasher, clock_ms=_clock_ms, master=_MASTER)
        minter = Minter(ledger, keyring, hasher, _clock_ms)
        await minter.first_master(_MASTER)
        master = await keyring.authenticate(_MASTER)
        asked = Mint(max_spend_micros=10**12)
        minted = [await minter.mint(master, _MASTER, asked) for _ in range(keys)]
        found = [await keyring.refresh(each.account.id) for each in minted]
        return [(key.account_id, key.versions) for key in found]
    finally:
        hasher.close()


async def _drive(ledger: Ledger, callers: int, keys: int, settling: str, seconds: float) -> dict[str, float]:
    accounts = await _open_keys(ledger, keys)
    waits: list[float] = []
    end = 0.0

    async def caller(number: int) -> None:
        turn = number * 7919
        while (started := time.perf_counter()) < end:
            turn += 1
            account_id, versions = accounts[turn % keys]
            call_id = new_body(_clock_ms())
            ask = Ask(
                id=call_id,
                account_id=account_id,
                facts=_FACTS,
                owner=ledger.owner,
                versions=versions,
                fixed_picos=4_050_000,
                each_picos=600_000,
                fixed_tokens=27,
                each_tokens=1,
                want=256,
                least=256,
            )
            assert isinstance(await ledger.calls.hold(ask), Held)
            waits.append(time.perf_counter() - started)
            settlement = Settlement(
                id=call_id,
                status="settled",
                cost_picos=13_650_000,
                measures=Measures(input_tokens=27, output_tokens=16),
                tokens=43,
                usage=_USAGE,
                http_status=200,
                latency_ms=50,
            )
            if settling == "settled":
                await ledger.calls.settled(settlement)
            else:
                ledger.calls.settle(settlement)

    for length in (WARM_S, seconds):
        waits.clear()
        commits, cpu_s, began = ledger.commits, time.process_time(), time.perf_counter()
        end = began + length
        await asyncio.gather(*(caller(number) for number in range(callers)))
        await ledger.setting("drained", "")  # behind everything that was handed over
        taken, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
        commits = ledger.commits - commits
    waits.sort()
    return {
        "pairs_per_s": len(waits) / taken,
        "hold_p50_ms": waits[len(waits) // 2] * 1e3,
        "hold_p99_ms": waits[int(len(waits) * 0.99)] * 1e3,
        "cpu_us": cpu_s / len(waits) * 1e6,
        "pairs_a_commit": len(waits) / commits,
    }


async def _run(callers: int, keys: int, settling: str, seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="farthing-bench-") as directory:
        url = f"sqlite:///{Path(directory) / 'ledger.db'}"
        ledger = await Ledger.open(url, clock_ms=_clock_ms, owner="bench")
        try:
            result = await _drive(ledger, callers, keys, settling, seconds)
        finally:
            await ledger.close()
        ledger = await Ledger.open(url, clock_ms=_clock_ms, owner="audit", serving=False)
        finding = await ledger.reports.audit()
        await ledger.close()
        assert not finding.count, finding.differences
        assert not finding.open_holds
        return result


if __name__ == "__main__":
    pin(GATEWAY_CORE)
    print(json.dumps(uvloop.run(_run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])))))
