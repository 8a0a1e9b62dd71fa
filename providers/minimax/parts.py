"""What may stand inside of MiniMax's speech; see `reading.inside`. Source: platform.minimax.io, "T2A HTTP"."""

from __future__ import annotations

from providers.reading.inside import Inside

SPEECH = Inside(
    "voice_setting{voice_id speed vol pitch emotion latex_read text_normalization english_normalization} "
    "audio_setting{sample_rate bitrate format channel force_cbr} pronunciation_dict{tone} "
    "timbre_weights{voice_id weight} timber_weights{voice_id weight} "
    "voice_modify{pitch intensity timbre sound_effects} stream_options{exclude_aggregated_audio}",
    every=True,
)
"""A text to be spoken."""
