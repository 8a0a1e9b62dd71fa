"""F14 and F15: a real process that is killed, stopped, started twice. Nothing that was promised is lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from providers.simulator import Faults
from tests.faults.support import CHAT, MICRO, PATHS, PROMPT, marked, seen_mark, witness_picos
from tests.harness import MASTER, PROVIDER_KEY
from tests.ledger.world import outside
from tests.process import Served
from tests.upstream import Seen, Upstream

KILLS = 16
SEED = 20
CAP_MICROS = 4_000
SIMS = ("output_tokens=5", "chunk_delay_ms=5,output_tokens=20", "delay_ms=30,output_tokens=10", "reset=mid_event")


class Process(Served):
    """A gateway in a process of its own, its provider in this one, under orders by mark."""

    def __init__(self, place: Path, upstream: Upstream, **settings: str) -> None:
        super().__init__(place, upstream.url, **settings)
        self.upstream = upstream
        self.orders: dict[str, Faults] = {}
        everyday = upstream._faults

        def faults(seen: Seen, model: str) -> Faults:
            return self.orders.get(seen_mark(seen)) or everyday(seen, model)

        upstream._faults = faults  # type: ignore[method-assign]


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    """A gateway that is not running yet; killed at the end if it still is."""
    async with Upstream() as upstream:
        made = Process(tmp_path, upstream)
        yield made
        await made.kill()


async def api(http: aiohttp.ClientSession, process: Process, method: str, path: str, body: Any = None) -> Any:
    async with http.request(
        method, process.url + path, json=body, headers={"authorization": f"Bearer {MASTER}"}
    ) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()


async def call(
    http: aiohttp.ClientSession, url: str, secret: str, mark: str, body: dict[str, Any]
) -> tuple[int, bytes]:
    """One marked call: status (0: none came), and the body as far as it came."""
    status, got = 0, b""
    headers = {"authorization": f"Bearer {secret}", "x-farthing-metadata": json.dumps({"mark": mark})}
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with http.post(
            url + PATHS["chat"], json=marked(body, PATHS["chat"], mark), headers=headers,
            timeout=aiohttp.ClientTimeout(total=30),
        ) as answer:  # fmt: skip
            status = answer.status
            async for chunk in answer.content.iter_any():
                got += chunk
    return status, got


def check_witness(process: Process, events: list[dict[str, Any]]) -> Counter[str]:
    """I3 and I4 over processes' lives: one event a call, and nothing served is missing. The events' statuses."""
    allowed = [event for event in events if event["decision"] == "allowed"]
    marks = Counter(event["metadata"].get("mark") for event in allowed)  # refusals bear none
    assert max(marks.values()) == 1, "two events of one call"
    by_mark = {event["metadata"]["mark"]: event for event in allowed}
    lines = {line.number: line for line in process.upstream.invoice}
    for number, seen in enumerate(process.upstream.requests, 1):
        event = by_mark.get(seen_mark(seen))
        assert event is not None, f"{seen_mark(seen)} was served and has no event"
        invoiced = witness_picos(lines[number])
        if event["status"] == "settled":
            assert invoiced == event["cost_picos"], event
        else:
            assert invoiced <= max(event["cost_picos"], event["held_micros"] * MICRO), event
        if event["status"] == "unsettled":
            assert event["cost_picos"] == 0, event
    return Counter(event["status"] for event in allowed)


def check_silence(process: Process, *secrets: str) -> None:
    """I8: no canary in the database, its log or the process's."""
    for path in process.place.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for canary in (*secrets, MASTER, PROVIDER_KEY, PROMPT):
            assert canary.encode() not in content, f"{canary[:12]!r}… stands in {path.name}"


async def unsettled(http: aiohttp.ClientSession, process: Process, key_id: str) -> dict[str, int]:
    """What is unsettled of a key, by the call's id without its prefix."""
    found: dict[str, int] = {}
    after = ""
    while True:
        page = await api(http, process, "GET", f"/v1/holds?state=unsettled&limit=100{after}")
        found |= {each["id"].partition("_")[2]: each["amount"] for each in page["data"] if each["key_id"] == key_id}
        if not page["has_more"]:
            return found
        after = f"&starting_after={page['data'][-1]['id']}"


