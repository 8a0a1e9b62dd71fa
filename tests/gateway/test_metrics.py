"""Who may look at the metrics, which tell of all tenants."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest

from gateway.config import BadSetting
from ledger.accounts import Accounts
from ledger.records import LedgerUnavailable
from tests.harness import MASTER, NOWHERE, Running, settings
from tests.process import Served


async def test_metrics_are_the_operator_s(farthing: Running) -> None:
    """A master key opens them, and a key that it made to read; a tenant's own reader does not, nor no key."""
    team = await farthing.mint(scope="team", max_spend_usd="1")
    for key, expected in (
        (MASTER, 200),
        ((await farthing.mint(scope="read"))["secret"], 200),
        ((await farthing.mint(by=team["secret"], scope="read"))["secret"], 403),
        (team["secret"], 403),
        ((await farthing.mint(max_spend_usd="1"))["secret"], 403),
        ((await farthing.mint(scope="ingest"))["secret"], 403),
        ("none", 401),
    ):
        for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
            async with farthing.http.get(farthing.url + "/metrics", headers=headers) as answer:
                assert answer.status == expected, headers
                assert ("farthing_commits" in await answer.text()) is (expected == 200)
    async with farthing.http.get(farthing.url + "/metrics") as answer:
        assert answer.status == 401
    reader = await farthing.mint(scope="read")
    assert (await farthing.api("GET", "/metrics", key=reader["secret"]))[0] == 200
    await farthing.api("DELETE", f"/v1/keys/{reader['id']}")
    assert (await farthing.api("GET", "/metrics", key=reader["secret"]))[0] == 401


async def test_metrics_are_there_while_the_ledger_is_not(farthing: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """For whoever has looked before: that is when they are wanted most."""
    assert (await farthing.api("GET", "/metrics"))[0] == 200

    async def away(*_: object) -> None:
        raise LedgerUnavailable

    for name in ("chain", "credential"):
        monkeypatch.setattr(Accounts, name, away)
    assert (await farthing.api("GET", "/metrics"))[0] == 200
    assert (await farthing.api("GET", "/v1/keys"))[0] == 503


async def test_a_door_of_their_own(tmp_path: Path) -> None:
    """FARTHING_METRICS_PORT: open, and there is nothing else behind it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    served = Served(tmp_path, NOWHERE, FARTHING_METRICS_PORT=str(port))
    await served.start()
    try:
        async with aiohttp.ClientSession() as http:
            master = {"authorization": f"Bearer {MASTER}"}
            for path, expected in (("/metrics", 200), ("/metrics/", 404), ("/readyz", 200), ("/v1/keys", 404),
                                   ("/v1/me", 404), ("/v1/chat/completions", 404), ("/", 404)):  # fmt: skip
                async with http.get(f"http://127.0.0.1:{port}{path}", headers=master) as answer:
                    assert answer.status == expected, path
            async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
                assert (answer.status, "farthing_commits" in await answer.text()) == (200, True)
            async with http.get(served.url + "/metrics") as answer:
                assert answer.status == 401
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await http.ws_connect(f"http://127.0.0.1:{port}/v1/listen?model=nova-3", headers=master)
    finally:
        await served.kill()


async def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    """Exit 3, as for the gateway's own; the same port for both is no setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, err = await asyncio.wait_for(Served(tmp_path, NOWHERE, FARTHING_METRICS_PORT=port).run("serve"), 60)
    assert (code, "cannot listen on" in err) == (3, True)
    with pytest.raises(BadSetting, match="FARTHING_METRICS_PORT"):
        settings(tmp_path, None, FARTHING_METRICS_PORT="8787", FARTHING_PORT="8787")
