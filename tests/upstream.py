"""The provider, as far as tests and benches are concerned: the simulator behind a real socket, with its own invoice.

Promises: every byte is under control, so a head can lie and a connection can break at any byte; what was generated is
billed, whole or up to the cut, whoever cut it; one JSON line a call goes to the invoice, in the order of their ends.
Knows nothing of Farthing. Faults come from the request's `x-sim` header, else from `script`, else from `always`.

    async with Upstream() as upstream: ...          # in-process, on a free port
    python -m tests.upstream --port 9000 --invoice invoice.jsonl
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import http
import json
import secrets
import socket
import ssl
import struct
import sys
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast
from urllib.parse import urlsplit

import httptools
import msgspec

from providers.ground.vendors import VENDORS
from providers.simulator import Answer, Cut, Faults, Pause, answer
from providers.simulator.answers import Whole
from providers.simulator.delivery import deliver
from tests.upstream_sockets import Socket, model_of_query

REQUESTS_MAX = 10_000  # kept in memory; the oldest go first
PIPELINED_MAX = 64  # requests waiting on one connection
BUFFER_BYTES_MAX = 65_536  # unsent bytes before the model has to wait


class Seen(msgspec.Struct, kw_only=True):
    """One request as it arrived. `headers` are in order, names in lower case."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    upstream_id: str
    provider: str = ""
    frames: list[str | bytes] = []  # of a WebSocket: the messages that came
    closed: tuple[int, str] | None = None  # and how the other side closed it

    def header(self, name: str) -> str | None:
        """The header's first value."""
        return next((value for known, value in self.headers if known == name), None)

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Line(msgspec.Struct, kw_only=True):
    """One call on the invoice.

    Attributes:
        number: Of the request, from 1, in order of arrival; lines are in order of ends.
        upstream_id: What the answer's `x-request-id` or `request-id` says.
        end: "whole"; "fault" (the script cut it); "client" (the other side left before the end).
        billed: What the provider charges for, as in `providers.simulator.Answer`; None for nothing.
        body_bytes: How many bytes of the body were sent.
        body_sha256: Of those bytes, before any chunk framing.
    """

    number: int
    upstream_id: str
    method: str
    path: str
    model: str
    status: int
    end: str
    billed: dict[str, int] | None
    body_bytes: int
    body_sha256: str
    started_ms: int
    ended_ms: int


