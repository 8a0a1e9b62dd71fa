"""The way to a provider: one small interface, and the two things behind it.

`HttpUpstream` speaks to real providers through one pooled aiohttp session. `SimulatedUpstream` answers test keys from
the built-in simulator, through the same interface and so through the same path. Both say of a failure whether the
request can have reached the provider: only then can it have cost anything.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from gateway.bounds import CONNECT_TIMEOUT_S, UPSTREAM_KEEP_ALIVE_S, WHOLE_BYTES_MAX
from providers.simulator import Cut, Faults, Pause, answer


class UpstreamFailed(Exception):
    """The provider did not answer, or stopped answering. `sent`: the request may have reached it."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Forward(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it goes out."""

    method: str
    origin: str
    target: str  # path and query
    headers: dict[str, str]
    body: bytes
    call_id: str
    faults: Faults | None = None


class Answer(Protocol):
    """An answer whose head has arrived."""

    status: int
    headers: Mapping[str, str]  # case-insensitive

    def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they arrive. Raises UpstreamFailed if they stop before the end."""
        ...

    def close(self) -> None:
        """Let go of the answer; an unfinished one is cut off. May be called more than once."""
        ...


class Upstream(Protocol):
    """Something that answers forwarded requests."""

    async def send(self, request: Forward) -> Answer:
        """Send a request and wait for the answer's head. Raises UpstreamFailed."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...


class _HttpAnswer:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamFailed(type(error).__name__, sent=True) from error

    def close(self) -> None:
        self._response.close()


class HttpUpstream:
    """Real providers, over one session: no redirects, no cookies, no decompression, no proxy from the environment."""

    def __init__(self) -> None:
        connector = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=UPSTREAM_KEEP_ALIVE_S, family=socket.AF_UNSPEC, ttl_dns_cache=30
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            trust_env=False,
        )

    async def send(self, request: Forward) -> Answer:
        """See `Upstream`."""
        try:
            response = await self._session.request(
                request.method,
                URL(request.origin + request.target, encoded=True),
                data=io.BytesIO(request.body) if len(request.body) > WHOLE_BYTES_MAX else request.body or None,
                headers=request.headers,
                allow_redirects=False,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise UpstreamFailed(type(error).__name__, sent=False) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamFailed(type(error).__name__, sent=True) from error
        return _HttpAnswer(response)

    async def close(self) -> None:
        """See `Upstream`."""
        await self._session.close()


class _SimulatedAnswer:
    def __init__(self, status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
        self.status = status
        self.headers = headers
        self._chunks = chunks

    def chunks(self) -> AsyncIterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """Nothing is open."""


class SimulatedUpstream:
    """The built-in simulator, for test keys."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms

    async def send(self, request: Forward) -> Answer:
        """See `Upstream`."""
        simulated = answer(
            request.method,
            request.target,
            request.headers,
            request.body,
            faults=request.faults or Faults(),
            request_id=f"req_{request.call_id}",  # as the providers' own look
            now_s=self._clock_ms() // 1000,
        )
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
