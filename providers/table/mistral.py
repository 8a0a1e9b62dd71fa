"""Mistral's operations beside those that it shares with OpenAI.

Agents, conversations, libraries, fine-tuned classifiers and files are refused: what they cost is not in the request,
or they keep state that every key of the account could read.
"""

from __future__ import annotations

from providers.mistral_ocr import MISTRAL_OCR
from providers.openai_chat import OPENAI_COMPLETIONS
from providers.openai_embeddings import OPENAI_EMBEDDINGS
from providers.table.compatible import spoken
from providers.table.row import Row, row
from providers.vendors import VENDORS

# What goes in the middle is answered as a chat is; moderation reads its input as an embedding does, and answers no
# usage.
_FIM = spoken(VENDORS["mistral"], OPENAI_COMPLETIONS.of)

ROWS: tuple[Row, ...] = (
    row("POST", "/v1/fim/completions", "mistral", "fim.completions", _FIM),
    row("POST", "/v1/ocr", "mistral", "ocr", MISTRAL_OCR),
    row("POST", "/v1/moderations", "mistral", "moderations", OPENAI_EMBEDDINGS),
    row("POST", "/v1/chat/moderations", "mistral", "chat.moderations", OPENAI_EMBEDDINGS),
)
