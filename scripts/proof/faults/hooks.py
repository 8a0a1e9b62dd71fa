"""F29: what leaves the house by itself, while gateways are killed and receivers are away, slow, lying and full.

A key with a limit of a few calls crosses five marks. Whoever dies meanwhile: at the end, for each mark that its use has
passed, the receiver has seen exactly one `webhook-id`, however often it came, and none for any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from scripts.proof.faults.table import Act, fault
from scripts.proof.site import HEAL_S, Key, Site
from tests.gateway.outbox.receiver import Receiver, receiving

CALLS = 5
MARKS = (20, 40, 60, 80)
KILLS = 3  # in a round
HEARD_S = 40.0  # after everything is whole: a first retry is due within 6 s of a failure
FIRST: dict[str, dict[str, Any]] = {
    "refuses the first try of each": {"status": 500},
    "leads elsewhere at first": {"status": 302, "headers": {"location": "/elsewhere"}},
    "is full at first": {"status": 429, "headers": {"retry-after": "1"}},
}


@contextlib.asynccontextmanager
async def _listening(site: Site) -> AsyncIterator[tuple[Receiver, Key]]:
    """A receiver, and a key whose marks it hears."""
    async with receiving() as receiver:
        limit = {"unit": "requests", "max": CALLS, "window": "total", "alert_at": MARKS}
        key = await site.mint(f"heard{len(site.keys)}", limits=[limit])
        body = {"kind": "webhook", "url": receiver.url, "events": ["limit.*"], "key_id": key.id}
        status, made = await site.api("POST", "/v1/hooks", body)
        if status != 201:
            raise ConnectionError(f"hook: {status} {made}")
        yield receiver, key


async def _cross(site: Site, key: Key) -> None:
    """Call until the limit refuses, or everybody has had his turn."""
    for _ in range(2 * CALLS):
        await site.call(key, "chat", "output_tokens=2")


async def _heard(site: Site, receiver: Receiver, key: Key) -> None:
    """What was passed was heard, under one id each, and nothing else was."""
    deadline = time.monotonic() + HEARD_S
    while True:
        status, shown = await site.api("GET", f"/v1/keys/{key.id}")
        ids: dict[int, set[str]] = defaultdict(set)
        taken = set()
        for number, (_, head, body) in enumerate(receiver.messages):
            said = json.loads(body)
            mark = 0 if said["type"] == "limit.reached" else said["data"]["percent"]
            ids[mark].add(head["webhook-id"])
            if number in receiver.taken:
                taken.add(mark)
        if status == 200:
            limit = next(each for each in shown["limits"] if each["unit"] == "requests")
            passed = {mark for mark in MARKS if limit["used"] * 100 >= mark * CALLS}
            # A call that is unsettled holds its place, so that the limit may refuse before it is used up.
            may = passed | {0}
            if passed <= taken and ids.keys() <= may and (limit["used"] < CALLS or 0 in taken):
                break
        if time.monotonic() > deadline:
            site.found("lost" if passed - taken else "other", f"heard {dict(ids)}, took {taken} of {passed}: {limit}")
            return
        await asyncio.sleep(0.1)
    if repeated := {mark: found for mark, found in ids.items() if len(found) > 1}:
        site.found("double", f"one crossing under several ids: {repeated}")


def _killed(moment: str) -> Act:
    async def act(site: Site) -> None:
        async with _listening(site) as (receiver, key):
            struck = asyncio.Event()
            if moment == "during the send":
                receiver.delay_s = 0.3
            calling = asyncio.create_task(_cross(site, key))

            async def strike() -> None:
                for number in range(KILLS):
                    with contextlib.suppress(TimeoutError):
                        if moment == "between commit and send":
                            await asyncio.sleep(site.dice.uniform(0.0, 0.25))
                        else:
                            await receiver.got(number + 1, 4.0)
                    node = site.node
                    await site.kill(node)
                    await node.start(HEAL_S)
                struck.set()

            await asyncio.gather(strike(), calling)
            receiver.delay_s = 0.0
            await _cross(site, key)
            await _heard(site, receiver, key)

    return act


for _moment in ("between commit and send", "during the send", "after the answer"):
    fault("F29", f"hooks: kill -9 {_moment}", alone=True)(_killed(_moment))


def _failing(how: str) -> Act:
    async def act(site: Site) -> None:
        async with _listening(site) as (receiver, key):

            def answer(number: int) -> web.Response:
                id_ = receiver.ids()[number]
                return web.Response(**FIRST[how]) if receiver.ids().index(id_) == number else web.Response()

            receiver.answer = answer
            await _cross(site, key)
            await _heard(site, receiver, key)

    return act


for _how in FIRST:
    fault("F29", f"hooks: a receiver that {_how}", alone=True)(_failing(_how))


@fault("F29", "hooks: a receiver that is away, and back", alone=True)
async def _away(site: Site) -> None:
    async with _listening(site) as (receiver, key):
        url = receiver.url
        status, page = await site.api("GET", "/v1/hooks?limit=1")
        hook = page["data"][0]["id"] if status == 200 else ""
        await site.api("PATCH", f"/v1/hooks/{hook}", {"url": "http://127.0.0.1:65111/away"})
        await _cross(site, key)
        await site.kill(site.node)
        await asyncio.gather(*(node.start(HEAL_S) for node in site.nodes if not node.alive))
        await site.api("PATCH", f"/v1/hooks/{hook}", {"url": url})
        await _heard(site, receiver, key)


@fault("F29", "hooks: a receiver that is slow costs calls nothing", alone=True)
async def _slow(site: Site) -> None:
    async with _listening(site) as (receiver, key):
        receiver.delay_s = 5.0
        async with site.load(3):
            await _cross(site, key)
        receiver.delay_s = 0.0
        await _heard(site, receiver, key)
