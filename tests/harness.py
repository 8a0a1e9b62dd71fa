"""A whole gateway for tests: real uvicorn sockets, a real SQLite file, a real upstream. Nothing of it is faked.

async with running(tmp_path) as farthing:            # providers are `farthing.upstream`
    key = await farthing.mint(max_spend_usd="1")     # a live key: goes over sockets to the upstream
    test_key = await farthing.mint(livemode=False)   # a test key: answered by the built-in simulator
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

from gateway import config
from gateway.app import Gateway, clock_ms
from gateway.edge.server import Server, listen
from ledger.audit import Audit
from providers.ground.vendors import VENDORS
from tests.certificates import Certificates, spare_threads
from tests.upstream import Upstream

MASTER = "master-key-of-the-tests-0123456789"
NOWHERE = "http://127.0.0.1:1"
PROVIDER_KEY = "sk-provider-canary-5f2a9c"


def settings(tmp_path: Path, upstream: Upstream | None, **environment: str) -> config.Settings:
    """Settings with every provider at its place of `upstream`; None: nowhere that answers."""
    values = {
        "FARTHING_DATABASE_URL": f"sqlite:///{tmp_path}/farthing.db",
        "FARTHING_STATE_DIR": str(tmp_path),
        "FARTHING_MASTER_KEY": MASTER,
        "FARTHING_DISCONNECT_DRAIN_S": "1",
        **{vendor.key_env: PROVIDER_KEY for vendor in VENDORS.values()},
        **{
            f"FARTHING_UPSTREAM_{vendor.setting}": NOWHERE if upstream is None else upstream.origin(vendor.name)
            for vendor in VENDORS.values()
        },
    }
    if (client := os.environ.get("FARTHING_UPSTREAM_CLIENT")) is not None:
        values["FARTHING_UPSTREAM_CLIENT"] = client
    return config.load(values | environment)


class Running:
    """A gateway that runs, its upstream, and a plain HTTP client."""

    def __init__(self, gateway: Gateway, url: str, upstream: Upstream, http: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.url = url
        self.upstream = upstream
        self.http = http

    async def api(
        self, method: str, path: str, body: Any = None, *, key: str = MASTER, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """One management call: status and decoded JSON (text where it is no JSON)."""
        async with self.http.request(
            method, self.url + path, json=body, headers={"authorization": f"Bearer {key}"} | (headers or {})
        ) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    async def mint(self, *, by: str = MASTER, **fields: Any) -> dict[str, Any]:
        """Mint a key; the key object with its secret."""
        status, key = await self.api("POST", "/v1/keys", fields, key=by)
        assert status == 201, key
        assert isinstance(key, dict)
        return key

    async def call(
        self, secret: str, body: Any, path: str = "/v1/chat/completions", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One inference call: status, headers by lower-case name, body."""
        raw = body if isinstance(body, bytes) else None
        async with self.http.post(
            self.url + path,
            json=None if raw is not None else body,
            data=io.BytesIO(raw) if raw else raw,  # bytes above 1 MB would warn
            headers={"authorization": f"Bearer {secret}"} | (headers or {}),
        ) as response:
            content = await response.read()
            return response.status, {name.lower(): value for name, value in response.headers.items()}, content

    async def quiet(self, timeout_s: float = 10.0) -> None:
        """Wait until nothing is in flight and everything is settled."""
        async with asyncio.timeout(timeout_s):
            while len(self.gateway.flights) or self.gateway.ledger.waiting:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.02)
        await self.gateway.ledger.setting("quiet", "yes")  # behind everything that was being written

    async def audited(self) -> Audit:
        """The audit's finding, which must be clean."""
        await self.quiet()
        finding = await self.gateway.ledger.reports.audit()
        assert finding.count == 0, finding.differences
        return finding

    async def events(self, **filters: Any) -> list[dict[str, Any]]:
        """The newest 100 events, newest first."""
        await self.quiet()
        query = "&".join(f"{name}={value}" for name, value in filters.items())
        status, page = await self.api("GET", f"/v1/events?limit=100&{query}")
        assert status == 200, page
        return list(page["data"])


@contextlib.asynccontextmanager
async def running(
    tmp_path: Path, *, clock: Callable[[], int] = clock_ms, tls: Certificates | None = None, **environment: str
) -> AsyncIterator[Running]:
    """A gateway on a free port, over a fresh upstream; stopped and closed at the end. `clock` gives Unix ms.

    With `tls` it takes TLS only, and the upstream takes it too, at places of its own (`Upstream.secure_origin`).
    """
    environment = (tls.settings if tls is not None else {}) | environment
    async with Upstream(tls=tls.serving() if tls is not None else None) as upstream:
        listener = listen("127.0.0.1", 0)
        url = f"{'https' if tls is not None else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        set_up = settings(tmp_path, upstream, **environment)
        async with Gateway.open(set_up, clock_ms=clock) as (gateway, _master):
            server = Server(gateway, gateway.drain, set_up.tls)
            if server.config.ssl is not None:
                spare_threads(server.config.ssl)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                trusted = aiohttp.TCPConnector(ssl=tls.trusting() if tls is not None else True)
                async with aiohttp.ClientSession(connector=trusted) as http:
                    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                        await asyncio.sleep(0.005)
                    yield Running(gateway, url, upstream, http)
            finally:
                server.stop()
                server.stop()
                await serving
