"""Requests within requests, through a real nginx whose connections to the gateway are everybody's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.attack.nginx import BLOCKS, Nginx
from tests.harness import MASTER, PROVIDER_KEY
from tests.process import Served
from tests.upstream import Upstream

ATTACKS = int(os.environ.get("FARTHING_ATTACKS", "2000"))
SEED = int(os.environ.get("FARTHING_ATTACK_SEED", "13"))
AT_ONCE = 24
PATIENCE_S = 0.3  # for an answer that never comes: nginx waits for the rest of the request
CHAT = {"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}

METHODS = ("POST", "POST", "POST", "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
TARGETS = (
    "/v1/chat/completions",
    "/v1/keys",
    "/v1/me",
    "/healthz",
    "/v1/realtime?model=gpt-realtime",
    "/nowhere",
    "/v1/keys/",
)
OFFERS = (
    "x",
    "h2c",
    "websocket",
    "WebSocket",
    "websocket, h2c",
    "h2c, websocket",
    "TLS/1.0",
    "",
    "web socket",
    "\twebsocket",
)
CONNECTIONS = (
    "Upgrade",
    "upgrade",
    "keep-alive, Upgrade",
    "Upgrade, HTTP2-Settings",
    "close",
    "keep-alive",
    "close, upgrade",
)
NAMES = ("Upgrade", "upgrade", "UPGRADE", "uPgRaDe")
KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"


class Attacker:
    """Makes attacks, all of them from one seed; each hides a request with a mark of its own."""

    def __init__(self, secret: str, seed: int) -> None:
        self._secret = secret
        self._random = random.Random(seed)  # noqa: S311 - nothing here is secret

    def attack(self, number: int) -> tuple[list[bytes], bool]:
        """The pieces to send, and whether nginx will see one whole request in them."""
        pick = self._random.choice
        chance = self._random.random
        hidden = self._hidden(number)
        body = self._body(hidden)
        lines = [f"{pick(METHODS)} {pick(TARGETS)} HTTP/{'1.0' if chance() < 0.1 else '1.1'}", "Host: gateway"]
        fields = [f"x-mark: o-{number}"]
        if chance() < 0.6:
            fields.append(f"Authorization: Bearer {self._secret}")
        for _ in range(pick((0, 1, 1, 1, 1, 2))):
            fields.append(f"{pick(NAMES)}: {pick(OFFERS)}")
        if chance() < 0.8:
            fields.append(f"Connection: {pick(CONNECTIONS)}")
        if chance() < 0.4:
            fields += KEY.rstrip().split("\r\n")
        if chance() < 0.2:
            fields.append("HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
        if chance() < 0.1:
            fields.append("Expect: 100-continue")
        framing, framed, whole = self._framed(body)
        fields += framing
        self._random.shuffle(fields)
        data = ("\r\n".join(lines + fields) + "\r\n\r\n").encode("latin-1") + framed
        if chance() < 0.3:  # another request of his own right behind
            data += f"GET /v1/me HTTP/1.1\r\nHost: gateway\r\nx-mark: p-{number}\r\nConnection: close\r\n\r\n".encode()
        cuts = sorted(self._random.sample(range(1, len(data)), k=pick((0, 0, 1, 2))))
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)], whole

    def _hidden(self, number: int) -> bytes:
        body = json.dumps(CHAT | {"user": f"h-{number}"}).encode()
        return (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nx-mark: h-{number}\r\n"
            f"Authorization: Bearer {self._secret}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def _body(self, hidden: bytes) -> bytes:
        """One that is a request, begins with one, ends in one, or swallows the next one of somebody else."""
        swallows = (
            b"POST /v1/keys HTTP/1.1\r\nHost: gateway\r\nContent-Length: 400\r\n\r\n",
            b"DELETE /v1/keys/none HTTP/1.1\r\nHost: gateway\r\nX: ",
            b"GET /healthz HTTP/1.1\r\nX: ",
        )
        return self._random.choice(
            (
                hidden,
                hidden * 2,
                b"\r\n" + hidden,
                json.dumps(CHAT).encode() + hidden,
                b"0\r\n\r\n" + hidden,
                hidden[: len(hidden) // 2],
                *swallows,
                json.dumps(CHAT).encode(),
                b"",
            )
        )

    def _framed(self, body: bytes) -> tuple[list[str], bytes, bool]:
        """The fields that frame the body, the body as it is sent, and whether that is how it is framed."""
        length = [f"Content-Length: {len(body)}"]
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        at = len(body) // 3
        two = b"%x;a=b\r\n%b\r\n%X\r\n%b\r\n0\r\nX: y\r\n\r\n" % (at, body[:at], len(body) - at, body[at:])
        chunked = ["Transfer-Encoding: chunked"]
        fair: list[tuple[list[str], bytes, bool]] = [
            (length, body, True),
            (length, body, True),
            (chunked, chunks, True),
            (["transfer-encoding: Chunked"], two if at else chunks, True),
        ]
        foul: list[tuple[list[str], bytes, bool]] = [
            (length + chunked, chunks + body, False),
            ([*chunked, "Content-Length: 4"], chunks, False),
            (["Content-Length: 0"], body, False),
            (["Content-Length: 3", *length], body, False),
            (length * 2, body, False),
            ([f"Content-Length: +{len(body)}"], body, False),
            ([f"Content-Length : {len(body)}"], body, False),
            (["Transfer-Encoding: xchunked", *length], body, False),
            (["Transfer-Encoding: chunked, identity"], chunks, False),
            (["Transfer-Encoding:\x0bchunked", *length], body, False),
            ([f"X: y\nTransfer-Encoding: chunked\r\nContent-Length: {len(body)}"], chunks, False),
            (["Transfer-Encoding: chunked"], b"0" + chunks, False),
            (["Transfer-Encoding: chunked"], chunks.replace(b"\r\n", b"\n", 1), False),
            (["Transfer-Encoding: chunked"], b"ffffffffffffffff0\r\n" + body, False),
            ([], body, False),
        ]
        return self._random.choice(fair if self._random.random() < 0.6 else foul)


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[tuple[Upstream, Nginx, str]]:
    """A provider, nginx, and the address of the gateway between them."""
    async with Upstream() as upstream:
        elsewhere = {"FARTHING_UPSTREAM_DEEPGRAM": upstream.origin("deepgram"), "DEEPGRAM_API_KEY": PROVIDER_KEY}
        served = Served(tmp_path, upstream.origin("openai"), FARTHING_LOG_LEVEL="error", **elsewhere)
        await served.start()
        try:
            async with Nginx(tmp_path, served.url) as nginx:
                yield upstream, nginx, served.url
            assert served.alive
        finally:
            await served.kill()


async def minted(http: aiohttp.ClientSession, url: str, **fields: Any) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {MASTER}"}
    async with http.post(url + "/v1/keys", json=fields, headers=headers) as answer:
        key: dict[str, Any] = await answer.json()
        assert answer.status == 201, key
        return key


async def sent(port: int, pieces: list[bytes], *, whole: bool) -> tuple[str, bytes]:
    """The client's own port, and what came back until the other side closed or had no more to say."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    own = str(writer.get_extra_info("sockname")[1])
    got = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(5 if whole else PATIENCE_S):
            while more := await reader.read(65536):
                got += more
                if b" 400 " not in got[:20]:
                    writer_done = asyncio.timeout(PATIENCE_S)
                    async with writer_done:
                        while more := await reader.read(65536):
                            got += more
                    break
    writer.transport.abort()
    return own, got


