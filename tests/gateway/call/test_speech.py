"""Sound and pictures on their way out: live, byte for byte, billed by whoever states the price, refused by name."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ledger.objects import Object
from providers.simulator import sounds
from tests.harness import Running, running

TEXT = "A sentence that is long enough to be spoken in several pieces, one after the other. " * 4
VOICE = "JBFqnCBsd6RMkjVDRZzb"

SPEECH: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/audio/speech", {"model": "tts-1", "voice": "alloy", "input": TEXT}),
    "openai-events": (
        "/v1/audio/speech",
        {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": TEXT, "stream_format": "sse"},
    ),
    "openai-images": (
        "/v1/images/generations",
        {"model": "gpt-image-2", "prompt": "a fox", "stream": True, "partial_images": 3},
    ),
    "elevenlabs": (f"/v1/text-to-speech/{VOICE}/stream", {"text": TEXT, "model_id": "eleven_flash_v2_5"}),
    "elevenlabs-timed": (f"/v1/text-to-speech/{VOICE}/stream/with-timestamps", {"text": TEXT}),
    "elevenlabs-dialogue": ("/v1/text-to-dialogue/stream", {"inputs": [{"text": TEXT, "voice_id": VOICE}]}),
    "deepgram": ("/v1/speak?model=aura-2-thalia-en", {"text": TEXT}),
}


@pytest.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as made:
        yield made


def asking(farthing: Running, secret: str, path: str, body: Any) -> Any:
    return farthing.http.post(farthing.url + path, json=body, headers={"authorization": f"Bearer {secret}"})


@pytest.mark.parametrize("name", SPEECH)
async def test_sound_is_passed_on_while_it_is_made(farthing: Running, name: str) -> None:
    """The first bytes are here while the provider still speaks; all of them are the provider's, in order."""
    path, body = SPEECH[name]
    key = await farthing.mint(max_spend_usd="5")
    size = 32 if name == "openai-images" else 8_192  # so that each takes seconds, however little it is
    farthing.upstream.script(f"chunk_bytes={size},chunk_delay_ms=50")
    got = hashlib.sha256()
    async with asking(farthing, key["secret"], path, body) as response:
        assert response.status == 200, await response.text()
        first = await response.content.readany()
        assert first
        assert farthing.upstream.open_answers == 1
        got.update(first)
        async for chunk in response.content.iter_any():
            got.update(chunk)
        assert int(response.headers["x-farthing-held-micros"]) > 0
    (line,) = await farthing.upstream.invoiced(1)
    assert got.hexdigest() == line.body_sha256
    (event,) = await farthing.events()
    assert event["status"] == "settled"
    assert event["cost_picos"] > 0
    assert event["ttft_ms"] is not None
    await farthing.audited()


async def test_elevenlabs_is_billed_by_its_own_count(tmp_path: Path) -> None:
    """Credits times the contract's rate, from the head of the answer, whole or cut."""
    async with running(tmp_path, FARTHING_ELEVENLABS_USD_PER_CREDIT="0.00005") as farthing:
        path, body = SPEECH["elevenlabs"]
        key = await farthing.mint(max_spend_usd="5")
        async with asking(farthing, key["secret"], path, body) as response:
            credits_ = int(response.headers["character-cost"])
            await response.read()
        farthing.upstream.script("disconnect_after=2")
        with pytest.raises(aiohttp.ClientError):
            async with asking(farthing, key["secret"], path, body) as response:
                await response.read()
        events = await farthing.events()
        assert [event["status"] for event in events] == ["settled", "settled"]
        assert {event["cost_picos"] for event in events} == {credits_ * 50_000_000}
        assert events[0]["usage"]["millicredits"] == credits_ * 1_000
        await farthing.audited()


@pytest.mark.parametrize("usage", ["missing", "negative", "absurd"])
@pytest.mark.parametrize("name", ["elevenlabs", "deepgram"])
async def test_a_head_that_states_no_sane_price_is_estimated(farthing: Running, name: str, usage: str) -> None:
    """By the request's own characters: never free."""
    path, body = SPEECH[name]
    key = await farthing.mint(max_spend_usd="5")
    farthing.upstream.script(f"usage={usage}")
    async with asking(farthing, key["secret"], path, body) as response:
        await response.read()
    (event,) = await farthing.events()
    assert (event["status"], event["usage"]["characters"]) == ("estimated", len(TEXT))
    (line,) = await farthing.upstream.invoiced(1)
    assert line.billed is not None
    assert event["cost_picos"] > 0
    await farthing.audited()


