"""HTTP/1.1 to a provider, on one socket: an exchange at a time, and what is read of its answer.

Promises: a failure says `sent=False` only if no byte of the request can have left. Nothing is sent twice. An answer is
whole by its own framing or it fails; a connection carries the next request only if nothing of the last one is left on
it. What has not been taken yet is bounded, and so is everything a provider can send beside a body.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Protocol, cast

from gateway.bounds import ANSWER_WAITING_BYTES, REQUEST_PIECE_BYTES, WHOLE_BYTES_MAX
from gateway.http1.answers import AnswerReader, Awaited
from gateway.http1.chunks import END, LAST, size_line
from gateway.http1.heads import Malformed
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


class Line(Enum):
    """How far a connection can be used."""

    OPEN = "both ways"
    DYING = "for nothing new: one side has ended it"
    LOST = "not at all: the loop has said so, or never told of it"


_OPEN, _DYING, _LOST = Line  # before Python 3.12 a member costs a call wherever it is named
_NOTHING, _, _, _BODY, _NO_MORE = Awaited


class Connection(AnswerReader, asyncio.Protocol):
    """One connection and the one exchange that may be under way on it."""

    __slots__ = (
        "_held_back", "_line", "_pool", "_room", "_transport", "_unsent", "_waiter", "_writable",
        "expires", "failure", "rests_since", "socket",
    )  # fmt: skip

    def __init__(self, pool: Owner) -> None:
        super().__init__()
        self._pool = pool
        self._transport: asyncio.Transport
        self.socket: Readable | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._line = _OPEN
        self._held_back = self._unsent = False
        self._writable = True
        self.failure: str | None = None
        self.expires = 0.0
        self.rests_since = 0.0

    # ---- the exchange

    async def exchange(self, head: bytes, body: bytes | Body, *, bodiless: bool) -> None:
        """Send a request and wait for its answer's head. However it fails, the connection is closed."""
        self.expect(to_head=bodiless)
        self._unsent = False
        self.failure = None
        try:
            if not isinstance(body, bytes):
                await self._pass_on(head, body)
            elif len(body) <= WHOLE_BYTES_MAX:
                self._transport.write(head + body if body else head)
            else:
                await self._write(head, body)
            while not self.headed:
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
                    self._transport.write(size_line(len(piece)))
                self._transport.write(piece)
                if chunked:
                    self._transport.write(END)
        if chunked:
            self._transport.write(LAST)

    def _over(self) -> bool:
        """Whether the rest of the request is of no use any more: the answer does not wait for it."""
        return self.failure is not None or self.ended or self._held_back or self.status >= 300

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
            if self._line is not _LOST:
                self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def let_go(self) -> None:
        """The exchange is over, for who reads its answer."""
        self._pool.give_back(self)

    def finish(self) -> bool:
        """End the exchange; whether the connection may carry another. Otherwise it is closed."""
        if self.awaited is _NOTHING:
            return False
        if self.pieces or self._held_back:
            self.take()
        ended, self.awaited = self.ended, _NOTHING
        if ended and self.keep and self.failure is None and not self._unsent and self._writable and self.open:
            return True
        self.abort()
        return False

    @property
    def open(self) -> bool:
        """Whether the connection is open both ways, as far as the loop knows."""
        return self._line is _OPEN and not self._transport.is_closing()

    def abort(self) -> None:
        """Close the connection now. May be called more than once."""
        self.keep = False
        if self._line is not _LOST:
            self._line = _DYING
            self._transport.abort()

    def forsake(self) -> None:
        """Give up a connection that never came to be; the loop may not tell."""
        self._line = _LOST
        self.forget()
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
        if self.awaited is not _NOTHING and not self.ended and self.failure is None:
            self.failure = "closed early" if exc is None else type(exc).__name__
        self.resume_writing()

    def eof_received(self) -> None:
        """See `asyncio.Protocol`; the transport closes itself."""
        if self._line is _OPEN:
            self._line = _DYING
        if self.awaited is _BODY and self.failure is None:
            self.end_of_stream(orderly=said_farewell(self._transport.get_extra_info("ssl_object")))
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
        awaited = self.awaited
        if awaited is _NOTHING or self._line is not _OPEN:
            self.abort()
            return
        if awaited is _NO_MORE:
            self._fail("more than was announced")
            return
        try:
            self.feed(data)
        except Malformed:
            self._fail("malformed answer")
            return
        if self.waiting_bytes > ANSWER_WAITING_BYTES and not self._held_back and self.awaited is not _NO_MORE:
            self._held_back = True
            self._transport.pause_reading()
        if self.awaited is _BODY or self.awaited is _NO_MORE:
            self.wake()
