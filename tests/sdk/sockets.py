"""What the official Python SDKs do over WebSockets: one function a case, which returns what the SDK has parsed.

Every case takes the base URL (http or https) and a key, so that it can be run straight at the provider and through
Farthing. Knows nothing of either.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import openai
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment
from elevenlabs import AudioFormat, CommitStrategy
from elevenlabs.client import AsyncElevenLabs, ElevenLabs
from elevenlabs.realtime import RealtimeEvents
from google import genai
from google.genai import types

from tests.wires import PCM_16K

Case = Callable[[str, str], Awaitable[Any]]
SOUND_24K = bytes(range(1, 241)) * 100  # half a second of 16-bit sound at 24 kHz
SILENCE_24K = bytes(4_800)


def _dumped(event: Any) -> Any:
    return event if isinstance(event, bytes) else event.model_dump(mode="json", warnings=False)


# ---- OpenAI


async def openai_text(url: str, key: str) -> Any:
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        for text in ("Say hello - ¡olé! 🦊", "And again"):
            await connection.conversation.item.create(
                item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
            )
            await connection.response.create()
        return await _until_done(connection, 2)


async def openai_voice(url: str, key: str) -> Any:
    """Speech in, speech out, found by the server's voice activity detection, and transcribed."""
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client,
        client.realtime.connect(model="gpt-realtime-mini") as connection,
    ):
        transcription: Any = {"model": "whisper-1"}
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": {"transcription": transcription}}}
        )
        for sample in (SOUND_24K, SILENCE_24K):
            await connection.input_audio_buffer.append(audio=base64.b64encode(sample).decode())
        return await _until_done(connection, 1)


async def _until_done(connection: Any, responses: int) -> Any:
    events = []
    async for event in connection:
        events.append(_dumped(event))
        responses -= event.type == "rate_limits.updated"
        if not responses:
            break
    return events


async def openai_sync(url: str, key: str) -> Any:
    def run() -> Any:
        events = []
        with (
            openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client,
            client.realtime.connect(model="gpt-realtime") as connection,
        ):
            connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            connection.conversation.item.create(
                item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}
            )
            connection.response.create()
            for event in connection:
                events.append(_dumped(event))
                if event.type == "rate_limits.updated":
                    break
        return events

    return await asyncio.to_thread(run)


# ---- Google (its Python client insists on TLS)


async def google_text(url: str, key: str) -> Any:
    return await _google(url, key, "AUDIO", "Hello 🦊", "And again")


async def google_voice(url: str, key: str) -> Any:
    client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url))
    config: Any = {"response_modalities": ["AUDIO"], "output_audio_transcription": {}}
    async with client.aio.live.connect(model="gemini-3.8-live", config=config) as session:
        for sample in (PCM_16K, bytes(3_200)):
            await session.send_realtime_input(audio=types.Blob(data=sample, mime_type="audio/pcm;rate=16000"))
        return [_dumped(message) async for message in session.receive()]


async def _google(url: str, key: str, modality: str, *texts: str) -> Any:
    client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url))
    config: Any = {"response_modalities": [modality]}
    messages = []
    async with client.aio.live.connect(model="gemini-3.8-live", config=config) as session:
        for text in texts:
            await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text=text)]))
            messages += [_dumped(message) async for message in session.receive()]
    return messages


# ---- Deepgram


def _deepgram_place(url: str) -> DeepgramClientEnvironment:
    wss = url.replace("http", "ws", 1)
    return DeepgramClientEnvironment(base=url, production=wss, agent=wss, agent_rest=url)


async def _deepgram_listening(connection: Any, say: Callable[[], Awaitable[None]]) -> Any:
    heard: list[Any] = []
    connection.on(EventType.MESSAGE, lambda message: heard.append(_dumped(message)))
    connection.on(EventType.ERROR, lambda error: heard.append(repr(error)))
    listening = asyncio.create_task(connection.start_listening())
    await say()
    await listening
    return heard


async def deepgram_listen(url: str, key: str) -> Any:
    client = AsyncDeepgramClient(api_key=key, environment=_deepgram_place(url))
    async with client.listen.v1.connect(
        model="nova-3", encoding="linear16", sample_rate=16_000, diarize=True, multichannel=False
    ) as connection:

        async def say() -> None:
            for _ in range(3):
                await connection.send_media(PCM_16K)
            await connection.send_keep_alive()
            await connection.send_finalize()
            await connection.send_close_stream()

        return await _deepgram_listening(connection, say)


