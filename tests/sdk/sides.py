"""One SDK call on several sides - straight to the provider, and through Farthing - and what must be the same.

A case is an async function of one client, a synchronous or an asynchronous one: `got`, `each` and `opened` do the
awaiting where there is any. A tap below the SDK notes the bytes that it sent and got; the upstream notes what arrived,
and its invoice holds a hash of what it answered. Ids that the provider derives from a request differ from call to
call, so they are compared by where they recur, and times not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anthropic
import httpx2
import msgspec
import openai
from google import genai

from providers.ground.vendors import VENDORS
from providers.simulator import Faults, answer
from tests.harness import PROVIDER_KEY, Running
from tests.upstream import Line, Seen

Case = Callable[[Any], Awaitable[Any]]

FARTHINGS_RESPONSE_HEADERS = {
    "x-farthing-request-id",
    "x-farthing-held-micros",
    "x-farthing-remaining-micros",
    "x-farthing-cost-micros",
    "x-farthing-warning",
}
# Of the connection, or replaced on purpose: they cannot be the same on both ways.
HOP_REQUEST = {
    "host",
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "accept-encoding",
    "connection",
    "content-length",
    "via",
    "idempotency-key",  # made the tenant's own on its way
}
FETCH_S_OWN = {"accept-language", "sec-fetch-mode"}  # Node's `fetch` adds them; no provider's API knows them
HOP_RESPONSE = {"connection", "content-length", "transfer-encoding", "date", "server"}
# They name the operator's account with the provider, so no child key's holder gets to see them.
OPERATORS = re.compile(r"openai-organization|anthropic-organization-id|(?:x|anthropic)-ratelimit-.*")

_KEY_PLACES = {"authorization", "x-api-key", "x-goog-api-key"}
_IDS = re.compile(
    r"(?:chatcmpl-|cmpl-|call_|msg_|rs_|fc_|toolu_|batch_req_|sim)[0-9a-f]{24}|req_[0-9a-z]{12,}"
    r"|(?:resp_|file-|file_|batch_|msgbatch_)[0-9A-Za-z_-]{40,}"
)
_TIMES = re.compile(
    r'"(created|created_at|[a-z_]+_at|createdAt)": ?(?:\d{10}(?:\.0)?|"20\d\d-\d\d-\d\d[T ][0-9:.]+(?:Z|\+00:00)?")'
)
_SPLICES = (b'"stream_options":{"include_usage":true},', b'"include_usage":true,')
_EXTRA_CHUNK = re.compile(rb'"choices":\[\]')


class Exchange(msgspec.Struct, kw_only=True):
    """One request and its answer, as bytes, between an SDK and its base URL."""

    method: str
    url: str
    request_headers: list[tuple[str, str]]
    sent: bytes
    status: int
    response_headers: list[tuple[str, str]]
    got: bytearray


class Tap:
    """What went through one client's transport."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def note(self, request: httpx2.Request, response: httpx2.Response) -> Exchange:
        exchange = Exchange(
            method=request.method,
            url=str(request.url),
            request_headers=[(name.lower(), value) for name, value in request.headers.items()],
            sent=request.content,
            status=response.status_code,
            response_headers=[(name.lower(), value) for name, value in response.headers.items()],
            got=bytearray(),
        )
        self.exchanges.append(exchange)
        return exchange


class _Tapped(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, stream: Any, exchange: Exchange) -> None:
        self._stream, self._exchange = stream, exchange

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._exchange.got += chunk
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._exchange.got += chunk
            yield chunk

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


class SyncTap(httpx2.HTTPTransport):
    """A transport that notes what passes."""

    def __init__(self, tap: Tap) -> None:
        super().__init__(verify=False)  # there is no TLS here, and reading the certificates takes long
        self._tap = tap

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        response = super().handle_request(request)
        response.stream = _Tapped(response.stream, self._tap.note(request, response))
        return response


class AsyncTap(httpx2.AsyncHTTPTransport):
    """A transport that notes what passes."""

    def __init__(self, tap: Tap) -> None:
        super().__init__(verify=False)  # there is no TLS here, and reading the certificates takes long
        self._tap = tap

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        response = await super().handle_async_request(request)
        response.stream = _Tapped(response.stream, self._tap.note(request, response))
        return response


# ---- clients


