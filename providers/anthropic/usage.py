"""Usage as Anthropic counts it: caches beside the input, iterations beside the totals, a stream anew each time."""

from __future__ import annotations

from providers.anthropic.hosted import CODE_EXECUTION
from providers.contract.flags import CONTRADICTORY, DECREASED, INCOMPLETE, OTHER_MODEL, Flags
from providers.contract.shapes import Call
from providers.ground.tiers import term
from providers.ground.usage import Usage
from providers.reading.answer import count, part
from providers.reading.json_text import Object

_MODELS_MAX = 8
_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


def messages_usage(usage: Object, flags: Flags, call: Call, *, executed: bool = False) -> Usage | None:
    """Usage from a whole usage object; None where it counts nothing at all.

    `executed` says that code has run in a container, which is not counted there.

    Iterations of kind `compaction` are beside the totals and are added. An advisor's are another model's, at its own
    price. Everything else in `iterations` repeats the totals.
    """
    uncached, created, read, out = (count(usage, flags, name) for name in _COUNTS)
    if uncached is None and out is None and created is None and read is None:
        return None
    if uncached is None or out is None:
        flags.add(INCOMPLETE)
    uncached, created, read, out = uncached or 0, created or 0, read or 0, out or 0
    short = count(usage, flags, "cache_creation", "ephemeral_5m_input_tokens") or 0
    long = count(usage, flags, "cache_creation", "ephemeral_1h_input_tokens") or 0
    if short + long > created:
        if created:
            flags.add(CONTRADICTORY)
        created = short + long
    thinking = count(usage, flags, "output_tokens_details", "thinking_tokens")
    reasoning = part(thinking, out, flags)
    beside: dict[str, Usage] = {}
    iterations = usage.get("iterations")
    for iteration in iterations if isinstance(iterations, list) else ():
        if not isinstance(iteration, dict) or iteration.get("type") not in ("compaction", "advisor_message"):
            continue
        advisor = iteration.get("model") if iteration["type"] == "advisor_message" else None
        if isinstance(advisor, str) and advisor and (len(beside) < _MODELS_MAX or advisor in beside):
            beside[advisor] = _sum(beside.get(advisor), iteration, flags)
            continue
        if iteration["type"] == "advisor_message":
            flags.add(OTHER_MODEL)
        more = [count(iteration, flags, name) or 0 for name in _COUNTS]
        uncached, created, read, out = (
            mine + its for mine, its in zip((uncached, created, read, out), more, strict=True)
        )
        long += count(iteration, flags, "cache_creation", "ephemeral_1h_input_tokens") or 0
    searches = count(usage, flags, "server_tool_use", "web_search_requests")
    return Usage(
        input_tokens=uncached + created + read,
        cache_read_tokens=read,
        cache_write_tokens=created,
        cache_write_1h_tokens=part(long, created, flags),
        output_tokens=out,
        reasoning_tokens=reasoning,
        tools=({"web_search": searches} if searches else {}) | ({CODE_EXECUTION: 1} if executed else {}),
        beside=beside,
        service_tier=term(usage.get("service_tier")),
        speed=term(usage["speed"]) if "speed" in usage else call.input_bound.speed,
        geo=term(usage["inference_geo"]) if "inference_geo" in usage else call.input_bound.geo,
    )


def _sum(before: Usage | None, iteration: Object, flags: Flags) -> Usage:
    """What another model has used so far, and in one more iteration."""
    uncached, created, read, out = (count(iteration, flags, name) or 0 for name in _COUNTS)
    long = count(iteration, flags, "cache_creation", "ephemeral_1h_input_tokens") or 0
    before = before or Usage()
    return Usage(
        input_tokens=before.input_tokens + uncached + created + read,
        cache_read_tokens=before.cache_read_tokens + read,
        cache_write_tokens=before.cache_write_tokens + created,
        cache_write_1h_tokens=before.cache_write_1h_tokens + min(long, created),
        output_tokens=before.output_tokens + out,
    )


_INPUT_SIDE = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _restates(earlier: Object, latest: Object) -> bool:
    """Whether the latest counts state the input anew, beside what caches had of it, and no less of it in all.

    Some vendors begin with all of the input as plain, and say at the end how much of it was cached.
    """
    if not all(isinstance(latest.get(name), int) for name in _INPUT_SIDE[:1]) or not any(
        isinstance(latest.get(name), int) for name in _INPUT_SIDE[1:]
    ):
        return False
    return _input(latest) >= _input(earlier)


def _input(usage: Object) -> int:
    return sum(count(usage, set(), name) or 0 for name in _INPUT_SIDE)


def replace(earlier: Object, latest: Object, flags: Flags) -> None:
    """Put the latest cumulative counts in the place of the earlier, member by member; none may go down.

    An input that is stated anew is taken whole, as it is stated.
    """
    if _restates(earlier, latest):
        for name in (*_INPUT_SIDE, "cache_creation"):
            earlier.pop(name, None)
    for name, value in latest.items():
        before = earlier.get(name)
        if value is None:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            _replace_counts(before, value, flags)
        elif isinstance(value, int) and isinstance(before, int) and value < before:
            flags.add(DECREASED)
        else:
            earlier[name] = value


def _replace_counts(earlier: Object, latest: Object, flags: Flags) -> None:
    """One level below `_replace`; there is no deeper one."""
    for name, value in latest.items():
        before = earlier.get(name)
        if isinstance(value, int) and isinstance(before, int) and value < before:
            flags.add(DECREASED)
        elif value is not None:
            earlier[name] = value
