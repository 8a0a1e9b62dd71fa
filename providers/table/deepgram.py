"""Deepgram's operations."""

from __future__ import annotations

from providers.deepgram_listen import DEEPGRAM_LISTEN
from providers.deepgram_text import DEEPGRAM_READ, DEEPGRAM_SPEAK
from providers.stored.free import FREE_READ
from providers.stored.row import row

_SOUND_2_GB = 2 * 1024**3

ROWS = (
    row("POST", "/v1/listen", "deepgram", "listen", DEEPGRAM_LISTEN, uploads=_SOUND_2_GB),
    row("POST", "/v1/speak", "deepgram", "speak", DEEPGRAM_SPEAK),
    row("POST", "/v1/read", "deepgram", "read", DEEPGRAM_READ),
    row("GET", "/v1/models", "deepgram", "models", FREE_READ, billable=False),
    row("GET", "/v1/models/{id}", "deepgram", "models", FREE_READ, billable=False),
)
