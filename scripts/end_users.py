"""What a call costs a key that has very many end users, and how much memory they take.

    python scripts/end_users.py [--users 100000] [--calls 1000]

Opens end users under one key in a ledger of its own, in steps. After each step it times calls (a hold and its
settlement, both durable): of users picked at random, one after the other, then of every user, 64 at once. Prints one
line a step; exits 1 if the last median is more than twice the first, if memory has passed 256 MB (of which 64 are
SQLite's page cache), or if the audit finds a difference.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

from keys.ids import new_body, new_id
from ledger.changes import NewAccount
from ledger.ledger import Ledger
from ledger.limits import WantedLimit
from ledger.records import Ask, Facts, Held, Settlement

STEPS = (0.001, 0.01, 0.1, 1.0)  # of all users
AT_ONCE = 64
OPENING = 1_000  # users opened together
MEMORY_MB_MAX = 256


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


async def opened_key(ledger: Ledger) -> int:
    """A key with a cap of its own, and a monthly quota and a velocity limit for each end user."""

    def limit(unit: str, most: int, window: str) -> WantedLimit:
        return WantedLimit(
            public_id=new_id("lim", now_ms()),
            unit=unit,  # type: ignore[arg-type]
            max=most,
            window=window,  # type: ignore[arg-type]
            per="end_user",
        )

    parent: int | None = None
    for kind in ("root", "key"):
        new = NewAccount(
            public_id=new_id("key", now_ms()),
            parent_id=parent,
            kind="key",
            livemode=True,
            created_ms=now_ms(),
            balance_id=new_id("lim", now_ms()),
            cap_micros=10**12,
            limits=(limit("micros", 10**9, "month"), limit("requests", 10**6, "minute")) if kind == "key" else (),
        )
        parent = (await ledger.accounts.open(new)).account.id
    assert parent is not None
    return parent


async def open_user(ledger: Ledger, key_id: int, number: int) -> int:
    """An end user's account."""
    return await ledger.accounts.open_subject(
        key_id,
        "end_user",
        f"user-{number:07d}",
        public_id=new_id("eu", now_ms()),
        balance_id=new_id("lim", now_ms()),
    )


async def call(ledger: Ledger, key_id: int, user_id: int) -> tuple[float, float]:
    """One call: the seconds of its hold, and of all of it."""
    started = time.perf_counter()
    ask = Ask(
        id=new_body(now_ms()),
        account_id=key_id,
        subject_id=user_id,
        facts=Facts(provider="openai", model="gpt-4o-mini", route="chat.completions"),
        owner=ledger.owner,
        fixed_picos=50_000_000,
        each_picos=600_000,
        want=4_096,
        least=256,
    )
    assert isinstance(await ledger.calls.hold(ask), Held)
    held = time.perf_counter()
    await ledger.calls.settled(Settlement(id=ask.id, status="settled", cost_picos=70_000_000, tokens=100))
    return held - started, time.perf_counter() - started


async def measure(ledger: Ledger, key_id: int, users: list[int], calls: int) -> tuple[float, float, float]:
    """Median and 99th percentile of a lone hold in milliseconds, and calls a second, `AT_ONCE` at once."""
    holds = sorted([(await call(ledger, key_id, random.choice(users)))[0] * 1000 for _ in range(calls)])

    turns = iter(users * -(-calls // len(users)))

    async def some() -> int:
        done = 0
        for user_id in turns:
            await call(ledger, key_id, user_id)
            done += 1
        return done

    started = time.perf_counter()
    rate = sum(await asyncio.gather(*(some() for _ in range(AT_ONCE)))) / (time.perf_counter() - started)
    return statistics.median(holds), holds[len(holds) * 99 // 100], rate


async def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=1_000, help="timed one after the other, at each step")
    options = parser.parse_args()
    process = psutil.Process()
    medians, memories = [], []
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "farthing.db"
        ledger = await Ledger.open(f"sqlite:///{path}", clock_ms=now_ms, owner="end_users")
        key_id = await opened_key(ledger)
        users: list[int] = []
        print(f"{'end users':>10} {'hold p50 ms':>12} {'p99 ms':>8} {'calls/s':>8} {'memory MB':>10} {'file MB':>8}")
        for part in STEPS:
            while len(users) < int(options.users * part):
                numbers = range(len(users), min(len(users) + OPENING, int(options.users * part)))
                users += await asyncio.gather(*(open_user(ledger, key_id, number) for number in numbers))
            median, p99, rate = await measure(ledger, key_id, users, options.calls)
            medians.append(median)
            memories.append(process.memory_info().rss / 1e6)
            size = path.stat().st_size / 1e6
            print(
                f"{len(users):>10,} {median:>12.3f} {p99:>8.3f} {rate:>8.0f} {memories[-1]:>10.1f} {size:>8.1f}",
                flush=True,
            )
        finding = await ledger.reports.audit()
        print(f"audit: {finding.count} differences in {finding.events:,} events and {finding.accounts:,} accounts")
        await ledger.close()
    flat = memories[-1] < MEMORY_MB_MAX and medians[-1] < 2 * medians[0]
    return 0 if flat and not finding.count else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
