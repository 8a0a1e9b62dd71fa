"""The conformance matrix: every provider, client and operation that is run, and what a 402 raises there.

A cell is real: `test_cells` runs it straight at the provider and through Farthing, and once over the cap.
Source of what clients raise: providers.md §4.1 and §4.2, and the runs themselves.
"""

from __future__ import annotations

import sys
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
    "alibaba": "Alibaba's own Python SDK",
}
"""Every client, as the manual names it."""

_CHAT = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-haiku-4-5",
    "google": "gemini-3.5-flash",
    "xai": "grok-4",
    "qwen": "qwen-plus",
    "kimi": "kimi-k2.6",
    "minimax": "MiniMax-M2",
    "deepseek": "deepseek-chat",
    "mistral": "mistral-small-latest",
    "cerebras": "gpt-oss-120b",
    "cohere": "command-a-03-2025",
}
_EMBEDDINGS = {"openai": "text-embedding-3-small", "mistral": "mistral-embed"}
_OPERATIONS = {
    "official": ("chat", "stream", "tools"),
    "oldest": ("chat", "stream"),
    "javascript": ("chat", "stream", "tools"),
    "vercel": ("chat", "stream", "tools"),
    "langchain": ("chat", "stream", "tools"),
    "llamaindex": ("chat", "stream"),
    "alibaba": ("chat", "prompt", "stream", "stream in pieces", "tools"),
}
"""What every provider of a chat API is asked by each client."""

_SOUNDS_AND_PICTURES = {
    "openai": {
        "speech": "tts-1",
        "transcription": "whisper-1",
        "transcription stream": "gpt-4o-transcribe",
        "translation": "whisper-1",
        "images": "gpt-image-1.5",
        "images stream": "gpt-image-2",
        "images edit": "gpt-image-1.5",
    },
    "elevenlabs": {
        "speech": "eleven_flash_v2_5",
        "speech stream": "eleven_multilingual_v2",
        "speech timed": "eleven_multilingual_v2",
        "dialogue": "eleven_v3",
        "sounds": "eleven_text_to_sound_v2",
        "music": "music_v1",
        "voice changer": "eleven_multilingual_sts_v2",
        "isolation": "audio_isolation",
        "transcription": "scribe_v2",
    },
    "deepgram": {"speech": "aura-2-thalia-en", "transcription": "nova-3", "reading": "read"},
    "mistral": {
        "speech": "voxtral-mini-tts-2603",
        "speech stream": "voxtral-mini-tts-2603",
        "transcription": "voxtral-mini-2602",
        "transcription stream": "voxtral-mini-2602",
    },
}
"""What is not chat, by provider, with the model that it is asked of (or priced as, where it has none)."""

_COMPATIBLE = ("qwen", "kimi", "minimax", "deepseek")
"""Who speaks Anthropic's dialect too, through Anthropic's SDK."""

_OTHERS = ("anthropic", "google", "cohere", "mistral", "cerebras")
"""Who has an SDK of their own, and is reached by OpenAI's, too: so OpenAI's reaches every provider of chat."""

