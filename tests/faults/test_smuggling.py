"""F6: requests that two parsers could read in two ways, and targets that could lead elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from providers.operations import TABLE
from tests.faults.support import CHAT, PATHS, Client, Site, marked, request_bytes, seen_mark
from tests.harness import PROVIDER_KEY

ARRIVE = frozenset(row.upstream.split("{", 1)[0] for row in TABLE)

# {body} is a whole call, {smuggled} a second whole request; {n} is the body's length in decimal, {x} in hexadecimal,
# {m} and {y} are the second request's. All but those that are understood are refused.
ZERO = "content-length: {n}\r\n\r\n0\r\n\r\n{smuggled}"  # whoever obeys the length reads on, whoever does not has two
HEADS: dict[str, str] = {
    "plain": "content-length: {n}\r\n\r\n{body}",
    "plain chunks": "transfer-encoding: chunked\r\n\r\n{x};a=b\r\n{body}\r\n0\r\n\r\n",
    "CL.TE": "content-length: {n}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
    "TE.CL": "transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n{x}\r\n{body}\r\n0\r\n\r\n{smuggled}",
    "CL.TE, other case": "content-length: {n}\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n{smuggled}",
    "TE identity": "transfer-encoding: identity\r\ncontent-length: {n}\r\n\r\n{body}{smuggled}",
    "TE chunked, identity": "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}",
    "TE xchunked": "transfer-encoding: xchunked\r\n" + ZERO,
    "TE x": "transfer-encoding: x\r\n\r\n{x}\r\n{body}\r\n0\r\n\r\n{smuggled}",
    "TE vertical tab": "transfer-encoding: \x0bchunked\r\n" + ZERO,
    "TE high bit": "transfer-encoding: \x80chunked\r\n" + ZERO,
    "TE quoted": 'transfer-encoding: "chunked"\r\n' + ZERO,
    "TE.TE": "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n" + ZERO,
    "TE, space before colon": "transfer-encoding : chunked\r\n" + ZERO,
    "TE folded": "transfer-encoding:\r\n chunked\r\n" + ZERO,
    "TE after a bare LF": "x: y\ntransfer-encoding: chunked\r\n" + ZERO,
    "TE after a bare CR": "x: y\rtransfer-encoding: chunked\r\n" + ZERO,
    "CL twice": "content-length: {n}\r\ncontent-length: 0\r\n\r\n{body}{smuggled}",
    "CL twice, the same": "content-length: {n}\r\ncontent-length: {n}\r\n\r\n{body}",
    "CL listed": "content-length: {n}, {n}\r\n\r\n{body}",
    "CL plus": "content-length: +{n}\r\n\r\n{body}{smuggled}",
    "CL minus": "content-length: -1\r\n\r\n{body}{smuggled}",
    "CL hexadecimal": "content-length: 0x{x}\r\n\r\n{body}{smuggled}",
    "CL two words": "content-length: {n} 0\r\n\r\n{body}{smuggled}",
    "CL overflow": "content-length: 18446744073709551620\r\n\r\n{body}{smuggled}",
    "CL empty": "content-length:\r\n\r\n{body}{smuggled}",
    "CL float": "content-length: {n}.0\r\n\r\n{body}{smuggled}",
    "CL underscore": "content_length: {n}\r\ncontent-length: 1_0\r\n\r\n{body}{smuggled}",
    "CL folded": "content-length:\r\n {n}\r\n\r\n{body}{smuggled}",
    "bare LF head": "content-length: {n}\n\n{body}{smuggled}",
    "NUL in a value": "x-a: b\x00c\r\ncontent-length: {n}\r\n\r\n{body}",
    "NUL in a name": "x-\x00a: b\r\ncontent-length: {n}\r\n\r\n{body}",
    "no colon": "nonsense\r\ncontent-length: {n}\r\n\r\n{body}",
    "no name": ": b\r\ncontent-length: {n}\r\n\r\n{body}",
    "space in a name": "x a: b\r\ncontent-length: {n}\r\n\r\n{body}",
    "space first": " x-a: b\r\ncontent-length: {n}\r\n\r\n{body}",
    "high bit in a name": "x-\xe4: b\r\ncontent-length: {n}\r\n\r\n{body}",
    "chunk minus": "transfer-encoding: chunked\r\n\r\n-1\r\n{body}\r\n0\r\n\r\n{smuggled}",
    "chunk plus": "transfer-encoding: chunked\r\n\r\n+{x}\r\n{body}\r\n0\r\n\r\n{smuggled}",
    "chunk 0x": "transfer-encoding: chunked\r\n\r\n0x{x}\r\n{body}\r\n0\r\n\r\n{smuggled}",
    "chunk overflow": "transfer-encoding: chunked\r\n\r\n1000000000000000{x}\r\n{body}\r\n0\r\n\r\n{smuggled}",
    "chunk and spaces": "transfer-encoding: chunked\r\n\r\n {x}\r\n{body}\r\n0\r\n\r\n{smuggled}",
    "chunk bare LF": "transfer-encoding: chunked\r\n\r\n{x}\n{body}\n0\n\n{smuggled}",
    "chunk without its end": "transfer-encoding: chunked\r\n\r\n{x}\r\n{body}0\r\n\r\n{smuggled}",
    "chunk longer than said": "transfer-encoding: chunked\r\n\r\n5\r\n{body}\r\n0\r\n\r\n{smuggled}",
    "chunk extension with LF": "transfer-encoding: chunked\r\n\r\n{x};a=b\n\r\n{body}\r\n0\r\n\r\n{smuggled}",
    "chunk extension with CR": "transfer-encoding: chunked\r\n\r\n{x};a=\rb\r\n{body}\r\n0\r\n\r\n{smuggled}",
    "chunk extension, NUL": "transfer-encoding: chunked\r\n\r\n{x};\x00\r\n{body}\r\n0\r\n\r\n{smuggled}",
    "trailer without an end": "transfer-encoding: chunked\r\n\r\n{x}\r\n{body}\r\n0\r\nx: y\nz\r\n\r\n",
    "HTTP/1.0 chunked": "transfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
    "upgrade": "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: {n}\r\n\r\n{body}",
    "upgrade h2c": "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n"
    "content-length: {n}\r\n\r\n{body}",
    "upgrade chunked": "connection: upgrade\r\nupgrade: x\r\ntransfer-encoding: chunked\r\n\r\n"
    "{x}\r\n{body}\r\n0\r\n\r\n",
    "upgrade, a request in the body": "connection: upgrade\r\nupgrade: x\r\ncontent-length: {m}\r\n\r\n{smuggled}",
    "upgrade, a request in a chunk": "connection: upgrade\r\nupgrade: x\r\ntransfer-encoding: chunked\r\n\r\n"
    "{y}\r\n{smuggled}\r\n0\r\n\r\n",
}
UNDERSTOOD = ("plain", "plain chunks", "upgrade", "upgrade h2c", "upgrade chunked")


async def test_no_framing_makes_two_calls_of_one(site: Site) -> None:
    """F6: the hidden request never reaches the provider, and what cannot be understood is refused."""
    secret = await site.key()

    async def attack(name: str) -> None:
        mark, body, header = site.prepared(CHAT)
        hidden, hidden_body, _ = site.prepared(CHAT)
        smuggled = request_bytes(secret, hidden_body).decode()
        version = "1.0" if name.startswith("HTTP/1.0") else "1.1"
        head = f"POST {PATHS['chat']} HTTP/{version}\r\nhost: x\r\nauthorization: Bearer {secret}\r\n{header}\r\n"
        lengths = {"n": len(body), "x": f"{len(body):x}", "m": len(smuggled), "y": f"{len(smuggled):x}"}
        tail = HEADS[name].format(body=body.decode(), smuggled=smuggled, **lengths)
        client = await Client.connect(site.url)
        with contextlib.suppress(ConnectionError):
            await client.send((head + tail).encode("latin-1"))
        answer = await client.rest(0.5)
        await client.leave("rst")
        reached = [seen_mark(seen) for seen in site.upstream.requests]
        assert hidden not in reached, (name, answer[:200])
        if name in UNDERSTOOD:
            assert mark in reached, (name, answer)
        else:
            assert mark not in reached, name
            assert answer[9:11] in (b"40", b"41"), (name, answer[:200])

    await asyncio.gather(*(attack(name) for name in HEADS))


@pytest.fixture
async def trap() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that nobody may call: its address, and what it was sent."""
    caught: list[bytes] = []

    async def catch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caught.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(catch, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}", caught
    server.close()
    await server.wait_closed()


