"""wss …/v1/listen, /v2/listen (Flux) and /v1/speak, as Deepgram serves them.

Promises: messages that the official SDK's types take (deepgram-sdk 7). A result for every half second of sound; a Flux
turn ends every two. Sound without a declared encoding is a WAV file's, or taken for 32 kbit/s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from providers.simulator import prose
from providers.simulator.requests import REFUSED_MODEL
from providers.simulator.talk import Asked, Close, Conversation, Frame, NotOpened, Step, read, refused, text

_SAMPLE_BYTES: Final = {"linear16": 2, "linear32": 4, "mulaw": 1, "alaw": 1}
_WINDOW_MS: Final = 500
_TURN_WINDOWS: Final = 4
_FEATURES: Final = {"diarize": "diarize_ms", "redact": "redact_ms", "keyterm": "keyterm_ms",
                    "detect_entities": "detect_entities_ms"}  # fmt: skip
_SPOKEN_BYTES: Final = 960  # of sound for each character: 20 ms of 24 kHz, 16 bit


def open_(asked: Asked) -> Conversation | NotOpened:
    """Answer a handshake."""
    if REFUSED_MODEL in asked.one("model"):
        return refused("deepgram", 403, asked.request_id, "Project does not have access to the requested model.")
    if asked.path.endswith("/v1/speak"):
        return _Speak(asked)
    if asked.path.endswith("/v2/listen"):
        return _Flux(asked)
    return _Listen(asked) if asked.path.endswith("/v1/listen") else refused("deepgram", 404, asked.request_id)


class _Ears:
    """What both versions hear."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._channels = asked.number("channels", 1)
        rate = asked.number("sample_rate", 8_000)
        self._byte_rate = _SAMPLE_BYTES.get(asked.one("encoding"), 0) * self._channels * rate
        self._bytes = 0
        self._windows = 0
        self._digest = hashlib.sha256()
        self.billed: dict[str, int] = {}

    def opened(self) -> Iterator[Step]:
        return iter(())

    def ended(self) -> None:
        """The bill is what was heard."""

    @property
    def _apart(self) -> int:
        return self._channels if self._asked.on("multichannel") else 1

    @property
    def _seconds(self) -> float:
        return self._bytes / self._byte_rate if self._byte_rate else 0.0

    def _hear(self, sample: bytes) -> None:
        if not self._byte_rate:
            wav = sample[:4] == b"RIFF" and len(sample) >= 44
            self._byte_rate = int.from_bytes(sample[28:32], "little") if wav else 4_000
        self._bytes += len(sample)
        self._digest.update(sample)
        audio_ms = -(-self._bytes * 1_000 // self._byte_rate) * self._apart
        self.billed["audio_ms"] = audio_ms
        self.billed |= {tool: audio_ms for name, tool in _FEATURES.items() if self._asked.on(name)}

    def _due_windows(self) -> Iterator[int]:
        while (self._windows + 1) * _WINDOW_MS <= self._seconds * 1_000:
            self._windows += 1
            yield self._windows

    def _words(self, number: int) -> list[dict[str, Any]]:
        start = (number - 1) * _WINDOW_MS / 1_000
        said = prose.prose(prose.seed(number), tokens=2, limit=None, stops=[]).pieces
        return [
            {"word": piece.strip(), "start": start + at * 0.2, "end": start + at * 0.2 + 0.2, "confidence": 0.99}
            for at, piece in enumerate(said)
        ]


class _Listen(_Ears):
    def said(self, frame: Frame) -> Iterator[Step]:
        if isinstance(frame, bytes):
            self._hear(frame)
            for window in self._due_windows():
                for channel in range(self._apart):
                    yield self._results(window, channel, final=True)
            return
        message = read(frame)
        kind = None if message is None else message.get("type")
        if kind == "Finalize":
            yield self._results(self._windows + 1, 0, final=True, finalized=True)
        elif kind == "CloseStream":
            yield text(
                {
                    "type": "Metadata",
                    "transaction_key": "deprecated",
                    "request_id": self._asked.request_id,
                    "sha256": self._digest.hexdigest(),
                    "created": "2026-11-25T12:00:00.000Z",
                    "duration": round(self._seconds, 6),
                    "channels": self._apart,
                    "models": ["00000000-0000-4000-8000-000000000003"],
                }
            )
            yield Close(1000)
        elif kind == "Configure":
            yield text({"type": "ConfigureSuccess", "features": message.get("features") if message else None})
        elif kind != "KeepAlive":
            error = {"type": "Error", "variant": "SchemaError", "description": "Could not parse the message."}
            yield text(error | {"message": frame[:200]})

    def _results(self, window: int, channel: int, *, final: bool, finalized: bool = False) -> str:
        words = self._words(window)
        name = self._asked.one("model", "base")
        return text(
            {
                "type": "Results",
                "channel_index": [channel, self._apart],
                "duration": _WINDOW_MS / 1_000 if not finalized else 0.0,
                "start": (window - 1) * _WINDOW_MS / 1_000,
                "is_final": final,
                "speech_final": final,
                "from_finalize": finalized,
                "channel": {
                    "alternatives": [
                        {"transcript": " ".join(word["word"] for word in words), "confidence": 0.99, "words": words}
                    ]
                },
                "metadata": {
                    "request_id": self._asked.request_id,
                    "model_info": {"name": name, "version": "2026-01-01.0", "arch": name.split("-general")[0]},
                    "model_uuid": "00000000-0000-4000-8000-000000000003",
                },
            }
        )


class _Flux(_Ears):
    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._sequence = 0
        self._turn = 0

    def opened(self) -> Iterator[Step]:
        yield self._message("Connected")

    def said(self, frame: Frame) -> Iterator[Step]:
        if isinstance(frame, bytes):
            self._hear(frame)
            for window in self._due_windows():
                yield self._turn_info("EndOfTurn" if window % _TURN_WINDOWS == 0 else "Update", window)
            return
        message = read(frame)
        kind = None if message is None else message.get("type")
        if kind == "CloseStream":
            if self._bytes and self._windows % _TURN_WINDOWS:
                yield self._turn_info("EndOfTurn", self._windows)
            yield Close(1000)
        elif kind == "Configure" and message is not None:
            yield self._message("ConfigureSuccess", thresholds={}, keyterms=message.get("keyterms") or [])
        else:
            yield self._message("Error", code="UNPARSABLE_CLIENT_MESSAGE", description="Could not parse the message.")
            yield Close(1008, "UNPARSABLE_CLIENT_MESSAGE")

    def _turn_info(self, event: str, window: int) -> str:
        words = self._words(window)
        info = self._message(
            "TurnInfo",
            event=event,
            turn_index=self._turn,
            audio_window_start=0.0,
            audio_window_end=window * _WINDOW_MS / 1_000,
            transcript=" ".join(word["word"] for word in words),
            words=[{"word": word["word"], "confidence": word["confidence"]} for word in words],
            end_of_turn_confidence=0.9 if event == "EndOfTurn" else 0.1,
        )
        self._turn += event == "EndOfTurn"
        return info

    def _message(self, kind: str, **fields: object) -> str:
        number = self._sequence
        self._sequence += 1
        return text({"type": kind, "request_id": self._asked.request_id, "sequence_id": number, **fields})


class _Speak:
    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._waiting = ""
        self._sequence = 0
        self.billed: dict[str, int] = {"characters": 0}

    def opened(self) -> Iterator[Step]:
        yield text(
            {
                "type": "Metadata",
                "request_id": self._asked.request_id,
                "model_name": self._asked.one("model", "aura-asteria-en"),
                "model_version": "2026-01-01.0",
                "model_uuid": "00000000-0000-4000-8000-000000000004",
            }
        )

    def ended(self) -> None:
        """The bill is what was to be spoken."""

    def said(self, frame: Frame) -> Iterator[Step]:
        message = read(frame) or {}
        kind = message.get("type")
        if kind == "Speak":
            said = str(message.get("text", ""))
            self._waiting += said
            self.billed["characters"] += len(said)
        elif kind in ("Flush", "Close"):
            yield from self._spoken()
            if kind == "Close":
                yield Close(1000)
            else:
                yield text({"type": "Flushed", "sequence_id": self._next()})
        elif kind == "Clear":
            self._waiting = ""
            yield text({"type": "Cleared", "sequence_id": self._next()})
        else:
            yield text({"type": "Warning", "description": "The message was not understood.", "code": "DATA-0000"})

    def _spoken(self) -> Iterator[Step]:
        said, self._waiting = self._waiting, ""
        for at in range(0, len(said), 50):
            yield bytes(number % 7 for number in range(len(said[at : at + 50]) * _SPOKEN_BYTES))

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1
