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

_EFFECTS: Final = "audio_effects{filter_preset_id distance environment_id background_noise_id send_level pan}"
_RANGE: Final = "range{start_ms end_ms}"

SPEECH = Inside(
    f"voice_settings{{stability similarity_boost style use_speaker_boost speed clone_strength}} {_LOCATORS} {_EFFECTS} "
    "inputs{text voice_id} settings{stability similarity clone_strength} "
    "composition_plan{positive_global_styles negative_global_styles sections{section_name positive_local_styles "
    f"negative_local_styles duration_ms lines source_from{{song_id {_RANGE} negative_ranges{{start_ms end_ms}}}}}} "
    f"chunks{{text duration_ms positive_styles negative_styles context_adherence conditioning_ref{{song_id {_RANGE}}} "
    f"condition_strength song_id {_RANGE}}}}}",
    every=True,
)
"""Speech, a dialogue, sounds, music."""
