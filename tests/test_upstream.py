"""The test provider over sockets: its script, its faults, and that its invoice is true."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from providers.simulator import Faults
from tests.upstream import Upstream

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
STREAM = CHAT | {"stream": True}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(upstream.url, auto_decompress=False) as session:
        yield session


async def post(client: aiohttp.ClientSession, body: Any, sim: str = "") -> tuple[int, bytes]:
    headers = {"x-sim": sim} if sim else {}
    options: Any = {"json": body, "headers": headers, "allow_redirects": False}
    async with client.post("/v1/chat/completions", **options) as made:
        return made.status, await made.read()


async def test_it_notes_what_arrived_byte_by_byte(upstream: Upstream, client: aiohttp.ClientSession) -> None:
    raw = b' {"model" : "gpt-4o","messages":[{"role":"user","content":"\xc3\xa9"}]}'
    async with client.post("/v1/chat/completions?a=b", data=raw, headers={"X-Thing": "Yes"}) as made:
        assert made.status == 200
        assert made.headers["x-request-id"] == upstream.requests[0].upstream_id
    seen = upstream.requests[0]
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/chat/completions?a=b", raw)
    assert seen.header("x-thing") == "Yes"
    assert seen.json()["model"] == "gpt-4o"


async def test_a_chunked_request_and_a_kept_connection_are_understood(
    upstream: Upstream, client: aiohttp.ClientSession
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield json.dumps(CHAT).encode()[:10]
        yield json.dumps(CHAT).encode()[10:]

    for _ in range(3):
        async with client.post("/v1/chat/completions", data=parts(), headers={"expect": "100-continue"}) as made:
            assert made.status == 200
            await made.read()
    assert len(upstream.connections) == 1


async def test_pipelined_requests_are_answered_in_order(upstream: Upstream) -> None:
    host, port = upstream.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"GET /v1/models/a HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/models/b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    data = await asyncio.wait_for(reader.read(), 5)
    assert data.index(b'"id":"a"') < data.index(b'"id":"b"')
    writer.close()
    await writer.wait_closed()


async def test_the_script_is_taken_in_order_and_by_model_first(
    upstream: Upstream, client: aiohttp.ClientSession
) -> None:
    upstream.script("status=500", Faults(status=429))
    upstream.script("status=503", model="other")
    upstream.always = Faults(status=400)
    assert [(await post(client, CHAT))[0] for _ in range(3)] == [500, 429, 400]
    assert (await post(client, CHAT | {"model": "other"}))[0] == 503
    assert (await post(client, CHAT, "status=404"))[0] == 404


async def test_a_bad_directive_is_answered_400_by_name(client: aiohttp.ClientSession) -> None:
    status, body = await post(client, CHAT, "nonsense=1")
    assert status == 400
    assert b"nonsense" in body


async def test_a_wrong_credential_is_answered_401(client: aiohttp.ClientSession) -> None:
    async with Upstream(credential="sk-right") as upstream, aiohttp.ClientSession(upstream.url) as session:
        for headers, status in (
            ({}, 401),
            ({"authorization": "Bearer sk-wrong"}, 401),
            ({"authorization": "Bearer sk-right"}, 200),
            ({"x-api-key": "sk-right"}, 200),
        ):
            async with session.post("/v1/chat/completions", json=CHAT, headers=headers) as made:
                assert made.status == status


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_the_invoice_states_what_was_sent(
    upstream: Upstream, client: aiohttp.ClientSession, body: dict[str, Any]
) -> None:
    _, data = await post(client, body, "output_tokens=40")
    (line,) = await upstream.invoiced(1)
    assert (line.number, line.end, line.status, line.model) == (1, "whole", 200, "gpt-4o")
    assert (line.body_bytes, line.body_sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert line.billed is not None
    assert line.billed["output_tokens"] == 40
    assert line.upstream_id == upstream.requests[0].upstream_id


async def test_a_client_that_leaves_is_billed_what_was_generated(upstream: Upstream) -> None:
    async with aiohttp.ClientSession(upstream.url) as client:
        headers = {"x-sim": "output_tokens=5000, chunk_delay_ms=5"}
        async with client.post("/v1/chat/completions", json=STREAM, headers=headers) as made:
            await made.content.readuntil(b"\n\n")
            await made.content.readuntil(b"\n\n")
            made.close()
    (line,) = await upstream.invoiced(1)
    assert line.end == "client"
    assert line.billed is not None
    assert 1 <= line.billed["output_tokens"] < 1_000
    assert upstream.open_answers == 0


async def test_a_client_that_leaves_while_nothing_comes_is_noticed(upstream: Upstream) -> None:
    async with aiohttp.ClientSession(upstream.url, timeout=aiohttp.ClientTimeout(total=0.05)) as client:
        with pytest.raises(asyncio.TimeoutError):
            await post(client, CHAT, "stall")
    (line,) = await upstream.invoiced(1)
    assert (line.end, line.status, line.body_bytes) == ("client", 0, 0)


@pytest.mark.parametrize(
    ("sim", "status", "events"),
    [
        ("reset=before_head", 0, 0),
        ("reset=after_head", 200, 0),
        ("reset=mid_event", 200, 1),
        ("disconnect_after=0", 200, 0),
        ("disconnect_after=5", 200, 5),
    ],
)
async def test_a_reset_comes_where_it_was_asked_for(upstream: Upstream, sim: str, status: int, events: int) -> None:
    data = b""
    async with aiohttp.ClientSession(upstream.url) as client:
        with pytest.raises(aiohttp.ClientError):
            async with client.post("/v1/chat/completions", json=STREAM, headers={"x-sim": sim}) as made:
                assert made.status == status
                async for chunk in made.content.iter_any():
                    data += chunk
    (line,) = await upstream.invoiced(1)
    assert (line.end, line.status) == ("fault", status)
    assert data.count(b"\n\n") == events
    assert line.body_bytes == len(data)
    assert (sim == "reset=mid_event") == (not data.endswith(b"\n\n") and data != b"")
    assert line.billed is not None
    assert line.billed["output_tokens"] == max(0, events - 1 + (sim == "reset=mid_event"))


async def test_a_full_answer_is_cut_after_that_many_bytes(upstream: Upstream, client: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.ClientError):
        await post(client, CHAT, "disconnect_after=30")
    (line,) = await upstream.invoiced(1)
    assert (line.end, line.body_bytes) == ("fault", 30)


async def test_a_head_that_claims_too_much_ends_early(client: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await post(client, CHAT, "content_length=1000000")


async def test_a_head_that_claims_too_little_is_followed_by_a_close(
    upstream: Upstream, client: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.ClientError):  # aiohttp sees the surplus, which came with the head
        await post(client, CHAT, "content_length=10")
    assert (await post(client, CHAT))[0] == 200
    assert [line.status for line in await upstream.invoiced(2)] == [200, 200]


async def test_a_redirect_is_seen_when_it_is_followed(upstream: Upstream, client: aiohttp.ClientSession) -> None:
    assert (await post(client, CHAT, "redirect"))[0] == 302
    assert len(upstream.requests) == 1
    async with client.post("/v1/chat/completions", json=CHAT, headers={"x-sim": "redirect"}, max_redirects=2) as made:
        assert made.status == 404
    assert upstream.requests[-1].path == "/followed-redirect"


@pytest.mark.parametrize(("sim", "kind"), [("html", "text/html"), ("encoding=gzip", "application/json")])
async def test_other_content_is_served_as_it_is(client: aiohttp.ClientSession, sim: str, kind: str) -> None:
    async with client.post("/v1/chat/completions", json=CHAT, headers={"x-sim": sim}) as made:
        assert made.content_type == kind
        data = await made.read()
    assert data.startswith(b"<html" if kind == "text/html" else b"\x1f\x8b")


async def test_many_at_once_have_one_line_each(upstream: Upstream, client: aiohttp.ClientSession) -> None:
    await asyncio.gather(*(post(client, STREAM) for _ in range(60)))
    lines = await upstream.invoiced(60)
    assert sorted(line.number for line in lines) == list(range(1, 61))
    assert len({line.upstream_id for line in lines}) == 60


async def test_garbage_is_refused_and_the_server_goes_on(upstream: Upstream, client: aiohttp.ClientSession) -> None:
    host, port = upstream.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\x00\x01 nonsense\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await writer.wait_closed()
    assert (await post(client, CHAT))[0] == 200


async def test_stop_leaves_no_call_behind(tmp_path: Path) -> None:
    upstream = Upstream(invoice_file=tmp_path / "invoice.jsonl")
    await upstream.start()
    async with aiohttp.ClientSession(upstream.url) as client:
        call = asyncio.create_task(post(client, CHAT, "stall"))
        await asyncio.sleep(0.2)
        assert upstream.open_answers == 1
        await upstream.stop()
        with pytest.raises(aiohttp.ClientError):
            await call
    assert upstream.open_answers == 0
    assert [line.end for line in upstream.invoice] == ["client"]


async def test_it_runs_as_a_program_and_appends_to_its_invoice(tmp_path: Path) -> None:
    file = tmp_path / "invoice.jsonl"
    file.write_text('{"number":0}\n')
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.upstream", "--invoice", str(file), "--always", "output_tokens=5",
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    try:
        assert program.stdout is not None
        first = (await asyncio.wait_for(program.stdout.readline(), 10)).decode()
        assert first.startswith("listening on http://127.0.0.1:")
        async with aiohttp.ClientSession(first.split()[-1]) as client:
            assert (await post(client, STREAM))[0] == 200
        await asyncio.sleep(0.2)  # the line is written after the last byte
    finally:
        program.kill()
        await program.wait()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["number"] for line in lines] == [0, 1]
    assert lines[1]["billed"]["output_tokens"] == 5
