"""OpenAI's own operations, beyond those that other vendors speak too."""

from __future__ import annotations

from providers.table.row import row
from providers.transcription import TRANSCRIPTION

_FORM_26_MB = 27 * 1024**2  # files of 25 MB, in a form

ROWS = (
    row("POST", "/v1/audio/transcriptions", "openai", "audio.transcriptions", TRANSCRIPTION, uploads=_FORM_26_MB),
    row("POST", "/v1/audio/translations", "openai", "audio.translations", TRANSCRIPTION, uploads=_FORM_26_MB),
)
