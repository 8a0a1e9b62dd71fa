"""An answer over HTTP, as it is read from its connection: a chunk at a time, or all that is here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from gateway.upstream.base import UpstreamFailed
from gateway.upstream.connection import Connection, Owner


class WireAnswer:
    """An answer whose head has arrived; its own iterator of chunks."""

    __slots__ = ("_connection", "_nudged", "_pool", "_whole", "headers", "status")

    def __init__(self, pool: Owner, connection: Connection) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._whole = self._nudged = False
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers

    def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they arrive. Raises UpstreamFailed if they stop before the end."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection is None:
            if self._whole:
                raise StopAsyncIteration
            raise UpstreamFailed("let go", sent=True)
        while not connection.pieces:
            if connection.failure is not None:
                raise UpstreamFailed(connection.failure, sent=True)
            if connection.ended:
                self._whole = True
                self.close()
                raise StopAsyncIteration
            try:
                await connection.news()
            except asyncio.CancelledError:
                connection.abort()
                raise
            if self._nudged:
                self._nudged = False
                return connection.take() if connection.pieces else b""
        return connection.take()

    def rest(self, bytes_max: int) -> bytes | None:
        """All that is left of the body, if it is here to its end already and no longer than that."""
        connection = self._connection
        if (
            connection is None
            or not connection.ended
            or connection.failure is not None
            or connection.waiting_bytes > bytes_max
        ):
            return None
        body = connection.take()
        self._whole = True
        self.close()
        return body

    def nudge(self) -> None:
        """Let who waits for the next chunk have an empty one, to look around."""
        if self._connection is not None:
            self._nudged = True
            self._connection.wake()

    def close(self) -> None:
        """Let go of the answer; an unfinished one is cut off. May be called more than once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(connection)
