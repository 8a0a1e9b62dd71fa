"""POST /v1/completions, the older operation that continues a prompt.

Promises: full answers and chunks of `text_completion` (openai 3.54, `types/completion.py`); a batch of prompts gives
`n` choices each. Usage in a stream as in chat completions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from providers.simulator import prose, tokens
from providers.simulator.answers import Draft, Stream, Whole, event
from providers.simulator.compatible import vendors
from providers.simulator.openai import common as openai
from providers.simulator.openai.chat import GARBAGE, StreamOptions
from providers.simulator.requests import Request, streamed
from providers.simulator.usages import invoiced

_MAX_TOKENS: int = 16  # the operation's own default


class _Body(msgspec.Struct):
    model: str | None = None
    prompt: str | list[str | int | list[int]] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    echo: bool | None = None


def answer(request: Request) -> Draft:
    """Answer one request."""
    body = openai.read(request, _Body)
    model = openai.served_model(request, body.model)
    openai.at_least(request, "max_tokens", body.max_tokens, 0)
    openai.at_least(request, "n", body.n, 1, openai.CHOICES_MAX)
    prompts = _prompts(body.prompt)
    number_of = len(prompts) * (body.n or 1)
    openai.at_least(request, "n", number_of, 1, openai.CHOICES_MAX)
    limit = _MAX_TOKENS if body.max_tokens is None else body.max_tokens
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    wanted = request.faults.output_tokens
    wanted = None if wanted is None else min(wanted, openai.TOKENS_MAX // number_of)
    texts = [
        prose.prose(prose.seed(body.prompt, number), tokens=wanted, limit=limit, stops=stops)
        for number in range(number_of)
    ]
    echoes = [prompts[number // (body.n or 1)][0] if body.echo else "" for number in range(number_of)]
    total = sum(length for _, length in prompts)
    cached, written = openai.cache(request, model, total, None)
    billed = {
        "input_tokens": total,
        "cached_tokens": cached,
        "cache_write_tokens": written,
        "output_tokens": sum(text.tokens for text in texts),
        "reasoning_tokens": 0,
    }
    base: dict[str, Any] = {
        "id": prose.ident("cmpl-", request.request_id),
        "object": "text_completion",
        "created": request.now_s,
        "model": model,
        "system_fingerprint": "fp_simulated",
    }
    base = vendors.based(request, base)
    invoice = invoiced(vendors.invoice(request, billed), request.faults.usage)
    usages = vendors.usages(request, billed)
    if streamed(request, body.stream):
        asked = bool(body.stream_options and body.stream_options.include_usage)
        return Stream(
            headers=openai.headers(request, stream=True),
            events=vendors.streamed(request, _events(base, texts, echoes, usages if asked else [])),
            billed=invoice,
            failure=openai.in_band_error,
            garbage=GARBAGE,
        )
    choices = [
        _choice(number, echoes[number] + text.text, "length" if text.full else "stop")
        for number, text in enumerate(texts)
    ]
    full = base | {"choices": choices} | ({"usage": usages[-1]} if usages else {})
    return Whole(headers=openai.headers(request), body=vendors.finished(request, full), billed=invoice)


def _prompts(given: str | list[str | int | list[int]] | None) -> list[tuple[str, int]]:
    """Each prompt's text (empty for token ids) and length in tokens."""
    if given is None or isinstance(given, str):
        return [(given or "", tokens.count(given or ""))]
    if all(isinstance(part, int) for part in given):
        return [("", len(given))]
    return [
        (part, tokens.count(part)) if isinstance(part, str) else ("", len(part) if isinstance(part, list) else 1)
        for part in given
    ]


def _choice(number: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"index": number, "text": text, "logprobs": None, "finish_reason": finish}


def _events(
    base: dict[str, Any], texts: list[prose.Text], echoes: list[str], usages: list[dict[str, Any]]
) -> Iterator[tuple[bytes, int]]:
    null: dict[str, Any] = {"usage": None} if usages else {}
    generated = 0
    for number, text in enumerate(texts):
        if echoes[number]:
            yield event(base | {"choices": [_choice(number, echoes[number], None)]} | null), generated
        for piece in text.pieces:
            generated += 1
            yield event(base | {"choices": [_choice(number, piece, None)]} | null), generated
        finish = _choice(number, "", "length" if text.full else "stop")
        yield event(base | {"choices": [finish]} | null), generated
    for usage in usages:
        yield event(base | {"choices": [], "usage": usage}), generated
    yield b"data: [DONE]\n\n", generated
