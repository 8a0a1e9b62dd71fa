"""The two ends of a forwarded WebSocket: the client's, and one small interface to a provider with two things behind it.

`Client` is a client's socket as ASGI has it. `WebSocketUpstream` speaks to real providers through the `websockets`
library. `SimulatedSockets` answers test keys from the built-in simulator, through the same interface and so through the
same path. No redirect, cookie, proxy or compression; certificates and host names are verified; a message is bounded,
and so is what has not been taken yet. A ping is answered by whoever gets it, and none is passed on: ASGI knows none.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
from multidict import CIMultiDict
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from gateway.asgi import Receive, Send
from gateway.bounds import (
    SOCKET_CLOSE_TIMEOUT_S,
    SOCKET_CONNECT_TIMEOUT_S,
    SOCKET_MESSAGE_BYTES_MAX,
    SOCKET_MESSAGES_WAITING,
    SOCKET_PING_S,
    SOCKET_WAITING_BYTES,
)
from gateway.edge.headers import RawHeaders
from gateway.wire import UpstreamFailed, trusting
from providers.contract.sockets import Frame
from providers.simulator import Cut, Faults, Pause
from providers.simulator.sockets import Close, Conversation, Refused, converse

# The library logs messages when it logs at all.
_SILENT = logging.getLogger("farthing.socket")
_SILENT.setLevel(logging.CRITICAL)
_SILENT.propagate = False

NO_STATUS = 1005  # a close without a code; it cannot be sent as one
BROKEN = 1006  # a connection that ended without a close; it cannot be sent either


class SocketClosed(Exception):
    """The other side has closed, with this code and reason."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class HandshakeRefused(Exception):
    """The provider answered the handshake with an HTTP answer of its own."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """A handshake as it goes out."""

    provider: str
    origin: str
    target: str  # path and query
    headers: dict[str, str]
    subprotocols: list[str]
    call_id: str
    faults: Faults | None = None


class Duplex(Protocol):
    """An open socket to a provider."""

    @property
    def subprotocol(self) -> str | None:
        """The one that the provider has chosen."""
        ...

    async def send(self, frame: Frame) -> None:
        """Send a message, once there is room for it. Raises SocketClosed."""
        ...

    async def receive(self) -> Frame:
        """The next message. Raises SocketClosed."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close, and wait a while for the provider to do so too. May be called more than once."""
        ...

    def abort(self) -> None:
        """Break it off."""
        ...


class SocketUpstream(Protocol):
    """Something that takes forwarded handshakes."""

    async def open(self, handshake: Handshake) -> Duplex:
        """Open a socket. Raises HandshakeRefused or UpstreamFailed."""
        ...


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc  # never followed: it would carry our credential elsewhere


class WebSocketUpstream:
    """Real providers. With `tls`, that context instead of the system's trust."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls

    async def open(self, handshake: Handshake) -> Duplex:
        """See `SocketUpstream`."""
        parts = urlsplit(handshake.origin)
        secure = parts.scheme == "https"
        if secure and self._tls is None:
            self._tls = trusting()
        uri = f"{'wss' if secure else 'ws'}://{parts.netloc}{handshake.target}"
        try:
            connection = await _Connect(
                uri,
                additional_headers=handshake.headers,
                user_agent_header=None,
                subprotocols=handshake.subprotocols or None,  # type: ignore[arg-type]  # its type is a new name of str
                compression=None,
                proxy=None,
                open_timeout=SOCKET_CONNECT_TIMEOUT_S,
                ping_interval=SOCKET_PING_S,
                ping_timeout=SOCKET_PING_S,
                close_timeout=SOCKET_CLOSE_TIMEOUT_S,
                max_size=SOCKET_MESSAGE_BYTES_MAX,
                max_queue=SOCKET_MESSAGES_WAITING,
                write_limit=SOCKET_WAITING_BYTES,
                logger=_SILENT,
                ssl=self._tls if secure else None,
            )
        except InvalidStatus as refusal:
            response = refusal.response
            headers = CIMultiDict(response.headers.raw_items())
            raise HandshakeRefused(response.status_code, headers, response.body or b"") from None
        except InvalidHandshake as error:
            raise UpstreamFailed(repr(error), sent=True) from error
        except (OSError, ValueError) as error:
            # Nothing but a handshake can have been sent, and it was not answered: no provider charges for that.
            raise UpstreamFailed(repr(error), sent=False) from error
        return _Connection(connection)


class _Connection:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @property
    def subprotocol(self) -> str | None:
        return self._connection.subprotocol

    async def send(self, frame: Frame) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed as closed:
            raise _closed(closed) from None

    async def receive(self) -> Frame:
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            raise _closed(closed) from None

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)

    def abort(self) -> None:
        self._connection.transport.abort()


def _closed(closed: ConnectionClosed) -> SocketClosed:
    if closed.rcvd is None:
        return SocketClosed(BROKEN)
    return SocketClosed(closed.rcvd.code, closed.rcvd.reason)


class Connection(Protocol):
    """The client's connection, as far as a socket needs it."""

    def abort(self) -> None:
        """Break it off."""
        ...


