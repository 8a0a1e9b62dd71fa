"""DashScope's own API: text from a prompt or from messages, and vectors. Its compatible mode is everybody's (`chat`).

Promises: answers that Alibaba's SDK takes (dashscope 2.0); a stream where a header asks for one, in which every event
counts, and says unless told otherwise, all that there is so far (providers.md §3, §4.2, P7). A function is called if
the last turn is the user's, and the model may choose.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from providers.simulator import prose, schemas
from providers.simulator.answers import Draft, Headers, Stream, Whole
from providers.simulator.anthropic import common as anthropic
from providers.simulator.openai import common as openai
from providers.simulator.openai.chat import called, structured
from providers.simulator.openai.input import Tool, schema
from providers.simulator.requests import REFUSED_MODEL, Refusal, Request, streamed
from providers.simulator.tokens import count, pieces
from providers.simulator.usages import distorted, invoiced
from providers.simulator.vectors import vector

T = TypeVar("T")

_SERVICES: Final = "/api/v1/services/"
_CODES: Final = {
    400: ("InvalidParameter", "The simulator refuses this request, as it was asked to."),
    401: ("InvalidApiKey", "Invalid API-key provided."),
    402: ("Arrearage", "Access denied, please make sure your account is in good standing."),
    403: ("AccessDenied", "Access denied."),
    404: ("ModelNotFound", "Model not exist."),
    429: ("Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
    503: ("ServiceUnavailable", "The service is unavailable, please try again later."),
}
_INTERNAL: Final = ("InternalError", "An internal error has occured, please try again later.")
_GARBAGE: Final = b'id:1\nevent:result\n:HTTP_STATUS/200\ndata:{"output":{"cho\n\n'
_EVENTS_MAX: Final = 256  # each may say all that there is
_IMAGE: Final = 1_247  # tokens of any picture
_CHOICES_MAX: Final = 4
_DIMENSIONS: Final = 1_024
_TEXTS_MAX: Final = 25


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: Any = None


class _Input(msgspec.Struct):
    prompt: str | None = None
    messages: list[_Message] | None = None
    texts: list[str] | None = None


class _Parameters(msgspec.Struct):
    max_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    result_format: str | None = None
    incremental_output: bool | None = None
    enable_thinking: bool | None = None
    thinking_budget: int | None = None
    dimension: int | None = None


class _Body(msgspec.Struct):
    model: str | None = None
    input: _Input | None = None
    parameters: _Parameters | None = None


class _Choice(msgspec.Struct):
    said: prose.Text
    tool: str = ""
    call_id: str = ""

    @property
    def finish(self) -> str:
        return "length" if self.said.full else "tool_calls" if self.tool else "stop"


def find(method: str, request: Request) -> Callable[[Request], Draft] | None:
    """Its own operation at a path; None where there is none."""
    if method != "POST" or not request.path.startswith(_SERVICES):
        return None
    service = request.path.removeprefix(_SERVICES)
    if service in ("aigc/text-generation/generation", "aigc/multimodal-generation/generation"):
        return _generate
    return _embed if service == "embeddings/text-embedding/text-embedding" else None


def error(request: Request, status: int, message: str = "") -> Whole:
    """An error in DashScope's words; in the compatible APIs as these have it."""
    if not request.path.startswith("/api/v1/"):
        messages = "anthropic-version" in request.headers or "/v1/messages" in request.path
        return (anthropic.error if messages else openai.error)(request, status, message)
    code, usual = _CODES.get(status, _INTERNAL if status >= 500 else _CODES[400])
    body = {"code": code, "message": message or usual, "request_id": request.request_id}
    return Whole(status=status, headers=_headers(request), body=msgspec.json.encode(body))


def _headers(request: Request, *, stream: bool = False) -> Headers:
    kind = "text/event-stream;charset=UTF-8" if stream else "application/json"
    return [("content-type", kind), ("x-request-id", request.request_id), ("x-dashscope-call-gateway", "true")]


