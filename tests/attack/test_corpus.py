"""Every attack that we know, one file each, against a real process, a real nginx and other people's parsers."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import re
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from providers.ground.vendors import VENDORS
from tests.attack import cases
from tests.attack.cases import Case, Outcome, Send, Wanted
from tests.attack.nginx import Nginx
from tests.attack.recorder import Recorder, said
from tests.harness import MASTER, PROVIDER_KEY
from tests.process import ROOT, Served

FILES = sorted(cases.PLACE.glob("*.toml"))
ROWS = [f"{kind}{number}" for kind, most in (("C", 5), ("H", 8), ("M", 9), ("L", 8)) for number in range(1, most + 1)]
ANSWER_S = 20.0  # a bound, and no measurement
PATIENCE_S = 0.2  # for more, where a connection is not closed
QUIET_S = 15.0


_HEAD = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9]) ")


class Stage:
    """What is there for all cases: a gateway, nginx before it, the provider behind it."""

    def __init__(self, recorder: Recorder, served: Served, nginx: Nginx, api: aiohttp.ClientSession) -> None:
        self.recorder, self.served, self.nginx, self.api = recorder, served, nginx, api

    def ports(self, case: Case) -> list[int]:
        """Every way that a case is tried."""
        direct = [int(self.served.url.rpartition(":")[2])] if "direct" in case.through else []
        return direct + (self.nginx.ports if "nginx" in case.through else [])

    async def json(self, method: str, path: str, body: Any = None, secret: str = MASTER) -> Any:
        """One management call, which must succeed."""
        headers = {"authorization": f"Bearer {secret}"}
        async with self.api.request(method, self.served.url + path, json=body, headers=headers) as answer:
            assert answer.status in (200, 201), await answer.text()
            return await answer.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    place = tmp_path_factory.mktemp("corpus")
    async with Recorder() as recorder, aiohttp.ClientSession() as api:
        settings = {vendor.key_env: PROVIDER_KEY for vendor in VENDORS.values()} | {
            f"FARTHING_UPSTREAM_{vendor.setting}": recorder.origins[vendor.name] for vendor in VENDORS.values()
        }
        served = Served(
            place,
            recorder.origins["openai"],
            FARTHING_LOG_LEVEL="error",
            FARTHING_DISCONNECT_DRAIN_S="1",
            **settings,
        )
        await served.start()
        try:
            async with Nginx(place, served.url) as nginx:
                yield Stage(recorder, served, nginx, api)
            assert served.alive
            code, out, err = await served.run("audit")
            assert code == 0, out + err
        finally:
            await served.kill()


def test_every_kind_of_attack_has_a_case() -> None:
    """The table's rows, all of them; and no case of a row that is none."""
    assert {cases.load(path).row for path in FILES} == set(ROWS)


def test_no_expectation_is_lost_to_a_slip(tmp_path: Path) -> None:
    """A field that is none is refused, wherever it stands."""
    good = 'row = "C1"\nsays = ""\n[[send]]\nwanted = {status = 400}\n[outcome]\ncalls = 0\n'
    (tmp_path / "case.toml").write_text(good)
    assert cases.load(tmp_path / "case.toml").outcome.calls == 0
    for slip in (("status", "statuses"), ("calls", "call"), ("wanted", "expect"), ("says", "said")):
        (tmp_path / "case.toml").write_text(good.replace(*slip))
        with pytest.raises(msgspec.ValidationError):
            cases.load(tmp_path / "case.toml")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_case(stage: Stage, path: Path) -> None:
    """What the file says, by every way that it names."""
    case = cases.load(path)
    for port in stage.ports(case):
        await _tried(stage, case, port)


