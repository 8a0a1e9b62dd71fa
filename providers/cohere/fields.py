"""Every field of Cohere's requests, of both versions; see `contract.fields`. Source: cohere 7.3's types."""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.ground.names import words

CHAT = Fields(
    bounded=words(
        "model messages message preamble chat_history tools tool_results documents max_tokens stream "
        "response_format thinking priority search_queries_only"
    ),
    refused=words("connectors conversation_id"),
    passed=words(
        "citation_options citation_quality frequency_penalty presence_penalty k p logprobs "
        "max_input_tokens prompt_truncation raw_prompting return_prompt return_prompting safety_mode "
        "seed stop_sequences strict_tools temperature tool_choice force_single_step"
    ),
)

EMBED = Fields(
    bounded=words("model texts images inputs"),
    passed=words("embedding_types input_type max_tokens output_dimension priority truncate"),
)

RERANK = Fields(
    bounded=words("model query documents max_tokens_per_doc max_chunks_per_doc"),
    passed=words("priority rank_fields relevant_spans return_documents top_n"),
)
