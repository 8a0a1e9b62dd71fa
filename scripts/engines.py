"""Measure the engines alone, side by side in one run: pairs of a hold and its settlement, durable.

    python -m scripts.engines [seconds]

64 callers, each with a key of its own under one master key, then all on one key. PostgreSQL comes from a wheel, with
its own defaults (fsync on), on the same machine and the same disk as the SQLite file.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from ledger.changes import NewAccount
from ledger.ledger import Ledger
from ledger.records import Ask, Facts, Held, Settlement
from tests.cluster import Cluster

CALLERS = 64
FACTS = Facts(provider="openai", model="gpt-test", route="chat", price_version="1")


async def _account(ledger: Ledger, name: str, parent_id: int | None) -> int:
    new = NewAccount(
        public_id=name, parent_id=parent_id, kind="key", livemode=True, created_ms=0, balance_id=f"lim_{name}",
        cap_micros=10**12,
    )  # fmt: skip
    return (await ledger.open_account(new)).account.id


async def measure(url: str, seconds: float) -> None:
    """Print a line for many keys and one for a hot key."""
    ledger = await Ledger.open(url, clock_ms=lambda: time.time_ns() // 10**6, owner="bench")
    root = await _account(ledger, "root", None)
    keys = [await _account(ledger, f"key{number}", root) for number in range(CALLERS)]
    for name, used in (("many keys", keys), ("one hot key", keys[:1] * CALLERS)):
        waits: list[float] = []
        pairs = 0
        start, commits = time.perf_counter(), ledger.commits

        async def caller(number: int, key: int, start: float, name: str, waits: list[float]) -> int:
            count = 0
            while (asked := time.perf_counter()) < start + seconds:
                call = f"{name}{number:03d}{count:08d}"
                ask = Ask(
                    id=call, account_id=key, facts=FACTS, owner="bench", fixed_picos=5_000_000, versions=((key, 1),)
                )
                assert isinstance(await ledger.hold(ask), Held)
                waits.append(time.perf_counter() - asked)
                await ledger.settled(Settlement(id=call, status="settled", cost_picos=4_000_000, latency_ms=100))
                count += 1
            return count

        cpu = resource.getrusage(resource.RUSAGE_SELF)
        pairs = sum(await asyncio.gather(*(caller(n, key, start, name[:1], waits) for n, key in enumerate(used))))
        took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
        waits.sort()
        own = (after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime) / pairs * 1e6
        p50, p99 = waits[len(waits) // 2] * 1e3, waits[len(waits) * 99 // 100] * 1e3
        each = 2 * pairs / (ledger.commits - commits)
        print(
            f"{url.partition(':')[0]:11} {name:12} {pairs / took:8.0f} pairs/s   hold p50 {p50:6.2f}, p99 {p99:6.2f} ms"
            f"   {own:5.0f} us CPU/pair here, {each:.0f} operations a commit"
        )
    finding = await ledger.audit()
    assert finding.count == 0, finding.differences
    await ledger.close()


def main() -> None:
    """Both engines, one after the other, twice."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    cluster = Cluster(settings="")
    try:
        with tempfile.TemporaryDirectory() as place:
            for number in range(2):
                uvloop.run(measure(f"sqlite:///{Path(place)}/{number}.db", seconds))
                uvloop.run(measure(cluster.database(), seconds))
    finally:
        cluster.close()
    print(f"{os.cpu_count()} cores")


if __name__ == "__main__":
    main()
