"""F21, F23 and F24: many calls at once on one cap, and keys that change while their calls are in flight."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from tests.faults.support import CHAT, MESSAGES, MICRO, PATHS, STREAM, Site

BOUNDED = CHAT | {"max_tokens": 100}
INCLUDED = STREAM | {"stream_options": {"include_usage": True}}


async def held_by_one(site: Site, body: dict[str, Any]) -> int:
    """What one such call holds."""
    _, status, headers, _ = await site.call(await site.key(), body)
    assert status == 200
    return int(headers["x-farthing-held-micros"])


class Watch:
    """Looks at a key all the time and keeps what must never be."""

    def __init__(self, site: Site, secret: str, cap: int) -> None:
        self._site, self._secret, self._cap = site, secret, cap
        self.looks = 0
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            status, me = await self._site.api("GET", "/v1/me", key=self._secret)
            assert status == 200
            assert me["spent_micros"] + me["held_micros"] + me["unsettled_micros"] <= self._cap, me
            assert me["remaining_micros"] == self._cap - me["spent_micros"] - me["held_micros"], me
            self.looks += 1

    async def end(self) -> None:
        self._task.cancel()
        (found,) = await asyncio.gather(self._task, return_exceptions=True)
        assert isinstance(found, asyncio.CancelledError), found
        assert self.looks > 5


@pytest.mark.parametrize("room", [1, 40])
async def test_no_more_calls_are_admitted_than_fit(site: Site, room: int) -> None:
    """F21: of 200 at once exactly as many are forwarded as the cap has room for; the others are refused and free."""
    each = await held_by_one(site, BOUNDED)
    before = len(site.upstream.requests)
    cap = each * room + each // 2
    secret = await site.key(max_spend_micros=cap)
    watch = Watch(site, secret, cap)
    orders = ["delay_ms=1500,output_tokens=100"] * 200
    answers = await asyncio.gather(*(site.call(secret, BOUNDED, sim) for sim in orders))
    await watch.end()
    statuses = [status for _, status, _, _ in answers]
    assert sorted(set(statuses)) == [200, 402]
    assert statuses.count(200) == len(site.upstream.requests) - before == room
    for _, status, headers, got in answers:
        if status == 402:
            error = json.loads(got)["error"]
            assert (error["code"], headers["x-should-retry"]) == ("spend_cap_exceeded", "false")
            assert error["farthing"]["limit_micros"] == cap
            assert error["farthing"]["required_micros"] == each > error["farthing"]["remaining_micros"]
    await exact(site, secret)


async def exact(site: Site, secret: str) -> None:
    """What a key has spent is the sum of its events, to the micro and the pico below it."""
    events = {event["id"]: event for event in await site.events()}
    _, me = await site.api("GET", "/v1/me", key=secret)
    own = [event for event in events.values() if event["key_id"] == me["id"]]
    assert me["held_micros"] == me["unsettled_micros"] == 0
    assert me["spent_micros"] == sum(event["cost_micros"] for event in own)
    assert me["spent_micros"] == sum(event["cost_picos"] for event in own) // MICRO


@pytest.mark.parametrize("overdraft", ["never", "inflight"])
async def test_a_cap_that_runs_out_under_load_holds(site: Site, overdraft: str) -> None:
    """F21: calls come and go, holds shrink and are given back, and spent plus held is never above the cap."""
    cap = 3_000
    secret = await site.key(max_spend_micros=cap, overdraft=overdraft, on_insufficient="clamp")
    watch = Watch(site, secret, cap)

    async def some(number: int) -> None:
        for count in range(12):
            sim = f"delay_ms={(number * 7 + count * 13) % 60},output_tokens={50 + number * 20}"
            body = (BOUNDED, STREAM | {"max_tokens": 300}, STREAM | {"max_completion_tokens": 60})[(number + count) % 3]
            _, status, _, got = await site.call(secret, body, sim)
            assert status in (200, 402), got

    await asyncio.gather(*(some(number) for number in range(12)))
    await watch.end()
    await exact(site, secret)
    _, me = await site.api("GET", "/v1/me", key=secret)
    assert cap // 2 < me["spent_micros"] <= cap
    assert me["overrun_micros"] == 0


async def test_siblings_share_their_parents_cap(site: Site) -> None:
    """F22: five keys at once never spend more than their team's cap, whichever of them is first."""
    each = await held_by_one(site, BOUNDED)
    cap = each * 6
    team = await site.mint(scope="team", max_spend_micros=cap)
    site.secrets.add(team["secret"])
    keys = [await site.key(by=team["secret"]) for _ in range(5)]
    before = len(site.upstream.requests)
    watch = Watch(site, team["secret"], cap)
    calls = [site.call(key, BOUNDED, "delay_ms=800") for _ in range(10) for key in keys]
    statuses = [status for _, status, _, _ in await asyncio.gather(*calls)]
    await watch.end()
    assert statuses.count(200) == len(site.upstream.requests) - before == 6
    assert statuses.count(402) == 44


