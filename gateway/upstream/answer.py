"""An answer over HTTP, as it is read from its connection: a chunk at a time, or all that is here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from gateway.upstream.base import UpstreamFailed


class Arriving(Protocol):
    """An answer's body on its way in, by whichever client: what is here of it, and word of more.

    Attributes:
        pieces: What has come and was not taken yet; `waiting_bytes` long.
        failure: Why there will be no more of it.
    """

    status: int
    pieces: list[bytes]
    waiting_bytes: int
    failure: str | None

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name; looked up in any case."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the body is here to its end."""
        ...

    def news(self) -> asyncio.Future[None]:
        """Done once something has happened."""
        ...

    def take(self) -> bytes:
        """What has come of the body and was not taken yet."""
        ...

    def wake(self) -> None:
        """Let who waits look again."""
        ...

    def abort(self) -> None:
        """Break it off. May be called more than once."""
        ...

    def let_go(self) -> None:
        """The exchange is over; an unfinished one is cut off."""
        ...


class WireAnswer:
    """An answer whose head has arrived; its own iterator of chunks."""

    __slots__ = ("_arriving", "_nudged", "_whole", "headers", "status")

    def __init__(self, arriving: Arriving) -> None:
        self._arriving: Arriving | None = arriving
        self._whole = self._nudged = False
        self.status = arriving.status
        self.headers: Mapping[str, str] = arriving.headers

    def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they arrive. Raises UpstreamFailed if they stop before the end."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        arriving = self._arriving
        if arriving is None:
            if self._whole:
                raise StopAsyncIteration
            raise UpstreamFailed("let go", sent=True)
        while not arriving.pieces:
            if arriving.failure is not None:
                raise UpstreamFailed(arriving.failure, sent=True)
            if arriving.ended:
                self._whole = True
                self.close()
                raise StopAsyncIteration
            try:
                await arriving.news()
            except asyncio.CancelledError:
                arriving.abort()
                raise
            if self._nudged:
                self._nudged = False
                return arriving.take() if arriving.pieces else b""
        return arriving.take()

    def rest(self, bytes_max: int) -> bytes | None:
        """All that is left of the body, if it is here to its end already and no longer than that."""
        arriving = self._arriving
        if arriving is None or not arriving.ended or arriving.failure is not None or arriving.waiting_bytes > bytes_max:
            return None
        body = arriving.take()
        self._whole = True
        self.close()
        return body

    def nudge(self) -> None:
        """Let who waits for the next chunk have an empty one, to look around."""
        if self._arriving is not None:
            self._nudged = True
            self._arriving.wake()

    def close(self) -> None:
        """Let go of the answer; an unfinished one is cut off. May be called more than once."""
        arriving, self._arriving = self._arriving, None
        if arriving is not None:
            arriving.let_go()
