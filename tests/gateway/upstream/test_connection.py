"""The HTTP/1.1 client, byte by byte: every framing, every break, and what is left of the connection afterwards.

Both clients take the same tests. Where aiohttp's does otherwise, the test says what it does, and why that is no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httptools
import psutil
import pytest
import trustme
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bounds import (
    ANSWER_FIELDS_MAX,
    ANSWER_HEAD_BYTES_MAX,
    ANSWER_WAITING_BYTES,
    HEADS_REMEMBERED_MAX,
    IDLE_CONNECTIONS_MAX,
    WHOLE_BYTES_MAX,
)
from gateway.http1.fields import Fields
from gateway.upstream.aiohttp_client import AiohttpUpstream
from gateway.upstream.base import Answer, Forward, UpstreamFailed
from gateway.upstream.clients import UpstreamClient, real
from gateway.upstream.origins import Origin
from gateway.upstream.pool import Pool

OK = b"HTTP/1.1 200 OK\r\n"


class AiohttpPool:
    """aiohttp's client to one origin, in the words in which these tests speak to ours."""

    def __init__(self, origin: str, **options: Any) -> None:
        self.upstream = AiohttpUpstream(**options)
        self._origin = origin

    async def send(self, method: str, target: str, headers: dict[str, str], body: Any) -> Answer:
        return await self.upstream.send(
            Forward(
                provider="x", method=method, origin=self._origin, target=target, headers=headers, body=body, call_id="x"
            )
        )

    @property
    def connector(self) -> Any:
        return self.upstream._session.connector if self.upstream._session is not None else None

    @property
    def connections(self) -> int:
        connector = self.connector
        if connector is None:
            return 0
        idle = [protocol for kept in connector._conns.values() for protocol, _ in kept if protocol.is_connected()]
        return len(connector._acquired) + len(idle)

    async def close(self) -> None:
        await self.upstream.close()


AnyPool = Pool | AiohttpPool
POOLS: dict[str, Any] = {"lean": Pool, "aiohttp": AiohttpPool}
chosen = "lean"  # by the fixture below


@pytest.fixture(scope="module", params=POOLS, autouse=True)
def client(request: pytest.FixtureRequest) -> str:
    """The client that a test is about: every test, unless it says otherwise, is about both."""
    global chosen  # noqa: PLW0603 - hypothesis' tests take no fixture of a test's own
    chosen = request.param
    return chosen


def pool_at(origin: str, **options: Any) -> Any:
    return POOLS[chosen](origin, **options)


def ours_only(why: str) -> None:
    """The rest of the test is about our own client."""
    if chosen != "lean":
        pytest.skip(why)


def idle_in(pool: Any) -> int:
    return len(pool._idle) if isinstance(pool, Pool) else sum(len(kept) for kept in pool.connector._conns.values())


def transport_in(pool: Any) -> asyncio.Transport | None:
    """That of the only connection."""
    if isinstance(pool, Pool):
        return next((each._transport for each in pool._open), None)
    acquired = [each for each in pool.connector._acquired if hasattr(each, "transport")] if pool.connector else []
    return acquired[0].transport if acquired else None


