"""What the fault tests share: marked calls, raw sockets, and the invariants that must hold whatever happened.

Every call carries a mark that both the provider (in the body) and the event (in its metadata) keep, so that each line
of the provider's own invoice can be laid beside the one event it belongs to.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp

from gateway.telemetry import JsonLines
from providers.ground.usage import Usage
from providers.pricing.catalogue import Catalogue
from providers.simulator import Cut, Faults, Pause
from providers.simulator.answers import Answer, Step
from tests.harness import MASTER, PROVIDER_KEY, Running, running
from tests.upstream import Line, Seen, Upstream

PROMPT = "prompt-canary-7d1e0b"
CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"{PROMPT} say something"}]}
STREAM = CHAT | {"stream": True}
MESSAGES: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 512,
    "messages": [{"role": "user", "content": f"{PROMPT} say something"}],
}
EMBED: dict[str, Any] = {"model": "text-embedding-3-small", "input": PROMPT}
PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "embeddings": "/v1/embeddings"}
CATALOGUE = Catalogue.load()
MICRO = 10**6


def mark_of(body: Any) -> str:
    """The mark in a request's body; "" where there is none."""
    if not isinstance(body, dict):
        return ""
    metadata = body.get("metadata")
    found = body.get("user") or (metadata.get("user_id") if isinstance(metadata, dict) else None)
    return found if isinstance(found, str) else ""


def seen_mark(seen: Seen) -> str:
    """The mark of a request that reached the provider."""
    with contextlib.suppress(ValueError, RecursionError):
        return mark_of(seen.json())
    return ""


def marked(body: dict[str, Any], path: str, mark: str) -> dict[str, Any]:
    """The body with its mark, in the place that its dialect has for one."""
    return body | ({"metadata": {"user_id": mark}} if path.endswith("messages") else {"user": mark})


def witness_picos(line: Line) -> int:
    """What the provider's own invoice line comes to at the catalogue's price."""
    billed = line.billed
    if not billed:
        return 0
    anthropic = line.path.endswith("messages")
    provider = "anthropic" if anthropic else "openai"
    price = CATALOGUE.find(provider, line.model, line.started_ms)
    assert price is not None, line.model
    read = billed.get("cache_read_input_tokens" if anthropic else "cached_tokens", 0)
    written = billed.get("cache_creation_input_tokens" if anthropic else "cache_write_tokens", 0)
    return price.cost_picos(
        Usage(
            input_tokens=billed["input_tokens"] + (read + written if anthropic else 0),
            cache_read_tokens=read,
            cache_write_tokens=written,
            output_tokens=billed.get("output_tokens", 0),
            reasoning_tokens=billed.get("reasoning_tokens", 0),
        )
    )


def linger_zero(raw: socket.socket) -> None:
    """Make closing this socket send RST."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Client:
    """One raw connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.got = b""

    @classmethod
    async def connect(cls, url: str, *, receive_buffer: int = 0) -> Client:
        host, port = url.removeprefix("http://").split(":")
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
        return cls(*await asyncio.open_connection(sock=raw, limit=2**10 if receive_buffer else 2**16))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, mark: bytes, timeout_s: float = 5.0) -> bytes:
        """Read until the mark is in what was read."""
        async with asyncio.timeout(timeout_s):
            while mark not in self.got:
                more = await self.reader.read(65536)
                assert more, f"closed before {mark!r}: {self.got[-300:]!r}"
                self.got += more
        return self.got

    async def rest(self, timeout_s: float = 5.0) -> bytes:
        """Everything until the other side closes, or until it says nothing for that long."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(timeout_s):
                while more := await self.reader.read(65536):
                    self.got += more
        return self.got

    async def closed(self, timeout_s: float) -> bytes:
        """What came until the other side closed, which it must within that time."""
        async with asyncio.timeout(timeout_s):
            with contextlib.suppress(ConnectionError):
                while more := await self.reader.read(65536):
                    self.got += more
        return self.got

    async def leave(self, how: str = "fin") -> None:
        """Go: "fin" closes, "rst" resets."""
        if how == "rst":
            with contextlib.suppress(OSError):  # closed already
                linger_zero(self.writer.get_extra_info("socket"))
            self.writer.transport.abort()
        else:
            self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def request_bytes(secret: str, body: bytes, path: str = PATHS["chat"], *headers: str, method: str = "POST") -> bytes:
    """A plain HTTP/1.1 request."""
    head = [f"{method} {path} HTTP/1.1", "host: gateway", f"authorization: Bearer {secret}", *headers]
    if not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
        head.append(f"content-length: {len(body)}")
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body


def body_of(answer: bytes) -> bytes:
    """The body of a raw HTTP answer, chunk framing taken away; of a broken one what there is."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return rest
    body = b""
    while rest:
        size, newline, rest = rest.partition(b"\r\n")
        if not newline or not size or int(size, 16) == 0:
            break
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body


