"""Google AI Studio: generateContent in full, as events and as an array, countTokens, embeddings, models.

Promises: answers that the official SDKs' types take (google-genai 3.6, @google/genai 3.1), lines ending in CRLF, a
running usage on every chunk, thoughts beside the candidates' count (providers.md §3, P3). A function is called if the
last turn is the user's and answers none, and the model may choose. Both spellings of names are taken; a stranger is
refused.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from providers.simulator import prose, schemas
from providers.simulator.answers import Draft, Stream, Whole
from providers.simulator.google import input as gemini_input
from providers.simulator.google.input import Body, Config, Counted, Embed, EmbedBatch, Function, error, read, refuse
from providers.simulator.openai.chat import structured
from providers.simulator.requests import REFUSED_MODEL, Refusal, Request
from providers.simulator.tokens import pieces
from providers.simulator.usages import distorted, invoiced
from providers.simulator.vectors import vector

_VERB: Final = re.compile(r"/v1(?:alpha|beta)?/models/([^/:]+):(\w+)\Z")
_MODEL: Final = re.compile(r"/v1(?:alpha|beta)?(?:/openai)?/models(?:/([^/:]+))?\Z")
_MODELS: Final = ("gemini-3.8-flash", "gemini-3.5-flash", "gemini-3.1-pro-preview", "gemini-2.5-flash",
                  "gemini-2.5-pro", "gemini-embedding-001")  # fmt: skip
_THOUGHTS: Final = 12  # tokens, of models that think, unless their budget is nothing
_IMAGE_TOKENS: Final = 1_290
_PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_SECOND_TOKENS: Final = 25  # of sound
_SEARCH_TOKENS: Final = 40  # that a search gives to read
_TOGETHER: Final = 2  # tokens in one chunk


class _Said(msgspec.Struct):
    """One candidate: thoughts, then text, a call, a picture or sound."""

    said: prose.Text
    thoughts: list[str]
    call: dict[str, Any] | None = None
    media: dict[str, Any] | None = None
    media_tokens: int = 0

    @property
    def tokens(self) -> int:
        """What is counted as the candidate's, thoughts aside."""
        return self.media_tokens if self.media else len(self.said.pieces)


def find(method: str, request: Request) -> Any:
    """The operation at a path; None where there is none."""
    if method == "POST" and (found := _VERB.search(request.path)) is not None:
        return {
            "generateContent": _generate,
            "streamGenerateContent": _generate,
            "countTokens": _count_tokens,
            "embedContent": _embed,
            "batchEmbedContents": _embed_batch,
        }.get(found[2])
    return _models if method == "GET" and _MODEL.search(request.path) else None


def _model(request: Request) -> str:
    found = _VERB.search(request.path) or _MODEL.search(request.path)
    name = (found[1] or "") if found else ""
    if REFUSED_MODEL in name:
        message = f"models/{name} is not found for API version v1, or is not supported for generateContent."
        raise Refusal(error(request, 404, message))
    return name


def _count_tokens(request: Request) -> Draft:
    body = read(request, Body)
    body = body.generateContentRequest or body
    counted = gemini_input.counted(body, _model(request))
    full = {"totalTokens": counted.total, "promptTokensDetails": counted.details()}
    return Whole(headers=gemini_input.headers(), body=msgspec.json.encode(full))


