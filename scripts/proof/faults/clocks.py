"""F19, F25: clocks that jump, and a month that ends while calls are in flight."""

from __future__ import annotations

import signal

from scripts.proof.clock import Clock
from scripts.proof.faults.table import SQLITE, fault
from scripts.proof.site import HEAL_S, Node, Site
from scripts.proof.stages import LONG, at

HOUR_S, MONTH_S = 3600, 31 * 24 * 3600


async def _clocked(site: Site, node: Node) -> Clock:
    """Start the gateway anew with a clock that can be set."""
    clock = Clock(node.place)
    settings = node.settings | clock.settings
    node.signal(signal.SIGTERM)
    await node.ended()
    node.settings = settings
    await node.start(HEAL_S)
    return clock


@fault("F19", "the clock jumps by an hour and a month, there and back", alone=True)
async def _clock_jumps(site: Site) -> None:
    node = site.node
    clock = await _clocked(site, node)
    async with site.load(3):
        for jump_s in (*site.dice.sample((HOUR_S, -HOUR_S, MONTH_S, -MONTH_S), 2), 0):
            async with at(site, node, "S4", ("settled",)) as (raw, _):
                clock.jump(jump_s)
                if (await site.call(site.keys["wide"], node=node, expect=("settled",))).status != 200:
                    site.found("other", f"no call after a jump of {jump_s} s")
                await raw.rest()


@fault("F25", "a month ends while calls are in flight", SQLITE, alone=True)
async def _month_ends(site: Site) -> None:
    node = site.node
    key = await site.mint(
        f"monthly {site.dice.getrandbits(32):08x}", max_spend_micros=3_000, reset="month", overdraft="never"
    )
    clock = await _clocked(site, node)
    raw = await site.raw(node, "stream", LONG, ("settled",), key=key)
    await raw.send()
    await site.arrived(raw.call)
    clock.jump(MONTH_S)
    _, before = await site.api("GET", f"/v1/keys/{key.id}", node=node)
    await raw.rest()
    call = await site.call(key, "chat", "output_tokens=5", node, ("settled",), max_tokens=20)
    _, after = await site.api("GET", f"/v1/keys/{key.id}", node=node)
    if (before["spent_micros"], before["held_micros"]) != (0, 0):
        site.found("other", f"a new month begins with {before['spent_micros']} spent, {before['held_micros']} held")
    cost = int(call.headers.get("x-farthing-cost-micros", "-9"))
    if abs(after["spent_micros"] + after["held_micros"] - cost) > max(1, after["held_micros"]):
        site.found("other", f"a call of the old month counts in the new one: {after['spent_micros']}, not {cost}")
