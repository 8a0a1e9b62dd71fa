"""Where a hook may lead to."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.outbox.guard import BadTarget, check_url, is_public, sockets


def listed(text: str) -> list[str]:
    return text.split()


NOT_PUBLIC = listed("""
    127.0.0.1 127.255.255.254 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 169.254.169.254 100.64.0.1
    0.0.0.0 0.1.2.3 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 192.0.0.8 192.0.0.170 192.0.2.1 192.88.99.1
    198.18.0.1 198.51.100.7 203.0.113.9
    ::1 :: ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.1.1.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::7f00:1
    64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::
    2002:a9fe:a9fe:: 3fff::1 3fff:fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 feff::1
    ff02::1 ff0e::1
""")
PUBLIC = listed("1.1.1.1 8.8.8.8 93.184.216.34 ::ffff:8.8.8.8 2606:4700::1111 2a00:1450:4001:81b::200e 2001:4860::1")
LITERALS = listed("""
    127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7f.1 017700000001 0177.0.0.1 127.0.0.1. localhost localhost.
    a.localhost [::1] [::ffff:127.0.0.1] [::ffff:7f00:1] [64:ff9b::7f00:1] [2002:7f00:1::] [fe80::1] [fd00:ec2::254]
    169.254.169.254 0 0.0.0.0 10.0.0.8 192.168.1.1 [::] 100.64.0.1
""")


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_not_connected_to(address: str) -> None:
    assert not is_public(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(OSError, match="not a public address"):
        sockets(private=False)((family, socket.SOCK_STREAM, 6, "", (address, 443)))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_connected_to(address: str) -> None:
    assert is_public(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockets(private=False)((family, socket.SOCK_STREAM, 6, "", (address, 443))).close()


@pytest.mark.parametrize("host", LITERALS)
def test_a_url_that_names_an_address_of_ours_is_refused_when_it_is_given(host: str) -> None:
    with pytest.raises(BadTarget, match="public address"):
        check_url(f"https://{host}/hook", private=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://",
        "https:///x",
        "example.com",
        "https://user:password@example.com/",
        "https://example.com:22/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com/#part",
        "https://exam ple.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/\r\nx: y",
        "https://exämple.com/",
        "https://" + "a" * 2_000 + ".com/",
    ],
)
def test_what_is_no_plain_https_url_is_refused(url: str) -> None:
    with pytest.raises(BadTarget):
        check_url(url, private=False)


@pytest.mark.parametrize("url", ["https://example.com/h?x=1", "https://example.com:8443/", "https://8.8.8.8/"])
def test_a_public_url_is_taken_as_it_is(url: str) -> None:
    assert check_url(url, private=False) == url


def test_in_the_operators_house_plain_http_and_private_addresses_are_taken() -> None:
    assert check_url("http://127.0.0.1:9000/h", private=True) == "http://127.0.0.1:9000/h"
    sockets(private=True)((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))).close()


class Rebinding(AbstractResolver):
    """A name server that says what it likes."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = {"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 6, "flags": 0}
        return [ResolveResult(**found)]  # type: ignore[typeddict-item]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("host", ["rebound.example.com", "127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
async def test_whatever_a_name_leads_to_is_checked_when_it_is_connected_to(host: str) -> None:
    connections: list[object] = []
    server = await _listen(connections)
    port = server.sockets[0].getsockname()[1]
    connector = aiohttp.TCPConnector(socket_factory=sockets(private=False), resolver=Rebinding())
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://{host}:{port}/")
    server.close()
    assert connections == []


async def _listen(connections: list[object]) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0)