TARGETS = (
    "http://{evil}/v1/chat/completions",
    "//{evil}/v1/chat/completions",
    "///{evil}/v1/chat/completions",
    "/@{evil}/v1/chat/completions",
    "@{evil}/v1/chat/completions",
    "/\\{evil}/v1/chat/completions",
    "/%5c{evil}/v1/chat/completions",
    "/http://{evil}/v1/chat/completions",
    "/openai/http://{evil}/",
    "/openai@{evil}/v1/chat/completions",
    "/openai/v1/chat/completions@{evil}",
    "/v1/chat/completions/..%2f..%2f..%2f{evil}",
    "/v1/chat/../chat/completions",
    "/v1/%2e%2e/v1/chat/completions",
    "/v1/chat%2fcompletions",
    "/v1/chat%252fcompletions",
    "/v1/chat/completions%00",
    "/v1/chat/completions%0d%0ahost:%20{evil}",
    "/v1/chat/completions;x",
    "/v1/chat/completions?x=http://{evil}/#frag",
    "/v1/chat/completions#@{evil}",
    "/v1/models/..%2f..%2ffiles",
    "/v1/models/%2e%2e/files",
    "/v1/models/http:%2f%2f{evil}",
    "/v1/models/a%0d%0ax:y",
    "/v1/models/{evil}",
    "/v1/vector_stores",
    "/v1/organization/usage",
    "/\xff",
    "*",
    "{evil}",
    "",
)


