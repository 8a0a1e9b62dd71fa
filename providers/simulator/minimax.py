"""MiniMax's own API: speech, and how it fails. Its chat is everybody's (`chat`), with its habits (`vendors`).

Promises: an error is HTTP 200 with a `base_resp` that says so, as natively (providers.md §4.2, P9). The sound is
hexadecimal noise that is a function of the text; a character that is wide in East Asian scripts counts as two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from providers.simulator.answers import Draft, Stream, Whole, event
from providers.simulator.anthropic import common as anthropic
from providers.simulator.compatible.vendors import OK
from providers.simulator.openai import common as openai
from providers.simulator.requests import Request, streamed
from providers.simulator.tokens import length

_CODES: Final = {
    401: (1004, "login fail: please carry the API secret key in the 'Authorization' field"),
    402: (1008, "insufficient balance"),
    429: (1002, "rate limit exceeded"),
}
_CHARACTERS_MAX: Final = 10_000  # as the provider
_PIECE: Final = 40  # characters whose sound is one event
_BYTES: Final = 48  # of noise for each character
_GARBAGE: Final = b'data: {"data":{"audio":"49\n\n'
_NATIVES: Final = ("/t2a_v2", "/text/chatcompletion_v2")


class _Body(msgspec.Struct):
    model: str | None = None
    text: str | None = None
    stream: bool | None = None


def error(request: Request, status: int, message: str = "") -> Whole:
    """An error: in its own API HTTP 200 and a code, in the compatible ones as these have it."""
    if not request.path.endswith(_NATIVES):
        return (anthropic.error if "/v1/messages" in request.path else openai.error)(request, status, message)
    code, usual = _CODES.get(status, (1000, "unknown error") if status >= 500 else (2013, "invalid params"))
    body = {"base_resp": {"status_code": code, "status_msg": message or usual}}
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(body))


def find(method: str, request: Request) -> Callable[[Request], Draft] | None:
    """Its own operation at a path."""
    return speech if method == "POST" and request.path.endswith("/t2a_v2") else None


def speech(request: Request) -> Draft:
    """Answer one request."""
    try:
        body = msgspec.json.decode(request.body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return error(request, 400)
    if not body.model or not body.text:
        return error(request, 400, "invalid params, text is empty")
    if length(body.text) > _CHARACTERS_MAX:
        return error(request, 400, f"invalid params, text exceeds {_CHARACTERS_MAX} characters")
    kind = request.faults.usage
    used = sum(2 if ord(each) > 0x2E7F else 1 for each in body.text)
    billed = {"characters": 0 if kind == "zero" else used, "output_tokens": 0}
    noise = hashlib.shake_256(body.text.encode(errors="replace")).hexdigest(length(body.text) * _BYTES)
    extra = {
        "audio_length": length(body.text) * 60,
        "audio_sample_rate": 32_000,
        "audio_size": len(noise) // 2,
        "audio_bitrate": 128_000,
        "word_count": len(body.text.split()),
        "invisible_character_ratio": 0,
        "audio_format": "mp3",
        "usage_characters": {"zero": 0, "negative": -1, "absurd": 2**63}.get(kind, used),
    }
    told: dict[str, Any] = {} if kind == "missing" else {"extra_info": extra}
    ending = {"trace_id": request.request_id, "base_resp": OK}
    if streamed(request, body.stream):
        return Stream(
            headers=openai.headers(request, stream=True),
            events=_events(noise, told, ending),
            billed=billed,
            failure=lambda _: event({"base_resp": {"status_code": 1000, "status_msg": "unknown error"}}),
            garbage=_GARBAGE,
        )
    full = {"data": {"audio": noise, "status": 2}} | told | ending
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(full), billed=billed)


def _events(noise: str, told: dict[str, Any], ending: dict[str, Any]) -> Iterator[tuple[bytes, int]]:
    step = 2 * _PIECE * _BYTES
    for at in range(0, len(noise), step):
        yield event({"data": {"audio": noise[at : at + step], "status": 1}} | ending), 0
    yield event({"data": {"audio": noise, "status": 2}} | told | ending), 0
