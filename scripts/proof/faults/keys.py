"""F20 to F27: what callers do at the same time, twice, and while calls are in flight."""

from __future__ import annotations

import asyncio
import time

from scripts.proof.faults.table import Act, fault
from scripts.proof.site import HEAL_S, RESERVED_S, Key, Site
from scripts.proof.stages import LONG
from tests.faults.support import CHAT, PATHS

FLOOD = 800  # more than become events of their own
FAR_MS = 9_999_999_999_999


@fault("F20", "reservations are ended twice, in every order, by everybody")
async def _twice(site: Site) -> None:
    key = site.keys["wide"]

    async def one(number: int) -> None:
        asked = {"amount": 50, "subject": {"key_id": key.id}, "ttl_seconds": RESERVED_S}
        status, made = await site.api("POST", "/v1/reservations", asked, node=site.node)
        if status != 201:
            return
        words = [("commit", {"actual": site.dice.randint(0, 70)}), ("release", None), ("commit", {"actual": 7})]
        site.dice.shuffle(words)
        answers = await asyncio.gather(
            *(
                site.api("POST", f"/v1/reservations/{made['id']}/{word}", body, node=site.node)
                for word, body in words * 2
            )
        )
        said = {repr(sorted((answer or {}).items())) for status, answer in answers if status == 200}
        if len(said) > 1:
            site.found("double", f"a reservation ended in {len(said)} ways: {said}")

    async with site.load(2):
        await asyncio.gather(*(one(number) for number in range(8)))


@fault("F21", "many calls at once on one key with room for some")
async def _burst(site: Site) -> None:
    room = site.dice.randint(1, 30)
    key = await site.mint(f"burst {site.dice.getrandbits(32):08x}", overdraft="never")
    sizing = await site.call(key, "chat", "delay_ms=0000,output_tokens=5", max_tokens=100)  # as long as the others
    each = int(sizing.headers.get("x-farthing-held-micros", "0"))
    cap = each * room + each // 2
    key = await site.mint(f"burst {site.dice.getrandbits(32):08x}", overdraft="never", max_spend_micros=cap)
    made = await asyncio.gather(
        *(site.call(key, "chat", "delay_ms=2500,output_tokens=5", site.nodes[number % len(site.nodes)], max_tokens=100)
          for number in range(60))
    )  # fmt: skip
    admitted = sum(call.status == 200 for call in made)
    if admitted != room or any(call.status not in (200, 402) for call in made):
        site.found("overspent" if admitted > room else "other", f"{admitted} of {room} affordable calls were admitted")


@fault("F21", "a flood of refused calls, each of another end user", alone=True)
async def _flood(site: Site) -> None:
    """Few of them are events of their own; what usage says of their number is right, once all nodes have told."""
    key = await site.mint(f"broke {site.dice.getrandbits(32):08x}", max_spend_micros=0)
    names, refused = [f"nobody-{site.dice.getrandbits(64):016x}" for _ in range(FLOOD)], 0

    async def one(name: str, number: int) -> int:
        headers = {"authorization": f"Bearer {key.secret}", "x-end-user-id": name}
        url = site.nodes[number % len(site.nodes)].url + PATHS["chat"]
        async with site.http.post(url, json=CHAT, headers=headers) as answer:
            await answer.read()
            return answer.status

    async with site.load(2):
        for start in range(0, FLOOD, 32):
            part = names[start : start + 32]
            statuses = await asyncio.gather(*(one(name, start + at) for at, name in enumerate(part)))
            refused += statuses.count(402)
    deadline, blocked = time.monotonic() + HEAL_S, 0
    while blocked != refused and time.monotonic() < deadline:
        _, usage = await site.api("GET", f"/v1/usage?from_ms=0&to_ms={FAR_MS}&key_id={key.id}")
        blocked = sum(row["blocked"] for row in (usage or {}).get("by_key", ()))
        await asyncio.sleep(0.5)
    if refused != FLOOD or blocked != refused:
        site.found("other", f"{refused} of {FLOOD} calls were refused, and {blocked} are counted")
    for name in names[:3]:
        if (await site.api("GET", f"/v1/end_users/{name}?key_id={key.id}"))[0] != 404:
            site.found("other", "a refused call has opened an end user")


