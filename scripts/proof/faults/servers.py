"""F17, F18: PostgreSQL that restarts, crashes and is lost, answers that are lost, gateways that are cut off from it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from scripts.proof.calls import first
from scripts.proof.database import commits
from scripts.proof.faults.table import OUTAGE_S, POSTGRES, Act, fault
from scripts.proof.site import LEASE_S, Site
from scripts.proof.stages import at

FOUND_S = 30.0  # for a gateway to serve from a standby that was promoted, on a machine that is busy with other things
STANDBY_AWAY_S = 7.0  # longer than a gateway waits for a commit


def _outage(mode: str) -> Act:
    async def act(site: Site) -> None:
        database = site.postgres
        async with site.load(5):
            await asyncio.sleep(site.dice.uniform(0.05, 0.4))
            await database.stop(mode)
            await asyncio.sleep(site.dice.uniform(0.0, OUTAGE_S))
            if mode != "kill":
                refused = await site.call(site.keys["wide"], expect=("none",))
                if refused.status != 503:
                    site.found("other", f"without a database a call gives {refused.status}")
            await database.start()
            await asyncio.sleep(0.2)

    return act


fault("F17", "PostgreSQL restarts", POSTGRES)(_outage("fast"))
fault("F17", "PostgreSQL crashes (immediate)", POSTGRES)(_outage("immediate"))
fault("F17", "kill -9 of the postmaster", POSTGRES)(_outage("kill"))


def _lost(*, silent: bool = False, away: bool = False) -> Act:
    """All that was answered is on the standby, and the gateways find it there.

    With `silent` the lost machine does not even close its connections; with `away` the standby is down for a while
    before, so that nothing can be committed.
    """

    async def act(site: Site) -> None:
        await site.standby()
        async with site.load(6):
            await asyncio.sleep(site.dice.uniform(0.2, 0.8))
            if away:
                await site.postgres.standby_away()
                await asyncio.sleep(site.dice.uniform(0.3, STANDBY_AWAY_S))
            for node in site.nodes if silent else ():
                assert node.to_database is not None
                node.to_database.silence()
            if site.dice.random() < 0.5:
                await site.kill(site.node)
            await site.fail_over()
            deadline = time.monotonic() + FOUND_S
            for node in site.nodes:
                while node.alive and (await site.call(site.keys["wide"], node=node)).status != 200:
                    if time.monotonic() > deadline:
                        site.found("other", f"no call within {FOUND_S:.0f} s after a standby was promoted")
                        break
            await asyncio.sleep(site.dice.uniform(0.0, 0.5))

    return act


fault("F17", "the server is lost, and its synchronous standby promoted", POSTGRES, alone=True)(_lost())
fault("F17", "the server is lost without a word, and its standby promoted", POSTGRES, alone=True)(_lost(silent=True))
fault("F17", "the standby is away, the server is lost, the standby promoted", POSTGRES, alone=True)(_lost(away=True))


def _killed_in_outage(*, sweeps: bool) -> Act:
    """What had ended and was not written is in the gateway's journal, and is carried out when it is started again."""

    async def act(site: Site) -> None:
        node = site.node
        async with at(site, node, "S4", ("settled", "unsettled")) as (raw, _):
            await site.postgres.stop(site.dice.choice(("fast", "immediate")))
            await raw.rest()
            await asyncio.sleep(site.dice.uniform(0.0, 1.5))
            await site.kill(node)
        await site.postgres.start()
        if sweeps:  # the others first find that its owner is dead
            await asyncio.sleep(3 * LEASE_S)

    return act


fault("F17", "gateway killed while the database is away", POSTGRES)(_killed_in_outage(sweeps=False))
fault("F17", "gateway killed while the database is away, and swept", POSTGRES)(_killed_in_outage(sweeps=True))


@fault("F17", "every connection to the database is cut", POSTGRES)
async def _database_cut(site: Site) -> None:
    async with site.load(5):
        for _ in range(5):
            await asyncio.sleep(site.dice.uniform(0.02, 0.2))
            for node in site.nodes:
                if node.to_database is not None:
                    node.to_database.cut()


