"""What an OpenAI request says to the model, in the simulator's tokens: messages, tools, media.

Promises: the same request counts the same everywhere. Knows nothing of answers.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from providers.simulator import tokens

_MESSAGE: Final = 3  # what a message costs beyond its text
_PRIMING: Final = 3  # what every answer is primed with
_FILE: Final = 1_000  # a file that is only named


class ImageUrl(msgspec.Struct):
    """`image_url` of a chat part."""

    url: str = ""
    detail: str | None = None


class InputAudio(msgspec.Struct):
    """`input_audio` of a chat part."""

    data: str = ""


class File(msgspec.Struct):
    """`file` of a chat part."""

    file_data: str | None = None
    file_id: str | None = None


class Part(msgspec.Struct):
    """A content part of chat completions (`text`, `image_url`, …) or of responses (`input_text`, `input_image`, …)."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    detail: str | None = None
    input_audio: InputAudio | None = None
    file: File | None = None
    file_data: str | None = None


class FunctionCall(msgspec.Struct):
    """The function of a tool call."""

    name: str = ""
    arguments: str = ""


class ToolCall(msgspec.Struct):
    """A tool call that an assistant message repeats."""

    id: str = ""
    type: str = "function"
    function: FunctionCall | None = None


class Message(msgspec.Struct):
    """A message of chat completions."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class Function(msgspec.Struct):
    """A function tool, as chat completions nests it."""

    name: str
    parameters: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class Tool(msgspec.Struct):
    """A tool: nested (chat completions) or flat (responses)."""

    type: str
    function: Function | None = None
    name: str | None = None
    parameters: dict[str, Any] | None = None


def content(parts: str | list[Part] | None) -> tuple[int, int]:
    """Tokens of a content, and how many of them are audio."""
    if parts is None or isinstance(parts, str):
        return tokens.count(parts or ""), 0
    total = heard = 0
    for part in parts:
        total += tokens.count(part.text or "") + tokens.count(part.refusal or "")
        if isinstance(part.image_url, ImageUrl):
            total += tokens.openai_image(part.image_url.url, part.image_url.detail or part.detail or "auto")
        elif part.image_url or part.type == "input_image":
            total += tokens.openai_image(part.image_url or "", part.detail or "auto")
        if part.input_audio:
            heard += tokens.audio(part.input_audio.data)
        if part.file or part.type == "input_file":
            data = part.file_data or (part.file.file_data if part.file else None)
            total += tokens.document(data.rpartition(",")[2]) if data else _FILE
    return total + heard, heard


def message(said: Message) -> tuple[int, int]:
    """Tokens of a message, and how many of them are audio."""
    total, heard = content(said.content)
    for call in said.tool_calls or []:
        if call.function:
            total += tokens.count(call.function.name) + tokens.count(call.function.arguments)
    return total + _MESSAGE + tokens.count(said.name or ""), heard


def schema(given: object) -> int:
    """Tokens of tools, or of an answer's format: those of their JSON."""
    return tokens.count(msgspec.json.encode(given).decode()) if given else 0


def conversation(messages: list[Message], *, extra: int) -> tuple[int, int | None, int]:
    """Tokens of all, of what stood before the last assistant message (None without one), and of audio."""
    total, resent, heard = _PRIMING + extra, None, 0
    for said in messages:
        if said.role == "assistant":
            resent = total
        more, sound = message(said)
        total, heard = total + more, heard + sound
    return total, resent, heard
