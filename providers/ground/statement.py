"""What a provider says of one organisation's use of it: amounts by day, model and class, in no provider's own words.

Promises: integers only. Knows no wire shape; each provider's stands in its folder, see `providers.statements`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

DAY_MS = 86_400_000
CLASSES = ("input", "cache_read", "cache_write", "cache_write_1h", "cache_write_12h", "output")
"""Kinds of tokens that have prices of their own. They are disjoint: input that was cached is in no other."""


class BadStatement(ValueError):
    """A page is not what the provider gives; the message names the field."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of a statement: tokens of a class, or what it was charged at.

    Attributes:
        day_ms: The UTC day's start.
        model: As the provider writes it; "" where it names none.
        of: One of `CLASSES`, or what else it charges for, in its words; "" for a charge that it does not break down.
        tokens: Number of tokens; None for a charge.
        picos: Pico-USD charged; None for a count.
        project: The project or workspace that it is of; "" where the provider does not say.
    """

    day_ms: int
    model: str
    of: str
    tokens: int | None = None
    picos: int | None = None
    project: str = ""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a report: which report, its figures, and where it goes on; None at its end."""

    report: str
    entries: list[Entry]
    next_page: str | None


Parameters = list[tuple[str, str]]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One report that is asked for: its path, and its parameters for a span `[from_ms, to_ms)` of whole days."""

    path: str
    parameters: Callable[[int, int], Parameters]


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider tells what it has counted and charged.

    Attributes:
        key_env: Environment variable of the administrator's key, which is not the key that calls are made with.
        headers: Request headers, of that key.
        reports: What to fetch; each goes on with its `page` parameter.
        read: A page from its JSON. Raises BadStatement.
    """

    key_env: str
    headers: Callable[[str], Mapping[str, str]]
    reports: Sequence[Report]
    read: Callable[[bytes], Page]


def decoded(json_text: bytes, shape: Any) -> Any:
    """A page in its provider's shape. Raises BadStatement."""
    try:
        return msgspec.json.decode(json_text, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadStatement(str(error)) from None