def _generate(request: Request) -> Draft:
    model = _model(request)
    body = read(request, Body)
    if not body.contents:
        refuse(request, "* GenerateContentRequest.contents: contents is not specified")
    config = body.generationConfig or Config()
    if config.maxOutputTokens is not None and config.maxOutputTokens < 1:
        refuse(request, "* GenerateContentRequest.generation_config.max_output_tokens: must be positive")
    if not 1 <= (config.candidateCount or 1) <= 8:
        refuse(request, "* GenerateContentRequest.generation_config.candidate_count: must be between 1 and 8")
    counted = gemini_input.counted(body, model)
    said = [_say(request, body, config, model, number) for number in range(config.candidateCount or 1)]
    usage = _usage(request, counted, said)
    billed = _billed(request, counted, usage)
    invoice = invoiced(billed, request.faults.usage)
    headers = gemini_input.headers()
    if tier := request.faults.service_tier or (body.serviceTier or "").lower():
        headers.append(("x-gemini-service-tier", tier))
    streams = request.path.endswith(":streamGenerateContent")
    if request.faults.stream == "off" or not (streams or request.faults.stream == "on"):
        full: dict[str, Any] = {"candidates": [_candidate(request, each, at) for at, each in enumerate(said)]}
        for each_usage in _reported(usage, request.faults.usage):
            full["usageMetadata"] = each_usage
        answer = full | {"modelVersion": model, "responseId": prose.ident("sim", request.request_id)}
        return Whole(headers=headers, body=msgspec.json.encode(answer), billed=invoice)
    sse = parse_qs(request.query).get("alt") == ["sse"]
    if sse:
        headers = [("content-type", "text/event-stream"), *headers[1:]]
    chunks = _chunks(request, model, said, usage)
    return Stream(
        headers=headers,
        events=_events(chunks, request) if sse else _array(chunks),
        billed=invoice,
        failure=(lambda _: _framed(_in_band(), request)) if sse else _array_failure,
        garbage=b'data: {"candidates": [{"conte\r\n\r\n' if sse else b'\r\n,\r\n{"candidates": [}',
    )


# ---- what is said


def _say(request: Request, body: Body, config: Config, model: str, number: int) -> _Said:
    thinking = config.thinkingConfig
    thinks = model.startswith(("gemini-2.5", "gemini-3", "gemini-4", "gemini-flash", "gemini-pro"))
    thinks = thinks and "image" not in model and "tts" not in model
    hidden = _THOUGHTS if thinks and not (thinking and thinking.thinkingBudget == 0) else 0
    limit, stops = config.maxOutputTokens, config.stopSequences or []
    seed = prose.seed(msgspec.to_builtins((body.systemInstruction, body.contents)), number)
    function = _called(body)
    modalities = {modality.upper() for modality in config.responseModalities or ()}
    call = media = None
    media_tokens = 0
    if function is not None:
        arguments = schemas.example(function.schema())
        said = prose.clip(pieces(json.dumps(arguments)), limit=limit, stops=[], hidden=hidden)
        call = {"name": function.name, "args": {} if said.full else arguments}
    elif config.schema() is not None or config.responseMimeType == "application/json":
        said = prose.clip(pieces(structured(config.schema())), limit=limit, stops=stops, hidden=hidden)
    else:
        wanted = request.faults.output_tokens
        wanted = 24 + seed % 41 if wanted is None else wanted  # thoughts and all
        said = prose.prose(seed, tokens=wanted, limit=limit, stops=stops, hidden=hidden)
    if "IMAGE" in modalities:
        media, media_tokens = {"mimeType": "image/png", "data": _PIXEL}, _IMAGE_TOKENS
    elif "AUDIO" in modalities:
        seconds = 1 + len(said.text) // 15
        sound = base64.b64encode(bytes(2 * 24_000 * min(seconds, 10))).decode()
        media, media_tokens = {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": sound}, seconds * _SECOND_TOKENS
    shown = thinking is not None and bool(thinking.includeThoughts)
    thoughts = prose.prose(seed + 1, tokens=said.hidden, limit=None, stops=[]).pieces if shown and said.hidden else []
    return _Said(said, thoughts, call, media, media_tokens)


def _called(body: Body) -> Function | None:
    functions = [function for tool in body.tools or [] for function in tool.functionDeclarations or []]
    choice = (body.toolConfig.functionCallingConfig if body.toolConfig else None) or gemini_input.Calling()
    mode = (choice.mode or "AUTO").upper()
    if choice.allowedFunctionNames:
        functions = [function for function in functions if function.name in choice.allowedFunctionNames]
    last = (body.contents or [])[-1]
    answered = any(part.functionResponse is not None for part in last.parts or [])
    if not functions or mode == "NONE" or (mode != "ANY" and (last.role == "model" or answered)):
        return None
    return functions[0]


def _finish(said: _Said) -> str:
    return "MAX_TOKENS" if said.said.full else "STOP"


def _parts(said: _Said) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"text": "".join(said.thoughts), "thought": True}] if said.thoughts else []
    if said.media:
        return [*found, {"inlineData": said.media}]
    if said.call:
        return [*found, {"functionCall": said.call}]
    return [*found, {"text": said.said.text}] if said.said.pieces else found


