"""The one record of what a call consumed, in every unit that any provider bills.

Promises: integers only; a total includes its parts, so nothing is counted twice; a record and a price version
suffice to recompute the cost. Knows nothing of prices, wire shapes or money.
"""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Consumption of one call, in provider-neutral units. Every field defaults to "none of it".

    `input_tokens` and `output_tokens` are totals over every modality and class; the fields below each are parts
    *inside* that total. Durations are milliseconds of audio or video.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0  # inside input_tokens
    cache_write_tokens: int = 0  # inside input_tokens; every lifetime
    cache_write_1h_tokens: int = 0  # inside cache_write_tokens
    cache_write_12h_tokens: int = 0  # inside cache_write_tokens
    input_audio_tokens: int = 0  # inside input_tokens
    input_image_tokens: int = 0  # inside input_tokens
    cache_read_audio_tokens: int = 0  # inside cache_read_tokens and input_audio_tokens

    output_tokens: int = 0
    reasoning_tokens: int = 0  # inside output_tokens, whatever the provider's own field does
    output_audio_tokens: int = 0  # inside output_tokens
    output_image_tokens: int = 0  # inside output_tokens

    characters: int = 0
    audio_ms: int = 0
    video_ms: int = 0
    images: int = 0
    pages: int = 0
    searches: int = 0  # rerank "search units"
    tools: dict[str, int] = {}  # separately priced tool calls, by tool: {"web_search": 2}

    service_tier: str = ""  # the tier that was served: "", "flex", "priority", "batch", …
    speed: str = ""  # Anthropic: "fast"
    geo: str = ""  # Anthropic: "us"
    millicredits: int = 0  # ElevenLabs' own count, in thousandths; it is the price, at the contract's rate
    provider_cost_picos: int | None = None  # the provider's own statement of the price, where it makes one
    beside: dict[str, Usage] = {}  # of other models in the same call, by model; in none of the counts above

    @property
    def tokens(self) -> int:
        """All input, cached included, plus all output."""
        return self.input_tokens + self.output_tokens


def summed(one: Usage, other: Usage) -> Usage:
    """Both usages together. Terms (`service_tier`, …) are the first's, or the other's where that has none."""
    merged: dict[str, object] = {}
    for name in Usage.__struct_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if isinstance(mine, int) and isinstance(theirs, int):
            merged[name] = mine + theirs
        elif name == "beside":
            merged[name] = {
                model: summed(mine.get(model, Usage()), theirs.get(model, Usage())) for model in mine | theirs
            }
        elif isinstance(mine, dict):
            merged[name] = {tool: mine.get(tool, 0) + theirs.get(tool, 0) for tool in mine | theirs}
        else:
            merged[name] = mine or theirs
    return Usage(**merged)  # type: ignore[arg-type]
