"""The process: uvicorn with the deadlines that it lacks, and an orderly stop.

Clients that are late are looked for a few times a second, all in one go: no request sets a timer. On SIGTERM nothing
new is taken, streams may end for `DRAIN_S`, then they are cut and settled; a second SIGTERM does not wait.
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
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from gateway.asgi import CONNECTION
from gateway.bounds import (
    BACKLOG,
    DRAIN_S,
    SOCKET_HANDSHAKE_S,
    SOCKET_MESSAGE_BYTES_MAX,
    SOCKET_PING_S,
    SOCKET_WAITING_BYTES,
    WRITE_TIMEOUT_S,
)
from gateway.edge.protocol import ClientProtocol, unsent_bytes

_LATE_TICKS = 3  # of 0.1 s: how often clients are looked for that are late
_NO_HANDSHAKE = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, which waits for its call to end when the server stops, and can be broken off.

    A handshake is answered and a closed connection gone within a time, too: `expire` is called now and then.
    """

    _until: float
    _unsent_bytes = 0
    _closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=SOCKET_WAITING_BYTES)
        self._until = self.loop.time() + SOCKET_HANDSHAKE_S

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`. What the library cannot read as a handshake it drops without a word."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(_NO_HANDSHAKE)
            self.transport.close()

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

    def expire(self, now: float) -> None:
        """Let go of a client that is late. `now` is on the loop's clock."""
        if self.transport.is_closing():
            if self._closing and now < self._until:
                return
            before, self._unsent_bytes = self._unsent_bytes, unsent_bytes(self.transport)
            if self._closing and not 0 < self._unsent_bytes < before:
                self.transport.abort()
            self._closing, self._until = True, now + WRITE_TIMEOUT_S
        elif not self.handshake_complete and now >= self._until:
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

    async def on_tick(self, counter: int) -> bool:
        """See uvicorn."""
        if counter % _LATE_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, (ClientProtocol, SocketProtocol)):
                    connection.expire(now)
        return await super().on_tick(counter)

    def stop(self) -> None:
        """Take nothing new and end; called again, do not wait for what is in flight."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
        self._on_stop()


def listen(host: str, port: int, *, beside: bool = False) -> socket.socket:
    """A listening socket; port 0 picks a free one. `beside` shares the port with other processes. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=beside)
    # Connections inherit it. uvloop sets it by itself, asyncio only where the socket says that it is TCP's.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
