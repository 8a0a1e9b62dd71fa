"""POST /v1/embeddings: unit vectors that are a function of the text.

Promises: `dimensions` and `encoding_format` honoured (the official SDK asks for base64); equal texts have equal
vectors. No meaning is in them.
"""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Final, Literal

import msgspec

from providers.simulator import prose, tokens
from providers.simulator.answers import Draft, Whole
from providers.simulator.openai import common as openai
from providers.simulator.requests import Request
from providers.simulator.usages import distorted, invoiced
from providers.simulator.vectors import vector

_INPUTS_MAX: Final = 2_048  # as the provider
_TOKENS_MAX: Final = 300_000  # of one request, as the provider
_DIMENSIONS_MAX: Final = 3_072
_NATURAL: Final = {"text-embedding-3-large": 3_072}  # every other model: 1,536


class _Body(msgspec.Struct):
    model: str | None = None
    input: str | list[str | int | list[int]] | None = None
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None


def answer(request: Request) -> Draft:
    """Answer one request."""
    return _answered(request, dimensions_max=_DIMENSIONS_MAX)


def counted(request: Request) -> Draft:
    """The same for whoever wants its bill only."""
    return _answered(request, dimensions_max=1)


def _answered(request: Request, *, dimensions_max: int) -> Draft:
    body = openai.read(request, _Body)
    model = openai.served_model(request, body.model)
    dimensions = body.dimensions if body.dimensions is not None else _NATURAL.get(model, 1_536)
    openai.at_least(request, "dimensions", dimensions, 1, _DIMENSIONS_MAX)
    dimensions = min(dimensions, dimensions_max)
    texts = _texts(request, body.input)
    total = sum(length for _, length in texts)
    if total > _TOKENS_MAX:
        message = f"Invalid 'input': maximum request size is {_TOKENS_MAX} tokens per request."
        openai.refuse(request, message, param="input", code="max_tokens_per_request")
    data = [
        {"object": "embedding", "index": number, "embedding": _encoded(key, dimensions, body.encoding_format)}
        for number, (key, _) in enumerate(texts)
    ]
    full: dict[str, object] = {"object": "list", "data": data, "model": model}
    counts = {"prompt_tokens": total, "total_tokens": total}
    if request.provider == "mistral":
        full["id"] = prose.ident("cmpl-", request.request_id)
        counts["completion_tokens"] = 0
    for usage in distorted(counts, request.faults.usage):
        full["usage"] = usage
    billed = invoiced({"input_tokens": total, "output_tokens": 0}, request.faults.usage)
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(full), billed=billed)


def _texts(request: Request, given: str | list[str | int | list[int]] | None) -> list[tuple[bytes, int]]:
    """Each input as bytes, and its length in tokens."""
    if given is None:
        message = "Missing required parameter: 'input'."
        openai.refuse(request, message, param="input", code="missing_required_parameter")
    if isinstance(given, str):
        given = [given]
    if given and all(isinstance(part, int) for part in given):
        return [(repr(given).encode(), len(given))]
    if not given or "" in given or len(given) > _INPUTS_MAX:
        openai.refuse(request, "'$.input' is invalid. Please check the API reference.", param="input")
    return [
        (part.encode(errors="replace"), tokens.count(part))
        if isinstance(part, str)
        else (repr(part).encode(), len(part) if isinstance(part, list) else 1)
        for part in given
    ]


def _encoded(key: bytes, dimensions: int, encoding: str | None) -> str | list[float]:
    exact = vector(key, dimensions)
    values = array("f", exact)
    if encoding != "base64":
        return [single if double else double for single, double in zip(values, exact, strict=True)]
    if sys.byteorder == "big":
        values.byteswap()  # the wire is little-endian
    return base64.b64encode(values.tobytes()).decode()
