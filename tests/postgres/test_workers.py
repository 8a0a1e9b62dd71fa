"""Several workers on one socket: one key printed, none lost to a death, all ended together."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from providers.simulator import Faults
from tests.cluster import Cluster, query
from tests.faults.support import CHAT
from tests.faults.test_kills import Process, api, call, check_silence, check_witness
from tests.harness import MASTER
from tests.upstream import Upstream

WORKERS = 2


class Crew(Process):
    """A gateway of several workers."""

    url_of_database = ""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {
            "FARTHING_DATABASE_URL": self.url_of_database,
            "FARTHING_WORKERS": str(WORKERS),
            "FARTHING_LEASE_S": "2",
        }

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children()


@pytest.fixture
async def crew(tmp_path: Path, postgres: Cluster) -> AsyncIterator[Crew]:
    async with Upstream() as upstream:
        made = Crew(tmp_path, upstream)
        made.url_of_database = postgres.database()
        yield made
        await made.kill()


async def served_by(crew: Crew) -> list[str]:
    """The workers that have counted a request, and how many all of them have."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(crew.url + "/metrics", headers={"authorization": f"Bearer {MASTER}"}) as answer,
    ):
        return re.findall(r'farthing_requests_total{.*outcome="settled".*worker="(\d)"} \d', await answer.text())


async def test_workers_share_a_socket_a_cap_and_a_shutdown(crew: Crew) -> None:
    """All serve; the cap is one; whoever is asked tells of all; SIGTERM lets streams end and ends everybody."""
    await crew.start()
    while len(query(crew.url_of_database, "SELECT 1 FROM nodes")) < WORKERS:  # noqa: ASYNC110 - elsewhere
        await asyncio.sleep(0.05)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as http:
        key = await api(http, crew, "POST", "/v1/keys", {})
        done = 0
        async with asyncio.timeout(60):
            while len(await served_by(crew)) < WORKERS:
                calls = (call(http, crew.url, key["secret"], f"mark-{done + n}", CHAT) for n in range(30))
                assert {status for status, _ in await asyncio.gather(*calls)} == {200}
                done += 30
                await asyncio.sleep(0.3)
        crew.orders["mark-stream"] = Faults.parse("chunk_delay_ms=20,output_tokens=40")
        streaming = asyncio.create_task(call(http, crew.url, key["secret"], "mark-stream", CHAT | {"stream": True}))
        while len(crew.upstream.requests) <= done:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)
        crew.signal(signal.SIGTERM)
        status, got = await streaming
        assert (status, got.endswith(b"data: [DONE]\n\n")) == (200, True)
    assert await crew.ended() == 0
    events = await crew.events()
    assert check_witness(crew, events) == {"settled": done + 1}
    assert query(crew.url_of_database, "SELECT count(*) FROM nodes") == [(0,)]
    assert (await crew.run("audit"))[0] == 0
    check_silence(crew, key["secret"])
    assert files(crew.place) == ["gateway.log"]


def files(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


async def test_a_worker_that_dies_is_replaced(crew: Crew) -> None:
    """kill -9 of a worker: the others go on, another one takes its place, and its calls become unsettled."""
    await crew.start()
    while len(query(crew.url_of_database, "SELECT 1 FROM nodes")) < WORKERS:  # noqa: ASYNC110 - elsewhere
        await asyncio.sleep(0.05)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as http:
        key = await api(http, crew, "POST", "/v1/keys", {})
        for number in range(2):
            before = crew.workers()
            assert len(before) == WORKERS
            before[number].kill()
            async with asyncio.timeout(60):
                while set(crew.workers()) == set(before) or len(crew.workers()) < WORKERS:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            calls = (call(http, crew.url, key["secret"], f"mark-{number}-{n}", CHAT) for n in range(20))
            assert {status for status, _ in await asyncio.gather(*calls)} == {200}
    crew.signal(signal.SIGTERM)
    assert await crew.ended() == 0
    assert check_witness(crew, await crew.events()) == {"settled": 40}


async def test_nobody_outlives_who_started_them(crew: Crew) -> None:
    """kill -9 of the process that started them: its workers settle what they have and end."""
    await crew.start()
    children = crew.workers()
    crew.signal(signal.SIGKILL)
    await crew.ended()
    async with asyncio.timeout(60):
        while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_the_master_key_is_printed_once(crew: Crew) -> None:
    """On an empty database one worker mints the first master key, and it opens the gateway."""
    crew.__class__ = type("Keyless", (Crew,), {"environment": property(_without_master)})
    await crew.start()
    while len(query(crew.url_of_database, "SELECT 1 FROM nodes")) < WORKERS:  # noqa: ASYNC110 - elsewhere
        await asyncio.sleep(0.05)
    while not (found := re.findall(r"fk_live_\w+\n", log(crew))):  # noqa: ASYNC110 - known before it mints
        await asyncio.sleep(0.05)
    printed = found[0].strip()
    async with aiohttp.ClientSession() as http:
        headers = {"authorization": f"Bearer {printed}"}
        async with http.get(crew.url + "/v1/me", headers=headers) as answer:
            assert answer.status == 200
    crew.signal(signal.SIGINT)
    assert await crew.ended() == 0
    assert set(re.findall(r"fk_live_\w+", log(crew))) == {printed}  # nor by another, later
    assert log(crew).count("A master key was minted") == 1


def log(crew: Crew) -> str:
    return (crew.place / "gateway.log").read_text()


def _without_master(crew: Any) -> dict[str, str]:
    environment: dict[str, str] = Crew.environment.fget(crew)  # type: ignore[attr-defined]
    return {name: value for name, value in environment.items() if name != "FARTHING_MASTER_KEY"}


async def test_what_cannot_start_says_so(crew: Crew) -> None:
    """More workers than one on SQLite, a wrong number, a database that is not there: exit code 3 and a sentence."""
    sqlite = {"FARTHING_DATABASE_URL": f"sqlite:///{crew.place}/farthing.db"}
    for arguments, environment, sentence in (
        ((), sqlite, f"SQLite serves from one process, not from {WORKERS} workers"),
        (("--workers", "0"), {}, "--workers must be from 1"),
        ((), {"FARTHING_WORKERS": "65"}, "FARTHING_WORKERS must be a whole number from 1 to 64"),
        ((), {"FARTHING_DATABASE_URL": "postgresql://127.0.0.1:1/none"}, "cannot open the database"),
    ):
        code, _, err = await crew.run("serve", *arguments, **environment)
        assert code == 3, err
        assert sentence in err
        assert "Traceback" not in err
    assert files(crew.place) == []
