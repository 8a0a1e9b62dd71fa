"""Every field of DashScope's own requests; see `contract.fields`. Source: dashscope 2.0's SDK, its help pages [K].

All of them stand inside of `input` and `parameters`: what is there has its tables in `parts`.
"""

from __future__ import annotations

from providers.contract.fields import Fields
from providers.ground.names import words

REQUEST = Fields(bounded=words("model input parameters"), passed=frozenset())

PARAMETERS = Fields(
    bounded=words("max_tokens n tools response_format stream"),
    metered=words("enable_search search_options enable_thinking thinking_budget plugins"),
    passed=words(
        "result_format incremental_output temperature top_p top_k seed stop repetition_penalty presence_penalty "
        "frequency_penalty tool_choice parallel_tool_calls logprobs top_logprobs preserve_thinking"
    ),
)
"""Of a generation."""
