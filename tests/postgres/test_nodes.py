"""Three gateways, each a process of its own, on one PostgreSQL: one cap, one revocation, one bill."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ledger.windows import DAY_MS
from providers.simulator import Faults
from tests.cluster import Cluster, query
from tests.faults.support import CHAT, witness_picos
from tests.faults.test_kills import Process, api, call, check_silence, check_witness, journalled
from tests.harness import running
from tests.upstream import Upstream

LEASE_S = 2
SEED = 4
ROUNDS = int(os.environ.get("FARTHING_REVOCATIONS", "200")) // 2  # of a revocation that two other gateways must know


class Site:
    """Three nodes, their provider and a client."""

    def __init__(self, nodes: list[Process], upstream: Upstream, http: aiohttp.ClientSession, database: str) -> None:
        self.nodes = nodes
        self.upstream = upstream
        self.http = http
        self.database = database

    async def call(self, node: Process, secret: str, mark: str, body: dict[str, Any] = CHAT) -> int:
        status, _ = await call(self.http, node.url, secret, mark, body)
        return status

    async def quiet(self, timeout_s: float = 15) -> None:
        """Wait until no hold is open."""
        async with asyncio.timeout(timeout_s):
            while query(self.database, "SELECT count(*) FROM holds WHERE state = 'open'") != [(0,)]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def verify(self, *secrets: str) -> Counter[str]:
        """The books, the provider's invoice and the silence; how the calls ended."""
        await self.quiet()
        code, out, err = await self.nodes[0].run("audit", "--json")
        assert code == 0, out + err
        events = await self.nodes[0].events()
        marks = Counter(e["metadata"]["mark"] for e in events if e["decision"] == "allowed")  # refusals bear none
        twice = [mark for mark, n in marks.items() if n > 1]
        assert not twice, [event for event in events if event["metadata"].get("mark") in twice]
        statuses = check_witness(self.nodes[0], events)
        for node in self.nodes:
            check_silence(node, *secrets)
            assert b"Traceback" not in (node.place / "gateway.log").read_bytes()
        return statuses