class Request:
    """What a server got."""

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.raw_head = b""


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None at the end of the stream."""
    request = Request()
    try:
        request.raw_head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    line, *lines = request.raw_head[:-4].split(b"\r\n")
    request.method, request.target, version = line.split(b" ")
    assert version == b"HTTP/1.1"
    for each in lines:
        name, value = each.split(b": ", 1)
        request.fields.append((name.lower(), value))
    length = int(dict(request.fields).get(b"content-length", b"0"))
    try:
        request.body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return request


Handler = Callable[["Server", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A server that does exactly what it is told on each connection."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self._handler, self._tls = handler, tls
        self.accepted = 0
        self.open = 0
        self.requests: list[Request] = []
        self.writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, limit=2**20, backlog=2048)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.origin = f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self.open += 1
        self.writers.append(writer)
        try:
            await self._handler(self, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort()


def reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def script(answer: bytes, *, pieces: int = 0, end: str = "keep", drip_s: float = 0.0) -> Handler:
    """Answer every request with these bytes, in pieces of that many bytes, then keep, close or reset."""

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            server.requests.append(request)
            for start in range(0, len(answer), pieces or len(answer) or 1):
                writer.write(answer[start : start + (pieces or len(answer))])
                if pieces:
                    await asyncio.sleep(drip_s)
            await writer.drain()
            if end == "reset":
                await asyncio.sleep(0.02)
                reset(writer)
                return
            if end == "close":
                writer.close()
                return

    return handler


@contextlib.asynccontextmanager
async def pool_to(server: Server, **options: Any) -> AsyncIterator[Any]:
    pool = pool_at(server.origin, **options)
    try:
        yield pool
    finally:
        await pool.close()
        assert pool.connections == 0


async def post(pool: Any, body: bytes = b"{}", target: str = "/v1/x", method: str = "POST") -> Answer:
    return await pool.send(method, target, {"accept": "*/*", "Authorization": "Bearer k"}, body)


async def read(answer: Answer) -> bytes:
    return b"".join([chunk async for chunk in answer.chunks()])


async def settled(condition: Callable[[], bool], timeout_s: float = 2.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)


# ---- framings: answer, status, body (None: it fails), kept, end

FRAMINGS: dict[str, tuple[bytes, int, bytes | None, bool, str]] = {
    "length": (OK + b"Content-Length: 5\r\n\r\nhello", 200, b"hello", True, "keep"),
    "empty": (OK + b"Content-Length: 0\r\n\r\n", 200, b"", True, "keep"),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", True, "keep"),
    "empty field": (OK + b"X-Nothing:\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", True, "keep"),
    "length, close": (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False, "close"),
    "chunked": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
        200,
        b"hello world",
        True,
        "keep",
    ),
    "chunked, cased": (OK + b"transfer-encoding: CHUNKED \r\n\r\n1\r\nx\r\n0\r\n\r\n", 200, b"x", True, "keep"),
    "chunked, empty": (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, b"", True, "keep"),
    "trailers": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
        200,
        b"hi",
        True,
        "keep",
    ),
    "until the end": (OK + b"Content-Type: a/b\r\n\r\nhello", 200, b"hello", False, "close"),
    "until the end, nothing": (OK + b"\r\n", 200, b"", False, "close"),
    "1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"hello", False, "close"),
    "1.0 with length": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", False, "close"),
    "1.0 kept": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        200,
        b"hello",
        True,
        "keep",
    ),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True, "keep"),
    "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, b"", True, "keep"),
    "redirect": (
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
        302,
        b"",
        True,
        "keep",
    ),
    "error": (b"HTTP/1.1 529 Overloaded\r\nContent-Length: 2\r\n\r\n{}", 529, b"{}", True, "keep"),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nhi",
        200,
        b"hi",
        True,
        "keep",
    ),
    "short": (OK + b"Content-Length: 9\r\n\r\nhello", 200, None, False, "close"),
    "chunked, short": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", 200, None, False, "close"),
    "chunked, no last": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 200, None, False, "close"),
    "chunked, no end of trailers": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n",
        200,
        None,
        False,
        "close",
    ),
    "bad size": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", 200, None, False, "keep"),
    "bad chunk end": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX", 200, None, False, "keep"),
    "chunk too large": (OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 200, None, False, "keep"),
}
HEADLESS: dict[str, bytes] = {  # no answer at all
    "nothing": b"",
    "half a line": b"HTTP/1.1 20",
    "half a head": OK + b"Content-Le",
    "garbage": b"SSH-2.0-OpenSSH_9.2\r\n",
    "html": b"<html>no</html>\r\n\r\n",
    "http/2": b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x80\0\4\0\1\0\0\0\5\0\xff\xff\xff",
    "version 2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version 0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status 99": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "status 2": b"HTTP/1.1 2 OK\r\nContent-Length: 0\r\n\r\n",
    "status word": b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "interim with a body": b"HTTP/1.1 150 Odd\r\nContent-Length: 2\r\n\r\nhi" + OK + b"Content-Length: 0\r\n\r\n",
    "interim, then nothing": b"HTTP/1.1 100 Continue\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
    "same length twice": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "listed length": OK + b"Content-Length: 2, 2\r\n\r\nhi",
    "signed length": OK + b"Content-Length: +2\r\n\r\nhi",
    "no length": OK + b"Content-Length: \r\n\r\nhi",
    "huge length": OK + b"Content-Length: 99999999999999999999\r\n\r\nhi",
    "length and coding": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "other coding": OK + b"Transfer-Encoding: gzip\r\n\r\n",
    "two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before colon": OK + b"A : b\r\n\r\n",
    "folded": OK + b"A: b\r\n c\r\n\r\n",
    "bare newline": OK + b"A: b\n\r\n",
    "nul": OK + b"A: \0\r\n\r\n",
    "many fields": OK + b"A: b\r\n" * (ANSWER_FIELDS_MAX + 1) + b"\r\n",
    "many fields in interims": b"HTTP/1.1 103 Hm\r\nA: b\r\n\r\n" * (ANSWER_FIELDS_MAX + 1),
    "large field": OK + b"A: " + b"b" * ANSWER_HEAD_BYTES_MAX + b"\r\n\r\n",
    "endless name": OK + b"a" * (ANSWER_HEAD_BYTES_MAX + 1),
    "endless line": b"HTTP/1.1 200 " + b"a" * (ANSWER_HEAD_BYTES_MAX + 1),
}


@pytest.mark.parametrize("pieces", [0, 1])
@pytest.mark.parametrize("name", FRAMINGS)
async def test_every_framing_is_read_to_its_end_and_no_further(name: str, pieces: int) -> None:
    """In one piece and byte by byte; a kept connection serves again, another is never used again."""
    answer_bytes, status, body, kept, end = FRAMINGS[name]
    async with Server(script(answer_bytes, pieces=pieces, end=end)) as server, pool_to(server) as pool:
        for turn in range(3):
            try:
                answer = await post(pool)
            except UpstreamFailed as early:
                # aiohttp loses a head that comes together with what is wrong with its body.
                assert (chosen, body, early.sent) == ("aiohttp", None, True)
                continue
            assert answer.status == status
            if body is None:
                with pytest.raises(UpstreamFailed) as failed:
                    await read(answer)
                assert failed.value.sent
            else:
                assert await read(answer) == body
                assert await read(answer) == b""
            answer.close()
            answer.close()
            assert server.accepted == (1 if kept else turn + 1)
        assert len(server.requests) == 3
        await settled(lambda: pool.connections == (1 if kept else 0))


# What aiohttp's parser takes from a server all the same; our own rules for lengths and codings come on top of it.
KINDER = {"interim with a body": {}, "folded": {"a": "b c"}, "bare newline": {"a": "b"}}


@pytest.mark.parametrize("pieces", [0, 1])
@pytest.mark.parametrize("name", HEADLESS)
async def test_what_is_no_answer_fails_as_sent(name: str, pieces: int) -> None:
    answer_bytes = HEADLESS[name]
    if pieces and len(answer_bytes) > 10_000:
        pieces = 1000
    async with Server(script(answer_bytes, pieces=pieces, end="close")) as server, pool_to(server) as pool:
        if chosen == "aiohttp" and name in KINDER:
            answer = await post(pool)
            assert {name: value for name, value in answer.headers.items() if name == "a"} == KINDER[name]
            assert await read(answer) == b""
            return
        with pytest.raises(UpstreamFailed) as failed:
            await post(pool)
        assert failed.value.sent
        assert len(server.requests) == 1  # never sent twice
        await settled(lambda: pool.connections == 0)


EXCESS = {
    "bytes": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!",
    "bytes, close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi!",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiH",
    "a second answer": (OK + b"Content-Length: 2\r\n\r\nhi") * 2,
    "after the last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n!",
    "after no body": b"HTTP/1.1 204 No Content\r\n\r\n!",
}


@pytest.mark.parametrize("name", EXCESS)
async def test_more_than_was_announced_fails_and_never_answers_another_request(name: str) -> None:
    async with Server(script(EXCESS[name])) as server, pool_to(server) as pool:
        for turn in range(2):
            if chosen == "aiohttp":
                # It fails what comes in one piece with it, and forgets a beginning that it cannot read to its end.
                with contextlib.suppress(UpstreamFailed):
                    assert await read(await post(pool)) == b"hi"
                assert server.accepted == (1 if name == "half an answer" else turn + 1)
                continue
            answer = await post(pool)
            with pytest.raises(UpstreamFailed):
                await read(answer)
            answer.close()
            assert server.accepted == turn + 1


async def test_what_comes_unasked_closes_an_idle_connection() -> None:
    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader) is not None:
            writer.write(OK + b"Content-Length: 2\r\n\r\nhi")
            await asyncio.sleep(0.02)
            writer.write(OK + b"Content-Length: 6\r\n\r\npoison")

    async with Server(handler) as server, pool_to(server) as pool:
        assert await read(await post(pool)) == b"hi"
        if chosen == "lean":
            await settled(lambda: pool.connections == 0)
        else:  # it is closed when it would be used
            await asyncio.sleep(0.05)
        assert await read(await post(pool)) == b"hi"
        assert server.accepted == 2


async def test_bytes_that_the_loop_has_not_come_to_yet_are_seen_too() -> None:
    """Poisoned or closed while this process was busy: found when the connection is picked up."""
    answered = OK + b"Content-Length: 2\r\n\r\nhi"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        pool = pool_at(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for how in (b"", OK + b"Content-Length: 6\r\n\r\npoison"):
            sending = asyncio.ensure_future(post(pool))
            first, _ = await loop.sock_accept(listener)
            await loop.sock_recv(first, 9999)
            await loop.sock_sendall(first, answered)
            assert await read(await sending) == b"hi"
            sending = asyncio.ensure_future(post(pool))
            if how:
                first.send(how)
            else:
                first.close()
            time.sleep(0.01)  # noqa: ASYNC251 - the loop must not see it
            second, _ = await loop.sock_accept(listener)
            await loop.sock_recv(second, 9999)
            await loop.sock_sendall(second, OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi")
            assert await read(await sending) == b"hi"
            first.close()
            second.close()
        await pool.close()


@settings(max_examples=60, deadline=None)
@given(
    body=st.binary(max_size=300),
    chunks=st.lists(st.integers(1, 60), max_size=8),
    cuts=st.lists(st.integers(1, 400), max_size=12),
    trailers=st.booleans(),
    stop=st.none() | st.integers(0, 600),
)
def test_any_chunking_in_any_segments_is_whole_or_fails(
    body: bytes, chunks: list[int], cuts: list[int], trailers: bool, stop: int | None
) -> None:
    """The bytes that come out are a prefix of what was sent, and all of it if there is no failure."""
    framed = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    rest = body
    for size in chunks:
        piece, rest = rest[:size], rest[size:]
        if piece:
            framed += b"%x\r\n%b\r\n" % (len(piece), piece)
    if rest:
        framed += b"%x\r\n%b\r\n" % (len(rest), rest)
    framed += b"0\r\nX-A: b\r\n\r\n" if trailers else b"0\r\n\r\n"
    sent = framed if stop is None else framed[:stop]

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        left = sent
        for cut in cuts:
            writer.write(left[:cut])
            left = left[cut:]
            await asyncio.sleep(0)
        writer.write(left)
        await writer.drain()
        writer.close()

    async def run() -> None:
        async with Server(handler) as server, pool_to(server) as pool:
            got = b""
            try:
                answer = await post(pool)
                async for chunk in answer.chunks():
                    got += chunk
            except UpstreamFailed as failed:
                assert failed.sent
                assert len(sent) < len(framed)
                assert body.startswith(got)
            else:
                assert len(sent) == len(framed)
                assert got == body

    uvloop.run(run())


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_break_at_every_byte_is_a_failure(end: str) -> None:
    """Of a whole answer with a length every proper prefix fails; what came before the break is delivered."""
    whole = OK + b"Content-Length: 5\r\n\r\nhello"
    for stop in range(len(whole)):
        async with Server(script(whole[:stop], end=end)) as server, pool_to(server) as pool:
            got = b""
            with pytest.raises(UpstreamFailed) as failed:
                answer = await post(pool)
                async for chunk in answer.chunks():
                    got += chunk
            assert failed.value.sent
            assert got == whole[:stop].partition(b"\r\n\r\n")[2]
            assert len(server.requests) == 1


async def test_a_reset_does_not_end_a_body_that_ends_with_the_connection() -> None:
    async with Server(script(OK + b"\r\nhello", end="reset")) as server, pool_to(server) as pool:
        answer = await post(pool)
        with pytest.raises(UpstreamFailed):
            await read(answer)


# ---- the request


async def test_the_request_is_written_as_it_should_be() -> None:
    bearer = "Bearer ü" if chosen == "lean" else "Bearer Ã¼"  # aiohttp writes UTF-8 and no other bytes
    async with Server(script(OK + b"Content-Length: 0\r\n\r\n")) as server, pool_to(server) as pool:
        for method, body in (("POST", b"{}"), ("POST", b""), ("GET", b""), ("DELETE", b""), ("PUT", b"x")):
            await read(await pool.send(method, "/v1/x?a=%20b", {"Authorization": bearer, "x-a": ""}, body))
        host = f"127.0.0.1:{server.port}".encode()
        for request in server.requests:
            fields = dict(request.fields)
            assert len(fields) == len(request.fields)
            assert fields[b"host"] == host
            assert fields[b"authorization"] == bearer.encode("latin-1")
            assert request.target == b"/v1/x?a=%20b"
        assert [dict(request.fields).get(b"content-length") for request in server.requests] == [
            b"2", b"0", None, None, b"1",
        ]  # fmt: skip
        assert server.accepted == 1
        if chosen == "aiohttp":
            with pytest.raises(UpstreamFailed) as failed:
                await pool.send("POST", "/", {"Authorization": "Bearer ü"}, b"")
            assert not failed.value.sent


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://Example.com", "example.com"),
        ("http://example.com:80", "example.com"),
        ("https://example.com:443/", "example.com"),
        ("http://example.com:443", "example.com:443"),
        ("https://example.com:8443", "example.com:8443"),
        ("http://[::1]", "[::1]"),
        ("http://[::1]:81", "[::1]:81"),
        ("http://bücher.example", "xn--bcher-kva.example"),
    ],
)
async def test_the_host_names_the_port_unless_it_goes_without_saying(origin: str, host: str) -> None:
    assert Origin.of(origin).name == host


INJECTIONS: list[tuple[str, str, dict[str, str]]] = [
    *(("POST", "/", {"a": f"b{bad}c"}) for bad in ("\r\n", "\n", "\r", "\0", "\r\nx: y", "\r\n\r\nGET / HTTP/1.1")),
    *(("POST", "/", {f"a{bad}b": "c"}) for bad in ("\r\n", "\n", "\r", "\0", ":", " ", "", "ü")[:6]),
    ("POST", "/", {"": "c"}),
    ("POST", "/", {"aü": "c"}),
    ("POST", "/", {"a": "€"}),
    *(("POST", f"/{bad}", {}) for bad in (" HTTP/1.1\r\nx: y", "\n", "\r", "\0", " ", "\x7f", "€")),
    ("POST", "", {}),
    ("POST", "x", {}),
    ("POST", "http://elsewhere/", {}),
    *((bad, "/", {}) for bad in ("", "GET /", "GE\nT")),
    *(("POST", "/", {name: "1"}) for name in ("Content-Length", "transfer-encoding", "HOST", "Connection", "Expect")),
]


@pytest.mark.parametrize(("method", "target", "headers"), INJECTIONS)
async def test_nothing_can_be_smuggled_into_a_request(method: str, target: str, headers: dict[str, str]) -> None:
    """What would change the request's framing is refused before anything is sent."""
    async with Server(script(OK + b"Content-Length: 0\r\n\r\n")) as server, pool_to(server) as pool:
        with pytest.raises(UpstreamFailed) as failed:
            await pool.send(method, target, headers, b"")
        assert not failed.value.sent
        assert server.accepted == 0


