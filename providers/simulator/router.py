"""Which operation a request is for, and the faults that need none.

Promises: every request has an answer, in the shape of the provider whose path it is; what is not simulated is a native
404. Nothing raises, whatever the bytes. Knows no operation's contents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from providers.simulator import cohere, minimax, mistral, qwen
from providers.simulator.answers import Answer, Draft, Whole
from providers.simulator.anthropic import common as anthropic
from providers.simulator.anthropic import messages
from providers.simulator.compatible import layers, xai
from providers.simulator.condensed import LONG_BYTES, VALUES_MAX, Places, condensed, is_crowded, restored
from providers.simulator.deepgram import whole as deepgram
from providers.simulator.delivery import deliver
from providers.simulator.elevenlabs import whole as elevenlabs
from providers.simulator.faults import Faults
from providers.simulator.google import generate as gemini
from providers.simulator.google import input as gemini_input
from providers.simulator.openai import (
    chat,
    completions,
    conversations,
    embeddings,
    images,
    moderations,
    responses,
    speech,
    transcriptions,
)
from providers.simulator.openai import (
    common as openai,
)
from providers.simulator.requests import Refusal, Request
from providers.simulator.stored import batches, files, models

Operation = Callable[[Request], Draft]


class Native(msgspec.Struct, frozen=True):
    """What a provider has beyond the shapes that many share.

    Attributes:
        find: Its own operation at a method and path; None where it has none there.
        error: Its errors: request, status, message ("" = the status's usual one).
    """

    find: Callable[[str, Request], Operation | None]
    error: Callable[[Request, int, str], Whole]


_NATIVES: Final[Mapping[str, Native]] = MappingProxyType(
    {
        "deepgram": Native(deepgram.find, deepgram.error),
        "elevenlabs": Native(elevenlabs.find, elevenlabs.error),
        "cohere": Native(cohere.find, cohere.error),
        "google": Native(gemini.find, gemini_input.error),
        "minimax": Native(minimax.find, minimax.error),
        "mistral": Native(mistral.find, mistral.error),
        "qwen": Native(qwen.find, qwen.error),
        "xai": Native(xai.find, openai.error),
    }
)
# By the end of the path, so that vendors' own prefixes (`/compatible-mode/v1`, `/anthropic/v1`, none) all do.
_POSTS: Final[tuple[tuple[str, Operation], ...]] = (
    ("/chat/completions", chat.answer),
    ("/completions", completions.answer),
    ("/responses", responses.answer),
    ("/responses/compact", responses.compact),
    ("/responses/input_tokens", responses.input_tokens),
    ("/embeddings", embeddings.answer),
    ("/audio/transcriptions", transcriptions.answer),
    ("/audio/translations", transcriptions.answer),
    ("/audio/speech", speech.answer),
    ("/images/generations", images.answer),
    ("/images/edits", images.answer),
    ("/images/variations", images.answer),
    ("/moderations", moderations.answer),
    ("/v1/messages", messages.answer),
    ("/v1/messages/count_tokens", messages.count_tokens),
    ("/text/chatcompletion_v2", chat.answer),
    ("/tokenizers/estimate-token-count", chat.estimate),
)
_LONG_BODY_BYTES: Final = 16 * 1024  # of which every word is counted
_LONG_ANSWER_TOKENS: Final = 1_000  # for which a fault asks; 128 choices at once have no more than 64 each without one
_MANY_VECTORS: Final = 100
_ELSEWHERE: Final = "/followed-redirect"  # here again, so that whoever follows is seen and nobody is harmed
_HTML: Final = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)


def answer(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    provider: str = "",
    faults: Faults,
    request_id: str,
    now_s: int,
) -> Answer:
    """Answer a request as its provider would.

    Args:
        method: HTTP method, in capitals.
        path: Path with or without a query, as it goes upstream.
        headers: In any case; only `anthropic-version` is looked at. Credentials are not.
        body: As it goes upstream.
        provider: Farthing's name of the provider; "" where the path and headers are to tell.
        faults: What is to go wrong.
        request_id: The id that the provider gives the request; all other ids are derived from it.
        now_s: Unix seconds, for `created` and the like.
    """
    place, _, query = path.partition("?")
    read, places = condensed(body) if len(body) > LONG_BYTES and body.lstrip()[:1] in (b"{", b"[") else (body, {})
    request = Request(
        provider=provider,
        method=method,
        path=place.rstrip("/") or "/",
        headers={name.lower(): value for name, value in headers.items()},
        query=query,
        body=read,
        faults=faults,
        request_id=request_id,
        now_s=now_s,
    )
    try:
        draft = _failed(request) or _crowded(request) or _operation(method, request)(request)
    except Refusal as refusal:
        draft = refusal.draft
    return deliver(_restored(draft, body, places) if places else draft, faults)


def _restored(draft: Draft, body: bytes, places: Places) -> Draft:
    """An answer that repeats a long text of the request, with the text itself."""
    if isinstance(draft, Whole):
        return msgspec.structs.replace(draft, body=restored(draft.body, body, places))
    events = ((restored(data, body, places), generated) for data, generated in draft.events)
    return msgspec.structs.replace(draft, events=events)


def is_long_work(path: str, body: bytes, faults: Faults) -> bool:
    """Whether an answer takes longer than some ten milliseconds to make. Who serves others has it made elsewhere."""
    if len(body) > _LONG_BODY_BYTES or (faults.output_tokens or 0) > _LONG_ANSWER_TOKENS:
        return True
    place = path.partition("?")[0]
    if "mbed" in place and body.count(b",") > _MANY_VECTORS:
        return True
    named = place.partition("/v1/")[2].split("/") if "file" in place or "batch" in place else ()
    return any(files.is_large(name) or batches.is_large(name) for name in named)


def is_anthropic(request: Request) -> bool:
    """Whether errors are in Anthropic's shape: by the version header, or the one path that is only theirs."""
    return not layers.is_layer(request) and ("anthropic-version" in request.headers or "/v1/messages" in request.path)


def _error(request: Request, status: int, message: str = "") -> Whole:
    if layers.is_layer(request) and request.provider != "cohere":
        return layers.error(request, status, message)
    if (native := _NATIVES.get(request.provider)) is not None:
        return native.error(request, status, message)
    return (anthropic.error if is_anthropic(request) else openai.error)(request, status, message)


def _operation(method: str, request: Request) -> Operation:
    if (native := _NATIVES.get(request.provider)) is not None and (found := native.find(method, request)) is not None:
        return found
    if (kept := files.find(method, request) or batches.find(method, request)) is not None:
        return kept
    if method == "POST":
        for end, operation in _POSTS:
            if request.path.endswith(end):
                return operation
    if "/v1/conversations" in request.path:
        return conversations.answer
    if "/responses/" in request.path:
        return responses.stored
    if method == "GET" and (request.path.endswith("/models") or "/models/" in request.path):
        return models.answer
    message = "" if is_anthropic(request) else f"Invalid URL ({method} {request.path[:200]})"
    return lambda asked: _error(asked, 404, message)


def _crowded(request: Request) -> Draft | None:
    """The refusal of what would take more to read than there is; None of all else."""
    if len(request.body) <= LONG_BYTES or request.body.lstrip()[:1] not in (b"{", b"[") or not is_crowded(request.body):
        return None
    return _error(request, 400, f"More than {VALUES_MAX} objects, lists and strings are not simulated.")


def _failed(request: Request) -> Draft | None:
    """The answer of a fault that comes before any operation; None without one."""
    faults = request.faults
    if faults.html:
        head = [("content-type", "text/html"), ("server", "cloudflare")]
        return Whole(status=faults.status or 502, headers=head, body=_HTML)
    if request.path == _ELSEWHERE:
        return _error(request, 404)  # whatever the faults: who follows with the same headers would go round and round
    if faults.redirect or 300 <= faults.status < 400:
        return Whole(status=faults.status or 302, headers=[("location", _ELSEWHERE)], body=b"")
    return _error(request, faults.status) if faults.status else None
