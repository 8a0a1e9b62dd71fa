"""POST /v1/moderations: nothing is ever the matter. Free, as the provider's."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from providers.simulator.answers import Draft, Whole
from providers.simulator.openai import common as openai
from providers.simulator.prose import ident
from providers.simulator.requests import Request

_CATEGORIES: Final = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip


class _Body(msgspec.Struct):
    model: str | None = None
    input: str | list[Any] | None = None


def answer(request: Request) -> Draft:
    """Answer one request."""
    body = openai.read(request, _Body)
    if body.input is None:
        openai.refuse(request, "Missing required parameter: 'input'.", param="input")
    texts = isinstance(body.input, list) and all(isinstance(part, str) for part in body.input)
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0001),
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
    full = {
        "id": ident("modr-", request.request_id),
        "model": body.model or "omni-moderation-latest",
        "results": [result] * (len(body.input) if texts else 1),
    }
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(full))