@pytest.mark.timeout(900 + ATTACKS // 10)  # 8 ms an attempt, and many more where others use the machine
async def test_no_request_is_answered_that_was_not_sent(front: tuple[Upstream, Nginx, str]) -> None:
    """Seeded attempts, while others use the same connections: everybody gets his own answers, nothing hidden runs."""
    upstream, nginx, url = front
    async with aiohttp.ClientSession() as http:
        attacker = Attacker((await minted(http, url, name="attacker", max_spend_usd="1"))["secret"], SEED)
        victims = [await minted(http, url, name=f"victim {number}") for number in range(3)]
        answers: Counter[str] = Counter()
        numbers = iter(range(ATTACKS))
        over = asyncio.Event()
        asked = 0

        async def attack() -> None:
            for number in numbers:
                pieces, whole = attacker.attack(number)
                own, got = await sent(nginx.ports[number % len(BLOCKS)], pieces, whole=whole)
                answers[own] += got.count(b"HTTP/1.1 ") - got.count(b"HTTP/1.1 100 ")

        async def use(key: dict[str, Any]) -> None:
            nonlocal asked
            while not over.is_set():
                port = nginx.ports[asked % len(BLOCKS)]
                asked += 1
                headers = {"authorization": f"Bearer {key['secret']}", "x-mark": "victim"}
                async with http.get(f"http://127.0.0.1:{port}/v1/me", headers=headers) as answer:
                    assert answer.status == 200, await answer.text()
                    assert (await answer.json())["id"] == key["id"]

        async with asyncio.TaskGroup() as everybody:
            using = [everybody.create_task(use(key)) for key in victims]
            async with asyncio.TaskGroup() as attackers:
                for _ in range(AT_ONCE):
                    attackers.create_task(attack())
            over.set()
        assert all(task.done() for task in using)

    log = nginx.log()
    read = Counter(port for port, *_ in log)
    assert not {port: count for port, count in answers.items() if count > read[port]}, "answered and never sent"
    passed = {mark for _, mark, *_ in log}
    called = [seen for seen in upstream.requests if seen.method == "POST"]  # the others are good handshakes
    ran = {seen.json().get("user") for seen in called} - {None}
    assert ran <= passed, f"hidden in another request, and run: {sorted(ran - passed)[:10]}"
    assert asked > ATTACKS / 20
    statuses = Counter(status for *_, status in log)
    assert len(log) > ATTACKS, statuses
    assert sum(count for status, count in statuses.items() if status.startswith("2")) > ATTACKS / 20, statuses


async def test_honest_calls_pass(front: tuple[Upstream, Nginx, str]) -> None:
    """Whole answers, streams and large bodies through every block; WebSockets where they are passed on."""
    upstream, nginx, url = front
    async with aiohttp.ClientSession() as http:
        key = await minted(http, url, max_spend_usd="1")
        headers = {"authorization": f"Bearer {key['secret']}"}
        long = CHAT | {"messages": [{"role": "user", "content": "hi " * 100_000}]}
        for port in nginx.ports:
            place = f"http://127.0.0.1:{port}"
            for body in (CHAT, CHAT | {"stream": True}, long):
                async with http.post(f"{place}/v1/chat/completions", json=body, headers=headers) as answer:
                    told = await answer.read()
                    assert answer.status == 200, told
                    assert told.endswith(b"data: [DONE]\n\n" if "stream" in body else b"}")
            async with http.get(f"{place}/v1/me", headers=headers | {"upgrade": "h2c", "connection": "upgrade"}) as me:
                assert (me.status, (await me.json())["id"]) == (200, key["id"])
        for port in nginx.ports[:3]:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(f"http://127.0.0.1:{port}/v1/responses", headers=headers)
            assert refused.value.status == 426
            asked = {"authorization": f"Token {key['secret']}"}
            async with http.ws_connect(f"http://127.0.0.1:{port}/v1/listen?model=nova-3", headers=asked) as listening:
                await listening.send_bytes(b"\0" * 3200)
                await listening.send_json({"type": "CloseStream"})
                kinds = [json.loads(message.data)["type"] async for message in listening]
            assert kinds[-1] == "Metadata"
    assert len(upstream.requests) == 3 * len(nginx.ports) + 3
