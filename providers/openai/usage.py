"""What OpenAI's two usage objects mean: chat's (`prompt_tokens`, …) and Responses' (`input_tokens`, …).

Promises: totals that include their parts, whatever the object says; of two readings the larger, flagged. Vendors put
some counts elsewhere: all these places are read, since none contradicts another. What one vendor means otherwise is
read so for that vendor only (`providers.ground.quirks`). Never raises. Source: providers.md §3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from providers.contract.flags import CONTRADICTORY, INCOMPLETE, Flags
from providers.ground.quirks import PICOS_PER_TICK, PLAIN, Quirks
from providers.ground.usage import Usage
from providers.reading.answer import COUNT_MAX, count, part
from providers.reading.json_text import UNREADABLE, Object, given

# Where input read from a cache is counted: the first of these that is there.
_CACHED = (
    ("prompt_tokens_details", "cached_tokens"),
    ("cached_tokens",),  # Kimi
    ("prompt_cache_hit_tokens",),  # DeepSeek
    ("num_cached_tokens",),  # Mistral
    ("prompt_token_details", "cached_tokens"),  # Mistral, at times
)
_WRITTEN = (
    ("prompt_tokens_details", "cache_write_tokens"),
    ("prompt_tokens_details", "cache_creation_input_tokens"),  # Qwen
)

_Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]


class _Input(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    audio_tokens: _Count = 0


class _Output(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    reasoning_tokens: _Count = 0
    audio_tokens: _Count = 0
    accepted_prediction_tokens: _Count = 0  # inside the total, and priced as the rest of it
    rejected_prediction_tokens: _Count = 0


class _Usual(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Chat's usage as OpenAI itself writes it, with no other member."""

    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _Input = msgspec.field(default_factory=_Input)
    completion_tokens_details: _Output = msgspec.field(default_factory=_Output)


_USUAL = msgspec.json.Decoder(_Usual)
_USUAL_BYTES_MAX = 1024


def usual_usage(json_text: msgspec.Raw, tier: str, quirks: Quirks = PLAIN) -> Usage | None:
    """What `chat_usage` says of a chat's usage object, where nothing in it is odd: nearly always. None elsewhere.

    It is read in one go, and nothing has to be weighed: every member is known and a sane count, the sides make the
    total, and no part is larger than its side.
    """
    if quirks.ticks or quirks.server_tools or len(json_text) > _USUAL_BYTES_MAX or not given(json_text):
        return None
    try:
        usage = _USUAL.decode(json_text)
    except UNREADABLE:
        return None
    tokens_in, tokens_out = usage.prompt_tokens, usage.completion_tokens
    of_input, of_output = usage.prompt_tokens_details, usage.completion_tokens_details
    if (
        usage.total_tokens != tokens_in + tokens_out
        or of_input.cached_tokens + of_input.cache_write_tokens > tokens_in
        or of_input.audio_tokens > tokens_in
        or of_output.reasoning_tokens > tokens_out
        or of_output.audio_tokens > tokens_out
    ):
        return None
    return Usage(
        input_tokens=tokens_in,
        cache_read_tokens=of_input.cached_tokens,
        cache_write_tokens=of_input.cache_write_tokens,
        input_audio_tokens=of_input.audio_tokens,
        output_tokens=tokens_out,
        reasoning_tokens=of_output.reasoning_tokens,
        output_audio_tokens=of_output.audio_tokens,
        service_tier=tier,
    )


