"""Which operations can ask for a caller's own tools, and in which shape. See `providers.contract.tool_use`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from providers.anthropic.tool_use import MessagesTools
from providers.contract.tool_use import ToolUse
from providers.google.tool_use import ContentTools
from providers.openai.tool_use import ChatTools, ResponsesTools

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
