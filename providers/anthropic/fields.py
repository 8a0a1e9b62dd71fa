"""Every field of Anthropic's messages; see `contract.fields`. Source: anthropic 2.12's types."""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.ground.names import words

MESSAGES = Fields(
    bounded=words(
        "model messages system max_tokens stream service_tier speed inference_geo cache_control output_config thinking"
    ),
    metered=words(
        "tools mcp_servers container context_management compaction fallbacks fallback_credit_token "
        "billing_policy thread"
    ),
    refused=words("workspace_id user_profile_id"),
    passed=words("diagnostics metadata stop_sequences temperature tool_choice top_k top_p output_format betas"),
)
