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
    """

    splice: bool = True
    beside: bool = False
    ticks: bool = False
    calls: Mapping[str, str] = _NONE
    server_tools: Mapping[str, str] = _NONE
    base_resp: bool = False
    searches_files: bool = False
    refuses: Mapping[str, str] = _NONE


PLAIN = Quirks()
"""OpenAI's own way."""
