"""F30: targets of a route that die while calls go to them."""

from __future__ import annotations

import asyncio

from scripts.proof.calls import ROUTED
from scripts.proof.faults.table import fault
from scripts.proof.site import HEAL_S, Node, Site

FIRST, SECOND = "gpt-4o-mini", "gpt-4o"
FREE = ("status=503", "status=529", "status=404")
MAYBE_BILLED = ("status=500", "status=502", "reset=before_head")
CALLS = 16


async def _made(site: Site, node: Node) -> None:
    """The route, unless an earlier round made it."""
    targets = [{"provider": "openai", "model": model} for model in (FIRST, SECOND)]
    body = {"name": "routed", "targets": targets, "retry_ambiguous": True}
    status, answer = await site.api("POST", "/v1/routes", body, node=node)
    if status != 201 and (answer or {}).get("error", {}).get("code") != "name_taken":
        raise ConnectionError(f"route: {status} {answer}")
    await asyncio.sleep(1.0)  # for the other gateways to see it


@fault("F30", "a route's first target dies under load")
async def _dying(site: Site) -> None:
    node = site.node
    await _made(site, node)
    async with site.load(2):
        for faults in (FREE, MAYBE_BILLED):
            answers = await asyncio.gather(
                *(
                    site.call(
                        site.keys[site.dice.choice(("wide", "loose"))],
                        site.dice.choice(tuple(ROUTED)),
                        site.dice.choice(("output_tokens=8", *(f"{FIRST}@{each}" for each in faults))),
                    )
                    for _ in range(CALLS)
                )
            )
            for call in answers:
                if site.alone and call.key == site.keys["wide"].id and call.status != 200:
                    site.found("other", f"{call.mark} [{call.sim}] could have been answered: {call.status}")


@fault("F30", "a gateway is killed between a route's attempts")
async def _killed(site: Site) -> None:
    node = site.node
    await _made(site, node)
    sims = [f"{FIRST}@delay_ms={site.dice.randrange(80)},{each}" for each in (*FREE, *MAYBE_BILLED)]
    calls = [asyncio.create_task(site.call(site.keys["wide"], "routed", sim, node)) for sim in sims * 2]
    await asyncio.sleep(site.dice.random() * 0.15)
    await site.kill(node)
    await asyncio.gather(*calls)
    await node.start(HEAL_S)
