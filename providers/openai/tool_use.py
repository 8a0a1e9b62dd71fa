"""Tools of the caller's in OpenAI's two shapes: responses and chat completions. See `providers.contract.tool_use`."""

from __future__ import annotations

from collections.abc import Mapping

from providers.contract.tool_use import Json, ToolCall, members, text


class ResponsesTools:
    """`function_call` items, answered with `function_call_output` items."""

    def pending(self, answer: Json) -> list[ToolCall]:
        """See `ToolUse`."""
        return [
            ToolCall(
                tool_call_id=text(item.get("call_id", "")),
                name=text(item.get("name", "")),
                arguments=text(item.get("arguments", "")),
            )
            for item in members(answer, "output")
            if item.get("type") == "function_call"
        ]

    def went_on(self, request: Json, answer: Json, results: Mapping[str, str]) -> Json:
        """See `ToolUse`."""
        said = request.get("input", [])
        turns = [{"role": "user", "content": said}] if isinstance(said, str) else list(said)
        outputs = [
            {"type": "function_call_output", "call_id": each.tool_call_id, "output": results[each.tool_call_id]}
            for each in self.pending(answer)
        ]
        return request | {"input": [*turns, *members(answer, "output"), *outputs]}


class ChatTools:
    """`tool_calls` of the first choice, answered with messages of role `tool`."""

    def pending(self, answer: Json) -> list[ToolCall]:
        """See `ToolUse`."""
        return [
            ToolCall(
                tool_call_id=text(call.get("id", "")),
                name=text(called.get("name", "")),
                arguments=text(called.get("arguments", "")),
            )
            for call in members(self._message(answer), "tool_calls")
            if isinstance(called := call.get("function"), dict)
        ]

    def went_on(self, request: Json, answer: Json, results: Mapping[str, str]) -> Json:
        """See `ToolUse`."""
        outputs = [
            {"role": "tool", "tool_call_id": each.tool_call_id, "content": results[each.tool_call_id]}
            for each in self.pending(answer)
        ]
        return request | {"messages": [*members(request, "messages"), self._message(answer), *outputs]}

    def _message(self, answer: Json) -> Json:
        first = next(iter(members(answer, "choices")), {})
        message = first.get("message")
        return message if isinstance(message, dict) else {}
