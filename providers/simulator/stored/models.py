"""GET /v1/models and GET /v1/models/{id}, in OpenAI's shape or in Anthropic's.

Promises: a short list of known names; any other name is described too, save one that holds "does-not-exist": what the
simulator serves it also describes. `anthropic-version` in the request decides the shape.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from providers.simulator.answers import Whole
from providers.simulator.anthropic import common as anthropic
from providers.simulator.openai import common as openai
from providers.simulator.requests import Request

_OPENAI: Final = ("gpt-5.4-mini", "gpt-5", "gpt-5-mini", "gpt-4.1", "gpt-4o", "gpt-4o-mini", "o4-mini",
                  "gpt-3.5-turbo-instruct", "text-embedding-3-small", "text-embedding-3-large")  # fmt: skip
_ANTHROPIC: Final = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-sonnet-5",
                     "claude-haiku-4-5")  # fmt: skip
_CREATED_S: Final = 1_767_225_600  # 2026-01-01, for every model


def answer(request: Request) -> Whole:
    """Answer one request, for the list or for one model."""
    name = request.path.rpartition("/models")[2].strip("/")
    if "anthropic-version" in request.headers:
        return _anthropic(request, name)
    if not name:
        body: dict[str, Any] = {"object": "list", "data": [_openai_model(known) for known in _OPENAI]}
    else:
        body = _openai_model(openai.served_model(request, name))
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(body))


def _openai_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED_S, "owned_by": "system"}


def _anthropic(request: Request, name: str) -> Whole:
    if name:
        body = _anthropic_model(anthropic.served_model(request, name))
        return Whole(headers=anthropic.headers(request), body=msgspec.json.encode(body))
    query = parse_qs(request.query)
    after, limit = query.get("after_id", [""])[0], query.get("limit", ["20"])[0]
    names = list(_ANTHROPIC[_ANTHROPIC.index(after) + 1 :] if after in _ANTHROPIC else _ANTHROPIC)
    page = names[: max(1, int(limit))] if limit.isascii() and limit.isdigit() and len(limit) < 9 else names
    body = {
        "data": [_anthropic_model(known) for known in page],
        "has_more": len(page) < len(names),
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }
    return Whole(headers=anthropic.headers(request), body=msgspec.json.encode(body))


def _anthropic_model(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }
