"""OpenAI's conversations: made, looked at, changed, deleted, and items added.

Promises: an id carries when its conversation was made; items and metadata are not kept, so a list of items is empty.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from providers.simulator import prose
from providers.simulator.answers import Draft, Whole
from providers.simulator.openai import common as openai
from providers.simulator.requests import Refusal, Request
from providers.simulator.stored import memory

_BASE: Final = "/v1/conversations"


class _Conversation(msgspec.Struct, frozen=True):
    nonce: str
    created_s: int


class _Body(msgspec.Struct):
    items: list[dict[str, Any]] | None = None
    metadata: dict[str, str] | None = None


def answer(request: Request) -> Draft:
    """Answer any request about conversations."""
    rest = request.path.partition(_BASE)[2].strip("/")
    body = openai.read(request, _Body) if request.method == "POST" and request.body else _Body()
    if not rest:
        made = _Conversation(memory.nonce(request.request_id), request.now_s)
        return _said(request, _shown(made, body))
    id_, _, sub = rest.partition("/")
    found = memory.recall("conv_", id_, _Conversation)
    if found is None:
        raise Refusal(openai.error(request, 404, f"Conversation with id '{id_[:200]}' not found."))
    if sub.startswith("items"):
        return _said(request, _items(request, body))
    if request.method == "DELETE":
        return _said(request, {"id": id_, "object": "conversation.deleted", "deleted": True})
    return _said(request, _shown(found, body))


def _shown(found: _Conversation, body: _Body) -> dict[str, Any]:
    return {
        "id": memory.keep("conv_", found),
        "object": "conversation",
        "created_at": found.created_s,
        "metadata": body.metadata or {},
    }


def _items(request: Request, body: _Body) -> dict[str, Any]:
    items = []
    for at, item in enumerate(body.items or []):
        content = item.get("content", "")
        parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
        id_ = prose.ident("msg_", request.request_id, str(at))
        items.append({"type": "message", "status": "completed"} | item | {"id": id_, "content": parts})
    ids = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return {"object": "list", "data": items, "first_id": ids[0], "last_id": ids[1], "has_more": False}


def _said(request: Request, body: dict[str, Any]) -> Whole:
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(body))
