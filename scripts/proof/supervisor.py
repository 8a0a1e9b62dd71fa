"""Runs faults on sites, one after the other and in pairs, and checks the books after each.

The same seed gives the same faults in the same order with the same dice; what the operating system does in between
is its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.proof.books import Books
from scripts.proof.database import Database, PostgresDatabase, SqliteFile
from scripts.proof.faults import FAULTS, Fault
from scripts.proof.site import HEAL_S, Site, opened
from scripts.proof.tally import Tally
from scripts.proof.tracer import Impossible
from tests.cluster import Cluster

ROUNDS_A_SITE = 24  # then a fresh one: the books are read whole after every round
PAIRS_A_FAULT = 0.4  # rounds with two faults at the same time, for each round with one
LATE_MAX = 3  # sites in one run that may fail to start in time
FRESH_S = 2.0  # how soon after a heal a call is to succeed
AUDIT_EVERY = 6  # rounds; and at a site's end
Say = Callable[[str], None]
Round = tuple[Fault, ...]


def plan(engine: str, disk: str, dice: random.Random, only: tuple[str, ...] = ()) -> Iterator[Round]:
    """Rounds without end: every fault once in a shuffled order, some pairs between them, and again."""
    usable = [fault for fault in FAULTS if engine in fault.engines and fault.disk in ("", disk)]
    if only:
        usable = [fault for fault in usable if any(fault.id.startswith(word) or word in fault.name for word in only)]
    pairable = [fault for fault in usable if not fault.alone]
    while usable:
        dice.shuffle(usable)
        for fault in usable:
            yield (fault,)
            if not only and dice.random() < PAIRS_A_FAULT:
                yield tuple(dice.sample(pairable, 2))


async def run(
    engine: str,
    seed: int,
    *,
    rounds: int,
    say: Say,
    only: tuple[str, ...] = (),
    until: float = float("inf"),
    server: Cluster | None = None,
    keep: Path | None = None,
) -> Tally:
    """Run so many rounds, but stop at `until` on the monotonic clock. A site with a finding is kept in `keep`."""
    tally = Tally(engine=engine, seeds=[seed], dates=[datetime.datetime.now(datetime.UTC).date().isoformat()])
    dice = random.Random(f"{engine}/{seed}")
    started = time.monotonic()
    disk = "small" if engine == "sqlite" and _mounts() else ""
    rows = plan(engine, disk, dice, only)
    number = late = 0
    while tally.rounds < rounds and time.monotonic() < until:
        number += 1
        place = Path(tempfile.mkdtemp(prefix=f"farthing-proof-{engine}-"))
        database: Database
        if server is not None:
            database = PostgresDatabase(server)
        else:
            database = SqliteFile(place, small=bool(disk) and number % 2 == 0)
        before = tally.lost, tally.double, tally.overspent, tally.other
        try:
            async with opened(database, place, dice.getrandbits(31)) as site:
                await _site(site, rows, tally, rounds, until, say)
                tally.kills += site.kills
                tally.crashes += database.crashes if isinstance(database, PostgresDatabase) else 0
                tally.calls += len(site.calls)
                if before != (tally.lost, tally.double, tally.overspent, tally.other) and keep is not None:
                    shutil.copytree(place, keep / place.name, ignore=shutil.ignore_patterns("filler"))
                    say(f"kept {keep / place.name}")
        except TimeoutError:  # of a machine that is too busy; were it the gateway, no site would ever start
            late += 1
            say(f"a site did not start within {HEAL_S:.0f} s")
            if late == LATE_MAX:
                raise
        shutil.rmtree(place, ignore_errors=True)
    tally.seconds = int(time.monotonic() - started)
    return tally


async def _site(site: Site, rows: Iterator[Round], tally: Tally, rounds: int, until: float, say: Say) -> None:
    books = Books(site)
    small = isinstance(site.database, SqliteFile) and site.database.small
    for number in range(ROUNDS_A_SITE):
        if tally.rounds >= rounds or time.monotonic() > until:
            break
        faults = next(rows)
        if any(fault.disk == "small" for fault in faults) and not small:
            continue  # its turn comes on another site
        problems = await _round(site, books, faults, audit=number % AUDIT_EVERY == 0, tally=tally, say=say)
        if problems:
            for kind, what in problems:
                tally.note(kind, what)
                say(f"  {kind}: {what[:1500]}")
            return  # what is wrong once stays wrong
    else:
        number = ROUNDS_A_SITE
    for kind, what in await books.verify(final=True):
        tally.note(kind, what)
        say(f"  at the end: {kind}: {what[:1500]}")
    for status, count in books.statuses.items():
        tally.statuses[status] = tally.statuses.get(status, 0) + count
    tally.late += books.late
    tally.cost_micros += books.cost_micros
    tally.unsettled_micros += books.unsettled_micros
    tally.estimated_low_micros += books.estimated_low_micros


async def _round(
    site: Site, books: Books, faults: Round, *, audit: bool, tally: Tally, say: Say
) -> list[tuple[str, str]]:
    """One fault or a pair: break, heal, a fresh call, the books."""
    name = " + ".join(fault.id for fault in faults)
    site.fault, site.alone, site.fresh_s = name, len(faults) == 1, 0.0
    started = time.monotonic()
    watching = asyncio.create_task(site.watch())
    try:
        results = await asyncio.gather(*(fault.act(site) for fault in faults), return_exceptions=not site.alone)
    except Impossible as reason:
        tally.skipped[name] = str(reason)
        results, name = [], f"NOT TRIED ({reason}) {name}"
    except (ConnectionError, TimeoutError, AssertionError, OSError) as error:
        results = [error]
    finally:
        await site.all_leave()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    if site.alone:
        for error in results:
            if isinstance(error, BaseException):
                site.found("other", f"could not be carried out: {error!r}")
    else:
        site.problems = [problem for problem in site.problems if problem[0] != "other"]  # each expects to be alone
    broke_s = time.monotonic() - started
    await site.heal()
    problems = await books.verify(final=False)
    if audit and not problems:
        problems += await books.audit()
    tally.rounds += 1
    tally.pairs += len(faults) - 1
    for fault in () if name.startswith("NOT TRIED") else faults:
        tally.rows[fault.id] = tally.rows.get(fault.id, 0) + 1
    tally.fresh_ms_max = max(tally.fresh_ms_max, int(site.fresh_s * 1000))
    tally.fresh_slow += site.fresh_s > FRESH_S
    say(
        f"{site.database.engine:10} {tally.rounds:4} {'ok  ' if not problems else 'FAIL'} {broke_s:5.1f} s,"
        f" {time.monotonic() - started - broke_s:4.1f} s healing, fresh call after {site.fresh_s:.2f} s: {name}"
    )
    return problems


def _mounts() -> bool:
    """Whether a small disk can be mounted here."""
    place = Path(tempfile.mkdtemp())
    try:
        SqliteFile(place, small=True).unmount()
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return True


@contextlib.contextmanager
def server(engine: str) -> Iterator[Any]:
    """The PostgreSQL server of a run; None for SQLite."""
    if engine != "postgresql":
        yield None
        return
    made = Cluster("max_connections = 100\n")  # with fsync and all other defaults
    try:
        yield made
    finally:
        made.close()
