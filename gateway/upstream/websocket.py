"""Real providers over WebSockets, behind `SocketUpstream`: the `websockets` library.

No redirect, cookie, proxy or compression; certificates and host names are verified; a message is bounded, and so is
what has not been taken yet. A ping is answered by whoever gets it, and none is passed on: ASGI knows none.
"""

from __future__ import annotations

import logging
import ssl
from urllib.parse import urlsplit

from multidict import CIMultiDict
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from gateway.bounds import (
    SOCKET_CLOSE_TIMEOUT_S,
    SOCKET_CONNECT_TIMEOUT_S,
    SOCKET_MESSAGE_BYTES_MAX,
    SOCKET_MESSAGES_WAITING,
    SOCKET_PING_S,
    SOCKET_WAITING_BYTES,
)
from gateway.upstream.base import BROKEN, Duplex, Handshake, HandshakeRefused, SocketClosed, UpstreamFailed
from gateway.upstream.origins import trusting
from providers.contract.sockets import Frame

# The library logs messages when it logs at all.
_SILENT = logging.getLogger("farthing.socket")
_SILENT.setLevel(logging.CRITICAL)
_SILENT.propagate = False


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
