"""Bodies that are forwarded while they arrive: nothing is held but their head; however they end, there is one event."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from gateway.call import relay, upload
from gateway.upstream import simulated
from providers.simulator import sounds
from tests.harness import PROVIDER_KEY, Running, running
from tests.process import Served

BOUNDARY = "boundary-of-the-tests"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
SOUND = {"content-type": "audio/wav"}
LISTEN = "/v1/listen?model=nova-3"
TRANSCRIBE = "/v1/audio/transcriptions"


def form(*parts: tuple[str, str | bytes], boundary: str = BOUNDARY) -> bytes:
    """A form: text is a field, bytes are a file."""
    pieces = []
    for name, value in parts:
        filename = '; filename="a.wav"' if isinstance(value, bytes) else ""
        content = value if isinstance(value, bytes) else value.encode()
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'
        pieces.append(head.encode() + content + b"\r\n")
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()


async def chunks(body: bytes, size: int = 64 * 1024, pause_s: float = 0.0) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(pause_s)


async def post(
    farthing: Running, secret: str, path: str, body: Any, headers: dict[str, str]
) -> tuple[int, dict[str, Any], dict[str, str]]:
    async with farthing.http.post(
        farthing.url + path,
        data=io.BytesIO(body) if isinstance(body, bytes) else body,
        headers={"authorization": f"Bearer {secret}"} | headers,
    ) as response:
        return response.status, json.loads(await response.read()), dict(response.headers)


@pytest.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as made:
        yield made


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def provider(serve: Serve) -> AsyncIterator[str]:
    """A provider that does exactly what it is told; its origin."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()


