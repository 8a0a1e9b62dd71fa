"""How the tools that a caller runs himself are asked for in an answer, and how their results go back. Pure.

Promises: a request is never changed, a new one is made of it; what is no call of a caller's tool (one that the provider
runs itself) is not told of. Knows no vendor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

Json = dict[str, Any]


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model wants to be run. `arguments` is JSON text, as models write it."""

    tool_call_id: str
    name: str
    arguments: str


class ToolUse(Protocol):
    """One shape's way of it."""

    def pending(self, answer: Json) -> list[ToolCall]:
        """The tools that an answer asks for, in its order."""
        ...

    def went_on(self, request: Json, answer: Json, results: Mapping[str, str]) -> Json:
        """The next request: the last one, what was answered to it, and the result of every pending call, as text."""
        ...


def members(value: Any, name: str) -> list[Json]:
    """The objects of a list that is a member of an object; none where there is no such thing."""
    found = value.get(name) if isinstance(value, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def text(value: Any) -> str:
    """A text, or what else stands there as JSON text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
