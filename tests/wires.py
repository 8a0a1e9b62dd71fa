"""The sockets that are offered, as data for tests: how each is opened and by what words it does something billable."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from providers.ground.usage import Usage
from providers.pricing.catalogue import Catalogue

PCM_16K = bytes(range(1, 201)) * 160  # a second of 16-bit sound at 16 kHz
CATALOGUE = Catalogue.load()


def said(**message: Any) -> str:
    return json.dumps(message)


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """One protocol.

    Attributes:
        header: Where its SDK puts the key, and what stands before it.
        frames: What a client says, to the end of the conversation.
        last: A text that the provider's last message has in it; "" where it closes by itself.
        priced_as: The catalogue's id of its model.
        units: The invoice's units by the fields of `Usage`.
    """

    name: str
    provider: str
    path: str
    header: tuple[str, str]
    frames: list[str | bytes]
    last: str
    priced_as: str
    route: str
    units: Mapping[str, str] = msgspec.field(default_factory=dict)

    def headers(self, secret: str) -> dict[str, str]:
        name, scheme = self.header
        return {name: scheme + secret}

    def cost_picos(self, billed: Mapping[str, int]) -> int:
        """What the provider's invoice comes to by our price list."""
        price = CATALOGUE.find(self.provider, self.priced_as, 0)
        assert price is not None
        usage: dict[str, Any] = {"tools": {}}
        for unit, count in billed.items():
            field = UNITS.get(unit)
            if field is None:
                usage["tools"][unit] = count
            else:
                usage[field] = count
        return price.cost_picos(Usage(**usage))


UNITS = {
    "input_tokens": "input_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "input_image_tokens": "input_image_tokens",
    "cached_tokens": "cache_read_tokens",
    "cached_audio_tokens": "cache_read_audio_tokens",
    "output_tokens": "output_tokens",
    "output_audio_tokens": "output_audio_tokens",
    "characters": "characters",
    "audio_ms": "audio_ms",
}
BEARER, TOKEN, XI, GOOG = (
    ("authorization", "Bearer "),
    ("authorization", "Token "),
    ("xi-api-key", ""),
    ("x-goog-api-key", ""),
)
LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
HELLO = said(
    type="conversation.item.create",
    item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hello - ¡olé! 🦊"}]},
)
RESPOND = said(type="response.create", response={"output_modalities": ["text"]})
CLOSE_STREAM = '{"type":"CloseStream"}'
SETUP = said(setup={"model": "models/gemini-3.8-live", "generationConfig": {"responseModalities": ["AUDIO"]}})
ASK = said(clientContent={"turns": [{"role": "user", "parts": [{"text": "Hello 🦊"}]}], "turnComplete": True})

WIRES = [
    Wire(
        name="realtime",
        provider="openai",
        path="/v1/realtime?model=gpt-realtime",
        header=BEARER,
        frames=[HELLO, said(type="response.create"), HELLO, RESPOND],
        last='"rate_limits.updated"',
        priced_as="gpt-realtime",
        route="realtime",
    ),
    Wire(
        name="live",
        provider="google",
        path=LIVE,
        header=GOOG,
        frames=[SETUP, ASK, ASK],
        last='"usageMetadata"',
        priced_as="gemini-3.8-live",
        route="live",
    ),
    Wire(
        name="listen",
        provider="deepgram",
        path="/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&diarize=true",
        header=TOKEN,
        frames=[PCM_16K, '{"type":"KeepAlive"}', PCM_16K, PCM_16K[:16_000], CLOSE_STREAM],
        last="",
        priced_as="streaming/nova-3",
        route="listen.live",
    ),
    Wire(
        name="listen-channels",
        provider="deepgram",
        path="/v1/listen?model=nova-2&encoding=linear16&sample_rate=8000&channels=2&multichannel=true&language=de",
        header=TOKEN,
        frames=[PCM_16K, PCM_16K, CLOSE_STREAM],
        last="",
        priced_as="streaming/nova-2",
        route="listen.live",
    ),
    Wire(
        name="flux",
        provider="deepgram",
        path="/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000",
        header=TOKEN,
        frames=[PCM_16K, PCM_16K, CLOSE_STREAM],
        last="",
        priced_as="flux-general-en",
        route="listen.flux",
    ),
    Wire(
        name="speak",
        provider="deepgram",
        path="/v1/speak?model=aura-2-thalia-en",
        header=TOKEN,
        frames=[said(type="Speak", text="Hello 🦊, "), said(type="Speak", text="how are you?"), '{"type":"Flush"}',
                '{"type":"Close"}'],
        last="",
        priced_as="aura-2-thalia-en",
        route="speak.live",
    ),
    Wire(
        name="stream-input",
        provider="elevenlabs",
        path="/v1/text-to-speech/JBFqnCBsd6RMkjVDRZzb/stream-input?model_id=eleven_flash_v2_5",
        header=XI,
        frames=[said(text=" ", voice_settings={"speed": 1}), said(text="Hello 🦊, "), said(text="how are you? "),
                said(text="")],
        last="",
        priced_as="eleven_flash_v2_5",
        route="text-to-speech.live",
    ),
    Wire(
        name="multi-stream-input",
        provider="elevenlabs",
        path="/v1/text-to-speech/JBFqnCBsd6RMkjVDRZzb/multi-stream-input?model_id=eleven_multilingual_v2",
        header=XI,
        frames=[said(text=" ", context_id="a"), said(text="One. ", context_id="a", flush=True),
                said(text="Two. ", context_id="b", flush=True), said(context_id="a", close_context=True),
                said(close_socket=True)],
        last="",
        priced_as="eleven_multilingual_v2",
        route="text-to-speech.live",
    ),
    Wire(
        name="transcribe",
        provider="elevenlabs",
        path="/v1/speech-to-text/realtime?model_id=scribe_v2_realtime&audio_format=pcm_16000",
        header=XI,
        frames=[
            said(message_type="input_audio_chunk", audio_base_64=base64.b64encode(PCM_16K).decode(), commit=commit,
                 sample_rate=16_000)
            for commit in (False, True)
        ],
        last='"committed_transcript"',
        priced_as="scribe_v2_realtime",
        route="speech-to-text.live",
    ),
]  # fmt: skip
BY_NAME = {wire.name: wire for wire in WIRES}


class Talk(msgspec.Struct):
    """What came of a conversation: messages, and how the other side closed."""

    messages: list[str | bytes]
    code: int | None
    reason: str


def dial(url: str, wire: Wire, secret: str, **options: Any) -> connect:
    """A client's socket, plain as the library makes it, without compression."""
    options = {"additional_headers": wire.headers(secret), "compression": None, "max_size": None} | options
    return connect(url.replace("http", "ws", 1) + wire.path, **options)


async def listen(connection: ClientConnection, until: str = "", count: int = 1) -> Talk:
    """Everything that is said until it has been said so often, or the socket is closed."""
    heard: list[str | bytes] = []
    try:
        while not until or count:
            message = await connection.recv()
            heard.append(message)
            count -= bool(until) and (until in message if isinstance(message, str) else until.encode() in message)
    except ConnectionClosed as closed:
        end = closed.rcvd
        return Talk(heard, end.code if end else None, end.reason if end else "")
    return Talk(heard, None, "")


async def converse(url: str, wire: Wire, secret: str, **options: Any) -> Talk:
    """The wire's whole conversation."""
    async with dial(url, wire, secret, **options) as connection:
        for frame in wire.frames:
            await connection.send(frame)
        answers = {"realtime": 2, "live": 2}.get(wire.name, 1)
        return await listen(connection, wire.last, answers)
