"""The floor: the least that a gateway on this stack can do. It knows no key, no price and no ledger.

Raw ASGI under uvicorn, uvloop and httptools, aiohttp to the upstream; headers and bytes are passed on. What Farthing
costs above this is Farthing's own; what it costs below nobody can save without another stack.

    BENCH_UPSTREAM=http://127.0.0.1:9000 uvicorn scripts.bench.floor:app
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from yarl import URL

_NOT_FORWARDED = {b"host", b"content-length", b"transfer-encoding", b"connection", b"authorization", b"accept-encoding"}
_NOT_RETURNED = {"transfer-encoding", "connection", "keep-alive", "content-length", "content-encoding"}


class Floor:
    """An ASGI application that passes everything on."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._session: aiohttp.ClientSession | None = None

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Pass one request on, and its answer back."""
        if scope["type"] != "http":
            return
        session = self._session
        if session is None:
            session = self._session = _session()
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"] if k not in _NOT_FORWARDED}
        headers["authorization"] = "Bearer upstream"
        url = URL(self._origin + scope["path"], encoded=True)
        async with session.request(scope["method"], url, data=body, headers=headers) as answer:
            passed = [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in answer.headers.items()
                if name.lower() not in _NOT_RETURNED
            ]
            if answer.content_type == "text/event-stream":
                await send({"type": "http.response.start", "status": answer.status, "headers": passed})
                async for chunk in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
                return
            whole = await answer.read()
            passed.append((b"content-length", b"%d" % len(whole)))
            await send({"type": "http.response.start", "status": answer.status, "headers": passed})
            await send({"type": "http.response.body", "body": whole})


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )


app = Floor(os.environ.get("BENCH_UPSTREAM", ""))