STREAMS: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "chat": (PATHS["chat"], INCLUDED, b"data: {"),
    "spliced chat": (PATHS["chat"], STREAM, b"data: {"),
    "messages": (PATHS["messages"], MESSAGES | {"stream": True}, b"event: message_start"),
    "responses": (
        "/v1/responses",
        {"model": "gpt-4o-mini", "input": "say something", "stream": True},
        b"event: response",
    ),
}


@pytest.mark.parametrize("query", ["", "?in_flight=cut", "?in_flight=finish"])
async def test_a_revoke_cuts_streams_or_lets_them_finish(site: Site, query: str) -> None:
    """F23: cut within a second and told so in the dialect's own words, or whole; one event either way, then 401."""
    key = await site.mint()
    site.secrets.add(key["secret"])
    long = "output_tokens=60,chunk_delay_ms=20"
    calls = {
        kind: asyncio.create_task(site.call(key["secret"], body, long, path))
        for kind, (path, body, _) in STREAMS.items()
    }
    full = asyncio.create_task(site.call(key["secret"], CHAT, "delay_ms=900"))
    async with asyncio.timeout(5):
        while sum(map(bool, site.produced.values())) < len(calls):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    started = time.monotonic()
    status, revoked = await site.api("DELETE", f"/v1/keys/{key['id']}{query}")
    assert (status, revoked["status"]) == (200, "revoked")
    for path, body, _ in STREAMS.values():
        assert (await site.call(key["secret"], body, path=path))[1] == 401
    for kind, call in calls.items():
        mark, status, names, got = await asyncio.wait_for(call, 10)
        assert (status, names.get("broken")) == (200, None), kind
        assert got.startswith(STREAMS[kind][2]), kind
        event = await site.event(mark) if "finish" not in query else None
        made = bytes(site.produced[mark])
        if event is None:
            assert kind == "spliced chat" or got == made
            assert (await site.event(mark))["status"] == "settled"
            continue
        assert time.monotonic() - started < 1.5
        assert (event["status"], event["reason"]) == ("estimated", "key_revoked"), event
        assert event["usage"]["output_tokens"] > 0
        head, _, last = got.rstrip(b"\n").rpartition(b"\n\n")
        assert kind == "spliced chat" or made.startswith(head + b"\n\n"), got[-500:]
        assert "key_revoked" in json.dumps(json.loads(last.rpartition(b"data: ")[2])), last
        assert "chat" in kind or last.startswith(b"event: error"), last
    _, status, _, answer = await full
    if "finish" in query:
        assert status == 200
    else:
        assert (status, json.loads(answer)["error"]["code"]) == (401, "key_revoked")