async def test_plain_speech_by_the_token_is_estimated_within_a_tenth(farthing: Running) -> None:
    """The provider's answer says nothing of what it bills."""
    key = await farthing.mint(max_spend_usd="5")
    body = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": TEXT}
    async with asking(farthing, key["secret"], "/v1/audio/speech", body) as response:
        assert response.headers["content-type"] == "audio/mpeg"
        await response.read()
    (event,) = await farthing.events()
    (line,) = await farthing.upstream.invoiced(1)
    assert line.billed is not None
    assert event["status"] == "estimated"
    assert event["usage"]["output_audio_tokens"] == pytest.approx(line.billed["output_tokens"], rel=0.1)
    billed = line.billed["input_tokens"] * 600_000 + line.billed["output_tokens"] * 12_000_000
    assert event["cost_picos"] == pytest.approx(billed, rel=0.1)
    await farthing.audited()


@pytest.mark.parametrize("name", SPEECH)
async def test_over_the_cap_nothing_is_spoken(farthing: Running, name: str) -> None:
    """402 in the provider's own shape, and it never hears of it."""
    path, body = SPEECH[name]
    key = await farthing.mint(max_spend_usd="0.000001")
    async with asking(farthing, key["secret"], path, body) as response:
        assert response.status == 402
        answer = await response.json()
        assert response.headers["x-should-retry"] == "false"
    dialect = name.partition("-")[0]
    inner = {"openai": answer.get("error"), "elevenlabs": answer.get("detail"), "deepgram": answer}[dialect]
    assert inner["code"] == "spend_cap_exceeded"
    assert inner["farthing"]["cap"] == "key"
    if dialect == "elevenlabs":
        assert inner["status"] == "quota_exceeded"
    if dialect == "deepgram":
        assert answer["err_code"] == "ASR_PAYMENT_REQUIRED"
    assert not farthing.upstream.requests
    await farthing.audited()


async def test_a_sound_of_unknown_length_is_refused_where_the_cap_must_hold(farthing: Running) -> None:
    """What a URL leads to could be of any length: held for by an hour where an overdraft is allowed, else refused."""
    careful = await farthing.mint(max_spend_usd="5", overdraft="never")
    async with asking(farthing, careful["secret"], "/v1/listen?model=nova-3", {"url": "https://x.invalid/a.wav"}) as r:
        assert (r.status, (await r.json())["code"]) == (400, "unbounded_cost")
    key = await farthing.mint(max_spend_usd="5")
    async with asking(farthing, key["secret"], "/v1/listen?model=nova-3", {"url": "https://x.invalid/a.wav"}) as r:
        assert r.status == 200
        assert int(r.headers["x-farthing-held-micros"]) == 258_000  # an hour
    await farthing.audited()


async def test_moderation_and_lists_of_models_are_free(farthing: Running) -> None:
    """Even without a cent."""
    key = await farthing.mint(max_spend_usd="0")
    async with asking(farthing, key["secret"], "/v1/moderations", {"input": "hello"}) as response:
        assert (response.status, (await response.json())["results"][0]["flagged"]) == (200, False)
    for name, listed in (("elevenlabs", "model_id"), ("deepgram", "tts")):
        headers = {"authorization": f"Bearer {key['secret']}"}
        async with farthing.http.get(f"{farthing.url}/{name}/v1/models", headers=headers) as response:
            assert response.status == 200
            assert listed in await response.text()
    await farthing.audited()