def chat_usage(
    usage: Object,
    flags: Flags,
    *,
    tier: str = "",
    output: bool = True,
    quirks: Quirks = PLAIN,
    calls: Mapping[str, int] | None = None,
    heard: int = 0,
) -> Usage | None:
    """Usage from a chat, legacy completion or embedding answer; None where the object counts nothing at all.

    Args:
        usage: The object.
        flags: Takes what is odd about it.
        tier: The service tier that was served, as far as the rest of the answer says.
        output: Whether the operation has any: an embedding's total is all input.
        quirks: The vendor's.
        calls: Priced calls that were seen in the answer.
        heard: Tokens of sound that the request brought, where no usage tells of them.
    """
    details = "prompt_tokens_details"
    cached = _first(usage, flags, _CACHED)
    written = _first(usage, flags, _WRITTEN)
    reasoning = count(usage, flags, "completion_tokens_details", "reasoning_tokens")
    prompt = count(usage, flags, "prompt_tokens")
    if prompt is None and "prompt_cache_miss_tokens" in usage:  # DeepSeek counts both parts
        prompt = (cached or 0) + (count(usage, flags, "prompt_cache_miss_tokens") or 0)
    audio_in = count(usage, flags, details, "audio_tokens")
    if audio_in is None and heard:
        audio_in = min(heard, prompt or 0)
    return _usage(
        flags,
        tokens_in=prompt,
        tokens_out=count(usage, flags, "completion_tokens") if output else 0,
        total=count(usage, flags, "total_tokens"),
        cached=cached or 0,
        written=written or 0,
        written_12h=count(usage, flags, details, "cache_write_tokens_details", "ttl_12h_tokens") or 0,
        reasoning=reasoning or 0,
        audio_in=audio_in,
        image_in=count(usage, flags, details, "image_tokens"),
        audio_out=count(usage, flags, "completion_tokens_details", "audio_tokens"),
        audio_ms=_audio_ms(usage, flags),
        tier=tier,
        output=output,
        tools=_tools(usage, flags, quirks, calls),
        cost_picos=_stated_picos(usage, flags, quirks),
        quirks=quirks,
    )


def responses_usage(
    usage: Object, flags: Flags, *, tier: str = "", tools: dict[str, int] | None = None, quirks: Quirks = PLAIN
) -> Usage | None:
    """Usage from a Responses answer; None where the object counts nothing at all."""
    details = "input_tokens_details"
    return _usage(
        flags,
        tokens_in=count(usage, flags, "input_tokens"),
        tokens_out=count(usage, flags, "output_tokens"),
        total=count(usage, flags, "total_tokens"),
        cached=count(usage, flags, details, "cached_tokens") or 0,
        written=count(usage, flags, details, "cache_write_tokens") or 0,
        written_12h=count(usage, flags, details, "cache_write_tokens_details", "ttl_12h_tokens") or 0,
        reasoning=count(usage, flags, "output_tokens_details", "reasoning_tokens") or 0,
        audio_in=count(usage, flags, details, "audio_tokens"),
        image_in=count(usage, flags, details, "image_tokens"),
        audio_out=count(usage, flags, "output_tokens_details", "audio_tokens"),
        tier=tier,
        tools=_tools(usage, flags, quirks, tools),
        cost_picos=_stated_picos(usage, flags, quirks),
        quirks=quirks,
    )


def _first(usage: Object, flags: Flags, places: tuple[tuple[str, ...], ...]) -> int | None:
    for place in places:
        found = count(usage, flags, *place)
        if found is not None:
            return found
    return None


def _audio_ms(usage: Object, flags: Flags) -> int:
    """Mistral prices heard audio by its seconds, beside the tokens. An empty object means none."""
    seconds = usage.get("prompt_audio_seconds")
    return 0 if not seconds else (count(usage, flags, "prompt_audio_seconds") or 0) * 1000


def _tools(usage: Object, flags: Flags, quirks: Quirks, seen: Mapping[str, int] | None) -> dict[str, int]:
    """Calls of priced tools: what the vendor states of those that it ran, else what was seen of them."""
    tools = dict(seen or {})
    if quirks.server_tools and "server_side_tool_usage_details" in usage:
        for member, name in quirks.server_tools.items():
            stated = count(usage, flags, "server_side_tool_usage_details", member)
            if stated is not None:
                tools[name] = stated
    return {name: number for name, number in tools.items() if number}


def _stated_picos(usage: Object, flags: Flags, quirks: Quirks) -> int | None:
    ticks = count(usage, flags, "cost_in_usd_ticks") if quirks.ticks else None
    return None if ticks is None else ticks * PICOS_PER_TICK