@settings(max_examples=200, deadline=None)
@given(
    headers=st.dictionaries(
        st.text("ab-: \r\n\0", min_size=1, max_size=6), st.text("xy: \r\n\0é", max_size=8), max_size=4
    ),
    target=st.text("/ab? %\r\n\0", min_size=1, max_size=8),
)
def test_what_is_written_is_read_as_it_was_meant(headers: dict[str, str], target: str) -> None:
    """Another parser finds the very fields that were given, or the request is refused."""

    class Parsed:
        def __init__(self) -> None:
            self.fields: list[tuple[bytes, bytes]] = []
            self.url = b""
            self.count = 0

        def on_url(self, url: bytes) -> None:
            self.url += url

        def on_header(self, name: bytes, value: bytes) -> None:
            self.fields.append((name, value))

        def on_message_complete(self) -> None:
            self.count += 1

    async def written() -> bytes | None:
        try:
            if chosen == "lean":
                return Pool("http://a")._head("POST", target, headers, b"")
            async with Server(script(OK + b"Content-Length: 0\r\n\r\n")) as server, pool_to(server) as pool:
                await read(await pool.send("POST", target, headers, b""))
                return server.requests[0].raw_head.replace(f"127.0.0.1:{server.port}".encode(), b"a")
        except UpstreamFailed as failed:
            assert not failed.sent
            return None

    head = uvloop.run(written())
    if head is None:
        return
    parsed = Parsed()
    httptools.HttpRequestParser(parsed).feed_data(head)
    assert (parsed.count, parsed.url) == (1, target.encode("latin-1"))
    assert parsed.fields[0] == (b"Host", b"a")
    assert parsed.fields[-1] == (b"content-length", b"0")
    expected = [(name.encode(), value.encode("latin-1").strip(b" ")) for name, value in headers.items()]
    assert [(name, value.strip(b" ")) for name, value in parsed.fields[1:-1]] == expected


