"""One request and its answer on a client's connection: ASGI's `receive` and `send`, with an answer's framing.

Promises: a head says what it was given and nothing more; a body is as long as its head declares, or in chunks, or ends
with the connection.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_IN_VALUES = bytes((9, *range(32, 127), *range(128, 256)))  # what may stand in a field's value
_BODILESS = (204, 304)


class Exchange(RequestResponseCycle):
    """One request and its answer, as ASGI's `receive` and `send`; `run_asgi` is uvicorn's."""

    def __init__(self, protocol: HttpToolsProtocol, *, keep_alive: bool) -> None:
        # Not the base's constructor: what follows is all that its other methods and the protocol's read.
        self.scope = protocol.scope
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.default_headers = protocol.server_state.default_headers
        self.on_response = protocol.on_response_complete
        self.disconnected = False
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = protocol.expect_100_continue
        self.more_body = True
        self.response_started = self.response_complete = False
        self._pieces: list[bytes] = []  # of the request's body, not received by the application yet
        self._waiting_bytes = 0
        self._news = False  # for the application
        self._event: asyncio.Event | None = None  # made for an application that has to wait for news
        self._head = b""  # of the answer, while it waits for the body that is known to follow
        self._left: int | None = None  # of the declared length; None = it is not known
        self._chunked = True  # an answer of unknown length

    # ---- the request

    def arrived(self, body: bytes) -> None:
        """A piece of the body is here. An application that does not take it stops the reading."""
        self._pieces.append(body)
        self._waiting_bytes += len(body)
        if self._waiting_bytes > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.wake()

    def wake(self) -> None:
        """There is something to receive."""
        self._news = True
        if self._event is not None:
            self._event.set()

    async def receive(self) -> Any:
        """See ASGI."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
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
        self.waiting_for_100_continue = False
        lines = [STATUS_LINE[status]]
        fields = (*self.default_headers, *fields)
        if b"".join([value for _, value in fields]).translate(None, _IN_VALUES):
            raise RuntimeError("a field's value would end its line")
        for name, value in fields:
            if name == b"content-length":
                self._left = int(value)
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive = False
                continue  # said below
            lines += (_field(name), value, b"\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if self.scope["method"] == "HEAD" or status in _BODILESS:
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
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                framed += b"0\r\n\r\n"
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
            self.on_response()


@functools.lru_cache(maxsize=1024)
def _field(name: bytes) -> bytes:
    """The start of a field's line. Raises RuntimeError if the name is none."""
    if not _NAME.fullmatch(name):
        raise RuntimeError("not a field's name")
    return name + b": "
