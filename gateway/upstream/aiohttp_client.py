"""Real providers over aiohttp's client, behind `Upstream`: another hand than ours, for the day ours has a fault.

Promises what `gateway.upstream.http` does, as far as aiohttp lets it: no redirect, cookie, proxy, decompression or
second attempt; a failure says `sent=False` only if no byte of the request can have left; a body is whole by its own
framing or it fails; what has not been taken yet is bounded. What aiohttp reads more kindly stands in
docs/operating.md, and its tests.
"""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import aiohttp
from yarl import URL

from gateway.bounds import (
    ANSWER_FIELDS_MAX,
    ANSWER_HEAD_BYTES_MAX,
    ANSWER_WAITING_BYTES,
    CONNECT_TIMEOUT_S,
    DNS_TTL_S,
    NEXT_ADDRESS_S,
    REQUEST_PIECE_BYTES,
    UPSTREAM_KEEP_ALIVE_S,
    WHOLE_BYTES_MAX,
)
from gateway.http1.fields import Fields
from gateway.http1.heads import Ends, Malformed, checked, ends, says_no_length
from gateway.upstream.answer import WireAnswer
from gateway.upstream.base import Answer, Body, Forward, Unsendable, UpstreamFailed
from gateway.upstream.origins import Origin, is_silent, patience_s, said_farewell, trusting

_LOOK_S = 0.05  # how often an upload is looked after whose answer came before its end
_FAILURES = (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError, RuntimeError)
_NOTHING_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class _Request(aiohttp.ClientRequest):
    """aiohttp's request; one to delete says no length of a body that it has not."""

    GET_METHODS = aiohttp.ClientRequest.GET_METHODS | {"DELETE"}


class _Response(aiohttp.ClientResponse):
    """aiohttp's response, which knows its connection also after it has given it back."""

    wire: _Wire

    async def start(self, connection: Any) -> _Response:
        self.wire = _Wire(connection)
        try:
            await super().start(connection)
        except BaseException:
            self.wire.abort()
            raise
        return self


class _Wire:
    """A connection, while it carries an exchange. It must be asked while it is open how it will have ended."""

    def __init__(self, connection: Any) -> None:
        self._protocol, transport = connection.protocol, connection.transport
        self._secure: ssl.SSLObject | None = transport.get_extra_info("ssl_object") if transport is not None else None
        self._closed: asyncio.Future[None] | None = self._protocol.closed

    def when_closed(self, then: Callable[[object], None]) -> None:
        """Call that once it is closed, and aiohttp has said what it has to say."""
        if self._closed is not None:
            self._closed.add_done_callback(then)
        else:
            then(None)

    def abort(self) -> None:
        """Close it now, whatever was not sent yet."""
        self._protocol.abort()

    def keep_no_more(self) -> None:
        """Nothing else is to go over it."""
        self._protocol.force_close()

    def ended_in_order(self) -> bool:
        """Whether the other side has closed it, and nobody in between."""
        closed = self._closed
        orderly = closed is not None and closed.done() and not closed.cancelled() and closed.exception() is None
        return orderly and said_farewell(self._secure)


class _Connector(aiohttp.TCPConnector):
    """aiohttp's connections: a kept one is looked into before it is used, and a failure says that nothing was sent."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109 - aiohttp's own
        while True:
            try:
                connection = await super().connect(req, traces, timeout)
            except _FAILURES as error:
                if req.url.raw_host is not None and req.url.port is not None:
                    self.clear_dns_cache(req.url.raw_host, req.url.port)
                raise UpstreamFailed(type(error).__name__, sent=False) from error
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None:
                connection.close()
                raise UpstreamFailed("closed at once", sent=False)
            if protocol not in self._known:
                self._known.add(protocol)
                if (closed := protocol.closed) is not None:
                    closed.add_done_callback(_heard)
                return connection
            # It may have been closed, or poisoned, while nobody listened.
            if not protocol.should_close and is_silent(transport.get_extra_info("socket")):
                return connection
            connection.close()


def _heard(closed: asyncio.Future[None]) -> None:
    if not closed.cancelled():
        closed.exception()


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Nothing is sent twice: aiohttp tries anew what is idempotent, unless it is told of the failure in other words."""
    try:
        return await handler(request)
    except _FAILURES as error:
        raise UpstreamFailed(type(error).__name__, sent=True) from error


