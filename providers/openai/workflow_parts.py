"""Requests for responses as `workflow.v0` writes them, in OpenAI's words. Pure.

The published schema's requests are those of its maker's own `/responses`: parts of a message are of type `text`, and a
function stands in a member of its own, as in chat completions. OpenAI takes neither. What is written in OpenAI's words
already stays as it is.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def as_responses(request: Json) -> Json:
    """A request in OpenAI's words; the given one is not changed."""
    said: Json = {}
    if isinstance(turns := request.get("input"), list):
        said["input"] = [_turn(each) for each in turns]
    if isinstance(tools := request.get("tools"), list):
        said["tools"] = [_tool(each) for each in tools]
    return request | said


def _turn(turn: Any) -> Any:
    if not isinstance(turn, dict) or not isinstance(parts := turn.get("content"), list):
        return turn
    kind = "output_text" if turn.get("role") == "assistant" else "input_text"
    return turn | {
        "content": [
            each | {"type": kind} if isinstance(each, dict) and each.get("type") == "text" else each for each in parts
        ]
    }


def _tool(tool: Any) -> Any:
    if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
        return tool
    return {name: value for name, value in tool.items() if name != "function"} | tool["function"]
