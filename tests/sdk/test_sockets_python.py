"""The official Python SDKs' WebSockets cannot tell Farthing from the provider: same parsed events, metered exactly."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from deepgram.core.api_error import ApiError as DeepgramError
from elevenlabs.core.api_error import ApiError as ElevenLabsError
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.sockets import session
from providers.ground.usage import Usage
from tests.certificates import Certificates
from tests.harness import PROVIDER_KEY, Running, running
from tests.sdk import sockets
from tests.sdk.sockets import PLAIN, SECURE
from tests.upstream import Line
from tests.wires import CATALOGUE, UNITS

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # Deepgram's and ElevenLabs' SDKs ask the library for names that it has left behind.
    pytest.mark.filterwarnings("ignore:websockets.*deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:ConnectionClosed.*deprecated:DeprecationWarning"),
]
CASES = PLAIN | SECURE
each_case = pytest.mark.parametrize("name", CASES)

_IDS = re.compile(r"\b(?:sess|item|resp|event|conv|req)_[0-9a-z]{12,}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Running]:
    """A gateway with TLS, which some of the SDKs insist on; the others take it as well."""
    certificates = Certificates(tmp_path_factory.mktemp("ca"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", certificates.ca)
        async with running(tmp_path_factory.mktemp("sockets"), tls=certificates) as started:
            yield started
            await started.audited()


def plain(result: Any) -> Any:
    """The result with ids by where they recur: they come from the socket's own, which no two share."""
    text = json.dumps(result, default=lambda value: value.hex() if isinstance(value, bytes) else repr(value))
    known: dict[str, str] = {}
    return json.loads(_IDS.sub(lambda found: known.setdefault(found[0], f"id{len(known)}"), text))


async def line_of(gate: Running, before: int) -> Line:
    async with asyncio.timeout(20):
        while gate.upstream.sockets or len(gate.upstream.invoice) <= before:  # noqa: ASYNC110 - it is written when the socket is gone
            await asyncio.sleep(0.01)
    return gate.upstream.invoice[-1]


def cost_picos(event: dict[str, Any], billed: dict[str, int]) -> int:
    """What the invoice comes to by the price list: the model's part and, apart, what was transcribed."""
    price = CATALOGUE.find(event["provider"], event["model"], 0)
    whisper = CATALOGUE.find("openai", "whisper-1", 0)
    assert price is not None
    assert whisper is not None
    heard = Usage(audio_ms=billed.pop("transcription_ms", 0))
    usage: dict[str, Any] = {UNITS[unit]: count for unit, count in billed.items() if unit in UNITS}
    tools = {unit: count for unit, count in billed.items() if unit not in UNITS}
    return price.cost_picos(Usage(**usage, tools=tools)) + whisper.cost_picos(heard)


@each_case
async def test_through_farthing_is_as_straight(gate: Running, name: str) -> None:
    """What the SDK parses is the same on both ways, and the event's cost is the provider's invoice by our prices."""
    provider, case = CASES[name]
    before = len(gate.upstream.invoice)
    expected = await case(gate.upstream.secure_origin(provider), PROVIDER_KEY)
    direct = await line_of(gate, before)
    key = await gate.mint(max_spend_usd="5")
    result = await case(gate.url, key["secret"])
    through = await line_of(gate, before + 1)
    assert result
    assert plain(result) == plain(expected)
    sent = [seen.frames for seen in list(gate.upstream.requests)[-2:]]
    assert sent[0] == sent[1]
    assert direct.billed == through.billed
    (event,) = await gate.events(key_id=key["id"])
    assert event["status"] == "settled"
    assert through.billed
    assert event["cost_picos"] == cost_picos(event, dict(through.billed))
    assert key["secret"] not in repr(gate.upstream.requests[-1])


@each_case
async def test_a_test_key_answers_like_the_provider(gate: Running, name: str) -> None:
    """A test key gets the same from the built-in simulator, and nothing reaches the provider."""
    provider, case = CASES[name]
    expected = await case(gate.upstream.secure_origin(provider), PROVIDER_KEY)
    key = await gate.mint(max_spend_usd="5", livemode=False)
    before = len(gate.upstream.requests)
    result = await case(gate.url, key["secret"])
    assert plain(result) == plain(expected)
    assert len(gate.upstream.requests) == before


@each_case
async def test_over_the_cap_raises_what_the_sdk_raises_for_a_402(gate: Running, name: str) -> None:
    """Over the cap the SDK raises its own error with 402 after one handshake, and the provider is never called."""
    provider, case = CASES[name]
    key = await gate.mint(max_spend_usd="0")
    before = len(gate.upstream.requests)
    with pytest.raises((InvalidStatus, DeepgramError)) as caught:
        await case(gate.url, key["secret"])
    error = caught.value
    status = error.status_code if isinstance(error, DeepgramError) else error.response.status_code
    assert status == 402
    if isinstance(error, InvalidStatus):
        assert b"cap" in (error.response.body or b"")
    (event,) = await gate.events(key_id=key["id"])
    assert (event["decision"], event["provider"]) == ("blocked", provider)
    assert len(gate.upstream.requests) == before


@pytest.mark.parametrize("name", ["openai-python-realtime_text"])
async def test_a_cap_reached_in_the_middle_of_realtime_is_an_error_event(gate: Running, name: str) -> None:
    """OpenAI's SDK hands its user a typed error event with our code, and then says that the socket was closed."""
    key = await gate.mint(max_spend_usd="0.0241")
    gate.upstream.script("output_tokens=1500", model="gpt-realtime")
    errors: list[Any] = []

    async def talk() -> None:
        async with (
            sockets.openai.AsyncOpenAI(base_url=f"{gate.url}/v1", api_key=key["secret"]) as client,
            client.realtime.connect(model="gpt-realtime") as connection,
        ):
            await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            await connection.response.create()
            while True:
                event = await connection.recv()
                if event.type == "error":
                    errors.append(event.error)

    with pytest.raises(ConnectionClosed) as closed:
        await talk()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason[:18]) == (1008, "spend_cap_exceeded")
    assert [(error.code, error.type) for error in errors] == [("spend_cap_exceeded", "insufficient_quota")]


async def test_a_cap_reached_in_the_middle_raises_in_elevenlabs(gate: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """ElevenLabs' SDK raises its ApiError with our message, and the audio that was made before has come."""
    monkeypatch.setattr(session, "SOCKET_QUIET_S", 0.2)
    key = await gate.mint(max_spend_usd="0.008")
    client = sockets.ElevenLabs(api_key=key["secret"], base_url=gate.url)
    heard: list[bytes] = []

    def run() -> None:
        texts = iter(["One two three four five six seven. "] * 40)
        for chunk in client.text_to_speech.convert_realtime("v1", text=texts, model_id="eleven_flash_v2_5"):
            heard.append(chunk)

    with pytest.raises(ElevenLabsError) as caught:
        await asyncio.to_thread(run)
    assert caught.value.status_code == 1008
    assert "spend_cap_exceeded" in repr(caught.value.body) or "quota_exceeded" in repr(caught.value.body)
    (event,) = await gate.events(key_id=key["id"])
    assert event["reason"] == "spend_cap_exceeded"
    assert event["cost_micros"] <= 8_000
