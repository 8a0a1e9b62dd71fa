"""POST /v1/responses, its /compact and /input_tokens, as OpenAI answers them.

Promises: full answers and the whole sequence of typed events (openai 3.54, `types/responses`): created, in_progress,
items and parts with their deltas, then completed, or incomplete where the maximum cut the answer. Usage stands in the
last event only (providers.md §3). Tools are called as in chat completions. `previous_response_id` is taken as it comes
and adds no input. A stored answer comes back by its id, which carries its model, sums and words; what was asked, and a
call of a tool, are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from providers.simulator import prose, schemas, tokens
from providers.simulator.answers import Draft, Stream, Whole, event
from providers.simulator.compatible import vendors
from providers.simulator.openai import common as openai
from providers.simulator.openai import input as openai_input
from providers.simulator.openai.chat import called, structured
from providers.simulator.openai.input import Message, Part, Tool
from providers.simulator.requests import Refusal, Request, streamed
from providers.simulator.stored import memory
from providers.simulator.tokens import pieces
from providers.simulator.usages import distorted, invoiced

_LEAST: Final = 16  # the least `max_output_tokens`, as the provider
_GARBAGE: Final = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","seq\n\n'


class _Stored(msgspec.Struct):
    """What an answer's id carries. `hidden` is the part of `output` that is reasoning."""

    model: str
    created_s: int
    tier: str
    number: int
    input: int
    cached: int
    written: int
    output: int
    hidden: int
    full: bool
    nonce: str


class _Item(msgspec.Struct):
    """An input item: a message, a call, a call's result, or anything else, which counts nothing."""

    type: str | None = None
    role: str | None = None
    content: str | list[Part] | None = None
    name: str | None = None
    arguments: Any = None
    output: Any = None


class _Format(msgspec.Struct):
    type: str
    schema: dict[str, Any] | None = None


class _TextConfig(msgspec.Struct):
    format: _Format | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Body(msgspec.Struct):
    model: str | None = None
    input: str | list[_Item] | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: _TextConfig | None = None
    reasoning: _Reasoning | None = None
    service_tier: str | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    background: bool | None = None


def input_tokens(request: Request) -> Draft:
    """Answer a count; it is free."""
    body = openai.read(request, _Body)
    counted = {"object": "response.input_tokens", "input_tokens": _count(body)[0]}
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(counted))


def compact(request: Request) -> Draft:
    """Answer with the conversation made shorter: its user's messages, and one item that nobody can read."""
    body = openai.read(request, _Body)
    openai.served_model(request, body.model)
    total, _ = _count(body)
    billed = {
        "input_tokens": total,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": max(total // 4, 1),
        "reasoning_tokens": 0,
    }
    number = prose.seed((body.instructions, body.input))
    kept = [item for item in msgspec.to_builtins(body.input) if item.get("role") == "user"] if isinstance(
        body.input, list
    ) else []  # fmt: skip
    item = {"id": f"cmp_{number:x}", "type": "compaction", "encrypted_content": f"simulated{number:x}"}
    final: dict[str, Any] = {
        "id": f"resp_{number:x}",
        "object": "response.compaction",
        "created_at": request.now_s,
        "output": [*kept, item],
    }
    if usages := distorted(_usage(billed), request.faults.usage):
        final["usage"] = usages[-1]
    invoice = invoiced(vendors.invoice(request, billed), request.faults.usage)
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(final), billed=invoice)


def answer(request: Request) -> Draft:
    """Answer one request."""
    body = openai.read(request, _Body)
    model = openai.served_model(request, body.model)
    if not body.input and not body.previous_response_id:
        message = "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided."
        openai.refuse(request, message, param="input", code="missing_required_parameter")
    openai.at_least(request, "max_output_tokens", body.max_output_tokens, _LEAST)
    total, resent = _count(body)
    cached, written = openai.cache(request, model, total, resent)
    said, tool = _say(request, body)
    tier = openai.tier(request, body.service_tier)
    number = prose.seed((body.instructions, body.input))
    stored = _Stored(
        model[:100],
        request.now_s,
        tier,
        number,
        total,
        cached,
        written,
        said.tokens,
        said.hidden,
        said.full,
        memory.nonce(request.request_id),
    )
    billed = _billed(stored)
    if request.faults.web_searches:
        billed["web_searches"] = request.faults.web_searches
    base = _base(body, model, memory.keep("resp_", stored), stored)
    usages = distorted(vendors.responses_usage(request, _usage(billed), billed), request.faults.usage)
    final = base | _ending(base["id"], stored, said, tool)
    if usages:
        final["usage"] = usages[-1]
        final["tool_usage"] = _tool_usage(request.faults.web_searches)
    final |= vendors.habit(request).always
    invoice = invoiced(vendors.invoice(request, billed), request.faults.usage)
    if streamed(request, body.stream):
        return Stream(
            headers=openai.headers(request, stream=True),
            events=_events(base, final, said, tool),
            billed=invoice,
            failure=lambda number: _failure(base, number),
            garbage=_GARBAGE,
        )
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(final), billed=invoice)