@pytest.fixture
async def site(tmp_path: Path, postgres: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """Three nodes that run, started at the same moment on an empty database. Its parameter is their lease."""
    database = postgres.database()
    async with Upstream() as upstream, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        nodes = []
        for name in "abc":
            (tmp_path / name).mkdir()
            nodes.append(
                Process(
                    tmp_path / name, upstream,
                    FARTHING_DATABASE_URL=database,
                    FARTHING_LEASE_S=str(getattr(request, "param", LEASE_S)),
                    FARTHING_LOG_LEVEL="info",
                )
            )  # fmt: skip
        try:
            await asyncio.gather(*(node.start() for node in nodes))
            yield Site(nodes, upstream, http, database)
        finally:
            for node in nodes:
                await node.kill()


async def test_the_main_job_on_postgresql(tmp_path: Path, postgres: Cluster) -> None:
    """Mint, call, cap, usage, events, revoke: the same through one gateway on the other engine."""
    async with running(tmp_path, FARTHING_DATABASE_URL=postgres.database()) as farthing:
        key = await farthing.mint(name="one", max_spend_usd="0.01", reset="month")
        for number in range(3):
            headers = {"x-end-user-id": f"user-{number % 2}", "x-farthing-metadata": '{"feature": "chat"}'}
            status, _, _ = await farthing.call(key["secret"], CHAT | {"stream": number == 2}, headers=headers)
            assert status == 200
        events = await farthing.events()
        assert [event["status"] for event in events] == ["settled"] * 3
        cost = sum(event["cost_micros"] for event in events)
        shown = (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1]
        assert shown["spent_micros"] == cost > 0
        day = shown["last_used_ms"] // DAY_MS * DAY_MS
        for span in (f"from_ms={day}&to_ms={day + DAY_MS}", f"from_ms={day - 1}&to_ms={day + DAY_MS - 1}"):
            for by in ("model", "model,end_user", "day", "tag:feature"):
                status, report = await farthing.api("GET", f"/v1/usage?{span}&group_by={by}")
                assert status == 200, report
                assert report["cost_micros"] == cost
        status, page = await farthing.api("GET", "/v1/keys?limit=10")
        assert (status, page["data"][0]["id"]) == (200, key["id"])
        status, _ = await farthing.api("PATCH", f"/v1/keys/{key['id']}", {"max_spend_usd": "0"})
        assert status == 200
        assert (await farthing.call(key["secret"], CHAT))[0] == 402
        assert (await farthing.api("DELETE", f"/v1/keys/{key['id']}"))[0] == 200
        assert (await farthing.call(key["secret"], CHAT))[0] == 401
        assert (await farthing.audited()).cost_micros == cost


async def test_exactly_the_affordable_calls_are_forwarded(site: Site) -> None:
    """500 calls at once on one key through three gateways: those are forwarded for which the cap has room, no more."""
    body = CHAT | {"max_tokens": 100}
    probe = await api(site.http, site.nodes[0], "POST", "/v1/keys", {"overdraft": "never"})
    assert await site.call(site.nodes[0], probe["secret"], "mark-probe", body) == 200
    await site.quiet()
    held = (await site.nodes[0].events())[0]["held_micros"]
    room, before = 137, len(site.upstream.requests)
    key = await api(
        site.http, site.nodes[0], "POST", "/v1/keys",
        {"overdraft": "never", "max_spend_micros": held * room + held // 2},
    )  # fmt: skip
    site.upstream.always = Faults.parse("delay_ms=6000")  # nothing is given back before all have asked
    statuses = await asyncio.gather(
        *(site.call(site.nodes[n % 3], key["secret"], f"mark-{n:05d}", body) for n in range(500))
    )
    assert Counter(statuses) == {200: room, 402: 500 - room}
    assert len(site.upstream.requests) - before == room
    assert await site.verify(probe["secret"], key["secret"]) == {"settled": room + 1}


async def test_a_revocation_is_known_everywhere(site: Site) -> None:
    """Revoked on one gateway: the next call on each other one fails, 200 of 200; a stream there is cut in a second."""
    a, b, c = site.nodes
    refused: list[int] = []

    async def round_(number: int) -> None:
        key = await api(site.http, a, "POST", "/v1/keys", {})
        for node in (b, c):
            assert await site.call(node, key["secret"], f"mark-{number}-{node.place.name}") == 200
        await api(site.http, a, "DELETE", f"/v1/keys/{key['id']}")
        refused.extend([await site.call(node, key["secret"], f"late-{number}-{node.place.name}") for node in (b, c)])

    for first in range(0, ROUNDS, 10):
        await asyncio.gather(*(round_(number) for number in range(first, first + 10)))
    assert refused == [401] * (2 * ROUNDS)

    key = await api(site.http, a, "POST", "/v1/keys", {})
    b.orders["mark-cut"] = Faults.parse("chunk_delay_ms=50,output_tokens=1000")
    stream = asyncio.create_task(call(site.http, b.url, key["secret"], "mark-cut", CHAT | {"stream": True}))
    while not any(b"mark-cut" in seen.body for seen in site.upstream.requests):  # noqa: ASYNC110 - no event for it
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    await api(site.http, a, "DELETE", f"/v1/keys/{key['id']}")
    started = time.monotonic()
    status, got = await stream
    assert time.monotonic() - started < 1
    assert (status, b"[DONE]" in got) == (200, False)
    if ROUNDS > 200:  # more events than one page shows
        await site.quiet()
        assert (await a.run("audit"))[0] == 0
        return
    statuses = await site.verify(key["secret"])
    assert statuses == {"settled": 2 * ROUNDS, "estimated": 1}


@contextlib.asynccontextmanager
async def loaded(site: Site, secret: str, sims: tuple[str, ...]) -> AsyncIterator[dict[str, int]]:
    """Calls through all nodes for as long as the block lasts; what became of each."""
    sent: dict[str, int] = {}
    stop = asyncio.Event()

    async def load(number: int) -> None:
        own = random.Random(SEED + number)  # noqa: S311 - a mix of calls
        for count in range(10_000):
            if stop.is_set():
                return
            mark = f"mark-{number}-{count}"
            site.nodes[-1].orders[mark] = Faults.parse(own.choice(sims))
            body = CHAT | {"stream": own.random() < 0.6, "max_tokens": own.choice((20, 200))}
            sent[mark] = await site.call(site.nodes[number % 3], secret, mark, body)
            await asyncio.sleep(0.2 if sent[mark] in (0, 503) else 0.01)

    loading = [asyncio.create_task(load(number)) for number in range(9)]
    try:
        yield sent
    finally:
        stop.set()
        await asyncio.gather(*loading)


async def test_a_killed_gateway_is_cleared_up_by_another(site: Site) -> None:
    """kill -9 of one of three under load: its holds are unsettled within two leases, and all else stands."""
    key = await api(site.http, site.nodes[0], "POST", "/v1/keys", {})
    async with loaded(site, key["secret"], ("output_tokens=5", "chunk_delay_ms=20,output_tokens=40")):
        await asyncio.sleep(LEASE_S + 1.2)  # the others have been there for a lease
        site.nodes[1].signal(signal.SIGKILL)
        await site.nodes[1].ended()
        started = time.monotonic()
        count = "SELECT count(*) FROM events WHERE status = 'unsettled'"
        async with asyncio.timeout(2 * LEASE_S + 2):
            while query(site.database, count) == [(0,)]:  # noqa: ASYNC110 - elsewhere
                await asyncio.sleep(0.1)
        assert time.monotonic() - started < 2 * LEASE_S + 1
    statuses = await site.verify(key["secret"])
    assert 1 <= statuses["unsettled"] <= 3, statuses
    assert statuses["settled"] > 20
    shown = await api(site.http, site.nodes[2], "GET", f"/v1/keys/{key['id']}")
    events = await site.nodes[0].events()
    assert shown["spent_micros"] == sum(event["cost_micros"] for event in events)
    assert shown["unsettled_micros"] == sum(event["held_micros"] for event in events if event["status"] == "unsettled")
    assert shown["held_micros"] == 0


async def test_a_stopped_gateway_pays_late(site: Site) -> None:
    """A gateway that was paused for longer than its lease: its call is unsettled, then charged once, late."""
    a, b, _ = site.nodes
    key = await api(site.http, a, "POST", "/v1/keys", {})
    b.orders["mark-paused"] = Faults.parse("delay_ms=500")
    await asyncio.sleep(LEASE_S)
    calling = asyncio.create_task(site.call(b, key["secret"], "mark-paused"))
    while not site.upstream.requests:  # noqa: ASYNC110 - no event for it
        await asyncio.sleep(0.01)
    b.signal(signal.SIGSTOP)
    async with asyncio.timeout(3 * LEASE_S):
        while query(site.database, "SELECT state FROM holds") != [("unsettled",)]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    b.signal(signal.SIGCONT)
    assert await calling == 200
    async with asyncio.timeout(5):
        while query(site.database, "SELECT count(*) FROM holds") != [(0,)]:  # noqa: ASYNC110 - elsewhere
            await asyncio.sleep(0.1)
    events = {event["mode"]: event for event in await a.events()}
    assert events["proxy"]["status"] == "unsettled"
    assert events["adjustment"]["cost_picos"] == witness_picos(site.upstream.invoice[0])
    assert (await a.run("audit"))[0] == 0


@pytest.mark.parametrize("site", [15], indirect=True)
async def test_what_the_database_did_not_take_survives_the_kill(site: Site, postgres: Cluster) -> None:
    """Answered while PostgreSQL was away, then killed: settled at its cost by the next start, each call once."""
    node = site.nodes[0]
    key = await api(site.http, node, "POST", "/v1/keys", {})
    marks = [f"mark-{number}" for number in range(5)]
    node.orders |= {mark: Faults.parse("delay_ms=400,output_tokens=30") for mark in marks}
    calls = [asyncio.create_task(site.call(node, key["secret"], mark)) for mark in marks]
    while len(site.upstream.requests) < len(marks):  # noqa: ASYNC110 - no event for it
        await asyncio.sleep(0.01)
    await asyncio.to_thread(postgres.stop, "immediate")
    assert await asyncio.gather(*calls) == [200] * len(marks)
    await journalled(node.place, len(marks))
    node.signal(signal.SIGKILL)
    await node.ended()
    await asyncio.to_thread(postgres.start)
    await node.start()
    assert await site.call(node, key["secret"], "mark-fresh") == 200
    assert await site.verify(key["secret"]) == {"settled": len(marks) + 1}


@pytest.mark.parametrize("site", [15], indirect=True)  # the default: an outage shorter than a lease sweeps nobody
async def test_a_database_that_restarts_loses_nothing(site: Site, postgres: Cluster) -> None:
    """PostgreSQL restarted and crashed under load: 503 or late, then well again; no call is lost or charged twice."""
    key = await api(site.http, site.nodes[0], "POST", "/v1/keys", {})
    async with loaded(site, key["secret"], ("output_tokens=5", "chunk_delay_ms=5,output_tokens=20")) as sent:
        await asyncio.sleep(0.3)
        for mode in ("fast", "immediate"):
            await asyncio.to_thread(postgres.stop, mode)
            await asyncio.sleep(0.7)
            await asyncio.to_thread(postgres.start)
            await asyncio.sleep(0.7)
    assert set(sent.values()) <= {200, 503}, Counter(sent.values())
    assert 503 in sent.values()
    for node in site.nodes:
        assert await site.call(node, key["secret"], f"fresh-{node.place.name}") == 200
    statuses = await site.verify(key["secret"])
    assert set(statuses) <= {"settled", "released"}, statuses
    assert statuses["settled"] == 3 + sum(status == 200 for status in sent.values())
    assert json.loads((await site.nodes[0].run("audit", "--json"))[1])["open_holds"] == 0