@fault("F17", "sessions are ended by an administrator", POSTGRES)
async def _sessions_ended(site: Site) -> None:
    async with site.load(5):
        for _ in range(5):
            await asyncio.sleep(site.dice.uniform(0.02, 0.2))
            await site.postgres.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def _commit_lost(way: Any) -> Act:
    async def act(site: Site) -> None:
        node = site.node
        assert node.to_database is not None
        async with site.load(4):
            for _ in range(4):
                trap = node.to_database.trap(commits, way)
                calling = asyncio.create_task(site.call(site.keys["wide"], node=node))
                if not await first(trap.sprung, timeout_s=30):
                    site.found("other", "no COMMIT was seen on the wire")
                await calling

    return act


fault("F17", "the COMMIT's answer is cut off", POSTGRES)(_commit_lost("cut_answer"))
fault("F17", "the COMMIT is lost on its way", POSTGRES)(_commit_lost("eat"))


def _commit_lost_at(stage: str, way: Any) -> Act:
    """The one commit that matters: of the hold or of the settlement of this very call."""

    async def act(site: Site) -> None:
        node = site.node
        assert node.to_database is not None
        sim = "delay_ms=200,output_tokens=8"
        raw = await site.raw(
            node, "stream", sim, ("settled",) if stage == "settle" else ("settled", "released", "none")
        )
        if stage == "settle":
            await raw.send()
            await site.arrived(raw.call)
        trap = node.to_database.trap(commits, way, times=2)
        if stage == "hold":
            await raw.send()
        await raw.rest()
        await first(trap.sprung, timeout_s=30)

    return act


fault("F17", "the answer to a hold's COMMIT is cut off, twice", POSTGRES)(_commit_lost_at("hold", "cut_answer"))
fault("F17", "the answer to a settlement's COMMIT is cut off, twice", POSTGRES)(_commit_lost_at("settle", "cut_answer"))


@fault("F17", "tables are locked by another session", POSTGRES, alone=True)
async def _locked(site: Site) -> None:
    session = await site.postgres.session()
    async with site.load(3):
        await session.execute("BEGIN; LOCK TABLE counters, holds IN ACCESS EXCLUSIVE MODE")
        await asyncio.sleep(site.dice.uniform(0.2, 1.2))
        await session.execute("ROLLBACK")


@fault("F17", "no connection is left", POSTGRES, alone=True)
async def _exhausted(site: Site) -> None:
    async with site.load(3):
        with contextlib.suppress(Exception):
            for _ in range(300):
                await site.postgres.session()
        for node in site.nodes:
            if node.to_database is not None:
                node.to_database.cut()
        await asyncio.sleep(0.5)


@fault("F18", "one gateway is cut off from the database for longer than a lease", POSTGRES)
async def _partition(site: Site) -> None:
    node = site.node
    assert node.to_database is not None
    others = [other for other in site.nodes if other is not node]
    async with at(site, node, "S3", ("settled", "unsettled", "estimated")) as (raw, _):
        node.to_database.silence()
        reading = asyncio.create_task(raw.rest())
        refused = await site.call(site.keys["wide"], node=node)
        if refused.status != 503:
            site.found("other", f"a gateway without its database gives {refused.status}")
        if refused.seconds > 8:
            site.found("other", f"a gateway without its database answers after {refused.seconds:.1f} s")
        for other in others:
            if (await site.call(site.keys["wide"], node=other)).status != 200:
                site.found("other", "the others do not serve while one is cut off")
        await asyncio.sleep(site.dice.uniform(0.0, 2.0 * LEASE_S))
        await reading


@fault("F18", "one gateway's database is silent for less than a lease", POSTGRES)
async def _silence(site: Site) -> None:
    node = site.node
    assert node.to_database is not None
    async with site.load(4):
        node.to_database.silence()
        await asyncio.sleep(site.dice.uniform(0.1, 1.0))
        await node.to_database.heal()
