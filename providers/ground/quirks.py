"""How a vendor's use of OpenAI's API differs from OpenAI's own: facts, as data.

Promises: nothing here is code. Whatever stands in OpenAI's place is read there for every vendor; a quirk says what
else is read, or read otherwise. Knows nothing of requests, answers or prices. Source: providers.md §3.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

PICOS_PER_TICK = 100
"""xAI states cost in ticks: 1 tick = 1e-10 USD."""

_NONE: Mapping[str, str] = MappingProxyType({})


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor's differences.

    Attributes:
        splice: A stream has to be asked for its usage, by `stream_options.include_usage`. False where it comes unasked
            or where that field is refused.
        beside: Reasoning may be counted beside the output in chat, and cached input beside the input: the total tells.
            Elsewhere such a total contradicts itself.
        ticks: The usage states what the call costs, as `cost_in_usd_ticks`.
        calls: Functions whose call in an answer has a price, and the name under which it is priced.
        server_tools: Members of `server_side_tool_usage_details` (calls of tools that the vendor ran), likewise.
        base_resp: Every answer says how it went in `base_resp`, also where its HTTP status says that all is well.
        searches_files: A file among the parts makes the vendor search it, as often as the model likes, for a price
            of its own.
        refuses: Request fields that are refused while they ask for something, and why.
        takes: What further request fields may hold, as a table of `reading.inside` writes it: all else in them is
            refused.
        limit: The field that is written where a request names no output limit; "" for OpenAI's.
        measure: Whose way of counting text, pictures and sound bounds a request; a key of `bounding.measures`.
        running: Asked for its usage, a stream counts along with every chunk that has content, and has none without.
        thoughts: The total counts what the model thought, and no other count does.
        hides: Request fields that make a model think; what it thinks is billed as output and not shown.
        tiers: Which of the service tiers that are asked for are priced before an answer names one; None for each. The
            others are ignored, or it is not known that they are not: then the usual price holds.
        keeps: A host at which, and below which, links lead into the operator's account: these are refused, and so are
            parts of a message that nobody knows here. "" where there is none.
        undivided: Models, as a regular expression, whose pictures and sound are dearer than text, which the usage does
            not tell apart: they have no price here. "" where the usage tells. Where it is said, sound that a request
            brings is counted by its length.
    """

    splice: bool = True
    beside: bool = False
    ticks: bool = False
    calls: Mapping[str, str] = _NONE
    server_tools: Mapping[str, str] = _NONE
    base_resp: bool = False
    searches_files: bool = False
    refuses: Mapping[str, str] = _NONE
    takes: Mapping[str, str] = _NONE
    limit: str = ""
    measure: str = "openai"
    running: bool = False
    thoughts: bool = False
    hides: tuple[str, ...] = ()
    tiers: tuple[str, ...] | None = None
    keeps: str = ""
    undivided: str = ""


PLAIN = Quirks()
"""OpenAI's own way."""