async def test_killed_at_any_moment_it_loses_and_doubles_nothing(process: Process) -> None:
    """F14: after each SIGKILL under load, what flew is unsettled and counts against the cap; the rest stands."""
    dice = random.Random(SEED)  # noqa: S311 - moments, not secrets
    await process.start()
    sent: dict[str, int] = {}
    stop = asyncio.Event()
    async with aiohttp.ClientSession() as http:
        wide = await api(http, process, "POST", "/v1/keys", {"name": "wide"})
        tight = await api(
            http, process, "POST", "/v1/keys", {"overdraft": "never", "max_spend_micros": CAP_MICROS, "name": "tight"}
        )

        async def load(number: int) -> None:
            own = random.Random(SEED + number)  # noqa: S311 - a mix of calls
            for count in range(10_000):
                if stop.is_set():
                    return
                mark = f"mark-{number}-{count}"
                process.orders[mark] = Faults.parse(own.choice(SIMS))
                body = CHAT | {"stream": own.random() < 0.6, "max_tokens": own.choice((20, 200))}
                status, _ = await call(http, process.url, (wide, tight)[number % 2]["secret"], mark, body)
                sent[mark] = status
                await asyncio.sleep(0.12 if status == 402 else 0.02)

        loading = [asyncio.create_task(load(number)) for number in range(4)]
        for _ in range(KILLS):
            await asyncio.sleep(dice.uniform(0.0, 0.25))
            process.signal(signal.SIGKILL)
            assert await process.ended() == -signal.SIGKILL
            await process.start()
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*loading)
        for key in (wide, tight):
            now = await api(http, process, "GET", f"/v1/keys/{key['id']}")
            events = [event for event in await process.events() if event["key_id"] == key["id"]]
            own = {event["metadata"]["mark"] for event in events if event["decision"] == "allowed"}
            lines = {line.number: line for line in process.upstream.invoice}
            served = [lines[n] for n, seen in enumerate(process.upstream.requests, 1) if seen_mark(seen) in own]
            assert now["held_micros"] == 0
            assert now["spent_micros"] == sum(event["cost_micros"] for event in events)
            rests = await unsettled(http, process, key["id"])
            assert now["unsettled_micros"] == sum(rests.values())
            for event in events:
                rest = rests.pop(event["id"].partition("_")[2], None)
                if event["status"] == "unsettled":
                    assert rest == event["held_micros"], event
                elif rest is not None:
                    assert (event["status"], rest) == ("estimated", event["held_micros"] - event["cost_micros"]), event
            assert not rests
            invoiced = sum(witness_picos(line) for line in served)
            assert invoiced <= (now["spent_micros"] + now["unsettled_micros"] + 1) * MICRO
            if key is tight:
                assert now["spent_micros"] + now["unsettled_micros"] <= CAP_MICROS
        assert (await process.run("audit"))[0] == 0  # beside the live gateway
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0
    code, out, err = await process.run("audit", "--json")
    assert (code, json.loads(out)["open_holds"]) == (0, 0), err
    events = await process.events()
    statuses = check_witness(process, events)
    assert statuses["unsettled"] > 0, statuses  # else nothing was tried
    assert statuses["settled"] > 20, statuses
    known = {event["metadata"]["mark"] for event in events if event["decision"] == "allowed"}
    assert {mark for mark, status in sent.items() if status == 200} <= known
    assert {mark for mark, status in sent.items() if status == 402}.isdisjoint(
        map(seen_mark, process.upstream.requests)
    )
    check_silence(process, wide["secret"], tight["secret"])


def in_journals(place: Path) -> int:
    """How many settlements lie in the journals."""
    return sum(path.read_bytes().count(b'"status":') for path in place.glob("*.journal"))


async def journalled(place: Path, count: int) -> None:
    """Wait until so many settlements lie in the journals."""
    async with asyncio.timeout(20):
        while in_journals(place) < count:  # noqa: ASYNC110 - elsewhere
            await asyncio.sleep(0.02)


async def test_what_the_database_did_not_take_survives_the_kill(process: Process) -> None:
    """F14, F16: answered while the database was locked, then killed: the next start settles it once, at its cost."""
    await process.start()
    async with aiohttp.ClientSession() as http:
        key = await api(http, process, "POST", "/v1/keys", {})
        marks = [f"mark-{number}" for number in range(5)]
        process.orders |= {mark: Faults.parse("delay_ms=400,output_tokens=30") for mark in marks}
        calls = [asyncio.create_task(call(http, process.url, key["secret"], mark, CHAT)) for mark in marks]
        while len(process.upstream.requests) < len(marks):  # noqa: ASYNC110 - the provider has no event for it
            await asyncio.sleep(0.01)
        with outside(process.place / "farthing.db") as other:
            other.execute("BEGIN IMMEDIATE")
            assert [status for status, _ in await asyncio.gather(*calls)] == [200] * len(marks)
            assert (await call(http, process.url, key["secret"], "mark-refused", CHAT))[0] == 503
            await journalled(process.place, len(marks))
            process.signal(signal.SIGKILL)
            await process.ended()
            other.execute("ROLLBACK")
        await process.start()
        assert len(list(process.place.glob("*.journal"))) == 1
        assert (await call(http, process.url, key["secret"], "mark-fresh", CHAT))[0] == 200
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0
    assert check_witness(process, await process.events()) == {"settled": len(marks) + 1}
    assert (await process.run("audit"))[0] == 0
    check_silence(process, key["secret"])
    assert not list(process.place.glob("*.journal*"))


