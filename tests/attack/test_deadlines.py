"""Clients that stop in the middle: no state of a connection lasts for ever, whatever has been said before."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.edge.http2 import PREFACE
from tests.harness import Running, running

SOON_S = 0.4
GET = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n"
HANDSHAKE = (
    b"GET /v1/listen?model=nova-3 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
OFFER = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"

STATES: dict[str, tuple[bytes, ...]] = {
    "silent": (b"",),
    "in a request line": (b"GET /heal",),
    "in a head": (GET[:-2],),
    "before a body": (POST + b"Content-Length: 50\r\n\r\n",),
    "in a body": (POST + b"Content-Length: 50\r\n\r\n{",),
    "in a chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",),
    "in trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nx: y\r\n",),
    "before 100-continue's body": (POST + b"Expect: 100-continue\r\nContent-Length: 50\r\n\r\n",),
    "after an answer": (GET,),
    "after two answers": (GET + GET,),
    "in the next request": (GET, b"GET /"),
    "after 400": (b"nonsense\r\n\r\n",),
    "in a body after 400": (b"GET / HTTP/1.1\r\n\r\n", POST),
    "in the body of an offer to upgrade": (POST + OFFER + b"Content-Length: 50\r\n\r\n{",),
    "after an offer to upgrade": (GET[:-2] + OFFER + b"\r\n",),
    "in a handshake": (HANDSHAKE,),
    "in a handshake's body": (HANDSHAKE + b"Content-Length: 50\r\n\r\n",),
    "after a refused handshake": (HANDSHAKE + b"\r\n", b"\x81\x80"),
    "after a handshake that is none": (HANDSHAKE.replace(b"Version: 13", b"Version: 7") + b"\r\n",),
    "after the HTTP/2 preface": (PREFACE,),
    "in the HTTP/2 preface": (PREFACE[:10],),
    "in an HTTP/2 frame": (PREFACE + b"\0\0\x10\1\4\0\0\0\1",),
    "in a CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", b"\x16\3\1"),
}


@pytest.fixture
async def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A gateway with no patience."""
    for name in ("HEADERS_TIMEOUT_S", "BODY_CLOSE_S", "KEEP_ALIVE_S", "WRITE_TIMEOUT_S"):
        monkeypatch.setattr(f"gateway.edge.protocol.{name}", SOON_S)
    for name in ("SOCKET_HANDSHAKE_S", "WRITE_TIMEOUT_S"):
        monkeypatch.setattr(f"gateway.edge.uvicorn_seam.{name}", SOON_S)
    async with running(tmp_path) as started:
        yield started


async def ended(url: str, pieces: tuple[bytes, ...]) -> int:
    """Send the pieces and wait for the other side's end, which must come; how much was read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, ("127.0.0.1", int(url.rpartition(":")[2])))
    read = 0
    with raw, contextlib.suppress(ConnectionError):
        for piece in pieces:
            if piece:
                await loop.sock_sendall(raw, piece)
            await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            while more := await loop.sock_recv(raw, 65536):
                read += len(more)
    return read


async def test_every_state_has_an_end(hasty: Running) -> None:
    """All at once, several of each; and afterwards nothing of them is left."""
    async with asyncio.TaskGroup() as clients:
        for pieces in STATES.values():
            for _ in range(4):
                clients.create_task(ended(hasty.url, pieces))
    assert (await hasty.api("GET", "/healthz"))[0] == 200
    await asyncio.sleep(0)
    assert not hasty.upstream.requests