@fault("F22", "siblings race under one parent's cap")
async def _siblings(site: Site) -> None:
    team = await site.mint(
        f"team {site.dice.getrandbits(32):08x}", scope="team", max_spend_micros=site.dice.randint(500, 3000)
    )
    team.sound = True
    children = [await site.mint(f"child {site.dice.getrandbits(32):08x}", by=team, overdraft="never") for _ in range(4)]
    await asyncio.gather(
        *(site.call(site.dice.choice(children), site.dice.choice(("chat", "stream", "messages")),
                    "delay_ms=100,output_tokens=30", site.node, max_tokens=60) for _ in range(40))
    )  # fmt: skip


def _revoked(stage: str) -> Act:
    async def act(site: Site) -> None:
        node, other = site.node, site.node
        key = await site.mint(f"revoked {site.dice.getrandbits(32):08x}")
        ends = {"S1": ("blocked", "none", "estimated", "settled", "unsettled"), "S4": ("estimated", "unsettled")}[stage]
        if stage == "S1":
            calling = [asyncio.create_task(site.call(key, "chat", "output_tokens=5", node)) for _ in range(6)]
            await site.api("DELETE", f"/v1/keys/{key.id}", node=other)
            await asyncio.gather(*calling)
        else:
            raw = await site.raw(node, "stream", "chunk_delay_ms=40,output_tokens=400", ends, key=key)
            await raw.send()
            await raw.until(b"data: ")
            status, _ = await site.api("DELETE", f"/v1/keys/{key.id}", node=other)
            if status != 200:
                site.found("other", f"revoke gives {status}")
            await raw.rest()
        for node in site.nodes:
            call = await site.call(key, node=node)
            if call.status != 401:
                site.found("other", f"a revoked key got {call.status}")

    return act


fault("F23", "key revoked while its calls are being admitted")(_revoked("S1"))
fault("F23", "key revoked in its stream")(_revoked("S4"))


@fault("F23", "keys revoked on one gateway, and used at once on the others")
async def _revoked_everywhere(site: Site) -> None:
    node = site.node

    async def one(number: int) -> None:
        key = await site.mint(f"gone {site.dice.getrandbits(32):08x}")
        for other in site.nodes:
            await site.call(key, "chat", "output_tokens=1", other, ("settled",))
        if (await site.api("DELETE", f"/v1/keys/{key.id}", node=node))[0] != 200:
            site.found("other", "a revoke failed")
        for other in site.nodes:
            call = await site.call(key, "chat", "output_tokens=1", other, ("blocked", "none"))
            if call.status != 401:
                site.found("other", f"revoked {number}, and a call got {call.status}")

    await asyncio.gather(*(one(number) for number in range(10)))


@fault("F23", "key rotated in its stream")
async def _rotated(site: Site) -> None:
    key = await site.mint(f"rotated {site.dice.getrandbits(32):08x}")
    raw = await site.raw(site.node, "stream", LONG, ("settled",), key=key)
    await raw.send()
    await raw.until(b"data: ")
    status, made = await site.api("POST", f"/v1/keys/{key.id}/rotate", {"overlap_seconds": 0}, node=site.node)
    old = Key(id=key.id, secret=key.secret)
    if status == 200:
        key.secret = made["secret"]
        for node in site.nodes:
            if (await site.call(key, node=node)).status != 200:
                site.found("other", "a rotated key's new secret is refused")
            if (await site.call(old, node=node)).status != 401:
                site.found("other", "a rotated key's old secret is taken")
    await raw.rest()