async def test_a_large_body_goes_out_whole_and_the_others_get_their_turn() -> None:
    async with Server(script(OK + b"Content-Length: 2\r\n\r\nhi")) as server, pool_to(server) as pool:
        body = bytes(range(256)) * (WHOLE_BYTES_MAX // 256 * 8 + 1)
        turns = 0
        sending = asyncio.ensure_future(post(pool, body))
        while not sending.done():
            await asyncio.sleep(0)
            turns += 1
        assert await read(await sending) == b"hi"
        assert server.requests[0].body == body
        assert turns > 20
        assert await read(await post(pool)) == b"hi"
        assert server.accepted == 1


async def test_a_server_that_takes_nothing_holds_up_the_body_and_cancelling_frees_it() -> None:
    taken = asyncio.Event()

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await taken.wait()

    async with Server(handler) as server, pool_to(server) as pool:
        sending = asyncio.ensure_future(post(pool, bytes(32 * 2**20)))
        await settled(lambda: transport_in(pool) is not None)
        transport = transport_in(pool)
        assert transport is not None
        await asyncio.sleep(0.2)
        assert 0 < transport.get_write_buffer_size() < 2**20
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await settled(lambda: pool.connections == 0)
        taken.set()


@pytest.mark.parametrize("close", [False, True])
async def test_a_refusal_before_the_whole_body_is_heard(close: bool) -> None:
    """413 while the body is still going out: it is the answer, and the connection is not used again."""

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        if close:
            await asyncio.sleep(0.02)
            return
        await asyncio.sleep(5)

    async with Server(handler) as server, pool_to(server) as pool:
        for turn in range(2):
            answer = await post(pool, bytes(32 * 2**20))
            assert (answer.status, await read(answer)) == (413, b"no")
            assert server.accepted == turn + 1
        await settled(lambda: pool.connections == 0)


# ---- the pool


async def test_the_youngest_idle_connection_is_used_first_and_the_others_expire() -> None:
    ours_only("aiohttp takes them in turn, so that all of them stay warm")
    async with Server(script(OK + b"Content-Length: 2\r\n\r\nhi")) as server, pool_to(server, keep_alive_s=0.4) as pool:
        answers = await asyncio.gather(*(post(pool) for _ in range(10)))
        for answer in answers:
            assert await read(answer) == b"hi"
        assert server.accepted == pool.connections == 10
        last = next(reversed(pool._idle))
        for _ in range(8):
            await asyncio.sleep(0.1)
            assert await read(await post(pool)) == b"hi"
            assert next(reversed(pool._idle)) is last
        assert pool.connections == 1
        assert server.accepted == 10
        await settled(lambda: pool.connections == 0)
        assert pool._sweeping is None or pool._idle == {}


async def test_what_was_said_to_a_provider_is_forgotten_soon() -> None:
    """A head is remembered for the next one like it, with the credential in it: until a sweep, and no longer."""
    ours_only("aiohttp remembers none")
    secret = {"authorization": "Bearer sk-of-the-operator"}
    async with Server(script(OK + b"Content-Length: 2\r\n\r\nhi")) as server, pool_to(server, keep_alive_s=0.1) as pool:
        for _ in range(2):
            assert await read(await pool.send("POST", "/", secret, b"{}")) == b"hi"
        assert len(pool._heads) == 1
        await settled(lambda: not pool._heads)
        for number in range(200):
            assert await read(await pool.send("POST", f"/{number}", secret, b"{}")) == b"hi"
            assert len(pool._heads) <= HEADS_REMEMBERED_MAX
    assert not pool._heads


async def test_an_idle_connection_that_was_closed_is_not_used() -> None:
    async with Server(script(OK + b"Content-Length: 2\r\n\r\nhi")) as server, pool_to(server) as pool:
        for turn in range(4):
            assert await read(await post(pool)) == b"hi"
            assert server.accepted == turn + 1
            if turn % 2:
                reset(server.writers[-1])
            else:
                server.writers[-1].close()
            await settled(lambda: pool.connections == 0)


async def test_a_connection_that_dies_after_our_write_is_not_tried_again() -> None:
    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await read_request(reader) is not None
        writer.write(OK + b"Content-Length: 2\r\n\r\nhi")
        request = await read_request(reader)
        if request is not None:
            server.requests.append(request)

    async with Server(handler) as server, pool_to(server) as pool:
        assert await read(await post(pool)) == b"hi"
        with pytest.raises(UpstreamFailed) as failed:
            await post(pool)
        assert failed.value.sent
        assert (server.accepted, len(server.requests)) == (1, 1)


@pytest.mark.parametrize(("hint", "kept"), [("timeout=1", 0), ("timeout=0", 0), ("max=5, TimeOut = 60", 1), ("x", 1)])
async def test_what_the_provider_says_of_its_patience_is_believed(hint: str, kept: int) -> None:
    head = OK + f"Keep-Alive: {hint}\r\nContent-Length: 2\r\n\r\nhi".encode()
    async with Server(script(head)) as server, pool_to(server) as pool:
        for _ in range(3):
            assert await read(await post(pool)) == b"hi"
        assert server.accepted == (1 if kept else 3)


async def test_idle_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    ours_only("aiohttp bounds them by their time only")
    assert IDLE_CONNECTIONS_MAX >= 100
    monkeypatch.setattr("gateway.upstream.pool.IDLE_CONNECTIONS_MAX", 5)
    async with Server(script(OK + b"Content-Length: 2\r\n\r\nhi")) as server, pool_to(server) as pool:
        for answer in await asyncio.gather(*(post(pool) for _ in range(20))):
            await read(answer)
        await settled(lambda: pool.connections == 5)
        assert server.accepted == 20


async def test_an_answer_let_go_early_takes_its_connection_along() -> None:
    stream = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"
    async with Server(script(stream)) as server, pool_to(server) as pool:
        answer = await post(pool)
        assert await anext(answer.chunks()) == b"hi"
        answer.close()
        answer.close()
        with pytest.raises(UpstreamFailed):
            await read(answer)
        await settled(lambda: pool.connections == 0 and server.open == 0)


async def test_a_whole_answer_that_nobody_read_leaves_a_clean_connection() -> None:
    async with Server(script(OK + b"Content-Length: 9\r\n\r\nleftovers")) as server, pool_to(server) as pool:
        for _ in range(3):
            answer = await post(pool)
            await asyncio.sleep(0.02)
            answer.close()
        assert await read(await post(pool)) == b"leftovers"
        assert server.accepted == 1


async def test_the_rest_of_an_answer_is_had_at_once_only_if_all_of_it_is_here() -> None:
    """Nothing is missing from it, nothing comes after it, and its connection serves the next request."""
    async with Server(script(OK + b"Content-Length: 9\r\n\r\nleftovers")) as server, pool_to(server) as pool:
        answer = await post(pool)
        await asyncio.sleep(0.02)
        assert answer.rest(8) is None  # longer than is asked for, and still there
        assert answer.rest(9) == b"leftovers"
        assert answer.rest(9) is None
        assert await read(answer) == b""
        assert await read(await post(pool)) == b"leftovers"
        assert server.accepted == 1


async def test_the_rest_of_an_answer_that_goes_on_or_broke_is_not_had_at_once() -> None:
    for end in ("keep", "close"):
        begun = OK + b"Content-Length: 9\r\n\r\nleft"
        async with Server(script(begun, end=end)) as server, pool_to(server) as pool:
            answer = await post(pool)
            await asyncio.sleep(0.02)
            assert answer.rest(100) is None
            assert await anext(answer.chunks()) == b"left"
            answer.close()
            assert answer.rest(100) is None


# ---- back-pressure, patience, cancellation


async def test_what_is_not_taken_is_bounded_and_nothing_is_lost() -> None:
    size = 64 * 2**20
    written = 0

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        while await read_request(reader) is not None:
            writer.write(OK + b"Content-Length: %d\r\n\r\n" % size)
            for start in range(0, size, 2**16):
                writer.write(bytes([start >> 16 & 255]) * 2**16)
                await writer.drain()
                written = start

    async with Server(handler) as server, pool_to(server) as pool:
        answer = await post(pool)
        connection = answer._arriving
        before = psutil.Process().memory_info().rss
        await asyncio.sleep(0.3)
        most_waiting = ANSWER_WAITING_BYTES + 2**18  # and one read
        if chosen == "aiohttp":
            most_waiting += 2 * ANSWER_WAITING_BYTES  # and its own buffer
        assert connection.waiting_bytes <= most_waiting
        assert written < size // 2
        assert psutil.Process().memory_info().rss - before < 16 * 2**20
        total, most = 0, 0
        async for chunk in answer.chunks():
            assert chunk[0] == total >> 16 & 255
            total += len(chunk)
            most = max(most, len(chunk))
            if total < 2**20:
                await asyncio.sleep(0)
        assert total == size
        assert most <= most_waiting
        assert await anext((await post(pool)).chunks())  # and the connection reads on
        assert server.accepted == 1


async def test_a_whole_answer_that_was_held_back_leaves_a_reading_connection() -> None:
    body = b"x" * (ANSWER_WAITING_BYTES * 2)
    async with Server(script(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)) as server, pool_to(server) as pool:
        for how in (0, 1, 2):
            answer = await post(pool)
            await asyncio.sleep(0.05)
            if how:
                assert await read(answer) == body
            else:
                answer.close()
        assert server.accepted <= 2
        for writer in server.writers:
            writer.close()
        await settled(lambda: pool.connections == 0)


async def test_endless_trailers_and_chunk_extensions_end() -> None:
    pieces = [b"0\r\n" + b"a: b\r\n" * 10_000, b"0\r\n" + b"a" * 10**6]
    if chosen == "lean":  # aiohttp passes over an extension without keeping it, until the deadline for silence
        pieces.append(b"5;" + b"a" * 10**6)
    for piece in pieces:
        async with (
            Server(script(OK + b"Transfer-Encoding: chunked\r\n\r\n" + piece)) as server,
            pool_to(server) as pool,
        ):
            with pytest.raises(UpstreamFailed):
                await read(await post(pool))


async def test_a_slow_drip_is_read_as_it_comes() -> None:
    stream = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5 + b"0\r\n\r\n"
    async with Server(script(stream, pieces=6, drip_s=0.01)) as server, pool_to(server) as pool:
        chunks = [chunk async for chunk in (await post(pool)).chunks()]
        assert chunks == [b"x"] * 5


STAGES = {
    "head": b"",
    "half a head": OK + b"Content-",
    "body": OK + b"Content-Length: 9\r\n\r\n",
    "half a body": OK + b"Content-Length: 9\r\n\r\nhi",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
}


@pytest.mark.parametrize("stage", STAGES)
async def test_cancelled_anywhere_it_leaves_no_connection(stage: str) -> None:
    async def whole(pool: Any) -> bytes:
        return await read(await post(pool))

    async with Server(script(STAGES[stage])) as server, pool_to(server) as pool:
        reading = asyncio.ensure_future(whole(pool))
        await settled(lambda: len(server.requests) == 1)
        await asyncio.sleep(0.02)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await settled(lambda: pool.connections == 0 and server.open == 0)


async def test_cancelled_after_any_number_of_turns_it_leaks_nothing() -> None:
    async def whole(pool: Any) -> bytes:
        return await read(await post(pool))

    async with Server(script(OK + b"Content-Length: 5\r\n\r\nhello", pieces=3)) as server, pool_to(server) as pool:
        for turns in range(60):
            reading = asyncio.ensure_future(whole(pool))
            for _ in range(turns % 30):
                await asyncio.sleep(0)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        assert await whole(pool) == b"hello"
        await settled(lambda: pool.connections == 1 and server.open == 1)


async def test_closing_cuts_what_is_open_and_takes_no_more(client: UpstreamClient) -> None:
    async with Server(script(OK + b"Content-Length: 9\r\n\r\nhi")) as server:
        upstream = real(client)
        forward = Forward(
            provider="openai", method="POST", origin=server.origin, target="/", headers={}, body=b"", call_id="x"
        )
        answer = await upstream.send(forward)
        reading = asyncio.ensure_future(anext(answer.chunks()))
        assert await reading == b"hi"
        await upstream.close()
        with pytest.raises(UpstreamFailed):
            await anext(answer.chunks())
        answer.close()
        with pytest.raises(UpstreamFailed) as failed:
            await upstream.send(forward)
        assert not failed.value.sent
        await upstream.close()
        assert server.accepted == 1


# ---- reaching the provider


async def fails_unsent(pool: Any, seconds: float = 2.0) -> None:
    started = time.monotonic()
    with pytest.raises(UpstreamFailed) as failed:
        await post(pool)
    assert not failed.value.sent
    assert time.monotonic() - started < seconds
    await pool.close()
    assert pool.connections == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def blackhole() -> Iterator[int]:
    """A port that answers no SYN: its backlog is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            each = stack.enter_context(socket.socket())
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_what_cannot_be_reached_was_not_sent(client: UpstreamClient) -> None:
    await fails_unsent(pool_at(f"http://127.0.0.1:{free_port()}"))
    await fails_unsent(pool_at("http://no-such-host.invalid"), 10)
    with blackhole() as port:
        await fails_unsent(pool_at(f"http://127.0.0.1:{port}", connect_timeout_s=0.3), 1)
    upstream = real(client)
    for origin in ("http://:80", "http://a:99999", "ftp://a", "http://" + "a" * 64):
        with pytest.raises(UpstreamFailed) as failed:
            await upstream.send(
                Forward(provider="openai", method="GET", origin=origin, target="/", headers={}, body=b"", call_id="x")
            )
        assert not failed.value.sent


def resolving_to(pool: Any, addresses: Callable[[], list[Any]]) -> list[str]:
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        await asyncio.sleep(0.01)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses()]

    if isinstance(pool, AiohttpPool):

        class Resolver:
            async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
                found = await getaddrinfo(host, port)
                return [
                    {"hostname": host, "host": at[0], "port": at[1], "family": each[0], "proto": 6, "flags": 0}
                    for each in found
                    for at in (each[4],)
                ]

            async def close(self) -> None:
                pass

        pool.upstream._session = pool.upstream._opened()
        pool.connector._resolver = Resolver()
        return asked

    class Loop:
        def __getattr__(self, name: str) -> Any:
            return getaddrinfo if name == "getaddrinfo" else getattr(asyncio.get_running_loop(), name)

    pool.loop = Loop()  # type: ignore[assignment]
    return asked


async def test_all_addresses_are_tried_and_a_dead_one_costs_little() -> None:
    async with Server(script(OK + b"Content-Length: 2\r\n\r\nhi")) as server:
        with blackhole() as port:
            pool = pool_at("http://provider.example")
            resolving_to(
                pool,
                lambda: [("127.0.0.1", free_port()), ("127.0.0.1", port), ("127.0.0.1", server.port)],
            )
            started = time.monotonic()
            assert await read(await post(pool)) == b"hi"
            assert time.monotonic() - started < 1.5
            assert dict(server.requests[0].fields)[b"host"] == b"provider.example"
            await pool.close()


async def test_a_name_is_resolved_once_for_many_and_anew_after_a_failure() -> None:
    async with Server(script(OK + b"Content-Length: 2\r\n\r\nhi")) as server:
        pool = pool_at("http://provider.example")
        port = server.port
        asked = resolving_to(pool, lambda: [("127.0.0.1", port)])
        answers = await asyncio.gather(*(post(pool) for _ in range(50)))
        assert len(asked) == 1
        for answer in answers:
            answer.close()
        await pool.close()

        pool = pool_at("http://provider.example")
        port = free_port()
        asked = resolving_to(pool, lambda: [("127.0.0.1", port)])
        with pytest.raises(UpstreamFailed):
            await post(pool)
        port = server.port
        assert await read(await post(pool)) == b"hi"
        assert len(asked) == 2
        await pool.close()


async def test_cancelled_while_connecting_it_leaves_no_socket() -> None:
    fds = psutil.Process().num_fds()
    with blackhole() as port:
        pool = pool_at(f"http://127.0.0.1:{port}")
        for _ in range(5):
            sending = asyncio.ensure_future(post(pool))
            await asyncio.sleep(0.02)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        await pool.close()
    await settled(lambda: psutil.Process().num_fds() <= fds + 2)


# ---- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def trusting_in(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    authority.configure_trust(context)
    return context


async def test_tls_speaks_http_1_and_is_kept(authority: trustme.CA) -> None:
    answer_bytes = OK + b"Content-Length: 5\r\n\r\nhello"
    async with (
        Server(script(answer_bytes), serving(authority, "127.0.0.1")) as server,
        pool_to(server, tls=trusting_in(authority)) as pool,
    ):
        for _ in range(5):
            assert await read(await post(pool)) == b"hello"
        assert server.accepted == 1
        assert server.writers[0].get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        body = bytes(8 * 2**20)
        assert await read(await post(pool, body)) == b"hello"
        assert server.requests[-1].body == body
        await asyncio.sleep(0.05)
        assert pool.connections == server.accepted == 1


@pytest.mark.parametrize("pieces", [0, 1])
@pytest.mark.parametrize("name", ["length", "chunked", "trailers", "until the end", "short", "bad size", "interim"])
async def test_framings_over_tls(name: str, pieces: int, authority: trustme.CA) -> None:
    answer_bytes, status, body, kept, end = FRAMINGS[name]
    async with (
        Server(script(answer_bytes, pieces=pieces, end=end), serving(authority, "127.0.0.1")) as server,
        pool_to(server, tls=trusting_in(authority)) as pool,
    ):
        for turn in range(2):
            if body is None:
                with pytest.raises(UpstreamFailed):
                    answer = await post(pool)
                    assert answer.status == status
                    await read(answer)
                continue
            answer = await post(pool)
            assert answer.status == status
            if body is not None:
                assert await read(answer) == body
            answer.close()
            assert server.accepted == (1 if kept else turn + 1)


@pytest.mark.parametrize("how", ["wrong host", "unknown authority", "plain", "no handshake", "closed", "system trust"])
async def test_without_trust_nothing_is_sent(how: str, authority: trustme.CA) -> None:
    async def silent(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if how == "no handshake":
            await asyncio.sleep(5)

    tls = {
        "wrong host": serving(authority, "elsewhere.example"),
        "unknown authority": serving(trustme.CA(), "127.0.0.1"),
        "system trust": serving(authority, "127.0.0.1"),
    }.get(how)
    handler = silent if how in ("no handshake", "closed") else script(OK + b"Content-Length: 0\r\n\r\n")
    with quiet_loop():
        async with Server(handler, tls) as server:
            origin = f"https://127.0.0.1:{server.port}"
            trust = None if how == "system trust" else trusting_in(authority)
            await fails_unsent(pool_at(origin, tls=trust, connect_timeout_s=0.5))
            assert server.requests == []


@contextlib.contextmanager
def quiet_loop() -> Iterator[None]:
    """Failed handshakes are told by the server's loop to nobody in particular."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    yield
    loop.set_exception_handler(None)


async def test_a_body_over_tls_that_ends_without_a_farewell_fails(authority: trustme.CA) -> None:
    """Anybody on the way could have cut it."""

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + b"\r\nhello")
        await asyncio.sleep(0.02)
        raw = socket.socket(fileno=socket.dup(writer.get_extra_info("socket").fileno()))
        raw.shutdown(socket.SHUT_WR)
        raw.close()
        await asyncio.sleep(0.2)

    with quiet_loop():
        async with (
            Server(handler, serving(authority, "127.0.0.1")) as server,
            pool_to(server, tls=trusting_in(authority)) as pool,
        ):
            answer = await post(pool)
            with pytest.raises(UpstreamFailed):
                await read(answer)


