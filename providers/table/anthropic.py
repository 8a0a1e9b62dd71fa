"""Anthropic's operations."""

from __future__ import annotations

from providers.anthropic_messages import ANTHROPIC_MESSAGES
from providers.free import FREE_POST, FREE_READ
from providers.table.row import row

ROWS = (
    row("POST", "/v1/messages", "anthropic", "messages", ANTHROPIC_MESSAGES),
    row("POST", "/v1/messages/count_tokens", "anthropic", "messages.count_tokens", FREE_POST, billable=False),
    row("GET", "/v1/models", "anthropic", "models", FREE_READ, billable=False),
    row("GET", "/v1/models/{id}", "anthropic", "models", FREE_READ, billable=False),
)
