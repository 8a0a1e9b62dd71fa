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

from gateway.bounds import (
    BACKLOG,
    DRAIN_S,
    SOCKET_MESSAGE_BYTES_MAX,
    SOCKET_PING_S,
)
from gateway.edge.protocol import ClientProtocol
from gateway.edge.uvicorn_seam import SocketProtocol

_LATE_TICKS = 3  # of 0.1 s: how often clients are looked for that are late


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
