"""Deepgram's operations."""

from __future__ import annotations

from providers.deepgram_listen import DEEPGRAM_LISTEN
from providers.table.row import row

_SOUND_2_GB = 2 * 1024**3

ROWS = (row("POST", "/v1/listen", "deepgram", "listen", DEEPGRAM_LISTEN, uploads=_SOUND_2_GB),)
