"""POST /v1/images/generations, …/edits and …/variations: a picture of one pixel, whatever was asked for.

Promises: tokens by size and quality as the provider publishes them for its first models, an image for each that is
wanted; the `dall-e-` models by the image. Streams have as many partial images as were asked for.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from providers.simulator import forms, tokens
from providers.simulator.answers import Draft, Stream, Whole, event
from providers.simulator.openai import common as openai
from providers.simulator.requests import Request, streamed
from providers.simulator.usages import distorted, invoiced

_TOKENS: Final = {"low": 272, "medium": 1_056, "high": 4_160}
_SIZES: Final = {"1024x1024": 1.0, "1024x1536": 1.5, "1536x1024": 1.5}
_GIVEN_TOKENS: Final = 323
_PARTIAL_TOKENS: Final = 100


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


_PNG: Final = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0")
    + _chunk(b"IDAT", zlib.compress(b"\0\0"))
    + _chunk(b"IEND", b"")
)
_DATA: Final = base64.b64encode(_PNG).decode()


def answer(request: Request) -> Draft:
    """Answer one request."""
    asked, given = _read(request)
    model = openai.served_model(request, asked.get("model") or ("dall-e-2" if "variations" in request.path else None))
    prompt = asked.get("prompt")
    if "variations" not in request.path and not prompt:
        message = "Missing required parameter: 'prompt'."
        openai.refuse(request, message, param="prompt", code="missing_required_parameter")
    if "generations" not in request.path and not given:
        openai.refuse(request, "Missing required parameter: 'image'.", param="image")
    images = _number(request, asked, "n", 1)
    openai.at_least(request, "n", images, 1, 10)
    if model.startswith("dall-e-"):
        data = [{"url": f"https://images.invalid/{number}.png"} for number in range(images)]
        body = msgspec.json.encode({"created": request.now_s, "data": data})
        return Whole(headers=openai.headers(request), body=body, billed={"output_tokens": 0, "images": images})
    size, quality = str(asked.get("size")), str(asked.get("quality"))
    size = size if size in _SIZES else "1024x1024"
    quality = quality if quality in _TOKENS else "medium"
    partial = _number(request, asked, "partial_images", 0)
    openai.at_least(request, "partial_images", partial, 0, 3)
    text, shown = tokens.count(str(prompt or "")), given * _GIVEN_TOKENS
    made = math.ceil(_TOKENS[quality] * _SIZES[size]) * images + partial * _PARTIAL_TOKENS
    usage = {
        "input_tokens": text + shown,
        "input_tokens_details": {"text_tokens": text, "image_tokens": shown},
        "output_tokens": made,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": made},
        "total_tokens": text + shown + made,
    }
    billed = {"input_tokens": text + shown, "image_tokens": shown, "output_tokens": made}
    common = {"background": "opaque", "output_format": "png", "quality": quality, "size": size}
    usages = distorted(usage, request.faults.usage)
    billed = invoiced(billed, request.faults.usage)
    if streamed(request, str(asked.get("stream", "")).lower() == "true"):
        kind = "image_generation" if "generations" in request.path else "image_edit"
        return Stream(
            headers=openai.headers(request, stream=True),
            events=_events(kind, partial, {"created_at": request.now_s, **common}, usages, made),
            billed=billed,
            failure=openai.in_band_error,
            garbage=b"data: {oops\n\n",
        )
    full: dict[str, Any] = {"created": request.now_s, **common, "data": [{"b64_json": _DATA}] * images}
    for each in usages:
        full["usage"] = each
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(full), billed=billed)


def _number(request: Request, asked: dict[str, Any], name: str, usual: int) -> int:
    """An integer, which a form has as text."""
    value = asked.get(name) or usual
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20):
        openai.refuse(request, f"Invalid type for '{name}': expected an integer.", param=name, code="invalid_type")
    return int(text)


def _read(request: Request) -> tuple[dict[str, Any], int]:
    """The fields, and how many pictures were sent."""
    form = forms.read(request.headers.get("content-type", ""), request.body)
    if form is not None:
        return dict(form.fields), sum(map(len, form.files.values()))
    return openai.read(request, dict[str, Any]), 0


def _events(
    kind: str, partial: int, common: dict[str, Any], usages: list[dict[str, Any]], made: int
) -> Iterator[tuple[bytes, int]]:
    for number in range(partial):
        name = f"{kind}.partial_image"
        data = {"type": name, "b64_json": _DATA, "partial_image_index": number, **common}
        yield event(data, name), (number + 1) * _PARTIAL_TOKENS
    name = f"{kind}.completed"
    for usage in usages or [{}]:
        stated = {"usage": usage} if usage else {}
        yield event({"type": name, "b64_json": _DATA, **common, **stated}, name), made