async def test_sigterm_lets_streams_end_and_settles_everything(process: Process) -> None:
    """F15: nothing new is taken, what runs ends whole, and the exit code is 0."""
    await process.start()
    async with aiohttp.ClientSession() as http:
        key = await api(http, process, "POST", "/v1/keys", {})
        marks = [f"mark-{number}" for number in range(12)]
        process.orders |= {mark: Faults.parse("chunk_delay_ms=20,output_tokens=40") for mark in marks}
        bodies = [CHAT | {"stream": number % 3 > 0} for number in range(12)]
        calls = [
            asyncio.create_task(call(http, process.url, key["secret"], mark, body))
            for mark, body in zip(marks, bodies, strict=True)
        ]
        while len(process.upstream.requests) < len(marks):  # noqa: ASYNC110 - the provider has no event for it
            await asyncio.sleep(0.01)
        process.signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert (await call(http, process.url, key["secret"], "late", CHAT))[0] in (0, 503)
        answers = await asyncio.gather(*calls)
        assert await process.ended(10) == 0
    for (status, got), body in zip(answers, bodies, strict=True):
        assert status == 200
        assert not body["stream"] or got.endswith(b"data: [DONE]\n\n")
    assert check_witness(process, await process.events()) == {"settled": 12}
    check_silence(process, key["secret"])


async def test_a_second_sigterm_does_not_wait_and_still_settles(process: Process) -> None:
    """F15: streams that would go on for ever are cut, told so, and estimated; of those without a word nobody knows."""
    await process.start()
    async with aiohttp.ClientSession() as http:
        key = await api(http, process, "POST", "/v1/keys", {})
        sims = ["stall"] * 2 + ["stall_after=8"] * 2 + ["chunk_delay_ms=50,output_tokens=2000"] * 2
        marks = [f"mark-{number}" for number in range(len(sims))]
        process.orders |= {mark: Faults.parse(sim) for mark, sim in zip(marks, sims, strict=True)}
        calls = [
            asyncio.create_task(call(http, process.url, key["secret"], mark, CHAT | {"stream": True})) for mark in marks
        ]
        while len(process.upstream.requests) < len(marks):  # noqa: ASYNC110 - the provider has no event for it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        process.signal(signal.SIGTERM)
        await asyncio.sleep(0.4)
        started = time.monotonic()
        process.signal(signal.SIGTERM)
        assert await process.ended(10) == 0
        assert time.monotonic() - started < 3
        answers = await asyncio.gather(*calls)
    assert [status for status, _ in answers[:2]] == [503, 503]
    for status, got in answers[2:]:
        assert status == 200
        assert b"The gateway is stopping" in got
    assert check_witness(process, await process.events()) == {"estimated": len(marks) - 2, "unsettled": 2}
    assert (await process.run("audit"))[0] == 0


async def test_it_does_not_start_where_another_serves(process: Process) -> None:
    """A second gateway on the same database, and one on a port in use, end with exit code 3 and one sentence."""
    await process.start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for code, _, err in (
            await process.run("serve"),
            await process.run("serve", FARTHING_PORT=port, FARTHING_DATABASE_URL=f"sqlite:///{process.place}/other.db"),
            await process.run("serve", FARTHING_PORT="-1"),
            await process.run("serve", FARTHING_DATABASE_URL="mysql://x"),
            await process.run("serve", FARTHING_MASTER_KEY="short"),
            await process.run("serve", FARTHING_DATABASE_URL="sqlite:////no/such/place/farthing.db"),
        ):
            assert code == 3, err
            sentence = err.strip().splitlines()[-1]
            assert sentence.startswith("farthing: "), err
            assert "Traceback" not in err
    async with aiohttp.ClientSession() as http:
        assert (await api(http, process, "GET", "/healthz")) == {"status": "ok"}
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0
