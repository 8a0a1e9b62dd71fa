"""Every field of ElevenLabs' requests, and every parameter of their queries; see `contract.fields`.

Source: elevenlabs 2.78's types. Sound effects and audio effects do not change what speech costs, they say.
"""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.elevenlabs import parts
from providers.ground.names import words
from providers.reading.frames import Messages

QUERY = Fields(bounded=frozenset(), passed=words("enable_logging output_format optimize_streaming_latency"))

# Of sockets, where everything stands in the query.
STREAM_INPUT = Fields(
    bounded=words("model_id"),
    passed=QUERY.rows["passed"]
    | words(
        "language_code enable_ssml_parsing inactivity_timeout sync_alignment auto_mode apply_text_normalization seed"
    ),
)

TRANSCRIBE = Fields(
    bounded=words("model_id audio_format keyterms entity_detection entity_redaction"),
    metered=words("transcript_edit"),
    passed=words(
        "enable_logging commit_strategy vad_silence_threshold_secs vad_threshold min_speech_duration_ms "
        "min_silence_duration_ms language_code secondary_languages include_timestamps include_language_detection "
        "no_verbatim entity_redaction_mode filter_background_audio"
    ),
)

STREAM_MESSAGES = Messages(
    Fields(
        bounded=words("text"),
        passed=words(
            "voice_settings generation_config generator_config pronunciation_dictionary_locators context_id flush "
            "try_trigger_generation close_context close_socket xi_api_key xi-api-key authorization"
        ),
    ),
    inside=parts.STREAM,
)

TRANSCRIBE_MESSAGES = Messages(
    Fields(bounded=words("message_type audio_base_64 sample_rate"), passed=words("commit previous_text")),
    kinds=words("input_audio_chunk"),
    kind="message_type",
)

_SAID = (
    "language_code pronunciation_dictionary_locators seed previous_text previous_request_ids next_request_ids "
    "use_pvc_as_ivc apply_text_normalization audio_effects"
)

SPEECH = Fields(
    bounded=words("text model_id"),
    passed=words(_SAID) | words("voice_settings next_text apply_language_text_normalization"),
)

DIALOGUE = Fields(
    bounded=words("inputs model_id"),
    passed=words(_SAID) | words("settings future_text"),
)

SOUNDS = Fields(bounded=words("text model_id duration_seconds"), passed=words("loop prompt_influence"))

# What a fine-tuned model costs is in no price list; nor is what is kept to be painted over.
MUSIC = Fields(
    bounded=words("prompt composition_plan music_length_ms model_id"),
    metered=words("finetune_id store_for_inpainting"),
    passed=words(
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
    passed=words(
        "language_code secondary_language_codes numbers_format tag_audio_events num_speakers timestamps_granularity "
        "diarize diarization_threshold additional_formats webhook_id webhook_metadata temperature seed "
        "multichannel_output_style no_verbatim use_speaker_library entity_redaction_mode"
    ),
)

VOICE_CHANGER = Fields(
    bounded=words("model_id audio file_format remove_background_noise"),
    refused=words("webhook"),
    passed=words("voice_settings seed"),
)

ISOLATION = Fields(
    bounded=words("audio file_format"),
    refused=words("webhook"),
    passed=words("preview_b64"),
)
