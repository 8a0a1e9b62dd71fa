"""The conformance matrix: every provider, client and operation that is run, and what a 402 raises there.

A cell is real: `test_cells` runs it straight at the provider and through Farthing, and once over the cap.
Source of what clients raise: providers.md §4.1 and §4.2, and the runs themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One client's operation at one provider. `refused`: the class of the exception that a 402 raises."""

    provider: str
    client: str
    operation: str
    model: str
    refused: str

    def __str__(self) -> str:
        return f"{self.provider}-{self.client}-{self.operation}".replace(" ", "_")


CLIENTS = {
    "official": "official Python SDK",
    "oldest": "official Python SDK, two years old",
    "javascript": "official JavaScript SDK",
    "vercel": "Vercel AI SDK",
    "langchain": "LangChain",
    "llamaindex": "LlamaIndex",
}
"""Every client, as the README names it."""

_CHAT = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-haiku-4-5",
    "xai": "grok-4",
    "qwen": "qwen-plus",
    "kimi": "kimi-k2.6",
    "minimax": "MiniMax-M2",
    "deepseek": "deepseek-chat",
    "mistral": "mistral-small-latest",
    "cerebras": "gpt-oss-120b",
}
_EMBEDDINGS = {"openai": "text-embedding-3-small", "mistral": "mistral-embed"}
_OPERATIONS = {
    "official": ("chat", "stream", "tools"),
    "oldest": ("chat", "stream"),
    "javascript": ("chat", "stream", "tools"),
    "vercel": ("chat", "stream", "tools"),
    "langchain": ("chat", "stream", "tools"),
    "llamaindex": ("chat", "stream"),
}
"""What every provider of a chat API is asked by each client."""

_MORE: tuple[tuple[str, str, str, str], ...] = (
    ("openai", "official", "responses", "gpt-5-mini"),
    ("openai", "official", "responses stream", "gpt-5-mini"),
    ("openai", "official", "embeddings", _EMBEDDINGS["openai"]),
    ("openai", "vercel", "responses", "gpt-5-mini"),
    ("openai", "vercel", "embeddings", _EMBEDDINGS["openai"]),
    ("openai", "langchain", "embeddings", _EMBEDDINGS["openai"]),
    ("openai", "llamaindex", "embeddings", _EMBEDDINGS["openai"]),
)
"""Operations beyond chat: provider, client, operation, model."""

_OLDEST = ("openai", "anthropic", "mistral", "google", "cohere")
"""Whose own SDK is run at its oldest version too."""

_REFUSED = {
    ("official", ""): "APIStatusError",
    ("official", "anthropic"): "PaymentRequiredError",
    ("oldest", ""): "APIStatusError",
    ("oldest", "mistral"): "SDKError",
    ("javascript", ""): "APIError",
    ("javascript", "anthropic"): "PaymentRequiredError",
    ("vercel", ""): "APICallError",
    ("langchain", ""): "APIStatusError",
    ("langchain", "anthropic"): "PaymentRequiredError",
    ("langchain", "mistral"): "HTTPStatusError",
    ("llamaindex", ""): "APIStatusError",
    ("llamaindex", "mistral"): "SDKError",
}
"""What a 402 raises, by client and provider; the row without a provider is for all others."""


def cells() -> Iterator[Cell]:
    """Every cell, in the README's order."""
    rows = [
        (provider, client, operation, model)
        for provider, model in _CHAT.items()
        for client in CLIENTS
        for operation in _OPERATIONS[client]
        if client != "oldest" or provider in _OLDEST
    ]
    for provider, client, operation, model in (*rows, *_MORE):
        refused = _REFUSED.get((client, provider)) or _REFUSED[client, ""]
        yield Cell(provider=provider, client=client, operation=operation, model=model, refused=refused)
