"""Which operations can ask for a caller's own tools, and in which shape. See `providers.contract.tool_use`.

And what a node of a workflow asks for that says no more than its request.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from providers.anthropic.tool_use import MessagesTools
from providers.contract.tool_use import ToolUse
from providers.google.tool_use import ContentTools
from providers.openai.tool_use import ChatTools, ResponsesTools
from providers.openai.workflow_parts import as_responses

WORKFLOW_PATH = "/v1/responses"
"""Where a node's request goes that names no path: it is written as `workflow.v0` has it, see `as_responses`."""

TOOL_USE: Mapping[str, ToolUse] = MappingProxyType(
    {
        "responses": ResponsesTools(),
        "chat.completions": ChatTools(),
        "text.chatcompletion_v2": ChatTools(),
        "messages": MessagesTools(),
        "models.generate_content": ContentTools(),
    }
)
"""By the name of the operation, whoever's it is."""

__all__ = ["TOOL_USE", "WORKFLOW_PATH", "as_responses"]
