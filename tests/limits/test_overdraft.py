"""What may be spent above a cap: nothing with `never`, one answer in flight by default; and what is left unusable."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from ledger.calls import REFUSALS_READ_S
from tests.harness import Running
from tests.limits.calls import INPUT_PICOS, OUTPUT_PICOS, call, chat, in_flight, refusal

SHAPES = {
    "chat": ("/v1/chat/completions", {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}),
    "responses": ("/v1/responses", {"model": "gpt-4o-mini", "input": "hi"}),
    "messages": (
        "/v1/messages",
        {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "hi"}]},
    ),
}
FIELDS = {"chat": "max_completion_tokens", "responses": "max_output_tokens", "messages": "max_tokens"}


async def test_never_holds_whatever_comes(gateway: Running) -> None:
    """500 parallel calls with random maxima, streams and faults: spent and unsettled together never pass the cap."""
    cap, chance = 60_000, random.Random(3)  # noqa: S311 - repeatable on purpose
    key = await gateway.mint(max_spend_micros=cap, overdraft="never")
    watching = asyncio.create_task(_watch(gateway, key["id"], cap))

    async def one(number: int) -> int:
        body = chat(chance.choice([None, 1, 16, 100, 700, 3_000, 20_000]), stream=number % 3 == 0)
        faults = ["", "", "", "disconnect_after=3", "status=500", "usage=missing", "reset=before_head", "usage=absurd"]
        gateway.upstream.script(f"output_tokens={chance.randrange(2_500)},{chance.choice(faults)}".rstrip(","))
        try:
            return (await call(gateway, key["secret"], body))[0]
        except Exception:  # noqa: BLE001 - a stream that the provider broke off
            return 0

    statuses: list[int] = []
    for _ in range(5):
        statuses += await asyncio.gather(*(one(number) for number in range(100)))
    await gateway.quiet()
    watching.cancel()
    await asyncio.sleep(REFUSALS_READ_S)  # who has just read is not shown what was counted of refusals since
    _, me = await gateway.api("GET", f"/v1/keys/{key['id']}")
    assert statuses.count(402) > 50
    assert statuses.count(200) > 20
    assert cap // 3 < me["spent_micros"] + me["unsettled_micros"] <= cap
    assert (me["held_micros"], me["overrun_micros"]) == (0, 0)
    events = await _all_events(gateway)
    assert len(events) == 500
    assert sum(event["cost_micros"] for event in events) == me["spent_micros"]


async def _watch(farthing: Running, key_id: str, cap: int) -> None:
    while True:
        _, me = await farthing.api("GET", f"/v1/keys/{key_id}")
        assert me["spent_micros"] + me["held_micros"] <= cap
        await asyncio.sleep(0.05)


async def _all_events(farthing: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        cursor = f"&starting_after={found[-1]['id']}" if found else ""
        _, page = await farthing.api("GET", f"/v1/events?limit=100{cursor}")
        found += page["data"]
        if not page["has_more"]:
            return found


async def test_the_last_cents_are_usable(gateway: Running, record_property: pytest.RecordProperty) -> None:
    """Of a $0.10 cap, `never` leaves less unusable than one token; a hold of the model's whole maximum leaves most."""
    cap, model = 100_000, "gpt-4o"
    whole = 16_384 * 10  # micros: what the model's maximum output costs, which a worst-case-only hold would take
    key = await gateway.mint(livemode=False, max_spend_micros=cap, overdraft="never")
    sim = "output_tokens=900"
    spent = 0
    while True:
        status, _, _ = await call(gateway, key["secret"], chat(None, model=model), sim=sim)
        await gateway.quiet()
        _, me = await gateway.api("GET", f"/v1/keys/{key['id']}")
        if status != 200:
            break
        spent = me["spent_micros"]
    left = cap - spent
    declared = await gateway.mint(livemode=False, max_spend_micros=cap, overdraft="never")
    while (await call(gateway, declared["secret"], chat(900, model=model), sim=sim))[0] == 200:
        await gateway.quiet()
    _, me = await gateway.api("GET", f"/v1/keys/{declared['id']}")
    record_property("left_of_100000_micros", left)
    print(f"left of a $0.10 cap: {left} micros without a maximum, {me['remaining_micros']} with 900 declared,")  # noqa: T201
    print(f"against {cap - max(0, cap - whole)} with a hold of the model's maximum ({whole} micros a call)")  # noqa: T201
    assert left < 500, "less than one more call's input and a token"
    assert me["remaining_micros"] < 9_000 + 500, "less than the next call declares"
    assert whole > cap, "a worst-case-only hold would have admitted none at all"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("overdraft", ["never", "inflight"])
