"""Where vendors with an API of their own take OpenAI's operations too: a layer over their models, one row each.

A layer's answers, and our errors there, are in OpenAI's shape; its usage says less than the vendor's own. What it is
told there that belongs to the vendor's own API is refused: nothing there tells what that costs. What each of them
ignores is in docs/providers.md. Knows nothing of requests or answers.
"""

from __future__ import annotations

from typing import Final

import msgspec

from providers.ground.names import words
from providers.ground.quirks import Quirks


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer.

    Attributes:
        path: Of the base URL that OpenAI's SDK is given for it.
        speaks: Names of OpenAI's operations that it offers (`providers.compatible.offers`).
        quirks: What it does otherwise than OpenAI.
        bearer: Our credential goes as a bearer token there, whatever the vendor's own header is.
    """

    path: str
    speaks: tuple[str, ...] = ("chat.completions",)
    quirks: Quirks
    bearer: bool = False


_ELSEWHERE: Final = "It is no field of this operation; /v1/messages has it, where what it costs is told."
_KEPT: Final = "What is kept there is shared with every other key."

# Source: platform.claude.com/docs/en/api/openai-sdk. There is no prompt caching, so all input has the plain price;
# thoughts are billed as output and not given back; `n` is 1.
ANTHROPIC: Final = Layer(
    path="/v1",
    quirks=Quirks(
        measure="anthropic",
        limit="max_tokens",
        hides=("thinking",),
        tiers=(),
        refuses=dict.fromkeys(
            words(
                "speed inference_geo mcp_servers container context_management compaction fallbacks "
                "fallback_credit_token billing_policy thread workspace_id user_profile_id"
            ),
            _ELSEWHERE,
        ),
    ),
)

# Source: ai.google.dev/gemini-api/docs/openai. The counts: discuss.ai.google.dev/t/127400, where every chunk of a
# stream has them, and thoughts stand in `total_tokens` alone, within `max_tokens`.
_GEMINI_EXTRA: Final = (
    "thinking_config{thinking_budget thinking_level include_thoughts} thought_tag_marker safety_settings{*}"
)
GOOGLE: Final = Layer(
    path="/v1beta/openai",
    bearer=True,
    quirks=Quirks(
        measure="google",
        limit="max_tokens",
        beside=True,
        running=True,
        thoughts=True,
        tiers=("priority",),  # a cheaper one is believed when the answer says so
        takes={"extra_body": f"google{{{_GEMINI_EXTRA}}}", "google": _GEMINI_EXTRA},
        keeps="googleapis.com",
        refuses=dict.fromkeys(("cached_content", "cachedContent"), _KEPT),
        undivided=r".*(-image|nano-banana|-live|native-audio)",
    ),
)

# Source: docs.cohere.com/docs/compatibility-api, and the page's own history (cohere-developer-experience, #606:
# `stream_options` and `max_completion_tokens` are taken).
COHERE: Final = Layer(
    path="/compatibility/v1",
    quirks=Quirks(
        measure="cohere",
        limit="max_tokens",
        hides=("reasoning_effort", "thinking"),
        tiers=(),
        refuses=dict.fromkeys(("connectors", "conversation_id"), _KEPT),
    ),
)
