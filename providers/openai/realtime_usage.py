"""Usage of a realtime response, and of a transcription in a realtime session."""

from __future__ import annotations

from providers.contract.flags import CONTRADICTORY, INCOMPLETE, Flags
from providers.ground.usage import Usage
from providers.reading.answer import count, part
from providers.reading.json_text import Object


def usage_of(counted: Object, flags: Flags) -> Usage | None:
    """A `response.done` usage; None where it counts nothing at all."""
    tokens_in, tokens_out = count(counted, flags, "input_tokens"), count(counted, flags, "output_tokens")
    total = count(counted, flags, "total_tokens")
    if tokens_in is None and tokens_out is None:
        return None
    if tokens_in is None or tokens_out is None:
        flags.add(INCOMPLETE)
        rest = max((total or 0) - (tokens_in or 0) - (tokens_out or 0), 0)
        tokens_in, tokens_out = (rest if tokens_in is None else tokens_in), (rest if tokens_out is None else tokens_out)
    if total is not None and total != tokens_in + tokens_out:
        flags.add(CONTRADICTORY)
        tokens_out += max(total - tokens_in - tokens_out, 0)
    details, cached_details = "input_token_details", "cached_tokens_details"
    cached = part(count(counted, flags, details, "cached_tokens"), tokens_in, flags)
    audio = part(count(counted, flags, details, "audio_tokens"), tokens_in, flags)
    cached_audio = count(counted, flags, details, cached_details, "audio_tokens")
    return Usage(
        input_tokens=tokens_in,
        cache_read_tokens=cached,
        input_audio_tokens=audio,
        input_image_tokens=part(count(counted, flags, details, "image_tokens"), tokens_in - audio, flags),
        cache_read_audio_tokens=part(cached_audio, min(cached, audio), flags),
        output_tokens=tokens_out,
        output_audio_tokens=part(count(counted, flags, "output_token_details", "audio_tokens"), tokens_out, flags),
    )


def transcription_usage(counted: Object, flags: Flags) -> Usage:
    """Usage of one transcription: by tokens, or by duration."""
    seconds = counted.get("seconds")
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < 1e7:
        return Usage(audio_ms=-(-int(seconds * 1_000_000) // 1_000))
    tokens_in = count(counted, flags, "input_tokens") or 0
    audio = part(count(counted, flags, "input_token_details", "audio_tokens"), tokens_in, flags)
    tokens_out = count(counted, flags, "output_tokens") or 0
    return Usage(input_tokens=tokens_in, input_audio_tokens=audio, output_tokens=tokens_out)
