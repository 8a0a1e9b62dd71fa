"""POST /v1/audio/speech: silence of the right length, as sound or as events.

Promises: fifteen characters a second; the `tts-` models are invoiced by the character, the others by tokens, 1,250 a
minute of sound and the text's own, whether the answer says so (events) or not (sound).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from providers.simulator import sounds, tokens
from providers.simulator.answers import Draft, Stream, event
from providers.simulator.openai import common as openai
from providers.simulator.requests import Request
from providers.simulator.tokens import length
from providers.simulator.usages import distorted, invoiced

_TYPES: Final = {"mp3": "audio/mpeg", "wav": "audio/wav", "pcm": "audio/pcm", "opus": "audio/ogg", "aac": "audio/aac",
                 "flac": "audio/flac"}  # fmt: skip
_PIECE_BYTES: Final = 4_180
_CHARACTERS_MAX: Final = 4_096


class _Body(msgspec.Struct):
    model: str | None = None
    input: str | None = None
    instructions: str = ""
    voice: str | dict[str, str] | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    stream_format: Literal["sse", "audio"] = "audio"


def answer(request: Request) -> Draft:
    """Answer one request."""
    body = openai.read(request, _Body)
    model = openai.served_model(request, body.model)
    if not body.input or body.voice is None:
        missing = "input" if not body.input else "voice"
        openai.refuse(request, f"Missing required parameter: '{missing}'.", param=missing)
    if length(body.input) > _CHARACTERS_MAX:
        openai.refuse(request, f"Invalid 'input': string too long. Expected at most {_CHARACTERS_MAX}.", param="input")
    seconds = length(body.input) / 15
    data = {"wav": sounds.wav, "pcm": sounds.pcm}.get(body.response_format, sounds.mp3)(seconds)
    pieces = [data[start : start + _PIECE_BYTES] for start in range(0, len(data), _PIECE_BYTES)]
    heard, spoken = tokens.count(body.input + body.instructions), math.ceil(seconds * 1_250 / 60)
    billed = {"output_tokens": 0, "characters": length(body.input)}
    usages: list[dict[str, Any]] = []
    if not model.startswith("tts-"):
        billed = {"input_tokens": heard, "output_tokens": spoken}
        usage = {"input_tokens": heard, "output_tokens": spoken, "total_tokens": heard + spoken}
        usages = distorted(usage, request.faults.usage)
    streamed = body.stream_format == "sse"
    head = openai.headers(request, stream=streamed)
    if not streamed:
        head = [pair for pair in head if pair[0] != "content-type"]
        head.append(("content-type", _TYPES[body.response_format]))
    return Stream(
        headers=head,
        events=_events(pieces, usages, spoken) if streamed else _sound(pieces, spoken),
        billed=invoiced(billed, request.faults.usage) if streamed else billed,
        failure=openai.in_band_error,
        garbage=b"data: {oops\n\n" if streamed else b"",
    )


def _sound(pieces: list[bytes], spoken: int) -> Iterator[tuple[bytes, int]]:
    for number, piece in enumerate(pieces, 1):
        yield piece, math.ceil(spoken * number / len(pieces))


def _events(pieces: list[bytes], usages: list[dict[str, Any]], spoken: int) -> Iterator[tuple[bytes, int]]:
    for piece, generated in _sound(pieces, spoken):
        yield event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()}), generated
    for usage in usages[:-1]:
        yield event({"type": "speech.audio.done", "usage": usage}), spoken
    last = {"usage": usages[-1]} if usages else {}
    yield event({"type": "speech.audio.done", **last}), spoken