class Upstream:
    """The server. Use as an async context manager, or `start` and `stop` it."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        invoice_file: Path | None = None,
        credential: str | None = None,
        always: Faults | None = None,
        requests_max: int = REQUESTS_MAX,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """With a `credential`, a request that does not carry it is answered 401. With `tls`, see `secure_origin`."""
        self.requests: deque[Seen] = deque(maxlen=requests_max)
        self.invoice: deque[Line] = deque(maxlen=requests_max)
        self.always = always or Faults()
        self.open_answers = 0
        self.connections: set[_Connection] = set()
        self.sockets: set[Socket] = set()
        self._host, self._port, self._credential = host, port, credential
        self._scripts: dict[str | None, deque[Faults]] = {}
        self._file_path = invoice_file
        self._file: TextIO | None = None
        self._server: asyncio.Server | None = None
        self._origins: dict[str, str] = {}
        self._secure_origins: dict[str, str] = {}
        self._tls = tls
        self._provider_servers: list[asyncio.Server] = []
        self._count = 0
        self._run = secrets.token_hex(3)
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        """Origin, without a path."""
        return f"http://{self._host}:{self._port}"

    def origin(self, provider: str) -> str:
        """Where this provider lives: an origin of its own, for what paths alone do not tell."""
        return self._origins[provider]

    def secure_origin(self, provider: str) -> str:
        """Where this provider lives for those who insist on TLS."""
        return self._secure_origins[provider]

    def script(self, *faults: Faults | str, model: str | None = None) -> None:
        """The faults of the next requests, one each, in order; with `model`, of that model's next requests."""
        queue = self._scripts.setdefault(model, deque())
        queue.extend(Faults.parse(each) if isinstance(each, str) else each for each in faults)

    async def invoiced(self, lines: int, *, timeout_s: float = 5.0) -> list[Line]:
        """The invoice once it has that many lines in all: a call's line is written after its last byte."""
        async with asyncio.timeout(timeout_s):
            while len(self.invoice) < lines:
                await self._changed.wait()
        return list(self.invoice)

    async def start(self) -> None:
        if self._file_path is not None:
            self._file = self._file_path.open("a", encoding="utf-8")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self._host, self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]
        for provider in VENDORS:
            server = await loop.create_server(partial(_Connection, self, provider), self._host, 0, backlog=1024)
            self._provider_servers.append(server)
            self._origins[provider] = f"http://{self._host}:{server.sockets[0].getsockname()[1]}"
        for provider in VENDORS if self._tls is not None else ():
            server = await loop.create_server(partial(_Connection, self, provider), self._host, 0, ssl=self._tls)
            self._provider_servers.append(server)
            self._secure_origins[provider] = f"https://{self._host}:{server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for server in self._provider_servers:
            server.close()
        self._provider_servers.clear()
        for connection in list(self.connections):
            await connection.close()
        for open_socket in list(self.sockets):
            open_socket.transport.abort()
        await asyncio.sleep(0)
        if self._file is not None:
            self._file.close()
            self._file = None

    async def __aenter__(self) -> Upstream:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def receive(self, seen: Seen) -> tuple[int, str, Answer]:
        """Note the request and make its answer: number, model, answer."""
        self._count += 1
        seen.upstream_id = f"req_{self._run}{self._count:010d}"
        self.requests.append(seen)
        model = _model(seen)
        try:
            faults = self._faults(seen, model)
        except ValueError as error:
            body = json.dumps({"error": {"message": f"x-sim: {error}", "type": "invalid_request_error"}}).encode()
            refused = Whole(status=400, headers=[("content-type", "application/json")], body=body)
            return self._count, model, deliver(refused, Faults())
        if not self._carries_credential(seen):
            faults = Faults(status=401)
        made = answer(
            seen.method,
            seen.path,
            dict(seen.headers),
            seen.body,
            provider=seen.provider,
            faults=faults,
            request_id=seen.upstream_id,
            now_s=int(time.time()),
        )
        return self._count, model, made

    def open(self, seen: Seen) -> Socket:
        """Note a WebSocket's handshake, and make the socket."""
        self._count += 1
        seen.upstream_id = f"req_{self._run}{self._count:010d}"
        self.requests.append(seen)
        faults = self._faults(seen, model_of_query(seen.path))
        if not self._carries_credential(seen):
            faults = Faults(status=401)
        return Socket(self, seen, self._count, faults)

    def bill(self, line: Line) -> None:
        self.invoice.append(line)
        if self._file is not None:
            self._file.write(msgspec.json.encode(line).decode() + "\n")
            self._file.flush()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _carries_credential(self, seen: Seen) -> bool:
        scheme, _, value = (seen.header("authorization") or "").partition(" ")
        own = (seen.header(name) for name in ("x-api-key", "x-goog-api-key", "xi-api-key"))
        carried = (value if scheme in ("Bearer", "Token") else "", *own)
        return self._credential is None or self._credential in carried

    def _faults(self, seen: Seen, model: str) -> Faults:
        given = seen.header("x-sim")
        if given is not None:
            return Faults.parse(given)
        for name in (model, None):
            if self._scripts.get(name):
                return self._scripts[name].popleft()
        return self.always


def _model(seen: Seen) -> str:
    try:
        given = json.loads(seen.body).get("model", "") if seen.body else ""
    except (ValueError, AttributeError, RecursionError):
        return ""
    return given if isinstance(given, str) else ""