def make_client(sdk: str, url: str, key: str, tap: Tap, *, sync: bool = False, **options: Any) -> Any:
    """A client of the official SDK: "openai", "anthropic" or "google". To be used as a context manager."""
    if sdk == "google":
        return _google(url, key, tap, sync=sync, **options)
    options = {"api_key": key, "max_retries": 0} | options
    base_url = f"{url}/v1" if sdk == "openai" else url
    if sync:
        client = httpx2.Client(transport=SyncTap(tap), timeout=30)
        make: Any = openai.OpenAI if sdk == "openai" else anthropic.Anthropic
    else:
        client = httpx2.AsyncClient(transport=AsyncTap(tap), timeout=30)  # type: ignore[assignment]
        make = openai.AsyncOpenAI if sdk == "openai" else anthropic.AsyncAnthropic
    return make(base_url=base_url, http_client=client, **options)


def _google(url: str, key: str, tap: Tap, *, sync: bool, **options: Any) -> Any:
    def make(**client: Any) -> Any:
        return genai.Client(api_key=key, http_options=genai.types.HttpOptions(base_url=url, **client, **options))

    # What is given to the SDK is not closed by it.
    @contextlib.contextmanager
    def blocking() -> Iterator[Any]:
        with httpx2.Client(transport=SyncTap(tap), timeout=30) as http, make(httpx_client=http) as client:
            yield client

    @contextlib.asynccontextmanager
    async def waiting() -> AsyncIterator[Any]:
        http = httpx2.AsyncClient(transport=AsyncTap(tap), timeout=30)
        async with http, make(httpx_async_client=http).aio as client:
            yield client

    return blocking() if sync else waiting()


def place(farthing: Running, sdk: str) -> str:
    """Where the SDK finds its own provider."""
    return (
        farthing.upstream.origin(sdk)
        if sdk in VENDORS and sdk not in ("openai", "anthropic")
        else farthing.upstream.url
    )


async def perform(sdk: str, url: str, key: str, case: Case, *, sync: bool = False, **options: Any) -> tuple[Any, Tap]:
    """The case's result on one side, and what went over the wire."""
    tap = Tap()

    async def run() -> Any:
        async with opened(make_client(sdk, url, key, tap, sync=sync, **options)) as client:
            return plain(await case(client))

    if sync:
        return await asyncio.to_thread(asyncio.run, run()), tap
    return await run(), tap


async def got(value: Any) -> Any:
    """A call's result, whether the client is asynchronous or not."""
    return await value if hasattr(value, "__await__") else value


async def each(stream: Any) -> AsyncIterator[Any]:
    """A stream's items, whether it is asynchronous or not."""
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


async def listed(stream: Any) -> list[Any]:
    """All of a stream's items."""
    return [item async for item in each(stream)]


@contextlib.asynccontextmanager
async def opened(manager: Any) -> AsyncIterator[Any]:
    """The value of a context manager, whether it is asynchronous or not."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


def plain(value: Any) -> Any:
    """An SDK's objects as plain data, with the request ids that they know."""
    if hasattr(value, "model_dump"):
        data = value.model_dump(mode="json", warnings=False)
        data.pop("sdk_http_response", None)  # the answer's head, which is compared apart
        request_id = getattr(value, "_request_id", None)
        return data | {"_request_id": request_id} if request_id else data
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


# ---- sameness


def normalised(text: str) -> str:
    """The text with ids numbered in order of appearance, and without times."""
    numbers: dict[str, str] = {}
    text = _IDS.sub(lambda found: numbers.setdefault(found[0], f"<id {len(numbers)}>"), text)
    return _TIMES.sub(r'"\1": 0', text)


def comparable(value: Any) -> Any:
    """Plain data, normalised."""
    return json.loads(normalised(json.dumps(value)))


class Pass(msgspec.Struct, kw_only=True):
    """One side's requests as the upstream saw them, with the invoice's lines."""

    seen: list[Seen]
    lines: list[Line]


class Watch:
    """Collects what reaches the upstream from here on."""

    def __init__(self, farthing: Running) -> None:
        self._upstream = farthing.upstream
        self._start = len(self._upstream.requests)

    async def passed(self) -> Pass:
        """What has reached it since."""
        seen = list(self._upstream.requests)[self._start :]
        async with asyncio.timeout(5):
            while True:
                lines = {line.upstream_id: line for line in self._upstream.invoice}
                if all(one.upstream_id in lines for one in seen):
                    return Pass(seen=seen, lines=[lines[one.upstream_id] for one in seen])
                await asyncio.sleep(0.005)


async def same(farthing: Running, sdk: str, key: str, case: Case, *, sync: bool = False) -> Any:
    """Run the case on both sides; everything must be the same. The result."""
    watch = Watch(farthing)
    expected, straight = await perform(sdk, place(farthing, sdk), PROVIDER_KEY, case, sync=sync)
    direct = await watch.passed()
    watch = Watch(farthing)
    result, tap = await perform(sdk, farthing.url, key, case, sync=sync)
    through = await watch.passed()
    assert comparable(result) == comparable(expected)
    assert direct.seen, "the case called nothing"
    same_requests(direct, through, key)
    same_bytes(tap, through)
    for ours, theirs in zip(tap.exchanges, straight.exchanges, strict=True):
        same_response_headers(ours, theirs)
    return result