async def test_cancelled_in_a_handshake_it_leaves_no_socket(authority: trustme.CA) -> None:
    async with (
        Server(script(OK + b"Content-Length: 2\r\n\r\nhi"), serving(authority, "127.0.0.1")) as server,
        pool_to(server, tls=trusting_in(authority)) as pool,
    ):
        with quiet_loop():
            for turns in range(40):
                sending = asyncio.ensure_future(post(pool))
                for _ in range(turns):
                    await asyncio.sleep(0)
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    (await sending).close()
            await asyncio.sleep(0.1)
        assert await read(await post(pool)) == b"hi"
        await settled(lambda: pool.connections <= 1 and server.open <= 1)


# ---- many


async def test_a_thousand_at_once_and_not_one_socket_is_left() -> None:
    gc.collect()
    before = psutil.Process().num_fds()
    stream = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n" * 20 + b"0\r\n\r\n"
    async with Server(script(stream, pieces=50)) as server, pool_to(server) as pool:

        async def call(number: int) -> None:
            answer = await post(pool)
            try:
                if number % 3 == 0:
                    await anext(answer.chunks())
                else:
                    assert await read(answer) == b"hello" * 20
            finally:
                answer.close()

        for _ in range(3):
            await asyncio.gather(*(call(number) for number in range(1000)))
        assert 1000 <= server.accepted <= 2100
        await settled(lambda: server.open == pool.connections == idle_in(pool), 5)
    await settled(lambda: psutil.Process().num_fds() <= before + 3)


