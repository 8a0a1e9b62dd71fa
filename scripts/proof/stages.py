"""One call, brought to a chosen stage of its life and kept there while something happens to it.

S0 its bytes arrive; S1 not held; S2 held, and not at the provider; S3 at the provider, no head; S4 in its answer; S5
all relayed, not settled; S6 settled. Nothing in the product says where a call is: the provider, the wires and the
database do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from scripts.proof.calls import Raw
from scripts.proof.site import Node, Site

STAGES = ("S0", "S1", "S2", "S3", "S4", "S5", "S6")
LONG = "output_tokens=60,chunk_delay_ms=15"


@contextlib.asynccontextmanager
async def at(
    site: Site, node: Node, stage: str, expect: tuple[str, ...] = (), kind: str | None = None
) -> AsyncIterator[tuple[Raw, Callable[[], None]]]:
    """The call at its stage. The second thing is to be called when the gateway has died meanwhile."""
    kind = kind or site.dice.choice(("stream", "message stream", "spliced") if stage == "S4" else ("chat", "stream"))
    sims = {"S3": "delay_ms=400,output_tokens=8", "S4": LONG, "S5": "delay_ms=150,output_tokens=8"}
    raw = await site.raw(node, kind, sims.get(stage, "output_tokens=8"), expect)

    def nothing() -> None:
        """Nothing is kept back."""

    if stage == "S0":
        await raw.send(site.dice.random())
        await asyncio.sleep(0.02)
        yield raw, nothing
    elif stage == "S1":
        async with site.database.stuck(node.to_database, site.dice) as died:
            await raw.send()
            await asyncio.sleep(0.08)
            yield raw, died
    elif stage == "S2":
        mark = raw.call.mark.encode()
        trap = node.to_provider.trap(lambda data: mark in data, "hold")
        await raw.send()
        async with asyncio.timeout(30):
            await trap.sprung.wait()
        yield raw, lambda: trap.let_go(forward=False)
        trap.let_go(forward=True)
    else:
        await raw.send()
        await site.arrived(raw.call)
        if stage == "S3":
            yield raw, nothing
        elif stage == "S4":
            await raw.until(b"data: ")
            yield raw, nothing
        elif stage == "S5":
            async with site.database.stuck(node.to_database, site.dice) as died:
                await raw.until(b"[DONE]" if kind == "stream" else b'"usage"')
                yield raw, died
        else:
            await raw.until(b"[DONE]" if kind == "stream" else b'"usage"')
            await site.settled(raw.call)
            yield raw, nothing