class Site:
    """A running gateway, its provider under orders by mark, and everything that was seen and said."""

    def __init__(self, farthing: Running, place: Path) -> None:
        self.farthing = farthing
        self.gateway, self.upstream, self.url = farthing.gateway, farthing.upstream, farthing.url
        self.api, self.mint = farthing.api, farthing.mint
        self.place = place
        self.secrets: set[str] = set()
        self.errors: list[bytes] = []
        self.orders: dict[str, Faults] = {}
        self.produced: dict[str, bytearray] = {}
        self.loose: set[str] = set()
        self.elsewhere = False
        self.fresh = (PATHS["chat"], CHAT)
        self.log = place / "gateway.log"
        self._marks = itertools.count(1)
        self._everyday = farthing.upstream._faults
        self.tasks_before = 0

    def mark(self, sim: str = "") -> str:
        """A new mark; the provider answers its call with these faults."""
        mark = f"mark-{next(self._marks):05d}"
        if sim:
            self.orders[mark] = Faults.parse(sim)
        return mark

    async def key(self, **fields: Any) -> str:
        """A new key's secret."""
        minted = await self.mint(**fields)
        self.secrets.add(minted["secret"])
        return str(minted["secret"])

    def prepared(self, body: dict[str, Any], sim: str = "", path: str = PATHS["chat"]) -> tuple[str, bytes, str]:
        """A marked call: its mark, body, and the header that brings the mark to the event."""
        mark = self.mark(sim)
        return mark, json.dumps(marked(body, path, mark)).encode(), f'x-farthing-metadata: {{"mark":"{mark}"}}'

    async def raw(self, secret: str, body: dict[str, Any], sim: str = "", **options: Any) -> tuple[str, Client]:
        """Send a marked call over a raw connection: its mark, and the connection."""
        mark, sent, header = self.prepared(body, sim)
        client = await Client.connect(self.url, **options)
        await client.send(request_bytes(secret, sent, PATHS["chat"], header))
        return mark, client

    async def call(
        self,
        secret: str,
        body: dict[str, Any],
        sim: str = "",
        path: str = PATHS["chat"],
        headers: dict[str, str] | None = None,
    ) -> tuple[str, int, dict[str, str], bytes]:
        """One marked call: mark, status (0: broken off), headers, body as far as it came."""
        mark, sent, _ = self.prepared(body, sim, path)
        headers = {"authorization": f"Bearer {secret}"} | (headers or {})
        metadata = json.loads(headers.get("x-farthing-metadata", "{}")) | {"mark": mark}
        headers["x-farthing-metadata"] = json.dumps(metadata)
        got, status, names = b"", 0, {}
        try:
            async with self.farthing.http.post(self.url + path, data=sent, headers=headers) as answer:
                status = answer.status
                names = {name.lower(): value for name, value in answer.headers.items()}
                async for chunk in answer.content.iter_any():
                    got += chunk
        except aiohttp.ClientError:
            names["broken"] = "yes"
        if status >= 400:
            self.errors.append(got)
        return mark, status, names, got

    async def events(self) -> list[dict[str, Any]]:
        """Every event, newest first, live and test."""
        await self.farthing.quiet()
        found: list[dict[str, Any]] = []
        for mode in ("true", "false"):
            after = ""
            while True:
                status, page = await self.api("GET", f"/v1/events?limit=100&livemode={mode}{after}")
                assert status == 200, page
                found += page["data"]
                if not page["has_more"]:
                    break
                after = f"&starting_after={page['data'][-1]['id']}"
        return found

    async def event(self, mark: str) -> dict[str, Any]:
        """The one event of a mark, once there is one."""
        async with asyncio.timeout(8):
            while True:
                found = [event for event in await self.events() if event["metadata"].get("mark") == mark]
                if found:
                    assert len(found) == 1, found
                    return found[0]
                await asyncio.sleep(0.02)

    async def verify(self) -> None:
        """All invariants, at quiescence."""
        assert (await self.farthing.audited()).open_holds == 0
        events = await self.events()
        await self._settle_invoice()
        self._witness(events, await self.rests())
        await self._liveness()
        await self._silence()

    async def _settle_invoice(self) -> None:
        async with asyncio.timeout(5):
            while self.upstream.open_answers:  # noqa: ASYNC110 - the provider has no event for it
                await asyncio.sleep(0.01)

    async def rests(self) -> dict[str, int]:
        """What is unsettled, in micros, by the call's id without its prefix."""
        found: dict[str, int] = {}
        after = ""
        while True:
            status, page = await self.api("GET", f"/v1/holds?state=unsettled&limit=100{after}")
            assert status == 200, page
            found |= {hold["id"].partition("_")[2]: hold["amount"] for hold in page["data"]}
            if not page["has_more"]:
                return found
            after = f"&starting_after={page['data'][-1]['id']}"

    def _witness(self, events: list[dict[str, Any]], rests: dict[str, int]) -> None:
        """I3, I4, I11: the provider's invoice and the ledger tell of the same calls, and none is forgotten."""
        by_mark = {event["metadata"]["mark"]: event for event in events if "mark" in event["metadata"]}
        many = Counter(event["metadata"].get("mark") for event in events)
        assert not {mark: n for mark, n in many.items() if mark and n > 1}, "two events of one call"
        lines = {line.number: line for line in self.upstream.invoice}
        reached = {seen_mark(seen): lines[number] for number, seen in enumerate(self.upstream.requests, 1)}
        reached.pop("", None)
        assert len(reached) == sum(1 for seen in self.upstream.requests if seen_mark(seen)), "forwarded twice"
        for mark, line in reached.items():
            event = by_mark.get(mark)
            assert event is not None, f"{mark} was served and has no event"
            assert event["decision"] == "allowed", (mark, event)
            invoiced, cost = witness_picos(line), event["cost_picos"]
            if mark in self.loose:
                continue
            if event["status"] == "settled":
                assert invoiced == cost, (mark, line.billed, event["usage"])
            elif event["status"] == "released":
                assert invoiced == 0, (mark, line, event)
            else:
                rest = rests.get(event["id"].partition("_")[2], 0)
                assert invoiced <= max(cost, event["held_micros"] * MICRO), (mark, line.billed, event)
                if rest:  # it was not whole: what may be missing of its bill is counted
                    assert event["cost_micros"] + rest >= event["held_micros"], (mark, rest, event)
            if line.billed and event["status"] in ("settled", "estimated") and invoiced:
                assert cost > 0, (mark, event)
        if not self.elsewhere:
            for mark, event in by_mark.items():
                charged = event["status"] in ("settled", "estimated") and event["livemode"] and event["model"]
                assert mark in reached or not charged, f"{mark} never reached the provider: {event}"

    async def _liveness(self) -> None:
        """I9: a fresh call works, and nothing is left of the old ones."""
        self.upstream.always = Faults()
        secret = await self.key(name="fresh")
        started = time.monotonic()
        path, fresh = self.fresh
        _, status, _, body = await self.call(secret, fresh, path=path)
        assert status == 200, body
        assert time.monotonic() - started < 2
        await self.farthing.quiet()
        assert len(self.gateway.flights) == 0
        deadline = time.monotonic() + 3
        while len(asyncio.all_tasks()) > self.tasks_before + 1 and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        left = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
        assert len(left) <= self.tasks_before + 1, left  # one more: the watchdog over flights
        assert "Exception in ASGI" not in self.log.read_text()

    async def _silence(self) -> None:
        """I8: no canary in the run directory, the metrics or an error."""
        _, metrics = await self.api("GET", "/metrics")
        quiet = {secret.encode() for secret in self.secrets} | {PROVIDER_KEY.encode(), PROMPT.encode()}
        places = [(str(path), path.read_bytes()) for path in self.place.rglob("*") if path.is_file()]
        places += [("metrics", metrics.encode()), *(("error", body) for body in self.errors)]
        for name, content in places:
            for canary in (*quiet, MASTER.encode()):
                assert canary not in content, f"{canary[:12]!r}… stands in {name}"


