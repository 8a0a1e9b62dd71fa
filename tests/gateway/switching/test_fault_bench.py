"""The sixteen scenarios of a public fault bench for gateways (failoverbench, methodology v0.1), with an invoice beside.

One provider that misbehaves, one that does not, and what the caller sees: "pass", the whole answer and right conduct;
"safe", a clean and bounded error; anything else fails here. Nobody else's table asks what was billed: ours does. The
times are a tenth of the bench's, or less.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.upstream import health
from providers.ground.usage import Usage
from tests.harness import Running, running

ROOT = Path(__file__).parents[3]
FIRST, SECOND = "gpt-4o-mini", "mistral-small-latest"
CHAT = {"model": "smart", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 60}
STREAM = CHAT | {"stream": True}
TARGETS = [{"provider": "openai", "model": FIRST}, {"provider": "mistral", "model": SECOND}]


class Bench:
    """A gateway with the bench's one route, and a caller."""

    def __init__(self, farthing: Running, secret: str) -> None:
        self.farthing = farthing
        self.secret = secret

    def fault(self, *faults: str) -> None:
        """What goes wrong at the first provider, answer by answer."""
        self.farthing.upstream.script(*faults, model=FIRST)

    async def call(self, body: Any = CHAT) -> tuple[int, dict[str, str], bytes]:
        """Status, header and all bytes that came; 0 for a connection that was broken off."""
        async with self.farthing.http.post(
            f"{self.farthing.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {self.secret}"}
        ) as response:
            found = bytearray()
            try:
                async for chunk in response.content.iter_any():
                    found += chunk
            except aiohttp.ClientError:
                return 0, dict(response.headers), bytes(found)
            return response.status, dict(response.headers), bytes(found)

    def asked(self) -> list[str]:
        """The models that were asked for, in order."""
        return [each.json()["model"] for each in self.farthing.upstream.requests]


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(health, "PROBE_EVERY_S", 0.4)
    async with running(tmp_path, FARTHING_SILENCE_TIMEOUT_S="1") as farthing:
        fields = {"targets": TARGETS, "retry_ambiguous": True, "first_byte_timeout_s": 3, "wait_s": 3}
        assert (await farthing.api("POST", "/v1/routes", {"name": "smart"} | fields))[0] == 201
        yield Bench(farthing, (await farthing.mint())["secret"])


async def rate_limited_once(bench: Bench) -> str:
    bench.fault("status=429")
    status, headers, _ = await bench.call()
    assert (status, headers["x-farthing-upstream"]) == (200, "mistral")
    for _ in range(3):
        assert (await bench.call())[0] == 200
    assert bench.asked() == [FIRST, SECOND, SECOND, SECOND, SECOND]  # never sooner there
    return "pass"


async def rate_limited_always(bench: Bench) -> str:
    bench.fault(*["status=429"] * 20)
    assert [(await bench.call())[0] for _ in range(6)] == [200] * 6
    assert bench.asked().count(FIRST) <= 4
    return "pass"


async def one_500(bench: Bench) -> str:
    bench.fault("status=500")
    assert (await bench.call())[0] == 200
    return "pass"


async def unavailable(bench: Bench) -> str:
    bench.fault(*["status=503"] * 20)
    assert [(await bench.call())[0] for _ in range(6)] == [200] * 6
    return "pass"


async def reset_before_the_head(bench: Bench) -> str:
    bench.fault("reset=before_head")
    assert (await bench.call())[0] == 200
    return "pass"


async def never_answers(bench: Bench) -> str:
    bench.fault(*["stall=1"] * 5)
    began = time.monotonic()
    assert [(await bench.call())[0] for _ in range(3)] == [200] * 3
    assert time.monotonic() - began < 20
    assert bench.asked().count(FIRST) <= 2  # one more is a probe
    return "pass"


async def late_first_token(bench: Bench) -> str:
    bench.fault("stall_after=0")
    status, headers, body = await bench.call(STREAM)
    assert (status, headers["x-farthing-upstream"]) == (200, "mistral")
    assert body.endswith(b"data: [DONE]\n\n")
    return "pass"


async def dies_in_the_stream(bench: Bench) -> str:
    bench.fault("output_tokens=60,disconnect_after=40")
    status, _, body = await bench.call(STREAM)
    assert status == 0  # broken off, as the provider's own is: no client takes half of it for the whole
    assert b"[DONE]" not in body
    assert bench.asked() == [FIRST]
    return "pass"


async def silent_in_the_stream(bench: Bench) -> str:
    bench.fault("output_tokens=60,stall_after=20")
    began = time.monotonic()
    status, _, body = await bench.call(STREAM)
    assert time.monotonic() - began < 6
    assert status == 0
    assert b"[DONE]" not in body
    assert (await bench.call(STREAM))[0] == 200
    return "pass"


