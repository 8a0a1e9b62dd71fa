"""HTTP/1.1 to a provider, on one socket: an exchange at a time, and what is read of its answer.

Promises: a failure says `sent=False` only if no byte of the request can have left. Nothing is sent twice. An answer is
whole by its own framing or it fails; a connection carries the next request only if nothing of the last one is left on
it. What has not been taken yet is bounded, and so is everything a provider can send beside a body.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

from gateway.bounds import (
    ANSWER_FIELDS_MAX,
    ANSWER_HEAD_BYTES_MAX,
    ANSWER_WAITING_BYTES,
    REQUEST_PIECE_BYTES,
    WHOLE_BYTES_MAX,
)
from gateway.http1.fields import Fields
from gateway.http1.heads import Ends, Malformed, ends
from gateway.upstream.base import Body, UpstreamFailed
from gateway.upstream.origins import Readable, said_farewell


class Owner(Protocol):
    """Who keeps connections, as far as one of them needs it."""

    loop: asyncio.AbstractEventLoop

    def opened(self, connection: Connection) -> None:
        """A connection has come to be."""
        ...

    def lost(self, connection: Connection) -> None:
        """A connection is gone."""
        ...

    def give_back(self, connection: Connection) -> None:
        """The exchange on a connection is over."""
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
        "socket",
        "status",
        "waiting_bytes",
    )

    def __init__(self, pool: Owner) -> None:
        self._pool = pool
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.socket: Readable | None = None
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
        try:
            await self.news()
        except asyncio.CancelledError:
            self.abort()
            raise

    def news(self) -> asyncio.Future[None]:
        """Done once something has happened. Who waits for it by himself breaks the exchange off when cancelled."""
        waiter = self._waiter = self._pool.loop.create_future()
        return waiter

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

    def let_go(self) -> None:
        """The exchange is over, for who reads its answer."""
        self._pool.give_back(self)

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
        self.socket = transport.get_extra_info("socket")
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
        if self._busy and self.head and self._until_eof and self.failure is None:
            self.ended = said_farewell(self._transport.get_extra_info("ssl_object"))
            self.wake()

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
            raise Malformed

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a head or a trailer."""
        self._fields_count += 1
        self._fields_bytes += len(name) + len(value)
        if self._fields_count > ANSWER_FIELDS_MAX or self._fields_bytes > ANSWER_HEAD_BYTES_MAX:
            raise Malformed
        if not self.head:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """A head is complete; an interim one is passed over."""
        parser = self._parser
        if parser is None:
            raise Malformed
        status = parser.get_status_code()
        fields, self._fields = self._fields, []
        if 100 <= status < 200 and status != 101 and parser.get_http_version() in ("1.0", "1.1"):
            self._interim = True
            return
        self._interim = False
        headers = Fields.of(fields)
        self._until_eof = ends(status, parser.get_http_version(), headers, to_head=False) is Ends.WITH_CONNECTION
        self.status = status
        self.headers = headers
        self.head = True
        if self._bodiless:
            self.ended = True  # not kept: the parser would wait for the body

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._interim or self._bodiless:
            raise Malformed
        self.pieces.append(body)
        self.waiting_bytes += len(body)

    def on_message_complete(self) -> None:
        """An answer is complete."""
        if self._interim:
            self._interim = False
        elif self._parser is not None and not self._bodiless:
            self.ended = True
            self.keep = self._parser.should_keep_alive()
