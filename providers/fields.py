"""Every field of a request, and what becomes of it: the table by which a cap that must hold knows what it can hold.

A field is `bounded` (read, and held for), `metered` (it moves the price, is held for as far as the request tells, and
the answer or its meter says what it came to; where nothing bounds it, a cap that must hold refuses it), `refused` (by
name, for everybody or for whoever has a cap) or `plain` (it moves no price beyond its own bytes, which count as input).
What stands in no row may do anything: under `overdraft: "never"` it is refused by name, otherwise it passes, and what
it costs is metered with the rest. A test compares the rows with the vendors' own SDK types, so that a new release of
one shows what is new. Names are the top level's, and Gemini's `generationConfig`'s, in camel case.
Source: the types of openai 3.54, anthropic 2.12, google-genai 3.6, mistralai 3.7, cohere 7.3, cerebras 1.91.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from providers.ground.names import words

Treatment = Literal["bounded", "metered", "refused", "plain"]

_OPENAI_PLAIN = (
    "frequency_penalty logit_bias logprobs top_logprobs metadata moderation parallel_tool_calls presence_penalty "
    "prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort safety_identifier seed stop store "
    "stream_options temperature tool_choice function_call top_p user verbosity audio modalities"
)
# Of other vendors that speak OpenAI's chat.
_VENDORS_PLAIN = (
    "guardrails min_tokens prompt_logprobs prompt_mode random_seed repetition_penalty safe_prompt top_k "
    "top_prompt_logprobs clear_thinking disable_reasoning reasoning_format thinking reasoning_split "
    "mask_sensitive_info vl_high_resolution_images translation_options search_options min_p"
)

TABLE: Final[Mapping[str, Mapping[Treatment, frozenset[str]]]] = {
    "openai_chat": {
        "bounded": words("model messages max_completion_tokens max_tokens n stream service_tier functions "
                         "response_format documents"),
        "metered": words("tools web_search_options search_parameters prediction enable_thinking thinking_budget"),
        "refused": words("plugins enable_search deferred"),
        "plain": words(_OPENAI_PLAIN) | words(_VENDORS_PLAIN),
    },
    "openai_completions": {
        "bounded": words("model prompt suffix max_tokens max_completion_tokens n best_of stream service_tier"),
        "plain": words(_OPENAI_PLAIN) | words(_VENDORS_PLAIN) | {"echo"},
    },
    "openai_responses": {
        "bounded": words("model input instructions max_output_tokens stream service_tier text max_tool_calls"),
        "metered": words("tools previous_response_id conversation prompt context_management search_parameters"),
        "refused": words("background background_options"),
        "plain": words("access_programs image include metadata moderation parallel_tool_calls prompt_cache_key "
                       "prompt_cache_options prompt_cache_retention reasoning safety_identifier store stream_options "
                       "temperature tool_choice top_logprobs top_p truncation user"),
    },
    "openai_embeddings": {
        "bounded": words("model input"),
        "plain": words("stream dimensions encoding_format user output_dimension output_dtype metadata text_type "
                       "instruct"),
    },
    "anthropic_messages": {
        "bounded": words("model messages system max_tokens stream service_tier speed inference_geo cache_control "
                         "output_config thinking"),
        "metered": words("tools mcp_servers container context_management compaction fallbacks fallback_credit_token "
                         "billing_policy thread"),
        "refused": words("workspace_id user_profile_id"),
        "plain": words("diagnostics metadata stop_sequences temperature tool_choice top_k top_p output_format betas"),
    },
    "gemini": {
        "bounded": words("model contents systemInstruction serviceTier generationConfig maxOutputTokens "
                         "candidateCount responseSchema responseJsonSchema responseFormat"),
        "metered": words("tools continuationToken"),
        "refused": words("cachedContent"),
        "plain": words("toolConfig safetySettings store labels audioTimestamp audioTranscriptionConfig "
                       "automaticContinuation enableEnhancedCivicAnswers frequencyPenalty generationOutputConfig "
                       "imageConfig logprobs mediaResolution modelArmorConfig presencePenalty responseLogprobs "
                       "responseMimeType responseModalities seed speechConfig stopSequences temperature thinkingConfig "
                       "topK topP"),
    },
    "cohere_chat": {
        "bounded": words("model messages message preamble chat_history tools tool_results documents max_tokens stream "
                         "response_format thinking priority search_queries_only"),
        "refused": words("connectors conversation_id"),
        "plain": words("citation_options citation_quality frequency_penalty presence_penalty k p logprobs "
                       "max_input_tokens prompt_truncation raw_prompting return_prompt return_prompting safety_mode "
                       "seed stop_sequences strict_tools temperature tool_choice force_single_step"),
    },
}  # fmt: skip
"""Rows by shape."""

_LISTED = {shape: frozenset[str]().union(*rows.values()) for shape, rows in TABLE.items()}


def unlisted(shape: str, names: Iterable[str]) -> str:
    """The first of a request's fields that stands in no row of its shape; "" where all do."""
    listed = _LISTED[shape]
    if listed.issuperset(names):
        return ""
    return next((name for name in names if name not in listed), "")