async def test_no_connection_is_kept_alive_by_a_cycle() -> None:
    ours_only("it looks for our parser")
    async with (
        Server(script(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", end="close")) as server,
        pool_to(server) as pool,
    ):
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                assert await read(await post(pool)) == b"hi"
            await settled(lambda: pool.connections == 0)
            await asyncio.sleep(0.05)
            kept = sum(type(each).__name__ == "HttpResponseParser" for each in gc.get_objects())
            assert kept <= 2
        finally:
            gc.enable()


def test_fields_are_found_in_any_case() -> None:
    fields = Fields([("content-type", "a/b")])
    assert fields["Content-Type"] == fields.get("CONTENT-TYPE") == fields.get("content-type", "") == "a/b"
    assert "Content-Type" in fields
    assert "x" not in fields
    assert 1 not in fields
    assert fields.get("x") is None
    assert fields.get("x", "y") == "y"


async def test_repeated_fields_are_joined() -> None:
    head = OK + b"Set-Cookie: a=1\r\nVary: a\r\nset-cookie: b=2 \r\nX-Latin: \xe9\r\nContent-Length: 0\r\n\r\n"
    async with Server(script(head)) as server, pool_to(server) as pool:
        headers = (await post(pool)).headers
        assert dict(headers) == {"set-cookie": "a=1, b=2", "vary": "a", "x-latin": "é", "content-length": "0"}


async def test_head_has_no_body() -> None:
    async with Server(script(OK + b"Content-Length: 5\r\n\r\n")) as server, pool_to(server) as pool:
        answer = await post(pool, b"", method="HEAD")
        assert (answer.status, answer.headers["content-length"], await read(answer)) == (200, "5", b"")


# ---- a body that comes while it goes


class Coming:
    """A body in pieces; `taken` of them have been asked for."""

    def __init__(self, *pieces: bytes, length: int | None = None, then: BaseException | asyncio.Event | None = None):
        self.length = length
        self.taken = 0
        self._pieces, self._then = pieces, then

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.taken += 1
            yield piece
            await asyncio.sleep(0)
        if isinstance(self._then, asyncio.Event):
            await self._then.wait()
        elif self._then is not None:
            raise self._then


class Stopped(Exception):
    """The body's own end."""


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_that_comes_while_it_goes_arrives_whole(chunked: bool) -> None:
    """With the length that it has, or in chunks; and the connection carries the next request."""
    pieces = [b"a", b"", b"b" * 100_000, b"c" * 700_000, b"d"]
    whole = b"".join(pieces)
    got: list[bytes] = []

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            assert (b"transfer-encoding: chunked" in head.lower()) is chunked
            body = b""
            if chunked:
                while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                assert await reader.readexactly(2) == b"\r\n"
            else:
                body = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            got.append(body)
            writer.write(OK + b"Content-Length: 2\r\n\r\nhi")

    async with Server(handler) as server, pool_to(server) as pool:
        for _ in range(2):
            answer = await pool.send("POST", "/", {}, Coming(*pieces, length=None if chunked else len(whole)))
            assert await read(answer) == b"hi"
        assert got == [whole, whole]
        # aiohttp closes one whose answer is here before it has seen the body's end.
        assert server.accepted == 1 or chosen == "aiohttp"


async def test_a_body_waits_for_a_server_that_takes_nothing() -> None:
    """Not more is asked of it than fits into the buffers; cancelled, it leaves neither a task nor a connection."""
    body = Coming(*[bytes(256 * 1024)] * 400, length=400 * 256 * 1024)

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with Server(handler) as server, pool_to(server) as pool:
        sending = asyncio.create_task(pool.send("POST", "/", {}, body))
        await settled(lambda: body.taken > 1)
        before = -1
        while before != body.taken:
            before = body.taken
            await asyncio.sleep(0.1)
        assert body.taken < 100
        tasks = len(asyncio.all_tasks())
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        await settled(lambda: not pool.connections)
        assert len(asyncio.all_tasks()) == tasks - 2  # the sending and the feeding


@pytest.mark.parametrize("end", ["refusal", "close", "reset"])
async def test_a_server_that_ends_it_is_heard_while_nothing_comes(end: str) -> None:
    """The client may be slow: the provider's word does not wait for its next piece."""
    never = asyncio.Event()

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(3)
        if end == "refusal":
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            await writer.drain()
            await asyncio.sleep(30)
        elif end == "reset":
            reset(writer)

    async with Server(handler) as server, pool_to(server) as pool:
        asked = pool.send("POST", "/", {}, Coming(b"one", length=100, then=never))
        if end == "refusal":
            answer = await asked
            assert (answer.status, await read(answer)) == (413, b"no")
        else:
            with pytest.raises(UpstreamFailed) as caught:
                await asked
            assert caught.value.sent
        await settled(lambda: not pool.connections)


async def test_what_a_body_raises_ends_the_request_and_is_raised_on() -> None:
    """The server is left with half a request, and the connection is gone."""
    rest: list[bytes] = []

    async def handler(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            rest.append(await reader.read())
        except ConnectionError:
            rest.append(b"")

    async with Server(handler) as server, pool_to(server) as pool:
        for length in (None, 100):
            with pytest.raises(Stopped):
                await pool.send("POST", "/", {}, Coming(b"one", length=length, then=Stopped()))
            await settled(lambda: not pool.connections)
        await settled(lambda: len(rest) == 2)
        assert not any(each.endswith(b"0\r\n\r\n") for each in rest)
