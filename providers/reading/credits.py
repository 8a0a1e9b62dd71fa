"""Answers whose price stands in their head: ElevenLabs' credits, Deepgram's characters.

Promises: what the head states is believed, whole or cut, for it comes before the body; where it states nothing the
request's own count is an estimate. Never raises. Knows nothing of a credit's price. Source: providers.md §3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from providers.contract.shapes import Call, Reading
from providers.reading.answer import COUNT_MAX

_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,6})?")


def stated(headers: Mapping[str, str], name: str) -> Decimal | None:
    """A number in a header; None where it is absent or no sane number."""
    text = (headers.get(name) or "").strip()
    return Decimal(text) if _NUMBER.fullmatch(text) else None


class HeadMeter:
    """Reads an answer's head, and nothing of its body."""

    __slots__ = ("_reading",)

    def __init__(
        self, call: Call, headers: Mapping[str, str], *, credits_in: str = "", characters_in: str = ""
    ) -> None:
        usage = None
        if credits_in and (credits_ := stated(headers, credits_in)) is not None:
            millicredits = -int(-credits_ * 1_000 // 1)
            usage = msgspec.structs.replace(call.input_typical, millicredits=min(millicredits, COUNT_MAX))
        elif characters_in and (characters := stated(headers, characters_in)) is not None:
            usage = msgspec.structs.replace(call.input_typical, characters=-int(-characters // 1))
        self._reading = Reading(usage=usage, complete=True)

    def feed(self, chunk: bytes) -> None:
        """Nothing to read."""

    def output_tokens_seen(self) -> int:
        """No tokens are billed."""
        return 0

    def finish(self) -> Reading:
        """What the head said."""
        return self._reading
