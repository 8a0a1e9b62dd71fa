"""Large bodies are read in a process of their own, and come out as if they had been read here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway import apart
from gateway.bounds import READ_APART_BYTES
from gateway.call import reading
from gateway.call.reading import Readings
from providers.reading.request import replaced
from providers.stored import files
from tests.gateway.call.test_upload import FORM, chunks, form, post
from tests.harness import Running, running
from tests.process import titled

LONG = "Some honest text, at length. " * 20_000
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": LONG}], "max_tokens": 100}


@pytest.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as made:
        yield made


def helpers() -> list[psutil.Process]:
    return titled(psutil.Process().children(), "gateway.call.reading")


async def test_a_large_call_is_priced_like_one_that_is_read_here(
    farthing: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same hold, the same bytes to the provider, in every shape; one helper reads them all."""
    key = await farthing.mint(max_spend_usd="100")
    calls: tuple[tuple[str, dict[str, Any]], ...] = (
        ("/v1/chat/completions", CHAT),
        ("/v1/messages", {**CHAT, "model": "claude-haiku-4-5"}),
        ("/v1/responses", {"model": "gpt-4o-mini", "input": LONG, "store": False}),
        ("/v1beta/models/gemini-2.5-flash:generateContent", {"contents": [{"parts": [{"text": LONG}]}]}),
    )
    seen: list[list[bytes]] = []
    for threshold in (READ_APART_BYTES, 1 << 30):
        monkeypatch.setattr("gateway.call.request.READ_APART_BYTES", threshold)
        farthing.upstream.requests.clear()
        for path, body in calls:
            status, _, answer = await farthing.call(key["secret"], body, path)
            assert status == 200, answer
        seen.append([each.body for each in farthing.upstream.requests])
        assert len(helpers()) == 1
    assert seen[0] == seen[1]
    await farthing.audited()


async def test_a_large_call_is_changed_where_it_must_be(farthing: Running) -> None:
    """A stream is asked for its usage, and a limit is written; no other byte is another."""
    key = await farthing.mint(max_spend_usd="100", overdraft="never")
    body = {name: value for name, value in CHAT.items() if name != "max_tokens"} | {"stream": True}
    status, _, _ = await farthing.call(key["secret"], body)
    assert status == 200
    sent = json.loads(farthing.upstream.requests[-1].body)
    assert sent.pop("stream_options") == {"include_usage": True}
    assert sent.pop("max_completion_tokens") > 0
    assert sent == body
    await farthing.audited()


async def test_what_a_large_call_says_wrong_is_named_as_ever(farthing: Running) -> None:
    """Doubles, foreign objects and types: 400 or 404 with the field, and the helper goes on."""
    key = await farthing.mint(max_spend_usd="100")
    raw = json.dumps(CHAT).encode()
    file = {"type": "file", "file": {"file_id": "file-of-another"}}
    foreign = CHAT | {"messages": [{"role": "user", "content": [{"type": "text", "text": LONG}, file]}]}
    for body, status, param in (
        (raw[:-1] + b',"model":"gpt-4o"}', 400, "model"),
        (raw[:-1] + b',"n":"x"}', 400, "n"),
        (json.dumps(foreign).encode(), 404, "file_id"),
        (raw[:-1], 400, None),
    ):
        got, _, answer = await farthing.call(key["secret"], body)
        assert (got, json.loads(answer)["error"]["param"]) == (status, param), answer[:200]
    assert len(helpers()) == 1
    assert not farthing.upstream.requests
    await farthing.audited()


async def test_a_helper_that_dies_costs_one_call(farthing: Running) -> None:
    """503, nothing held; the next large call has a new helper."""
    key = await farthing.mint(max_spend_usd="100")
    assert (await farthing.call(key["secret"], CHAT))[0] == 200
    (helper,) = helpers()
    os.kill(helper.pid, signal.SIGSTOP)
    calling = asyncio.create_task(farthing.call(key["secret"], CHAT))
    await asyncio.sleep(0.3)
    os.kill(helper.pid, signal.SIGKILL)
    status, _, answer = await calling
    assert (status, json.loads(answer)["error"]["code"]) == (503, "overloaded")
    assert (await farthing.call(key["secret"], CHAT))[0] == 200
    await farthing.audited()


async def _model(readings: Readings, body: bytes) -> str:
    async with readings.of(body) as found:
        return found.model