def stored(request: Request) -> Draft:
    """Answer for an answer by its id: GET, DELETE, POST …/cancel and GET …/input_items."""
    _, _, rest = request.path.rpartition("/responses/")
    id_, _, sub = rest.partition("/")
    found = memory.recall("resp_", id_, _Stored)
    if found is None:
        message = f"Response with id '{id_[:200]}' not found."
        raise Refusal(openai.error(request, 404, message))
    answered: dict[str, Any]
    if sub == "input_items":
        answered = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    elif request.method == "DELETE":
        answered = {"id": id_, "object": "response", "deleted": True}
    else:
        visible = prose.prose(found.number, tokens=found.output - found.hidden, limit=None, stops=[])
        said = prose.Text(pieces=visible.pieces, hidden=found.hidden, full=found.full)
        answered = _base(_Body(), found.model, id_, found) | _ending(id_, found, said, "")
        answered |= {"usage": _usage(_billed(found)), "tool_usage": _tool_usage(0)}
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(answered))


def kept(model: str, created_s: int, billed: dict[str, int], text: str, number: int) -> dict[str, Any]:
    """An answer with these counts and words, as in the results of a batch."""
    stored = _Stored(
        model,
        created_s,
        "default",
        number,
        billed["input_tokens"],
        billed["cached_tokens"],
        billed["cache_write_tokens"],
        billed["output_tokens"],
        0,
        full=False,
        nonce=str(number),
    )
    id_ = memory.keep("resp_", stored)
    answered = _base(_Body(), model, id_, stored) | _ending(id_, stored, prose.Text(pieces=[text]), "")
    return answered | {"usage": _usage(billed), "tool_usage": _tool_usage(0)}


def _ending(id_: str, stored: _Stored, said: prose.Text, tool: str) -> dict[str, Any]:
    return {
        "status": "incomplete" if said.full else "completed",
        "completed_at": None if said.full else stored.created_s,
        "incomplete_details": {"reason": "max_output_tokens"} if said.full else None,
        "output": [item for item, _ in _items(id_, said, tool, whole=True)],
    }


def _billed(stored: _Stored) -> dict[str, int]:
    return {
        "input_tokens": stored.input,
        "cached_tokens": stored.cached,
        "cache_write_tokens": stored.written,
        "output_tokens": stored.output,
        "reasoning_tokens": stored.hidden,
    }


def _count(body: _Body) -> tuple[int, int | None]:
    """Input tokens, and those before the last assistant turn."""
    form = body.text.format if body.text else None
    extra = openai_input.schema(body.tools) + openai_input.schema(form) + tokens.count(body.instructions or "")
    items = [_Item(role="user", content=body.input)] if isinstance(body.input, str) else body.input or []
    turns = [Message(role=_role(item), content=item.content, name=item.name) for item in items]
    total, resent, _ = openai_input.conversation(turns, extra=extra)
    for item in items:
        for value in (item.arguments, item.output):
            if value is not None:
                text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
                total += tokens.count(text)
    return total, resent


def _role(item: _Item) -> str:
    model = item.type in ("function_call", "reasoning", "custom_tool_call")
    return item.role or ("assistant" if model else "tool")


def _say(request: Request, body: _Body) -> tuple[prose.Text, str]:
    limit = body.max_output_tokens
    hidden = prose.EFFORTS.get((body.reasoning.effort if body.reasoning else None) or "", 0)
    items = body.input if isinstance(body.input, list) else []
    known = [Tool(type="function", name=str(tool.get("name", "")), parameters=_schema(tool))
             for tool in body.tools or [] if tool.get("type") == "function"]  # fmt: skip
    tool = called(known, body.tool_choice, after_result=bool(items) and _role(items[-1]) in ("tool", "assistant"))
    form = body.text.format if body.text else None
    if tool:
        arguments = json.dumps(schemas.example(tool.parameters or {}), separators=(",", ":"))
        return prose.clip(pieces(arguments), limit=limit, stops=[], hidden=hidden), tool.name or ""
    if form and form.type in ("json_object", "json_schema"):
        return prose.clip(pieces(structured(form.schema)), limit=limit, stops=[], hidden=hidden), ""
    wanted = request.faults.output_tokens
    number = prose.seed((body.instructions, body.input))
    return prose.prose(number, tokens=wanted, limit=limit, stops=[], hidden=hidden), ""


