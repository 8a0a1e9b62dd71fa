"""Deepgram: `/v1/listen`, `/v1/speak`, `/v1/read` and `/v1/models`, in their own shapes and with their own errors.

Promises: the length and the channels are the file's own; a URL is a minute of sound. The bill says what was asked for
beside the transcription. Source: providers.md P5, deepgram-sdk 7's types.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from providers.simulator import sounds, tokens
from providers.simulator.answers import Draft, Headers, Stream, Whole
from providers.simulator.prose import prose, seed
from providers.simulator.requests import Refusal, Request
from providers.simulator.tokens import length

_ERRORS: Final = {
    400: ("Bad Request", "The simulator refuses this request, as it was asked to."),
    401: ("INVALID_AUTH", "Invalid credentials."),
    402: ("ASR_PAYMENT_REQUIRED", "Project does not have enough credits for an ASR request."),
    403: ("INSUFFICIENT_PERMISSIONS", "User does not have sufficient permissions."),
    404: ("NOT_FOUND", "Resource not found."),
    429: ("TOO_MANY_REQUESTS", "Too many requests. Please try again later"),
}
_BY_THE_SECOND: Final = {"diarize": "diarize_ms", "redact": "redact_ms", "keyterm": "keyterm_ms",
                         "detect_entities": "detect_entities_ms"}  # fmt: skip


_BY_TOKENS: Final = {"summarize": "summary_info", "topics": "topics_info", "intents": "intents_info",
                     "sentiment": "sentiment_info"}  # fmt: skip
_CHARACTERS_MAX: Final = 2_000  # as the provider
_CHARACTERS_A_SECOND: Final = 15
_PIECE_BYTES: Final = 4_180


def headers(request: Request, content_type: str = "application/json") -> Headers:
    """The head that the provider sends."""
    return [("content-type", content_type), ("dg-request-id", request.request_id)]


def error(request: Request, status: int, message: str = "") -> Whole:
    """An error answer in the provider's shape."""
    code, usual = _ERRORS.get(status, ("INTERNAL_SERVER_ERROR", "An internal error occurred."))
    body = {"err_code": code, "err_msg": message or usual, "request_id": request.request_id}
    return Whole(status=status, headers=headers(request), body=msgspec.json.encode(body))


def listen(request: Request) -> Draft:
    """Answer one request to transcribe."""
    query = parse_qs(request.query)
    seconds, channels = 60.0, 1
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            url = msgspec.json.decode(request.body, type=dict[str, Any]).get("url")
        except msgspec.DecodeError:
            url = None
        if not isinstance(url, str):
            raise Refusal(error(request, 400, "Bad Request: failed to process audio: no url"))
    elif request.body:
        seconds, channels = sounds.heard(request.body)
    else:
        raise Refusal(error(request, 400, "Bad Request: failed to process audio: corrupt or unsupported data"))
    if query.get("multichannel", ["false"])[0] != "true":
        channels = 1
    model = query.get("model", ["base"])[0]
    number = seed([model, len(request.body)])
    wanted = request.faults.output_tokens
    said = prose(number, tokens=max(math.ceil(seconds * 3), 1) if wanted is None else wanted, limit=None, stops=[])
    words = [
        {"word": piece.strip().lower(), "start": at * 0.3, "end": at * 0.3 + 0.25, "confidence": 0.99}
        for at, piece in enumerate(said.pieces)
    ]
    alternative = {"transcript": said.text, "confidence": 0.99, "words": words}
    metadata: dict[str, Any] = {
        "transaction_key": "deprecated",
        "request_id": request.request_id,
        "sha256": "0" * 64,
        "created": "2026-11-25T00:00:00.000Z",
        "duration": seconds,
        "channels": channels,
        "models": ["30089e05-99d1-4376-b32e-c263170674af"],
        "model_info": {
            "30089e05-99d1-4376-b32e-c263170674af": {"name": model, "version": "2026-01-09.0", "arch": model}
        },
    }
    audio_ms = math.ceil(seconds * 1_000) * channels
    billed = {"output_tokens": 0, "audio_ms": audio_ms}
    for name, tool in _BY_THE_SECOND.items():
        if _on(query, name):
            billed[tool] = audio_ms
    for name, info in _BY_TOKENS.items():
        if _on(query, name):
            metadata[info] = {"model_uuid": "u", "input_tokens": said.tokens, "output_tokens": 7}
            billed["input_tokens"] = billed.get("input_tokens", 0) + said.tokens
            billed["output_tokens"] += 7
    usage = request.faults.usage
    if usage == "missing":
        del metadata["duration"]
    elif usage:
        changed = {"zero": 0, "negative": -seconds, "absurd": 2.0**63, "float": seconds + 0.5}
        metadata["duration"] = changed.get(usage, seconds)
        billed = dict.fromkeys(billed, 0) if usage == "zero" else billed
    results = {"channels": [{"alternatives": [alternative]} for _ in range(channels)]}
    body = msgspec.json.encode({"metadata": metadata, "results": results})
    return Whole(headers=headers(request), body=body, billed=billed)


