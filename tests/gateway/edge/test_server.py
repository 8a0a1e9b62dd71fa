"""`farthing serve` with a certificate: TLS and nothing else; and what a killed process leaves of an open socket."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from gateway.edge.flow import unsent_bytes
from tests.certificates import Certificates
from tests.harness import MASTER, PROVIDER_KEY
from tests.process import Served
from tests.upstream import Upstream
from tests.wires import BY_NAME, LIVE, SETUP, converse, dial, listen, said


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as started:
        yield started


async def minted(session: aiohttp.ClientSession, url: str) -> str:
    async with session.post(
        url + "/v1/keys", json={"max_spend_usd": "5"}, headers={"authorization": f"Bearer {MASTER}"}
    ) as response:
        assert response.status == 201
        return str((await response.json())["secret"])


async def test_a_gateway_with_a_certificate_takes_tls_only(
    tmp_path: Path, certificates: Certificates, upstream: Upstream
) -> None:
    """Calls and sockets go over TLS, verified against the certificate; plain HTTP gets no answer; no key is logged."""
    elsewhere = {
        "FARTHING_UPSTREAM_DEEPGRAM": upstream.origin("deepgram"),
        "DEEPGRAM_API_KEY": PROVIDER_KEY,
        "FARTHING_UPSTREAM_GOOGLE": upstream.origin("google"),
        "GEMINI_API_KEY": PROVIDER_KEY,
    }
    served = Served(tmp_path, upstream.origin("openai"), **certificates.settings, **elsewhere)
    await served.start()
    try:
        assert served.url.startswith("https://")
        trusted = aiohttp.TCPConnector(ssl=certificates.trusting())
        async with aiohttp.ClientSession(connector=trusted) as session:
            secret = await minted(session, served.url)
            talk = await converse(served.url, BY_NAME["speak"], secret, ssl=certificates.trusting())
            assert talk.code == 1000
            in_url = msgspec.structs.replace(BY_NAME["live"], path=f"{LIVE}?key={secret}")
            async with dial(served.url, in_url, secret, ssl=certificates.trusting(), additional_headers=None) as live:
                await live.send(SETUP)
                await listen(live, "setupComplete")
            assert secret not in (tmp_path / "gateway.log").read_text()
            with pytest.raises(aiohttp.ClientError):
                await session.get(served.url.replace("https", "http") + "/healthz")
        with pytest.raises(ssl.SSLCertVerificationError):
            await converse(served.url, BY_NAME["speak"], secret, ssl=ssl.create_default_context())
    finally:
        await served.kill()


async def test_half_of_tls_does_not_start(tmp_path: Path, certificates: Certificates) -> None:
    """A certificate without its key ends the start with 3 and the setting's name."""
    served = Served(tmp_path, "http://127.0.0.1:9")
    code, _, err = await served.run("serve", FARTHING_TLS_CERT=certificates.certificate)
    assert code == 3
    assert "FARTHING_TLS_KEY" in err


async def test_a_killed_gateway_s_socket_is_unsettled(tmp_path: Path, upstream: Upstream) -> None:
    """A socket whose process was killed is one unsettled event at the next start; a stop settles it in order."""
    elsewhere = {"FARTHING_UPSTREAM_DEEPGRAM": upstream.origin("deepgram"), "DEEPGRAM_API_KEY": PROVIDER_KEY}
    served = Served(tmp_path, upstream.origin("openai"), **elsewhere)
    await served.start()
    try:
        async with aiohttp.ClientSession() as session:
            secret = await minted(session, served.url)
        async with dial(served.url, BY_NAME["speak"], secret) as connection:
            await connection.send(said(type="Speak", text="Hello"))
            await listen(connection, "Metadata")
            served.signal(signal.SIGKILL)
            assert (await listen(connection)).code is None
        await served.ended()
        await served.start()
        async with dial(served.url, BY_NAME["speak"], secret) as connection:
            await connection.send(said(type="Speak", text="Hello"))
            await listen(connection, "Metadata")
            served.signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
            served.signal(signal.SIGTERM)
            assert (await listen(connection)).code == 1001
        assert await served.ended() == 0
        events = [(event["status"], event["reason"]) for event in await served.events()]
        assert sorted(events) == [("settled", "shutdown"), ("unsettled", "owner_lost")]
        code, _, err = await served.run("audit")
        assert code == 0, err
    finally:
        await served.kill()


async def test_a_connection_that_is_closed_twice_ends_nobody_else_s(certificates: Certificates) -> None:
    """asyncio's TLS transport cannot be asked then; the look for late clients asked, and the gateway ended."""
    asked = asyncio.Event()
    unsent: list[int] = []

    async def close_twice(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        transport.close()
        transport.close()
        unsent.append(unsent_bytes(transport))
        asked.set()

    server = await asyncio.start_server(close_twice, "127.0.0.1", 0, ssl=certificates.serving())
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=certificates.trusting())
        async with asyncio.timeout(10):
            await asked.wait()
        writer.transport.abort()
    assert unsent == [0]
