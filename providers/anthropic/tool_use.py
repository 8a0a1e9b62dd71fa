"""Tools of the caller's in Anthropic's messages. See `providers.contract.tool_use`."""

from __future__ import annotations

from collections.abc import Mapping

from providers.contract.tool_use import Json, ToolCall, members, text


class MessagesTools:
    """`tool_use` blocks, answered with a user's turn of `tool_result` blocks."""

    def pending(self, answer: Json) -> list[ToolCall]:
        """See `ToolUse`."""
        return [
            ToolCall(
                tool_call_id=text(block.get("id", "")),
                name=text(block.get("name", "")),
                arguments=text(block.get("input", {})),
            )
            for block in members(answer, "content")
            if block.get("type") == "tool_use"
        ]

    def went_on(self, request: Json, answer: Json, results: Mapping[str, str]) -> Json:
        """See `ToolUse`."""
        said = {"role": "assistant", "content": members(answer, "content")}
        outputs = [
            {"type": "tool_result", "tool_use_id": each.tool_call_id, "content": results[each.tool_call_id]}
            for each in self.pending(answer)
        ]
        return request | {
            "messages": [*members(request, "messages"), said, {"role": "user", "content": outputs}],
        }
