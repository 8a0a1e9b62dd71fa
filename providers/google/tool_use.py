"""Tools of the caller's in Gemini's contents. See `providers.contract.tool_use`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.contract.tool_use import Json, ToolCall, members, text


class ContentTools:
    """`functionCall` parts, answered with `functionResponse` parts. Calls without an id get one from their place."""

    def pending(self, answer: Json) -> list[ToolCall]:
        """See `ToolUse`."""
        return [
            ToolCall(
                tool_call_id=text(call["id"]) if "id" in call else f"call_{number}",
                name=text(call.get("name", "")),
                arguments=text(call.get("args", {})),
            )
            for number, call in enumerate(self._calls(answer))
        ]

    def went_on(self, request: Json, answer: Json, results: Mapping[str, str]) -> Json:
        """See `ToolUse`."""
        parts: list[Json] = []
        for told, call in zip(self.pending(answer), self._calls(answer), strict=True):
            response: Json = {"name": told.name, "response": {"output": results[told.tool_call_id]}}
            parts.append({"functionResponse": response | ({"id": call["id"]} if "id" in call else {})})
        contents = [*members(request, "contents"), self._content(answer), {"role": "user", "parts": parts}]
        return request | {"contents": contents}

    def _content(self, answer: Json) -> Json:
        first = next(iter(members(answer, "candidates")), {})
        content = first.get("content")
        return content if isinstance(content, dict) else {}

    def _calls(self, answer: Json) -> list[dict[str, Any]]:
        parts = members(self._content(answer), "parts")
        return [call for part in parts if isinstance(call := part.get("functionCall"), dict)]