class _Upload:
    """A request's body on its way out, in pieces; what ends it early is kept."""

    def __init__(self, body: bytes | Body) -> None:
        self._chunks = body.chunks() if not isinstance(body, bytes) else _one(body)
        self.error: BaseException | None = None
        self.over = asyncio.Event()

    async def pieces(self) -> AsyncIterator[memoryview]:
        try:
            async for chunk in self._chunks:
                view = memoryview(chunk)
                for start in range(0, len(view), REQUEST_PIECE_BYTES):
                    if start:
                        await asyncio.sleep(0)  # the others' turn
                    yield view[start : start + REQUEST_PIECE_BYTES]
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.over.set()


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body


class _Exchange:
    """An answer on its way in; see `Arriving`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, response: _Response, others: set[_Exchange], *, to_head: bool
    ) -> None:
        fields = response.raw_headers
        if sum(len(name) + len(value) for name, value in fields) > ANSWER_HEAD_BYTES_MAX:
            raise Malformed
        version = response.version
        self.status, self.headers = response.status, Fields.of(fields)
        self._ends = ends(
            self.status, f"{version.major}.{version.minor}" if version else "", self.headers, to_head=to_head
        )
        if patience_s(self.headers.get("keep-alive"), UPSTREAM_KEEP_ALIVE_S) < UPSTREAM_KEEP_ALIVE_S:
            response.wire.keep_no_more()
        self._loop, self._response, self._open = loop, response, others
        others.add(self)
        self.pieces: list[bytes] = []
        self.waiting_bytes = 0
        self.ended = False
        self.failure: str | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        content = response.content
        if content.is_eof() and content.exception() is None:
            self._add(content.read_nowait())
            self._end()
        else:
            self._reading = loop.create_task(self._read())
            response.wire.when_closed(self._closed)

    def _closed(self, _: object) -> None:
        """aiohttp does not tell whoever reads a body that it could not read on."""
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("malformed"))

    def _add(self, chunk: bytes) -> None:
        if chunk:
            self.pieces.append(chunk)
            self.waiting_bytes += len(chunk)

    def _end(self) -> None:
        if self._ends is Ends.WITH_CONNECTION and not self._response.wire.ended_in_order():
            self.failure = "closed early"
        else:
            self.ended = True

    async def _read(self) -> None:
        content = self._response.content
        try:
            while chunk := await content.readany():
                self._add(chunk)
                self.wake()
                while self.waiting_bytes > ANSWER_WAITING_BYTES:
                    self._room.clear()
                    await self._room.wait()
            self._end()
        except _FAILURES as error:
            self.failure = self.failure or type(error).__name__
        self.wake()

    @property
    def held_back(self) -> bool:
        """Whether the provider has to wait for what it said to be taken."""
        return self.waiting_bytes > ANSWER_WAITING_BYTES

    def news(self) -> asyncio.Future[None]:
        """Done once something has happened."""
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def take(self) -> bytes:
        """What has come of the body and was not taken yet."""
        pieces, self.pieces, self.waiting_bytes = self.pieces, [], 0
        self._room.set()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def wake(self) -> None:
        """Let who waits look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def let_go(self) -> None:
        """The exchange is over; an unfinished one is cut off."""
        self._open.discard(self)
        self.abort()

    def abort(self) -> None:
        """Break it off. May be called more than once."""
        if self._reading is not None:
            self._reading.cancel()
        if not self.ended:
            self.failure = self.failure or "closed"
            self._response.wire.abort()
        self._response.close()
        self.wake()


