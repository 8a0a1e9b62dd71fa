"""Requests, read off the bytes of a client's connection: heads, bodies, and where one ends.

Promises: one meaning or none. A body is read by its framing whatever its head offers to upgrade to, and where the
framing is in doubt nothing that follows is read; only a handshake of RFC 6455 without a body is a handshake. However
the bytes are cut, what is heard is the same. Knows no clock, no socket and no application.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, Protocol

import httptools

from gateway.http1.fields import RawFields, is_chunked, length_of

_NO_REQUEST: Final = "Not a valid HTTP request."
_NOTED = frozenset((b"expect", b"host", b"transfer-encoding", b"upgrade"))
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+;=%:\[\]-]*")  # RFC 9112, §3.2; a list of two is none


class Reading(Enum):
    """Where in a connection's requests the next byte belongs."""

    START = "nothing has come of the first request"
    HEAD = "in a request's head"
    BODY = "in its body, or at its end"
    WHOLE = "behind a whole request: another may begin"
    OVER = "nowhere: it is not read any more"


class _Goes(Enum):
    """What a head is at which the parser stops, because it offers to upgrade."""

    ON = "it does not"
    AS_REQUEST = "a request like others"
    AS_SOCKET = "a WebSocket's handshake"


# Before Python 3.12 an enumeration's member costs a call wherever it is named.
_START, _HEAD, _BODY, _WHOLE, _OVER = Reading
_ON, _AS_REQUEST, _AS_SOCKET = _Goes


class NoRequest(Exception):
    """What came is not a request that can have one meaning only; it says why."""


class RequestHead:
    """A request's head. `fields` have names in lower case; `target` is as sent, `path` and `query` its parts."""

    __slots__ = ("expects_continue", "fields", "keep_alive", "method", "path", "query", "target", "version")

    def __init__(
        self, method: str, target: bytes, version: str, fields: RawFields, *, expects_continue: bool, keep_alive: bool
    ) -> None:
        self.method, self.target, self.version, self.fields = method, target, version, fields
        self.expects_continue, self.keep_alive = expects_continue, keep_alive
        if target.startswith(b"/") and target.find(b"#") < 0:
            self.path, _, self.query = target.partition(b"?")
        else:
            parsed = httptools.parse_url(target)
            self.path, self.query = parsed.path, parsed.query or b""


class Listener(Protocol):
    """Who is told what was read."""

    def begun(self) -> None:
        """A request's first byte is here."""
        ...

    def headed(self, head: RequestHead) -> None:
        """A request's head is here."""
        ...

    def arrived(self, body: bytes) -> None:
        """A piece of its body is here."""
        ...

    def ended(self) -> None:
        """Its last byte is here."""
        ...

    def shook_hands(self, head: RequestHead, early: bytes) -> None:
        """A WebSocket's handshake is here instead, and what came too early. Nothing more is read."""
        ...

    def broken(self, why: NoRequest) -> None:
        """What comes cannot be understood. Nothing more is read."""
        ...

    def owes(self) -> bool:
        """Whether the answer to an earlier request is still due: then nothing is a handshake."""
        ...


