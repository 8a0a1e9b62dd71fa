"""F14, F15, F28: gateways that are killed at any moment, stopped, paused, and out of descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import time

import psutil

from scripts.proof.faults.table import POSTGRES, SQLITE, Act, fault
from scripts.proof.site import HEAL_S, LEASE_S, Site
from scripts.proof.stages import LONG, STAGES, at
from scripts.proof.tracer import injected
from tests.faults.support import Client
from tests.process import titled

KILLED = {
    "S0": ("none",),
    "S1": ("none", "unsettled"),
    "S2": ("unsettled",),
    "S3": ("unsettled",),
    "S4": ("unsettled",),
    "S5": ("unsettled", "settled"),
    "S6": ("settled",),
}


def _killing(stage: str) -> Act:
    async def act(site: Site) -> None:
        node = site.node
        async with site.load(2), at(site, node, stage, KILLED[stage]) as (raw, died):
            await site.kill(node)
            died()
            await raw.rest()

    return act


for _stage in STAGES:
    fault("F14", f"kill -9 at {_stage}")(_killing(_stage))


@fault("F14", "kill -9 at any moment under load")
async def _killed_anytime(site: Site) -> None:
    async with site.load(6):
        await asyncio.sleep(site.dice.uniform(0.02, 0.5))
        await asyncio.gather(
            *(site.kill(node) for node in site.dice.sample(site.nodes, site.dice.randint(1, len(site.nodes))))
        )


@fault("F14", "kill -9 again and again under load")
async def _killed_often(site: Site) -> None:
    async with site.load(5):
        for _ in range(8):
            await asyncio.sleep(site.dice.uniform(0.0, 0.3))
            node = site.node
            await site.kill(node)
            await node.start(HEAL_S)


def _killed_in(system_calls: str, most: int) -> Act:
    async def act(site: Site) -> None:
        node = site.node
        async with site.load(3), injected(node.pid, system_calls, "signal=KILL", str(site.dice.randint(1, most))):
            with contextlib.suppress(TimeoutError):
                await node.ended(1.5)
            if not node.alive:
                site.kills += 1

    return act


fault("F14", "killed inside the n-th fdatasync", SQLITE, alone=True)(_killed_in("fdatasync", 8))
fault("F14", "killed inside the n-th write of the database", SQLITE, alone=True)(_killed_in("pwrite64", 40))
fault("F14", "killed inside the n-th write to a socket", alone=True)(_killed_in("write,writev,sendto,sendmsg", 60))


@fault("F15", "SIGTERM under streams", alone=True)
async def _terminated(site: Site) -> None:
    node = site.node
    flying = [await site.raw(node, kind, LONG, ("settled",)) for kind in ("stream", "message stream", "spliced")]
    for raw in flying:
        await raw.send()
        await site.arrived(raw.call)
    node.signal(signal.SIGTERM)
    await asyncio.gather(*(raw.rest() for raw in flying))
    if await node.ended() != 0:
        site.found("other", "SIGTERM did not end with 0")
    if any(raw.call.end != "whole" for raw in flying):
        site.found("other", "SIGTERM cut a stream that would have ended")


@fault("F15", "SIGTERM twice under endless streams", alone=True)
async def _terminated_twice(site: Site) -> None:
    node = site.node
    flying = [
        await site.raw(node, kind, sim, ("estimated", "unsettled"))
        for kind, sim in (
            ("chat", "stall"),
            ("stream", "stall_after=4"),
            ("message stream", "chunk_delay_ms=50,output_tokens=2000"),
        )
    ]
    for raw in flying:
        await raw.send()
        await site.arrived(raw.call)
    node.signal(signal.SIGTERM)
    await asyncio.sleep(site.dice.uniform(0.05, 0.3))
    node.signal(signal.SIGTERM)
    await asyncio.gather(*(raw.rest() for raw in flying))
    if await node.ended() != 0:
        site.found("other", "a second SIGTERM did not end with 0")


@fault("F15", "SIGSTOP for longer than a lease, then SIGCONT")
async def _paused(site: Site) -> None:
    node = site.node
    async with at(site, node, "S3", ("settled", "unsettled")) as (raw, _):
        await node.freeze()
        await asyncio.sleep(3 * LEASE_S if site.database.engine == "postgresql" else 1.0)
        node.thaw()
        await raw.rest()


def _crew(*, parent: bool) -> Act:
    async def act(site: Site) -> None:
        node = site.node
        settings = node.settings | {"FARTHING_WORKERS": "2"}
        node.signal(signal.SIGTERM)
        await node.ended()
        node.settings = settings
        await node.start(HEAL_S)
        crew = titled(psutil.Process(node.pid).children(recursive=True), "serve")
        if len(crew) < 2:
            site.found("other", f"two workers are {len(crew)} processes")
        async with site.load(4):
            await asyncio.sleep(site.dice.uniform(0.1, 0.5))
            site.kills += 1
            if parent:
                await node.kill()
                _, left = await asyncio.to_thread(psutil.wait_procs, crew, HEAL_S)
                if left:
                    site.found("other", f"{len(left)} workers outlive the process that started them")
            else:
                site.dice.choice(crew).kill()
                node.deaths.append(time.monotonic())
                await asyncio.sleep(0.5)
                if (await site.call(site.keys["wide"], node=node)).status not in (0, 200):
                    site.found("other", "no call after a worker's death")

    return act


fault("F14", "kill -9 of one of two workers", POSTGRES, alone=True)(_crew(parent=False))
fault("F14", "kill -9 of what started two workers", POSTGRES, alone=True)(_crew(parent=True))


@fault("F28", "no file descriptor is left")
async def _no_descriptors(site: Site) -> None:
    node = site.node
    soft, hard = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (24, hard))
    clients: list[Client] = []
    async with site.load(3):
        with contextlib.suppress(OSError):
            for _ in range(40):
                clients.append(await Client.connect(node.url))
        await asyncio.sleep(0.3)
        for client in clients:
            await client.leave("fin")
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (soft, hard))
