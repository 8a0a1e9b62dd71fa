"""Anthropic's operations."""

from __future__ import annotations

from providers.anthropic_messages import ANTHROPIC_MESSAGES
from providers.free import FREE_POST, FREE_READ
from providers.objects import Makes, Refers
from providers.table.row import row

_NAMES = {"file_id": Refers(kind="file"), "container": Refers(kind="container")}
_CONTAINER = Makes(
    kind="container",
    at="container.id",
    streamed=("message.container.id", "delta.container.id"),
    keep_s=31 * 86_400,  # it is kept for 30 days
    when=r'"code_execution|"container"',
)

ROWS = (
    row("POST", "/v1/messages", "anthropic", "messages", ANTHROPIC_MESSAGES, names=_NAMES, makes=(_CONTAINER,)),
    row(
        "POST",
        "/v1/messages/count_tokens",
        "anthropic",
        "messages.count_tokens",
        FREE_POST,
        billable=False,
        names=_NAMES,
    ),
    row("GET", "/v1/models", "anthropic", "models", FREE_READ, billable=False),
    row("GET", "/v1/models/{id}", "anthropic", "models", FREE_READ, billable=False),
)
