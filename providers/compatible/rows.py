"""What a compatible vendor offers beside what it `speaks`: a few rows each."""

from __future__ import annotations

from providers.compatible.images import IMAGES
from providers.ground.vendors import VENDORS
from providers.openai.chat import OPENAI_CHAT, OPENAI_COMPLETIONS
from providers.stored.free import FREE_POST, FREE_READ
from providers.stored.row import Row, row

_DEEPSEEK_CHAT = OPENAI_CHAT.of(VENDORS["deepseek"].quirks)
_DEEPSEEK_FIM = OPENAI_COMPLETIONS.of(VENDORS["deepseek"].quirks)

ROWS: tuple[Row, ...] = (
    row("POST", "/v1/images/generations", "xai", "images.generations", IMAGES),
    row("POST", "/v1/tokenize-text", "xai", "tokenize_text", FREE_POST, billable=False),
    row("GET", "/v1/language-models", "xai", "models", FREE_READ, billable=False),
    row("GET", "/v1/language-models/{id}", "xai", "models", FREE_READ, billable=False),
    row("GET", "/v1/image-generation-models", "xai", "models", FREE_READ, billable=False),
    row("GET", "/v1/image-generation-models/{id}", "xai", "models", FREE_READ, billable=False),
    row("POST", "/v1/tokenizers/estimate-token-count", "kimi", "tokenizers.estimate", FREE_POST, billable=False),
    # Its beta base URL has chat with prefixes, and the completions that fill in the middle.
    row("POST", "/beta/chat/completions", "deepseek", "chat.completions", _DEEPSEEK_CHAT),
    row("POST", "/beta/completions", "deepseek", "completions", _DEEPSEEK_FIM),
    row("POST", "/v1/completions", "deepseek", "completions", _DEEPSEEK_FIM, upstream="/beta/completions"),
    # Cerebras' SDKs open a connection ahead of their first call.
    row("GET", "/v1/tcp_warming", "cerebras", "tcp_warming", FREE_READ, billable=False, here=True),
)
