"""Files: uploads, their descriptions and contents, as OpenAI (and in its shape Mistral) and Anthropic have them.

Promises: an id carries a file's name, size and purpose, and of a file of requests what they come to. Contents are not
kept: a file comes back as text of its size (a megabyte of it at most), the results of a batch as `work` says. Nothing
can be deleted. Lists are empty, for the simulator knows no one's files; who remembers ids can ask for each.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from providers.simulator import forms, prose
from providers.simulator.answers import Draft, Whole
from providers.simulator.anthropic import common as anthropic
from providers.simulator.openai import chat, completions, embeddings, responses
from providers.simulator.openai import common as openai
from providers.simulator.requests import Refusal, Request
from providers.simulator.stored import memory
from providers.simulator.stored.work import Line, Work, words, work

OPERATIONS: Final[dict[str, Callable[[Request], Draft]]] = {
    "/v1/chat/completions": chat.answer,
    "/v1/completions": completions.answer,
    "/v1/responses": responses.answer,
    "/v1/embeddings": embeddings.counted,
}
_CONTENT_BYTES_MAX: Final = 1 << 20
_LARGE_BYTES: Final = 32 * 1024
_RESULTS: Final = "batch_output"


class File(msgspec.Struct, frozen=True):
    """What a file's id carries. `done` is how many results it holds."""

    nonce: str
    size: int
    purpose: str
    created_s: int
    name: str
    work: Work
    done: int = 0


class _Packed(msgspec.Struct, frozen=True):
    nonce: str
    size: int
    purpose: str
    created_s: int
    name: str
    done: int
    work: list[Any]


def ident(file: File, prefix: str = "file-") -> str:
    """The id of a file."""
    inner = list(msgspec.structs.astuple(file.work)) if file.work.lines else []
    return memory.keep(
        prefix, _Packed(file.nonce, file.size, file.purpose, file.created_s, file.name, file.done, inner)
    )


def recall(id_: str, prefix: str = "file-") -> File | None:
    """The file with this id."""
    packed = memory.recall(prefix, id_, _Packed)
    if packed is None:
        return None
    return File(
        packed.nonce, packed.size, packed.purpose, packed.created_s, packed.name, Work(*packed.work), packed.done
    )


def is_large(id_: str) -> bool:
    """Whether there is more in the file with this id than is written at once."""
    found = recall(id_) or recall(id_, "file_")
    return found is not None and max(found.size, found.done * 500) > _LARGE_BYTES


def find(method: str, request: Request) -> Callable[[Request], Draft] | None:
    """The operation at a path; None where it is none of files."""
    _, files, rest = request.path.partition("/v1/files")
    if not files or (rest and not rest.startswith("/")):
        return None
    if not rest:
        return {"POST": _upload, "GET": _list}.get(method)
    return _one


def _upload(request: Request) -> Draft:
    form = forms.read(request.headers.get("content-type", ""), request.body)
    if form is None or not form.files.get("file"):
        openai.refuse(request, "'file' is a required property", param="file")
    nonce = memory.nonce(request.request_id)
    content, purpose = form.files["file"][0], form.fields.get("purpose", "")
    if is_anthropic(request):
        return _described(request, File(nonce, len(content), "", request.now_s, form.names["file"][:24], Work()))
    if not purpose and request.provider != "mistral":
        openai.refuse(request, "'purpose' is a required property", param="purpose")
    counted = Work()
    if purpose == "batch":
        lines = (msgspec.json.decode(line, type=Line) for line in io.BytesIO(content) if line.strip())
        try:
            counted = work(request, lines, OPERATIONS, "/v1/chat/completions")
        except (msgspec.DecodeError, RecursionError):
            openai.refuse(request, "Invalid file format for Batch API. Must be .jsonl", param="file")
    return _described(request, File(nonce, len(content), purpose, request.now_s, form.names["file"][:24], counted))


def _list(request: Request) -> Draft:
    return Whole(headers=openai.headers(request), body=b'{"object":"list","data":[],"has_more":false}')


