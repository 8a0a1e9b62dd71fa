"""What DashScope counts, in answers of its own API.

Promises: as `openai.usage`, whose reading it is: the names are those of Responses, but that what was read from a cache
stands where chat has it. Source: providers.md §3, "Qwen native".
"""

from __future__ import annotations

from providers.contract.flags import Flags
from providers.ground.usage import Usage
from providers.openai.usage import responses_usage
from providers.reading.json_text import Object


def generation_usage(usage: Object, flags: Flags) -> Usage | None:
    """Usage of a generation; None where the object counts nothing at all."""
    details: Object = {}
    for name in ("input_tokens_details", "prompt_tokens_details"):
        if isinstance(found := usage.get(name), dict):
            details |= found
    written = details.get("cache_creation_input_tokens")
    if written is not None and "cache_write_tokens" not in details:
        details["cache_write_tokens"] = written
    return responses_usage({**usage, "input_tokens_details": details}, flags)
