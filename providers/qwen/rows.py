"""DashScope's own API, which Alibaba's SDK speaks: text, and vectors of texts.

Not here, and so refused by name: ranking (no price), pictures, video, sound, and every task that is answered later.
"""

from __future__ import annotations

from providers.qwen.generation import DASHSCOPE_EMBEDDING, DASHSCOPE_GENERATION
from providers.stored.row import Row, row

_AIGC = "/api/v1/services/aigc"
_EMBED = "/api/v1/services/embeddings/text-embedding/text-embedding"

ROWS: tuple[Row, ...] = (
    *(
        row("POST", f"{_AIGC}/{kind}/generation", "qwen", kind, DASHSCOPE_GENERATION, dialect="dashscope")
        for kind in ("text-generation", "multimodal-generation")
    ),
    row("POST", _EMBED, "qwen", "text-embedding", DASHSCOPE_EMBEDDING, dialect="dashscope"),
)