class _Connection(asyncio.Protocol):
    """One connection: requests in order, answers one after the other."""

    def __init__(self, upstream: Upstream, provider: str = "") -> None:
        self._upstream = upstream
        self._provider = provider
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Seen, bool]] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._path = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX)
        self._upstream.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.connections.discard(self)
        self._room.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserError:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self._transport.close()

    def on_message_begin(self) -> None:
        self._path, self._headers, self._body = b"", [], []

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if ("expect", "100-continue") in self._headers:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade():
            return
        seen = Seen(
            method=self._parser.get_method().decode("latin-1"),
            path=self._path.decode("latin-1"),
            headers=self._headers,
            body=b"".join(self._body),
            upstream_id="",
            provider=self._provider,
        )
        if len(self._waiting) >= PIPELINED_MAX:
            self._transport.abort()
            return
        self._waiting.append((seen, self._parser.should_keep_alive()))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())

    def _upgrade(self) -> None:
        """A WebSocket's handshake: from now on the connection is the socket's."""
        self._upstream.connections.discard(self)
        seen = Seen(
            method="GET",
            path=self._path.decode("latin-1"),
            headers=self._headers,
            body=b"",
            upstream_id="",
            provider=self._provider,
        )
        lines = [f"GET {seen.path} HTTP/1.1", *(f"{name}: {value}" for name, value in self._headers)]
        self._upstream.open(seen).start(self._transport, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def close(self) -> None:
        self._transport.abort()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self) -> None:
        while self._waiting:
            seen, keep = self._waiting.popleft()
            await self._answer(seen)
            if not keep:
                self._transport.close()
                return
        self._task = None

    async def _answer(self, seen: Seen) -> None:
        started_ms = time.time_ns() // 1_000_000
        number, model, made = self._upstream.receive(seen)
        sent, digest, end = 0, hashlib.sha256(), "client"
        chunked = all(name != "content-length" for name, _ in made.headers)
        headed = False
        self._upstream.open_answers += 1
        try:
            for step in made.steps:
                await asyncio.sleep(0)  # the other connections' turn, and the moment to see that this one is gone
                if isinstance(step, Pause):
                    await asyncio.sleep(step.ms / 1_000)
                    continue
                if isinstance(step, Cut):
                    end = "fault"
                    await self._reset()
                    return
                framed = b"%x\r\n%b\r\n" % (len(step), step) if chunked and step else step
                self._transport.write(framed if headed else _head(made, chunked=chunked) + framed)
                headed = True
                sent += len(step)
                digest.update(step)
                await self._room.wait()
            if not headed:
                self._transport.write(_head(made, chunked=chunked))
            if chunked:
                self._transport.write(b"0\r\n\r\n")
            elif sent != next(int(value) for name, value in made.headers if name == "content-length"):
                self._transport.close()  # the head lied: what comes next would be taken for the body
            end = "whole"
        finally:
            self._upstream.open_answers -= 1
            line = Line(
                number=number,
                upstream_id=seen.upstream_id,
                method=seen.method,
                path=urlsplit(seen.path).path,
                model=model,
                status=made.status if headed or end == "whole" else 0,
                end=end,
                billed=dict(made.billed) if made.billed is not None else None,
                body_bytes=sent,
                body_sha256=digest.hexdigest(),
                started_ms=started_ms,
                ended_ms=time.time_ns() // 1_000_000,
            )
            self._upstream.bill(line)

    async def _reset(self) -> None:
        """RST, but only after the other side was given what came before."""
        self._transport.set_write_buffer_limits(high=0)
        await self._room.wait()
        await asyncio.sleep(0.005)  # for the other side to read it: a reset may overtake unread bytes
        raw = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _head(made: Answer, *, chunked: bool) -> bytes:
    try:
        reason = http.HTTPStatus(made.status).phrase
    except ValueError:
        reason = "Unknown"
    lines = [f"HTTP/1.1 {made.status} {reason}", *(f"{name}: {value}" for name, value in made.headers)]
    if chunked:
        lines.append("transfer-encoding: chunked")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _run(options: argparse.Namespace) -> None:
    upstream = Upstream(
        host=options.host,
        port=options.port,
        invoice_file=options.invoice,
        credential=options.credential,
        always=Faults.parse(options.always),
        requests_max=1_000,
    )
    async with upstream:
        sys.stdout.write(f"listening on {upstream.url}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().create_future()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.upstream", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 = a free one, printed on the first line")
    parser.add_argument("--invoice", type=Path, help="append one JSON line a call to this file")
    parser.add_argument("--credential", help="answer 401 to a request that does not carry this")
    parser.add_argument("--always", default="", help="faults of every answer, as in x-sim")
    options = parser.parse_args()
    import uvloop  # not on Windows, where only the program is missing

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_run(options))


if __name__ == "__main__":
    main()