class AiohttpUpstream:
    """Real providers, over aiohttp. With `tls`, that context instead of the system's trust."""

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        connect_timeout_s: float | None = None,
        keep_alive_s: float = UPSTREAM_KEEP_ALIVE_S,
    ) -> None:
        self._tls = tls
        self._connect_timeout_s, self._keep_alive_s = connect_timeout_s, keep_alive_s
        self._session: aiohttp.ClientSession | None = None
        self._origins: dict[str, tuple[Origin, str]] = {}
        self._open: set[_Exchange] = set()
        self._closed = False

    def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=_Connector(
                limit=0,
                ssl=self._tls or trusting(),
                ttl_dns_cache=int(DNS_TTL_S),
                keepalive_timeout=self._keep_alive_s,
                happy_eyeballs_delay=NEXT_ADDRESS_S,
                interleave=1,
            ),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout_s or CONNECT_TIMEOUT_S),
            request_class=_Request,
            response_class=_Response,
            middlewares=(_once,),
            skip_auto_headers=_NOTHING_ADDED,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=ANSWER_WAITING_BYTES,
            max_line_size=ANSWER_HEAD_BYTES_MAX,
            max_field_size=ANSWER_HEAD_BYTES_MAX,
            max_headers=ANSWER_FIELDS_MAX,
        )

    def _url(self, request: Forward) -> tuple[URL, Origin]:
        found = self._origins.get(request.origin)
        if found is None:
            try:
                origin = Origin.of(request.origin)
            except ValueError as error:
                raise UpstreamFailed("not an origin", sent=False) from error
            host = f"[{origin.host}]" if ":" in origin.host else origin.host
            found = self._origins[request.origin] = origin, f"{host}:{origin.port}"
        origin, authority = found
        try:
            checked(request.method, request.target, origin.name, request.headers)
            target = _as_utf8(request.target)
        except (Malformed, UnicodeDecodeError):
            raise Unsendable() from None
        scheme = "https" if origin.secure else "http"
        return URL.build(scheme=scheme, authority=authority, path=target, encoded=True), origin

    async def send(self, request: Forward) -> Answer:
        """See `Upstream`."""
        if self._closed:
            raise UpstreamFailed("closed", sent=False)
        url, origin = self._url(request)
        headers, upload = _framed(request, origin)
        session = self._session
        if session is None:
            session = self._session = self._opened()
        try:
            response = await session.request(
                request.method,
                url,
                data=(request.body or None) if upload is None else upload.pieces(),
                headers=headers,
                allow_redirects=False,
                chunked=True if upload is not None and "content-length" not in headers else None,
            )
        except UpstreamFailed:
            if upload is not None and upload.error is not None:
                raise upload.error from None
            raise
        except (aiohttp.ClientError, ValueError, RuntimeError) as error:  # before it has come to a connection
            raise UpstreamFailed(type(error).__name__, sent=False) from error
        return await self._answer(cast("_Response", response), request, upload)

    async def _answer(self, response: _Response, request: Forward, upload: _Upload | None) -> WireAnswer:
        loop = asyncio.get_running_loop()
        try:
            exchange = _Exchange(loop, response, self._open, to_head=request.method == "HEAD")
        except Malformed:
            response.wire.abort()
            response.close()
            raise UpstreamFailed("malformed answer", sent=True) from None
        if upload is not None and not upload.over.is_set():
            try:
                await _outlast(upload, exchange)
            except BaseException:
                exchange.let_go()
                raise
        return WireAnswer(exchange)

    async def close(self) -> None:
        """See `Upstream`."""
        self._closed = True
        for exchange in list(self._open):
            exchange.let_go()
        if self._session is not None:
            await self._session.close()


async def _outlast(upload: _Upload, exchange: _Exchange) -> None:
    """An answer came before the request's end: that goes on until it is of no use any more. Raises what ended it."""
    while not (exchange.status >= 300 or exchange.ended or exchange.failure or exchange.held_back):
        try:
            async with asyncio.timeout(_LOOK_S):
                await upload.over.wait()
        except TimeoutError:
            continue
        break
    if upload.error is not None:
        raise upload.error


def _framed(request: Forward, origin: Origin) -> tuple[dict[str, str], _Upload | None]:
    """The fields as aiohttp has to be given them, and the body if it goes out in pieces."""
    body = request.body
    try:
        headers = {"Host": origin.name} | {name: _as_utf8(value) for name, value in request.headers.items()}
    except UnicodeDecodeError:
        raise Unsendable() from None
    length = len(body) if isinstance(body, bytes) else body.length
    if length is not None and not says_no_length(request.method, empty=not length and isinstance(body, bytes)):
        headers["content-length"] = str(length)
    whole = isinstance(body, bytes) and length is not None and length <= WHOLE_BYTES_MAX
    return headers, None if whole else _Upload(body)


def _as_utf8(text: str) -> str:
    """Text of which each character is a byte, so that aiohttp writes the same bytes. Raises UnicodeDecodeError."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8")
