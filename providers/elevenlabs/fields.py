"""Every field of ElevenLabs' requests, and every parameter of their queries; see `contract.fields`.

Source: elevenlabs 2.78's types. Sound effects and audio effects do not change what speech costs, they say.
"""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.ground.names import words

QUERY = Fields(bounded=frozenset(), plain=words("enable_logging output_format optimize_streaming_latency"))

_SAID = (
    "language_code pronunciation_dictionary_locators seed previous_text previous_request_ids next_request_ids "
    "use_pvc_as_ivc apply_text_normalization audio_effects"
)

SPEECH = Fields(
    bounded=words("text model_id"),
    plain=words(_SAID) | words("voice_settings next_text apply_language_text_normalization"),
)

DIALOGUE = Fields(
    bounded=words("inputs model_id"),
    plain=words(_SAID) | words("settings future_text"),
)

SOUNDS = Fields(bounded=words("text model_id duration_seconds"), plain=words("loop prompt_influence"))

# What a fine-tuned model costs is in no price list; nor is what is kept to be painted over.
MUSIC = Fields(
    bounded=words("prompt composition_plan music_length_ms model_id"),
    metered=words("finetune_id store_for_inpainting"),
    plain=words(
        "seed force_instrumental respect_sections_durations sign_with_c2pa with_timestamps with_waveform_visual"
    ),
)

TRANSCRIPT = Fields(
    bounded=words(
        "model_id file file_format use_multi_channel keyterms transcript_edit detect_speaker_roles entity_detection "
        "entity_redaction"
    ),
    metered=words("source_url cloud_storage_url"),
    refused=words("webhook"),
    plain=words(
        "language_code secondary_language_codes numbers_format tag_audio_events num_speakers timestamps_granularity "
        "diarize diarization_threshold additional_formats webhook_id webhook_metadata temperature seed "
        "multichannel_output_style no_verbatim use_speaker_library entity_redaction_mode"
    ),
)

VOICE_CHANGER = Fields(
    bounded=words("model_id audio file_format remove_background_noise"),
    refused=words("webhook"),
    plain=words("voice_settings seed"),
)

ISOLATION = Fields(
    bounded=words("audio file_format"),
    refused=words("webhook"),
    plain=words("preview_b64"),
)
