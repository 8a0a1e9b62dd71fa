"""The process: uvicorn with the deadlines that it lacks, and an orderly stop.

A connection must bring the head of a request within `HEADERS_TIMEOUT_S`. The application learns at once that a client
has left, without a task that waits for it. On SIGTERM nothing new is taken, streams may end for `DRAIN_S`, then they
are cut and settled; a second SIGTERM does not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.bounds import DRAIN_S, HEADERS_TIMEOUT_S, KEEP_ALIVE_S

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


def make_server(app: Any, host: str, port: int) -> uvicorn.Server:
    """A server for an ASGI application."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=ClientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(DRAIN_S),
            backlog=2048,
        )
    )
