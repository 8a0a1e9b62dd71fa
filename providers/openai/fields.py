"""Every field of OpenAI's requests, and of the vendors' who speak as it does; see `contract.fields`.

Source: the types of openai 3.57, mistralai 3.7, cerebras 1.91.
"""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.ground.names import words
from providers.openai import realtime_parts
from providers.reading.frames import Messages

_OPENAI_PASSED = (
    "frequency_penalty logit_bias logprobs top_logprobs metadata parallel_tool_calls presence_penalty "
    "prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort safety_identifier seed stop store "
    "stream_options temperature tool_choice function_call top_p user verbosity audio modalities"
)
# Of other vendors that speak OpenAI's chat.
_VENDORS_PASSED = (
    "min_tokens prompt_logprobs prompt_mode random_seed repetition_penalty safe_prompt top_k "
    "top_prompt_logprobs clear_thinking disable_reasoning reasoning_format thinking reasoning_split "
    "mask_sensitive_info translation_options search_options min_p"
)

CHAT = Fields(
    bounded=words(
        "model messages max_completion_tokens max_tokens n stream service_tier functions response_format documents"
    ),
    metered=words(
        "tools web_search_options search_parameters prediction enable_thinking thinking_budget moderation guardrails "
        "vl_high_resolution_images"
    ),
    refused=words("plugins enable_search deferred"),
    passed=words(_OPENAI_PASSED) | words(_VENDORS_PASSED),
)

COMPLETIONS = Fields(
    bounded=words("model prompt suffix max_tokens max_completion_tokens n best_of stream service_tier"),
    metered=words("moderation guardrails"),
    passed=words(_OPENAI_PASSED) | words(_VENDORS_PASSED) | {"echo"},
)

RESPONSES = Fields(
    bounded=words("model input instructions max_output_tokens stream service_tier text max_tool_calls"),
    metered=words(
        "tools previous_response_id conversation prompt context_management search_parameters reasoning moderation"
    ),
    refused=words("background background_options"),
    passed=words(
        "access_programs image include metadata parallel_tool_calls prompt_cache_key "
        "prompt_cache_options prompt_cache_retention safety_identifier store stream_options "
        "temperature tool_choice top_logprobs top_p truncation user"
    ),
)

EMBEDDINGS = Fields(
    bounded=words("model input"),
    passed=words("stream dimensions encoding_format user output_dimension output_dtype metadata text_type instruct"),
)

IMAGES = Fields(
    bounded=words(
        "model prompt n size quality images image mask markup input_fidelity frame_count output_format partial_images "
        "stream"
    ),
    metered=words("complexity"),
    refused=words("svg"),
    passed=words(
        "background frame_duration_ms moderation output_compression response_format safety_identifier style user"
    ),
)

# Transcriptions and translations, Mistral's fields too.
TRANSCRIPTION = Fields(
    bounded=words(
        "model file prompt stream keywords known_speaker_names known_speaker_references context_bias speaker_references"
    ),
    metered=words("file_id file_url"),
    passed=words(
        "chunking_strategy diarize include language languages response_format temperature timestamp_granularities"
    ),
)

SPEECH = Fields(
    bounded=words("model input instructions"),
    passed=words("voice response_format speed stream_format"),
)

REALTIME_QUERY = Fields(bounded=words("model"), refused=words("call_id"), passed=words("intent"))

# What a realtime socket is told, in its first and in its present words.
REALTIME_SESSION = Fields(
    bounded=words(
        "type model instructions max_output_tokens max_response_output_tokens tools audio input_audio_format "
        "input_audio_transcription turn_detection"
    ),
    metered=words("prompt"),
    passed=words(
        "include input_audio_noise_reduction modalities output_modalities output_audio_format parallel_tool_calls "
        "reasoning speed temperature tool_choice tracing truncation voice"
    ),
)

REALTIME_RESPONSE = Fields(
    bounded=words("input instructions max_output_tokens max_response_output_tokens tools audio"),
    metered=words("prompt"),
    passed=words(
        "conversation metadata modalities output_modalities output_audio_format parallel_tool_calls reasoning "
        "temperature tool_choice voice"
    ),
)

REALTIME = Fields(
    bounded=words("type session response item audio"),
    passed=words("event_id previous_item_id item_id content_index audio_end_ms response_id"),
)

REALTIME_MESSAGES = Messages(
    REALTIME,
    kinds=words(
        "session.update transcription_session.update conversation.item.create conversation.item.delete "
        "conversation.item.retrieve conversation.item.truncate input_audio_buffer.append input_audio_buffer.clear "
        "input_audio_buffer.commit output_audio_buffer.clear response.create response.cancel"
    ),
    inside={
        "session": Messages(REALTIME_SESSION, inside=realtime_parts.SESSION),
        "response": Messages(REALTIME_RESPONSE, inside=realtime_parts.RESPONSE),
        "item": realtime_parts.ITEM,
    },
)