_MORE: tuple[tuple[str, str, str, str], ...] = (
    ("openai", "official", "responses", "gpt-5-mini"),
    ("openai", "official", "responses stream", "gpt-5-mini"),
    ("openai", "official", "embeddings", _EMBEDDINGS["openai"]),
    ("openai", "vercel", "responses", "gpt-5-mini"),
    ("openai", "vercel", "embeddings", _EMBEDDINGS["openai"]),
    ("openai", "langchain", "embeddings", _EMBEDDINGS["openai"]),
    ("openai", "llamaindex", "embeddings", _EMBEDDINGS["openai"]),
    ("xai", "official", "responses", "grok-4"),
    ("xai", "official", "responses stream", "grok-4"),
    ("xai", "official", "images", "grok-imagine-image"),
    ("qwen", "official", "responses", "qwen-plus"),
    ("qwen", "alibaba", "multimodal", "qwen-vl-plus"),
    ("qwen", "alibaba", "embeddings", "text-embedding-v4"),
    ("minimax", "official", "responses", "MiniMax-M2"),
    ("deepseek", "official", "completions", "deepseek-chat"),
    ("cerebras", "official", "completions", "gpt-oss-120b"),
    ("mistral", "official", "ocr", "mistral-ocr-latest"),
    *(
        ("mistral", client, operation, model)
        for client in ("official", "javascript")
        for operation, model in (("embeddings", _EMBEDDINGS["mistral"]), ("fim", "codestral-latest"))
    ),
    *(
        (provider, client, operation, _CHAT[provider])
        for provider in _COMPATIBLE
        for client in ("official", "javascript")
        for operation in ("messages", "messages stream")
    ),
    *(
        (provider, client, operation, _CHAT[provider])
        for provider in _OTHERS
        for client in ("official", "javascript")
        for operation in ("openai chat", "openai stream", "openai tools")
    ),
    *(
        (provider, client, "openai stream counted", _CHAT[provider])
        for provider in ("anthropic", "google", "cohere")
        for client in ("official", "javascript")
    ),
    ("google", "official", "embeddings", "gemini-embedding-001"),
    ("google", "javascript", "embeddings", "gemini-embedding-001"),
    *(("cohere", client, "embeddings", "embed-v4.0") for client in ("official", "oldest", "javascript")),
    *(("cohere", client, "rerank", "rerank-v3.5") for client in ("official", "oldest", "javascript")),
    *(
        (provider, client, operation, model)
        for provider, operations in _SOUNDS_AND_PICTURES.items()
        for operation, model in operations.items()
        for client in ("official", "javascript")
    ),
    *(
        ("openai", "vercel", operation, _SOUNDS_AND_PICTURES["openai"][operation])
        for operation in ("speech", "transcription", "images")
    ),
    *(
        (provider, "oldest", operation, _SOUNDS_AND_PICTURES[provider][operation])
        for provider in ("openai", "elevenlabs", "deepgram")
        for operation in ("speech", "transcription")
        if (provider, operation) != ("elevenlabs", "transcription")  # it had none yet
    ),
)
"""Operations beyond chat: provider, client, operation, model."""

_OLDEST = ("openai", "anthropic", "mistral", "google", "cohere")
"""Whose own SDK is run at its oldest version too."""

_REFUSED = {
    ("official", ""): "APIStatusError",
    ("official", "google"): "ClientError",
    ("official", "cohere"): "ApiError",
    ("official", "anthropic"): "PaymentRequiredError",
    ("official", "mistral"): "SDKError",
    ("official", "elevenlabs"): "ApiError",
    ("official", "deepgram"): "ApiError",
    ("oldest", ""): "APIStatusError",
    ("oldest", "google"): "ClientError",
    ("oldest", "cohere"): "ApiError",
    ("oldest", "mistral"): "SDKError",
    ("oldest", "elevenlabs"): "ApiError",
    ("oldest", "deepgram"): "DeepgramApiError",
    ("javascript", ""): "APIError",
    ("javascript", "google"): "ApiError",
    ("javascript", "cohere"): "CohereError",
    ("javascript", "anthropic"): "PaymentRequiredError",
    ("javascript", "mistral"): "SDKError",
    ("javascript", "elevenlabs"): "ElevenLabsError",
    ("javascript", "deepgram"): "DeepgramError",
    ("vercel", ""): "APICallError",
    ("langchain", ""): "APIStatusError",
    ("langchain", "google"): "ChatGoogleGenerativeAIError",
    ("langchain", "cohere"): "ApiError",
    ("langchain", "anthropic"): "PaymentRequiredError",
    ("langchain", "mistral"): "HTTPStatusError",
    ("llamaindex", ""): "APIStatusError",
    ("llamaindex", "google"): "ClientError",
    ("llamaindex", "cohere"): "ApiError",
    ("llamaindex", "mistral"): "SDKError",
    ("alibaba", "qwen"): "Arrearage",  # the code of an answer: it never raises
}
"""What a 402 raises, by client and provider; the row without a provider is for all others."""


ABSENT: dict[tuple[str, str], str] = (
    {("cerebras", "langchain"): "langchain-cerebras has no release for Python 3.13"}
    if sys.version_info >= (3, 13)
    else {}
)
"""Providers of a client that cannot be had for this Python, and why: their cells are left out here."""


def cells() -> Iterator[Cell]:
    """Every cell, in the manual's order."""
    rows = [
        (provider, client, operation, model)
        for provider, model in _CHAT.items()
        for client in CLIENTS
        for operation in _OPERATIONS[client]
        if (client != "oldest" or provider in _OLDEST) and (client != "alibaba" or provider == "qwen")
    ]
    for provider, client, operation, model in (*rows, *_MORE):
        words = operation.split(" ")
        speaks = {"messages": "anthropic", "openai": "openai"}.get(words[0], provider)
        refused = _REFUSED.get((client, speaks)) or _REFUSED[client, ""]
        yield Cell(provider=provider, client=client, operation=operation, model=model, refused=refused)