async def deepgram_listen_sync(url: str, key: str) -> Any:
    def run() -> Any:
        client = DeepgramClient(api_key=key, environment=_deepgram_place(url))
        with client.listen.v1.connect(model="nova-2", encoding="linear16", sample_rate=16_000) as connection:
            connection.send_media(PCM_16K)
            connection.send_close_stream()
            return [_dumped(message) for message in connection]

    return await asyncio.to_thread(run)


async def deepgram_flux(url: str, key: str) -> Any:
    client = AsyncDeepgramClient(api_key=key, environment=_deepgram_place(url))
    async with client.listen.v2.connect(model="flux-general-en", encoding="linear16", sample_rate=16_000) as connection:

        async def say() -> None:
            for _ in range(3):
                await connection.send_media(PCM_16K)
            await connection.send_close_stream()

        return await _deepgram_listening(connection, say)


async def deepgram_speak(url: str, key: str) -> Any:
    from deepgram.speak.v1.types import SpeakV1Text

    client = AsyncDeepgramClient(api_key=key, environment=_deepgram_place(url))
    async with client.speak.v1.connect(model="aura-2-thalia-en", encoding="linear16") as connection:

        async def say() -> None:
            await connection.send_text(SpeakV1Text(text="Hello 🦊, how are you?"))
            await connection.send_flush()
            await connection.send_close()

        return await _deepgram_listening(connection, say)


# ---- ElevenLabs


async def elevenlabs_convert_realtime(url: str, key: str) -> Any:
    """Its Python client insists on TLS."""

    def texts() -> Iterator[str]:
        yield "Hello 🦊, "
        yield "how are you?"

    def run() -> Any:
        client = ElevenLabs(api_key=key, base_url=url)
        chunks = client.text_to_speech.convert_realtime(
            "JBFqnCBsd6RMkjVDRZzb", text=texts(), model_id="eleven_flash_v2_5"
        )
        return b"".join(chunks)

    return await asyncio.to_thread(run)


async def elevenlabs_transcribe(url: str, key: str) -> Any:
    client = AsyncElevenLabs(api_key=key, base_url=url)
    heard: list[Any] = []
    committed = asyncio.Event()
    options: Any = {
        "model_id": "scribe_v2_realtime",
        "audio_format": AudioFormat.PCM_16000,
        "sample_rate": 16_000,
        "commit_strategy": CommitStrategy.MANUAL,
    }
    connection = await client.speech_to_text.realtime.connect(options)
    for kind in (
        RealtimeEvents.SESSION_STARTED,
        RealtimeEvents.PARTIAL_TRANSCRIPT,
        RealtimeEvents.COMMITTED_TRANSCRIPT,
        RealtimeEvents.ERROR,
    ):
        connection.on(kind, heard.append)
    connection.on(RealtimeEvents.COMMITTED_TRANSCRIPT, lambda _: committed.set())
    for _ in range(2):
        await connection.send({"audio_base_64": base64.b64encode(PCM_16K).decode()})
    await connection.commit()
    await asyncio.wait_for(committed.wait(), 20)
    await connection.close()
    return heard


PLAIN: dict[str, tuple[str, Case]] = {
    "openai-python-realtime_text": ("openai", openai_text),
    "openai-python-realtime_voice": ("openai", openai_voice),
    "openai-python-realtime_sync": ("openai", openai_sync),
    "deepgram-python-listen": ("deepgram", deepgram_listen),
    "deepgram-python-listen_sync": ("deepgram", deepgram_listen_sync),
    "deepgram-python-flux": ("deepgram", deepgram_flux),
    "deepgram-python-speak": ("deepgram", deepgram_speak),
    "elevenlabs-python-transcribe": ("elevenlabs", elevenlabs_transcribe),
}
SECURE: dict[str, tuple[str, Case]] = {
    "google-python-live_text": ("google", google_text),
    "google-python-live_voice": ("google", google_voice),
    "elevenlabs-python-convert_realtime": ("elevenlabs", elevenlabs_convert_realtime),
}