async def test_affordable_output_tokens_is_exact(timed: Running, shape: str, overdraft: str) -> None:
    """The maximum that a refusal names is admitted, and one more is not."""
    path, base = SHAPES[shape]
    field = FIELDS[shape]
    for cap in (61, 150, 997, 1_300, 2_222):
        key = await timed.mint(
            livemode=False, max_spend_micros=cap * (6 if shape == "messages" else 1), overdraft=overdraft
        )
        for declared in (4_000, 20_000, None):
            if declared is None and (overdraft == "never" or shape == "messages"):
                continue
            body = base | ({} if declared is None else {field: declared})
            probe = {"x_farthing_max_cost_usd": "1"}
            status, _, answer = await call(timed, key["secret"], body, path=path, **probe)
            if status == 200:  # a default hold shrinks, so there is nothing to say
                assert declared is None
                break
            said = answer["error"]["farthing"]
            most = said["affordable_output_tokens"]
            assert most > 0
            for maximum, expected in ((most + 1, 402), (most, 200)):
                if expected == 200 and declared != 20_000:
                    continue  # what it costs would change the next answer
                status, _, answer = await call(timed, key["secret"], base | {field: maximum}, path=path, **probe)
                assert status == expected, (cap, declared, maximum, answer)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("overdraft", ["never", "inflight"])
async def test_clamp_lowers_that_field_and_nothing_else(gateway: Running, shape: str, overdraft: str) -> None:
    """With `clamp` the forwarded body differs from the client's in the digits of its output limit only."""
    path, base = SHAPES[shape]
    key = await gateway.mint(
        max_spend_micros=8_000 if shape == "messages" else 800, overdraft=overdraft, on_insufficient="clamp"
    )
    body = json.dumps(base | {"temperature": 0.5, FIELDS[shape]: 9_000, "metadata": {"a": "b"}}, indent=1).encode()
    status, _, _ = await gateway.call(key["secret"], body, path)
    assert status == 200
    forwarded = gateway.upstream.requests[-1].body
    lowered = json.loads(forwarded)[FIELDS[shape]]
    assert 0 < lowered < 9_000
    assert forwarded == body.replace(b"9000", b"%d" % lowered)
    await gateway.quiet()
    _, me = await gateway.api("GET", f"/v1/keys/{key['id']}")
    assert me["overrun_micros"] == 0


async def test_fifty_at_once_on_a_fresh_key(gateway: Running) -> None:
    """By default 50 parallel calls without a maximum are all admitted on $5, and all stay within it."""
    key = await gateway.mint(livemode=False, max_spend_usd="5")
    body = chat(None, model="gpt-4o")
    answers = await asyncio.gather(*(call(gateway, key["secret"], body, sim="delay_ms=100") for _ in range(50)))
    assert [status for status, _, _ in answers] == [200] * 50
    await gateway.quiet()
    _, me = await gateway.api("GET", "/v1/me", key=key["secret"])
    assert (me["spent_micros"] < 5_000_000, me["overrun_micros"]) == (True, 0)


async def test_fifty_at_once_on_an_almost_empty_key(gateway: Running) -> None:
    """On the last cents, each call that was admitted may exceed its hold by its own answer, and by no more."""
    cap, output = 20_000, 3_000
    key = await gateway.mint(livemode=False, max_spend_micros=cap)
    body = chat(None, model="gpt-4o")
    sim = f"delay_ms=200,output_tokens={output}"
    answers = await asyncio.gather(*(call(gateway, key["secret"], body, sim=sim) for _ in range(50)))
    admitted = [headers for status, headers, _ in answers if status == 200]
    assert 1 <= len(admitted) < 50
    await gateway.quiet()
    _, me = await gateway.api("GET", "/v1/me", key=key["secret"])
    answer = output * 10 + 100  # micros, with the input
    held = sum(int(headers["x-farthing-held-micros"]) for headers in admitted)
    assert held <= cap
    assert me["spent_micros"] <= cap + len(admitted) * answer
    assert me["overrun_micros"] >= me["spent_micros"] - cap > 0
    flags = [event["flags"] for event in await gateway.events(livemode="false", decision="allowed")]
    assert any("overrun" in each for each in flags)
    assert (await call(gateway, key["secret"], body))[0] == 402
    assert (await call(gateway, key["secret"], chat(1)))[0] == 402
    assert me["remaining_micros"] == 0


