"""What may stand inside of ElevenLabs' requests; see `reading.inside`. Source: elevenlabs' own types."""

from __future__ import annotations

from typing import Final

from providers.reading.inside import Inside, Table

_VOICE: Final = "voice_settings{stability similarity_boost style use_speaker_boost speed}"
_LOCATORS: Final = "pronunciation_dictionary_locators{pronunciation_dictionary_id version_id}"

STREAM: dict[str, Table] = Inside(
    f"{_VOICE} {_LOCATORS} generation_config{{chunk_length_schedule}} generator_config{{chunk_length_schedule}}"
).tables
"""Inside of the messages of a socket that text is streamed into."""