@fault("F24", "cap lowered and raised in flight")
async def _cap_changed(site: Site) -> None:
    key = await site.mint(f"cap {site.dice.getrandbits(32):08x}", max_spend_micros=100_000, overdraft="never")
    flying = [await site.raw(site.node, kind, LONG, ("settled",), key=key) for kind in ("stream", "message stream")]
    for raw in flying:
        await raw.send()
        await site.arrived(raw.call)
    for cap, expected in ((0, 402), (1, 402), (100_000, 200)):
        status, _ = await site.api("PATCH", f"/v1/keys/{key.id}", {"max_spend_micros": cap}, node=site.node)
        for node in site.nodes:
            call = await site.call(key, "chat", "output_tokens=3", node, max_tokens=20)
            if status == 200 and call.status != expected:
                site.found("overspent" if call.status == 200 else "other", f"cap {cap}: a call gives {call.status}")
    await asyncio.gather(*(raw.rest() for raw in flying))


@fault("F26", "changes and reports are repeated, also across a kill")
async def _repeated(site: Site) -> None:
    node, body = site.node, {"name": f"once {site.dice.getrandbits(32):08x}"}
    once = f"once-{site.dice.getrandbits(64)}"
    event = {
        "idempotency_key": once, "timestamp_ms": site.started_ms, "subject": {"key_id": site.keys["wide"].id},
        "provider": "openai", "model": "gpt-4o-mini", "cost_micros": 11, "metadata": {},
    }  # fmt: skip
    asking = [
        asyncio.create_task(site.api("POST", "/v1/keys", body, node=each, once=once))
        for each in [node, *site.nodes] * 2
    ]
    reporting = [
        asyncio.create_task(site.api("POST", "/v1/events", event, node=each)) for each in [node, *site.nodes] * 2
    ]
    if site.dice.random() < 0.5:
        await asyncio.sleep(site.dice.uniform(0.0, 0.05))
        await site.kill(node)
    answers = await asyncio.gather(*asking, *reporting)
    if not node.alive:
        await node.start(HEAL_S)
    status, made = await site.api("POST", "/v1/keys", body, node=node, once=once)
    secrets = {answer["secret"] for got, answer in [*answers, (status, made)] if got == 201 and "secret" in answer}
    if len(secrets) != 1:
        site.found("double", f"one Idempotency-Key made {len(secrets)} secrets ({status})")
    status, _ = await site.api("POST", "/v1/keys", {"name": "other"}, node=site.node, once=once)
    if status != 422:
        site.found("other", f"an Idempotency-Key with another body gives {status}")
    status, answer = await site.api("POST", "/v1/events", event, node=site.node)
    if status != 200 or answer["accepted"] + answer["duplicates"] != 1:
        site.found("other", f"a repeated report gives {status} {answer}")
    taken = sum(got == 200 and answer["accepted"] for got, answer in answers[len(asking) :]) + (answer or {}).get(
        "accepted", 0
    )
    if taken > 1:
        site.found("double", f"a report was taken {taken} times")


@fault("F27", "keys are listed while keys are minted and revoked")
async def _storm(site: Site) -> None:
    made: set[str] = set()
    before = {key["id"] for key in await site.pages("/v1/keys?")}

    async def mint(number: int) -> None:
        status, key = await site.api("POST", "/v1/keys", {"name": f"storm {number}"}, node=site.node)
        if status == 201:
            made.add(key["id"])
            if number % 3 == 0:
                await site.api("DELETE", f"/v1/keys/{key['id']}", node=site.node)

    minting = asyncio.gather(*(mint(number) for number in range(24)))
    while not minting.done():
        listed = [key["id"] for key in await site.pages("/v1/keys?")]
        if len(listed) != len(set(listed)) or not before <= set(listed):
            site.found("other", "a list of keys shows one twice or misses one")
    await minting
    if not made <= {key["id"] for key in await site.pages("/v1/keys?")}:
        site.found("other", "a list of keys misses one")