class RequestReader:
    """Reads a connection's requests. `state`: where the next byte belongs; `bytes`: how long the last one is so far."""

    def __init__(self, listener: Listener) -> None:
        self.state = _START
        self.bytes = 0  # of a request that is still coming, its first piece not counted
        self._listener = listener
        self._fields: RawFields = []
        self._url = b""
        self._goes = _ON
        self._first_piece = False
        self._expects_continue = False
        self._host: bytes | None = None
        self._upgrades: tuple[bytes, ...] = ()  # what the head offers to upgrade to
        self._head: RequestHead | None = None
        self.on_body = listener.arrived  # the parser's word for it
        self._parser: httptools.HttpRequestParser | None = self._made()

    def _made(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # A whole request is answered, whatever comes behind one that was to be the last.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def close(self) -> None:
        """Read nothing more, and know nobody any more: they know this, too."""
        self.state = _OVER
        self._parser = None
        del self._listener, self.on_body

    @property
    def incoming(self) -> bool:
        """Whether the rest of a request is expected, or of what cannot be read as one."""
        return self.state is not _WHOLE

    def feed(self, data: bytes) -> None:
        """Read on. What counts is how far a request is when all of this is read."""
        self._first_piece = False
        if self.state is not _OVER:
            self._feed(data)
        if not self._first_piece and self.state is not _WHOLE:
            self.bytes += len(data)

    def _feed(self, data: bytes) -> None:
        """Let the parser read. It stops at every offer to upgrade (httptools#124), and is brought to go on."""
        rest: bytes | memoryview = data
        while self._parser is not None:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as stop:
                rest = memoryview(rest)[stop.args[0] :]
            except httptools.HttpParserError as error:
                known = error.__context__
                self._break(known if isinstance(known, NoRequest) else NoRequest(_NO_REQUEST))
                return
            else:
                return
            head = self._head
            if head is not None and self._goes is _AS_SOCKET:
                self.state, self._parser = _WHOLE, None
                self._listener.shook_hands(head, bytes(rest))
                return
            try:
                self._read_without_upgrade()
            except httptools.HttpParserError as error:  # pragma: no cover - it has been read before
                self._break(NoRequest(str(error)))
                return

    def _break(self, why: NoRequest) -> None:
        self.state = _OVER
        self._listener.broken(why)

    def drop(self) -> None:
        """What comes is not read any more, but still counted."""
        self.state, self.bytes, self._first_piece = _OVER, 0, False

    def _read_without_upgrade(self) -> None:
        """Read the head anew as one that offers nothing (RFC 9110, §7.8), and be where its body begins."""
        head = self._head
        if head is None:  # pragma: no cover - there is one where the parser stops
            raise NoRequest(_NO_REQUEST)
        lines = [b"%b %b HTTP/%b\r\n" % (head.method.encode(), head.target, head.version.encode())]
        lines += [b"%b: %b\r\n" % field for field in head.fields if field[0] != b"upgrade"]
        lines.append(b"\r\n")
        self._goes = _ON
        self._parser = self._made()
        self._parser.feed_data(b"".join(lines))

    # ---- what the parser says; what is raised here makes it fail

    def on_message_begin(self) -> None:
        """A request's first byte is here."""
        self._url = b""
        self._fields = []
        self._expects_continue = False
        self._host, self._upgrades = None, ()
        self.bytes, self._first_piece = 0, True
        self._listener.begun()
        self.state = _HEAD

    def on_url(self, url: bytes) -> None:
        """A piece of its target is here."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field is here. Those of a trailer are dropped: nobody may add to a head that has been acted upon."""
        if self.state is _HEAD:
            name = name.lower()
            if name in _NOTED:
                self._note(name, value)
            self._fields.append((name, value))

    def _note(self, name: bytes, value: bytes) -> None:
        """A field that tells how to read the rest."""
        if name == b"host":
            if self._host is not None:
                raise NoRequest("More than one Host.")
            self._host = value
        elif name == b"expect":
            self._expects_continue = value.strip().lower() == b"100-continue"
        elif name == b"upgrade":
            self._upgrades += (value.strip().lower(),)
        elif not is_chunked(value):
            raise NoRequest("A Transfer-Encoding other than chunked.")

    def _check(self, version: str) -> None:
        if version != "1.1":
            self._expects_continue = False
            if version != "1.0":
                raise NoRequest("Farthing speaks HTTP/1.1 and HTTP/1.0.")
            if any(name == b"transfer-encoding" for name, _ in self._fields):
                raise NoRequest("HTTP/1.0 has no Transfer-Encoding.")
        elif self._host is None:
            raise NoRequest("No Host.")
        if self._host is not None and _HOST.fullmatch(self._host.strip()) is None:
            raise NoRequest("Not a Host.")

    def on_headers_complete(self) -> None:
        """A request's head is here; it is told, unless the parser stops at it."""
        parser = self._parser
        if parser is None:  # pragma: no cover - it is the one that calls
            return
        version = parser.get_http_version()
        self._check(version)
        self.state = _BODY
        head = RequestHead(
            parser.get_method().decode("ascii"),
            self._url,
            version,
            self._fields,
            expects_continue=self._expects_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
        )
        if parser.should_upgrade():
            self._goes, self._head = self._upgrading(head), head
            return
        self._listener.headed(head)

    def _upgrading(self, head: RequestHead) -> _Goes:
        if head.method == "CONNECT":
            raise NoRequest("This is no proxy.")
        if head.method != "GET" or head.version != "1.1" or self._upgrades != (b"websocket",) or self._listener.owes():
            return _AS_REQUEST
        for name, value in head.fields:
            if name == b"transfer-encoding" or (name == b"content-length" and length_of(value) != 0):
                raise NoRequest("A WebSocket handshake has no body.")
        return _AS_SOCKET

    def on_message_complete(self) -> None:
        """A request's last byte is here; or the parser stops at an offer to upgrade."""
        if self._goes is _ON:
            self.state = _WHOLE
            self._listener.ended()