async def no_json(bench: Bench) -> str:
    bench.fault("malformed=1")
    status, _, body = await bench.call(STREAM)
    assert status == 200
    assert body.endswith(b"data: [DONE]\n\n")  # passed on as it came: the client's SDK is the judge of it
    assert (await bench.call(STREAM))[0] == 200
    return "pass"


async def no_end(bench: Bench) -> str:
    bench.fault("no_end=1")
    began = time.monotonic()
    status, _, body = await bench.call(STREAM)
    assert (status, time.monotonic() - began < 1) == (200, True)
    assert b"[DONE]" not in body
    return "pass"


async def too_long(bench: Bench) -> str:
    bench.fault("status=400")
    status, headers, body = await bench.call()
    assert (status, headers["x-farthing-attempts"], "error" in json.loads(body)) == (400, "1", True)
    assert bench.asked() == [FIRST]
    return "pass"


async def refused_content(bench: Bench) -> str:
    bench.fault("status=422")
    status, headers, _ = await bench.call()
    assert (status, headers["x-farthing-attempts"]) == (422, "1")
    return "pass"


async def no_prefill(bench: Bench) -> str:
    bench.fault("output_tokens=60,disconnect_after=30")
    bench.farthing.upstream.script("status=400", model=SECOND)
    status, _, body = await bench.call(STREAM)
    assert status == 0
    assert b"[DONE]" not in body
    (seen,) = bench.farthing.upstream.requests
    assert seen.json()["messages"] == CHAT["messages"]
    return "pass"


async def down_for_a_while(bench: Bench) -> str:
    until = time.monotonic() + 3
    bench.fault(*["status=503"] * 200)
    while time.monotonic() < until:
        status, headers, _ = await bench.call()
        assert (status, headers["x-farthing-upstream"]) == (200, "mistral")
        await asyncio.sleep(0.1)
    bench.farthing.upstream._scripts.clear()  # it is well again
    back = time.monotonic()
    while (await bench.call())[1]["x-farthing-upstream"] != "openai":
        assert time.monotonic() - back < 1.5
        await asyncio.sleep(0.05)
    assert bench.asked().count(FIRST) < 20
    return "pass"


async def who_answered(bench: Bench) -> str:
    bench.fault("status=503")
    status, _, body = await bench.call()
    assert (status, json.loads(body)["model"].startswith(SECOND)) == (200, True)
    await bench.farthing.quiet()
    assert [line.model for line in bench.farthing.upstream.invoice if line.billed] == [SECOND]
    return "pass"


SCENARIOS: tuple[Callable[[Bench], Awaitable[str]], ...] = (
    rate_limited_once,
    rate_limited_always,
    one_500,
    unavailable,
    reset_before_the_head,
    never_answers,
    late_first_token,
    dies_in_the_stream,
    silent_in_the_stream,
    no_json,
    no_end,
    too_long,
    refused_content,
    no_prefill,
    down_for_a_while,
    who_answered,
)


@pytest.mark.parametrize("number", range(1, 17))
async def test_a_scenario_and_its_bill(bench: Bench, number: int) -> None:
    outcome = await SCENARIOS[number - 1](bench)
    assert table()[number] == outcome
    farthing = bench.farthing
    await farthing.audited()
    events = await farthing.events()
    assert len(events) == len(bench.asked())  # an attempt is an event
    lines = [(line.model, line.billed) for line in farthing.upstream.invoice if line.billed]
    billed = sum(cost(farthing, model, tokens) for model, tokens in lines)
    charged = sum(each["cost_picos"] for each in events)
    counted = sum(each["held_micros"] * 10**6 for each in events if each["status"] in ("unsettled", "estimated"))
    if counted:
        assert billed <= charged + counted  # what nobody knows stays counted
    else:
        assert billed == charged


def cost(farthing: Running, model: str, billed: dict[str, int]) -> int:
    """An invoice's line in picos, at the catalogue's price."""
    provider = "openai" if model.startswith("gpt") else "mistral"
    price = farthing.gateway.services.catalogue.find(provider, model, 10**13)
    assert price is not None
    assert not any(count for name, count in billed.items() if name not in ("input_tokens", "output_tokens"))
    return price.cost_picos(Usage(input_tokens=billed["input_tokens"], output_tokens=billed["output_tokens"]))


def table() -> dict[int, str]:
    """What `docs/routes.md` says of each scenario."""
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| (\w+) \|", (ROOT / "docs" / "routes.md").read_text("utf-8"), re.MULTILINE)
    return {int(number): outcome for number, outcome in rows}
