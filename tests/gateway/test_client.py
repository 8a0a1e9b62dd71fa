"""The client's connection: what leaves in one write, what never leaves, and when patience ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway.client import ClientProtocol

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
GET = b"GET /a%20b?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"


class Transport(asyncio.Transport):
    """What the protocol writes, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def connected(app: Application) -> tuple[ClientProtocol, Transport]:
    """A connection to an application, on a transport that keeps what is written."""
    config = uvicorn.Config(app, http=ClientProtocol, ws="none", lifespan="off", log_config=None, access_log=False)
    protocol = ClientProtocol(config=config, server_state=ServerState(), app_state={})
    transport = Transport()
    protocol.connection_made(transport)
    return protocol, transport


def answering(*messages: dict[str, Any]) -> Application:
    """An application that sends these messages."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def started(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def settled(protocol: ClientProtocol) -> None:
    """Wait until every request has been answered."""
    while protocol.tasks:
        await asyncio.gather(*protocol.tasks, return_exceptions=True)
        await asyncio.sleep(0)


async def test_an_answer_of_known_length_leaves_in_one_write() -> None:
    """The head waits for the body that is known to follow."""
    protocol, transport = connected(answering(started((b"content-length", b"2")), body(b"ok")))
    protocol.data_received(GET)
    await settled(protocol)
    assert transport.written == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]
    assert not transport.closed


async def test_the_head_of_a_stream_does_not_wait() -> None:
    """A stream's head leaves at once, and each piece is framed."""
    protocol, transport = connected(answering(started(), body(b"abc", more=True), body(b"")))
    protocol.data_received(GET)
    await settled(protocol)
    assert transport.written == [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
    ]


async def test_a_head_request_gets_no_body() -> None:
    """The length is said, the body is not sent."""
    protocol, transport = connected(answering(started((b"content-length", b"2")), body(b"ok")))
    protocol.data_received(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
    await settled(protocol)
    assert transport.written == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"]


@pytest.mark.parametrize(
    "field",
    [(b"x", b"a\r\nset-cookie: b"), (b"x", b"a\nb"), (b"x", b"\0"), (b"x: y\r\nz", b"a"), (b"a b", b"c"), (b"", b"")],
)
async def test_nothing_in_a_field_ends_the_head(field: tuple[bytes, bytes]) -> None:
    """Such an answer is not sent at all."""
    protocol, transport = connected(answering(started(field, (b"content-length", b"0")), body(b"")))
    protocol.data_received(GET)
    await settled(protocol)
    assert transport.written == []
    assert transport.closed


@pytest.mark.parametrize("data", [b"o", b"okk"])
async def test_a_body_of_another_length_breaks_the_connection(data: bytes) -> None:
    """The client cannot take it for the whole answer."""
    protocol, transport = connected(answering(started((b"content-length", b"2")), body(data)))
    protocol.data_received(GET)
    await settled(protocol)
    assert transport.closed
    assert transport.written == []


async def test_the_request_is_told_as_it_was_written() -> None:
    """Path decoded and raw, query, headers in lower case; a body in pieces."""
    seen: dict[str, Any] = {}

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.update(scope)
        seen["body"] = b""
        while True:
            message = await receive()
            seen["body"] += message["body"]
            if not message["more_body"]:
                break
        await send(started((b"content-length", b"0")))
        await send(body(b""))

    protocol, _ = connected(app)
    protocol.data_received(b"POST /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nX-A: b\r\nContent-Length: 4\r\n\r\nab")
    await asyncio.sleep(0)
    assert not protocol.whole
    protocol.data_received(b"cd")
    await settled(protocol)
    assert (seen["method"], seen["path"], seen["raw_path"], seen["query_string"]) == ("POST", "/a b", b"/a%20b", b"x=1")
    assert seen["headers"] == [(b"host", b"h"), (b"x-a", b"b"), (b"content-length", b"4")]
    assert seen["body"] == b"abcd"


async def test_requests_in_one_piece_are_answered_in_order() -> None:
    """The second begins when the first has been answered."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        path = scope["raw_path"]
        await send(started((b"content-length", b"%d" % len(path))))
        await send(body(path))

    protocol, transport = connected(app)
    protocol.data_received(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
    await settled(protocol)
    assert [written[-2:] for written in transport.written] == [b"/1", b"/2"]


async def test_a_rested_connection_is_closed_and_a_late_request_is_cut() -> None:
    """Neither takes a timer: the deadline is a number that somebody compares."""
    protocol, transport = connected(answering(started((b"content-length", b"0")), body(b"")))
    protocol.expire(protocol.loop.time())
    assert not transport.closed
    protocol.data_received(GET)
    await settled(protocol)
    protocol.expire(protocol.deadline - 1)
    assert not transport.closed
    protocol.expire(protocol.deadline)
    assert transport.closed
    assert not transport.aborted

    protocol, transport = connected(answering())
    protocol.data_received(b"GET / HTT")
    protocol.expire(protocol.deadline)
    assert transport.aborted


async def test_while_a_call_is_answered_there_is_no_deadline() -> None:
    """How long an answer may take is the relay's business."""
    go_on = asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await go_on.wait()
        await answering(started((b"content-length", b"0")), body(b""))(scope, receive, send)

    protocol, transport = connected(app)
    protocol.data_received(GET)
    await asyncio.sleep(0)
    protocol.expire(protocol.loop.time() + 10**6)
    assert not transport.closed
    go_on.set()
    await settled(protocol)
    assert transport.written
