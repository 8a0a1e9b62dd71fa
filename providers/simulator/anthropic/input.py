"""What an Anthropic request says to the model, in the simulator's tokens, and what of it is cached.

Promises: the count of `count_tokens` is the count of `messages`. Caching is a function of the request alone, since the
simulator keeps no state (see `Input.cached`). Knows nothing of answers.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from providers.simulator import tokens

_MESSAGE: Final = 3  # what a message costs beyond its text
_TOOLS: Final = 346  # the system prompt that tools bring with them (providers.md §5.2)
_CACHED_MIN: Final = 1_024  # shorter prefixes are not cached
BREAKPOINTS_MAX: Final = 4


class CacheControl(msgspec.Struct):
    """`cache_control`."""

    type: str = "ephemeral"
    ttl: str | None = None


class Source(msgspec.Struct):
    """Where the bytes of an image or a document are."""

    type: str = ""
    data: str | None = None
    media_type: str | None = None


class Block(msgspec.Struct):
    """A content block of any type."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    input: Any = None
    name: str | None = None
    source: Source | str | None = None  # a search result's is a text
    content: Any = None
    cache_control: CacheControl | None = None


class Message(msgspec.Struct):
    """A turn."""

    role: str
    content: str | list[Block]


class Tool(msgspec.Struct):
    """A tool; without `input_schema` it is one that the server runs."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    cache_control: CacheControl | None = None


class Input(msgspec.Struct):
    """The input side of a request.

    Attributes:
        total: All input tokens, cached or not.
        marks: Each cache breakpoint: the tokens up to it, and whether it lives for an hour.
        resent: What stood before the last assistant turn; None without one.
    """

    total: int
    marks: list[tuple[int, bool]]
    resent: int | None

    def cached(self, wanted: str) -> tuple[int, int, int]:
        """Tokens read from the cache, written for five minutes, and written for an hour.

        Only what stands before a breakpoint is cached, from 1,024 tokens on. A conversation that holds an assistant
        turn was sent before up to there: breakpoints before that turn are read, later ones written. One that holds
        none is new: all is written. `wanted` overrides it: "hit" reads all, "miss" writes all, "off" neither.
        """
        marks = [mark for mark in self.marks if mark[0] >= _CACHED_MIN or wanted in ("hit", "miss")]
        if wanted == "off" or not marks:
            return 0, 0, 0
        known = marks[-1][0] if wanted == "hit" else 0 if wanted == "miss" else self.resent or 0
        read = max((place for place, _ in marks if place <= known), default=0)
        at, written = read, [0, 0]
        for place, hour in marks:
            if place > at:
                written[hour] += place - at
                at = place
        return read, written[0], written[1]


def count(
    system: str | list[Block] | None,
    messages: list[Message],
    tools: list[Tool] | None,
    *,
    whole: CacheControl | None,
    extra: int = 0,
) -> Input:
    """Count a request in the order in which it is cached: tools, system, messages. `whole` marks its end."""
    total, marks, resent = extra + (_TOOLS if tools else 0), list[tuple[int, bool]](), None

    def mark(control: CacheControl | None) -> None:
        if control is not None:
            marks.append((total, control.ttl == "1h"))

    for tool in tools or []:
        total += tokens.count(msgspec.json.encode(tool.input_schema).decode()) if tool.input_schema else 0
        total += tokens.count(tool.name) + tokens.count(tool.description or "")
        mark(tool.cache_control)
    for block in _blocks(system or ""):
        total += _block(block)
        mark(block.cache_control)
    for message in messages:
        if message.role == "assistant":
            resent = total
        total += _MESSAGE
        for block in _blocks(message.content):
            total += _block(block)
            mark(block.cache_control)
    mark(whole)
    return Input(total=total, marks=marks, resent=resent)


def breakpoints(system: str | list[Block] | None, messages: list[Message], tools: list[Tool] | None) -> int:
    """How many blocks and tools are marked."""
    blocks = [*_blocks(system or ""), *(block for message in messages for block in _blocks(message.content))]
    marked = [block.cache_control for block in blocks] + [tool.cache_control for tool in tools or []]
    return sum(control is not None for control in marked)


def _blocks(content: str | list[Block]) -> list[Block]:
    return [Block(type="text", text=content)] if isinstance(content, str) else content


def _block(block: Block) -> int:
    total = tokens.count(block.text or "") + tokens.count(block.thinking or "") + tokens.count(block.name or "")
    if block.type == "image":
        total += tokens.anthropic_image(block.source.data if isinstance(block.source, Source) else None)
    elif block.type == "document":
        source = block.source if isinstance(block.source, Source) else Source()
        total += tokens.count(source.data or "") if source.type == "text" else tokens.document(source.data)
    elif isinstance(block.content, str):
        total += tokens.count(block.content)
    elif isinstance(block.content, list):
        total += sum(_nested(part) for part in block.content)
    return total + (tokens.count(msgspec.json.encode(block.input).decode()) if block.input is not None else 0)


def _nested(part: object) -> int:
    """A block inside a tool's result."""
    if not isinstance(part, dict):
        return 0
    if part.get("type") == "image":
        source = part.get("source")
        data = source.get("data") if isinstance(source, dict) else None
        return tokens.anthropic_image(data if isinstance(data, str) else None)
    return tokens.count(str(part.get("text", "")))
