"""The dialects of errors, by the names that vendors' rows and operations say (`Vendor.dialect`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from providers.anthropic.dialect import DIALECT as ANTHROPIC
from providers.cohere.dialect import DIALECT as COHERE
from providers.contract.dialect import Dialect
from providers.deepgram.dialect import DIALECT as DEEPGRAM
from providers.elevenlabs.dialect import DIALECT as ELEVENLABS
from providers.google.dialect import DIALECT as GOOGLE
from providers.minimax.dialect import DIALECT as MINIMAX
from providers.mistral.dialect import DIALECT as MISTRAL
from providers.openai.dialect import DIALECT as OPENAI
from providers.qwen.dialect import DIALECT as DASHSCOPE

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "openai": OPENAI,
        "anthropic": ANTHROPIC,
        "google": GOOGLE,
        "elevenlabs": ELEVENLABS,
        "deepgram": DEEPGRAM,
        "mistral": MISTRAL,
        "cohere": COHERE,
        "dashscope": DASHSCOPE,
        "minimax": MINIMAX,
    }
)
