"""Cohere's rows, of version 2 and of version 1. Source: providers.md §2 and P13."""

from __future__ import annotations

from providers.cohere.shapes import COHERE_CHAT, COHERE_CHAT_1, COHERE_EMBED, COHERE_RERANK
from providers.stored.free import FREE_POST, FREE_READ
from providers.stored.row import row

ROWS = (
    row("POST", "/v2/chat", "cohere", "chat", COHERE_CHAT),
    row("POST", "/v1/chat", "cohere", "chat.v1", COHERE_CHAT_1),
    *(row("POST", f"/{version}/embed", "cohere", "embed", COHERE_EMBED) for version in ("v2", "v1")),
    *(row("POST", f"/{version}/rerank", "cohere", "rerank", COHERE_RERANK) for version in ("v2", "v1")),
    *(row("POST", f"/v1/{name}", "cohere", name, FREE_POST, billable=False) for name in ("tokenize", "detokenize")),
    row("GET", "/v1/models", "cohere", "models", FREE_READ, billable=False),
    row("GET", "/v1/models/{id}", "cohere", "models", FREE_READ, billable=False),
)
