"""Requests whose insides are as rich as the vendors' SDKs make them, and the same with something in it that is new."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 10, 10) + bytes(200)).decode()
_PICTURE = f"data:image/png;base64,{PNG}"
NEW = "brand_new_member"
# Members that are the caller's own, whatever is in them.
# Settings whose `type` is a value like others: it tells no kind of object.
SETTINGS = ()
FREE = frozenset(
    {"arguments", "parameters", "metadata", "input_schema", "args", "response", "schema", "input", "data", "documents"}
)
_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
_CACHED = {"cache_control": {"type": "ephemeral"}}
_BLOCK = {"type": "text", "text": "hi"}
_SCHEMA = {"name": "s", "schema": {"type": "object"}, "strict": True}

ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (
        "/v1/chat/completions",
        {
            "model": "gpt-4o-mini", "max_tokens": 9,
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "be short"}]},
                {"role": "developer", "content": [{"type": "text", "text": "be kind"}], "name": "d"},
                {"role": "user", "content": [
                    {"type": "text", "text": "look", "prompt_cache_breakpoint": {"mode": "explicit"}},
                    {"type": "image_url", "image_url": {"url": _PICTURE, "detail": "low"}},
                ]},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "refusal": None,
                 "annotations": [{"type": "url_citation", "url_citation": {"url": "u", "title": "t"}}],
                 "tool_calls": [_CALL, {"id": "c", "type": "custom", "custom": {"name": "g", "input": "x"}}]},
                {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "42"}]},
                {"role": "tool", "tool_call_id": "c", "content": "43"},
            ],
            "tools": [_FUNCTION, {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": _SCHEMA},
            "metadata": {"a": "b"}, "logit_bias": {"1": 2}, "stop": ["x"],
        },
    ),
    "responses": (
        "/v1/responses",
        {
            "model": "gpt-4o-mini", "max_output_tokens": 16,
            "input": [
                {"role": "user", "content": "hi"},
                {"type": "message", "role": "user", "content": [
                    {"type": "input_text", "text": "look"},
                    {"type": "input_image", "image_url": _PICTURE, "detail": "low"},
                    {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGk="},
                ]},
                {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [
                    {"type": "output_text", "text": "well", "annotations": [
                        {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}],
                     "logprobs": []}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "42"}]},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "x" * 9},
                {"type": "local_shell_call_output", "id": "l", "output": "done"},
                {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "g"}]},
            ],
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
            "tool_choice": {"type": "function", "name": "f"},
            "text": {"format": {"type": "json_schema", **_SCHEMA}, "verbosity": "low"},
            "reasoning": {"effort": "low"}, "metadata": {"a": "b"},
        },
    ),
    "messages": (
        "/v1/messages",
        {
            "model": "claude-haiku-4-5", "max_tokens": 9,
            "system": [_BLOCK | _CACHED],
            "messages": [
                {"role": "user", "content": [
                    _BLOCK | _CACHED,
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                    {"type": "document", "source": {"type": "content", "content": [_BLOCK]}, "title": "t",
                     "citations": {"enabled": True}},
                    {"type": "search_result", "source": "s", "title": "t", "content": [_BLOCK]},
                ]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [
                        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
                        {"type": "tool_reference", "tool_name": "f"}]},
                ]},
            ],
            "tools": [{"name": "f", "input_schema": {"type": "object"}} | _CACHED,
                      {"type": "bash_20250124", "name": "bash"}],
            "tool_choice": {"type": "auto"}, "metadata": {"user_id": "u"},
            "thinking": {"type": "disabled"},
        },
    ),
    "gemini": (
        "/v1beta/models/gemini-2.5-flash:generateContent",
        {
            "systemInstruction": {"parts": [{"text": "be short"}]},
            "contents": [
                {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}},
                                             "thoughtSignature": "x"}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a": 1}, "parts": [
                    {"inlineData": {"mimeType": "image/png", "data": PNG}}]}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "generationConfig": {"maxOutputTokens": 9, "thinkingConfig": {"thinkingBudget": 0}},
        },
    ),
    "gemini, in snake case": (
        "/v1beta/models/gemini-2.5-flash:generateContent",
        {
            "system_instruction": {"parts": {"text": "be short"}},
            "contents": [
                {"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": PNG}}]},
                {"role": "model", "parts": [{"function_call": {"name": "f", "args": {}}, "thought_signature": "x"}]},
                {"role": "user", "parts": [{"function_response": {"name": "f", "response": {}}}]},
            ],
            "generation_config": {"max_output_tokens": 9, "thinking_config": {"thinking_budget": 0}},
        },
    ),
    "cohere": (
        "/v2/chat",
        {
            "model": "command-r-08-2024", "max_tokens": 9,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {"role": "assistant", "tool_plan": "p", "tool_calls": [_CALL]},
                {"role": "tool", "tool_call_id": "call_1",
                 "content": [{"type": "document", "document": {"id": "1", "data": {"a": "b"}}}]},
            ],
            "tools": [_FUNCTION], "documents": [{"id": "d", "data": {"text": "x"}}],
        },
    ),
    "cohere 1": (
        "/v1/chat",
        {"model": "command-r-08-2024", "message": "hi", "max_tokens": 9,
         "chat_history": [{"role": "USER", "message": "hi"},
                          {"role": "CHATBOT", "tool_calls": [{"name": "f", "parameters": {}}]}]},
    ),
    "cohere embed": (
        "/v2/embed",
        {"model": "embed-v4.0", "input_type": "classification", "embedding_types": ["float"],
         "inputs": [{"content": [{"type": "text", "text": "hi"}]}]},
    ),
    "mistral": (
        "/v1/chat/completions",
        {
            "model": "mistral-small-latest", "max_tokens": 9,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"},
                                             {"type": "image_url", "image_url": _PICTURE},
                                             {"type": "reference", "reference_ids": [1]}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True}],
                 "prefix": True},
            ],
        },
    ),
}  # fmt: skip


def objects(value: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in a value that is not free, the value's own first, with its place."""
    if isinstance(value, dict):
        yield place, value
        for name, inner in value.items():
            if (name not in FREE and name != "logit_bias") or (name == "input" and isinstance(inner, list)):
                yield from objects(inner, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from objects(inner, f"{place}[{at}]")


def strangers(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The body once for each object in it, with a member that nobody knows, and with a kind that nobody knows."""
    places = [place for place, _ in objects(body) if place]
    for number, place in enumerate(places, 1):
        for name in (NEW, "type"):
            changed = json.loads(json.dumps(body))  # nothing in it twice
            found = [inside for _, inside in objects(changed)][number]
            if name == "type" and ("type" not in found or place.endswith(SETTINGS)):
                continue
            found[name] = "hologram"
            yield f"{place}.{name}", changed


# The same at those who take OpenAI's chat beside an API of their own.
LAYERED = {
    f"chat at {provider}": (ASKS["chat"][0], ASKS["chat"][1] | {"model": model})
    for provider, model in (
        ("anthropic", "claude-haiku-4-5"),
        ("google", "gemini-2.5-flash"),
        ("cohere", "command-a-03-2025"),
    )
}
