"""Every field of MiniMax's speech; see `contract.fields`. Source: platform.minimax.io, "Text to Speech (T2A) HTTP"."""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.ground.names import words

SPEECH = Fields(
    bounded=words("model text stream"),
    passed=words(
        "stream_options voice_setting audio_setting pronunciation_dict timbre_weights timber_weights language_boost "
        "voice_modify subtitle_enable subtitle_type output_format aigc_watermark continuous_sound"
    ),
)