async def test_a_voice_of_another_key_is_as_one_that_does_not_exist(farthing: Running) -> None:
    """The account's own voices are everybody's; one that a key had made would be that key's alone."""
    mine, theirs = await farthing.mint(max_spend_usd="5"), await farthing.mint(max_spend_usd="5")
    ledger = farthing.gateway.ledger
    root = await ledger.accounts.root()
    assert root is not None
    made = Object(provider="elevenlabs", kind="voice", id="voiceOfTheirs")
    assert not await ledger.objects.own((await ledger.accounts.get(root, theirs["id"])).id, [made])
    for path in ("/v1/text-to-speech/{}", "/v1/voice-changer/{}/stream"):
        for secret, status in ((mine["secret"], 404), (theirs["secret"], 200)):
            body: Any = {"text": "Hello"}
            if "changer" in path:
                body = aiohttp.FormData({"model_id": "eleven_english_sts_v2"})
                body.add_field("audio", sounds.wav(1), filename="a.wav")
            async with farthing.http.post(
                farthing.url + path.format("voiceOfTheirs"),
                data=body if isinstance(body, aiohttp.FormData) else json.dumps(body),
                headers={"xi-api-key": secret},
            ) as response:
                assert response.status == status, await response.text()
    headers = {"xi-api-key": mine["secret"]}
    async with farthing.http.get(f"{farthing.url}/v1/voices/voiceOfTheirs", headers=headers) as response:
        assert (response.status, (await response.json())["detail"]["code"]) == (404, "not_found")
    async with farthing.http.get(f"{farthing.url}/v1/voices/{VOICE}", headers=headers) as response:
        assert (response.status, (await response.json())["voice_id"]) == (200, VOICE)
    await farthing.audited()


@pytest.mark.parametrize(
    ("method", "path", "dialect"),
    [
        ("GET", "/v1/user/subscription", "elevenlabs"),
        ("GET", "/elevenlabs/v1/user", "elevenlabs"),
        ("POST", "/v1/single-use-token/tts_websocket", "elevenlabs"),
        ("POST", "/v1/convai/agents/create", "elevenlabs"),
        ("POST", "/v1/dubbing", "elevenlabs"),
        ("GET", "/v1/studio/projects", "elevenlabs"),
        ("POST", "/v1/workspace/invites/add", "elevenlabs"),
        ("POST", "/v1/text-to-voice/design", "elevenlabs"),
        ("GET", "/v1/history", "elevenlabs"),
        ("POST", "/v1/music/upload", "elevenlabs"),
        ("GET", "/v1/projects", "deepgram"),
        ("GET", "/v1/projects/p/keys", "deepgram"),
        ("POST", "/v1/auth/grant", "deepgram"),
        ("POST", "/v1/videos", "openai"),
        ("POST", "/v1/realtime/calls", "openai"),
        ("POST", "/v1/realtime/client_secrets", "openai"),
        ("POST", "/v1/fine_tuning/jobs", "openai"),
        ("POST", "/v1/containers", "openai"),
        ("POST", "/v1/evals", "openai"),
    ],
)
async def test_what_cannot_be_metered_is_refused_by_name(
    farthing: Running, method: str, path: str, dialect: str
) -> None:
    """403 in the provider's own shape; administration and the ways round the meter among them."""
    key = await farthing.mint(max_spend_usd="5")
    headers = {"authorization": f"{'Token' if dialect == 'deepgram' else 'Bearer'} {key['secret']}"}
    async with farthing.http.request(method, farthing.url + path, headers=headers, json={}) as response:
        answer = json.loads(await response.read())
        assert response.status == 403, answer
    inner = {"openai": answer.get("error"), "elevenlabs": answer.get("detail"), "deepgram": answer}[dialect]
    assert inner["code"] == "route_not_allowed"
    assert not farthing.upstream.requests


async def test_a_client_that_hangs_up_pays_for_what_was_asked(farthing: Running) -> None:
    """Characters are billed however much was listened to; the answer is read on for a while, then let go."""
    path, body = SPEECH["elevenlabs"]
    key = await farthing.mint(max_spend_usd="5")
    farthing.upstream.script("chunk_delay_ms=200")
    async with asking(farthing, key["secret"], path, body) as response:
        credits_ = int(response.headers["character-cost"])
        await response.content.readany()
        response.close()
    async with asyncio.timeout(20):
        (event,) = await farthing.events()
    assert (event["status"], event["cost_picos"]) == ("settled", credits_ * 80_000_000)
    await farthing.audited()
