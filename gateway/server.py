"""The process: uvicorn with the deadlines that it lacks, and an orderly stop.

A connection must bring the head of a request within `HEADERS_TIMEOUT_S`. The application learns at once that a client
has left, without a task that waits for it. On SIGTERM nothing new is taken, streams may end for `DRAIN_S`, then they
are cut and settled; a second SIGTERM does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from gateway.bounds import (
    BACKLOG,
    BODY_CLOSE_S,
    DRAIN_S,
    HEAD_BYTES_MAX,
    HEADERS_TIMEOUT_S,
    KEEP_ALIVE_S,
    REQUEST_BYTES_MAX,
    SOCKET_MESSAGE_BYTES_MAX,
    SOCKET_PING_S,
    SOCKET_WAITING_BYTES,
    UPLOAD_IDLE_S,
    UPLOAD_TIMEOUT_S,
)

CONNECTION = "farthing.connection"
"""Where the ASGI scope carries the client's connection."""


_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class ClientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with deadlines and a bound for a request, and a word when the client leaves."""

    on_gone: Callable[[], None] | None = None
    gone = False
    _deadline: asyncio.TimerHandle | None = None
    _bytes = 0  # of a request that is still coming, its first piece not counted
    _bytes_max = REQUEST_BYTES_MAX
    _upload_until: float | None = None  # the request is an upload, and may take so long as it moves
    _bytes_then = 0  # of the upload, when it was last looked at
    _counted = False
    _in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._expect(HEADERS_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._arrived()
        super().connection_lost(exc)
        self.gone = True
        if self.on_gone is not None:
            self.on_gone()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`. The parser knows no bound for a head or for trailers that do not end."""
        self._counted = True
        super().data_received(data)
        if not self._counted or self._deadline is None:
            return
        self._bytes += len(data)
        if self._bytes <= (HEAD_BYTES_MAX if self._in_head else self._bytes_max) or self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever uvicorn's type says
        answering = cycle is not None and not cycle.response_complete
        if self._in_head and not answering:
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()
        else:
            self.abort()

    def on_message_begin(self) -> None:
        """A request's first byte is here."""
        super().on_message_begin()
        self._in_head = True
        self._bytes, self._counted = 0, False
        self._bytes_max, self._upload_until = REQUEST_BYTES_MAX, None
        if self._deadline is None:
            self._expect(HEADERS_TIMEOUT_S)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field is here. Those of a trailer are dropped: nobody may add to a head that has been acted upon."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A request's head is here."""
        self._in_head = False
        self._expect(BODY_CLOSE_S)
        self.scope[CONNECTION] = self  # type: ignore[literal-required]
        super().on_headers_complete()

    def _should_upgrade(self) -> bool:
        """A handshake is a GET (RFC 6455, §4.1); whatever else asks for another protocol is a request like any."""
        return self.scope["method"] == "GET" and super()._should_upgrade()

    def handle_websocket_upgrade(self) -> None:
        """A handshake is here: from now on the connection is the socket's."""
        self._arrived()
        super().handle_websocket_upgrade()

    def on_message_complete(self) -> None:
        """A request's last byte is here."""
        self._arrived()
        super().on_message_complete()

    @property
    def whole(self) -> bool:
        """Whether the whole request has arrived."""
        return not self.cycle.more_body

    def expect_upload(self, bytes_max: int) -> None:
        """The request that is coming may be so long, and may take its time while it moves, even once it is refused."""
        if self._deadline is not None and not self.whole:
            self._bytes_max = max(2 * bytes_max, REQUEST_BYTES_MAX)  # with its framing, as every request
            self._upload_until = self.loop.time() + UPLOAD_TIMEOUT_S
            self._bytes_then = self._bytes
            self._expect(UPLOAD_IDLE_S)

    @property
    def answering(self) -> bool:
        """Whether the head of an answer has been sent."""
        return self.cycle.response_started

    def abort(self) -> None:
        """Break the connection off, so that the client cannot take what it got for a whole answer."""
        if not self.transport.is_closing():
            if self.cycle is not None:
                self.cycle.disconnected = True  # uvicorn learns it a moment later, and would call it an error
            self.transport.abort()

    def _expect(self, within_s: float) -> None:
        """What comes next must come in this time."""
        self._arrived()
        self._deadline = self.loop.call_later(within_s, self._late, within_s)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self, within_s: float) -> None:
        moved, self._bytes_then = self._bytes - self._bytes_then, self._bytes
        if self.pipeline:  # we do not read on while earlier requests are being answered: the client is not to blame
            self._expect(within_s)
        elif (
            self._upload_until is not None
            and self.loop.time() < self._upload_until
            and (
                moved or self.flow.read_paused  # paused: the provider is slow, or the call is being decided about
            )
        ):
            self._expect(UPLOAD_IDLE_S)
        else:
            self.abort()


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, which waits for its call to end when the server stops, and can be broken off."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=SOCKET_WAITING_BYTES)

    def handle_connect(self, event: Request) -> None:
        """A handshake is here."""
        super().handle_connect(event)
        if not self.handshake_complete:  # it is a good one
            self.scope[CONNECTION] = self  # type: ignore[literal-required]

    async def send(self, message: Any) -> None:
        """See ASGI. An answer instead of a handshake is an answer too, and no fault of the application's."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True

    def shutdown(self) -> None:
        """The server stops: what is in flight has its time, and is told when that is over."""
        if not self.handshake_initiated or self.close_sent:
            super().shutdown()

    def abort(self) -> None:
        """Break the connection off."""
        self.transport.abort()


class Server(uvicorn.Server):
    """uvicorn's server, but a signal ends the serving and not the process: what is in flight must still be settled.

    With `tls`, a certificate's file and its key's, it takes TLS only. Raises OSError or ssl.SSLError where they are
    no such files.
    """

    def __init__(self, app: Any, on_stop: Callable[[], None], tls: tuple[str, str] | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=ClientProtocol,
                ws=SocketProtocol,
                ws_max_size=SOCKET_MESSAGE_BYTES_MAX,
                ws_ping_interval=SOCKET_PING_S,
                ws_ping_timeout=SOCKET_PING_S,
                ws_per_message_deflate=False,
                ssl_certfile=tls[0] if tls else None,
                ssl_keyfile=tls[1] if tls else None,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=int(DRAIN_S) + 2,  # by then the calls have been cut and told so
            )
        )
        self.config.load()
        self._on_stop = on_stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGINT and SIGTERM; the second one does not wait."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for each in signals:
            loop.add_signal_handler(each, self.stop)
        try:
            yield
        finally:
            for each in signals:
                loop.remove_signal_handler(each)

    def stop(self) -> None:
        """Take nothing new and end; called again, do not wait for what is in flight."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
        self._on_stop()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # Connections inherit it. uvloop sets it by itself, asyncio only where the socket says that it is TCP's.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