async def test_no_target_leads_elsewhere(site: Site, trap: tuple[str, list[bytes]]) -> None:
    """F6, API7: whatever target, Host or forwarding header says, only listed paths of our provider are called."""
    evil, caught = trap
    secret = await site.key()

    async def attack(method: str, target: str, *headers: str) -> None:
        _, body, header = site.prepared(CHAT)
        client = await Client.connect(site.url)
        with contextlib.suppress(ConnectionError):
            sent = body if method == "POST" else b""
            await client.send(
                request_bytes(secret, sent, target.replace("{evil}", evil), header, *headers, method=method)
            )
        answer = await client.rest(0.5)
        assert answer[9:10] in (b"2", b"4", b""), (method, target, answer[:200])
        await client.leave("rst")

    games = (
        (f"host: {evil}",),
        (f"x-forwarded-host: {evil}", f"forwarded: host={evil}", f"x-original-url: http://{evil}/", f"x-host: {evil}"),
        ("x-rewrite-url: /v1/files", "x-http-method-override: DELETE", f"base-url: http://{evil}"),
    )
    await asyncio.gather(
        *(attack(method, target) for method in ("POST", "GET", "CONNECT") for target in TARGETS),
        *(attack(method, PATHS["chat"]) for method in ("PUT", "DELETE", "TRACE", "OPTIONS", "HEAD", "PRI")),
        *(attack("POST", PATHS["chat"], *headers) for headers in games),
    )
    assert not caught
    for seen in site.upstream.requests:
        path = seen.path.partition("?")[0]
        assert path in ARRIVE or path.startswith("/v1/models/"), seen
        assert ".." not in path, seen
        assert "%" not in path, seen
        assert seen.header("host") == site.upstream.origin(seen.provider).removeprefix("http://")


async def test_only_what_is_listed_is_forwarded(site: Site) -> None:
    """RFC 9110 §7.6.1: named and hop-by-hop fields go, credentials and our own fields go; ours are added once."""
    secret = await site.key()
    mark = site.mark()
    body = json.dumps(marked(CHAT, PATHS["chat"], mark)).encode()
    client = await Client.connect(site.url)
    headers = (
        f'x-farthing-metadata: {{"mark":"{mark}"}}',
        "connection: authorization, x-stainless-os, Content-Encoding",
        "connection: close, openai-beta",
        "x-stainless-os: named, so dropped",
        "openai-beta: named, so dropped",
        "x-stainless-lang: kept",
        "user-agent: kept",
        "keep-alive: 5",
        "te: trailers",
        "trailer: x-stainless-late",
        "proxy-authorization: Basic x",
        "cookie: a=b",
        "x-forwarded-for: 1.2.3.4",
        "x-real-ip: 1.2.3.4",
        "via: 1.0 somebody",
        "accept-encoding: gzip, br",
        "x-end-user-id: canary-user",
        "openai-organization: org-other",
        f"api-key: {secret}",
        "transfer-encoding: chunked",
    )
    trailer = b"0\r\nx-stainless-late: added\r\ncontent-type: text/late\r\n\r\n"
    await client.send(request_bytes(secret, b"%x\r\n%b\r\n" % (len(body), body) + trailer, PATHS["chat"], *headers))
    assert b" 200 " in await client.closed(5)
    await client.leave()
    (seen,) = site.upstream.requests
    assert {name for name, _ in seen.headers} <= {
        *("accept", "accept-encoding", "authorization", "content-length", "content-type"),
        *("host", "user-agent", "via", "x-stainless-lang"),
    }
    assert seen.header("content-type") == "application/json"  # as it was read, whatever a trailer says
    assert [value for name, value in seen.headers if name == "authorization"] == [f"Bearer {PROVIDER_KEY}"]
    assert (seen.header("via"), seen.header("accept-encoding")) == ("1.1 farthing", "identity")
    assert (seen.header("x-stainless-lang"), seen.header("user-agent"), seen.body) == ("kept", "kept", body)
