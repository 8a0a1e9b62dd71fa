"""One request and its answer on a client's connection: ASGI's `receive` and `send`, with an answer's framing.

Promises: a head says what it was given and nothing more; a body is as long as its head declares, or in chunks, or ends
with the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from gateway.asgi import Receive, Send
from gateway.bounds import REQUEST_WAITING_BYTES
from gateway.edge.flow import Flow
from gateway.http1.chunks import LAST, chunk
from gateway.http1.fields import are_values
from gateway.http1.heads import BODILESS, STATUS_LINES, Malformed, field_start

Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
_FAULT = b"Internal Server Error"


class Log(Protocol):
    """Where it is said that the application has failed."""

    def error(self, message: str, *, exc_info: BaseException | None = None) -> None:
        """Say so."""
        ...


class Exchange:
    """One request and its answer, as ASGI's `receive` and `send`."""

    def __init__(
        self,
        scope: dict[str, Any],
        transport: asyncio.Transport,
        flow: Flow,
        default_headers: list[tuple[bytes, bytes]],
        on_response: Callable[[], None],
        *,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self.scope, self.transport, self.flow = scope, transport, flow
        self._default_headers = default_headers
        self._on_response: Callable[[], None] | None = on_response
        self.disconnected = False
        self.keep_alive = keep_alive
        self._waiting_for_100_continue = expects_continue
        self.more_body = True
        self.response_started = self.response_complete = False
        self._pieces: list[bytes] = []  # of the request's body, not received by the application yet
        self._waiting_bytes = 0
        self._news = False  # for the application
        self._event: asyncio.Event | None = None  # made for an application that has to wait for news
        self._head = b""  # of the answer, while it waits for the body that is known to follow
        self._left: int | None = None  # of the declared length; None = it is not known
        self._chunked = True  # an answer of unknown length

    async def run(self, app: Application, log: Log) -> None:
        """Let the application answer. One that fails is answered for, or the connection ends without a whole answer."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            log.error("Exception in ASGI application", exc_info=error)
            await self._fail()
            if not isinstance(error, Exception):
                raise
        else:
            if not self.response_complete and not self.disconnected:
                log.error("ASGI callable returned without completing response.")
                await self._fail()
        finally:
            self._on_response = None

    async def _fail(self) -> None:
        if self.response_started:
            self.transport.close()
            return
        fields = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(_FAULT)),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": fields})
        await self.send({"type": "http.response.body", "body": _FAULT, "more_body": False})

    # ---- the request

    def arrived(self, body: bytes) -> None:
        """A piece of the body is here. An application that does not take it stops the reading."""
        self._pieces.append(body)
        self._waiting_bytes += len(body)
        if self._waiting_bytes > REQUEST_WAITING_BYTES:
            self.flow.pause_reading()
        self.wake()

    def wake(self) -> None:
        """There is something to receive."""
        self._news = True
        if self._event is not None:
            self._event.set()

    async def receive(self) -> Any:
        """See ASGI."""
        if self._waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            if not self._news:
                self._event = self._event or asyncio.Event()
                await self._event.wait()
                self._event.clear()
            self._news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        pieces, self._pieces, self._waiting_bytes = self._pieces, [], 0
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    # ---- the answer

    async def send(self, message: Any) -> None:
        """See ASGI. The head of an answer whose length is declared leaves with the first bytes of its body."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
        else:
            self._write(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        if self.response_started:
            raise RuntimeError("the answer has been started before")
        self.response_started = True
        self._waiting_for_100_continue = False
        lines = [STATUS_LINES[status]]
        fields = (*self._default_headers, *fields)
        if not are_values([value for _, value in fields]):
            raise RuntimeError("a field's value would end its line")
        try:
            for name, value in fields:
                if name == b"content-length":
                    self._left = int(value)
                elif name == b"connection" and b"close" in value.lower():
                    self.keep_alive = False
                    continue  # said below
                lines += (field_start(name), value, b"\r\n")
        except Malformed:
            raise RuntimeError("not a field's name") from None
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if self.scope["method"] == "HEAD" or status in BODILESS:
            self._left = 0
        if self._left is None:
            self._chunked = self.scope["http_version"] != "1.0"  # which knows no chunks: the end is the connection's
            lines.append(b"transfer-encoding: chunked\r\n\r\n" if self._chunked else b"\r\n")
            self.transport.write(b"".join(lines))
        else:
            lines.append(b"\r\n")
            self._head = b"".join(lines)

    def _write(self, body: bytes, *, more: bool) -> None:
        if not self.response_started or self.response_complete:
            raise RuntimeError("a body without a head, or after its end")
        if self._left is None and not self._chunked:
            framed = body
        elif self._left is None:
            framed = chunk(body)
            if not more:
                framed += LAST
        else:
            if self.scope["method"] == "HEAD":
                body = b""
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body is not as long as was declared")
            framed = self._head + body if self._head else body
            self._head = b""
        if framed:
            self.transport.write(framed)
        if not more:
            self.response_complete = True
            self.wake()
            if not self.keep_alive:
                self.transport.close()
            if self._on_response is not None:
                self._on_response()