def _on(query: dict[str, list[str]], name: str) -> bool:
    return query.get(name, ["false"])[0] not in ("", "false")


def _text(request: Request, *, url: bool = False) -> str:
    try:
        body = msgspec.json.decode(request.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(error(request, 400, "Bad Request: invalid JSON")) from None
    text = body.get("text") or ("word " * 100 if url and body.get("url") else None)
    if not isinstance(text, str):
        raise Refusal(error(request, 400, "Bad Request: no text"))
    return text


def speak(request: Request) -> Draft:
    """Answer one request to speak."""
    query = parse_qs(request.query)
    text = _text(request)
    if length(text) > _CHARACTERS_MAX:
        raise Refusal(error(request, 413, f"Input text exceeds maximum character limit of {_CHARACTERS_MAX}."))
    model = query.get("model", ["aura-asteria-en"])[0]
    seconds = length(text) / _CHARACTERS_A_SECOND
    content_type, data = "audio/mpeg", sounds.mp3(seconds)
    if query.get("encoding", ["mp3"])[0] == "linear16":
        asked = query.get("sample_rate", ["24000"])[0]
        rate = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 0
        if rate not in sounds.RATES:
            raise Refusal(error(request, 400, "Bad Request: unsupported sample_rate"))
        content_type = f"audio/l16;rate={rate};channels=1"
        bare = query.get("container", ["wav"])[0] == "none"
        data = (sounds.pcm if bare else sounds.wav)(seconds, sample_rate=rate)
    date = formatdate(request.now_s, usegmt=True)  # older clients look for it
    head = [*headers(request, content_type), ("date", date), ("dg-model-name", model), ("dg-model-uuid", "u")]
    usage = request.faults.usage
    counted = {"zero": 0, "negative": -1 - length(text), "absurd": 2**63, "missing": None}.get(usage, length(text))
    if counted is not None:
        head.append(("dg-char-count", str(counted)))
    pieces = [data[start : start + _PIECE_BYTES] for start in range(0, len(data), _PIECE_BYTES)]
    billed = {"output_tokens": 0, "characters": 0 if usage == "zero" else length(text)}

    def events() -> Iterator[tuple[bytes, int]]:
        for piece in pieces:
            yield piece, 0

    return Stream(headers=head, events=events(), billed=billed, failure=lambda _: b"", garbage=b"")


def read(request: Request) -> Draft:
    """Answer one request to analyse a text."""
    query = parse_qs(request.query)
    counted = tokens.count(_text(request, url=True))
    metadata: dict[str, Any] = {
        "request_id": request.request_id, "created": "2026-11-25T00:00:00.000Z", "language": "en",
    }  # fmt: skip
    results: dict[str, Any] = {}
    billed = {"input_tokens": 0, "output_tokens": 0}
    for name, info in _BY_TOKENS.items():
        if _on(query, name):
            metadata[info] = {"model_uuid": "u", "input_tokens": counted, "output_tokens": 7}
            billed["input_tokens"] += counted
            billed["output_tokens"] += 7
    if _on(query, "summarize"):
        results["summary"] = {"text": "This is a simulated summary."}
    if request.faults.usage == "missing":
        metadata = {"request_id": request.request_id}
    body = {"metadata": {"metadata": metadata}, "results": results}
    return Whole(headers=headers(request), body=msgspec.json.encode(body), billed=billed)


def models(request: Request) -> Draft:
    """The list of models, or one."""
    common = {"languages": ["en"], "version": "2026-01-09.0"}
    hearing: list[dict[str, Any]] = [
        common | {"name": "general", "canonical_name": name, "architecture": name, "uuid": name, "batch": True,
                  "streaming": True, "formatted_output": True}
        for name in ("nova-3", "nova-2")
    ]  # fmt: skip
    voice = "aura-2-thalia-en"
    speaking: list[dict[str, Any]] = [
        common | {"name": "thalia", "canonical_name": voice, "architecture": "aura-2", "uuid": voice,
                  "metadata": {"accent": "American"}}
    ]  # fmt: skip
    asked = request.path.rpartition("/models")[2].strip("/")
    body: Any = {"stt": hearing, "tts": speaking}
    if asked:
        body = next((model for model in (*hearing, *speaking) if model["uuid"] == asked), None)
        if body is None:
            raise Refusal(error(request, 404))
    return Whole(headers=headers(request), body=msgspec.json.encode(body))


_POSTS: Final = {"/v1/listen": listen, "/v1/speak": speak, "/v1/read": read}


def find(method: str, request: Request) -> Callable[[Request], Draft] | None:
    """The operation at a method and path; None where there is none."""
    if method == "POST":
        return _POSTS.get(request.path)
    return models if method == "GET" and request.path.startswith("/v1/models") else None