def _refuse(request: Request, message: str) -> NoReturn:
    raise Refusal(error(request, 400, message))


def _read(request: Request) -> tuple[str, _Input, _Parameters]:
    try:
        body = msgspec.json.decode(request.body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        _refuse(request, f"Required body invalid, please check the request body format: {fault}")
    if not body.model:
        _refuse(request, "Model not exist.")
    if REFUSED_MODEL in body.model:
        raise Refusal(error(request, 404))
    if body.input is None:
        _refuse(request, 'Required parameter "input" missing or invalid, please check the request parameters.')
    return body.model, body.input, body.parameters or _Parameters()


def _generate(request: Request) -> Draft:
    _, asked, parameters = _read(request)
    if not asked.messages and not asked.prompt:
        _refuse(request, 'Input should contain "prompt" or "messages".')
    for name, value, most in (("max_tokens", parameters.max_tokens, 1 << 31), ("n", parameters.n, _CHOICES_MAX)):
        if value is not None and not 1 <= value <= most:
            _refuse(request, f"Range of {name} should be [1, {most}]")
    total = 3 + count(asked.prompt or "") + sum(_tokens(message) for message in asked.messages or [])
    total += schema(parameters.tools) + schema(parameters.response_format)
    choices = [_choose(request, asked, parameters, number) for number in range(parameters.n or 1)]
    billed = {
        "input_tokens": total,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": sum(choice.said.tokens for choice in choices),
        "reasoning_tokens": sum(choice.said.hidden for choice in choices),
    }
    invoice = invoiced(billed, request.faults.usage)
    if streamed(request, request.headers.get("x-dashscope-sse", "").lower() == "enable"):
        return Stream(
            headers=_headers(request, stream=True),
            events=_events(request, parameters, choices, billed),
            billed=invoice,
            failure=lambda number: _failure(request, number),
            garbage=_GARBAGE,
        )
    full: dict[str, Any] = {"output": _output(request, parameters, choices, None, since=0)}
    for usage in distorted(_usage(billed), request.faults.usage):
        full["usage"] = usage
    full["request_id"] = request.request_id
    return Whole(headers=_headers(request), body=msgspec.json.encode(full), billed=invoice)


def _tokens(message: _Message) -> int:
    if isinstance(message.content, list):
        texts = sum(count(text) for part in message.content if isinstance(text := part.get("text"), str))
        return 3 + texts + _IMAGE * sum("image" in part for part in message.content)
    return 3 + count(message.content or "") + schema(message.tool_calls)


def _choose(request: Request, asked: _Input, parameters: _Parameters, number: int) -> _Choice:
    stops = [parameters.stop] if isinstance(parameters.stop, str) else parameters.stop or []
    hidden = min(max(parameters.thinking_budget or 64, 0), 256) if parameters.enable_thinking else 0
    last = asked.messages[-1].role if asked.messages else "user"
    tool = called(parameters.tools, parameters.tool_choice, after_result=last in ("tool", "assistant"))
    limit = parameters.max_tokens
    if tool and tool.function:
        arguments = json.dumps(schemas.example(tool.function.parameters or {}), separators=(",", ":"))
        said = prose.clip(pieces(arguments), limit=limit, stops=[], hidden=hidden)
        return _Choice(said, tool.function.name, prose.ident("call_", request.request_id, str(number)))
    if (parameters.response_format or {}).get("type") in ("json_object", "json_schema"):
        return _Choice(prose.clip(pieces(structured(None)), limit=limit, stops=stops, hidden=hidden))
    seed = prose.seed([asked.prompt, asked.messages], number)
    wanted = request.faults.output_tokens
    if wanted is not None:
        wanted = min(wanted, openai.TOKENS_MAX // (parameters.n or 1))
    return _Choice(prose.prose(seed, tokens=wanted, limit=limit, stops=stops, hidden=hidden))


def _usage(billed: dict[str, int]) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "input_tokens": billed["input_tokens"],
        "output_tokens": billed["output_tokens"],
        "total_tokens": billed["input_tokens"] + billed["output_tokens"],
        "prompt_tokens_details": {"cached_tokens": billed["cached_tokens"]},
    }
    if billed["reasoning_tokens"]:
        usage["output_tokens_details"] = {"reasoning_tokens": billed["reasoning_tokens"]}
    return usage


def _output(
    request: Request, parameters: _Parameters, choices: list[_Choice], upto: int | None, *, since: int
) -> dict[str, Any]:
    """What is said from one piece to another; None: to the end, which is told by the reason."""
    pictured = "/multimodal-generation/" in request.path
    said = [("".join(choice.said.pieces[since:upto]), choice) for choice in choices]
    if (parameters.result_format or ("message" if pictured else "text")) == "text" and not choices[0].tool:
        text, choice = said[0]
        return {"text": text, "finish_reason": choice.finish if upto is None else "null"}
    told = []
    for text, choice in said:
        content: Any = [{"text": text}] if pictured else text
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if choice.tool:
            function = {"name": choice.tool, "arguments": text}
            call = {"index": 0, "id": choice.call_id, "type": "function", "function": function}
            message |= {"content": [] if pictured else "", "tool_calls": [call]}
        told.append({"finish_reason": choice.finish if upto is None else "null", "message": message})
    return {"choices": told}


def _events(
    request: Request, parameters: _Parameters, choices: list[_Choice], billed: dict[str, int]
) -> Iterator[tuple[bytes, int]]:
    hidden = billed["reasoning_tokens"]
    steps = max(len(choice.said.pieces) for choice in choices)
    usages = distorted(_usage(billed), request.faults.usage)
    stride = max(steps // _EVENTS_MAX, 1)
    for number, step in enumerate(range(stride, steps + 2 * stride, stride), 1):
        upto = step if step <= steps else None
        since = step - stride if parameters.incremental_output else 0
        generated = hidden + sum(min(step, len(choice.said.pieces)) for choice in choices)
        event: dict[str, Any] = {"output": _output(request, parameters, choices, upto, since=since)}
        if usages:
            event["usage"] = usages[-1] if upto is None else _usage(billed | {"output_tokens": generated})
        event["request_id"] = request.request_id
        head = b"id:%d\nevent:result\n:HTTP_STATUS/200\ndata:" % number
        yield head + msgspec.json.encode(event) + b"\n\n", generated


def _failure(request: Request, number: int) -> bytes:
    code, message = _INTERNAL
    body = {"code": code, "message": message, "request_id": request.request_id}
    return b"id:%d\nevent:error\n:HTTP_STATUS/500\ndata:" % (number + 1) + msgspec.json.encode(body) + b"\n\n"


def _embed(request: Request) -> Draft:
    model, asked, parameters = _read(request)
    if not asked.texts or len(asked.texts) > _TEXTS_MAX:
        _refuse(request, f"batch size is invalid, it should not be larger than {_TEXTS_MAX} and not be empty")
    size = _DIMENSIONS if parameters.dimension is None else parameters.dimension
    if not 1 <= size <= 2_048:
        _refuse(request, "Dimension is invalid.")
    found = [
        {"text_index": number, "embedding": vector(f"{model}\0{text}".encode(errors="replace"), size)}
        for number, text in enumerate(asked.texts)
    ]
    total = sum(count(text) for text in asked.texts)
    full: dict[str, Any] = {"output": {"embeddings": found}}
    for usage in distorted({"total_tokens": total}, request.faults.usage):
        full["usage"] = usage
    full["request_id"] = request.request_id
    billed = invoiced({"input_tokens": total, "output_tokens": 0}, request.faults.usage)
    return Whole(headers=_headers(request), body=msgspec.json.encode(full), billed=billed)
