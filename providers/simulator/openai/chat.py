"""POST /v1/chat/completions, as OpenAI and the vendors who copy it answer it.

Promises: full answers and chunks that the official SDK's types take (openai 3.54, `types/chat`); usage in a stream
only if asked for, then `"usage":null` on every other chunk (providers.md §3, P1). A function tool is called if the
last message is not a tool's result and the model may choose; a named or required one always.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from providers.simulator import prose, schemas
from providers.simulator.answers import Draft, Stream, Whole, event
from providers.simulator.compatible import layers, vendors
from providers.simulator.openai import common as openai
from providers.simulator.openai import input as openai_input
from providers.simulator.openai.input import Message, Tool
from providers.simulator.requests import Request, streamed
from providers.simulator.tokens import pieces
from providers.simulator.usages import invoiced

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
GARBAGE: Final = b'data: {"id":"chatcmpl-sim","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"con\n\n'


class _Schema(msgspec.Struct):
    schema: dict[str, Any] | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


class StreamOptions(msgspec.Struct):
    """`stream_options`."""

    include_usage: bool | None = None


class _Body(msgspec.Struct):
    model: str | None = None
    messages: list[Message] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: _Format | None = None
    reasoning_effort: str | None = None
    service_tier: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    thinking: dict[str, Any] | None = None
    extra_body: dict[str, Any] | None = None

    def heeded(self, request: Request) -> _Body:
        """Without what a layer over another API ignores, or answers one choice to."""
        if not layers.is_layer(request) or request.provider == "google":
            return self
        kept = {"response_format": self.response_format} if request.provider == "cohere" else {}
        changed = {"n": None, "logprobs": None, "response_format": None} | kept
        return msgspec.structs.replace(self, **changed)


class _Choice(msgspec.Struct):
    said: prose.Text
    tool: str = ""  # the function that is called; `said` are its arguments

    @property
    def finish(self) -> str:
        return "length" if self.said.full else "tool_calls" if self.tool else "stop"


def answer(request: Request) -> Draft:
    """Answer one request."""
    body = openai.read(request, _Body)
    model = openai.served_model(request, body.model)
    messages = _checked(request, body)
    body = body.heeded(request)
    stream = streamed(request, body.stream)
    if body.stream_options is not None and request.provider == "mistral":
        vendors.refuse_unknown(request, "stream_options")
    if body.stream_options is not None and not body.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        openai.refuse(request, message, param="stream_options")
    extra = openai_input.schema(body.tools) + openai_input.schema(body.response_format)
    total, resent, heard = openai_input.conversation(messages, extra=extra)
    cached, written = openai.cache(request, model, total, resent)
    choices = [_choose(request, body, messages, number) for number in range(body.n or 1)]
    billed = {
        "input_tokens": total,
        "cached_tokens": cached,
        "cache_write_tokens": written,
        "audio_tokens": heard,
        "output_tokens": sum(choice.said.tokens for choice in choices),
        "reasoning_tokens": sum(choice.said.hidden for choice in choices),
    }
    base: dict[str, Any] = {
        "id": prose.ident("chatcmpl-", request.request_id),
        "object": "chat.completion.chunk" if stream else "chat.completion",
        "created": request.now_s,
        "model": model,
        "service_tier": openai.tier(request, body.service_tier),
        "system_fingerprint": "fp_simulated",
    }
    base = vendors.based(request, base)
    invoice = invoiced(vendors.invoice(request, billed), request.faults.usage)
    if stream:
        return Stream(
            headers=openai.headers(request, stream=True),
            events=vendors.streamed(request, _events(request, body, base, choices, billed)),
            billed=invoice,
            failure=openai.in_band_error,
            garbage=GARBAGE,
        )
    logprobs = bool(body.logprobs)
    full: dict[str, Any] = base | {
        "choices": [_full(request, number, choice, logprobs=logprobs) for number, choice in enumerate(choices)]
    }
    for usage in vendors.usages(request, billed):
        full["usage"] = usage
    return Whole(headers=openai.headers(request), body=vendors.finished(request, full), billed=invoice)


def estimate(request: Request) -> Draft:
    """POST /v1/tokenizers/estimate-token-count: what Kimi would count of a chat; it is free."""
    body = openai.read(request, _Body)
    openai.served_model(request, body.model)
    total, _, _ = openai_input.conversation(_checked(request, body), extra=openai_input.schema(body.tools))
    counted = {"code": 0, "data": {"total_tokens": total}, "scode": "0x0", "status": True}
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(counted))


def _checked(request: Request, body: _Body) -> list[Message]:
    if body.messages is None:
        message = "Missing required parameter: 'messages'."
        openai.refuse(request, message, param="messages", code="missing_required_parameter")
    if not body.messages:
        message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array "
        openai.refuse(request, message + "instead.", param="messages", code="empty_array")
    for number, said in enumerate(body.messages):
        if said.role not in ROLES:
            where = f"messages[{number}].role"
            message = f"Invalid value: '{said.role[:40]}'. Supported values are: {', '.join(map(repr, ROLES))}."
            openai.refuse(request, message, param=where, code="invalid_value")
    openai.at_least(request, "max_completion_tokens", body.max_completion_tokens, 1)
    openai.at_least(request, "max_tokens", body.max_tokens, 1)
    openai.at_least(request, "n", body.n, 1, openai.CHOICES_MAX)
    if request.provider == "anthropic" and body.n not in (None, 1):
        openai.refuse(request, "n: must be exactly 1")
    return body.messages


def _choose(request: Request, body: _Body, messages: list[Message], number: int) -> _Choice:
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    hidden = prose.EFFORTS.get(body.reasoning_effort or "", 0)
    if layers.is_layer(request):
        hidden = layers.thoughts(request, body.reasoning_effort, body.thinking, body.extra_body)
    tool = called(body.tools, body.tool_choice, after_result=messages[-1].role in ("tool", "function", "assistant"))
    if tool:
        function = tool.function or openai_input.Function(name=tool.name or "")
        arguments = json.dumps(schemas.example(function.parameters or {}), separators=(",", ":"))
        return _Choice(prose.clip(pieces(arguments), limit=limit, stops=[], hidden=hidden), function.name)
    form = body.response_format
    if form and form.type in ("json_object", "json_schema"):
        schema = form.json_schema.schema if form.json_schema else None
        return _Choice(prose.clip(pieces(structured(schema)), limit=limit, stops=stops, hidden=hidden))
    wanted = request.faults.output_tokens
    if wanted is not None:
        wanted = min(wanted, openai.TOKENS_MAX // (body.n or 1))
    seed = prose.seed(messages, number)
    return _Choice(prose.prose(seed, tokens=wanted, limit=limit, stops=stops, hidden=hidden))


def structured(schema: dict[str, Any] | None) -> str:
    """The JSON of a structured answer; a plain JSON answer has one field."""
    return json.dumps(schemas.example(schema) if schema else {"answer": "simulated"}, separators=(",", ":"))


def called(tools: list[Tool] | None, choice: str | dict[str, Any] | None, *, after_result: bool) -> Tool | None:
    """The function tool that is called: the named one, else the first; none where the model answers in words."""
    functions = [tool for tool in tools or [] if tool.type == "function" and (tool.function or tool.name)]
    required = choice == "required"
    if isinstance(choice, dict):
        allowed = choice.get("allowed_tools", choice)
        named = allowed.get("tools") if isinstance(allowed, dict) else None
        wanted = named if isinstance(named, list) else [choice]
        names = {_name(tool) for tool in wanted}
        functions = [tool for tool in functions if (tool.function.name if tool.function else tool.name) in names]
        required = not isinstance(named, list) or (isinstance(allowed, dict) and allowed.get("mode") == "required")
    if not functions or choice == "none" or (after_result and not required):
        return None
    return functions[0]


def _name(tool: object) -> str:
    inner = tool.get("function", tool) if isinstance(tool, dict) else None
    return str(inner.get("name", "")) if isinstance(inner, dict) else ""


def _full(request: Request, number: int, choice: _Choice, *, logprobs: bool) -> dict[str, Any]:
    text = choice.said.text
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if choice.tool:
        message["content"] = None
        function = {"name": choice.tool, "arguments": text}
        call_id = prose.ident("call_", request.request_id, str(number))
        message["tool_calls"] = [{"id": call_id, "type": "function", "function": function}]
    told = logprobs and not choice.tool
    certain = {"content": [_logprob(piece) for piece in choice.said.pieces], "refusal": None} if told else None
    return {"index": number, "message": message, "logprobs": certain, "finish_reason": choice.finish}


def _logprob(piece: str) -> dict[str, Any]:
    token = {"token": piece, "logprob": -0.125, "bytes": list(piece.encode(errors="replace"))}
    return token | {"top_logprobs": [token]}


def _events(
    request: Request, body: _Body, base: dict[str, Any], choices: list[_Choice], billed: dict[str, int]
) -> Iterator[tuple[bytes, int]]:
    usages = vendors.usages(request, billed)
    asked = bool(body.stream_options and body.stream_options.include_usage) and bool(usages)
    along = asked and vendors.habit(request).along
    asked = asked and vendors.habit(request).extra
    null: dict[str, Any] = {"usage": None} if asked else {}
    logprobs = bool(body.logprobs)

    def chunk(
        number: int, delta: dict[str, Any], finish: str | None = None, piece: str | None = None, *, last: bool = False
    ) -> bytes:
        certain = {"content": [_logprob(piece)], "refusal": None} if logprobs and piece is not None else None
        choice = {"index": number, "delta": delta, "logprobs": certain, "finish_reason": finish}
        said = base | {"choices": [choice]} | null
        if along:
            said |= {"usage": usages[-1] if last else vendors.so_far(request, billed, generated)}
        return event(vendors.last(request, said, usages) if last else said)

    generated = sum(choice.said.hidden for choice in choices)
    for number, choice in enumerate(choices):
        yield chunk(number, _opening(request, number, choice.tool)), generated
    for step in range(max(len(choice.said.pieces) for choice in choices)):
        for number, choice in enumerate(choices):
            if step >= len(choice.said.pieces):
                continue
            piece = choice.said.pieces[step]
            generated += 1
            if choice.tool:
                yield chunk(number, {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}), generated
            else:
                yield chunk(number, {"content": piece}, piece=piece), generated
    for number, choice in enumerate(choices):
        yield chunk(number, {}, choice.finish, last=number == len(choices) - 1), generated
    message = _full(request, 0, choices[0], logprobs=False)["message"]
    for data in vendors.whole(request, base, message, choices[0].finish, usages):
        yield data, generated
    for usage in usages if asked else []:
        yield event(base | {"choices": [], "usage": usage}), generated
    yield b"data: [DONE]\n\n", generated


def _opening(request: Request, number: int, tool: str) -> dict[str, Any]:
    if not tool:
        return {"role": "assistant", "content": "", "refusal": None}
    call_id = prose.ident("call_", request.request_id, str(number))
    call = {"index": 0, "id": call_id, "type": "function", "function": {"name": tool, "arguments": ""}}
    return {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}
