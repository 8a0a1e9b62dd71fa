"""OpenAI's chat as Anthropic, Google and Cohere take it beside their own APIs: heads, errors, and what is ignored.

Promises: what their pages say of these layers (platform.claude.com/docs/en/api/openai-sdk,
ai.google.dev/gemini-api/docs/openai, docs.cohere.com/docs/compatibility-api), and of Google's counts what its users
show (discuss.ai.google.dev/t/127400). Where no page says how an error looks, it is the vendor's own.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from providers.simulator import prose
from providers.simulator.answers import Headers, Whole
from providers.simulator.anthropic import common as anthropic
from providers.simulator.google import input as google
from providers.simulator.requests import Request

_THOUGHTS_MAX: Final = 256  # of one answer, whatever the budget
_LAYERED: Final = frozenset({"anthropic", "google", "cohere"})


def is_layer(request: Request) -> bool:
    """Whether a vendor with an API of its own is asked in OpenAI's."""
    return request.provider in _LAYERED and request.path.endswith("/chat/completions")


def headers(request: Request, *, stream: bool) -> Headers:
    """The head that the vendor sends."""
    if request.provider == "anthropic":
        return anthropic.headers(request, stream=stream)
    own = google.headers()[1:] if request.provider == "google" else [("x-debug-trace-id", "0" * 32)]
    return [("content-type", "text/event-stream" if stream else "application/json"), *own]


def error(request: Request, status: int, message: str = "") -> Whole:
    """An error: of Anthropic's in OpenAI's shape, of Google's in a list; without a message, the status's usual one."""
    head = headers(request, stream=False)
    body: Any
    if request.provider == "google":
        body = [msgspec.json.decode(google.error(request, status, message).body)]
    elif request.provider == "anthropic":
        said = msgspec.json.decode(anthropic.error(request, status, message).body)["error"]
        body = {"error": {"message": said["message"], "type": said["type"], "param": None, "code": said["type"]}}
    else:
        body = {"id": prose.ident("sim", request.request_id), "message": message or "internal server error"}
    if status == 429:
        head.append(("retry-after", "1"))
    return Whole(status=status, headers=head, body=msgspec.json.encode(body))


def thoughts(request: Request, effort: str | None, thinking: dict[str, Any] | None, extra: object) -> int:
    """How many tokens are thought before the answer.

    Anthropic heeds `thinking` alone, Cohere an effort of "none" and "high", Google an effort or a budget.
    """
    if request.provider == "anthropic":
        return _budgeted(thinking, "budget_tokens") if thinking and thinking.get("type") == "enabled" else 0
    if request.provider == "cohere":
        return {"high": _THOUGHTS_MAX}.get(effort or "", 0)
    config: object = extra
    for name in ("google", "thinking_config"):
        config = config.get(name) if isinstance(config, dict) else None
    return _budgeted(config, "thinking_budget") if isinstance(config, dict) else prose.EFFORTS.get(effort or "", 0)


def _budgeted(config: Any, name: str) -> int:
    budget = config.get(name)
    return min(max(budget, 0), _THOUGHTS_MAX) if isinstance(budget, int) and not isinstance(budget, bool) else 0
