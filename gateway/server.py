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
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.bounds import BACKLOG, DRAIN_S, HEADERS_TIMEOUT_S, KEEP_ALIVE_S

CONNECTION = "farthing.connection"
"""Where the ASGI scope carries the client's connection."""


class ClientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with a deadline for the head and a word when the client leaves."""

    on_gone: Callable[[], None] | None = None
    _head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._head_arrived()
        super().connection_lost(exc)
        if self.on_gone is not None:
            self.on_gone()

    def on_message_begin(self) -> None:
        """A request's first byte is here."""
        super().on_message_begin()
        if self._head_deadline is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """A request's head is here."""
        self._head_arrived()
        self.scope[CONNECTION] = self  # type: ignore[literal-required]
        super().on_headers_complete()

    def abort(self) -> None:
        """Break the connection off, so that the client cannot take what it got for a whole answer."""
        if not self.transport.is_closing():
            self.transport.abort()

    def _await_head(self) -> None:
        self._head_deadline = self.loop.call_later(HEADERS_TIMEOUT_S, self.abort)

    def _head_arrived(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None


class Server(uvicorn.Server):
    """uvicorn's server, but a signal ends the serving and not the process: what is in flight must still be settled."""

    def __init__(self, app: Any, on_stop: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=ClientProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=int(DRAIN_S),
            )
        )
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
    return socket.create_server((host, port), family=family, backlog=BACKLOG)
