"""A client's connection: HTTP/1.1 in, ASGI out, with deadlines and a bound for everything that a client may send.

What is read is `gateway.http1.requests`' affair, and what is answered `gateway.edge.exchange`'s; uvicorn makes this
protocol for each connection, as its `http` setting says. Promises: the head of a request comes within
`HEADERS_TIMEOUT_S` and its body within `BODY_CLOSE_S`, what was answered is taken within `WRITE_TIMEOUT_S` while
anything of it moves, or the connection goes (`expire`, which the server calls now and then); the application learns at
once that its client has left; whole answers leave in one write, and no timer is set for a request.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import unquote

from gateway.asgi import CONNECTION
from gateway.bounds import (
    BODY_CLOSE_S,
    HEAD_BYTES_MAX,
    HEADERS_TIMEOUT_S,
    KEEP_ALIVE_S,
    REQUEST_BYTES_MAX,
    UPLOAD_IDLE_S,
    UPLOAD_TIMEOUT_S,
    WRITE_TIMEOUT_S,
)
from gateway.edge import http2
from gateway.edge.exchange import Application, Exchange
from gateway.edge.flow import Flow, unsent_bytes
from gateway.edge.head import Head
from gateway.edge.uvicorn_seam import Configuration, State, address, become_socket, settings_of
from gateway.http1.heads import STATUS_LINES
from gateway.http1.requests import NoRequest, Reading, RequestHead, RequestReader

NEVER = math.inf
_, _HEAD, _, _WHOLE, _OVER = Reading  # before Python 3.12 a member costs a call wherever it is named
_ASGI = {"version": "3.0", "spec_version": "2.3"}
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_LOG = logging.getLogger("uvicorn.error")


class ClientProtocol(asyncio.Protocol):
    """A client's connection, from its first byte to its end."""

    transport: asyncio.Transport
    flow: Flow
    head: Head | None = None  # the last one
    on_gone: Callable[[], None] | None = None
    gone = False
    deadline = NEVER  # on the loop's clock, for what is expected next
    _bytes_max = REQUEST_BYTES_MAX
    _bytes_then = 0  # of an upload, when it was last looked at
    _upload_until = 0.0  # the request is an upload, and may take so long as it moves
    _spoken = False  # anything at all has come on this connection
    _refuser: http2.Refuser | None = None
    _write_by = NEVER  # something waits for the client to take it
    _unsent_bytes = 0

    def __init__(
        self,
        config: Configuration,
        server_state: State,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config, self._app_state, self.server_state = config, app_state, server_state
        self.app: Application = settings_of(config)
        self.loop = _loop or asyncio.get_running_loop()
        self.tasks = server_state.tasks
        self.cycle: Exchange | None = None
        self.pipeline: deque[Exchange] = deque()
        self.reader = RequestReader(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.server_state.connections.add(cast("Any", self))
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type
        self.flow = Flow(self.transport, self.loop)
        self._server, self._client = address(transport, "sockname"), address(transport, "peername")
        self._scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self.deadline = self.loop.time() + HEADERS_TIMEOUT_S

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.deadline = self._write_by = NEVER
        self.server_state.connections.discard(cast("Any", self))
        if self.cycle is not None:
            if not self.cycle.response_complete:
                self.cycle.disconnected = True
            self.cycle.wake()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.reader.close()
        self.head = None
        self.gone = True
        if self.on_gone is not None:
            self.on_gone()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`. The parser knows no bound for a head or for trailers that do not end."""
        if self._refuser is not None or (not self._spoken and data.startswith(http2.PREFACE)):
            self._refuse_http2(data)
            return
        self._spoken = True
        reader = self.reader
        reader.feed(data)
        state = reader.state
        if state is _WHOLE:
            return
        in_head = state is _HEAD or state is _OVER
        if reader.bytes <= (HEAD_BYTES_MAX if in_head else self._bytes_max) or self.transport.is_closing():
            return
        if in_head and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(_HEAD_TOO_LARGE)
            self._close()
        else:
            self.abort()

    def shutdown(self) -> None:
        """The server stops: what is in flight may end, and is the last."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def _close(self) -> None:
        """Close, once the client has taken what was written for it."""
        self._expect_taking()
        self.transport.close()

    def _refuse_http2(self, data: bytes) -> None:
        """A client of gRPC's: told so until its deadline, which is that of a request's head."""
        if self._refuser is None:
            self._refuser = http2.Refuser()
            self.transport.write(http2.greeting())
            data = data[len(http2.PREFACE) :]
        self.transport.write(self._refuser.feed(data))
        if self._refuser.broken:
            self._close()

    # ---- what is read; see `gateway.http1.requests.Listener`

    def begun(self) -> None:
        """A request's first byte is here."""
        self._bytes_max, self._upload_until = REQUEST_BYTES_MAX, 0.0
        if self.reader.state is _WHOLE:
            self.deadline = self.loop.time() + HEADERS_TIMEOUT_S

    def headed(self, head: RequestHead) -> None:
        """A request's head is here: the application begins, or waits for its turn."""
        self.deadline = self.loop.time() + BODY_CLOSE_S
        before = self.cycle
        self.cycle = exchange = Exchange(
            self._scope(head),
            self.transport,
            self.flow,
            self.server_state.default_headers,
            self.on_response_complete,
            keep_alive=head.keep_alive,
            expects_continue=head.expects_continue,
        )
        if before is None or before.response_complete:
            self._start(exchange)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft(exchange)

    def _scope(self, head: RequestHead) -> dict[str, Any]:
        path = head.path.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": head.version,
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "root_path": "",
            "headers": head.fields,
            "method": head.method,
            "path": unquote(path) if "%" in path else path,
            "raw_path": head.path,
            "query_string": head.query,
            CONNECTION: self,
        }

    def _start(self, exchange: Exchange) -> None:
        task = self.loop.create_task(exchange.run(self.app, _LOG))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def arrived(self, body: bytes) -> None:
        """A piece of a request's body is here."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.arrived(body)

    def ended(self) -> None:
        """A request's last byte is here."""
        self.deadline = NEVER
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._rest()
        else:
            cycle.more_body = False
            cycle.wake()

    def owes(self) -> bool:
        """Whether the answer to an earlier request is still due."""
        return self.cycle is not None and not self.cycle.response_complete

    def shook_hands(self, head: RequestHead, early: bytes) -> None:
        """A handshake is here: from now on the connection is the socket's, with what came too early."""
        self.deadline = NEVER
        self.server_state.connections.discard(cast("Any", self))
        fields = [field for field in head.fields if field[0] != b"content-length"]  # it is 0
        said = [b"%b %b HTTP/1.1\r\n" % (head.method.encode(), head.target)]
        said += [b"%b: %b\r\n" % field for field in fields]
        become_socket(self._config, self.server_state, self._app_state, self.transport, b"".join(said) + b"\r\n", early)

    def broken(self, why: NoRequest) -> None:
        """What comes cannot be understood: an answer for it if it is its turn, and nothing more is read."""
        cycle = self.cycle
        if cycle is not None and cycle.more_body and (cycle.response_started or self.pipeline):
            # The rest of a request that is being answered, or waits behind others: no second answer to any of them.
            if cycle.response_complete:
                self._close()
            else:
                self.abort()
        elif cycle is None or cycle.response_complete or cycle.more_body:
            if cycle is not None:
                cycle.disconnected = True
            said = str(why).encode()
            fields = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close" % len(said)
            self.transport.write(b"%b%b\r\n\r\n%b" % (STATUS_LINES[400], fields, said))
            self._close()
            if cycle is not None:
                cycle.wake()
        else:  # those before it are whole: they are answered
            cycle.keep_alive = False
            self.reader.drop()  # and this is bounded, but has no time of its own
            self.deadline = NEVER

    # ---- what the application says

    def on_response_complete(self) -> None:
        """An answer's last byte has been written: the next request's turn."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._expect_taking()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start(self.pipeline.pop())
        elif self.reader.state is _WHOLE:
            self._rest()

    @property
    def whole(self) -> bool:
        """Whether the whole request has arrived."""
        return self.cycle is not None and not self.cycle.more_body

    @property
    def answering(self) -> bool:
        """Whether the head of an answer has been sent."""
        return self.cycle is not None and self.cycle.response_started

    def expect_upload(self, bytes_max: int) -> None:
        """The request that is coming may be so long, and may take its time while it moves, even once it is refused."""
        if self.reader.incoming and not self.whole:
            self._bytes_max = max(2 * bytes_max, REQUEST_BYTES_MAX)  # with its framing, as every request
            self._upload_until = self.loop.time() + UPLOAD_TIMEOUT_S
            self._bytes_then = self.reader.bytes
            self.deadline = self.loop.time() + UPLOAD_IDLE_S

    def abort(self) -> None:
        """Break the connection off, so that the client cannot take what it got for a whole answer."""
        if not self.transport.is_closing():
            if self.cycle is not None:
                self.cycle.disconnected = True  # uvicorn learns it a moment later, and would call it an error
            self.transport.abort()

    # ---- time

    def _expect_taking(self) -> None:
        """The client has to take what was written for it."""
        self._write_by = self.loop.time() + WRITE_TIMEOUT_S
        self._unsent_bytes = unsent_bytes(self.transport)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.flow.pause_writing()
        self._expect_taking()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.flow.resume_writing()
        if not self.transport.is_closing():
            self._write_by = NEVER

    def _rest(self) -> None:
        self.deadline = self.loop.time() + KEEP_ALIVE_S

    def expire(self, now: float) -> None:
        """Let go of a client that is late. `now` is on the loop's clock."""
        if self._write_by <= now:
            before, self._unsent_bytes = self._unsent_bytes, unsent_bytes(self.transport)
            self._write_by = now + WRITE_TIMEOUT_S
            if not 0 < self._unsent_bytes < before:
                if self.cycle is not None:
                    self.cycle.disconnected = True
                self.transport.abort()
                return
        if self.deadline > now:
            return
        moved, self._bytes_then = self.reader.bytes - self._bytes_then, self.reader.bytes
        if self.reader.state is _WHOLE and not self.owes():  # nothing is expected: this is no fault
            self.deadline = NEVER
            self._close()
        elif self.pipeline:  # we do not read on while earlier requests are being answered: the client is not to blame
            self.deadline = now + HEADERS_TIMEOUT_S
        elif now < self._upload_until and (moved or self.flow.read_paused):
            self.deadline = now + UPLOAD_IDLE_S  # paused: the provider is slow, or the call is being decided about
        else:
            self.abort()
