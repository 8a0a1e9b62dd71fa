"""HTTP/1.1 to one provider, on sockets: connections, what is read from them, and the pool that keeps them.

Promises: a failure says `sent=False` only if no byte of the request can have left. Nothing is sent twice. An answer is
whole by its own framing or it fails; a connection carries the next request only if nothing of the last one is left on
it. What has not been taken yet is bounded, and so is everything a provider can send beside a body. No redirect, cookie,
proxy or decompression; certificates and host names are verified.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import select
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, TypeVar, cast, overload
from urllib.parse import urlsplit

import aiohappyeyeballs
import httptools

from gateway.bounds import (
    ANSWER_FIELDS_MAX,
    ANSWER_HEAD_BYTES_MAX,
    ANSWER_WAITING_BYTES,
    CONNECT_TIMEOUT_S,
    DNS_TTL_S,
    IDLE_CONNECTIONS_MAX,
    NEXT_ADDRESS_S,
    REQUEST_PIECE_BYTES,
    UPSTREAM_KEEP_ALIVE_S,
    WHOLE_BYTES_MAX,
)

T = TypeVar("T")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"/[!-~\x80-\xff]*")
_KEEP_ALIVE_HINT = re.compile(r"timeout\s*=\s*(\d{1,9})", re.IGNORECASE)
_OURS = frozenset(("connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"))
_VERSIONS = ("1.1", "1.0")
_BODILESS = (204, 304)
LOOKED_AT_S = 0.01  # no provider closes a connection so soon after its answer; only a longer rest is looked into
_HINT_MARGIN_S = 1.0  # by how much a connection is given up before the provider said it would close it


class UpstreamFailed(Exception):
    """The provider did not answer, or stopped answering. `sent`: the request may have reached it."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Fields(dict[str, str]):
    """Header fields by lower-case name, looked up in any case; repeated ones are joined with commas."""

    __slots__ = ()

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    @overload
    def get(self, name: str, default: None = None, /) -> str | None: ...
    @overload
    def get(self, name: str, default: str, /) -> str: ...
    @overload
    def get(self, name: str, default: T, /) -> str | T: ...
    def get(self, name: str, default: Any = None, /) -> Any:
        """The field's value."""
        return super().get(name.lower(), default)


class _Malformed(Exception):
    """The answer breaks the rules of HTTP/1.1, or a bound."""


class _Readable(Protocol):
    def fileno(self) -> int: ...


class Body(Protocol):
    """A request's body that is not here yet."""

    @property
    def length(self) -> int | None:
        """How many bytes it has; None where that is not known."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, as they come. What this raises ends the request, and is raised on."""
        ...


