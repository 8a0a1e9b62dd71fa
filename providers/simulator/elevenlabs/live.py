"""wss …/text-to-speech/{voice}/stream-input, …/multi-stream-input and /v1/speech-to-text/realtime, as ElevenLabs does.

Promises: messages that the official SDK's types take (elevenlabs 2.78). Text is spoken when it is flushed, when its
stream ends, or 120 characters have come together. Characters are billed as they arrive, sound as it is heard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from providers.simulator import prose
from providers.simulator.requests import REFUSED_MODEL
from providers.simulator.talk import (
    Asked,
    Close,
    Conversation,
    Frame,
    NotOpened,
    Step,
    heard,
    read,
    refused,
    sound,
    text,
)

_SCHEDULE: Final = 120
_SPOKEN_BYTES: Final = 320  # of sound for each character
_FORMAT: Final = re.compile(r"(pcm|ulaw)_(\d+)")


def open_(asked: Asked) -> Conversation | NotOpened:
    """Answer a handshake."""
    if REFUSED_MODEL in asked.one("model_id"):
        return refused("elevenlabs", 400, asked.request_id, "A model with this id does not exist.")
    if asked.path.endswith("-input"):
        return _Speech(asked, many=asked.path.endswith("/multi-stream-input"))
    if asked.path.endswith("/speech-to-text/realtime"):
        return _Transcription(asked)
    return refused("elevenlabs", 404, asked.request_id)


class _Speech:
    def __init__(self, asked: Asked, *, many: bool) -> None:
        self._many = many
        self._waiting: dict[str, str] = {}
        self.billed: dict[str, int] = {"characters": 0}

    def opened(self) -> Iterator[Step]:
        return iter(())

    def ended(self) -> None:
        """The bill is what was to be spoken."""

    def said(self, frame: Frame) -> Iterator[Step]:
        message = read(frame)
        if message is None:
            yield text({"message": "The message is not valid JSON.", "error": "invalid_message", "code": 1008})
            yield Close(1008, "invalid_message")
            return
        context = str(message.get("context_id") or "default")
        said = message.get("text")
        if isinstance(said, str):
            self.billed["characters"] += len(said)
            if said.strip():
                self._waiting[context] = self._waiting.get(context, "") + said
        over = (said == "" and not self._many) or bool(message.get("close_context"))
        if over or message.get("flush") or len(self._waiting.get(context, "")) >= _SCHEDULE:
            yield from self._spoken(context)
        if over:
            final: dict[str, Any] = {"audio": None, "isFinal": True, "alignment": None, "normalizedAlignment": None}
            yield text(final | ({"contextId": context} if self._many else {}))
        if (over and not self._many) or message.get("close_socket"):
            yield Close(1000)

    def _spoken(self, context: str) -> Iterator[Step]:
        said = self._waiting.pop(context, "")
        for at in range(0, len(said), 60):
            part = said[at : at + 60]
            alignment = {
                "charStartTimesMs": [number * 50 for number in range(len(part))],
                "charDurationsMs": [50] * len(part),
                "chars": list(part),
            }
            spoken: dict[str, Any] = {"audio": sound(len(part) * _SPOKEN_BYTES, at), "isFinal": None}
            spoken |= {"alignment": alignment, "normalizedAlignment": alignment}
            yield text(spoken | ({"contextId": context} if self._many else {}))


class _Transcription:
    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        declared = _FORMAT.fullmatch(asked.one("audio_format", "pcm_16000"))
        self._rate = int(declared[2]) if declared else 16_000
        self._byte_rate = self._rate * (1 if declared and declared[1] == "ulaw" else 2)
        self._bytes = 0
        self._committed = 0
        self.billed: dict[str, int] = {"audio_ms": 0}

    def opened(self) -> Iterator[Step]:
        config = {
            "sample_rate": self._rate,
            "audio_format": self._asked.one("audio_format", "pcm_16000"),
            "language_code": self._asked.one("language_code") or None,
            "model_id": self._asked.one("model_id", "scribe_v2_realtime"),
            "include_timestamps": self._asked.on("include_timestamps"),
        }
        started = {"message_type": "session_started", "session_id": self._asked.request_id, "config": config}
        yield text(started)

    def ended(self) -> None:
        """The bill is what was heard."""

    def said(self, frame: Frame) -> Iterator[Step]:
        message = read(frame)
        if message is None or message.get("message_type") != "input_audio_chunk":
            yield text({"message_type": "input_error", "error": "The message was not understood."})
            return
        sample = heard(message.get("audio_base_64"))
        self._bytes += len(sample)
        self.billed["audio_ms"] = -(-self._bytes * 1_000 // self._byte_rate)
        words = prose.prose(self._bytes, tokens=max(1, len(sample) // self._byte_rate), limit=None, stops=[]).text
        if sample:
            yield text({"message_type": "partial_transcript", "text": words})
        if message.get("commit"):
            self._committed = self._bytes
            yield text({"message_type": "committed_transcript", "text": words})
            if self._asked.on("include_timestamps"):
                timed = {"message_type": "committed_transcript_with_timestamps", "text": words, "language_code": "en"}
                yield text(timed | {"words": [{"text": words, "start": 0.0, "end": 0.5, "type": "word"}]})
