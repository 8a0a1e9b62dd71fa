"""Whatever bytes are sent, and whichever way the provider reads them, a cap that must hold is not passed.

The provider bills the dearest reading of what it got (`tests.attack.fuzz`), writes as much as that allows, breaks off
or says nothing as the lot falls; its invoice is laid beside what was charged and what stays counted.
`FARTHING_ATTACKS` says how many requests there are, `FARTHING_ATTACK_SEED` which.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.places import Place
from tests.attack.fuzz import READERS, STRANGER, Bill, Fuzzer, Sent, bills, dearest, decisive, readings
from tests.attack.node import Node
from tests.harness import PROVIDER_KEY, Running, running

ATTACKS = int(os.environ.get("FARTHING_ATTACKS", "3000"))
SEED = int(os.environ.get("FARTHING_ATTACK_SEED", "1"))
CALLS_A_KEY = 100  # as many as a page of events has
CAP_MICROS = 60_000
AT_ONCE = 16


class Provider:
    """Every vendor at one address. Bills by mark, which is the path's query."""

    def __init__(self, seed: int, node: Node) -> None:
        self.asked: dict[str, Sent] = {}
        self.invoice: dict[str, Bill] = {}
        self.readings = 0
        self.otherwise: list[str] = []  # what not all read alike
        self.strangers: list[str] = []  # what somebody reads in it that nobody knows
        self._node = node
        self._dice = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._serving: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection is here."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def gone(self) -> None:
        """Let go of every connection."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next((int(line[15:]) for line in head.lower().split("\r\n")
                               if line.startswith("content-length:")), 0)  # fmt: skip
                body = await reader.readexactly(length)
                mark = head.partition("user-agent: ")[2].partition("\r\n")[0]
                if not await self._answer(mark, body, writer):
                    return

    async def _answer(self, mark: str, body: bytes, writer: asyncio.StreamWriter) -> bool:
        sent = self.asked[mark]
        model = sent.path.partition("models/")[2].partition(":")[0]
        found = bills(sent, body, self._node, model)
        self.readings += len(found)
        alike = decisive(sent, body, self._node, model)
        if len({bill.picos for bill in alike.values()}) > 1 or len({bill.model for bill in alike.values()}) > 1:
            self.otherwise.append(f"{sent.path} {body!r} {alike}")
        if any(f'"{STRANGER}"' in json.dumps(read) for _, read in readings(body, self._node)):
            self.strangers.append(f"{sent.path} {body!r}")
        bill = dearest(found)
        assert mark not in self.invoice, "forwarded twice"
        if bill is None:
            writer.write(b"HTTP/1.1 400 No\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()
            return True
        self.invoice[mark] = bill
        streamed = b"stream" in body and b"true" in body and sent.path.endswith("completions")
        answer = _answer(sent, bill, streamed=streamed)
        kind = b"text/event-stream" if streamed else b"application/json"
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(answer))
        how = self._dice.random()
        if how < 0.06:
            writer.transport.abort()
            return False
        if how < 0.15:
            writer.write(head + answer[: self._dice.randrange(len(answer))])
            await writer.drain()
            writer.transport.abort()
            return False
        writer.write(head + answer)
        await writer.drain()
        return True


def _answer(sent: Sent, bill: Bill, *, streamed: bool) -> bytes:
    used, tokens = bill.usage, {"prompt_tokens": bill.usage.input_tokens, "completion_tokens": bill.usage.output_tokens}
    tier = used.service_tier or "default"
    usage = tokens | {"total_tokens": used.tokens}
    if sent.provider == "google":
        counts = {"promptTokenCount": used.input_tokens, "candidatesTokenCount": used.output_tokens,
                  "totalTokenCount": used.tokens, "serviceTier": used.service_tier or "standard"}  # fmt: skip
        candidate = {"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP", "index": 0}
        answer: dict[str, Any] = {"candidates": [candidate], "usageMetadata": counts, "modelVersion": bill.model}
    elif sent.provider == "anthropic":
        answer = {"type": "message", "model": bill.model, "content": [{"type": "text", "text": "Hello"}],
                  "usage": {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens}}  # fmt: skip
    elif sent.path.endswith("responses"):
        answer = {"model": bill.model, "status": "completed", "service_tier": tier,
                  "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}],
                  "usage": {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens,
                            "total_tokens": used.tokens}}  # fmt: skip
    elif sent.path.endswith("embeddings"):
        answer = {
            "model": bill.model,
            "data": [],
            "usage": {"prompt_tokens": used.input_tokens, "total_tokens": used.tokens},
        }
    elif streamed:
        said = {"model": bill.model, "service_tier": tier, "choices": [{"index": 0, "delta": {"content": "Hello"}}]}
        last = {"model": bill.model, "service_tier": tier, "choices": [], "usage": usage}
        return b"".join(
            b"data: %b\n\n" % each for each in (json.dumps(said).encode(), json.dumps(last).encode(), b"[DONE]")
        )
    else:
        answer = {"model": bill.model, "service_tier": tier, "usage": usage,
                  "choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]}  # fmt: skip
    return json.dumps(answer).encode()


class Tally:
    """What became of the requests."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}

    def add(self, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1


async def _send(farthing: Running, secret: str, mark: str, sent: Sent, tally: Tally) -> None:
    headers = {"authorization": f"Bearer {secret}", "content-type": sent.content_type, "user-agent": mark,
               "x-farthing-metadata": json.dumps({"mark": mark})}  # fmt: skip
    try:
        async with farthing.http.post(farthing.url + sent.path, data=sent.body, headers=headers) as response:
            await response.read()
            tally.add(response.status)
    except aiohttp.ClientError:
        tally.add(0)


async def _key(farthing: Running, provider: Provider, fuzzer: Fuzzer, tally: Tally, number: int, **terms: Any) -> int:
    """Send a key's share of requests; how many passed the door. The cap is looked at when all is quiet."""
    key = await farthing.mint(max_spend_micros=CAP_MICROS, **terms)
    marks = [f"{number}-{at}" for at in range(CALLS_A_KEY)]
    provider.asked = {mark: fuzzer.make() for mark in marks}
    room = asyncio.Semaphore(AT_ONCE)

    async def one(mark: str) -> None:
        async with room:
            await _send(farthing, key["secret"], mark, provider.asked[mark], tally)

    await asyncio.gather(*map(one, marks))
    await farthing.quiet()
    _, me = await farthing.api("GET", "/v1/me", key=key["secret"])
    _, holds = await farthing.api("GET", "/v1/holds?state=unsettled&limit=100")
    rests = {hold["id"].partition("_")[2]: hold["amount"] for hold in holds["data"]}
    assert me["held_micros"] == 0
    for event in await farthing.events(key_id=key["id"]):
        bill = provider.invoice.get(event["metadata"].get("mark", ""))
        if bill is None:
            assert event["cost_micros"] == 0, event
            continue
        rest = rests.get(event["id"].partition("_")[2], 0)
        told = (provider.asked[event["metadata"]["mark"]], bill, event, rest)
        if event["status"] == "settled":
            assert event["cost_picos"] == bill.picos, told
        else:  # nobody knows: all that was held is charged, or counted
            assert event["cost_micros"] + rest >= min(event["held_micros"], bill.picos // 10**6), told
        if terms.get("overdraft") == "never":
            assert "overrun" not in event["flags"], told
            assert event["cost_micros"] + rest + 1 >= bill.picos // 10**6, told
    if terms.get("overdraft") == "never":
        assert me["spent_micros"] + me["unsettled_micros"] <= CAP_MICROS, me
    revoked, _ = await farthing.api("DELETE", f"/v1/keys/{key['id']}")
    assert revoked == 200
    for hold in holds["data"]:
        await farthing.api("POST", f"/v1/holds/{hold['id']}/resolve", {"action": "release"})
    return sum(mark in provider.invoice for mark in marks)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("overdraft", ["never", "inflight"])
async def test_no_reading_of_any_request_passes_the_cap(
    tmp_path: Path, overdraft: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the dearest reader invoices is charged to the pico, or all that was held for it counts.

    Under `never` that is all there is, for every single call, and below the cap in all, and nothing is forwarded that
    holds something unknown, at whatever depth. What is forwarded says the same of all that has a price to every parser
    that reads it at all.
    """
    caplog.set_level(logging.WARNING, logger="farthing")
    node = Node()
    provider, fuzzer, tally = Provider(SEED, node), Fuzzer(SEED), Tally()
    server = await asyncio.start_server(provider.accept, "127.0.0.1", 0)
    url = "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
    passed = 0
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(node)
        stack.push_async_callback(provider.gone)
        stack.callback(server.close)
        farthing = await stack.enter_async_context(
            running(tmp_path, FARTHING_UNANSWERED_S="0", FARTHING_DISCONNECT_DRAIN_S="1")
        )
        for name in farthing.gateway.settings.places:
            farthing.gateway.settings.places[name] = Place(url, PROVIDER_KEY)
        for number in range(max(ATTACKS // CALLS_A_KEY // 2, 1)):
            passed += await _key(farthing, provider, fuzzer, tally, number, overdraft=overdraft)
        finding = await farthing.audited()
        assert finding.open_holds == 0
    assert not provider.otherwise, "\n".join(provider.otherwise[:5])
    if overdraft == "never":
        assert not provider.strangers, "\n".join(provider.strangers[:5])
    else:
        assert provider.strangers
    assert provider.readings > passed * len(READERS)
    if "FARTHING_ATTACKS" in os.environ:
        told = f"{overdraft}: {sum(tally.statuses.values())} requests, {passed} forwarded, {provider.readings} readings"
        with capsys.disabled():
            sys.stdout.write(f"\n{told}, {dict(sorted(tally.statuses.items()))}\n")
    assert 500 not in tally.statuses, tally.statuses
    assert not [record for record in caplog.records if record.exc_info], caplog.text
    assert passed > sum(tally.statuses.values()) // 20, tally.statuses
