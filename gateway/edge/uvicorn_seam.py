"""What we take of uvicorn beside its documented settings, all in one place.

uvicorn documents that `Config(http=…)` and `Config(ws=…)` take protocol classes, and what `Server` offers. It does not
document what it gives such a class: the configuration, the state that it shares with the server (the connections to be
shut down, the tasks to be waited for, fields for all answers, a count), and the lifespan's; a protocol of one's own
cannot do without. Nor how its own protocol for WebSockets keeps its handshake: it has neither deadline nor answer for
one that cannot be read, and no way to be told when the server stops. `tests/gateway/edge/test_uvicorn_seam.py` holds
uvicorn to all of it, for the versions that are allowed. Of asyncio and httptools only what is documented is used.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.http11 import Request

from gateway.asgi import CONNECTION
from gateway.bounds import SOCKET_HANDSHAKE_S, SOCKET_WAITING_BYTES, WRITE_TIMEOUT_S
from gateway.edge.exchange import Application
from gateway.edge.flow import unsent_bytes

Configuration = uvicorn.Config
State = ServerState
_NO_HANDSHAKE = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def settings_of(config: Configuration) -> Application:
    """The application that connections are for."""
    if not config.loaded:
        config.load()
    return cast("Application", config.loaded_app)


def address(transport: asyncio.BaseTransport, which: str) -> tuple[str, int] | None:
    """One end of a connection, as ASGI tells it: `peername` or `sockname`."""
    found = transport.get_extra_info(which)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple | list) and len(found) >= 2 else None


def become_socket(
    config: Configuration,
    state: State,
    app_state: dict[str, Any],
    transport: asyncio.Transport,
    handshake: bytes,
    early: bytes,
) -> None:
    """Give a connection to the protocol for WebSockets, with the handshake that it has to hear again."""
    made = config.ws_protocol_class
    if made is None:
        raise RuntimeError("there is no protocol for WebSockets")
    protocol = made(config=config, server_state=state, app_state=app_state)  # type: ignore[call-arg]
    protocol.connection_made(transport)
    protocol.data_received(handshake)
    transport.set_protocol(protocol)
    if early:
        protocol.data_received(early)


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
