"""Google's rows. The SDKs say /v1, older ones and other clients /v1beta, a few /v1alpha: it is kept upstream.

Not here, and so refused by name: the constrained endpoint (it takes ephemeral tokens, which lead round the meter).
Source: providers.md §2 and P3.
"""

from __future__ import annotations

from providers.google.embeddings import GEMINI_COUNT_TOKENS, GEMINI_EMBED, GEMINI_EMBED_BATCH
from providers.google.generate import GEMINI, GEMINI_STREAM
from providers.google.live import GEMINI_LIVE
from providers.stored.free import FREE_READ
from providers.stored.row import row, socket

_VERSIONS = ("v1", "v1beta", "v1alpha")
_MODELS = (
    ("generateContent", "models.generate_content", GEMINI, True),
    ("streamGenerateContent", "models.stream_generate_content", GEMINI_STREAM, True),
    ("embedContent", "models.embed_content", GEMINI_EMBED, True),
    ("batchEmbedContents", "models.batch_embed_contents", GEMINI_EMBED_BATCH, True),
    ("countTokens", "models.count_tokens", GEMINI_COUNT_TOKENS, False),
)
_LIVE = "/ws/google.ai.generativelanguage.{}.GenerativeService.BidiGenerateContent"

ROWS = (
    *(
        row("POST", f"/{version}/models/{{model}}:{verb}", "google", name, shape, billable=billable)
        for version in _VERSIONS
        for verb, name, shape, billable in _MODELS
    ),
    *(
        row("GET", f"/{version}/models{of}", "google", "models", FREE_READ, billable=False)
        for version in _VERSIONS
        for of in ("", "/{id}")
    ),
    *(
        row("GET", f"/v1beta/openai/models{of}", "google", "models", FREE_READ, billable=False, dialect="openai")
        for of in ("", "/{id}")
    ),
    *(socket(_LIVE.format(version), "google", "live", GEMINI_LIVE) for version in _VERSIONS),
)
