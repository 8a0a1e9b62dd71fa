"""wss …/BidiGenerateContent, as Google serves it: JSON in binary messages.

Promises: messages that the official SDK's types take (google-genai 3). A spoken turn ends with a piece of sound that is
all zeros, or when the client says so. One `usageMetadata` a turn, with its last message. Tokens: words by the
simulator's rule, 25 a second of sound heard and spoken, 258 a picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from providers.simulator import prose
from providers.simulator.openai import input as openai_input
from providers.simulator.requests import REFUSED_MODEL
from providers.simulator.talk import Asked, Close, Conversation, Frame, NotOpened, Step, heard, read, silent, sound
from providers.simulator.tokens import count
from providers.simulator.usages import distorted, invoiced

_PICTURE: Final = 258
_SPOKEN_BYTES_PER_TOKEN: Final = 1_920  # 40 ms of 24 kHz, 16 bit
_CAPITAL: Final = re.compile(r"_([a-z])")


def open_(asked: Asked) -> Conversation | NotOpened:
    """Answer a handshake."""
    return _Live(asked)


class _Live:
    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._setup: dict[str, Any] | None = None
        self._context = {"TEXT": 0, "AUDIO": 0, "IMAGE": 0}
        self._heard: list[object] = []
        self._speaking = False
        self._closed = False
        self.billed: dict[str, int] = {}

    def opened(self) -> Iterator[Step]:
        return iter(())

    def said(self, frame: Frame) -> Iterator[Step]:
        message = read(frame)
        if message is None:
            return iter([Close(1007, "Request contains an invalid argument.")])
        return self._reply(_camel(message))

    def ended(self) -> None:
        self._closed = True

    def _reply(self, message: dict[str, Any]) -> Iterator[Step]:
        if "setup" in message:
            self._setup = message["setup"] or {}
            model = str(self._setup.get("model", ""))
            if not model or REFUSED_MODEL in model:
                yield Close(1008, f"{model} is not found for API version v1beta, or is not supported.")
                return
            self._context["TEXT"] = count(_texts(self._setup.get("systemInstruction")))
            self._context["TEXT"] += openai_input.schema(self._setup.get("tools"))
            yield _said({"setupComplete": {}})
        elif self._setup is None:
            yield Close(1007, "The first message must be a setup message.")
        elif "clientContent" in message:
            content = message["clientContent"]
            for turn in content.get("turns") or ():
                self._hear(turn)
            if content.get("turnComplete"):
                yield from self._answer()
        elif "toolResponse" in message:
            self._context["TEXT"] += openai_input.schema(message["toolResponse"].get("functionResponses"))
            yield from self._answer()
        elif "realtimeInput" in message:
            yield from self._listen(message["realtimeInput"])
        else:
            yield Close(1007, "Request contains an invalid argument.")

    def _hear(self, turn: dict[str, Any]) -> None:
        self._heard.append(turn)
        for part in turn.get("parts") or ():
            data = part.get("inlineData")
            if data is None:
                self._context["TEXT"] += count(str(part.get("text") or ""))
            elif str(data.get("mimeType", "")).startswith("audio/"):
                self._context["AUDIO"] += _audio_tokens(data)
            else:
                self._context["IMAGE"] += _PICTURE

    def _listen(self, said: dict[str, Any]) -> Iterator[Step]:
        for blob in (*(said.get("mediaChunks") or ()), said.get("audio"), said.get("video")):
            if blob is None:
                continue
            if not str(blob.get("mimeType", "")).startswith("audio/"):
                self._context["IMAGE"] += _PICTURE
                continue
            sample = heard(blob.get("data"))
            self._context["AUDIO"] += _audio_tokens(blob)
            self._heard.append(len(sample))
            if silent(sample) and self._speaking:
                self._speaking = False
                yield from self._answer()
            elif not silent(sample):
                self._speaking = True
        if said.get("text"):
            self._context["TEXT"] += count(said["text"])
            self._heard.append(said["text"])
            yield from self._answer()
        elif ("audioStreamEnd" in said or "activityEnd" in said) and self._speaking:
            self._speaking = False
            yield from self._answer()

    def _answer(self) -> Iterator[Step]:
        faults = self._asked.faults
        config = (self._setup or {}).get("generationConfig") or {}
        spoken = "AUDIO" in (config.get("responseModalities") or ())
        before = dict(self.billed)
        self._bill(
            input_tokens=sum(self._context.values()),
            input_audio_tokens=self._context["AUDIO"],
            input_image_tokens=self._context["IMAGE"],
            output_tokens=0,
        )
        limit = config.get("maxOutputTokens")
        words = prose.prose(
            prose.seed(self._heard),
            tokens=faults.output_tokens,
            limit=limit if isinstance(limit, int) and limit > 0 else None,
            stops=[],
        )
        said: list[str] = []
        for piece in words.pieces:
            if self._closed:
                return
            self._bill(output_tokens=1, **({"output_audio_tokens": 1} if spoken else {}))
            said.append(piece)
            part: dict[str, Any] = {"text": piece}
            if spoken:
                data = sound(_SPOKEN_BYTES_PER_TOKEN, len(said))
                part = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": data}}
            yield _said({"serverContent": {"modelTurn": {"role": "model", "parts": [part]}}})
        if spoken and "outputAudioTranscription" in (self._setup or {}):
            yield _said({"serverContent": {"outputTranscription": {"text": "".join(said)}}})
        yield _said({"serverContent": {"generationComplete": True}})
        made = {name: self.billed[name] - before.get(name, 0) for name in self.billed}
        usage = {
            "promptTokenCount": made["input_tokens"],
            "responseTokenCount": made["output_tokens"],
            "totalTokenCount": made["input_tokens"] + made["output_tokens"],
            "promptTokensDetails": [
                {"modality": kind, "tokenCount": tokens} for kind, tokens in self._context.items() if tokens
            ],
            "responseTokensDetails": [{"modality": "AUDIO" if spoken else "TEXT", "tokenCount": made["output_tokens"]}],
        }
        for kind, paid in invoiced(made, faults.usage).items():
            self.billed[kind] = before.get(kind, 0) + paid
        self._context["AUDIO" if spoken else "TEXT"] += made["output_tokens"]
        self._heard.append("".join(said))
        last: dict[str, Any] = {"serverContent": {"turnComplete": True}}
        usages = distorted(usage, faults.usage)
        for each in usages[:-1]:
            yield _said({"usageMetadata": each})
        if usages:
            last["usageMetadata"] = usages[-1]
        yield _said(last)

    def _bill(self, **more: int) -> None:
        for name, units in more.items():
            self.billed[name] = self.billed.get(name, 0) + units


def _audio_tokens(blob: dict[str, Any]) -> int:
    """25 a second of 16-bit sound, at the rate that its type says."""
    rate = re.search(r"rate=(\d+)", str(blob.get("mimeType", "")))
    return max(1, len(heard(blob.get("data"))) * 25 // (2 * (int(rate[1]) if rate else 16_000)))


def _texts(content: object) -> str:
    parts = content.get("parts") if isinstance(content, dict) else None
    return " ".join(str(part.get("text") or "") for part in parts or () if isinstance(part, dict))


def _camel(value: Any) -> Any:
    """Protobuf's JSON takes names in both spellings."""
    if isinstance(value, dict):
        return {_CAPITAL.sub(lambda found: found[1].upper(), name): _camel(each) for name, each in value.items()}
    return [_camel(each) for each in value] if isinstance(value, list) else value


def _said(message: dict[str, Any]) -> bytes:
    return msgspec.json.encode(message)