async def test_whoever_leaves_while_he_waits_takes_nobody_s_helper() -> None:
    """A client that goes before its turn ends its own waiting and not the reading of another's body."""
    readings = Readings()
    try:
        async with readings.of(b'{"model":"first"}') as first:
            second = asyncio.create_task(_model(readings, b'{"model":"second"}'))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert first.model == "first"
        assert await _model(readings, b'{"model":"third"}') == "third"
    finally:
        await readings.close()


async def test_a_helper_that_takes_too_long_is_ended(farthing: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one whose client left; small calls do not notice."""
    key = await farthing.mint(max_spend_usd="100")
    assert (await farthing.call(key["secret"], CHAT))[0] == 200
    (helper,) = helpers()
    os.kill(helper.pid, signal.SIGSTOP)
    monkeypatch.setattr(apart, "READING_TIMEOUT_S", 0.5)
    calling = asyncio.create_task(farthing.call(key["secret"], CHAT))
    small = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    assert (await farthing.call(key["secret"], small))[0] == 200
    assert (await calling)[0] == 503
    monkeypatch.setattr(apart, "READING_TIMEOUT_S", 30.0)
    assert (await farthing.call(key["secret"], CHAT))[0] == 200
    assert helper.pid not in [each.pid for each in helpers()]
    await farthing.audited()


def batch_file(*texts: str, purpose: str = "batch") -> bytes:
    lines = [
        json.dumps({"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": {
            "model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], "max_tokens": 9}})
        for number, text in enumerate(texts)
    ]  # fmt: skip
    return form(("purpose", purpose), ("file", "\n".join(lines).encode()))


@pytest.mark.parametrize("texts", [(LONG, "short"), ("short", LONG), (LONG, LONG), ("short", LONG, "short")])
async def test_long_lines_of_a_file_are_read_apart(farthing: Running, texts: tuple[str, ...]) -> None:
    """The batch that is made of them is held for as if they had been read in passing."""
    key = await farthing.mint(max_spend_usd="100")
    kept = []
    for long_bytes in (files.LONG_BYTES, 1 << 30):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(files, "LONG_BYTES", long_bytes)
            status, answer, _ = await post(farthing, key["secret"], "/v1/files", chunks(batch_file(*texts)), FORM)
        assert status == 200, answer
        ledger = farthing.gateway.ledger
        root = await ledger.accounts.root()
        assert root is not None
        account = await ledger.accounts.get(root, key["id"])
        (own,) = await ledger.objects.owned(account.id, [answer["id"]])
        kept.append(own.facts["requests"])
    assert kept[0] == kept[1]
    assert sum(each["lines"] for each in kept[0]["bulk"]["sums"].values()) == len(texts)
    assert len(helpers()) == 1


async def test_a_long_line_that_is_wrong_is_named(farthing: Running) -> None:
    """With its number, before the provider has the whole file; in a file for another purpose it does not matter."""
    key = await farthing.mint(max_spend_usd="100")
    wrong = batch_file("short", LONG).replace(b"max_tokens", b"stream", 2)
    status, answer, _ = await post(farthing, key["secret"], "/v1/files", chunks(wrong), FORM)
    assert status == 400, answer
    assert "Line" in answer["error"]["message"]
    other = batch_file("short", LONG, purpose="user_data").replace(b"max_tokens", b"stream", 2)
    status, answer, _ = await post(farthing, key["secret"], "/v1/files", chunks(other), FORM)
    assert status == 200, answer


async def test_the_helper_ends_with_the_gateway(tmp_path: Path) -> None:
    """Nobody is left behind."""
    async with running(tmp_path) as farthing:
        key = await farthing.mint(max_spend_usd="100")
        assert (await farthing.call(key["secret"], CHAT))[0] == 200
        assert len(helpers()) == 1
    assert not helpers()


@pytest.mark.parametrize("pieces", [[], [b"a"], [b"", b"a"], [b"a", b"", b"bc"], [b"x" * 70_000] * 40])
def test_pieces_are_gathered_in_order(pieces: list[bytes]) -> None:
    """However many there are; and what came is not there twice."""
    gathered = apart.Gathered()
    tracemalloc.start()
    for piece in pieces:
        gathered.add(piece)
    whole = gathered.whole()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert whole == b"".join(pieces)
    assert gathered.size == len(whole)
    assert peak < len(whole) * 1.2 + 10_000


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"abc", b"abc"), (b"abc", b"abXc"), (b"aaa", b"aaaa"), (b"aaaa", b"aaa"), (b"", b"x"), (b"{}", b"{x}")],
)
def test_a_difference_makes_the_one_of_the_other(old: bytes, new: bytes) -> None:
    assert replaced(old, reading._difference(old, new)) == new