def same_requests(direct: Pass, through: Pass, key: str) -> None:
    """The upstream saw the same requests on both sides, but for the credential and the splice."""
    assert [(one.method, one.path) for one in through.seen] == [(one.method, one.path) for one in direct.seen]
    for ours, theirs in zip(through.seen, direct.seen, strict=True):
        assert normalised(unspliced(ours.body, theirs.body).decode()) == normalised(theirs.body.decode())
        skip = HOP_REQUEST | FETCH_S_OWN
        assert end_to_end(ours.headers, skip) == end_to_end(theirs.headers, skip)
        no_secrets(ours, key)


def unspliced(arrived: bytes, sent: bytes) -> bytes:
    """What arrived without the splice, where one was allowed."""
    if arrived == sent or b'"stream":true' not in sent or b'"include_usage":true' in sent:
        return arrived
    return next((arrived.replace(splice, b"", 1) for splice in _SPLICES if splice in arrived), arrived)


def no_secrets(seen: Seen, key: str) -> None:
    """The provider's credential arrived in the child key's place, and nothing of Farthing's or the client's."""
    names = [name for name, _ in seen.headers]
    (place,) = [name for name in names if name in _KEY_PLACES]
    assert seen.header(place) in (f"Bearer {PROVIDER_KEY}", PROVIDER_KEY)
    assert key not in seen.path
    assert key.encode() not in seen.body
    for name, value in seen.headers:
        assert "fk_" not in value, name
        assert not name.startswith(("cookie", "x-farthing", "x-end-user", "x-forwarded", "forwarded", "proxy-")), name


def same_bytes(tap: Tap, through: Pass) -> None:
    """Between the SDK and the upstream no byte changed, either way, but for the splice and its chunk."""
    for exchange, seen, line in zip(tap.exchanges, through.seen, through.lines, strict=True):
        assert unspliced(seen.body, exchange.sent) == exchange.sent
        steps = answered(seen, line)
        if seen.body != exchange.sent:
            steps = [step for step in steps if not _EXTRA_CHUNK.search(step)]
        assert bytes(exchange.got) == b"".join(steps)
        assert exchange.status == line.status
        sent = dict(exchange.response_headers)
        if not sent.get("content-type", "").startswith("text/event-stream"):
            assert sent["content-length"] == str(len(exchange.got))


def answered(seen: Seen, line: Line) -> list[bytes]:
    """The bytes of the upstream's answer, proven by the hash on its invoice."""
    for now_s in range(line.started_ms // 1000, line.ended_ms // 1000 + 1):
        made = answer(
            seen.method,
            seen.path,
            dict(seen.headers),
            seen.body,
            provider=seen.provider,
            faults=Faults(),
            request_id=seen.upstream_id,
            now_s=now_s,
        )
        steps = [step for step in made.steps if isinstance(step, bytes)]
        if hashlib.sha256(b"".join(steps)).hexdigest() == line.body_sha256:
            return steps
    raise AssertionError(f"the upstream's answer to {seen.method} {seen.path} cannot be made again")


def same_response_headers(ours: Exchange, theirs: Exchange) -> None:
    """The client saw the provider's headers, but for the operator's account, and Farthing's own."""
    skip = HOP_RESPONSE | {"openai-processing-ms"}
    mine = dict(end_to_end(ours.response_headers, skip))
    own = {name: mine.pop(name) for name in FARTHINGS_RESPONSE_HEADERS & mine.keys()}
    for name, value in end_to_end(theirs.response_headers, skip):
        if OPERATORS.fullmatch(name):
            assert name not in mine
        elif name in ("x-request-id", "request-id"):
            assert mine.pop(name)
        else:
            assert mine.pop(name) == value
    streamed = dict(ours.response_headers)["content-type"].startswith("text/event-stream")
    assert mine == ({"x-accel-buffering": "no"} if streamed else {})
    assert own.keys() >= FARTHINGS_RESPONSE_HEADERS - {"x-farthing-cost-micros", "x-farthing-warning"}
    assert ("x-farthing-cost-micros" in own) is not streamed


def end_to_end(headers: list[tuple[str, str]], skip: set[str]) -> list[tuple[str, str]]:
    """The headers but for those, in alphabetical order."""
    return sorted((name, value) for name, value in headers if name not in skip)
