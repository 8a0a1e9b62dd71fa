"""How a reported usage goes wrong on request, and what is invoiced then.

Promises: the distortion is of the report alone. The invoice stays true, save for "zero": a provider that reports
zero invoices zero. Knows no shape: totals are the integers of the object, parts are in its `…_details`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_ABSURD: Final = 2**63  # one more than a signed 64-bit integer holds
_CHANGES: Final[dict[str, Callable[[int], int | float]]] = {
    "zero": lambda _count: 0,
    "negative": lambda count: -count - 1,
    "absurd": lambda count: _ABSURD + count,
    "float": lambda count: count + 0.5,
    "decreasing": lambda count: count // 2,
}


def distorted(usage: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The usage objects to report, in order: one, none for "missing", two for "twice" and "decreasing".

    A full answer has room for one and takes the last.
    """
    if kind == "missing":
        return []
    if kind == "twice":
        return [usage, usage]
    if kind == "decreasing":
        return [usage, _changed(usage, _CHANGES[kind])]
    if kind == "cached":
        return [_overcached(usage)]
    return [_changed(usage, _CHANGES[kind])] if kind else [usage]


def invoiced(billed: dict[str, int], kind: str) -> dict[str, int]:
    """What is invoiced when the usage is reported so."""
    return dict.fromkeys(billed, 0) if kind == "zero" else billed


def _changed(value: Any, change: Callable[[int], int | float]) -> Any:
    if isinstance(value, dict):
        return {name: _changed(part, change) for name, part in value.items()}
    if isinstance(value, list):
        return [_changed(part, change) for part in value]
    return change(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _overcached(usage: dict[str, Any]) -> dict[str, Any]:
    """More read from the cache than there was input."""
    total = usage.get("prompt_tokens", usage.get("input_tokens", 0))
    for name in ("prompt_tokens_details", "input_tokens_details"):
        if name in usage:
            return usage | {name: usage[name] | {"cached_tokens": total + 1_000}}
    return usage | {"cache_read_input_tokens": total + 1_000, "cache_creation_input_tokens": -1_000}
