"""Tools that a provider runs by itself beside the tokens, in OpenAI's shapes: each tool's runs, held for and priced.

Promises: every tool stands in one row: the client runs it, or a run of it has a price by the name under which the
catalogue has it, or its work is in the tokens; what stands in no row has no price, and is refused by name for whoever
has a cap (`Call.unpriced`). Knows nothing of answers, prices or HTTP.
Source: openai 3.54's types, the vendors' price pages [K].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from providers.bounding.extent import RUNS_HELD, RUNS_MAX, Extent
from providers.ground.errors import BadRequest
from providers.ground.names import words
from providers.ground.usage import Usage
from providers.openai.images import made
from providers.reading.json_text import NULL, UNREADABLE, given, is_object, is_string
from providers.reading.request import Head, present

CLIENT = words(
    "function custom computer computer_use_preview local_shell apply_patch namespace programmatic_tool_calling"
)
"""Tools of OpenAI's shapes that the client runs."""

IN_TOKENS = words("mcp tool_search")
"""Tools of OpenAI's shapes that the provider runs, and that cost what they bring into the input."""

BY_RUN: Mapping[str, str] = {
    "web_search": "web_search",
    "web_search_2025_08_26": "web_search",
    "web_search_preview": "web_search",
    "web_search_preview_2025_03_11": "web_search",
    "file_search": "file_search",
    "collections_search": "file_search",  # xAI
    "x_search": "x_search",
    "code_execution": "code_interpreter",
}
"""Tools of OpenAI's shapes with a price for each run, by the name under which it stands."""

MEMORY: Mapping[str, int] = {"1g": 1, "4g": 4, "16g": 16, "64g": 64}
"""How many times the price of the smallest container a session of each costs."""

IMAGE_MODEL = "gpt-image-1"
"""Which model draws where the request names none: the dearest of those with a price, until the default has one."""

_BESIDE = words("moderation guardrails reasoning")
_FREE_MODERATION = ("omni-moderation", "text-moderation")

SESSION_S: Final = 1_200
"""For so long a container's session lasts; then the next one is charged."""


class _Named(msgspec.Struct, gc=False):
    model: str | None = None
    mode: str | None = None


_NAMED = msgspec.json.Decoder(_Named | None)


def passes(head: Head) -> str:
    """A member for which the provider reads once more, as often as it likes; "" where there is none.

    Moderation by a model that is not free, Mistral's guardrails, and reasoning in several passes (`mode: "pro"`).
    """
    if _BESIDE.isdisjoint(head):
        return ""
    for name in sorted(_BESIDE & head.keys()):
        try:
            asked = None if name == "guardrails" else _NAMED.decode(head[name])
        except UNREADABLE:
            return name
        if name == "guardrails":
            if present(head, name):
                return name
        elif asked is None:
            continue
        elif name == "reasoning":
            if asked.mode not in (None, "standard"):
                return "reasoning.mode"
        elif not (asked.model or "omni-moderation").startswith(_FREE_MODERATION):
            return name
    return ""


class _Environment(msgspec.Struct, gc=False):
    type: str = ""
    memory_limit: str | None = None
    container_id: str | None = None


class _Function(msgspec.Struct, gc=False):
    name: str = ""


class _Tool(msgspec.Struct, gc=False):
    """A tool: the members that tell what its runs cost."""

    type: str = ""
    model: str | None = None
    container: msgspec.Raw = NULL
    environment: msgspec.Raw = NULL
    max_uses: int | None = None
    max_tokens: int | None = None
    size: str | None = None
    quality: str | None = None
    partial_images: int | None = None
    frame_count: int | None = None
    svg: msgspec.Raw = NULL
    output_format: str | None = None
    function: _Function | None = None


_TOOLS = msgspec.json.Decoder(list[_Tool])
_ENVIRONMENT = msgspec.json.Decoder(_Environment)


def _read_tools(json_text: msgspec.Raw, where: str) -> list[_Tool]:
    """A list of tools.

    Raises:
        BadRequest: It is no list of objects, or a member that decides about the cost is not what it should be.
    """
    try:
        return _TOOLS.decode(json_text)
    except UNREADABLE as error:
        raise BadRequest(f"{where!r} is not what it should be: {error}.", param=where) from None


