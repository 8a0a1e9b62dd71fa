"""F1 to F7: clients that leave, that do not read, that hardly write, and what is turned away at the door."""

from __future__ import annotations

import asyncio
import contextlib

from scripts.proof.faults.table import Act, fault
from scripts.proof.site import Key, Site
from scripts.proof.stages import STAGES, at
from tests.faults.support import Client, request_bytes

# ---- F1 to F3: clients that leave, that do not read, that hardly write

LEFT = {
    "S0": ("none",),
    "S1": ("none", "released", "estimated", "settled", "unsettled"),
    "S2": ("released", "estimated", "settled", "unsettled"),
    "S3": ("settled", "estimated", "unsettled"),
    "S4": ("settled", "estimated", "unsettled"),
    "S5": ("settled",),
    "S6": ("settled",),
}


def _leaving(stage: str, how: str) -> Act:
    async def act(site: Site) -> None:
        async with site.load(), at(site, site.node, stage, LEFT[stage]) as (raw, _):
            await raw.leave(how)
            await asyncio.sleep(0.05)

    return act


for _stage in STAGES:
    for _how in ("fin", "rst"):
        fault("F1", f"client leaves by {_how} at {_stage}")(_leaving(_stage, _how))


@fault("F2", "client reads slowly, then leaves or reads on")
async def _slow_reader(site: Site) -> None:
    node, sim = site.node, "output_tokens=4000,chunk_bytes=65536"
    slow = [
        await site.raw(node, kind, sim, ("settled", "estimated"), receive_buffer=2048)
        for kind in ("stream", "message stream", "spliced")
    ]
    async with site.load():
        for raw in slow:
            await raw.send()
        for _ in range(8):
            for raw in slow:
                raw.client.got += await asyncio.wait_for(raw.client.reader.read(256), 10)
            await asyncio.sleep(0.05)
        await slow[0].leave("fin")
        await slow[1].leave("rst")
        await slow[2].rest()


@fault("F3", "heads and bodies that do not come")
async def _dripping(site: Site) -> None:
    node, secret = site.node, site.keys["wide"].secret
    whole = request_bytes(secret, b"", "/v1/chat/completions", "content-length: 100")
    slow = [await Client.connect(node.url) for _ in range(12)]
    async with site.load():
        for number, client in enumerate(slow):
            await client.send(whole[: 1 + number * len(whole) // len(slow)])
        await asyncio.sleep(0.3)
        if (await site.call(site.keys["wide"], node=node)).status != 200:
            site.found("other", "no good call beside slow ones")
    for client in slow:
        await client.leave(site.dice.choice(("fin", "rst")))


# ---- F4 to F7: what is turned away at the door

_DEEP = b'{"model":"gpt-4o-mini","messages":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
_REFUSED: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "too long a body": (b"", ("content-length: 99999999999",)),
    "too many fields": (b"{}", tuple(f"x-{number}: 1" for number in range(300))),
    "a field too long": (b"{}", ("x-a: " + "a" * 100_000,)),
    "deep JSON": (_DEEP, ()),
    "a huge integer": (b'{"model":"gpt-4o-mini","messages":[],"max_tokens":' + b"9" * 400 + b"}", ()),
    "a lone surrogate": (b'{"model":"\\ud800","messages":[]}', ()),
    "no JSON": (b"\xff\xfe", ()),
    "gzip": (b"\x1f\x8b" + bytes(100), ("content-encoding: gzip",)),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(100), ("content-encoding: zstd",)),
    "brotli": (b"\x0b" + bytes(100), ("content-encoding: br",)),
    "CL.TE": (b"0\r\n\r\n", ("content-length: 5", "transfer-encoding: chunked")),
    "TE.TE": (b"0\r\n\r\n", ("transfer-encoding: chunked", "transfer-encoding: identity")),
    "two lengths": (b"{}", ("content-length: 2", "content-length: 5")),
    "a folded field": (b"{}", ("content-length: 2", "x-a: b\r\n c")),
    "a NUL": (b"{}", ("content-length: 2", "x-a: b\x00c")),
    "a space before the colon": (b"{}", ("content-length : 2",)),
}


@fault("F4", "oversize, encoded and smuggled requests (F4, F5, F6)")
async def _malformed(site: Site) -> None:
    node = site.node
    async with site.load(2):
        for name, (body, headers) in _REFUSED.items():
            client = await Client.connect(node.url)
            with contextlib.suppress(ConnectionError):
                await client.send(request_bytes(site.keys["wide"].secret, body, "/v1/chat/completions", *headers))
            with contextlib.suppress(AssertionError, ConnectionError, TimeoutError):  # closing says no, too
                await client.until(b"\r\n\r\n", 5.0)
            got = client.got
            if got and not got.startswith(b"HTTP/1.1 4"):
                site.found("other", f"{name}: answered {got[:100]!r}")
            await client.leave("rst")
    site.witness.read()
    if site.witness.arrived.pop("", 0):
        site.found("other", "an unmarked request reached the provider")


@fault("F7", "keys that open nothing, by the hundred")
async def _garbage(site: Site) -> None:
    secret = site.keys["wide"].secret
    wrong = ["x", secret[:-1], secret[:-1] + ("a" if secret[-1] != "a" else "b"), "fk_live_" + "0" * 63, secret + "x"]

    async def knock(number: int) -> None:
        key = Key(id="", secret=wrong[number % len(wrong)])
        call = await site.call(key, "chat", node=site.nodes[0], expect=("none",))
        if call.status != 401:
            site.found("other", f"a wrong key got {call.status}")

    async with site.load(2):
        for start in range(0, 200, 20):
            await asyncio.gather(*(knock(number) for number in range(start, start + 20)))