async def _tried(stage: Stage, case: Case, port: int) -> None:
    names = {"master.secret": MASTER, "credential": PROVIDER_KEY}
    for name, fields in case.keys.items():
        by = names[f"{fields.get('by', 'master')}.secret"]
        key = await stage.json("POST", "/v1/keys", {f: v for f, v in fields.items() if f != "by"}, by)
        names |= {f"{name}.id": key["id"], f"{name}.secret": key["secret"]}
    stage.recorder.seen.clear()
    stage.recorder.answers.clear()
    for told in case.provider:
        stage.recorder.answers.append(msgspec.structs.replace(told, body=cases.filled(told.body, names)))
    over, waits = asyncio.Event(), None
    if case.outcome.others_wait_s is not None:
        waits = asyncio.create_task(_longest_wait_s(stage, over))
    for number, send in enumerate(case.send):
        for _ in range(send.times):
            told = f"{case.says} (send {number + 1}, port {port})"
            await _sent(stage, send, names, port, told)
    if waits is not None:
        over.set()
        longest_s = await waits
        assert longest_s <= (case.outcome.others_wait_s or 0), f"{case.says}: others waited for {longest_s:.1f} s"
    if any(send.raw for send in case.send):
        await asyncio.sleep(PATIENCE_S)  # for what nobody waits for
    if case.outcome.of in case.keys:
        await _settled(stage, case, names)
    _arrived(stage, case.outcome, case.says)
    _kept(stage, case.outcome)


async def _sent(stage: Stage, send: Send, names: dict[str, str], port: int, told: str) -> None:
    data = cases.written(send, names)
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got, closed = b"", False
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            if send.leaves == "at once":
                async with asyncio.timeout(ANSWER_S):
                    calls = len(stage.recorder.seen)
                    while len(stage.recorder.seen) == calls:  # noqa: ASYNC110 - it has no event for it
                        await asyncio.sleep(0.01)
                return
            await writer.drain()
        got, closed = await _answered(reader, send)
        if send.leaves:
            assert send.leaves.encode() in got, f"{told}: {got[-500:]!r}"
            return
    finally:
        writer.transport.abort()
    _fits(send.wanted, got, names, told)
    if send.wanted.closes:
        assert closed, f"{told}: the connection is still open"
    if send.wanted.within_s is not None:
        assert time.monotonic() - started < send.wanted.within_s, told
    if send.save:
        found = said(_parsed(got)[1])
        for name, member in send.save.items():
            names[name] = str(found[member])


async def _answered(reader: asyncio.StreamReader, send: Send) -> tuple[bytes, bool]:
    """What came back, and whether the other side closed."""
    got = b""
    patience_s = 2.0 if send.wanted.closes or not send.raw else PATIENCE_S
    try:
        async with asyncio.timeout(ANSWER_S) as limit:
            while more := await reader.read(65536):
                got += more
                if send.leaves and send.leaves != "at once" and send.leaves.encode() in got:
                    return got, False
                if send.raw:
                    limit.reschedule(asyncio.get_running_loop().time() + patience_s)
            return got, True
    except TimeoutError:
        return got, False
    except ConnectionError:
        return got, True


class _Replayed:
    """A socket, as far as `http.client` needs one."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


def _parsed(got: bytes) -> tuple[int, bytes]:
    """Status and body of the last answer, as Python's own client reads it."""
    last = got[max((head.start() for head in _HEAD.finditer(got)), default=0) :]
    response = http.client.HTTPResponse(_Replayed(last))  # type: ignore[arg-type]
    try:
        response.begin()
        return response.status, response.read()
    except http.client.HTTPException:
        return 0, b""


def _fits(wanted: Wanted, got: bytes, names: dict[str, str], told: str) -> None:
    status, body = _parsed(got)
    shown = f"{told}: {got[:1500]!r}"
    if wanted.status is not None:
        assert status in (wanted.status if isinstance(wanted.status, list) else [wanted.status]), shown
    if wanted.code is not None or wanted.param is not None:
        error = (said(body) or {}).get("error", {})
        for name, value in (("code", wanted.code), ("param", wanted.param)):
            assert value is None or error.get(name) == value, shown
    if wanted.answers is not None:
        assert sum(head[1] != b"100" for head in _HEAD.finditer(got)) == wanted.answers, shown
    text = got.decode("latin-1")
    for each in wanted.has:
        assert cases.filled(each, names) in text, f"{each!r} is not in it; {shown}"
    for each in wanted.lacks:
        assert cases.filled(each, names).lower() not in text.lower(), f"{each!r} is in it; {shown}"


