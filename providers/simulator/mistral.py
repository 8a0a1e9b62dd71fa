"""Mistral's operations beside chat and embeddings: filling in the middle, OCR, sound, moderation; and its errors.

Promises: answers that the official SDK's types take (mistralai 3.7). A document has the pages that its PDF objects
say, and three where it lies elsewhere. Moderation reports no usage, as the SDK's types have none.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from providers.simulator import forms, prose, sounds
from providers.simulator.answers import Draft, Stream, Whole, event
from providers.simulator.openai import chat
from providers.simulator.openai import common as openai
from providers.simulator.requests import Refusal, Request
from providers.simulator.tokens import document_pages, length
from providers.simulator.usages import distorted

_TYPES: Final = {401: "unauthorized", 402: "payment_required", 404: "not_found", 429: "rate_limited"}
_CATEGORIES: Final = ("sexual", "hate_and_discrimination", "violence_and_threats", "dangerous_and_criminal_content",
                      "selfharm", "health", "financial", "law", "pii")  # fmt: skip
_SPOKEN_MAX: Final = 10_000  # characters: eleven minutes
_ELSEWHERE_PAGES: Final = 3


class _Fim(msgspec.Struct):
    model: str | None = None
    prompt: str = ""
    suffix: str | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None


class _Document(msgspec.Struct):
    document_url: str | None = None
    image_url: Any = None


class _Ocr(msgspec.Struct):
    model: str | None = None
    document: _Document | None = None
    pages: list[int] | str | None = None
    document_annotation_format: dict[str, Any] | None = None


class _Moderation(msgspec.Struct):
    model: str | None = None
    input: Any = None


def error(request: Request, status: int, message: str = "") -> Whole:
    """An error in its shape."""
    kind = _TYPES.get(status, "internal_error" if status >= 500 else "invalid_request_error")
    body = {
        "object": "error",
        "message": message or f"The simulator answers {status}.",
        "type": kind,
        "param": None,
        "code": str(3000 + status),
    }
    head = openai.headers(request)
    if status == 429:
        head.append(("retry-after", "1"))
    return Whole(status=status, headers=head, body=msgspec.json.encode(body))


def find(method: str, request: Request) -> Callable[[Request], Draft] | None:
    """Its own operation at a path."""
    if method != "POST":
        return None
    ends = {
        "/fim/completions": fim,
        "/ocr": ocr,
        "/audio/transcriptions": transcription,
        "/audio/speech": speech,
        "/moderations": moderations,
    }
    return next((operation for end, operation in ends.items() if request.path.endswith(end)), None)


def fim(request: Request) -> Draft:
    """Fill in the middle: an answer as a chat's, to the two texts around it."""
    body = openai.read(request, _Fim)
    around = [{"role": "user", "content": body.prompt}, {"role": "user", "content": body.suffix or ""}]
    asked = {"model": body.model, "messages": around, "max_tokens": body.max_tokens, "stop": body.stop,
             "stream": body.stream}  # fmt: skip
    return chat.answer(msgspec.structs.replace(request, body=msgspec.json.encode(asked)))


def ocr(request: Request) -> Draft:
    """Answer one request."""
    body = openai.read(request, _Ocr)
    model = openai.served_model(request, body.model)
    if body.document is None:
        openai.refuse(request, "document: Field required")
    numbers = list(range(_pages(body.document)))
    if isinstance(body.pages, list):
        numbers = [number for number in body.pages if number in numbers]
    pages = [
        {
            "index": number,
            "markdown": prose.prose(prose.seed([model], number), tokens=24, limit=None, stops=[], hidden=0).text,
            "images": [],
            "dimensions": {"dpi": 200, "height": 2200, "width": 1700},
        }
        for number in numbers
    ]
    full: dict[str, Any] = {"pages": pages, "model": model, "document_annotation": None}
    if body.document_annotation_format is not None:
        full["document_annotation"] = "{}"
    for usage in distorted({"pages_processed": len(numbers), "doc_size_bytes": None}, request.faults.usage):
        full["usage_info"] = usage
    billed = {"pages": 0 if request.faults.usage == "zero" else len(numbers)}
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(full), billed=billed)