def transcript(seconds: float) -> bytes:
    body = json.dumps({"metadata": {"duration": seconds, "channels": 1}, "results": {"channels": []}}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


# ---- whole


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_long_body_reaches_the_provider_byte_for_byte(farthing: Running, chunked: bool) -> None:
    """Three megabytes of sound are forwarded as they are, and billed by the answer's own count."""
    body = sounds.wav(62.5)
    key = await farthing.mint(max_spend_usd="1")
    status, answer, headers = await post(farthing, key["secret"], LISTEN, chunks(body) if chunked else body, SOUND)
    assert status == 200, answer
    (seen,) = farthing.upstream.requests
    assert hashlib.sha256(seen.body).digest() == hashlib.sha256(body).digest()
    assert seen.header("content-length") == (None if chunked else str(len(body)))
    (event,) = await farthing.events()
    assert event["status"] == "settled"
    assert event["usage"]["audio_ms"] == 62_500
    assert event["cost_picos"] == 62_500 * 215_000 // 3 + 1  # 0.0043 USD a minute
    assert int(headers["x-farthing-cost-micros"]) == event["cost_micros"]
    await farthing.audited()


@pytest.mark.parametrize("size", [1, 100, 65_536, 10_000_000], ids=lambda size: f"pieces of {size}")
async def test_a_form_passes_in_pieces_of_any_size(farthing: Running, size: int) -> None:
    """However the network cuts a form, the model in it is found and the form arrives whole."""
    body = form(("model", "whisper-1"), ("file", sounds.wav(0.02 if size == 1 else 20)), ("response_format", "json"))
    key = await farthing.mint(max_spend_usd="1")
    status, answer, _ = await post(farthing, key["secret"], TRANSCRIBE, chunks(body, size), FORM)
    assert status == 200, answer
    assert farthing.upstream.requests[-1].body == body
    (event,) = await farthing.events()
    assert (event["model"], event["status"]) == ("whisper-1", "settled")
    await farthing.audited()


async def test_the_model_may_come_after_the_file(farthing: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some clients send it: up to a bound the form is read on for it, beyond that the client is told what to do."""
    late = form(("file", sounds.wav(10)), ("model", "whisper-1"))
    key = await farthing.mint(max_spend_usd="1")
    status, answer, _ = await post(farthing, key["secret"], TRANSCRIBE, late, FORM)
    assert status == 200, answer
    monkeypatch.setattr(upload, "BODY_BYTES_MAX", 300_000)
    status, answer, _ = await post(farthing, key["secret"], TRANSCRIBE, chunks(late, pause_s=0.002), FORM)
    assert status == 400
    assert "before the file" in answer["error"]["message"]
    assert len(farthing.upstream.requests) == 1
    await farthing.audited()


@pytest.mark.parametrize("key_headers", [{}, {"x-fern-sdk-name": "nobody"}], ids=["bare", "strange"])
async def test_the_model_in_a_form_tells_who_is_meant(farthing: Running, key_headers: dict[str, str]) -> None:
    """Two providers have this path; a file at the other one that the key has not made does not exist."""
    key = await farthing.mint(max_spend_usd="1")
    for model, provider in (("whisper-1", "openai"), ("voxtral-mini-2602", "mistral")):
        for parts in ([("model", model), ("file", sounds.wav(10))], [("file", sounds.wav(10)), ("model", model)]):
            headers = FORM | key_headers
            status, answer, _ = await post(farthing, key["secret"], TRANSCRIBE, chunks(form(*parts)), headers)
            assert status == 200, answer
            assert farthing.upstream.requests[-1].provider == provider
    named = form(("model", "voxtral-mini-2602"), ("file_id", "somebody-else-s"))
    status, answer, _ = await post(farthing, key["secret"], TRANSCRIBE, named, FORM)
    assert (status, answer["code"]) == (404, "not_found")
    assert {event["provider"] for event in await farthing.events(decision="allowed")} == {"openai", "mistral"}
    await farthing.audited()


# ---- refused


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("file", b"x")], "model"),
        ([("model", "whisper-1")], "file"),
        ([("model", "whisper-1"), ("model", "gpt-4o-transcribe"), ("file", b"x")], "model"),
        ([("model", "whisper-1"), ("Model", "gpt-4o-transcribe"), ("file", b"x")], "model"),
        ([("model[]", "whisper-1"), ("file", b"x")], "model"),
        ([("model", b"whisper-1"), ("file", b"x")], "model"),
        ([("model", "whisper-1"), ("file", b"x"), ("file", b"y")], "file"),
        ([("model", "whisper-1"), ("stream", "perhaps"), ("file", b"x")], "stream"),
    ],
    ids=["no model", "no file", "twice", "another case", "a list", "a file", "two files", "no flag"],
)
async def test_a_form_that_can_be_read_in_two_ways_is_refused(
    farthing: Running, parts: list[tuple[str, str | bytes]], param: str
) -> None:
    """Nothing is forwarded, nothing held, and the error names the field."""
    key = await farthing.mint(max_spend_usd="1")
    status, answer, _ = await post(farthing, key["secret"], TRANSCRIBE, form(*parts), FORM)
    assert (status, answer["error"]["param"]) == (400, param)
    assert not farthing.upstream.requests
    await farthing.audited()


async def test_a_second_model_behind_the_head_ends_the_upload(farthing: Running) -> None:
    """The provider is left with half a request, which is none: nothing is billed, and the client is told why."""
    body = form(("model", "whisper-1"), ("file", sounds.wav(20)), ("model", "gpt-4o-transcribe"))
    key = await farthing.mint(max_spend_usd="1")
    status, answer, _ = await post(farthing, key["secret"], TRANSCRIBE, chunks(body), FORM)
    assert (status, answer["error"]["param"]) == (400, "model")
    assert not farthing.upstream.requests
    (event,) = await farthing.events()
    assert (event["status"], event["cost_micros"]) == ("released", 0)
    await farthing.audited()


async def test_a_boundary_that_only_some_parsers_see_ends_the_upload(farthing: Running) -> None:
    """A field behind a bare line feed inside the file could be another model for the provider."""
    hidden = f'\n--{BOUNDARY}\nContent-Disposition: form-data; name="model"\n\ngpt-4o-transcribe\n'.encode()
    body = form(("model", "whisper-1"), ("file", sounds.wav(10) + hidden + bytes(100)))
    key = await farthing.mint(max_spend_usd="1")
    status, answer, _ = await post(farthing, key["secret"], TRANSCRIBE, chunks(body), FORM)
    assert status == 400
    assert "boundary" in answer["error"]["message"]
    assert not farthing.upstream.requests
    await farthing.audited()


async def test_a_broken_form_is_refused_at_its_end(farthing: Running) -> None:
    """A form without its closing boundary is no request."""
    body = form(("model", "whisper-1"), ("file", sounds.wav(10)))[:-20]
    key = await farthing.mint(max_spend_usd="1")
    status, answer, _ = await post(farthing, key["secret"], TRANSCRIBE, body, FORM)
    assert status == 400
    assert "closing boundary" in answer["error"]["message"]
    assert not farthing.upstream.requests
    await farthing.audited()


async def test_a_body_above_the_provider_s_own_bound_is_refused(farthing: Running) -> None:
    """By its declared length at once; by what comes, as soon as it has come."""
    key = await farthing.mint(max_spend_usd="100")
    body = form(("model", "whisper-1"), ("file", sounds.wav(600)))  # 28.8 MB
    status, _, _ = await post(farthing, key["secret"], TRANSCRIBE, body, FORM)
    assert status == 413
    status, _, _ = await post(farthing, key["secret"], TRANSCRIBE, chunks(body, 1 << 20), FORM)
    assert status == 413
    assert not farthing.upstream.requests
    await farthing.audited()


async def test_a_cap_refuses_an_upload_before_the_provider_hears_of_it(farthing: Running) -> None:
    """Ten minutes of sound do not fit into a cent."""
    key = await farthing.mint(max_spend_usd="0.01")
    body = sounds.wav(600, sample_rate=8_000)
    status, answer, _ = await post(farthing, key["secret"], LISTEN, body, SOUND)
    assert (status, answer["code"]) == (402, "spend_cap_exceeded")
    assert not farthing.upstream.requests
    await farthing.audited()


async def test_a_body_of_unknown_length_is_ended_where_the_money_ends(tmp_path: Path) -> None:
    """The hold grows with what comes; at the cap the provider is left with half a request."""
    got = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        while data := await reader.read(65_536):
            got += len(data)

    async with provider(serve) as origin, running(tmp_path, FARTHING_UPSTREAM_DEEPGRAM=origin) as farthing:
        key = await farthing.mint(max_spend_usd="0.02", overdraft="never")
        body = sounds.wav(600, sample_rate=8_000)  # 9.6 MB, 0.043 USD
        status, answer, _ = await post(farthing, key["secret"], LISTEN, chunks(body), SOUND)
        assert (status, answer["code"]) == (402, "spend_cap_exceeded")
        assert 1_000_000 < got < 5_000_000
        (event,) = await farthing.events()
        assert (event["status"], event["reason"]) == ("released", "spend_cap_exceeded")
        await farthing.audited()


async def test_a_body_of_unknown_length_is_ended_at_every_limit(farthing: Running) -> None:
    """Seconds of sound refuse as a rate; a cap that the call brought refuses as a cap; with room for it, it passes."""
    body = sounds.wav(600, sample_rate=8_000)  # 9.6 MB, 600 s, 0.043 USD; held for by a megabyte at first
    by_seconds = await farthing.mint(max_spend_usd="5", limits=[{"unit": "seconds", "max": 300, "window": "day"}])
    status, answer, headers = await post(farthing, by_seconds["secret"], LISTEN, chunks(body), SOUND)
    assert (status, answer["code"]) == (429, "rate_limited")
    assert int(headers["Retry-After"]) <= 60
    key = await farthing.mint(max_spend_usd="5")
    capped = SOUND | {"x-farthing-max-cost-usd": "0.02"}
    status, answer, _ = await post(farthing, key["secret"], LISTEN, chunks(body), capped)
    assert (status, answer["code"], answer["farthing"]["cap"]) == (402, "spend_cap_exceeded", "call")
    assert not farthing.upstream.requests
    status, answer, _ = await post(farthing, key["secret"], LISTEN, chunks(body), SOUND)
    assert status == 200, answer
    (event, refused) = await farthing.events(key_id=key["id"])
    assert (event["status"], event["usage"]["audio_ms"], event["flags"]) == ("settled", 600_000, [])
    assert event["cost_micros"] == 43_000
    assert refused["status"] == "released"
    await farthing.audited()


async def test_the_loop_guard_knows_a_form_by_its_content(farthing: Running) -> None:
    """Clients draw the boundary by lot: the same form under another one is the same call."""
    key = await farthing.mint(max_spend_usd="1", loop_guard={"max_identical": 2, "window_seconds": 60})
    statuses = []
    for boundary in ("one-boundary", "another", "a-third"):
        body = form(("model", "whisper-1"), ("file", sounds.wav(1)), boundary=boundary)
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        statuses.append((await post(farthing, key["secret"], TRANSCRIBE, body, headers))[0])
    assert statuses == [200, 200, 429]
    await farthing.audited()


# ---- broken


async def begin(farthing: Running, secret: str, length: int, sent: bytes) -> asyncio.StreamWriter:
    """A client that declares a length and sends less."""
    host, port = farthing.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {LISTEN} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\ncontent-type: audio/wav\r\n"
        f"content-length: {length}\r\n\r\n"
    )
    writer.write(head.encode() + sent)
    await writer.drain()
    return writer


async def test_a_client_that_leaves_in_the_middle_owes_nothing(farthing: Running) -> None:
    """Whether it lied about the length or was cut off: the provider got no whole request."""
    key = await farthing.mint(max_spend_usd="10")
    body = sounds.wav(60)
    writer = await begin(farthing, key["secret"], len(body) + 1, body)
    while not len(farthing.gateway.flights):  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)
    writer.transport.abort()
    (event,) = await farthing.events()
    assert (event["status"], event["reason"], event["cost_micros"]) == ("released", "client_gone", 0)
    assert not farthing.upstream.requests
    await farthing.audited()


async def test_a_client_that_stands_still_is_told_so(farthing: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline runs from piece to piece; it is the client's fault, and its answer says so."""
    monkeypatch.setattr(relay, "UPLOAD_IDLE_S", 0.3)
    key = await farthing.mint(max_spend_usd="10")
    body = sounds.wav(20)

    async def slow() -> AsyncIterator[bytes]:
        yield body[:300_000]
        await asyncio.sleep(20)
        yield body[300_000:]

    status, answer, _ = await post(farthing, key["secret"], LISTEN, slow(), SOUND)
    assert (status, answer["code"]) == (408, "request_timeout")
    (event,) = await farthing.events()
    assert (event["status"], event["reason"]) == ("released", "timeout")
    await farthing.audited()


async def test_a_revoked_key_ends_its_upload(farthing: Running) -> None:
    """As every call in flight."""
    key = await farthing.mint(max_spend_usd="10")
    body = sounds.wav(20)

    async def endless() -> AsyncIterator[bytes]:
        yield body[:300_000]
        await farthing.api("DELETE", f"/v1/keys/{key['id']}")
        await asyncio.sleep(20)

    status, answer, _ = await post(farthing, key["secret"], LISTEN, endless(), SOUND)
    assert (status, answer["code"]) == (401, "key_revoked")
    (event,) = await farthing.events()
    assert event["status"] == "released"
    await farthing.audited()


@pytest.mark.parametrize("status", [413, 429])
async def test_a_refusal_that_comes_before_the_end_is_passed_on(tmp_path: Path, status: int) -> None:
    """The provider need not hear the rest, and the client need not wait for it."""
    body = b'{"err_code":"X","err_msg":"no","request_id":"r"}'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(300_000)
        head = f"HTTP/1.1 {status} No\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        await asyncio.sleep(20)

    async with provider(serve) as origin, running(tmp_path, FARTHING_UPSTREAM_DEEPGRAM=origin) as farthing:
        key = await farthing.mint(max_spend_usd="10")
        sound = sounds.wav(300)
        answered = await post(farthing, key["secret"], LISTEN, chunks(sound), SOUND)
        assert (answered[0], answered[1]["err_code"]) == (status, "X")
        (event,) = await farthing.events()
        assert (event["status"], event["http_status"]) == ("released", status)
        await farthing.audited()


async def test_a_provider_that_breaks_off_in_the_middle_is_a_failure_that_costs_nothing(tmp_path: Path) -> None:
    """It cannot have acted on half a request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(300_000)
        writer.transport.abort()

    async with provider(serve) as origin, running(tmp_path, FARTHING_UPSTREAM_DEEPGRAM=origin) as farthing:
        key = await farthing.mint(max_spend_usd="10")
        status, answer, _ = await post(farthing, key["secret"], LISTEN, chunks(sounds.wav(300)), SOUND)
        assert (status, answer["code"]) == (502, "upstream_unreachable")
        (event,) = await farthing.events()
        assert (event["status"], event["cost_micros"]) == ("released", 0)
        await farthing.audited()


async def test_a_provider_that_breaks_off_after_the_end_may_have_charged(tmp_path: Path) -> None:
    """The whole request was there, and no word came back: what it may cost stays counted."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.partition(b":")[2]))
        writer.transport.abort()

    async with provider(serve) as origin, running(tmp_path, FARTHING_UPSTREAM_DEEPGRAM=origin) as farthing:
        key = await farthing.mint(max_spend_usd="10")
        status, _, _ = await post(farthing, key["secret"], LISTEN, sounds.wav(60), SOUND)
        assert status == 502
        (event,) = await farthing.events()
        assert (event["status"], event["reason"], event["cost_micros"]) == ("unsettled", "unanswered", 0)
        _, me = await farthing.api("GET", "/v1/me", key=key["secret"])
        assert me["unsettled_micros"] == event["held_micros"] >= 4_300  # a minute of nova-3
        await farthing.audited()


async def test_a_provider_that_cannot_be_reached_got_nothing(tmp_path: Path) -> None:
    """Not a byte was sent."""
    async with running(tmp_path, FARTHING_UPSTREAM_DEEPGRAM="http://127.0.0.1:9") as farthing:
        key = await farthing.mint(max_spend_usd="10")
        status, _, _ = await post(farthing, key["secret"], LISTEN, chunks(sounds.wav(60)), SOUND)
        assert status == 502
        (event,) = await farthing.events()
        assert (event["status"], event["cost_micros"]) == ("released", 0)
        await farthing.audited()


async def test_a_test_key_s_upload_is_answered_by_the_simulator(farthing: Running) -> None:
    """Through the same path, up to the length of an ordinary body."""
    key = await farthing.mint(livemode=False)
    status, answer, _ = await post(farthing, key["secret"], LISTEN, chunks(sounds.wav(62.5)), SOUND)
    assert (status, answer["metadata"]["duration"]) == (200, 62.5)
    (event,) = await farthing.events(livemode="false")
    assert (event["status"], event["usage"]["audio_ms"]) == ("settled", 62_500)
    await farthing.audited()


async def test_the_simulator_takes_no_longer_uploads_than_ordinary_bodies(
    farthing: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs them whole: a test key's long upload is refused rather than held."""
    monkeypatch.setattr(simulated, "BODY_BYTES_MAX", 1_000_000)
    key = await farthing.mint(livemode=False)
    status, answer, _ = await post(farthing, key["secret"], LISTEN, chunks(sounds.wav(62.5)), SOUND)
    assert (status, answer["code"]) == (413, "request_too_large")
    (event,) = await farthing.events(livemode="false")
    assert (event["status"], event["cost_micros"]) == ("released", 0)
    await farthing.audited()


async def test_memory_stays_flat_while_200_megabytes_pass(tmp_path: Path) -> None:
    """A slow provider makes the client wait, and the gateway holds no more than a head and a few buffers."""
    taken = 0
    process: psutil.Process | None = None
    most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken, most
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        size = int(length.partition(b":")[2])
        await asyncio.sleep(0.5)  # everything that can pile up does
        while taken < size:
            data = await reader.read(1 << 20)
            assert data
            taken += len(data)
            assert process is not None
            most = max(most, process.memory_info().rss)
        writer.write(transcript(taken / 32_000))
        await writer.drain()
        await asyncio.sleep(5)

    async with provider(serve) as origin:
        served = Served(tmp_path, origin, FARTHING_UPSTREAM_DEEPGRAM=origin, DEEPGRAM_API_KEY=PROVIDER_KEY)
        await served.start()
        try:
            process = psutil.Process(served.pid)
            code, out, err = await served.run("keys", "mint", "--json", "--name", "x", "--max-spend-usd", "100")
            assert code == 0, err
            secret = json.loads(out)["secret"]
            before = process.memory_info().rss
            piece = bytes(1 << 20)
            head = sounds.wav(0, sample_rate=16_000)

            async def long() -> AsyncIterator[bytes]:
                yield head
                for _ in range(200):
                    yield piece

            size = len(head) + 200 * len(piece)
            headers = {"authorization": f"Bearer {secret}", "content-length": str(size)} | SOUND
            async with (
                aiohttp.ClientSession() as http,
                http.post(served.url + LISTEN, data=long(), headers=headers) as response,
            ):
                assert response.status == 200, await response.text()
                assert (await response.json())["metadata"]["duration"] == size / 32_000
            assert taken == size
            assert most - before < 24 * 1024**2, f"{before} before, {most} at most"
        finally:
            await served.kill()