class Connection(asyncio.Protocol):
    """One connection and the one exchange that may be under way on it."""

    __slots__ = (
        "_beside",
        "_bodiless",
        "_busy",
        "_dead",
        "_fields",
        "_fields_bytes",
        "_fields_count",
        "_held_back",
        "_interim",
        "_lost",
        "_parser",
        "_pool",
        "_room",
        "_socket",
        "_transport",
        "_unsent",
        "_until_eof",
        "_waiter",
        "_writable",
        "ended",
        "expires",
        "failure",
        "head",
        "headers",
        "keep",
        "pieces",
        "rests_since",
        "status",
        "waiting_bytes",
    )

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._socket: _Readable | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._dead = self._lost = self._held_back = self._interim = False
        self._writable = True
        self.expires = 0.0
        self.rests_since = 0.0
        self._begin(bodiless=False)
        self._busy = False

    # ---- the exchange

    def _begin(self, *, bodiless: bool) -> None:
        self._busy = True
        self._bodiless = bodiless  # whatever the answer's head says
        self._until_eof = self._unsent = False
        self._beside = 0  # bytes received since the last byte of a body
        self._fields: list[tuple[bytes, bytes]] = []
        self._fields_count = self._fields_bytes = 0
        self.head = self.ended = self.keep = False
        self.failure: str | None = None
        self.status = 0
        self.headers: Fields
        self.pieces: list[bytes] = []
        self.waiting_bytes = 0

    async def exchange(self, head: bytes, body: bytes | Body, *, bodiless: bool) -> None:
        """Send a request and wait for its answer's head. However it fails, the connection is closed."""
        self._begin(bodiless=bodiless)
        try:
            if not isinstance(body, bytes):
                await self._pass_on(head, body)
            elif len(body) <= WHOLE_BYTES_MAX:
                self._transport.write(head + body if body else head)
            else:
                await self._write(head, body)
            while not self.head:
                if self.failure is not None:
                    raise UpstreamFailed(self.failure, sent=True)
                await self.wait()
        except (asyncio.CancelledError, UpstreamFailed):
            self.abort()
            raise

    async def _write(self, head: bytes, body: bytes) -> None:
        """A large request goes out as fast as it is taken. A refusal that comes first ends that."""
        self._transport.write(head)
        view = memoryview(body)
        for start in range(0, len(view), REQUEST_PIECE_BYTES):
            while not self._writable and not self._over():
                await self.wait()
            if self._over():
                self._unsent = True
                return
            self._transport.write(view[start : start + REQUEST_PIECE_BYTES])
            await asyncio.sleep(0)  # the others' turn

    async def _pass_on(self, head: bytes, body: Body) -> None:
        """A request goes out while it comes in: as fast as both sides allow, in a task of its own.

        So an answer, or the end of the connection, is heard while nothing comes in; a refusal ends the request.
        """
        self._transport.write(head)
        passing = self._pool.loop.create_task(self._feed(body))
        passing.add_done_callback(lambda _: self.wake())
        try:
            while not passing.done():
                if self._over():
                    self._unsent = True
                    return
                await self.wait()
            if (error := passing.exception()) is not None:
                self._fail("request broken off")
                raise error
        finally:
            if not passing.done():
                passing.cancel()
                await asyncio.wait((passing,))

    async def _feed(self, body: Body) -> None:
        chunked = body.length is None
        async for chunk in body.chunks():
            view = memoryview(chunk)
            for start in range(0, len(view), REQUEST_PIECE_BYTES):
                while not self._writable and not self._over():
                    self._room = self._pool.loop.create_future()
                    await self._room
                if self._over():
                    self._unsent = True
                    return
                piece = view[start : start + REQUEST_PIECE_BYTES]
                if chunked:
                    self._transport.write(b"%x\r\n" % len(piece))
                self._transport.write(piece)
                if chunked:
                    self._transport.write(b"\r\n")
        if chunked:
            self._transport.write(b"0\r\n\r\n")

    def _over(self) -> bool:
        """Whether the rest of the request is of no use any more: the answer does not wait for it."""
        return self.failure is not None or self.ended or self._held_back or (self.head and self.status >= 300)

    async def wait(self) -> None:
        """Wait until something has happened. Cancelled, the exchange is broken off."""
        waiter = self._waiter = self._pool.loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._waiter = None

    def take(self) -> bytes:
        """What has come of the body and was not taken yet."""
        pieces = self.pieces
        self.pieces = []
        self.waiting_bytes = 0
        if self._held_back:
            self._held_back = False
            if not self._lost:
                self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> bool:
        """End the exchange; whether the connection may carry another. Otherwise it is closed."""
        if not self._busy:
            return False
        if self.pieces or self._held_back:
            self.take()
        self._busy = False
        if self.ended and self.keep and self.failure is None and not self._unsent and self._writable and self.open:
            return True
        self.abort()
        return False

    @property
    def open(self) -> bool:
        """Whether the connection is open both ways, as far as the loop knows."""
        return not self._dead and not self._transport.is_closing()

    def silent(self) -> bool:
        """Whether the socket has nothing to read: no end of the stream that the loop has not come to yet."""
        if self._socket is None or not hasattr(select, "poll"):
            return True
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return not poll.poll(0)

    def abort(self) -> None:
        """Close the connection now. May be called more than once."""
        self.keep = False
        self._dead = True
        if not self._lost:
            self._transport.abort()

    def forsake(self) -> None:
        """Give up a connection that never came to be; the loop may not tell."""
        self._dead = self._lost = True
        self._parser = None  # it refers back to this
        self._pool.lost(self)

    def _fail(self, reason: str) -> None:
        if self.failure is None:
            self.failure = reason
        self.abort()
        self.wake()

    def wake(self) -> None:
        """Let who waits look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # ---- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type
        self._socket = transport.get_extra_info("socket")
        self._pool.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.forsake()
        if self._busy and not self.ended and self.failure is None:
            self.failure = "closed early" if exc is None else type(exc).__name__
        self.resume_writing()

    def eof_received(self) -> None:
        """See `asyncio.Protocol`; the transport closes itself."""
        self._dead = True
        if self._busy and self.head and self._until_eof and self.failure is None and self._said_farewell():
            self.ended = True
            self.wake()

    def _said_farewell(self) -> bool:
        """Whether the stream was ended by the provider itself: over TLS, anybody on the way could have cut it."""
        secure: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        if secure is None:
            return True
        try:
            return not secure.read(1)
        except ssl.SSLZeroReturnError:
            return True
        except ssl.SSLError:
            return False

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable = False

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable = True
        self.wake()
        room = self._room
        if room is not None and not room.done():
            room.set_result(None)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not self._busy or self._dead or self._parser is None:
            self.abort()
            return
        before, ended = self.waiting_bytes, self.ended
        if ended:
            self._fail("more than was announced")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("malformed answer")
            return
        if self.ended:
            pass
        elif self.waiting_bytes == before:
            self._beside += len(data)
            if self._beside > ANSWER_HEAD_BYTES_MAX:
                self._fail("malformed answer")
        else:
            self._beside = 0
            if self.waiting_bytes > ANSWER_WAITING_BYTES and not self._held_back:
                self._held_back = True
                self._transport.pause_reading()
        if self.head:
            self.wake()

    # ---- what the parser says; what is raised here makes it fail

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self.ended:
            raise _Malformed

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a head or a trailer."""
        self._fields_count += 1
        self._fields_bytes += len(name) + len(value)
        if self._fields_count > ANSWER_FIELDS_MAX or self._fields_bytes > ANSWER_HEAD_BYTES_MAX:
            raise _Malformed
        if not self.head:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """A head is complete; an interim one is passed over."""
        parser = self._parser
        if parser is None:
            raise _Malformed
        status = parser.get_status_code()
        if not 100 <= status <= 599 or status == 101 or parser.get_http_version() not in _VERSIONS:
            raise _Malformed
        fields, self._fields = self._fields, []
        if status < 200:
            self._interim = True
            return
        self._interim = False
        headers = Fields([(name.lower().decode("latin-1"), value.strip().decode("latin-1")) for name, value in fields])
        if len(headers) != len(fields):
            headers = _joined(fields)
        # Of two lengths, and of a length beside a transfer coding, the parser has complained already.
        coding = dict.get(headers, "transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked" or "content-length" in headers:
                raise _Malformed
        elif status not in _BODILESS and not dict.__contains__(headers, "content-length"):
            self._until_eof = True
        self.status = status
        self.headers = headers
        self.head = True
        if self._bodiless:
            self.ended = True  # not kept: the parser would wait for the body

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._interim or self._bodiless:
            raise _Malformed
        self.pieces.append(body)
        self.waiting_bytes += len(body)

    def on_message_complete(self) -> None:
        """An answer is complete."""
        if self._interim:
            self._interim = False
        elif self._parser is not None and not self._bodiless:
            self.ended = True
            self.keep = self._parser.should_keep_alive()


def _joined(fields: list[tuple[bytes, bytes]]) -> Fields:
    headers = Fields()
    for name_bytes, value_bytes in fields:
        name, value = name_bytes.lower().decode("latin-1"), value_bytes.strip().decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class WireAnswer:
    """An answer whose head has arrived; its own iterator of chunks."""

    __slots__ = ("_connection", "_nudged", "_pool", "_whole", "headers", "status")

    def __init__(self, pool: Pool, connection: Connection) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._whole = self._nudged = False
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers

    def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they arrive. Raises UpstreamFailed if they stop before the end."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection is None:
            if self._whole:
                raise StopAsyncIteration
            raise UpstreamFailed("let go", sent=True)
        while not connection.pieces:
            if connection.failure is not None:
                raise UpstreamFailed(connection.failure, sent=True)
            if connection.ended:
                self._whole = True
                self.close()
                raise StopAsyncIteration
            await connection.wait()
            if self._nudged:
                self._nudged = False
                return connection.take() if connection.pieces else b""
        return connection.take()

    def nudge(self) -> None:
        """Let who waits for the next chunk have an empty one, to look around."""
        if self._connection is not None:
            self._nudged = True
            self._connection.wake()

    def close(self) -> None:
        """Let go of the answer; an unfinished one is cut off. May be called more than once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(connection)


class Pool:
    """The connections to one origin: the youngest idle one is taken first, the others expire.

    Raises ValueError if the origin is none.
    """

    def __init__(
        self,
        origin: str,
        *,
        tls: ssl.SSLContext | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        keep_alive_s: float = UPSTREAM_KEEP_ALIVE_S,
    ) -> None:
        """With `tls`, that context instead of the system's trust."""
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an origin")
        secure = parts.scheme == "https"
        self.loop = asyncio.get_running_loop()
        self._tls = (tls or trusting()) if secure else None
        self._host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode("ascii")
        self._port = parts.port or (443 if secure else 80)
        name = f"[{self._host}]" if ":" in self._host else self._host
        if parts.port not in (None, 443 if secure else 80):
            name = f"{name}:{parts.port}"
        self._start = f" HTTP/1.1\r\nHost: {name}\r\n"
        self._connect_timeout_s, self._keep_alive_s = connect_timeout_s, keep_alive_s
        self._idle: dict[Connection, None] = {}  # the oldest first
        self._open: set[Connection] = set()
        self._addresses: list[aiohappyeyeballs.AddrInfoType] = []
        self._addresses_until = 0.0
        self._resolving = asyncio.Lock()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | Body) -> WireAnswer:
        """Send a request and wait for the answer's head. Raises UpstreamFailed, and whatever the body raises."""
        if self._closed:
            raise UpstreamFailed("closed", sent=False)
        head = self._head(method, target, headers, body)
        connection = self._pick()
        if connection is None:
            connection = await self._connect()
        await connection.exchange(head, body, bodiless=method == "HEAD")
        return WireAnswer(self, connection)

    def _head(self, method: str, target: str, headers: Mapping[str, str], body: bytes | Body) -> bytes:
        lines = [method, " ", target, self._start]
        for name, value in headers.items():
            lines += (_field(name), value, "\r\n")
        breaks = 3 + len(headers)
        if not isinstance(body, bytes):
            framing = "transfer-encoding: chunked" if body.length is None else f"content-length: {body.length}"
            lines.append(f"{framing}\r\n\r\n")
            breaks += 1
        elif body or method not in ("GET", "HEAD", "DELETE", "OPTIONS"):
            lines.append(f"content-length: {len(body)}\r\n\r\n")
            breaks += 1
        else:
            lines.append("\r\n")
        text = "".join(lines)
        if (
            text.count("\n") != breaks
            or text.count("\r") != breaks
            or "\0" in text
            or not _TARGET.fullmatch(target)
            or not _TOKEN.fullmatch(method)
        ):
            raise UpstreamFailed("not a request that can be sent", sent=False)
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError as error:
            raise UpstreamFailed("not a request that can be sent", sent=False) from error

    def _pick(self) -> Connection | None:
        now = self.loop.time()
        while self._idle:
            connection, _ = self._idle.popitem()
            rested = now - connection.rests_since >= LOOKED_AT_S
            if connection.expires > now and connection.open and (not rested or connection.silent()):
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        connection = Connection(self)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                found = await aiohappyeyeballs.start_connection(
                    await self._resolve(), happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1, loop=self.loop
                )
                with contextlib.suppress(OSError):
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                await self.loop.create_connection(  # from here on the loop closes the socket, whatever happens
                    lambda: connection,
                    sock=found,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls is not None else None,
                )
        except (OSError, RuntimeError) as error:  # uvloop tells of some dead sockets by a RuntimeError
            self._addresses_until = 0.0
            connection.forsake()
            raise UpstreamFailed(type(error).__name__, sent=False) from error
        except asyncio.CancelledError:
            connection.forsake()
            raise
        if self._closed or not connection.open:
            connection.abort()
            raise UpstreamFailed("closed at once", sent=False)
        return connection

    async def _resolve(self) -> list[aiohappyeyeballs.AddrInfoType]:
        if self.loop.time() >= self._addresses_until:
            async with self._resolving:
                if self.loop.time() >= self._addresses_until:
                    found = await self.loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                    if not found:
                        raise OSError("no address")
                    self._addresses = cast("list[aiohappyeyeballs.AddrInfoType]", found)
                    self._addresses_until = self.loop.time() + DNS_TTL_S
        return self._addresses

    def give_back(self, connection: Connection) -> None:
        """The exchange on a connection is over."""
        hint = dict.get(connection.headers, "keep-alive")
        if not connection.finish():
            return
        if self._closed or len(self._idle) >= IDLE_CONNECTIONS_MAX:
            connection.abort()
            return
        keep_s = self._keep_alive_s
        if hint is not None and (found := _KEEP_ALIVE_HINT.search(hint)) is not None:
            keep_s = min(keep_s, float(found[1]) - _HINT_MARGIN_S)
        connection.rests_since = self.loop.time()
        connection.expires = connection.rests_since + keep_s
        self._idle[connection] = None
        if self._sweeping is None:
            self._sweeping = self.loop.call_later(self._keep_alive_s, self._sweep)

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in [each for each in self._idle if each.expires <= now]:
            connection.abort()
            self._idle.pop(connection, None)
        self._sweeping = self.loop.call_later(self._keep_alive_s, self._sweep) if self._idle else None

    def opened(self, connection: Connection) -> None:
        """A connection has come to be."""
        self._open.add(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        self._idle.pop(connection, None)

    async def close(self) -> None:
        """Cut off what is unfinished, close everything, take no more requests."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()
        for _ in range(10):  # a transport says goodbye in one of the loop's next turns
            if not self._open:
                return
            await asyncio.sleep(0)


@functools.lru_cache(maxsize=1024)
def _field(name: str) -> str:
    """The start of a field's line. Raises UpstreamFailed if the name is none, or not the caller's to set."""
    if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
        raise UpstreamFailed("not a request that can be sent", sent=False)
    return f"{name}: "


@functools.cache
def trusting() -> ssl.SSLContext:
    """The system's trust: certificates and host names are verified."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
