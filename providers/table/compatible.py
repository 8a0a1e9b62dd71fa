"""OpenAI's operations in OpenAI's shape, for every vendor whose row names them (`speaks`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from providers.free import FREE_READ
from providers.openai_chat import OPENAI_CHAT, OPENAI_COMPLETIONS
from providers.openai_embeddings import OPENAI_EMBEDDINGS
from providers.openai_responses import OPENAI_RESPONSES
from providers.shapes import Shape
from providers.table.row import Row, row
from providers.vendors import VENDORS

_COMPATIBLE: Mapping[str, tuple[tuple[str, str, Shape, bool], ...]] = MappingProxyType(
    {
        "chat.completions": (("POST", "/v1/chat/completions", OPENAI_CHAT, True),),
        "completions": (("POST", "/v1/completions", OPENAI_COMPLETIONS, True),),
        "responses": (("POST", "/v1/responses", OPENAI_RESPONSES, True),),
        "embeddings": (("POST", "/v1/embeddings", OPENAI_EMBEDDINGS, True),),
        "models": (("GET", "/v1/models", FREE_READ, False), ("GET", "/v1/models/{id}", FREE_READ, False)),
    }
)
"""What a vendor's `speaks` can name: OpenAI's operations, in OpenAI's shape."""


def _compatible() -> Iterator[Row]:
    for vendor in VENDORS.values():
        for name in vendor.speaks:
            for method, path, shape, billable in _COMPATIBLE[name]:
                yield row(method, path, vendor.name, name, shape, billable=billable, upstream=vendor.path_prefix + path)


ROWS = tuple(_compatible())
