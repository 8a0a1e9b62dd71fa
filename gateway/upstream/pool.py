"""The connections to one origin: opened, kept, taken again, and the heads of the requests that go out on them.

Promises: no redirect, cookie, proxy or decompression; certificates and host names are verified; a head says what it was
given and nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from typing import cast

import aiohappyeyeballs

from gateway.bounds import (
    CONNECT_TIMEOUT_S,
    DNS_TTL_S,
    HEADS_REMEMBERED_MAX,
    IDLE_CONNECTIONS_MAX,
    NEXT_ADDRESS_S,
    UPSTREAM_KEEP_ALIVE_S,
)
from gateway.http1.heads import Malformed, begun, says_no_length
from gateway.upstream.answer import WireAnswer
from gateway.upstream.base import Body, Unsendable, UpstreamFailed
from gateway.upstream.connection import Connection
from gateway.upstream.origins import Origin, is_silent, patience_s, trusting

LOOKED_AT_S = 0.01  # no provider closes a connection so soon after its answer; only a longer rest is looked into


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
        self._origin = Origin.of(origin)
        self.loop = asyncio.get_running_loop()
        self._tls = (tls or trusting()) if self._origin.secure else None
        self._connect_timeout_s, self._keep_alive_s = connect_timeout_s, keep_alive_s
        self._idle: dict[Connection, None] = {}  # the oldest first
        self._open: set[Connection] = set()
        self._heads: dict[tuple[str, str, tuple[tuple[str, str], ...]], bytes] = {}  # a credential is in each
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
        return WireAnswer(connection)

    def _head(self, method: str, target: str, headers: Mapping[str, str], body: bytes | Body) -> bytes:
        said = method, target, tuple(headers.items())
        start = self._heads.get(said) or self._begun(said)
        if not isinstance(body, bytes):
            if body.length is None:
                return start + b"transfer-encoding: chunked\r\n\r\n"
            return b"%bcontent-length: %d\r\n\r\n" % (start, body.length)
        if says_no_length(method, empty=not body):
            return start + b"\r\n"
        return b"%bcontent-length: %d\r\n\r\n" % (start, len(body))

    def _begun(self, said: tuple[str, str, tuple[tuple[str, str], ...]]) -> bytes:
        """How such a request begins, remembered until the next sweep."""
        method, target, headers = said
        try:
            start = begun(method, target, self._origin.name, headers)
        except Malformed:
            raise Unsendable() from None
        if len(self._heads) >= HEADS_REMEMBERED_MAX:
            self._heads.clear()
        self._heads[said] = start
        self._sweep_later()
        return start

    def _pick(self) -> Connection | None:
        now = self.loop.time()
        while self._idle:
            connection, _ = self._idle.popitem()
            rested = now - connection.rests_since >= LOOKED_AT_S
            if connection.expires > now and connection.open and (not rested or is_silent(connection.socket)):
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
                    server_hostname=self._origin.host if self._tls is not None else None,
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
                    found = await self.loop.getaddrinfo(self._origin.host, self._origin.port, type=socket.SOCK_STREAM)
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
        connection.rests_since = self.loop.time()
        connection.expires = connection.rests_since + patience_s(hint, self._keep_alive_s)
        self._idle[connection] = None
        self._sweep_later()

    def _sweep_later(self) -> None:
        if self._sweeping is None:
            self._sweeping = self.loop.call_later(self._keep_alive_s, self._sweep)

    def _sweep(self) -> None:
        now = self.loop.time()
        self._heads.clear()
        for connection in [each for each in self._idle if each.expires <= now]:
            connection.abort()
            self._idle.pop(connection, None)
        self._sweeping = None
        if self._idle:
            self._sweep_later()

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
        self._heads.clear()
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()
        for _ in range(10):  # a transport says goodbye in one of the loop's next turns
            if not self._open:
                return
            await asyncio.sleep(0)