async def test_revoking_a_team_cuts_the_calls_of_its_keys(site: Site) -> None:
    """F23: a whole subtree at once; a stranger's stream goes on."""
    team = await site.mint(scope="team")
    child = await site.mint(by=team["secret"])
    site.secrets |= {team["secret"], child["secret"]}
    stranger = await site.key()
    long = "output_tokens=60,chunk_delay_ms=20"
    calls = [asyncio.create_task(site.call(key, STREAM, long)) for key in (child["secret"], stranger)]
    async with asyncio.timeout(5):
        while sum(map(bool, site.produced.values())) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await site.api("POST", f"/v1/keys/{team['id']}/revoke"))[0] == 200
    cut, whole = await asyncio.gather(*calls)
    assert b"key_revoked" in cut[3]
    assert whole[3].endswith(b"data: [DONE]\n\n")


async def test_a_revoke_between_authentication_and_hold_refuses(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """F23: the statement that holds money is the one that sees the revocation; nothing is forwarded."""
    key = await site.mint()
    site.secrets.add(key["secret"])
    assert (await site.call(key["secret"], CHAT))[1] == 200
    ledger = site.gateway.ledger
    hold = ledger.calls.hold

    async def late(ask: Any, **options: Any) -> Any:
        monkeypatch.setattr(ledger.calls, "hold", hold)
        assert (await site.api("DELETE", f"/v1/keys/{key['id']}?in_flight=finish"))[0] == 200
        return await hold(ask, **options)

    monkeypatch.setattr(ledger.calls, "hold", late)
    _, status, _, got = await site.call(key["secret"], CHAT)
    assert (status, json.loads(got)["error"]["code"]) == (401, "key_revoked")
    assert len(site.upstream.requests) == 1


async def test_a_cap_changed_in_flight_binds_the_next_call(site: Site) -> None:
    """F24: what was promised is kept, lowering it below what is spent and held refuses the next, raising it admits."""
    key = await site.mint(max_spend_usd="1")
    secret = key["secret"]
    site.secrets.add(secret)
    calls = [
        asyncio.create_task(site.call(secret, body, "output_tokens=20,delay_ms=500"))
        for body in (CHAT, STREAM, BOUNDED)
    ]
    async with asyncio.timeout(5):
        while len(site.upstream.requests) < 3:  # noqa: ASYNC110 - the provider has no event for it
            await asyncio.sleep(0.01)
    for cap, expected in ((0, 402), (1, 402), (1_000_000, 200), (None, 200), (5, 402)):
        status, changed = await site.api("PATCH", f"/v1/keys/{key['id']}", {"max_spend_micros": cap})
        assert (status, changed["max_spend_micros"]) == (200, cap)
        assert changed["remaining_micros"] is None if cap is None else changed["remaining_micros"] >= 0
        _, status, _, got = await site.call(secret, BOUNDED)
        assert status == expected, (cap, got)
    answers = await asyncio.gather(*calls)
    assert [status for _, status, _, _ in answers] == [200] * 3
    assert answers[1][3].endswith(b"[DONE]\n\n")
    await exact(site, secret)


async def test_models_taken_away_in_flight_are_refused_next(site: Site) -> None:
    """F24: a stream that was let in ends as it should; the next call of the model is 403."""
    key = await site.mint()
    site.secrets.add(key["secret"])
    calling = asyncio.create_task(site.call(key["secret"], STREAM, "output_tokens=30,chunk_delay_ms=10"))
    async with asyncio.timeout(5):
        while not site.upstream.requests:  # noqa: ASYNC110 - the provider has no event for it
            await asyncio.sleep(0.01)
    assert (await site.api("PATCH", f"/v1/keys/{key['id']}", {"allowed_models": ["claude-*"]}))[0] == 200
    _, status, _, got = await site.call(key["secret"], CHAT)
    assert (status, json.loads(got)["error"]["code"]) == (403, "model_not_allowed")
    assert (await calling)[3].endswith(b"[DONE]\n\n")
    assert len(site.upstream.requests) == 1
