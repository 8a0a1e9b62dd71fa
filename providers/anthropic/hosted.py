"""Tools that Anthropic runs by itself beside the tokens: each tool's runs, held for and priced.

Promises: as `providers.openai.hosted`. A type is told by its beginning, for it ends in a date. Source: anthropic 2.12's
types, its price page [K].
"""

from __future__ import annotations

from typing import Final

import msgspec

from providers.bounding.extent import RUNS_HELD, RUNS_MAX, Extent
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.reading.json_text import UNREADABLE

CODE_EXECUTION: Final = "code_execution"
"""Anthropic's container, charged for by spans of five minutes, one at least."""

SPANS_HELD: Final = 12
"""How many of those are held for: an hour."""

CLIENT = ("bash_", "text_editor_", "computer_", "memory_", "browser_toolset_")
"""Tools that the client runs, by the beginning of their versioned types; so the two that follow."""

_IN_TOKENS = ("web_fetch_", "tool_search_tool_", "mcp_toolset")
_BY_RUN = (("web_search_", "web_search"), ("code_execution_", CODE_EXECUTION))


class _Tool(msgspec.Struct, gc=False):
    type: str = ""
    model: str | None = None
    max_uses: int | None = None
    max_tokens: int | None = None


_TOOLS = msgspec.json.Decoder(list[_Tool])


def count_tools(extent: Extent, json_text: msgspec.Raw) -> None:
    """Count the tools of an Anthropic request into its extent. Raises BadRequest."""
    for at, tool in enumerate(_read(json_text)):
        kind, param = tool.type, f"tools[{at}].type"
        if not kind or kind == "custom" or kind.startswith(CLIENT + _IN_TOKENS):
            continue
        for beginning, run in _BY_RUN:
            if kind.startswith(beginning):
                times = RUNS_HELD if tool.max_uses is None else min(max(tool.max_uses, 0), RUNS_MAX)
                extent.runs(run, SPANS_HELD if run == CODE_EXECUTION else times, param)
                break
        else:
            if kind.startswith("advisor_") and tool.model:
                extent.models[f"tools[{at}].model"] = tool.model
                tokens = min(tool.max_tokens or 4_096, 1 << 20) * min(tool.max_uses or 1, RUNS_MAX)
                held = Usage(output_tokens=tokens)
                extent.beside[tool.model] = (held, held)
            else:
                extent.unpriced = extent.unpriced or param


def _read(json_text: msgspec.Raw) -> list[_Tool]:
    try:
        return _TOOLS.decode(json_text)
    except UNREADABLE as error:
        raise BadRequest(f"'tools' is not what it should be: {error}.", param="tools") from None