def _both_sides(tokens_in: int | None, tokens_out: int | None, total: int | None, flags: Flags) -> tuple[int, int]:
    """Input and output. Where one is missing, which no honest provider leaves out, the total tells it, or nothing."""
    if tokens_in is not None and tokens_out is not None:
        return tokens_in, tokens_out
    flags.add(CONTRADICTORY if total is not None else INCOMPLETE)
    missing = max((total or 0) - (tokens_in or 0) - (tokens_out or 0), 0)
    if tokens_in is None and tokens_out is None:
        return 0, missing  # the dearer side
    return missing if tokens_in is None else tokens_in, missing if tokens_out is None else tokens_out


def _beyond_sides(extra: int, cached: int, reasoning: int, *, beside: bool) -> tuple[int, int]:
    """What a total above the sum has more of input and output, where it counts caches or reasoning beside them."""
    if beside and reasoning and extra == reasoning:
        return 0, reasoning
    if beside and cached and extra == cached:
        return cached, 0
    if beside and reasoning and cached and extra == cached + reasoning:
        return cached, reasoning
    return 0, 0


def _with_thoughts(
    tokens_in: int | None, tokens_out: int | None, total: int | None, reasoning: int, quirks: Quirks
) -> tuple[int | None, int]:
    """Output with what was thought, and that alone, where nothing but the total tells of it."""
    if not quirks.thoughts or tokens_in is None or total is None:
        return tokens_out, reasoning
    said = tokens_out or 0  # none at all while it only thinks
    thought = 0 if reasoning else max(total - tokens_in - said, 0)
    return said + thought, reasoning + thought


def _usage(
    flags: Flags,
    *,
    tokens_in: int | None,
    tokens_out: int | None,
    total: int | None,
    cached: int,
    written: int,
    written_12h: int,
    reasoning: int,
    audio_in: int | None,
    image_in: int | None,
    audio_out: int | None,
    tier: str,
    tools: dict[str, int],
    cost_picos: int | None,
    quirks: Quirks,
    audio_ms: int = 0,
    output: bool = True,
) -> Usage | None:
    if tokens_in is None and not tokens_out and (total is None or not output):
        if total is None:
            return None if cost_picos is None else Usage(tools=tools, provider_cost_picos=cost_picos)
        tokens_in = total
    tokens_out, reasoning = _with_thoughts(tokens_in, tokens_out, total, reasoning, quirks)
    tokens_in, tokens_out = _both_sides(tokens_in, tokens_out, total, flags)
    if total is not None and total != tokens_in + tokens_out:
        more_in, more_out = _beyond_sides(
            total - tokens_in - tokens_out, cached if cached > tokens_in else 0, reasoning, beside=quirks.beside
        )
        if not more_in and not more_out:
            flags.add(CONTRADICTORY)
            extra = max(total - tokens_in - tokens_out, 0)
            more_in, more_out = (0, extra) if output else (extra, 0)
        tokens_in, tokens_out = tokens_in + more_in, tokens_out + more_out
    if cached > tokens_in:
        if not quirks.beside:
            flags.add(CONTRADICTORY)
        tokens_in += cached
    if written > tokens_in - cached:
        flags.add(CONTRADICTORY)
        tokens_in = cached + written
    if reasoning > tokens_out:
        flags.add(CONTRADICTORY)
        tokens_out += reasoning
    return Usage(
        input_tokens=tokens_in,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        cache_write_12h_tokens=part(written_12h, written, flags),
        input_audio_tokens=part(audio_in, tokens_in, flags),
        input_image_tokens=part(image_in, tokens_in, flags),
        output_tokens=tokens_out,
        reasoning_tokens=reasoning,
        output_audio_tokens=part(audio_out, tokens_out, flags),
        audio_ms=audio_ms,
        tools=tools,
        service_tier=tier,
        provider_cost_picos=cost_picos,
    )