class Client:
    """The client's side of a socket, as ASGI has it."""

    def __init__(self, receive: Receive, send: Send, connection: Connection | None) -> None:
        self._receive = receive
        self._send = send
        self._connection = connection
        self.accepted = False
        self.gone = False

    async def refuse(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """Answer the handshake with an HTTP answer."""
        await self._write({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await self._write({"type": "websocket.http.response.body", "body": body})

    async def accept(self, subprotocol: str | None, headers: RawHeaders) -> None:
        """Take the handshake."""
        self.accepted = True
        await self._write({"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers})

    async def receive(self) -> Frame:
        """The next message. Raises SocketClosed."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.gone = True
            raise SocketClosed(message.get("code") or BROKEN, message.get("reason") or "")
        text: str | None = message.get("text")
        return text if text is not None else message["bytes"]

    async def send(self, frame: Frame) -> None:
        """Send a message, once there is room for it. Raises SocketClosed."""
        kind = "text" if isinstance(frame, str) else "bytes"
        await self._write({"type": "websocket.send", kind: frame})

    async def close(self, code: int, reason: str) -> None:
        """Close."""
        if not self.gone:
            self.gone = True
            await self._write({"type": "websocket.close", "code": code, "reason": reason})

    def abort(self) -> None:
        """Break it off."""
        self.gone = True
        if self._connection is not None:
            self._connection.abort()

    async def _write(self, message: dict[str, Any]) -> None:
        try:
            await self._send(message)
        except OSError:  # uvicorn says so when the client has gone
            self.gone = True
            raise SocketClosed(BROKEN) from None


class SimulatedSockets:
    """The built-in simulator, for test keys."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms

    async def open(self, handshake: Handshake) -> Duplex:
        """See `SocketUpstream`."""
        conversation = converse(
            handshake.target,
            handshake.headers,
            provider=handshake.provider,
            faults=handshake.faults or Faults(),
            request_id=f"req_{handshake.call_id}",  # as the providers' own look
            now_s=self._clock_ms() // 1000,
        )
        if isinstance(conversation, Refused):
            raise HandshakeRefused(conversation.status, CIMultiDict(conversation.headers), conversation.body)
        return _Simulated(conversation, next(iter(handshake.subprotocols), None))


class _Simulated:
    """A conversation with the simulator: what it says is made when it is taken."""

    def __init__(self, conversation: Conversation, subprotocol: str | None) -> None:
        self.subprotocol = subprotocol
        self._conversation = conversation
        self._waiting: deque[Iterator[Frame | Pause | Cut | Close]] = deque((iter(conversation.opened()),))
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._ended: SocketClosed | None = None

    async def send(self, frame: Frame) -> None:
        while self._ended is None and len(self._waiting) >= SOCKET_MESSAGES_WAITING:
            self._room.clear()
            await self._room.wait()
        if self._ended is not None:
            raise self._ended
        self._waiting.append(iter(self._conversation.said(frame)))
        self._changed.set()
        await asyncio.sleep(0)

    async def receive(self) -> Frame:
        while True:
            if self._ended is not None:
                raise self._ended
            if not self._waiting:
                self._changed.clear()
                await self._changed.wait()
                continue
            step = next(self._waiting[0], None)
            if step is None:
                self._waiting.popleft()
                self._room.set()
            elif isinstance(step, Pause):
                await asyncio.sleep(step.ms / 1000)
            elif isinstance(step, Cut):
                self._end(SocketClosed(BROKEN))
            elif isinstance(step, Close):
                self._end(SocketClosed(step.code, step.reason))
            else:
                await asyncio.sleep(0)
                return step

    async def close(self, code: int, reason: str) -> None:
        self.abort()

    def abort(self) -> None:
        self._end(SocketClosed(BROKEN))

    def _end(self, closed: SocketClosed) -> None:
        if self._ended is None:
            self._conversation.ended()
            self._ended = closed
            self._waiting.clear()
        self._changed.set()
        self._room.set()
