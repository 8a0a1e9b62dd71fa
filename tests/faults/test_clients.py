"""F1 to F3: clients that leave, that do not read, and that hardly write."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.support import CHAT, PATHS, STREAM, Client, Site, body_of, opened, request_bytes

INCLUDED = STREAM | {"stream_options": {"include_usage": True}}
# stage: (body, faults, what the client waits for before it leaves, the event's status)
LEAVING: dict[str, tuple[dict[str, Any], str, bytes, str]] = {
    "S3 full, answered in time": (CHAT, "delay_ms=300", b"", "settled"),
    "S3 full, never answered": (CHAT, "stall", b"", "unsettled"),
    "S3 stream, answered in time": (STREAM, "delay_ms=300", b"", "settled"),
    "S3 stream, never answered": (STREAM, "stall", b"", "unsettled"),
    "S4 stream, ends in time": (STREAM, "chunk_delay_ms=10,output_tokens=40", b"data: ", "settled"),
    "S4 stream, too long": (STREAM, "chunk_delay_ms=20,output_tokens=300", b"data: ", "estimated"),
    "S4 stream, stalls": (INCLUDED, "stall_after=5", b"data: ", "estimated"),
    "S4 half an answer": (CHAT, "stall_after=100", b"", "unsettled"),
    "S5 full, all read": (CHAT, "", b'"usage"', "settled"),
    "S5 stream, all read": (STREAM, "output_tokens=20", b"[DONE]", "settled"),
}


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_that_leaves_is_billed_once_for_what_was_made(site: Site, how: str) -> None:
    """F1 S3 to S6: what ends in time is settled; of the rest what was seen is charged, and all that was held counts."""
    secret = await site.key()
    site.gateway.relay.patience.head_s = site.gateway.relay.patience.silence_s = 2  # that an answer is waited for

    async def leave(stage: str) -> None:
        body, sim, awaited, status = LEAVING[stage]
        mark, client = await site.raw(secret, body, sim)
        if awaited:
            await client.until(awaited)
        else:
            async with asyncio.timeout(5):
                while mark not in site.produced:  # noqa: ASYNC110 - the provider has no event for it
                    await asyncio.sleep(0.01)
        await client.leave(how)
        event = await site.event(mark)
        assert event["status"] == status, (stage, event)
        if b"data:" in awaited and status == "estimated":
            assert event["usage"]["output_tokens"] > 0, (stage, event)
        if body is INCLUDED:
            assert bytes(site.produced[mark]).startswith(body_of(client.got)), stage

    await asyncio.gather(*(leave(stage) for stage in LEAVING))


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_that_leaves_before_its_body_is_complete_costs_nothing(site: Site, how: str) -> None:
    """F1 S0: no hold, no event, no forwarding, at whatever byte the request breaks off."""
    secret = await site.key()
    _, body, header = site.prepared(CHAT)
    whole = request_bytes(secret, body, PATHS["chat"], header)
    for cut in (0, 1, 20, whole.index(b"\r\n\r\n"), whole.index(b"\r\n\r\n") + 4, len(whole) - 1):
        client = await Client.connect(site.url)
        await client.send(whole[:cut])
        await asyncio.sleep(0.01)
        await client.leave(how)
    assert await site.events() == []
    assert not site.upstream.requests


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_that_leaves_during_its_hold_is_not_forwarded(
    site: Site, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F1 S1 and S2: the hold is released and nothing reaches the provider."""
    secret = await site.key()
    reached, go_on = asyncio.Event(), asyncio.Event()
    hold = site.gateway.ledger.calls.hold

    async def slow(ask: Any, **options: Any) -> Any:
        held = await hold(ask, **options)
        reached.set()
        await go_on.wait()
        return held

    monkeypatch.setattr(site.gateway.ledger.calls, "hold", slow)
    mark, client = await site.raw(secret, CHAT)
    await reached.wait()
    await client.leave(how)
    await asyncio.sleep(0.05)
    go_on.set()
    await asyncio.sleep(0.05)
    event = await site.event(mark)
    assert (event["status"], event["cost_picos"]) == ("released", 0)
    assert not site.upstream.requests


async def test_a_client_that_does_not_read_is_cut_and_billed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F2: its connection goes at the deadline, memory stays flat, and what waits unread in buffers is billed too."""
    monkeypatch.setattr("gateway.call.reply.WRITE_TIMEOUT_S", 0.3)
    big = "output_tokens=25000,chunk_bytes=1048576"
    async with opened(tmp_path, FARTHING_DISCONNECT_DRAIN_S="5") as site:
        secret = await site.key()
        process = psutil.Process()
        before = process.memory_info().rss
        started = time.monotonic()
        calls = [
            await site.raw(secret, body, sim, receive_buffer=2048)
            for body, sim in ((STREAM, big), (INCLUDED, big), (CHAT, "output_tokens=200000"), (CHAT, ""))
        ]
        for _, client in calls:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        events = [await site.event(mark) for mark, _ in calls]
        assert [event["status"] for event in events] == ["settled"] * 4, events
        assert time.monotonic() - started < 12
        assert process.memory_info().rss - before < 200 * 2**20
        for _, client in calls[:2]:
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert b"[DONE]" not in await client.closed(2)  # it cannot take what it got for the whole
        for _, client in calls:
            await client.leave()


async def test_slow_heads_and_bodies_are_ended_while_good_calls_flow(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F3: a head or a body that does not come in time ends the connection; no hold is made; others notice nothing."""
    monkeypatch.setattr("gateway.edge.protocol.HEADERS_TIMEOUT_S", 0.5)
    monkeypatch.setattr("gateway.edge.protocol.BODY_CLOSE_S", 1.0)
    monkeypatch.setattr("gateway.call.body.BODY_TIMEOUT_S", 0.6)
    secret = await site.key()
    slow = [
        b"",
        b"P",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-a: ",
        request_bytes(secret, b"", PATHS["chat"], "content-length: 100"),
        request_bytes(secret, b'{"model":', PATHS["chat"], "content-length: 100"),
        request_bytes(secret, b"3\r\nabc\r\n", PATHS["chat"], "transfer-encoding: chunked"),
        request_bytes(secret, b"", "/v1/keys", "content-length: 100"),
        request_bytes("garbage", b"", PATHS["chat"], "content-length: 100"),
        request_bytes(secret, b"", "/v1/me", "content-length: 100", method="GET"),
        request_bytes(secret, b"", "/nowhere", "content-length: 100"),
    ]

    async def drip(data: bytes) -> None:
        client = await Client.connect(site.url)
        await client.send(data)
        started = time.monotonic()
        dripping = asyncio.create_task(_drip(client))
        await client.closed(3)
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        assert time.monotonic() - started < 2.5, data
        assert b" 200 " not in client.got or b"/v1/me" in data
        await client.leave()

    async def good() -> None:
        for _ in range(20):
            started = time.monotonic()
            assert (await site.call(secret, CHAT))[1] == 200
            assert time.monotonic() - started < 2.5
            await asyncio.sleep(0.02)

    await asyncio.gather(*(drip(data) for data in slow), good())


async def _drip(client: Client) -> None:
    """A byte now and then, as a slowloris does."""
    while True:
        await asyncio.sleep(0.15)
        await client.send(b"a")