@pytest.mark.parametrize("room", [True, False])
async def test_a_stream_extends_its_hold(gateway: Running, room: bool) -> None:
    """At three quarters of its hold a stream holds more, which others see; refused, it ends all the same."""
    first = 4_096 * 10 + 200  # micros of gpt-4o: a default hold
    key = await gateway.mint(livemode=False, max_spend_micros=200_000 if room else first + 1_000)
    sim = "output_tokens=6000,chunk_bytes=60000,chunk_delay_ms=30"
    streaming = asyncio.create_task(call(gateway, key["secret"], chat(None, model="gpt-4o", stream=True), sim=sim))
    await in_flight(gateway, 1)
    seen = set()
    while not streaming.done():
        _, me = await gateway.api("GET", "/v1/me", key=key["secret"])
        seen.add(me["held_micros"])
        await asyncio.sleep(0.02)
    status, headers, body = await streaming
    assert (status, body.endswith(b"data: [DONE]\n\n")) == (200, True)
    await gateway.quiet()
    _, me = await gateway.api("GET", "/v1/me", key=key["secret"])
    held = int(headers["x-farthing-held-micros"])
    (event,) = await gateway.events(livemode="false")
    assert me["spent_micros"] == event["cost_micros"] > 60_000
    if room:
        assert held + 40_960 in seen
        assert (event["held_micros"], me["overrun_micros"]) == (held + 40_960, 0)
    else:
        assert max(seen) == held
        assert me["overrun_micros"] == event["cost_micros"] - held
        assert event["flags"] == ["overrun"]
        refusal(*await call(gateway, key["secret"]), unit="micros")


@pytest.mark.parametrize(("declared", "overdraft"), [(5_000, "inflight"), (3_000, "inflight"), (5_000, "never")])
async def test_an_extension_asks_for_no_more_than_can_come(gateway: Running, declared: int, overdraft: str) -> None:
    """A stream with a declared maximum never holds more than that maximum costs."""
    key = await gateway.mint(livemode=False, max_spend_usd="5", overdraft=overdraft)
    sim = "output_tokens=5000,chunk_bytes=2000"
    assert (await call(gateway, key["secret"], chat(declared, stream=True), sim=sim))[0] == 200
    (event,) = await gateway.events(livemode="false")
    bound = -(-declared * OUTPUT_PICOS // 10**6)
    assert bound - 1 <= event["held_micros"] <= bound + 200 * INPUT_PICOS // 10**6


async def test_a_cap_of_the_call_alone(timed: Running) -> None:
    """`x-farthing-max-cost-usd` refuses a call that may cost more, whatever the key has left."""
    key = await timed.mint(livemode=False)
    status, headers, body = await call(timed, key["secret"], chat(1_000), x_farthing_max_cost_usd="0.0005")
    said = refusal(status, headers, body, unit="micros")
    assert (said["cap"], said["cap_id"], said["limit_micros"], said["resets_at_ms"]) == ("call", None, 500, None)
    most = said["affordable_output_tokens"]
    assert (await call(timed, key["secret"], chat(most + 1), x_farthing_max_cost_usd="0.0005"))[0] == 402
    assert (await call(timed, key["secret"], chat(most), x_farthing_max_cost_usd="0.0005"))[0] == 200
    assert (await call(timed, key["secret"], chat(), x_farthing_max_cost_usd="a lot"))[0] == 400


async def test_a_free_call_passes_an_empty_cap(timed: Running) -> None:
    """What costs nothing needs no money: listing models works on a key that has none left."""
    key = await timed.mint(livemode=False, max_spend_micros=0)
    async with timed.http.get(timed.url + "/v1/models", headers={"authorization": f"Bearer {key['secret']}"}) as answer:
        assert answer.status == 200
    refusal(*await call(timed, key["secret"]), unit="micros")


@pytest.mark.parametrize("fault", ["malformed", "usage=missing", "usage=absurd", "usage=negative", "no_end"])
async def test_an_estimate_is_never_above_what_was_asked_for(gateway: Running, fault: str) -> None:
    """Whatever an answer looks like, what is estimated of it stays within the output limit, and so within the hold."""
    key = await gateway.mint(overdraft="never", max_spend_usd="0.01")
    for stream in (False, True):
        gateway.upstream.script(f"{fault},output_tokens=20")
        body = {
            "model": "gpt-4o-mini",
            "max_tokens": 20,
            "stream": stream,
            "messages": [{"role": "user", "content": "x"}],
        }
        await gateway.call(key["secret"], body)
    for event in await gateway.events(key_id=key["id"]):
        assert event["cost_micros"] <= event["held_micros"], event
        assert event["usage"].get("output_tokens", 0) <= 20
