"""The table of faults: a name, the engines that it concerns, and what is done.

Each is a coroutine that takes a site, breaks something while calls are under way, and returns when the harm is done;
healing and the invariants are the supervisor's. What must be so besides, a fault says itself (`expect` of a call,
`site.found`). All chances are taken from the site's dice, so that a seed repeats them.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import psutil

from providers.simulator.faults import USAGES
from scripts.proof import calls
from scripts.proof.calls import first
from scripts.proof.clock import Clock
from scripts.proof.database import commits
from scripts.proof.site import HEAL_S, LEASE_S, Key, Node, Site
from scripts.proof.stages import LONG, STAGES, at
from scripts.proof.tracer import injected
from tests.faults.support import Client, request_bytes

Act = Callable[[Site], Awaitable[None]]

BOTH = ("sqlite", "postgresql")
OUTAGE_S = 0.6  # long enough that calls are refused, short of the lease


class Fault(NamedTuple):
    """One row. `row`: its number in the fault matrix; `disk`: "small" needs a disk that can be filled."""

    row: str
    name: str
    engines: tuple[str, ...]
    act: Act
    kills: bool = False
    disk: str = ""

    @property
    def id(self) -> str:
        """How it is asked for and reported."""
        return f"{self.row} {self.name}"


FAULTS: list[Fault] = []


def fault(
    row: str, name: str, engines: tuple[str, ...] = BOTH, *, kills: bool = False, disk: str = ""
) -> Callable[[Act], Act]:
    """Enter it in the table."""

    def entered(act: Act) -> Act:
        FAULTS.append(Fault(row, name, engines, act, kills, disk))
        return act

    return entered


# ---- F1 to F3: clients that leave, that do not read, that hardly write

LEFT = {
    "S0": ("none",),
    "S1": ("none", "released", "estimated", "settled"),
    "S2": ("released", "estimated", "settled"),
    "S3": ("settled", "estimated"),
    "S4": ("settled", "estimated"),
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


# ---- F8 to F13: the provider


@fault("F8", "provider refuses connections")
async def _refusing(site: Site) -> None:
    node = site.node
    node.to_provider.refuse()
    node.to_provider.cut()
    async with site.load(2):
        for kind in calls.KINDS:
            call = await site.call(site.keys["wide"], kind, node=node, expect=("released", "estimated"))
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
            async with at(site, node, stage, ("estimated", "settled")) as (raw, _):
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


@fault("F11", "provider is slow, in slices, and stalls")
async def _slowness(site: Site) -> None:
    node = site.node
    node.to_provider.latency_s, node.to_provider.slice_bytes = 0.02, 400
    stalling = [
        await site.raw(node, kind, sim, ("estimated",))
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
            *(site.call(site.keys["wide"], kind, sim, expect=("settled", "estimated"))
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


# ---- F14, F15: the gateway

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
    fault("F14", f"kill -9 at {_stage}", kills=True)(_killing(_stage))


@fault("F14", "kill -9 at any moment under load", kills=True)
async def _killed_anytime(site: Site) -> None:
    async with site.load(6):
        await asyncio.sleep(site.dice.uniform(0.02, 0.5))
        await asyncio.gather(
            *(site.kill(node) for node in site.dice.sample(site.nodes, site.dice.randint(1, len(site.nodes))))
        )


def _killed_in(system_calls: str, most: int) -> Act:
    async def act(site: Site) -> None:
        node = site.node
        async with site.load(3), injected(node.pid, system_calls, "signal=KILL", str(site.dice.randint(1, most))):
            with contextlib.suppress(TimeoutError):
                await node.ended(1.5)
            if not node.alive:
                site.kills += 1

    return act


fault("F14", "killed inside the n-th fdatasync", ("sqlite",), kills=True)(_killed_in("fdatasync", 8))
fault("F14", "killed inside the n-th write of the database", ("sqlite",), kills=True)(_killed_in("pwrite64", 40))
fault("F14", "killed inside the n-th write to a socket", kills=True)(_killed_in("write,writev,sendto,sendmsg", 60))


@fault("F15", "SIGTERM under streams")
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


@fault("F15", "SIGTERM twice under endless streams")
async def _terminated_twice(site: Site) -> None:
    node = site.node
    flying = [
        await site.raw(node, kind, sim, ("estimated",))
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


# ---- F16: the disk under SQLite


@fault("F16", "another program holds the write lock", ("sqlite",))
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


fault("F16", "no space left (ENOSPC)", ("sqlite",))(_failing("pwrite64", "ENOSPC"))
fault("F16", "write error (EIO)", ("sqlite",))(_failing("pwrite64", "EIO"))
fault("F16", "read-only disk (EROFS)", ("sqlite",))(_failing("pwrite64", "EROFS"))
fault("F16", "fsync error (EIO)", ("sqlite",))(_failing("fdatasync,fsync", "EIO", dies=True))


@fault("F16", "the disk is full", ("sqlite",), disk="small")
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


@fault("F16", "the database file is moved away", ("sqlite",))
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


# ---- F17, F18: PostgreSQL

POSTGRES = ("postgresql",)


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


fault("F17", "gateway killed while the database is away", POSTGRES, kills=True)(_killed_in_outage(sweeps=False))
fault("F17", "gateway killed while the database is away, and swept", POSTGRES, kills=True)(
    _killed_in_outage(sweeps=True)
)


def _crew(*, parent: bool) -> Act:
    async def act(site: Site) -> None:
        node = site.node
        settings = node.settings | {"FARTHING_WORKERS": "2"}
        node.signal(signal.SIGTERM)
        await node.ended()
        node.settings = settings
        await node.start(HEAL_S)
        crew = [child for child in psutil.Process(node.pid).children(recursive=True) if "serve" in child.cmdline()]
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
                await asyncio.sleep(0.5)
                if (await site.call(site.keys["wide"], node=node)).status not in (0, 200):
                    site.found("other", "no call after a worker's death")

    return act


fault("F14", "kill -9 of one of two workers", POSTGRES, kills=True)(_crew(parent=False))
fault("F14", "kill -9 of what started two workers", POSTGRES, kills=True)(_crew(parent=True))


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


@fault("F17", "tables are locked by another session", POSTGRES)
async def _locked(site: Site) -> None:
    session = await site.postgres.session()
    async with site.load(3):
        await session.execute("BEGIN; LOCK TABLE counters, holds IN ACCESS EXCLUSIVE MODE")
        await asyncio.sleep(site.dice.uniform(0.2, 1.2))
        await session.execute("ROLLBACK")


@fault("F17", "no connection is left", POSTGRES)
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


# ---- F19, F25: the clock

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


@fault("F19", "the clock jumps by an hour and a month, there and back")
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


@fault("F25", "a month ends while calls are in flight", ("sqlite",))
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


# ---- F20 to F27: keys, caps, repetitions


@fault("F20", "reservations are ended twice, in every order, by everybody")
async def _twice(site: Site) -> None:
    key = site.keys["wide"]

    async def one(number: int) -> None:
        status, made = await site.api(
            "POST", "/v1/reservations", {"amount": 50, "subject": {"key_id": key.id}}, node=site.node
        )
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
        ends = {"S1": ("blocked", "none", "estimated", "settled"), "S4": ("estimated",)}[stage]
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


@fault("F28", "no file descriptor is left")
async def _no_descriptors(site: Site) -> None:
    import resource

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
