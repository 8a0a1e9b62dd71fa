"""The client's connection: what leaves in one write, what never leaves, and when patience ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway.edge.protocol import ClientProtocol

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
GET = b"GET /a%20b?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"


class Transport(asyncio.Transport):
    """What the protocol writes, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.aborted = False
        self.unsent_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

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


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the method, the path and the body of each request."""
    said = b"%b %b " % (scope["method"].encode(), scope["raw_path"])
    while True:
        message = await receive()
        said += message["body"]
        if not message["more_body"]:
            break
    await send(started((b"content-length", b"%d" % len(said))))
    await send(body(said))


HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"
OFFERS = (
    b"Connection: Upgrade\r\nUpgrade: x\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    b"connection: keep-alive, upgrade\r\nUPGRADE: websocket\r\n",
    b"Proxy-Connection: upgrade\r\nupgrade:h2c\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
    b"Upgrade: TLS/1.0, HTTP/2.0\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n",
    b"Upgrade:\r\nConnection: upgrade\r\n",
)
FRAMES = (
    b"Content-Length: %d\r\n\r\n%b" % (len(HIDDEN), HIDDEN),
    b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN),
    b"transfer-encoding: Chunked\r\n\r\n5\r\n%b\r\n%x;a=b\r\n%b\r\n0\r\nUpgrade: x\r\n\r\n"
    % (HIDDEN[:5], len(HIDDEN) - 5, HIDDEN[5:]),
)


async def replies(data: bytes, pieces: int, app: Application = echo) -> tuple[list[bytes], Transport]:
    """The bodies of the answers to what is sent in pieces of so many bytes."""
    protocol, transport = connected(app)
    for at in range(0, len(data), pieces):
        protocol.data_received(data[at : at + pieces])
        await asyncio.sleep(0)
    await settled(protocol)
    return [written.partition(b"\r\n\r\n")[2] for written in transport.written], transport


@pytest.mark.parametrize("frame", FRAMES, ids=("length", "chunked", "chunks"))
@pytest.mark.parametrize("offer", OFFERS)
async def test_an_offer_to_upgrade_takes_nothing_from_a_request(offer: bytes, frame: bytes) -> None:
    """It is served with its body, however its bytes come, and so is the one behind it (RFC 9110, section 7.8)."""
    request = b"POST /%d HTTP/1.1\r\nHost: h\r\n" + offer + frame
    data = request % 1 + b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n" + request % 3
    for pieces in (1, 2, 3, 7, 64, len(request % 1) - 1, len(request % 1), len(data)):
        said, transport = await replies(data, pieces)
        assert said == [b"POST /1 " + HIDDEN, b"GET /2 ", b"POST /3 " + HIDDEN], pieces
        assert not transport.closed


async def test_an_offer_to_upgrade_is_cut_anywhere() -> None:
    """Wherever the second piece begins, the answers are the same."""
    data = b"POST /1 HTTP/1.1\r\nHost: h\r\n" + OFFERS[1] + FRAMES[0] + b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"
    for at in range(1, len(data)):
        protocol, transport = connected(echo)
        protocol.data_received(data[:at])
        protocol.data_received(data[at:])
        await settled(protocol)
        assert [written.partition(b"\r\n\r\n")[2] for written in transport.written] == [
            b"POST /1 " + HIDDEN,
            b"GET /2 ",
        ], at


async def test_what_upgrades_is_not_told_to_the_application() -> None:
    """Of the fields of such a request only the offer is missing."""
    seen: list[Any] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope["headers"])
        await echo(scope, receive, send)

    await replies(b"POST /1 HTTP/1.1\r\nHost: h\r\nX-A:  b\r\n" + OFFERS[0] + b"Content-Length: 0\r\n\r\n", 9, app)
    assert seen == [[(b"host", b"h"), (b"x-a", b"b"), (b"connection", b"Upgrade"), (b"content-length", b"0")]]


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n",
        b"GET / HTTP/1.1\r\nHost: a, b\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n",
        b"GET / HTTP/1.1\r\nHost: a@b\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n",
        b"GET / HTTP/0.9\r\nHost: a\r\n",
        b"GET /\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 9\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 9\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n",
    ],
)
async def test_a_head_of_doubtful_meaning_ends_the_connection(head: bytes) -> None:
    """One answer, and not a byte of what follows is read as a request."""
    for pieces in (1, 5, 10_000):
        protocol, transport = connected(echo)
        data = head + b"\r\n" + HIDDEN
        for at in range(0, len(data), pieces):
            if not transport.closed:
                protocol.data_received(data[at : at + pieces])
        await settled(protocol)
        assert len(transport.written) == 1
        assert transport.written[0].startswith(b"HTTP/1.1 400 ")
        assert b"connection: close" in transport.written[0]
        assert transport.closed


async def test_one_host_in_any_valid_form_is_enough() -> None:
    """Also none in HTTP/1.0, and an empty one."""
    for head in (
        b"GET / HTTP/1.0\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n",
        b"GET / HTTP/1.1\r\nHost: a_b.c:1 \r\n",
    ):
        said, _ = await replies(head + b"\r\n", 1000)
        assert said == [b"GET / "]


async def test_nothing_is_answered_twice_when_the_rest_of_a_request_is_broken() -> None:
    """While it is answered the connection breaks off; once it is answered it ends."""
    broken = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

    protocol, transport = connected(answering(started((b"content-length", b"2")), body(b"ok")))
    protocol.data_received(broken)
    await settled(protocol)
    protocol.data_received(b"x" + HIDDEN)
    assert (len(transport.written), transport.closed, transport.aborted) == (1, True, False)

    begun = asyncio.Event()

    async def slow(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send(started())
        await send(body(b"a", more=True))
        begun.set()
        await asyncio.sleep(60)

    protocol, transport = connected(slow)
    protocol.data_received(broken)
    await begun.wait()
    protocol.data_received(b"x" + HIDDEN)
    assert (len(transport.written), transport.aborted) == (2, True)
    for task in protocol.tasks:
        task.cancel()


async def test_requests_before_a_broken_one_are_answered() -> None:
    """They are whole; the last of them says that the connection ends."""
    protocol, transport = connected(echo)
    protocol.data_received(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3\x00" + HIDDEN)
    protocol.data_received(HIDDEN)
    await settled(protocol)
    assert [written.partition(b"\r\n\r\n")[2] for written in transport.written] == [b"GET /1 ", b"GET /2 "]
    assert b"connection: close" in transport.written[1]
    assert transport.closed


async def test_an_answer_of_unknown_length_ends_with_the_connection_in_http_1_0() -> None:
    """Its body has no chunks (RFC 9112, section 6.1)."""
    protocol, transport = connected(answering(started(), body(b"abc", more=True), body(b"d")))
    protocol.data_received(b"POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
    await settled(protocol)
    assert transport.written == [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", b"abc", b"d"]
    assert (transport.closed, transport.aborted) == (True, False)


async def test_whoever_does_not_take_the_last_bytes_is_cut() -> None:
    """A closed connection waits for its client while anything moves, and no longer."""
    protocol, transport = connected(echo)
    transport.unsent_bytes = 500
    protocol.data_received(b"nonsense\r\n\r\n")
    assert (transport.closed, transport.aborted) == (True, False)
    now = protocol.loop.time()
    transport.unsent_bytes = 400
    protocol.expire(now + 61)
    assert not transport.aborted
    protocol.expire(now + 90)
    assert not transport.aborted
    protocol.expire(now + 122)
    assert transport.aborted


async def test_whoever_takes_nothing_while_he_is_answered_is_cut() -> None:
    """That the application waits for him is no reason to wait for ever."""
    protocol, transport = connected(echo)
    protocol.data_received(GET)
    await settled(protocol)
    transport.unsent_bytes = 70_000
    protocol.pause_writing()
    protocol.expire(protocol.loop.time() + 30)
    assert not transport.closed
    protocol.expire(protocol.loop.time() + 61)
    assert transport.aborted
