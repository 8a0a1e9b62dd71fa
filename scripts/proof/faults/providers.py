"""F8 to F13: providers that cannot be reached, break off, stall, and tell nonsense."""

from __future__ import annotations

import asyncio
import signal

from providers.simulator.faults import USAGES
from scripts.proof import calls
from scripts.proof.faults.table import Act, fault
from scripts.proof.site import HEAL_S, Site
from scripts.proof.stages import at


@fault("F8", "provider refuses connections")
async def _refusing(site: Site) -> None:
    node = site.node
    node.to_provider.refuse()
    node.to_provider.cut()
    async with site.load(2):
        for kind in calls.KINDS:
            call = await site.call(site.keys["wide"], kind, node=node, expect=("released", "unsettled", "estimated"))
            if call.status != 502:
                site.found("other", f"a provider that refuses gives {call.status}")


def _elsewhere(origin: str) -> Act:
    async def act(site: Site) -> None:
        node = site.node
        node.signal(signal.SIGTERM)
        await node.ended()
        node.settings = node.settings | {"FARTHING_UPSTREAM_OPENAI": origin.format(port=node.to_provider.port)}
        await node.start(HEAL_S)
        call = await site.call(site.keys["wide"], "chat", node=node, expect=("released",))
        if call.status != 502:
            site.found("other", f"an unreachable provider gives {call.status}")

    return act


fault("F8", "provider's name does not exist")(_elsewhere("http://nowhere.invalid"))
fault("F8", "provider speaks no TLS")(_elsewhere("https://127.0.0.1:{port}"))


@fault("F9", "provider's connection is reset at any byte")
async def _resets(site: Site) -> None:
    node = site.node
    async with site.load(2):
        for _ in range(8):
            node.to_provider.limit_bytes = site.dice.choice((0, 1, 50, 200, 400, 800, 1500, 3000))
            node.to_provider.cut()
            kind = site.dice.choice(tuple(calls.KINDS))
            await site.call(site.keys["wide"], kind, "output_tokens=12", node)
        node.to_provider.limit_bytes = None


@fault("F9", "provider's connections are cut at once")
async def _cut(site: Site) -> None:
    node = site.node
    async with site.load(4):
        for stage in ("S3", "S4"):
            async with at(site, node, stage, ("estimated", "settled", "unsettled")) as (raw, _):
                node.to_provider.cut()
                await raw.rest()


@fault("F10", "provider answers with errors, HTML and redirects")
async def _errors(site: Site) -> None:
    sims = [f"status={status}" for status in (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)]
    sims += ["html", "status=500,html", "redirect", "status=307,redirect"]
    async with site.load(2):
        await asyncio.gather(
            *(site.call(site.keys["wide"], site.dice.choice(("chat", "stream", "messages")), sim, expect=("released",))
              for sim in sims)
        )  # fmt: skip
    site.witness.read()
    if site.witness.arrived.pop("", 0):
        site.found("other", "a redirect was followed")


SLICE_S, SLICE_BYTES = 0.02, 2500  # 8 s for the largest everyday answer, a megabyte; a call may last for 40 s


@fault("F11", "provider is slow, in slices, and stalls")
async def _slowness(site: Site) -> None:
    node = site.node
    node.to_provider.latency_s, node.to_provider.slice_bytes = SLICE_S, SLICE_BYTES
    stalling = [
        await site.raw(node, kind, sim, ("estimated", "unsettled"))
        for kind, sim in (("chat", "stall"), ("stream", "stall_after=3"), ("message stream", "stall_after=4"))
    ]
    async with site.load():
        for raw in stalling:
            await raw.send()
            await site.arrived(raw.call)
        await asyncio.gather(
            *(site.call(site.keys["wide"], kind, "output_tokens=15", node, ("settled",)) for kind in calls.KINDS)
        )
    for raw in stalling:
        await raw.leave("rst")


@fault("F12", "provider's reports are nonsense")
async def _nonsense(site: Site) -> None:
    sims = [f"usage={usage},output_tokens=8" for usage in USAGES]
    sims += ["malformed", "error_after=3", "comments", "bom", "newline=crlf", "newline=cr", "chunk_bytes=1", "no_end"]
    async with site.load(2):
        await asyncio.gather(
            *(site.call(site.keys["wide"], kind, sim, expect=("settled", "estimated", "released"))
              for sim in sims for kind in ("chat", "stream", "message stream"))
        )  # fmt: skip


@fault("F13", "provider's heads lie")
async def _lies(site: Site) -> None:
    sims = ("encoding=gzip", "content_length=10", "content_length=100000", "stream=on", "stream=off")
    async with site.load(2):
        await asyncio.gather(
            *(site.call(site.keys["wide"], kind, sim + ",output_tokens=8") for sim in sims
              for kind in ("chat", "stream", "messages", "message stream"))
        )  # fmt: skip
