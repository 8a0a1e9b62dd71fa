"""The connections to one origin: opened, kept, taken again, and the heads of the requests that go out on them.

Promises: no redirect, cookie, proxy or decompression; certificates and host names are verified; a head says what it was
given and nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import socket
import ssl
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import aiohappyeyeballs

from gateway.bounds import (
    CONNECT_TIMEOUT_S,
    DNS_TTL_S,
    IDLE_CONNECTIONS_MAX,
    NEXT_ADDRESS_S,
    UPSTREAM_KEEP_ALIVE_S,
)
from gateway.upstream.answer import WireAnswer
from gateway.upstream.base import Body, UpstreamFailed
from gateway.upstream.connection import Connection

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"/[!-~\x80-\xff]*")
_KEEP_ALIVE_HINT = re.compile(r"timeout\s*=\s*(\d{1,9})", re.IGNORECASE)
_OURS = frozenset(("connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"))
LOOKED_AT_S = 0.01  # no provider closes a connection so soon after its answer; only a longer rest is looked into
_HINT_MARGIN_S = 1.0  # by how much a connection is given up before the provider said it would close it


class Pool:
    """The connections to one origin: the youngest idle one is taken first, the others expire.

    Raises ValueError if the origin is none.
    """

    def __init__(
        self,
        origin: str,
        *,
        tls: ssl.SSLContext | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        keep_alive_s: float = UPSTREAM_KEEP_ALIVE_S,
    ) -> None:
        """With `tls`, that context instead of the system's trust."""
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an origin")
        secure = parts.scheme == "https"
        self.loop = asyncio.get_running_loop()
        self._tls = (tls or trusting()) if secure else None
        self._host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode("ascii")
        self._port = parts.port or (443 if secure else 80)
        name = f"[{self._host}]" if ":" in self._host else self._host
        if parts.port not in (None, 443 if secure else 80):
            name = f"{name}:{parts.port}"
        self._start = f" HTTP/1.1\r\nHost: {name}\r\n"
        self._connect_timeout_s, self._keep_alive_s = connect_timeout_s, keep_alive_s
        self._idle: dict[Connection, None] = {}  # the oldest first
        self._open: set[Connection] = set()
        self._addresses: list[aiohappyeyeballs.AddrInfoType] = []
        self._addresses_until = 0.0
        self._resolving = asyncio.Lock()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | Body) -> WireAnswer:
        """Send a request and wait for the answer's head. Raises UpstreamFailed, and whatever the body raises."""
        if self._closed:
            raise UpstreamFailed("closed", sent=False)
        head = self._head(method, target, headers, body)
        connection = self._pick()
        if connection is None:
            connection = await self._connect()
        await connection.exchange(head, body, bodiless=method == "HEAD")
        return WireAnswer(self, connection)

    def _head(self, method: str, target: str, headers: Mapping[str, str], body: bytes | Body) -> bytes:
        begun = _begun(method, target, self._start, tuple(headers.items()))
        if not isinstance(body, bytes):
            if body.length is None:
                return begun + b"transfer-encoding: chunked\r\n\r\n"
            return b"%bcontent-length: %d\r\n\r\n" % (begun, body.length)
        if body or method not in ("GET", "HEAD", "DELETE", "OPTIONS"):
            return b"%bcontent-length: %d\r\n\r\n" % (begun, len(body))
        return begun + b"\r\n"

    def _pick(self) -> Connection | None:
        now = self.loop.time()
        while self._idle:
            connection, _ = self._idle.popitem()
            rested = now - connection.rests_since >= LOOKED_AT_S
            if connection.expires > now and connection.open and (not rested or connection.silent()):
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        connection = Connection(self)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                found = await aiohappyeyeballs.start_connection(
                    await self._resolve(), happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1, loop=self.loop
                )
                with contextlib.suppress(OSError):
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                await self.loop.create_connection(  # from here on the loop closes the socket, whatever happens
                    lambda: connection,
                    sock=found,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls is not None else None,
                )
        except (OSError, RuntimeError) as error:  # uvloop tells of some dead sockets by a RuntimeError
            self._addresses_until = 0.0
            connection.forsake()
            raise UpstreamFailed(type(error).__name__, sent=False) from error
        except asyncio.CancelledError:
            connection.forsake()
            raise
        if self._closed or not connection.open:
            connection.abort()
            raise UpstreamFailed("closed at once", sent=False)
        return connection

    async def _resolve(self) -> list[aiohappyeyeballs.AddrInfoType]:
        if self.loop.time() >= self._addresses_until:
            async with self._resolving:
                if self.loop.time() >= self._addresses_until:
                    found = await self.loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                    if not found:
                        raise OSError("no address")
                    self._addresses = cast("list[aiohappyeyeballs.AddrInfoType]", found)
                    self._addresses_until = self.loop.time() + DNS_TTL_S
        return self._addresses

    def give_back(self, connection: Connection) -> None:
        """The exchange on a connection is over."""
        hint = dict.get(connection.headers, "keep-alive")
        if not connection.finish():
            return
        if self._closed or len(self._idle) >= IDLE_CONNECTIONS_MAX:
            connection.abort()
            return
        keep_s = self._keep_alive_s
        if hint is not None and (found := _KEEP_ALIVE_HINT.search(hint)) is not None:
            keep_s = min(keep_s, float(found[1]) - _HINT_MARGIN_S)
        connection.rests_since = self.loop.time()
        connection.expires = connection.rests_since + keep_s
        self._idle[connection] = None
        if self._sweeping is None:
            self._sweeping = self.loop.call_later(self._keep_alive_s, self._sweep)

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in [each for each in self._idle if each.expires <= now]:
            connection.abort()
            self._idle.pop(connection, None)
        self._sweeping = self.loop.call_later(self._keep_alive_s, self._sweep) if self._idle else None

    def opened(self, connection: Connection) -> None:
        """A connection has come to be."""
        self._open.add(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        self._idle.pop(connection, None)

    async def close(self) -> None:
        """Cut off what is unfinished, close everything, take no more requests."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()
        for _ in range(10):  # a transport says goodbye in one of the loop's next turns
            if not self._open:
                return
            await asyncio.sleep(0)


@functools.lru_cache(maxsize=64)
def _begun(method: str, target: str, start: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """A request's head, but for its framing. Most requests to one provider begin alike, whoever sends them.

    Raises UpstreamFailed if it would be read as anything else than what is meant.
    """
    lines = [method, " ", target, start]
    for name, value in headers:
        lines += (_field(name), value, "\r\n")
    text = "".join(lines)
    breaks = 2 + len(headers)
    if (
        text.count("\n") != breaks
        or text.count("\r") != breaks
        or "\0" in text
        or not _TARGET.fullmatch(target)
        or not _TOKEN.fullmatch(method)
    ):
        raise UpstreamFailed("not a request that can be sent", sent=False)
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise UpstreamFailed("not a request that can be sent", sent=False) from error


@functools.lru_cache(maxsize=1024)
def _field(name: str) -> str:
    """The start of a field's line. Raises UpstreamFailed if the name is none, or not the caller's to set."""
    if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
        raise UpstreamFailed("not a request that can be sent", sent=False)
    return f"{name}: "


@functools.cache
def trusting() -> ssl.SSLContext:
    """The system's trust: certificates and host names are verified."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
