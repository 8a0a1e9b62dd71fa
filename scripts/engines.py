"""Measure the engines alone, side by side in one run: pairs of a hold and its settlement, durable.

    python -m scripts.engines [seconds]

64 callers in each process. "a tree each": every process has a capped master key of its own with 64 capped keys under
it, so that no two processes share a row; "one parent": all processes' keys hang under one capped master key, whose
balance every call changes; "one key": all callers use one key. PostgreSQL comes from a wheel, with its own defaults
(fsync on), on the same machine and the same disk as the SQLite file. CPU is of the processes, without the server's.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
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
SHAPES = ("a tree each", "one parent", "one key")
WARM_S = 0.5


def _clock_ms() -> int:
    return time.time_ns() // 10**6


async def _account(ledger: Ledger, name: str, parent_id: int | None) -> int:
    new = NewAccount(
        public_id=name, parent_id=parent_id, kind="key", livemode=True, created_ms=0, balance_id=f"lim_{name}",
        cap_micros=10**12,
    )  # fmt: skip
    return (await ledger.accounts.open(new)).account.id


async def _prepare(url: str, processes: int, shape: str) -> list[list[int]]:
    """The keys of each process."""
    ledger = await Ledger.open(url, clock_ms=_clock_ms, owner="prepare", serving=False)
    try:
        roots = [await _account(ledger, f"root{n}", None) for n in range(processes if shape == SHAPES[0] else 1)]
        count = 1 if shape == SHAPES[2] else CALLERS
        found = []
        for number in range(processes):
            if shape == SHAPES[2] and found:
                found.append(found[0])
                continue
            found.append([await _account(ledger, f"k{number}_{n}", roots[number % len(roots)]) for n in range(count)])
        return found
    finally:
        await ledger.close()


async def work(url: str, owner: str, keys: list[int], start: float, seconds: float) -> dict[str, float]:
    """One process's part: what it did between `start` (Unix seconds) and `seconds` later."""
    ledger = await Ledger.open(url, clock_ms=_clock_ms, owner=owner)
    waits: list[float] = []

    async def caller(number: int, end: float) -> None:
        key, count = keys[number % len(keys)], 0
        while (asked := time.time()) < end:
            call = f"{owner}-{end:.0f}-{number:03d}-{count:08d}"
            ask = Ask(id=call, account_id=key, facts=FACTS, owner=owner, fixed_picos=5_000_000, versions=((key, 1),))
            assert isinstance(await ledger.calls.hold(ask), Held)
            waits.append(time.time() - asked)
            await ledger.calls.settled(Settlement(id=call, status="settled", cost_picos=4_000_000, latency_ms=100))
            count += 1

    await asyncio.sleep(max(0.0, start - time.time()))
    await asyncio.gather(*(caller(number, start + WARM_S) for number in range(CALLERS)))
    waits.clear()
    before, commits, began = resource.getrusage(resource.RUSAGE_SELF), ledger.commits, time.time()
    await asyncio.gather(*(caller(number, start + WARM_S + seconds) for number in range(CALLERS)))
    took, after = time.time() - began, resource.getrusage(resource.RUSAGE_SELF)
    waits.sort()
    pairs, commits = len(waits), ledger.commits - commits
    await ledger.close()
    return {
        "pairs_per_s": pairs / took,
        "hold_p50_ms": waits[pairs // 2] * 1e3,
        "hold_p99_ms": waits[pairs * 99 // 100] * 1e3,
        "cpu_us": (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / pairs * 1e6,
        "a_commit": 2 * pairs / max(commits, 1),
    }


def measure(url: str, processes: int, shape: str, seconds: float) -> None:
    """Print a line; the audit must find nothing."""
    keys = uvloop.run(_prepare(url, processes, shape))
    start = time.time() + 1.5 + processes * 0.5
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "scripts.engines", "--work", url, f"w{number}", json.dumps(ids), str(start),
             str(seconds)], stdout=subprocess.PIPE,
        )
        for number, ids in enumerate(keys)
    ]  # fmt: skip
    found = [json.loads(each.communicate(timeout=seconds + 60)[0]) for each in running]
    uvloop.run(_audit(url))
    total = sum(one["pairs_per_s"] for one in found)
    each = sum(one["cpu_us"] * one["pairs_per_s"] for one in found) / total
    print(
        f"{url.partition(':')[0]:10} x{processes} {shape:11} {total:7.0f} pairs/s"
        f"   hold p50 {max(o['hold_p50_ms'] for o in found):6.2f}, p99 {max(o['hold_p99_ms'] for o in found):6.2f} ms"
        f"   {each:5.0f} us CPU/pair, {sum(one['a_commit'] for one in found) / processes:4.0f} operations a commit",
        flush=True,
    )


async def _audit(url: str) -> None:
    ledger = await Ledger.open(url, clock_ms=_clock_ms, owner="audit", serving=False)
    finding = await ledger.reports.audit()
    assert (finding.count, finding.open_holds) == (0, 0), finding
    await ledger.close()


def main() -> None:
    """Both engines, one after the other."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    cluster = Cluster(settings="")
    try:
        with tempfile.TemporaryDirectory() as place:
            for shape in SHAPES:
                measure(f"sqlite:///{Path(place)}/{shape[-3:]}.db", 1, shape, seconds)
                for processes in (1, 2, 3):
                    measure(cluster.database(), processes, shape, seconds)
    finally:
        cluster.close()
    print(f"{os.cpu_count()} cores, {seconds:.0f} s each")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _, _, given_url, name, ids, start_text, seconds_text = sys.argv
        done = uvloop.run(work(given_url, name, json.loads(ids), float(start_text), float(seconds_text)))
        print(json.dumps(done))
    else:
        main()
