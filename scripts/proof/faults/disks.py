"""F16: the disk under SQLite: full, read-only, failing, locked, gone."""

from __future__ import annotations

import asyncio
import contextlib

from scripts.proof.faults.table import SQLITE, Act, fault
from scripts.proof.site import Site
from scripts.proof.stages import at
from scripts.proof.tracer import injected


@fault("F16", "another program holds the write lock", SQLITE)
async def _busy(site: Site) -> None:
    async with site.load(3), at(site, site.node, "S4", ("settled",)) as (raw, _):
        await asyncio.to_thread(site.sqlite.lock)
        refused = await site.call(site.keys["wide"], expect=("none",))
        if (refused.status, refused.code) != (503, "ledger_unavailable"):
            site.found("other", f"a locked database gives {refused.status}")
        site.sqlite.unlock()
        await raw.rest()


def _failing(system_calls: str, error: str, *, dies: bool = False) -> Act:
    async def act(site: Site) -> None:
        node = site.node
        ends = ("settled", "unsettled") if dies else ("settled",)
        async with site.load(2), at(site, node, "S4", ends) as (raw, _):
            async with injected(node.pid, system_calls, f"error={error}"):
                # What was not synced may stand all the same when the file is opened again: held, and never forwarded.
                refused = await site.call(site.keys["wide"], expect=("none", "unsettled") if dies else ("none",))
                if refused.status not in ((0, 503) if dies else (503,)):
                    site.found("other", f"{error} gives {refused.status}")
                if dies:
                    with contextlib.suppress(TimeoutError):
                        await node.ended(30)
                    if node.alive:
                        site.found("other", f"{error} of {system_calls} leaves the process alive")
            await raw.rest()

    return act


fault("F16", "no space left (ENOSPC)", SQLITE)(_failing("pwrite64", "ENOSPC"))
fault("F16", "write error (EIO)", SQLITE)(_failing("pwrite64", "EIO"))
fault("F16", "read-only disk (EROFS)", SQLITE)(_failing("pwrite64", "EROFS"))
fault("F16", "fsync error (EIO)", SQLITE)(_failing("fdatasync,fsync", "EIO", dies=True))


@fault("F16", "the disk is full", SQLITE, disk="small")
async def _full(site: Site) -> None:
    node = site.node
    async with site.load(2), at(site, node, "S4", ("settled",)) as (raw, _):
        site.sqlite.fill()
        async with asyncio.timeout(60):  # what the database has of room in its own file is used up first
            while (call := await site.call(site.keys["wide"])).status == 200:
                pass
        if call.status != 503:
            site.found("other", f"a full disk gives {call.status}")
        await raw.rest()
        await asyncio.sleep(0.2)


@fault("F16", "the database file is moved away", SQLITE)
async def _moved(site: Site) -> None:
    node, path = site.node, site.sqlite.path
    aside = path.with_name("aside.db")
    async with site.load(2), at(site, node, "S4", ("settled", "unsettled")) as (raw, _):
        path.rename(aside)
        try:
            call = await site.call(site.keys["wide"], expect=("none",), node=node)
            if call.status not in (0, 503):
                site.found("other", f"without its file a call gives {call.status}")
            await raw.rest()
            with contextlib.suppress(TimeoutError):
                await node.ended(30)
            if node.alive:
                site.found("other", "a gateway whose file is gone lives on")
        finally:
            aside.rename(path)
