"""The way to a provider: one small interface, and the two things behind it.

`HttpUpstream` speaks to real providers through `gateway.wire`. `SimulatedUpstream` answers test keys from the built-in
simulator, through the same interface and so through the same path. Both say of a failure whether the request can have
reached the provider: only then can it have cost anything.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

import msgspec
from multidict import CIMultiDict

from gateway.apart import HelperFailed, joined
from gateway.bounds import BODY_BYTES_MAX, CONNECT_TIMEOUT_S, READ_APART_BYTES
from gateway.problems import CallError
from gateway.simulating import Asked, Simulations
from gateway.upload import Upload
from gateway.wire import Pool, trusting
from gateway.wire import UpstreamFailed as UpstreamFailed
from providers.simulator import Cut, Faults, Pause


class Forward(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it goes out."""

    provider: str
    method: str
    origin: str
    target: str  # path and query
    headers: dict[str, str]
    body: bytes | Upload
    call_id: str
    faults: Faults | None = None


class Answer(Protocol):
    """An answer whose head has arrived."""

    status: int
    headers: Mapping[str, str]  # case-insensitive

    def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they arrive. Raises UpstreamFailed if they stop before the end."""
        ...

    def nudge(self) -> None:
        """Let who waits for the next chunk have an empty one, if that is possible: to look around."""
        ...

    def close(self) -> None:
        """Let go of the answer; an unfinished one is cut off. May be called more than once."""
        ...


class Upstream(Protocol):
    """Something that answers forwarded requests."""

    async def send(self, request: Forward) -> Answer:
        """Send a request and wait for the answer's head. Raises UpstreamFailed, and what an upload raises."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...


class HttpUpstream:
    """Real providers, over a pool of connections to each. With `tls`, that context instead of the system's trust."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls or trusting()
        self._pools: dict[str, Pool] = {}
        self._closed = False

    async def send(self, request: Forward) -> Answer:
        """See `Upstream`."""
        pool = self._pools.get(request.origin)
        if pool is None:
            pool = self._pool(request.origin)
        return await pool.send(request.method, request.target, request.headers, request.body)

    def _pool(self, origin: str) -> Pool:
        if self._closed:
            raise UpstreamFailed("closed", sent=False)
        try:
            pool = Pool(origin, tls=self._tls, connect_timeout_s=CONNECT_TIMEOUT_S)
        except ValueError as error:
            raise UpstreamFailed("not an origin", sent=False) from error
        self._pools[origin] = pool
        return pool

    async def close(self) -> None:
        """See `Upstream`."""
        self._closed = True
        for pool in self._pools.values():
            await pool.close()


class _SimulatedAnswer:
    def __init__(self, status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
        self.status = status
        self.headers = headers
        self._chunks = chunks

    def chunks(self) -> AsyncIterator[bytes]:
        return self._chunks

    def nudge(self) -> None:
        """Whoever waits here waits for nobody."""

    def close(self) -> None:
        """Nothing is open."""


async def _whole(upload: Upload) -> bytes:
    """An upload, for the simulator, which keeps no more than a body of the ordinary kind. Raises CallError."""
    pieces: list[bytes] = []
    size = 0
    async for piece in upload.chunks():
        size += len(piece)
        if size > BODY_BYTES_MAX:
            raise CallError(413, "request_too_large", f"With test keys, an upload has at most {BODY_BYTES_MAX} bytes.")
        pieces.append(piece)
    return await joined(pieces, size)


class SimulatedUpstream:
    """The built-in simulator, for test keys."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._simulations = Simulations()

    async def send(self, request: Forward) -> Answer:
        """See `Upstream`."""
        body = request.body if isinstance(request.body, bytes) else await _whole(request.body)
        asked = Asked(
            method=request.method,
            path=request.target,
            headers=request.headers,
            provider=request.provider,
            faults=request.faults or Faults(),
            request_id=f"req_{request.call_id}",  # as the providers' own look
            now_s=self._clock_ms() // 1000,
        )
        if len(body) <= READ_APART_BYTES:
            simulated = asked.answered(body)
        else:  # of which it counts every word: that takes seconds
            try:
                simulated = await self._simulations.answer(asked, body)
            except HelperFailed:
                raise UpstreamFailed("simulator overloaded", sent=False) from None
        steps = iter(simulated.steps)
        first: bytes | None = None
        for step in steps:  # the head is sent with the first byte of the body
            if isinstance(step, Pause):
                await asyncio.sleep(step.ms / 1000)
            elif isinstance(step, Cut):
                raise UpstreamFailed("simulated disconnect", sent=True)
            else:
                first = step
                break

        async def chunks() -> AsyncIterator[bytes]:
            if first is None:
                return
            yield first
            for step in steps:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.ms / 1000)
                elif isinstance(step, Cut):
                    raise UpstreamFailed("simulated disconnect", sent=True)
                else:
                    yield step
                    await asyncio.sleep(0)

        return _SimulatedAnswer(simulated.status, CIMultiDict(simulated.headers), chunks())

    async def close(self) -> None:
        """See `Upstream`."""
        await self._simulations.close()