def _schema(tool: dict[str, Any]) -> dict[str, Any] | None:
    given = tool.get("parameters")
    return given if isinstance(given, dict) else None


def _base(body: _Body, model: str, id_: str, stored: _Stored) -> dict[str, Any]:
    form = body.text.format if body.text else None
    shown: dict[str, Any] = {"type": "text"}
    if form and form.type == "json_schema":
        shown = {"type": "json_schema", "name": "answer", "schema": form.schema or {}}
    elif form:
        shown = {"type": form.type}
    return {
        "id": id_,
        "object": "response",
        "created_at": stored.created_s,
        "status": "in_progress",
        "background": bool(body.background),
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
        "service_tier": stored.tier,
        "store": body.store is not False,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "text": {"format": shown, "verbosity": "medium"},
        "tool_choice": body.tool_choice or "auto",
        "tools": body.tools or [],
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "truncation": "disabled",
        "usage": None,
    }


def _usage(billed: dict[str, int]) -> dict[str, Any]:
    return {
        "input_tokens": billed["input_tokens"],
        "input_tokens_details": {
            "cached_tokens": billed["cached_tokens"],
            "cache_write_tokens": billed["cache_write_tokens"],
        },
        "output_tokens": billed["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": billed["reasoning_tokens"]},
        "total_tokens": billed["input_tokens"] + billed["output_tokens"],
    }


def _tool_usage(searches: int) -> dict[str, Any]:
    parts = {"image_tokens": 0, "text_tokens": 0}
    images = {"input_tokens": 0, "input_tokens_details": parts, "output_tokens": 0, "total_tokens": 0}
    return {"image_gen": images, "web_search": {"num_requests": searches}}


def _items(id_: str, said: prose.Text, tool: str, *, whole: bool) -> Iterator[tuple[dict[str, Any], str]]:
    """Each output item, finished or as it is announced, and its kind."""
    status = ("incomplete" if said.full else "completed") if whole else "in_progress"
    if said.hidden:
        yield {"id": prose.ident("rs_", id_), "type": "reasoning", "summary": []}, "reasoning"
    if tool:
        yield (
            {
                "id": prose.ident("fc_", id_),
                "type": "function_call",
                "status": status,
                "arguments": said.text if whole else "",
                "call_id": prose.ident("call_", id_),
                "name": tool,
            },
            "call",
        )
    else:
        yield (
            {
                "id": prose.ident("msg_", id_),
                "type": "message",
                "status": status,
                "content": [_part(said.text)] if whole else [],
                "role": "assistant",
            },
            "message",
        )


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _events(base: dict[str, Any], final: dict[str, Any], said: prose.Text, tool: str) -> Iterator[tuple[bytes, int]]:
    sequence = -1

    def typed(kind: str, **data: Any) -> bytes:
        nonlocal sequence
        sequence += 1
        return event({"type": f"response.{kind}", "sequence_number": sequence, **data}, f"response.{kind}")

    yield typed("created", response=base), 0
    yield typed("in_progress", response=base), 0
    generated = 0
    finished = _items(base["id"], said, tool, whole=True)
    for index, (opened, kind) in enumerate(_items(base["id"], said, tool, whole=False)):
        yield typed("output_item.added", output_index=index, item=opened), generated
        place: dict[str, Any] = {"item_id": opened["id"], "output_index": index}
        if kind == "reasoning":
            generated = said.hidden
        elif kind == "call":
            for piece in said.pieces:
                generated += 1
                yield typed("function_call_arguments.delta", **place, delta=piece), generated
            yield typed("function_call_arguments.done", **place, arguments=said.text, name=tool), generated
        else:
            place["content_index"] = 0
            yield typed("content_part.added", **place, part=_part("")), generated
            for piece in said.pieces:
                generated += 1
                yield typed("output_text.delta", **place, delta=piece, logprobs=[]), generated
            yield typed("output_text.done", **place, text=said.text, logprobs=[]), generated
            yield typed("content_part.done", **place, part=_part(said.text)), generated
        yield typed("output_item.done", output_index=index, item=next(finished)[0]), generated
    yield typed(final["status"], response=final), generated


def _failure(base: dict[str, Any], number: int) -> bytes:
    message = "The server had an error while processing your request. Sorry about that!"
    said = {"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": number}
    failed = base | {"status": "failed", "error": {"code": "server_error", "message": message}}
    ending = {"type": "response.failed", "sequence_number": number + 1, "response": failed}
    return event(said, "error") + event(ending, "response.failed")
