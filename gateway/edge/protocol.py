"""A client's connection: HTTP/1.1 in, ASGI out, with deadlines and a bound for everything that a client may send.

uvicorn's protocol does the parsing of a connection's life; the exchange on it is ours, because it is on every call's
path: a whole answer leaves in one write, no timer is set for a request, and a header is looked at once. Promises: the
head of a request comes within `HEADERS_TIMEOUT_S` and its body within `BODY_CLOSE_S`, what was answered is taken
within `WRITE_TIMEOUT_S` while anything of it moves, or the connection goes (`expire`, which the server calls now and
then); nothing in an answer's fields can end its head; the application learns at once that its client has left.

One request, one reading, one answer: a body is read by its framing whatever its head offers to upgrade to, and where
the framing is in doubt, nothing that follows is read. Only a handshake of RFC 6455 without a body is a handshake.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

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
from gateway.edge.exchange import Exchange
from gateway.edge.head import Head

NEVER = math.inf
_ASGI = {"version": "3.0", "spec_version": "2.3"}
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_NO_REQUEST: Final = "Not a valid HTTP request."
_NOTED = frozenset((b"expect", b"host", b"transfer-encoding", b"upgrade"))
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+;=%:\[\]-]*")  # RFC 9112, §3.2; a list of two is none


class _NoRequest(Exception):
    """What came is not a request that can have one meaning only."""


def unsent_bytes(transport: asyncio.Transport) -> int:
    """What has been written and the other side has not taken.

    asyncio's TLS transport forgets what it stands on when it is closed a second time, and then cannot say.
    """
    try:
        return transport.get_write_buffer_size()
    except AttributeError:
        return 0


class ClientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with deadlines and a bound for a request, and a word when the client leaves."""

    cycle: Exchange | None  # type: ignore[assignment]
    head: Head | None = None  # the last one
    on_gone: Callable[[], None] | None = None
    gone = False
    deadline = NEVER  # on the loop's clock, for what is expected next
    _idle = False  # nothing is expected, so the end of the patience is no fault
    _incoming = True  # a request is
    _in_head = False
    _bytes = 0  # of a request that is still coming, its first piece not counted
    _bytes_max = REQUEST_BYTES_MAX
    _bytes_then = 0  # of an upload, when it was last looked at
    _upload_until = 0.0  # the request is an upload, and may take so long as it moves
    _counted = False
    _spoken = False  # anything at all has come on this connection
    _refuser: http2.Refuser | None = None
    _host: bytes | None = None
    _upgrades: tuple[bytes, ...] = ()  # what the head offers to upgrade to
    _upgrade: str = ""  # what the parser, which stops at any offer, is to go on as: "socket", or "request"
    _over = False  # nothing that comes is read any more
    _write_by = NEVER  # something waits for the client to take it
    _unsent_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.deadline = self.loop.time() + HEADERS_TIMEOUT_S

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.deadline = self._write_by = NEVER
        self.connections.discard(self)
        if self.cycle is not None:
            if not self.cycle.response_complete:
                self.cycle.disconnected = True
            self.cycle.wake()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.parser = None  # type: ignore[assignment]  # it refers back to this
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
        self._counted = True
        if not self._over:
            self._feed(data)
        if not self._counted or not self._incoming:
            return
        self._bytes += len(data)
        if self._bytes <= (HEAD_BYTES_MAX if self._in_head else self._bytes_max) or self.transport.is_closing():
            return
        if self._in_head and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(_HEAD_TOO_LARGE)
            self._close()
        else:
            self.abort()

    def _feed(self, data: bytes) -> None:
        """Let the parser read. It stops at every offer to upgrade (httptools#124), and is brought to go on."""
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as stop:
                rest = memoryview(rest)[stop.args[0] :]
            except httptools.HttpParserError as error:
                known = error.__context__
                self._broken(known if isinstance(known, _NoRequest) else _NoRequest(_NO_REQUEST))
                return
            else:
                return
            if self._upgrade == "socket":
                self._become_socket(bytes(rest))
                return
            try:
                self._read_without_upgrade()
            except httptools.HttpParserError as error:  # pragma: no cover - it has been read before
                self._broken(_NoRequest(str(error)))
                return

    def _read_without_upgrade(self) -> None:
        """Read the head anew as one that offers nothing (RFC 9110, §7.8), and be where its body begins."""
        lines = [b"%b %b HTTP/1.1\r\n" % (self.scope["method"].encode(), self.url)]
        if self.scope["http_version"] == "1.0":
            lines = [lines[0].replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n")]
        lines += [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        lines.append(b"\r\n")
        self._upgrade = ""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"".join(lines))

    def _broken(self, error: _NoRequest) -> None:
        """What comes cannot be understood: an answer for it if it is its turn, and nothing more is read."""
        self._over = True
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
            line, why = STATUS_LINE[400], str(error).encode()
            fields = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close" % len(why)
            self.transport.write(b"%b%b\r\n\r\n%b" % (line, fields, why))
            self._close()
            if cycle is not None:
                cycle.wake()
        else:  # those before it are whole: they are answered
            cycle.keep_alive = False
            self._incoming = self._in_head = True  # and this is bounded, but has no time of its own
            self._bytes = 0
            self.deadline = NEVER

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

    # ---- what the parser says

    def on_message_begin(self) -> None:
        """A request's first byte is here."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._host, self._upgrades = None, ()
        self._in_head = True
        self._bytes, self._counted = 0, False
        self._bytes_max, self._upload_until = REQUEST_BYTES_MAX, 0.0
        if self._idle or not self._incoming:
            self._idle, self._incoming = False, True
            self.deadline = self.loop.time() + HEADERS_TIMEOUT_S

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field is here. Those of a trailer are dropped: nobody may add to a head that has been acted upon."""
        if self._in_head:
            name = name.lower()
            if name in _NOTED:
                self._note(name, value)
            self.headers.append((name, value))

    def _note(self, name: bytes, value: bytes) -> None:
        """A field that tells how to read the rest."""
        if name == b"host":
            if self._host is not None:
                raise _NoRequest("More than one Host.")
            self._host = value
        elif name == b"expect":
            self.expect_100_continue = value.strip().lower() == b"100-continue"
        elif name == b"upgrade":
            self._upgrades += (value.strip().lower(),)
        elif value.strip().lower() != b"chunked":
            raise _NoRequest("A Transfer-Encoding other than chunked.")

    def _check_head(self, version: str) -> None:
        if version != "1.1":
            self.expect_100_continue = False
            if version != "1.0":
                raise _NoRequest("Farthing speaks HTTP/1.1 and HTTP/1.0.")
            if any(name == b"transfer-encoding" for name, _ in self.headers):
                raise _NoRequest("HTTP/1.0 has no Transfer-Encoding.")
        elif self._host is None:
            raise _NoRequest("No Host.")
        if self._host is not None and _HOST.fullmatch(self._host.strip()) is None:
            raise _NoRequest("Not a Host.")

    def on_headers_complete(self) -> None:
        """A request's head is here: the application begins, or waits for its turn."""
        parser, url = self.parser, self.url
        version = parser.get_http_version()
        self._check_head(version)
        self._in_head = False
        self.deadline = self.loop.time() + BODY_CLOSE_S
        if url.startswith(b"/") and url.find(b"#") < 0:
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path, parsed.query or b""
        path = raw_path.decode("ascii")
        self.scope = cast(
            "Any",
            {
                "type": "http",
                "asgi": _ASGI,
                "http_version": version,
                "server": self.server,
                "client": self.client,
                "scheme": self.scheme,
                "root_path": "",
                "headers": self.headers,
                "method": parser.get_method().decode("ascii"),
                "path": unquote(path) if "%" in path else path,
                "raw_path": raw_path,
                "query_string": query,
                CONNECTION: self,
            },
        )
        if parser.should_upgrade():
            self._upgrade = self._upgrading()
            return
        before = self.cycle
        self.cycle = exchange = Exchange(self, keep_alive=version != "1.0" and parser.should_keep_alive())
        if before is None or before.response_complete:
            self._start_asgi_task(exchange, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))

    def _upgrading(self) -> str:
        """What a head is that the parser stops at."""
        scope = self.scope
        if scope["method"] == "CONNECT":
            raise _NoRequest("This is no proxy.")
        waits = self.cycle is not None and not self.cycle.response_complete  # an answer that is still due
        if scope["method"] != "GET" or scope["http_version"] != "1.1" or self._upgrades != (b"websocket",) or waits:
            return "request"
        for name, value in self.headers:
            if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 \t")):
                raise _NoRequest("A WebSocket handshake has no body.")
        return "socket"

    def _become_socket(self, early: bytes) -> None:
        """A handshake is here: from now on the connection is the socket's, with what came too early."""
        self.deadline = NEVER
        self.headers[:] = [field for field in self.headers if field[0] != b"content-length"]  # it is 0
        self.handle_websocket_upgrade()
        protocol = self.transport.get_protocol()
        if early and isinstance(protocol, asyncio.Protocol):
            protocol.data_received(early)

    def on_body(self, body: bytes) -> None:
        """A piece of a request's body is here."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.arrived(body)

    def on_message_complete(self) -> None:
        """A request's last byte is here; or the parser stops at an offer to upgrade."""
        if self._upgrade:
            return
        self._incoming = False
        self.deadline = NEVER
        assert self.cycle is not None  # noqa: S101 - its head has been here
        if self.cycle.response_complete:
            self._rest()
        else:
            self.cycle.more_body = False
            self.cycle.wake()

    # ---- what the application says

    def on_response_complete(self) -> None:
        """An answer's last byte has been written: the next request's turn."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._expect_taking()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._incoming:
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
        if self._incoming and not self.whole:
            self._bytes_max = max(2 * bytes_max, REQUEST_BYTES_MAX)  # with its framing, as every request
            self._upload_until = self.loop.time() + UPLOAD_TIMEOUT_S
            self._bytes_then = self._bytes
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
        super().pause_writing()
        self._expect_taking()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._write_by = NEVER

    def _rest(self) -> None:
        self._idle = True
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
        moved, self._bytes_then = self._bytes - self._bytes_then, self._bytes
        if self._idle:
            self.deadline = NEVER
            self._close()
        elif self.pipeline:  # we do not read on while earlier requests are being answered: the client is not to blame
            self.deadline = now + HEADERS_TIMEOUT_S
        elif now < self._upload_until and (moved or self.flow.read_paused):
            self.deadline = now + UPLOAD_IDLE_S  # paused: the provider is slow, or the call is being decided about
        else:
            self.abort()