def _pages(document: _Document) -> int:
    if document.image_url is not None:
        return 1
    head, comma, data = (document.document_url or "").partition(",")
    if not comma or not head.startswith("data:"):
        return _ELSEWHERE_PAGES
    return document_pages(data)


def transcription(request: Request) -> Draft:
    """Sound to text: billed by whole seconds, a minute where the sound lies elsewhere."""
    form = forms.read(request.headers.get("content-type", ""), request.body)
    if form is None or not (form.files.get("file") or form.fields.get("file_url")):
        raise Refusal(error(request, 422, "file is required"))
    model = openai.served_model(request, form.fields.get("model"))
    data = form.files.get("file", [b""])[0]
    seconds = math.ceil(sounds.heard(data)[0]) if data else 60
    said = prose.prose(prose.seed([model, len(data)]), tokens=seconds * 3, limit=None, stops=[])
    usage = {"prompt_tokens": 4, "completion_tokens": said.tokens, "total_tokens": 4 + said.tokens}
    usages = distorted(usage | {"prompt_audio_seconds": seconds}, request.faults.usage)
    stated: dict[str, Any] = {"usage": usages[-1]} if usages else {}
    billed = {"output_tokens": 0, "audio_ms": 0 if request.faults.usage == "zero" else seconds * 1_000}
    full = {"model": model, "text": said.text, "language": "en", "segments": [], **stated}
    if form.fields.get("stream", "").lower() != "true":
        return Whole(headers=openai.headers(request), body=msgspec.json.encode(full), billed=billed)

    def events() -> Iterator[tuple[bytes, int]]:
        for piece in said.pieces:
            name = "transcription.text.delta"
            yield event({"type": name, "text": piece}, name), 0
        yield event({"type": "transcription.done", **full}, "transcription.done"), 0

    return Stream(headers=openai.headers(request, stream=True), events=events(), billed=billed,
                  failure=openai.in_band_error, garbage=b"data: {oops\n\n")  # fmt: skip


class _Speech(msgspec.Struct):
    model: str | None = None
    input: str | None = None
    stream: bool = False


def speech(request: Request) -> Draft:
    """Text to sound: fifteen characters a second, billed by the character."""
    body = openai.read(request, _Speech)
    openai.served_model(request, body.model)
    if not body.input:
        raise Refusal(error(request, 422, "input is required"))
    if length(body.input) > _SPOKEN_MAX:
        raise Refusal(error(request, 422, f"input has more than {_SPOKEN_MAX} characters"))
    data = sounds.mp3(length(body.input) / 15)
    billed = {"output_tokens": 0, "characters": length(body.input)}
    if not body.stream:
        answer = {"audio_data": base64.b64encode(data).decode()}
        return Whole(headers=openai.headers(request), body=msgspec.json.encode(answer), billed=billed)
    usage = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}

    def events() -> Iterator[tuple[bytes, int]]:
        for start in range(0, len(data), 4_170):
            piece = base64.b64encode(data[start : start + 4_170]).decode()
            yield event({"type": "speech.audio.delta", "audio_data": piece}, "speech.audio.delta"), 0
        yield event({"type": "speech.audio.done", "usage": usage}, "speech.audio.done"), 0

    return Stream(headers=openai.headers(request, stream=True), events=events(), billed=billed,
                  failure=openai.in_band_error, garbage=b"data: {oops\n\n")  # fmt: skip


def moderations(request: Request) -> Draft:
    """Answer one request, of texts or of conversations: nothing is ever objectionable."""
    body = openai.read(request, _Moderation)
    model = openai.served_model(request, body.model)
    inputs = body.input if isinstance(body.input, list) else [body.input]
    many = inputs if not inputs or isinstance(inputs[0], str | list) else [inputs]
    result = {
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0001),
    }
    full = {"id": prose.ident("mod-", request.request_id), "model": model, "results": [result] * len(many)}
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(full), billed={})