def _candidate(request: Request, said: _Said, index: int) -> dict[str, Any]:
    content = {"parts": _parts(said), "role": "model"}
    return {"content": content, "finishReason": _finish(said), "index": index} | _grounding(request)


def _grounding(request: Request) -> dict[str, Any]:
    if not request.faults.web_searches:
        return {}
    queries = [f"query {number}" for number in range(request.faults.web_searches)]
    chunks = [{"web": {"uri": "https://example.com/", "title": "example.com"}}]
    return {"groundingMetadata": {"webSearchQueries": queries, "groundingChunks": chunks, "groundingSupports": []}}


# ---- what is counted


def _usage(request: Request, counted: Counted, said: list[_Said]) -> dict[str, Any]:
    thoughts = sum(each.said.hidden for each in said)
    tools = request.faults.web_searches * _SEARCH_TOKENS
    usage = _counts(request, counted, sum(each.tokens for each in said), thoughts, tools)
    drawn = sum(each.media_tokens for each in said)
    if drawn:
        modality = "IMAGE" if said[0].media and said[0].media["mimeType"].startswith("image/") else "AUDIO"
        usage["candidatesTokensDetails"] = [{"modality": modality, "tokenCount": drawn}]
    return usage


def _counts(request: Request, counted: Counted, said: int, thoughts: int, tools: int) -> dict[str, Any]:
    usage: dict[str, Any] = {"promptTokenCount": counted.total}
    cached = counted.cached(request.faults.cache)
    if cached:
        usage["cachedContentTokenCount"] = cached
        usage["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": cached}]
    if said:
        usage["candidatesTokenCount"] = said
    usage["totalTokenCount"] = counted.total + said + thoughts + tools
    usage["promptTokensDetails"] = counted.details()
    if tools:
        usage["toolUsePromptTokenCount"] = tools
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    return usage


def _reported(usage: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    if kind == "cached":
        return [usage | {"cachedContentTokenCount": usage["promptTokenCount"] + 1_000}]
    return distorted(usage, kind)


def _billed(request: Request, counted: Counted, usage: dict[str, Any]) -> dict[str, int]:
    thoughts = usage.get("thoughtsTokenCount", 0)
    billed = {
        "input_tokens": counted.total + usage.get("toolUsePromptTokenCount", 0),
        "cached_tokens": usage.get("cachedContentTokenCount", 0),
        "audio_tokens": counted.audio,
        "image_tokens": counted.image,
        "output_tokens": usage.get("candidatesTokenCount", 0) + thoughts,
        "reasoning_tokens": thoughts,
    }
    for each in usage.get("candidatesTokensDetails", ()):
        billed[f"output_{each['modality'].lower()}_tokens"] = each["tokenCount"]
    if request.faults.web_searches:
        billed["web_searches"] = request.faults.web_searches
    return billed


# ---- how it is streamed


def _chunks(
    request: Request, model: str, said: list[_Said], usage: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], int]]:
    """Each chunk, and how many output tokens are made once it is out."""
    tail = {"modelVersion": model, "responseId": prose.ident("sim", request.request_id)}
    kind = request.faults.usage
    done = hidden = 0
    total = usage["promptTokenCount"]
    for index, each in enumerate(said):
        hidden += each.said.hidden
        parts: list[dict[str, Any]] = [{"text": text, "thought": True} for text in each.thoughts]
        if each.media or each.call:
            parts.append(_parts(each)[-1])
            sizes = [0] * len(each.thoughts) + [each.tokens]
        else:
            texts = [each.said.pieces[at : at + _TOGETHER] for at in range(0, len(each.said.pieces), _TOGETHER)]
            parts += [{"text": "".join(text)} for text in texts]
            sizes = [0] * len(each.thoughts) + [len(text) for text in texts]
        parts, sizes = parts or [{"text": ""}], sizes or [0]
        for at, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            done += size
            candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": index}
            last = at == len(parts) - 1
            if last:
                candidate |= {"finishReason": _finish(each)} | _grounding(request)
            running = {"promptTokenCount": total, "totalTokenCount": total + done + hidden}
            running |= {"candidatesTokenCount": done} if done else {}
            running |= {"thoughtsTokenCount": hidden} if hidden else {}
            final = last and index == len(said) - 1
            if final:
                reports = _reported(usage, kind)
            else:
                reports = _reported(running, "" if kind in ("twice", "decreasing") else kind)
            stated: list[dict[str, Any]] = [{"usageMetadata": report} for report in reports] or [{}]
            for number, counts in enumerate(stated):
                chunk: dict[str, Any] = {"candidates": [candidate]} if not number else {}
                yield chunk | counts | tail, done + hidden


