"""POST /v1/messages and /v1/messages/count_tokens, as Anthropic answers them.

Promises: full answers and events that the official SDK's types take (anthropic 2.12), with `event:` lines and a ping;
input usage in `message_start`, cumulative usage in `message_delta` (providers.md §3, P2). A tool is called if the last
turn is the user's and holds no tool result, and the model may choose; with `any` or `tool`, always.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from providers.simulator import prose, schemas
from providers.simulator.answers import Draft, Stream, Whole, event
from providers.simulator.anthropic import common as anthropic
from providers.simulator.anthropic import input as anthropic_input
from providers.simulator.anthropic.input import Block, CacheControl, Input, Message, Tool
from providers.simulator.openai import input as openai_input
from providers.simulator.openai.chat import structured
from providers.simulator.requests import Request, streamed
from providers.simulator.tokens import pieces
from providers.simulator.usages import distorted, invoiced

_THINKING_MIN: Final = 1_024  # the least `budget_tokens`
_THOUGHTS: Final = 48  # tokens of thinking before an answer
_GARBAGE: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del\n\n'


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None


class _Format(msgspec.Struct):
    type: str
    schema: dict[str, Any] | None = None


class _Output(msgspec.Struct):
    format: _Format | None = None


class _Body(msgspec.Struct):
    model: str | None = None
    max_tokens: int | None = None
    messages: list[Message] | None = None
    system: str | list[Block] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _Output | None = None
    cache_control: CacheControl | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None


class _Said(msgspec.Struct):
    """The content: thinking, then text or one tool call."""

    said: prose.Text
    thoughts: list[str]
    shown: bool  # thinking is on, and not omitted
    tool: str = ""

    @property
    def stop_reason(self) -> str:
        if self.said.full:
            return "max_tokens"
        return "tool_use" if self.tool else "stop_sequence" if self.said.stop is not None else "end_turn"


def count_tokens(request: Request) -> Draft:
    """Answer a count; it is free."""
    body = anthropic.read(request, _Body)
    anthropic.served_model(request, body.model)
    total = _count(request, body).total
    return Whole(headers=anthropic.headers(request), body=msgspec.json.encode({"input_tokens": total}))


def answer(request: Request) -> Draft:
    """Answer one request."""
    body = anthropic.read(request, _Body)
    model = anthropic.served_model(request, body.model)
    if body.max_tokens is None:
        anthropic.refuse(request, "max_tokens: Field required")
    if body.max_tokens < 1:
        anthropic.refuse(request, "max_tokens: Input should be greater than or equal to 1")
    counted = _count(request, body)
    said = _say(request, body, body.max_tokens)
    read, minutes, hour = counted.cached(request.faults.cache)
    billed = {
        "input_tokens": counted.total - read - minutes - hour,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": minutes + hour,
        "ephemeral_5m_input_tokens": minutes,
        "ephemeral_1h_input_tokens": hour,
        "output_tokens": said.said.tokens,
    }
    if request.faults.web_searches:
        billed["web_searches"] = request.faults.web_searches
    base: dict[str, Any] = {
        "id": prose.ident("msg_", request.request_id),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    usages = distorted(_usage(request, body, billed, said), request.faults.usage)
    invoice = invoiced(billed, request.faults.usage)
    if streamed(request, body.stream):
        return Stream(
            headers=anthropic.headers(request, stream=True),
            events=_events(base, said, _blocks(request, said), usages),
            billed=invoice,
            failure=anthropic.in_band_error,
            garbage=_GARBAGE,
        )
    full = base | {
        "content": [block for block, _, _ in _blocks(request, said)],
        "stop_reason": said.stop_reason,
        "stop_sequence": said.said.stop,
    }
    if usages:
        full["usage"] = usages[-1]
    return Whole(headers=anthropic.headers(request), body=msgspec.json.encode(full), billed=invoice)


def _count(request: Request, body: _Body) -> Input:
    if body.messages is None:
        anthropic.refuse(request, "messages: Field required")
    if not body.messages:
        anthropic.refuse(request, "messages: at least one message is required")
    for message in body.messages:
        if message.role not in ("user", "assistant", "system"):
            said = f"messages: Unexpected role \"{message.role[:40]}\". Allowed roles are 'user' or 'assistant'."
            anthropic.refuse(request, said)
    marked = anthropic_input.breakpoints(body.system, body.messages, body.tools) + (body.cache_control is not None)
    if marked > anthropic_input.BREAKPOINTS_MAX:
        anthropic.refuse(request, f"A maximum of 4 blocks with cache_control may be provided. Found {marked}.")
    thinking = body.thinking
    if thinking and thinking.type == "enabled":
        budget = thinking.budget_tokens
        if budget is None or budget < _THINKING_MIN:
            anthropic.refuse(request, "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if body.max_tokens is not None and body.max_tokens <= budget:
            anthropic.refuse(request, "`max_tokens` must be greater than `thinking.budget_tokens`")
    extra = openai_input.schema(body.output_config.format if body.output_config else None)
    return anthropic_input.count(body.system, body.messages, body.tools, whole=body.cache_control, extra=extra)


def _say(request: Request, body: _Body, limit: int) -> _Said:
    thinks = body.thinking is not None and body.thinking.type in ("enabled", "adaptive")
    hidden = _THOUGHTS if thinks else 0
    shown = thinks and body.thinking is not None and body.thinking.display != "omitted"
    stops = body.stop_sequences or []
    number = prose.seed((body.system, body.messages))
    tool = _called(body)
    form = body.output_config.format if body.output_config else None
    if tool:
        said = prose.clip(pieces(json.dumps(schemas.example(tool.input_schema), separators=(",", ":"))),
                          limit=limit, stops=[], hidden=hidden)  # fmt: skip
    elif form and form.type == "json_schema":
        said = prose.clip(pieces(structured(form.schema)), limit=limit, stops=stops, hidden=hidden)
    else:
        wanted = request.faults.output_tokens
        said = prose.prose(number, tokens=wanted, limit=limit, stops=stops, hidden=hidden)
    thoughts = prose.prose(number + 1, tokens=said.hidden, limit=None, stops=[]).pieces
    return _Said(said, thoughts, shown, tool.name if tool else "")


def _called(body: _Body) -> Tool | None:
    mine = [tool for tool in body.tools or [] if tool.input_schema is not None]
    choice = body.tool_choice.type if body.tool_choice else "auto"
    if body.tool_choice and choice == "tool":
        mine = [tool for tool in mine if tool.name == body.tool_choice.name]
    last = (body.messages or [])[-1]
    results = not isinstance(last.content, str) and any(block.type == "tool_result" for block in last.content)
    if not mine or choice == "none" or (choice == "auto" and (last.role != "user" or results)):
        return None
    return mine[0]


def _usage(request: Request, body: _Body, billed: dict[str, int], said: _Said) -> dict[str, Any]:
    searches = request.faults.web_searches
    return {
        "input_tokens": billed["input_tokens"],
        "cache_creation_input_tokens": billed["cache_creation_input_tokens"],
        "cache_read_input_tokens": billed["cache_read_input_tokens"],
        "cache_creation": {
            "ephemeral_5m_input_tokens": billed["ephemeral_5m_input_tokens"],
            "ephemeral_1h_input_tokens": billed["ephemeral_1h_input_tokens"],
        },
        "output_tokens": billed["output_tokens"],
        "output_tokens_details": {"thinking_tokens": said.said.hidden},
        "server_tool_use": {"web_search_requests": searches, "web_fetch_requests": 0} if searches else None,
        "service_tier": request.faults.service_tier or "standard",
        "speed": "fast" if body.speed == "fast" else "standard",
        "inference_geo": body.inference_geo or "global",
    }


def _blocks(request: Request, said: _Said) -> list[tuple[dict[str, Any], list[str], str]]:
    """Each content block in full, the pieces that it is streamed in, and the field of its deltas."""
    blocks: list[tuple[dict[str, Any], list[str], str]] = []
    if said.thoughts:
        shown = said.thoughts if said.shown else []
        signature = prose.ident("sim", request.request_id, "signature")
        thinking = {"type": "thinking", "thinking": "".join(shown), "signature": signature}
        blocks.append((thinking, shown, "thinking"))
    if said.tool:
        try:
            given = json.loads(said.said.text)
        except ValueError:
            given = {}  # cut off by the maximum
        call_id = prose.ident("toolu_", request.request_id)
        call = {"type": "tool_use", "id": call_id, "name": said.tool, "input": given if isinstance(given, dict) else {}}
        blocks.append((call, said.said.pieces, "partial_json"))
    elif said.said.pieces:
        blocks.append(({"type": "text", "text": said.said.text}, said.said.pieces, "text"))
    return blocks


_STARTS: Final[dict[str, dict[str, Any]]] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "partial_json": {"input": {}},
}
_DELTAS: Final = {"text": "text_delta", "thinking": "thinking_delta", "partial_json": "input_json_delta"}


def _events(
    base: dict[str, Any],
    said: _Said,
    blocks: list[tuple[dict[str, Any], list[str], str]],
    usages: list[dict[str, Any]],
) -> Iterator[tuple[bytes, int]]:
    def named(data: dict[str, Any]) -> bytes:
        return event(data, data["type"])

    opening = base
    if usages:
        first = usages[0]["output_tokens"]
        opening = base | {"usage": usages[0] | {"output_tokens": min(1, first)}}
    generated = 0
    yield named({"type": "message_start", "message": opening}), generated
    for index, (block, parts, field) in enumerate(blocks):
        yield named({"type": "content_block_start", "index": index, "content_block": block | _STARTS[field]}), generated
        if index == 0:
            yield named({"type": "ping"}), generated
        for part in parts:
            generated += 1
            delta = {"type": _DELTAS[field], field: part}
            yield named({"type": "content_block_delta", "index": index, "delta": delta}), generated
        if field == "thinking":
            generated = said.said.hidden
            signature = {"type": "signature_delta", "signature": block["signature"]}
            yield named({"type": "content_block_delta", "index": index, "delta": signature}), generated
        yield named({"type": "content_block_stop", "index": index}), generated
    ending = {"stop_reason": said.stop_reason, "stop_sequence": said.said.stop}
    restated: list[dict[str, Any]] = [{"usage": _cumulative(usage)} for usage in usages] or [{}]
    for usage in restated:
        yield named({"type": "message_delta", "delta": ending} | usage), generated
    yield named({"type": "message_stop"}), generated


def _cumulative(usage: dict[str, Any]) -> dict[str, Any]:
    """What `message_delta` restates (anthropic 2.12, `types/message_delta_usage.py`)."""
    kept = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens",
            "output_tokens_details", "server_tool_use")  # fmt: skip
    return {name: usage[name] for name in kept}