def _ordered(site: Site) -> Any:
    """The provider's faults by a call's mark, else as usual."""

    def faults(seen: Seen, model: str) -> Faults:
        order = site.orders.get(seen_mark(seen))
        return order if order is not None else site._everyday(seen, model)

    return faults


def _recorded(site: Site, made: Answer, mark: str) -> Answer:
    """The same answer, whose bytes are kept as they are taken."""
    kept = site.produced.setdefault(mark, bytearray())

    def steps() -> Iterator[Step]:
        for step in made.steps:
            if not isinstance(step, Pause | Cut):
                kept.extend(step)
            yield step

    return Answer(status=made.status, headers=made.headers, steps=steps(), billed=made.billed)


@contextlib.asynccontextmanager
async def opened(place: Path, **environment: str) -> AsyncIterator[Site]:
    """A site whose log, database and metrics are searched at the end, and whose invariants are checked."""
    root = logging.getLogger()
    handler = logging.FileHandler(place / "gateway.log")
    handler.setFormatter(JsonLines())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("aiosqlite").setLevel(logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.INFO)
    try:
        async with running(place, **environment) as farthing:
            site = Site(farthing, place)
            site.upstream._faults = _ordered(site)  # type: ignore[method-assign]
            receive = Upstream.receive.__get__(site.upstream)

            def received(seen: Seen) -> tuple[int, str, Answer]:
                number, model, made = receive(seen)
                return number, model, _recorded(site, made, seen_mark(seen))

            site.upstream.receive = received  # type: ignore[method-assign]
            site.tasks_before = len(asyncio.all_tasks())
            yield site
            await site.verify()
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