def count_tools(
    extent: Extent,
    json_text: msgspec.Raw,
    where: str,
    *,
    calls: Mapping[str, str],
    containers: Mapping[str, int],
    runs: int | None = None,
) -> int:
    """Count the tools of an OpenAI request into its extent; how large a container it asks for, 0 for none.

    Args:
        calls: Functions that the vendor runs and charges for, by name (`Quirks.calls`).
        containers: The caller's own containers, and how large each is, as in `MEMORY`.
        runs: `max_tool_calls`.

    Raises:
        BadRequest: It is no list of tools, or a container has no such size.
    """
    memory = 0
    times = RUNS_HELD if runs is None else min(runs, RUNS_MAX)
    for at, tool in enumerate(_read_tools(json_text, where)):
        kind, param = tool.type, f"{where}[{at}].type"
        if kind in CLIENT or not kind:
            continue
        if (run := BY_RUN.get(kind)) is not None:
            extent.runs(run, times, param)
        elif kind == "builtin_function" and tool.function is not None and tool.function.name in calls:
            extent.runs(calls[tool.function.name], times, param)
        elif kind == "image_generation":
            _draws(extent, tool, f"{where}[{at}]")
        elif kind in ("code_interpreter", "shell"):
            size = _container(tool, f"{where}[{at}]", containers)
            if size:
                extent.runs("code_interpreter", size, param)
            memory = max(memory, size)
        elif kind not in IN_TOKENS:
            extent.unpriced = extent.unpriced or param
    return memory


def _container(tool: _Tool, where: str, containers: Mapping[str, int]) -> int:
    """How large a container a tool runs in; 0 where it is the client's own machine."""
    json_text = tool.container if tool.type == "code_interpreter" else tool.environment
    name = "container" if tool.type == "code_interpreter" else "environment"
    found = _Environment(type="auto")
    if is_string(json_text):
        found = _Environment(container_id=msgspec.json.decode(json_text, type=str))
    elif is_object(json_text):
        try:
            found = _ENVIRONMENT.decode(json_text)
        except UNREADABLE:
            raise BadRequest(f"{where}.{name} is not what it should be.", param=f"{where}.{name}") from None
    if tool.type == "shell" and (not given(json_text) or found.type == "local"):
        return 0
    if found.container_id is not None:
        return containers.get(found.container_id, 1)
    limit = found.memory_limit or "1g"
    if limit not in MEMORY:
        raise BadRequest(
            f"A container has {', '.join(MEMORY)} of memory, not {limit!r}.", param=f"{where}.{name}.memory_limit"
        )
    return MEMORY[limit]


def _draws(extent: Extent, tool: _Tool, where: str) -> None:
    """Pictures, which another model draws at its own price: the dearest that the request allows are held for."""
    if given(tool.svg) or tool.output_format == "svg":
        extent.unpriced = extent.unpriced or f"{where}.svg"  # it calls a further model
        return
    model = tool.model or IMAGE_MODEL
    if tool.model:
        extent.models[f"{where}.model"] = tool.model
    upper, most = picture_tokens(model, tool)
    held = Usage(output_tokens=upper, output_image_tokens=upper), Usage(output_tokens=most, output_image_tokens=most)
    before = extent.beside.get(model, (Usage(), Usage()))
    extent.beside[model] = (held[0], held[1]) if before[0].output_tokens < upper else before
    extent.unknown(f"{where}.type", endless=True)


def picture_tokens(model: str, tool: _Tool) -> tuple[int, int]:
    """Tokens of one picture that a tool draws: likely most, and most."""
    members = {"quality": tool.quality or "", "size": tool.size or ""}
    _, upper, most = made(model, {name: value for name, value in members.items() if value not in ("", "auto")})
    frames = max(tool.frame_count or 1, 1)
    partial = min(max(tool.partial_images or 0, 0), 10) * 100
    return upper * frames + partial, most * frames + partial


def sessions(containers: Sequence[str], seconds: int, memory: int) -> int:
    """How often the price of the smallest container is charged for an answer that took so long in these."""
    return len(set(containers)) * max(-(-seconds // SESSION_S), 1) * max(memory, 1)
