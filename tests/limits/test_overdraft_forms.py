"""Fields in no table, in front of a form's file and behind it: refused by name where the cap must hold, and free."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from providers.simulator import sounds
from tests.harness import Running

BOUNDARY = "boundary-of-the-tests"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
LONG, SHORT = sounds.wav(30, sample_rate=16_000), sounds.wav(1, sample_rate=8_000)  # 960 kB, 16 kB
NEW = ("brand_new_field", "1")
VOICE = "JBFqnCBsd6RMkjVDRZzb"
# By vendor: the path, the fields, the file's name.
FORMS: dict[str, tuple[str, tuple[tuple[str, str], ...], str]] = {
    "openai-transcription": ("/v1/audio/transcriptions", (("model", "whisper-1"),), "file"),
    "openai-translation": ("/v1/audio/translations", (("model", "whisper-1"),), "file"),
    "openai-edit": (
        "/v1/images/edits",
        (("model", "gpt-image-2"), ("prompt", "a cat"), ("size", "1024x1024")),
        "image",
    ),
    "openai-variation": ("/v1/images/variations", (("model", "dall-e-2"),), "image"),
    "mistral": ("/mistral/v1/audio/transcriptions", (("model", "voxtral-mini-2602"),), "file"),
    "elevenlabs-transcript": ("/v1/speech-to-text", (("model_id", "scribe_v2"),), "file"),
    "elevenlabs-voice": (f"/v1/voice-changer/{VOICE}", (("model_id", "eleven_multilingual_sts_v2"),), "audio"),
    "elevenlabs-isolation": ("/v1/audio-isolation", (), "audio"),
}
OBJECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "google": ("/v1beta/models/gemini-embedding-001:embedContent", {"content": {"parts": [{"text": "hi"}]}}),
    "google-batch": (
        "/v1beta/models/gemini-embedding-001:batchEmbedContents",
        {"requests": [{"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "hi"}]}}]},
    ),
    "elevenlabs": (f"/v1/text-to-speech/{VOICE}", {"text": "hi", "model_id": "eleven_flash_v2_5"}),
    "elevenlabs-music": ("/v1/music", {"prompt": "rain", "music_length_ms": 3_000}),
    "mistral": ("/mistral/v1/audio/speech", {"model": "voxtral-mini-tts-2603", "input": "hi", "voice_id": "x"}),
    "minimax": ("/v1/t2a_v2", {"model": "speech-2.6-hd", "text": "hi"}),
    "xai": ("/xai/v1/images/generations", {"model": "grok-imagine-image", "prompt": "a cat"}),
}


def form(*parts: tuple[str, str | bytes]) -> bytes:
    pieces = []
    for name, value in parts:
        filename = '; filename="a.wav"' if isinstance(value, bytes) else ""
        content = value if isinstance(value, bytes) else value.encode()
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'
        pieces.append(head.encode() + content + b"\r\n")
    return b"".join(pieces) + f"--{BOUNDARY}--\r\n".encode()


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """As a client sends it that does not know how long it is."""
    for start in range(0, len(body), 64 * 1024):
        yield body[start : start + 64 * 1024]
        await asyncio.sleep(0)


async def post(farthing: Running, secret: str, path: str, body: Any) -> tuple[int, bytes]:
    data = io.BytesIO(body) if isinstance(body, bytes) else body
    headers = FORM | {"authorization": f"Bearer {secret}"}
    async with farthing.http.post(farthing.url + path, data=data, headers=headers) as response:
        return response.status, await response.read()


def forms(name: str, sound: bytes) -> dict[str, bytes]:
    _, fields, file = FORMS[name]
    return {"before": form(*fields, NEW, (file, sound)), "behind": form(*fields, (file, sound), NEW)}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("sound", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("name", FORMS)
async def test_a_field_in_no_table_is_refused_where_the_cap_must_hold(
    gateway: Running, name: str, sound: bytes, chunked: bool
) -> None:
    """Wherever it stands: 400 with its name, no whole request at the provider, and nothing on the bill."""
    key = await gateway.mint(max_spend_usd="5", overdraft="never")
    for place, body in forms(name, sound).items():
        status, answer = await post(gateway, key["secret"], FORMS[name][0], in_pieces(body) if chunked else body)
        assert (status, NEW[0].encode() in answer) == (400, True), (place, answer)
        assert b"unbounded_cost" in answer or name.startswith(("mistral", "elevenlabs"))
    assert not gateway.upstream.requests
    events = await gateway.events()
    assert {event["reason"] for event in events} == {"unbounded_cost"}
    assert {event["cost_micros"] for event in events} == {0}
    _, seen = await gateway.api("GET", f"/v1/keys/{key['id']}")
    assert (seen["spent_micros"], seen["held_micros"]) == (0, 0)
    whole = form(*FORMS[name][1], (FORMS[name][2], sound))
    status, answer = await post(gateway, key["secret"], FORMS[name][0], whole)
    assert status == 200, answer


@pytest.mark.parametrize("name", FORMS)
async def test_it_passes_for_everybody_else(gateway: Running, name: str) -> None:
    """Byte for byte, and what it costs is metered with the rest."""
    key = await gateway.mint(max_spend_usd="5")
    for body in forms(name, LONG).values():
        status, answer = await post(gateway, key["secret"], FORMS[name][0], body)
        assert status == 200, answer
        assert gateway.upstream.requests[-1].body == body
    assert {event["status"] for event in await gateway.events()} <= {"settled", "estimated"}


async def test_a_voice_that_comes_too_late_is_refused_and_one_in_front_is_held_for(gateway: Running) -> None:
    """What it costs could not be held for any more once the upload runs."""
    key = await gateway.mint(max_spend_usd="5", overdraft="never")
    voice, file = ("known_speaker_references[]", "data:audio/wav;base64," + "A" * 9_000), ("file", LONG)
    model = ("model", "gpt-4o-transcribe")
    path = FORMS["openai-transcription"][0]
    status, answer = await post(gateway, key["secret"], path, form(model, file, voice))
    assert (status, json.loads(answer)["error"]["param"]) == (400, "known_speaker_references")
    assert not gateway.upstream.requests
    status, answer = await post(gateway, key["secret"], path, form(model, voice, file))
    assert status == 200, answer


@pytest.mark.parametrize("name", OBJECTS)
async def test_a_member_in_no_table_is_refused_where_the_cap_must_hold(gateway: Running, name: str) -> None:
    """And goes to the provider for everybody else, who may refuse it himself (Google does)."""
    path, body = OBJECTS[name]
    never = await gateway.mint(max_spend_usd="5", overdraft="never")
    status, _, answer = await gateway.call(never["secret"], body | {NEW[0]: 1}, path)
    assert (status, NEW[0].encode() in answer) == (400, True), answer
    assert not gateway.upstream.requests
    status, _, answer = await gateway.call(never["secret"], body, path)
    assert status == 200, answer
    usual = await gateway.mint(max_spend_usd="5")
    await gateway.call(usual["secret"], body | {NEW[0]: 1}, path)
    assert json.loads(gateway.upstream.requests[-1].body) == body | {NEW[0]: 1}
