"""What OpenAI's two usage objects mean: chat's (`prompt_tokens`, …) and Responses' (`input_tokens`, …).

Promises: totals that include their parts, whatever the object says; of two readings the larger, flagged. Vendors that
speak these objects differ in details, all of which are read here, since none contradicts another. Never raises.
Source: providers.md §3.
"""

from __future__ import annotations

from providers.answer import CONTRADICTORY, INCOMPLETE, Flags, Object, count, part
from providers.usage import Usage


def chat_usage(usage: Object, flags: Flags, *, tier: str = "", output: bool = True) -> Usage | None:
    """Usage from a chat, legacy completion or embedding answer; None where the object counts nothing at all.

    `output` says whether the operation has any: an embedding's total is all input.
    """
    details = "prompt_tokens_details"
    cached = count(usage, flags, details, "cached_tokens")
    if cached is None:
        cached = count(usage, flags, "cached_tokens")  # Kimi
    if cached is None:
        cached = count(usage, flags, "prompt_cache_hit_tokens")  # DeepSeek
    if cached is None:
        cached = count(usage, flags, "num_cached_tokens")  # Mistral
    written = count(usage, flags, details, "cache_write_tokens")
    if written is None:
        written = count(usage, flags, details, "cache_creation_input_tokens")  # Qwen
    reasoning = count(usage, flags, "completion_tokens_details", "reasoning_tokens")
    return _usage(
        flags,
        tokens_in=count(usage, flags, "prompt_tokens"),
        tokens_out=count(usage, flags, "completion_tokens") if output else 0,
        total=count(usage, flags, "total_tokens"),
        cached=cached or 0,
        written=written or 0,
        written_12h=count(usage, flags, details, "cache_write_tokens_details", "ttl_12h_tokens") or 0,
        reasoning=reasoning or 0,
        audio_in=count(usage, flags, details, "audio_tokens"),
        image_in=count(usage, flags, details, "image_tokens"),
        audio_out=count(usage, flags, "completion_tokens_details", "audio_tokens"),
        tier=tier,
        output=output,
    )


def responses_usage(
    usage: Object, flags: Flags, *, tier: str = "", tools: dict[str, int] | None = None
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
        tools=tools,
    )


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
    output: bool = True,
    tools: dict[str, int] | None = None,
) -> Usage | None:
    if tokens_in is None and not tokens_out and (total is None or not output):
        if total is None:
            return None
        tokens_in = total
    if tokens_in is None or tokens_out is None:
        # One side is missing, which no honest provider leaves out. The total tells it, or nothing does.
        flags.add(CONTRADICTORY if total is not None else INCOMPLETE)
        missing = max((total or 0) - (tokens_in or 0) - (tokens_out or 0), 0)
        if tokens_in is None and tokens_out is None:
            tokens_in, tokens_out = 0, missing  # the dearer side
        elif tokens_in is None:
            tokens_in = missing
        else:
            tokens_out = missing
    assert tokens_out is not None  # noqa: S101 - for the type checker only
    if total is not None and total != tokens_in + tokens_out:
        extra = total - tokens_in - tokens_out
        if extra == reasoning and reasoning:
            tokens_out += reasoning  # xAI's chat counts reasoning beside the output
        elif extra == cached and cached > tokens_in:
            tokens_in += cached  # xAI at times counts cached input beside the input
        else:
            flags.add(CONTRADICTORY)
            if extra > 0 and output:
                tokens_out += extra
            elif extra > 0:
                tokens_in += extra
    if cached > tokens_in:
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
        tools=tools or {},
        service_tier=tier,
    )
