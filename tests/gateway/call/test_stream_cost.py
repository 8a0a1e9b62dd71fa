"""What a stream cost, said in a comment behind its last event."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.call.reply import Reply
from ledger.calls import Calls
from ledger.records import LedgerUnavailable
from tests.harness import Running

CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "stream": True}
MESSAGE: dict[str, Any] = {**CHAT, "model": "claude-haiku-4-5", "max_tokens": 20}
ASKED = {"x-farthing-stream-cost": "1"}
SAID = re.compile(rb": farthing cost_micros=(\d+)\n\n\Z")


@pytest.fixture(params=["lean", "aiohttp"])
def upstream_client(request: pytest.FixtureRequest) -> str:
    """Both clients keep what is promised here."""
    return str(request.param)


@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGE)])
async def test_a_stream_says_what_it_is_charged(farthing: Running, path: str, body: dict[str, Any]) -> None:
    """The micros are the event's own, carry and all; what stands before them is the provider's answer, untouched."""
    key = await farthing.mint(max_spend_usd="1")
    told = []
    for _ in range(5):
        status, _, plain = await farthing.call(key["secret"], body, path)
        status, _, asked = await farthing.call(key["secret"], body, path, ASKED)
        found = SAID.search(asked)
        assert (status, found is not None) == (200, True)
        assert found is not None
        assert shape(asked[: found.start()]) == shape(plain)
        told.append(int(found[1]))
        assert "x-farthing-stream-cost" not in {name for name, _ in farthing.upstream.requests[-1].headers}
    events = list(reversed(await farthing.events()))
    assert told == [event["cost_micros"] for event in events[1::2]]
    assert len(set(told)) > 1 or body is MESSAGE, "the carry moves: no rounding of its own"


def shape(stream: bytes) -> list[bytes]:
    """A stream of events without what differs from call to call."""
    return [re.sub(rb"[0-9a-f]{24}|\d{10,}", b"#", line) for line in stream.splitlines()]


async def test_only_streams_of_events_say_it(farthing: Running) -> None:
    """A whole answer, an error and a stream of a provider that was cut say nothing; nor does one that did not ask."""
    key = await farthing.mint(max_spend_usd="1")
    _, headers, whole = await farthing.call(key["secret"], CHAT | {"stream": False}, headers=ASKED)
    assert b": farthing" not in whole
    assert "x-farthing-cost-micros" in headers
    status, _, refused = await farthing.call(key["secret"], CHAT | {"model": "nobody"}, headers=ASKED)
    assert (status, b": farthing" in refused) == (400, False)
    for off in ({}, {"x-farthing-stream-cost": "0"}):
        assert b": farthing" not in (await farthing.call(key["secret"], CHAT, headers=off))[2]
    status, _, unclear = await farthing.call(key["secret"], CHAT, headers={"x-farthing-stream-cost": "yes"})
    assert (status, b"x-farthing-stream-cost" in unclear) == (400, True)


async def test_a_whole_answer_says_it_too_where_it_is_asked_for(farthing: Running) -> None:
    """The header is then the event's micros, carry and all, so they sum to what was spent; without, it is rounded."""
    key = await farthing.mint(max_spend_usd="1")
    body = CHAT | {"stream": False}
    told = [
        int((await farthing.call(key["secret"], body, headers=ASKED))[1]["x-farthing-cost-micros"]) for _ in range(9)
    ]
    assert told == [event["cost_micros"] for event in reversed(await farthing.events())]
    assert len(set(told)) > 1
    assert sum(told) == (await farthing.api("GET", f"/v1/keys/{key['id']}"))[1]["spent_micros"]
    rounded = {(await farthing.call(key["secret"], body))[1]["x-farthing-cost-micros"] for _ in range(5)}
    assert len(rounded) == 1 and abs(int(rounded.pop()) - told[0]) <= 1


async def test_what_nobody_knows_is_not_said(farthing: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the ledger does not answer, the stream ends as it would have."""

    async def unavailable(self: Calls, call_id: str) -> int:
        raise LedgerUnavailable("away")

    monkeypatch.setattr(Calls, "charged_micros", unavailable)
    key = await farthing.mint(max_spend_usd="1")
    status, _, body = await farthing.call(key["secret"], CHAT, headers=ASKED)
    assert (status, body.endswith(b"data: [DONE]\n\n")) == (200, True)


async def test_an_event_is_not_broken_into(farthing: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the provider's last event was left open, nothing is put behind it."""
    whole = Reply.write

    async def without_its_end(self: Reply, chunk: bytes) -> None:
        await whole(self, chunk[:-1] if chunk.endswith(b"[DONE]\n\n") else chunk)

    monkeypatch.setattr(Reply, "write", without_its_end)
    key = await farthing.mint(max_spend_usd="1")
    _, _, body = await farthing.call(key["secret"], CHAT, headers=ASKED)
    assert body.endswith(b"data: [DONE]\n")
