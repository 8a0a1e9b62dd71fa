"""The official JavaScript SDKs' WebSockets cannot tell Farthing from the provider either. Needs Node and npm.

ElevenLabs' JavaScript SDK offers no input streaming for speech, so there is none to test.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from providers.ground.vendors import VENDORS
from tests.certificates import Certificates
from tests.harness import PROVIDER_KEY, Running, running
from tests.sdk.test_sockets_python import cost_picos, plain

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
CASES = {
    "openai_ws": "realtime",
    "openai_browser": "realtime",
    "google_live": "live",
    "deepgram_listen": "listen.live",
    "deepgram_flux": "listen.flux",
    "deepgram_speak": "speak.live",
    "elevenlabs_transcribe": "speech-to-text.live",
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("ca"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> AsyncIterator[Running]:
    """A gateway with TLS, which OpenAI's client insists on; the others take it as well."""
    async with running(tmp_path_factory.mktemp("sockets"), tls=certificates) as started:
        yield started
        await started.audited()


async def node(modules: Path, certificates: Certificates, urls: dict[str, str], key: str) -> Any:
    """What the program prints."""
    process = await asyncio.create_subprocess_exec(
        *(shutil.which("node") or "node", str(modules.parent / "sockets.mjs")),
        env={"BASE_URLS": json.dumps(urls), "API_KEY": key, "NODE_EXTRA_CA_CERTS": certificates.ca},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 110)
    assert process.returncode == 0, err.decode(errors="replace")[-4000:]
    return json.loads(out)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def expected(gate: Running, certificates: Certificates, node_modules: Path) -> Any:
    """What the SDKs see straight at the provider."""
    straight = {name: gate.upstream.secure_origin(name) for name in VENDORS}
    seen = await node(node_modules, certificates, straight, PROVIDER_KEY)
    async with asyncio.timeout(20):
        while gate.upstream.sockets:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)
    return seen


def through(gate: Running) -> dict[str, str]:
    return dict.fromkeys(VENDORS, gate.url)


async def settled(gate: Running, key: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The key's events, once there are so many."""
    async with asyncio.timeout(30):
        while True:
            events = await gate.events(key_id=key["id"])
            if len(events) >= count:
                return events
            await asyncio.sleep(0.05)


async def test_through_farthing_is_as_straight(
    gate: Running, certificates: Certificates, node_modules: Path, expected: Any
) -> None:
    """Every case's events are those of the SDK straight at the provider, and metered by the provider's invoice."""
    before = len(gate.upstream.invoice)
    key = await gate.mint(max_spend_usd="5")
    result = await node(node_modules, certificates, through(gate), key["secret"])
    assert result.keys() == CASES.keys()
    for name in CASES:
        assert result[name]["events"], (name, result[name])
        assert "error" not in result[name], (name, result[name])
        assert plain(result[name]) == plain(expected[name]), name
    events = await settled(gate, key, len(CASES))
    assert sorted(event["route"] for event in events) == sorted(CASES.values())
    assert {event["status"] for event in events} == {"settled"}
    async with asyncio.timeout(20):
        while gate.upstream.sockets:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)
    billed = [dict(line.billed or {}) for line in list(gate.upstream.invoice)[before:]]
    for event in events:
        assert event["cost_picos"] in [cost_picos(event, dict(bill)) for bill in billed], event
    assert key["secret"] not in repr(list(gate.upstream.requests))


async def test_a_test_key_answers_like_the_provider(
    gate: Running, certificates: Certificates, node_modules: Path, expected: Any
) -> None:
    """The built-in simulator gives the SDKs the same events, and nothing reaches the provider."""
    before = len(gate.upstream.requests)
    key = await gate.mint(max_spend_usd="5", livemode=False)
    result = await node(node_modules, certificates, through(gate), key["secret"])
    for name in CASES:
        assert "error" not in result[name], (name, result[name])
        assert plain(result[name]) == plain(expected[name]), name
    assert len(gate.upstream.requests) == before


async def test_over_the_cap_every_sdk_says_so(gate: Running, certificates: Certificates, node_modules: Path) -> None:
    """Over the cap each SDK raises after one refused handshake, where it tells the status: 402; nothing is called."""
    before = len(gate.upstream.requests)
    key = await gate.mint(max_spend_usd="0")
    result = await node(node_modules, certificates, through(gate), key["secret"])
    assert result.keys() == CASES.keys()
    for name, outcome in result.items():
        assert outcome["events"] == [], name
        assert "error" in outcome, name
        assert "nothing came" not in outcome["error"]["message"], (name, outcome)
    assert "402" in result["openai_ws"]["error"]["message"]
    events = await settled(gate, key, len(CASES))
    assert sorted(event["route"] for event in events) == sorted(CASES.values())
    assert {event["decision"] for event in events} == {"blocked"}
    assert len(gate.upstream.requests) == before