def _one(request: Request) -> Draft:
    id_, _, sub = request.path.partition("/v1/files/")[2].partition("/")
    found = recall(id_, _prefix(request))
    if found is None:
        missing = (
            anthropic.error(request, 404)
            if is_anthropic(request)
            else openai.error(request, 404, f"No such File object: {id_[:200]}", param="id")
        )
        raise Refusal(missing)
    if sub == "content":
        head = [item for item in openai.headers(request) if item[0] != "content-type"]
        return Whole(headers=[("content-type", "application/octet-stream"), *head], body=_content(found, id_))
    if request.method == "DELETE":
        deleted = (
            {"id": id_, "type": "file_deleted"}
            if is_anthropic(request)
            else {"id": id_, "object": "file", "deleted": True}
        )
        return Whole(headers=openai.headers(request), body=msgspec.json.encode(deleted))
    return _described(request, found)


def is_anthropic(request: Request) -> bool:
    """Whether files are Anthropic's."""
    return request.provider == "anthropic" or "anthropic-version" in request.headers


def _prefix(request: Request) -> str:
    return "file_" if is_anthropic(request) else "file-"


def _described(request: Request, file: File) -> Whole:
    described: dict[str, Any]
    if is_anthropic(request):
        described = {
            "id": ident(file, "file_"),
            "type": "file",
            "filename": file.name,
            "mime_type": "text/plain",
            "size_bytes": file.size,
            "created_at": datetime.fromtimestamp(file.created_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "downloadable": False,
        }
        return Whole(headers=anthropic.headers(request), body=msgspec.json.encode(described))
    described = {
        "id": ident(file),
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_s,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "expires_at": None,
    }
    if request.provider == "mistral":
        described |= {"sample_type": "batch_request", "source": "upload", "num_lines": file.work.lines or None}
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(described))


def _content(file: File, id_: str) -> bytes:
    if file.purpose == _RESULTS:
        return results(file, id_)
    text = prose.prose(file.size, tokens=file.size // 2 + 1, limit=100_000, stops=[]).text.encode()
    return (text * (file.size // max(len(text), 1) + 1))[: min(file.size, _CONTENT_BYTES_MAX)]


def output(nonce: str, found: Work, created_s: int, count: int) -> File:
    """The file with the results of a batch."""
    file = File(nonce, 0, _RESULTS, created_s, "batch_output.jsonl", found, count)
    return msgspec.structs.replace(file, size=len(results(file, "file-")))


def results(file: File, id_: str) -> bytes:
    """The lines of a batch's results."""
    lines = []
    for at in range(file.done):
        response = {"status_code": 200, "request_id": prose.ident("", id_, str(at)), "body": _body(file.work, at, file)}
        line = {"id": prose.ident("batch_req_", id_, str(at)), "custom_id": file.work.custom_id(at)}
        lines.append(msgspec.json.encode(line | {"response": response, "error": None}) + b"\n")
    return b"".join(lines)


def _body(found: Work, at: int, file: File) -> dict[str, Any]:
    """One answer, in the shape of its operation."""
    said = words(found, at)
    counts = {name: found.share(getattr(found, name), at) for name in ("input", "cached", "written", "output")}
    billed = {
        "input_tokens": counts["input"],
        "cached_tokens": counts["cached"],
        "cache_write_tokens": counts["written"],
        "output_tokens": counts["output"],
        "reasoning_tokens": 0,
    }
    usage = openai.chat_usage(billed)
    base = {"id": prose.ident("chatcmpl-", file.nonce, str(at)), "created": file.created_s, "model": found.model}
    if found.url == "/v1/embeddings":
        usage = {"prompt_tokens": counts["input"], "total_tokens": counts["input"]}
        data = [{"object": "embedding", "index": 0, "embedding": [0.0, 1.0]}]
        return {"object": "list", "data": data, "model": found.model, "usage": usage}
    if found.url == "/v1/responses":
        return responses.kept(found.model, file.created_s, billed, said, at)
    message = {"role": "assistant", "content": said, "refusal": None}
    shown = {"text": said} if found.url == "/v1/completions" else {"message": message}
    kind = "text_completion" if found.url == "/v1/completions" else "chat.completion"
    choice = {"index": 0, **shown, "logprobs": None, "finish_reason": "stop"}
    return base | {"object": kind, "choices": [choice], "usage": usage, "service_tier": "default"}
