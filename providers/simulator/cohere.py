"""Cohere: chat of version 2 (events) and 1 (lines of JSON), embed, rerank, tokenize, detokenize, models.

Promises: answers that the official SDKs' types take (cohere 7.3, cohere-ai 8.1); counts as floats; `billed_units` are
the bill, `tokens` what Cohere's template makes of it (providers.md §3, P13). A function is called if the last turn is
the user's, and the model may choose.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from providers.simulator import prose, schemas
from providers.simulator.answers import Draft, Headers, Stream, Whole, event
from providers.simulator.openai.chat import structured
from providers.simulator.requests import REFUSED_MODEL, Refusal, Request, streamed
from providers.simulator.tokens import MARK, count, length, pieces
from providers.simulator.usages import distorted, invoiced
from providers.simulator.vectors import vector

T = TypeVar("T")

_TEMPLATE: Final = 66  # tokens that the template adds to the input, and one to the output: they are not billed
_MODELS: Final = ("command-a-03-2025", "command-r7b-12-2024", "embed-v4.0", "rerank-v3.5")
_MESSAGES: Final = {
    400: "invalid request: the simulator refuses this request, as it was asked to.",
    401: "invalid api token",
    402: "You have reached your billing limit. Please visit the dashboard to update your payment method.",
    403: "forbidden",
    404: "not found",
    422: "unprocessable entity",
    429: "You are using a Trial key, which is limited to 20 API calls / minute.",
    498: "blocked input or output",
    503: "service unavailable",
}
_TOKENIZED_MAX: Final = 65_536  # characters, as the provider
_IMAGE_TOKENS: Final = 1_000


class _Tool(msgspec.Struct):
    function: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    parameter_definitions: dict[str, Any] | None = None

    def named(self) -> str:
        return str((self.function or {}).get("name", "")) or self.name or ""

    def schema(self) -> dict[str, Any]:
        if self.function is not None:
            given = self.function.get("parameters")
            return given if isinstance(given, dict) else {"type": "object"}
        names = {name: {"type": "string"} for name in self.parameter_definitions or {}}
        return {"type": "object", "properties": names, "required": list(names)}


class _Turn(msgspec.Struct):
    role: str = ""
    content: Any = None
    message: str | None = None
    tool_calls: Any = None


class _Format(msgspec.Struct):
    type: str = ""
    json_schema: dict[str, Any] | None = None
    schema: dict[str, Any] | None = None


class _Chat(msgspec.Struct):
    model: str | None = None
    messages: list[_Turn] | None = None
    message: str | None = None
    preamble: str | None = None
    chat_history: list[_Turn] | None = None
    documents: Any = None
    tools: list[_Tool] | None = None
    tool_results: Any = None
    tool_choice: str | None = None
    response_format: _Format | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None


class _Embed(msgspec.Struct):
    model: str | None = None
    texts: list[str] | None = None
    images: list[str] | None = None
    inputs: list[_Turn] | None = None
    embedding_types: list[str] | None = None
    output_dimension: int | None = None


class _Rerank(msgspec.Struct):
    model: str | None = None
    query: str | None = None
    documents: list[Any] | None = None
    top_n: int | None = None
    return_documents: bool | None = None


class _Text(msgspec.Struct):
    model: str | None = None
    text: str | None = None
    tokens: list[int] | None = None


class _Said(msgspec.Struct):
    said: prose.Text
    tool: str = ""
    call_id: str = ""

    @property
    def reason(self) -> str:
        return "MAX_TOKENS" if self.said.full else "TOOL_CALL" if self.tool else "COMPLETE"


def find(method: str, request: Request) -> Callable[[Request], Draft] | None:
    """The operation at a path; None where there is none."""
    if method == "GET" and (request.path.endswith("/v1/models") or "/v1/models/" in request.path):
        return _models
    return _POSTS.get(request.path) if method == "POST" else None


def error(request: Request, status: int, message: str = "") -> Whole:
    """An error answer in Cohere's shape; without a message, the status's usual one."""
    usual = _MESSAGES.get(status, "internal server error, this has been reported to our developers.")
    body = {"id": prose.ident("sim", request.request_id), "message": message or usual}
    return Whole(status=status, headers=_headers(), body=msgspec.json.encode(body))


def _headers(kind: str = "application/json") -> Headers:
    return [("content-type", kind), ("x-debug-trace-id", "0" * 32), ("x-api-warning", "simulated")]


def _refuse(request: Request, message: str) -> NoReturn:
    raise Refusal(error(request, 400, message))


def _read(request: Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(request.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        _refuse(request, f"invalid request: {fault}")


def _served(request: Request, model: str | None) -> str:
    if not model:
        _refuse(request, "invalid request: model is required.")
    if REFUSED_MODEL in model:
        raise Refusal(error(request, 404, f"model '{model}' not found, make sure the correct model ID was used."))
    return model


# ---- chat


def _chat(request: Request) -> Draft:
    body = _read(request, _Chat)
    _served(request, body.model)
    first = request.path.startswith("/v1")
    turns = [*(body.chat_history or []), _Turn(role="user", content=body.message)] if first else body.messages
    if not turns or (first and not body.message and body.tool_results is None):
        _refuse(request, "invalid request: messages must not be empty.")
    if body.max_tokens is not None and body.max_tokens < 0:
        _refuse(request, "invalid request: max_tokens must be at least 0.")
    total = sum(_turn(turn) for turn in turns) + count(body.preamble or "")
    for value in (body.documents, body.tool_results, [tool.schema() for tool in body.tools or []] or None):
        total += count(msgspec.json.encode(value).decode()) if value is not None else 0
    said = _say(request, body, turns)
    billed = {"input_tokens": total, "output_tokens": said.said.tokens}
    reports = distorted(_usage(billed), request.faults.usage)
    invoice = invoiced(billed, request.faults.usage)
    if streamed(request, body.stream):
        kind = "application/stream+json" if first else "text/event-stream"
        return Stream(
            headers=_headers(kind),
            events=_lines(request, said, reports) if first else _events(request, said, reports),
            billed=invoice,
            failure=_line_failure if first else _failure,
            garbage=b'{"event_type":"text-gen\n' if first else b'event: content-delta\ndata: {"type":"content-d\n\n',
        )
    full = _first(request, said, reports) if first else _second(request, said, reports)
    return Whole(headers=_headers(), body=msgspec.json.encode(full), billed=invoice)


def _turn(turn: _Turn) -> int:
    total = count(turn.message or "") + (count(msgspec.json.encode(turn.tool_calls).decode()) if turn.tool_calls else 0)
    if isinstance(turn.content, str):
        return total + count(turn.content)
    for part in turn.content if isinstance(turn.content, list) else ():
        if isinstance(part, dict):
            picture = part.get("type") == "image_url"
            total += _IMAGE_TOKENS if picture else count(str(part.get("text") or part.get("thinking") or ""))
            total += count(json.dumps(part["document"])) if "document" in part else 0
    return total


def _say(request: Request, body: _Chat, turns: list[_Turn]) -> _Said:
    limit, stops = body.max_tokens, body.stop_sequences or []
    tools = body.tools or []
    calls = (
        tools
        and body.tool_choice != "NONE"
        and (body.tool_choice == "REQUIRED" or (turns[-1].role.lower() == "user" and body.tool_results is None))
    )
    if calls:
        said = prose.clip(pieces(json.dumps(schemas.example(tools[0].schema()))), limit=limit, stops=[])
        return _Said(said, tools[0].named(), prose.ident("call_", request.request_id))
    form = body.response_format
    if form is not None and form.type == "json_object":
        return _Said(prose.clip(pieces(structured(form.json_schema or form.schema)), limit=limit, stops=stops))
    seed = prose.seed(msgspec.to_builtins(turns))
    return _Said(prose.prose(seed, tokens=request.faults.output_tokens, limit=limit, stops=stops))


def _usage(billed: dict[str, int]) -> dict[str, Any]:
    return {
        "billed_units": {name: float(number) for name, number in billed.items()},
        "tokens": {
            "input_tokens": float(billed["input_tokens"] + _TEMPLATE),
            "output_tokens": float(billed["output_tokens"] + 1),
        },
        "cached_tokens": 0.0,
    }


def _call(said: _Said) -> dict[str, Any]:
    return {"id": said.call_id, "type": "function", "function": {"name": said.tool, "arguments": said.said.text}}


def _second(request: Request, said: _Said, reports: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    if said.tool:
        message |= {"tool_plan": "I will use a tool.", "tool_calls": [_call(said)]}
    else:
        message["content"] = [{"type": "text", "text": said.said.text}]
    full = {"id": prose.ident("sim", request.request_id), "finish_reason": said.reason, "message": message}
    for usage in reports:
        full["usage"] = usage
    return full


def _events(request: Request, said: _Said, reports: list[dict[str, Any]]) -> Iterator[tuple[bytes, int]]:
    def named(kind: str, **more: Any) -> bytes:
        return event({"type": kind} | more, kind)

    made = 0
    start = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
    yield named("message-start", id=prose.ident("sim", request.request_id), delta=start), made
    if said.tool:
        yield named("tool-plan-delta", delta={"message": {"tool_plan": "I will use a tool."}}), made
        opening = _call(said) | {"function": {"name": said.tool, "arguments": ""}}
        yield named("tool-call-start", index=0, delta={"message": {"tool_calls": opening}}), made
        for piece in said.said.pieces:
            made += 1
            delta = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
            yield named("tool-call-delta", index=0, delta=delta), made
        yield named("tool-call-end", index=0), made
    else:
        yield named("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}}), made
        for piece in said.said.pieces:
            made += 1
            yield named("content-delta", index=0, delta={"message": {"content": {"text": piece}}}), made
        yield named("content-end", index=0), made
    stated: list[dict[str, Any]] = [{"usage": usage} for usage in reports] or [{}]
    for usage in stated:
        yield named("message-end", delta={"finish_reason": said.reason} | usage), made


def _failure(_number: int) -> bytes:
    delta = {"finish_reason": "ERROR", "error": "internal server error"}
    return event({"type": "message-end", "delta": delta}, "message-end")


def _first(request: Request, said: _Said, reports: list[dict[str, Any]]) -> dict[str, Any]:
    full: dict[str, Any] = {
        "response_id": prose.ident("sim", request.request_id),
        "generation_id": prose.ident("sim", request.request_id, "generation"),
        "text": "" if said.tool else said.said.text,
        "finish_reason": "MAX_TOKENS" if said.said.full else "COMPLETE",
    }
    if said.tool:
        try:
            parameters = json.loads(said.said.text)
        except ValueError:
            parameters = {}
        full["tool_calls"] = [{"name": said.tool, "parameters": parameters}]
    for usage in reports:
        full["meta"] = {"api_version": {"version": "1"}} | usage
    return full


def _lines(request: Request, said: _Said, reports: list[dict[str, Any]]) -> Iterator[tuple[bytes, int]]:
    def line(kind: str, *, finished: bool = False, **more: Any) -> bytes:
        return msgspec.json.encode({"is_finished": finished, "event_type": kind} | more) + b"\n"

    made = 0
    yield line("stream-start", generation_id=prose.ident("sim", request.request_id, "generation")), made
    for piece in [] if said.tool else said.said.pieces:
        made += 1
        yield line("text-generation", text=piece), made
    made = said.said.tokens
    for report in [[usage] for usage in reports] or [[]]:
        full = _first(request, said, report)
        yield line("stream-end", finished=True, finish_reason=full["finish_reason"], response=full), made


def _line_failure(_number: int) -> bytes:
    end = {"is_finished": True, "event_type": "stream-end", "finish_reason": "ERROR", "response": {"text": ""}}
    return msgspec.json.encode(end) + b"\n"


# ---- the others


def _embed(request: Request) -> Draft:
    body = _read(request, _Embed)
    model = _served(request, body.model)
    texts, images = body.texts or [], body.images or []
    turns = body.inputs or []
    if not texts and not images and not turns:
        _refuse(request, "invalid request: one of texts, images or inputs is required.")
    keys = [*(text.encode() for text in texts), *(image.encode() for image in images)]
    keys += [msgspec.json.encode(turn.content) for turn in turns]
    length = max(1, min(body.output_dimension or 256, 1_536))
    vectors = [vector(key, length) for key in keys]
    billed = {"input_tokens": sum(map(count, texts)) + sum(_turn(turn) % _IMAGE_TOKENS for turn in turns)}
    if images:
        # Older models are billed by the picture, newer ones by its tokens.
        billed |= {"image_tokens": len(images) * _IMAGE_TOKENS} if "v4" in model else {"images": len(images)}
    meta = {"api_version": {"version": "2"}, "billed_units": {name: float(n) for name, n in billed.items()}}
    full: dict[str, Any] = {"id": prose.ident("sim", request.request_id)}
    if request.path.startswith("/v1") and not body.embedding_types:
        full |= {"response_type": "embeddings_floats", "embeddings": vectors, "texts": texts}
    else:
        full |= {"response_type": "embeddings_by_type", "embeddings": {"float": vectors}, "texts": texts}
    for report in distorted(meta, request.faults.usage):
        full["meta"] = report
    invoice = invoiced({"output_tokens": 0} | billed, request.faults.usage)
    return Whole(headers=_headers(), body=msgspec.json.encode(full), billed=invoice)


def _rerank(request: Request) -> Draft:
    body = _read(request, _Rerank)
    model = _served(request, body.model)
    if not body.query or not body.documents:
        _refuse(request, "invalid request: query and documents are required.")
    asked = count(body.query)
    texts = [each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in body.documents]
    room = max(500 - asked, 250)
    split = sum(max(1, -(-min(count(text), 4_096) // room)) for text in texts)
    ranked = sorted(range(len(texts)), key=lambda at: hashlib.sha256(f"{body.query}\0{texts[at]}".encode()).digest())
    results: list[dict[str, Any]] = []
    for place, at in enumerate(ranked[: body.top_n or len(ranked)]):
        result: dict[str, Any] = {"index": at, "relevance_score": round(1 / (place + 2), 6)}
        results.append(result | ({"document": {"text": texts[at]}} if body.return_documents else {}))
    billed = {"search_units": -(-split // 100)}
    if "-v5" in model:
        billed = {"input_tokens": sum(map(count, texts)) + asked * split}
    meta = {"api_version": {"version": "2"}, "billed_units": {name: float(n) for name, n in billed.items()}}
    full: dict[str, Any] = {"id": prose.ident("sim", request.request_id), "results": results}
    for report in distorted(meta, request.faults.usage):
        full["meta"] = report
    invoice = invoiced({"output_tokens": 0} | billed, request.faults.usage)
    return Whole(headers=_headers(), body=msgspec.json.encode(full), billed=invoice)


def _tokenize(request: Request) -> Draft:
    body = _read(request, _Text)
    _served(request, body.model)
    if length(body.text or "") > _TOKENIZED_MAX or MARK in (body.text or ""):
        _refuse(request, f"invalid request: text must be at most {_TOKENIZED_MAX} characters long.")
    strings = pieces(body.text or "")
    full = {"tokens": [int(hashlib.sha256(piece.encode()).hexdigest()[:4], 16) for piece in strings],
            "token_strings": strings, "meta": {"api_version": {"version": "1"}}}  # fmt: skip
    return Whole(headers=_headers(), body=msgspec.json.encode(full))


def _detokenize(request: Request) -> Draft:
    body = _read(request, _Text)
    _served(request, body.model)
    full = {"text": " ".join(map(str, body.tokens or [])), "meta": {"api_version": {"version": "1"}}}
    return Whole(headers=_headers(), body=msgspec.json.encode(full))


def _models(request: Request) -> Draft:
    name = request.path.rpartition("/models")[2].strip("/")
    if name:
        full: dict[str, Any] = _described(_served(request, name))
    else:
        full = {"models": [_described(known) for known in _MODELS]}
    return Whole(headers=_headers(), body=msgspec.json.encode(full))


def _described(name: str) -> dict[str, Any]:
    kind = name.split("-")[0]
    return {
        "name": name,
        "is_deprecated": False,
        "endpoints": [kind if kind in ("embed", "rerank") else "chat"],
        "finetuned": False,
        "context_length": 128_000.0,
        "tokenizer_url": "",
        "default_endpoints": [],
        "features": [],
    }


_POSTS: Final[dict[str, Callable[[Request], Draft]]] = {
    "/v2/chat": _chat,
    "/v1/chat": _chat,
    "/v2/embed": _embed,
    "/v1/embed": _embed,
    "/v2/rerank": _rerank,
    "/v1/rerank": _rerank,
    "/v1/tokenize": _tokenize,
    "/v1/detokenize": _detokenize,
}
