"""Deepgram: `/v1/listen`, in its own shape and with its own errors.

Promises: the length and the channels are the file's own; a URL is a minute of sound. The bill says what was asked for
beside the transcription. Source: providers.md P5, deepgram-sdk 7's types.
"""

from __future__ import annotations

import math
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from providers.simulator import sounds
from providers.simulator.answers import Draft, Headers, Whole
from providers.simulator.openai import Refusal, Request
from providers.simulator.prose import prose, seed

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
        if query.get(name, ["false"])[0] not in ("", "false"):
            billed[tool] = audio_ms
    for name in ("summarize", "topics", "intents", "sentiment"):
        if query.get(name, ["false"])[0] not in ("", "false"):
            metadata[f"{name}_info"] = {"model_uuid": "u", "input_tokens": said.tokens, "output_tokens": 7}
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
