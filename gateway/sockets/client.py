"""A client's socket, as ASGI has it."""

from __future__ import annotations

from typing import Any, Protocol

from gateway.asgi import Receive, Send
from gateway.edge.headers import HeaderFields
from gateway.upstream.base import BROKEN, SocketClosed
from providers.contract.sockets import Frame


class SocketConnection(Protocol):
    """The client's connection, as far as a socket needs it."""

    def abort(self) -> None:
        """Break it off."""
        ...


class Client:
    """The client's side of a socket, as ASGI has it."""

    def __init__(self, receive: Receive, send: Send, connection: SocketConnection | None) -> None:
        self._receive = receive
        self._send = send
        self._connection = connection
        self.accepted = False
        self.gone = False

    async def refuse(self, status: int, headers: HeaderFields, body: bytes) -> None:
        """Answer the handshake with an HTTP answer."""
        await self._write({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await self._write({"type": "websocket.http.response.body", "body": body})

    async def accept(self, subprotocol: str | None, headers: HeaderFields) -> None:
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
