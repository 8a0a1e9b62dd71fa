"""Real providers over HTTP, behind `Upstream`."""

from __future__ import annotations

import ssl

from gateway.bounds import CONNECT_TIMEOUT_S
from gateway.upstream.base import Answer, Forward, UpstreamFailed
from gateway.upstream.origins import trusting
from gateway.upstream.pool import Pool


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