async def _longest_wait_s(stage: Stage, over: asyncio.Event) -> float:
    longest = 0.0
    while not over.is_set():
        started = time.monotonic()
        async with stage.api.get(stage.served.url + "/healthz") as answer:
            await answer.read()
        longest = max(longest, time.monotonic() - started)
        await asyncio.sleep(0.005)
    return longest


async def _settled(stage: Stage, case: Case, names: dict[str, str]) -> None:
    """Wait until the money of the key is as it must be; it is settled after the answer."""
    outcome = case.outcome
    until = time.monotonic() + QUIET_S
    while wrong := _differences(outcome, *(account := await _account(stage, outcome, names))):
        assert time.monotonic() < until, (case.says, wrong, account[0], account[1][:1])
        await asyncio.sleep(0.05)


async def _account(
    stage: Stage, outcome: Outcome, names: dict[str, str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    id_ = names[f"{outcome.of}.id"]
    money = await stage.json("GET", f"/v1/keys/{id_}")
    return money, (await stage.json("GET", f"/v1/events?limit=100&key_id={id_}"))["data"]


def _differences(outcome: Outcome, money: dict[str, Any], events: list[dict[str, Any]]) -> list[str]:
    counted = money["spent_micros"] + money["unsettled_micros"]
    newest = events[0] if events else {}
    wrong = {
        "held": money["held_micros"] != outcome.held_micros,
        "spent": outcome.spent_micros not in (None, money["spent_micros"]),
        "counted too little": counted < (outcome.counted_at_least_micros or 0),
        "counted too much": outcome.counted_at_most_micros is not None and counted > outcome.counted_at_most_micros,
        "events": outcome.events not in (None, len(events)),
    }
    wrong |= {name: newest.get(name) != value for name, value in outcome.event.items()}
    wrong |= {name: newest.get(name, 0) < value for name, value in outcome.event_at_least.items()}
    return [name for name, is_wrong in wrong.items() if is_wrong]


def _arrived(stage: Stage, outcome: Outcome, says: str) -> None:
    """What the provider got, and what other people's parsers read in it: all of them alike."""
    seen = stage.recorder.seen
    assert outcome.calls in (None, len(seen)), (says, [(each.method, each.target) for each in seen])
    for each in seen:
        trees = [_plain(tree) for tree in each.objects.values()]
        assert all(tree == trees[0] for tree in trees), (says, each.objects)
    if not (outcome.read or outcome.headers or outcome.headers_lack):
        return
    assert seen, f"{says}: the provider got nothing"
    for each in seen:
        fields = dict(each.headers)
        assert {name: fields.get(name) for name in outcome.headers} == outcome.headers, says
        assert not set(outcome.headers_lack) & set(fields), says
        readings = each.members() if outcome.read else {}
        assert len(readings) >= 2 or not outcome.read, f"{says}: hardly anybody reads {each.body[:300]!r}"
        for parser, members in readings.items():
            assert {name: members.get(name) for name in outcome.read} == outcome.read, (says, parser)


def _plain(tree: Any) -> str:
    """A tree as text, its numbers as JavaScript has them."""
    return json.dumps(json.loads(json.dumps(tree), parse_int=float), sort_keys=True)


def _kept(stage: Stage, outcome: Outcome) -> None:
    for name, mode in outcome.modes.items():
        assert oct(stat.S_IMODE((stage.served.place / name).stat().st_mode)) == f"0o{mode}", name
    for name, words in outcome.documents.items():
        text = " ".join((ROOT / name).read_text().split())
        assert not [each for each in words if each not in text], name
