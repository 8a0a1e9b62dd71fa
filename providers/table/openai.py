"""OpenAI's own operations, beyond those that other vendors speak too."""

from __future__ import annotations

from providers.free import FREE_CHECK
from providers.openai_images import OPENAI_IMAGES, OPENAI_VARIATIONS
from providers.openai_speech import OPENAI_SPEECH
from providers.table.row import row
from providers.transcription import TRANSCRIPTION

_FORM_26_MB = 27 * 1024**2  # files of 25 MB, in a form

ROWS = (
    row("POST", "/v1/audio/transcriptions", "openai", "audio.transcriptions", TRANSCRIPTION, uploads=_FORM_26_MB),
    row("POST", "/v1/audio/translations", "openai", "audio.translations", TRANSCRIPTION, uploads=_FORM_26_MB),
    row("POST", "/v1/audio/speech", "openai", "audio.speech", OPENAI_SPEECH),
    row("POST", "/v1/images/generations", "openai", "images.generations", OPENAI_IMAGES),
    row("POST", "/v1/images/edits", "openai", "images.edits", OPENAI_IMAGES),
    row("POST", "/v1/images/variations", "openai", "images.variations", OPENAI_VARIATIONS),
    row("POST", "/v1/moderations", "openai", "moderations", FREE_CHECK, billable=False),
)
