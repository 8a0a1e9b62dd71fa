"""A site of the proof: a provider with its invoice, a database, gateways with wires on both sides, and clients.

Everything that may be broken is reached from here, and `heal` makes all of it whole again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

import aiohttp
import msgspec

from scripts.proof import calls
from scripts.proof.calls import Call, Raw
from scripts.proof.database import Database, PostgresDatabase, SqliteFile
from scripts.proof.nursery import Nursery
from scripts.proof.provider import ProviderProcess, Witness
from scripts.proof.wire import Wire
from tests.harness import MASTER, PROVIDER_KEY
from tests.process import Child, Served

RESERVED_S = 20  # a reservation that nobody ends, for whoever would have ended it was cut off: it ends by itself
LEASE_S = 2  # the shortest: what a dead gateway held is found within two of them
HEAL_S = 120.0  # for everything to answer again after a heal, on a machine that is busy with other things
WATCH_S = 0.15
TIGHT_MICROS = 4_000
USER_MICROS = 1_500  # for each end user of the key `users`
EVERYDAY = ("wide", "wide", "tight", "left", "right", "loose", "users", "narrow")


class Key(msgspec.Struct, kw_only=True):
    """A key as the clients know it. `cap`: the highest that was in force; `sound`: to spend above it is a fault."""

    id: str
    secret: str
    cap: int | None = None
    sound: bool = False
    parent: str | None = None


class Node(Served):
    """A gateway with a wire to the provider and, where the database has a socket, two to the database.

    `to_spare` leads to the standby that is to take the database's place; nowhere while there is none.
    """

    def __init__(
        self,
        nursery: Nursery,
        place: Path,
        to_provider: Wire,
        to_database: Wire | None,
        to_spare: Wire | None,
        **settings: str,
    ) -> None:
        super().__init__(place, f"http://127.0.0.1:{to_provider.port}", **settings)
        self._nursery = nursery
        self.to_provider = to_provider
        self.to_database = to_database
        self.to_spare = to_spare
        self.usual = dict(settings)
        self.stopped = False
        self.deaths: list[float] = []  # when a process of it ended otherwise than it should, on the monotonic clock
        self._watching: set[asyncio.Task[None]] = set()

    async def _spawn(self, log: IO[bytes]) -> Child:
        child = await self._born(log)
        watching = asyncio.create_task(self._note_end(child))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        return child

    async def _note_end(self, child: Child) -> None:
        if await child.wait() != 0:
            self.deaths.append(time.monotonic())

    async def _born(self, log: IO[bytes]) -> Child:
        if self.settings.keys() & {"LD_PRELOAD", "FARTHING_WORKERS"}:  # these take a process from its very beginning
            return await super()._spawn(log)
        path = self.place / "gateway.log"
        return await self._nursery.spawn(("serve",), self.place, self.environment, path, path)

    async def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """See `Served`."""
        out, err = self.place / "out", self.place / "err"
        for path in (out, err):
            path.write_bytes(b"")
        child = await self._nursery.spawn(arguments, self.place, self.environment | environment, out, err)
        code = await asyncio.wait_for(child.wait(), HEAL_S)
        return code, out.read_text(), err.read_text()

    @property
    def wires(self) -> list[Wire]:
        """All of them."""
        return [wire for wire in (self.to_provider, self.to_database, self.to_spare) if wire is not None]

    async def freeze(self) -> None:
        """SIGSTOP."""
        self.signal(signal.SIGSTOP)
        self.stopped = True

    def thaw(self) -> None:
        """SIGCONT."""
        if self.alive and self.stopped:
            self.signal(signal.SIGCONT)
        self.stopped = False


class Site:
    """The site. Open it with `opened`."""

    def __init__(self, database: Database, nursery: Nursery, place: Path, seed: int) -> None:
        self.database = database
        self._nursery = nursery
        self.place = place
        self.dice = random.Random(seed)
        self.provider = ProviderProcess(place)
        self.witness = Witness(place)
        self.nodes: list[Node] = []
        self.keys: dict[str, Key] = {}
        self.calls: list[Call] = []
        self.http: aiohttp.ClientSession
        self.fault = "start"
        self.alone = True  # no second fault beside the first: then it must end as expected
        self.kills = 0
        self.problems: list[tuple[str, str]] = []  # found by a fault itself: kind, what
        self.fresh_s = 0.0
        self.started_ms = 0
        self._marks = itertools.count(1)
        self._seed = seed
        self._raws: list[Raw] = []

    @property
    def sqlite(self) -> SqliteFile:
        """The database, where it is SQLite."""
        assert isinstance(self.database, SqliteFile)
        return self.database

    @property
    def postgres(self) -> PostgresDatabase:
        """The database, where it is PostgreSQL."""
        assert isinstance(self.database, PostgresDatabase)
        return self.database

    # ---- its life

    async def start(self) -> None:
        """Start everything and mint the everyday keys."""
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        await self.provider.start()
        for number in range(self.database.nodes):
            place = self.place / f"node{number}"
            place.mkdir()
            to_provider = Wire(("127.0.0.1", self.provider.port))
            await to_provider.start()
            to_database = to_spare = None
            url = self.database.url()
            if isinstance(self.database, PostgresDatabase):
                to_database, to_spare = Wire(self.database.socket), Wire(str(place / "nowhere"))
                await to_database.start()
                await to_spare.start()
                url = self.database.url(*self.dice.sample((to_database, to_spare), 2))
            self.nodes.append(
                Node(
                    self._nursery, place, to_provider, to_database, to_spare,
                    FARTHING_DATABASE_URL=url,
                    FARTHING_LOG_LEVEL="info",
                    FARTHING_LEASE_S=str(LEASE_S),
                    FARTHING_DISCONNECT_DRAIN_S="1",
                    FARTHING_UNANSWERED_S="0",  # clocks jump by a month here, and the witness forgets nothing
                    FARTHING_HEAD_TIMEOUT_S="5",  # an answer that is not streamed is waited for
                    FARTHING_SILENCE_TIMEOUT_S="5",
                    FARTHING_HOOKS_PRIVATE="allow",
                    FARTHING_UPSTREAM_ANTHROPIC=f"http://127.0.0.1:{to_provider.port}",
                    ANTHROPIC_API_KEY=PROVIDER_KEY,
                )
            )  # fmt: skip
        await asyncio.gather(*(node.start(HEAL_S) for node in self.nodes))
        self.started_ms = time.time_ns() // 1_000_000
        await self.everyday_keys()

    async def everyday_keys(self) -> None:
        """What they are for stands in their names; `loose` may go over its cap by one answer a call, and says so."""
        await self.mint("wide")
        await self.mint("tight", max_spend_micros=TIGHT_MICROS, overdraft="never")
        team = await self.mint("team", scope="team", max_spend_micros=TIGHT_MICROS, overdraft="never")
        for name in ("left", "right"):
            await self.mint(name, by=team, overdraft="never")
        await self.mint("loose", max_spend_micros=10 * TIGHT_MICROS)
        per_user = {"unit": "micros", "max": USER_MICROS, "window": "total", "per": "end_user"}
        await self.mint("users", overdraft="never", limits=[per_user])
        await self.mint("narrow", limits=[{"unit": "concurrent", "max": 2, "window": "total"}])

    async def stop(self) -> None:
        """End everything."""
        for node in self.nodes:
            node.thaw()
            with contextlib.suppress(TimeoutError):
                await node.kill()
            for wire in node.wires:
                await wire.stop()
        await self.provider.stop()
        await self.http.close()
        await self.database.close()

    # ---- what the clients do

    @property
    def node(self) -> Node:
        """Some gateway."""
        return self.dice.choice(self.nodes)

    async def api(
        self, method: str, path: str, body: Any = None, *, node: Node | None = None, key: str = MASTER, once: str = ""
    ) -> tuple[int, Any]:
        """A call of the management API: status and answer; 0 where none came."""
        headers = {"authorization": f"Bearer {key}"} | ({"idempotency-key": once} if once else {})
        url = (node or self.nodes[0]).url + path
        try:
            async with self.http.request(
                method, url, json=body, headers=headers, timeout=aiohttp.ClientTimeout(total=30)
            ) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 0, None

    async def pages(self, path: str) -> list[Any]:
        """All of a list, newest first. Raises ConnectionError where the gateway does not answer."""
        found: list[Any] = []
        after = ""
        while True:
            status, page = await self.api("GET", f"{path}limit=100{after}")
            if status != 200:
                raise ConnectionError(f"{path}: {status} {page}")
            found += page["data"]
            if not page["has_more"]:
                return found
            after = f"&starting_after={page['data'][-1]['id']}"

    async def mint(self, name: str, *, by: Key | None = None, **fields: Any) -> Key:
        """Mint a key; it is known by that name from now on."""
        status, made = await self.api("POST", "/v1/keys", {"name": name} | fields, key=by.secret if by else MASTER)
        if status != 201:
            raise ConnectionError(f"mint: {status} {made}")
        key = Key(
            id=made["id"], secret=made["secret"], cap=made["max_spend_micros"],
            sound=fields.get("overdraft") == "never", parent=by.id if by else None,
        )  # fmt: skip
        self.keys[name] = key
        return key

    def record(self, key: Key, kind: str, sim: str = "", expect: tuple[str, ...] = ()) -> Call:
        """A new call, not made yet. `expect`: how its event may stand at the end ("none": there is no event)."""
        call = Call(
            mark=f"m{self._seed}-{next(self._marks):06d}", key=key.id, kind=kind, sim=sim, fault=self.fault,
            expect=expect if self.alone else (),
        )  # fmt: skip
        self.calls.append(call)
        return call

    async def call(
        self, key: Key, kind: str = "chat", sim: str = "", node: Node | None = None, expect: tuple[str, ...] = (),
        **more: Any,
    ) -> Call:  # fmt: skip
        """One call from its beginning to its end."""
        return await self._make(node or self.node, key, self.record(key, kind, sim, expect), **more)

    async def _make(self, node: Node, key: Key, call: Call, **more: Any) -> Call:
        url, call.node = node.url, node.place.name
        await calls.make(self.http, url, key.secret, call, **more)
        if call.status and "x-farthing-request-id" not in call.headers and (not node.alive or node.url != url):
            # The gateway has died, and the system has given its port to another program, which has answered.
            call.status, call.headers, call.end = 0, {}, "refused"
            call.got.clear()
        return call

    async def raw(
        self, node: Node, kind: str = "stream", sim: str = "", expect: tuple[str, ...] = (), key: Key | None = None,
        **options: Any,
    ) -> Raw:  # fmt: skip
        """A call on a socket of its own; nothing sent yet."""
        key = key or self.keys["wide"]
        call = self.record(key, kind, sim, expect)
        call.node = node.place.name
        raw = await Raw.open(node.url, key.secret, call, **options)
        self._raws.append(raw)
        return raw

    async def all_leave(self) -> None:
        """Clients whose fault broke off leave, too."""
        for raw in self._raws:
            if raw.call.end == "open":
                await raw.leave("rst")
        self._raws.clear()

    @contextlib.asynccontextmanager
    async def load(self, workers: int = 3) -> AsyncIterator[None]:
        """Everyday calls through all gateways for as long as the block lasts."""
        stop = asyncio.Event()

        async def work(seed: int) -> None:
            dice = random.Random(seed)
            while not stop.is_set():
                kind, sim, more = calls.everyday(dice)
                name = dice.choice(EVERYDAY)
                call = self.record(self.keys[name], kind, sim)
                call.user = dice.choice(("ann", "bob", "eve")) if name == "users" else ""
                made = await self._make(dice.choice(self.nodes), self.keys[name], call, **more)
                await asyncio.sleep(0.02 if made.status == 200 else 0.1)

        working = [asyncio.create_task(work(self.dice.getrandbits(32))) for _ in range(workers)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*working)

    async def arrived(self, call: Call, timeout_s: float = 30.0) -> None:
        """Wait until the provider has the call. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while call.mark not in self.witness.arrived:
                await asyncio.sleep(0.005)
                self.witness.read()

    async def settled(self, call: Call, timeout_s: float = 30.0) -> None:
        """Wait until the call has its event. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                _, page = await self.api("GET", "/v1/events?limit=100", node=self.node)
                if any(metadata_mark(event) == call.mark for event in (page or {}).get("data", ())):
                    return
                await asyncio.sleep(0.02)

    async def kill(self, node: Node) -> None:
        """SIGKILL."""
        if node.alive:
            self.kills += 1
        await node.kill()

    async def standby(self) -> None:
        """From now on the database has a standby, to which each gateway's second wire leads."""
        standby = await self.postgres.standby()
        for node in self.nodes:
            assert node.to_spare is not None
            node.to_spare.target = str(standby.socket / ".s.PGSQL.5432")

    async def fail_over(self) -> None:
        """The database's server is lost, and its standby takes its place; the wires stay where they are."""
        await self.postgres.fail_over()
        for node in self.nodes:
            assert node.to_database is not None
            node.to_database.target = str(node.place / "nowhere")
            node.to_database, node.to_spare = node.to_spare, node.to_database

    async def watch(self) -> None:
        """I2: look again and again, until cancelled, whether a cap that must hold is ever exceeded by what is taken."""
        while True:
            await asyncio.sleep(WATCH_S)
            node = self.node
            if not node.alive or node.stopped:
                continue
            status, page = await self.api("GET", "/v1/keys?limit=100", node=node)
            caps = {key.id: key.cap for key in self.keys.values() if key.sound and key.cap is not None}
            for shown in page["data"] if status == 200 else ():
                taken = shown["spent_micros"] + shown["held_micros"] + shown["unsettled_micros"]
                if taken > caps.get(shown["id"], taken):
                    self.found("overspent", f"{shown['name']}: {taken} micros taken of {caps[shown['id']]}")

    def found(self, kind: str, what: str) -> None:
        """A fault's own finding."""
        self.problems.append((kind, f"{self.fault}: {what}"))

    # ---- after a fault

    async def heal(self) -> None:
        """Everything that was broken is whole again, and every gateway serves a fresh call."""
        for node in self.nodes:
            for wire in node.wires:
                await wire.heal()
        await self.database.heal()
        await asyncio.gather(*(self._revive(node) for node in self.nodes))
        started = time.monotonic()
        await asyncio.gather(*(self._fresh(node, started) for node in self.nodes))

    async def _revive(self, node: Node) -> None:
        node.thaw()
        if node.settings != node.usual:
            node.settings = dict(node.usual)
            if node.alive:
                node.signal(signal.SIGTERM)
                await node.ended()
        if not node.alive:
            await node.start(HEAL_S)

    async def _fresh(self, node: Node, started: float) -> None:
        while True:
            call = await self.call(self.keys["wide"], "chat", "output_tokens=3", node)
            took_s = time.monotonic() - started
            if call.status == 200:
                self.fresh_s = max(self.fresh_s, took_s)
                return
            if took_s > HEAL_S:
                self.found("other", f"no fresh call within {HEAL_S:.0f} s: {call.status} {bytes(call.got[:200])!r}")
                return
            if not node.alive:
                await node.start(HEAL_S)
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def opened(database: Database, place: Path, seed: int) -> AsyncIterator[Site]:
    """A site that runs, and is gone afterwards."""
    nursery = Nursery()
    site = Site(database, nursery, place, seed)
    try:
        await nursery.start()
        await site.start()
        yield site
    finally:
        await site.stop()
        await nursery.stop()


def metadata_mark(event: dict[str, Any]) -> str:
    """The mark that an event carries; "" for none."""
    found = event["metadata"]
    if isinstance(found, str):
        found = json.loads(found)
    return str(found.get("mark", ""))