def _framed(data: object, request: Request) -> bytes:
    """One event, its lines ending as Google's do, unless they are to end otherwise."""
    end = b"\n\n" if request.faults.newline else b"\r\n\r\n"
    return b"data: " + msgspec.json.encode(data) + end


def _events(chunks: Iterator[tuple[dict[str, Any], int]], request: Request) -> Iterator[tuple[bytes, int]]:
    return ((_framed(chunk, request), made) for chunk, made in chunks)


def _array(chunks: Iterator[tuple[dict[str, Any], int]]) -> Iterator[tuple[bytes, int]]:
    made = 0
    for at, (chunk, made) in enumerate(chunks):
        yield (b"\r\n,\r\n" if at else b"[") + msgspec.json.format(msgspec.json.encode(chunk), indent=2), made
    yield b"\r\n]\r\n", made


def _in_band() -> dict[str, Any]:
    return {
        "error": {"code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}
    }


def _array_failure(number: int) -> bytes:
    return (b"\r\n,\r\n" if number else b"[") + msgspec.json.encode(_in_band()) + b"\r\n]\r\n"


# ---- the others


def _embed(request: Request) -> Draft:
    body = read(request, Embed)
    return _embedded(request, [body], lambda vectors: {"embedding": vectors[0]})


def _embed_batch(request: Request) -> Draft:
    body = read(request, EmbedBatch)
    return _embedded(request, body.requests or [], lambda vectors: {"embeddings": vectors})


def _embedded(request: Request, asked: list[Embed], wrap: Any) -> Draft:
    model = _model(request)
    if not asked or any(each.content is None for each in asked):
        refuse(request, "* EmbedContentRequest.content: contents is not specified")
    counted = [gemini_input.counted(Body(contents=[each.content] if each.content else []), model) for each in asked]
    vectors = [
        {"values": vector(msgspec.json.encode(each.content), max(1, min(each.outputDimensionality or 3_072, 3_072)))}
        for each in asked
    ]
    total = sum(each.total for each in counted)
    full = dict(wrap(vectors))
    for usage in distorted({"promptTokenCount": total}, request.faults.usage):
        full["usageMetadata"] = usage
    billed = {"input_tokens": total, "output_tokens": 0, "image_tokens": sum(each.image for each in counted)}
    return Whole(
        headers=gemini_input.headers(), body=msgspec.json.encode(full), billed=invoiced(billed, request.faults.usage)
    )


def _models(request: Request) -> Draft:
    name = _model(request)
    if "/openai/" in request.path:  # for OpenAI's SDK
        listed = [
            {"id": f"models/{each}", "object": "model", "owned_by": "google"} for each in ([name] if name else _MODELS)
        ]
        told: dict[str, Any] = listed[0] if name else {"object": "list", "data": listed}
        return Whole(headers=gemini_input.headers(), body=msgspec.json.encode(told))
    if name:
        return Whole(headers=gemini_input.headers(), body=msgspec.json.encode(_described(name)))
    query = parse_qs(request.query)
    size, token = query.get("pageSize", ["50"])[0], query.get("pageToken", ["0"])[0]
    start = int(token) if token.isascii() and token.isdigit() and len(token) < 4 else 0
    end = start + (max(1, int(size)) if size.isascii() and size.isdigit() and len(size) < 5 else 50)
    full: dict[str, Any] = {"models": [_described(known) for known in _MODELS[start:end]]}
    if end < len(_MODELS):
        full["nextPageToken"] = str(end)
    return Whole(headers=gemini_input.headers(), body=msgspec.json.encode(full))


def _described(name: str) -> dict[str, Any]:
    embeds = "embedding" in name
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name.replace("-", " ").title(),
        "description": "A simulated model.",
        "inputTokenLimit": 2_048 if embeds else 1_048_576,
        "outputTokenLimit": 1 if embeds else 65_536,
        "supportedGenerationMethods": ["embedContent"] if embeds else ["generateContent", "countTokens"],
    }
