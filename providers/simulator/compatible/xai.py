"""xAI's operations beside chat and Responses: pictures, and counting tokens.

Promises: a picture is one white pixel, and its price is stated in ticks (providers.md P6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from providers.simulator import tokens
from providers.simulator.answers import Draft, Whole
from providers.simulator.openai import common as openai
from providers.simulator.requests import Request
from providers.simulator.usages import distorted

_TICKS: Final = 200_000_000  # 0.02 USD a picture
_JPEG: Final = (
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////"
    "////////2wBDAf//////////////////////////////////////////////////////////////////////////////////////wAARCAABAAEDAS"
    "IAAhEBAxEB/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAMAwEAAhEDEQA/AH//2Q=="
)


class _Images(msgspec.Struct):
    model: str | None = None
    prompt: str | None = None
    n: int | None = None
    response_format: str | None = None


class _Text(msgspec.Struct):
    model: str | None = None
    text: str | None = None


def find(method: str, request: Request) -> Callable[[Request], Draft] | None:
    """Its own operation at a path."""
    if method != "POST":
        return None
    ends = {"/images/generations": images, "/tokenize-text": tokenize}
    return next((operation for end, operation in ends.items() if request.path.endswith(end)), None)


def images(request: Request) -> Draft:
    """Answer one request."""
    body = openai.read(request, _Images)
    openai.served_model(request, body.model)
    openai.at_least(request, "n", body.n, 1, 10)
    number = body.n or 1
    url = {"url": "https://imgen.x.ai/simulated.jpeg"}
    made: dict[str, Any] = {"b64_json": _JPEG} if body.response_format == "b64_json" else url
    made |= {"mime_type": "image/jpeg", "revised_prompt": ""}
    full: dict[str, Any] = {"data": [made] * number}
    for usage in distorted({"cost_in_usd_ticks": number * _TICKS}, request.faults.usage):
        full["usage"] = usage
    billed = {"images": number, "usd_ticks": 0 if request.faults.usage == "zero" else number * _TICKS}
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(full), billed=billed)


def tokenize(request: Request) -> Draft:
    """Answer a count; it is free."""
    body = openai.read(request, _Text)
    openai.served_model(request, body.model)
    if tokens.MARK in (body.text or ""):
        openai.refuse(request, "The text is too long to be shown in pieces.", param="text")
    said = [
        {"token_id": number, "string_token": piece, "token_bytes": list(piece.encode(errors="replace"))}
        for number, piece in enumerate(tokens.pieces(body.text or ""))
    ]
    return Whole(headers=openai.headers(request), body=msgspec.json.encode({"token_ids": said}))
