"""Batches: made, looked at, cancelled, and their results, as OpenAI and Anthropic (and Mistral) have them.

Promises: an id carries what the batch comes to and when it was made, so it advances by the clock: two seconds after its
making it has ended, as its faults say. What was cancelled by a request is said to be cancelling, and ends all the
same: nothing remembers the request. Lists are empty, as those of files. The whole of a batch is billed as it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec

from providers.simulator import prose
from providers.simulator.answers import Draft, Whole
from providers.simulator.anthropic import common as anthropic
from providers.simulator.anthropic import messages
from providers.simulator.openai import common as openai
from providers.simulator.requests import Refusal, Request
from providers.simulator.stored import files, memory
from providers.simulator.stored.files import File
from providers.simulator.stored.work import Line, Work, done, ended, words, work

_DAY_S: Final = 86_400
_ANTHROPIC: Final = "/v1/messages/batches"
_OPENAI: Final = "/v1/batches"
_MISTRAL: Final = "/v1/batch/jobs"
_LARGE_LINES: Final = 50
_PREFIXES: Final = {_ANTHROPIC: "msgbatch_", _OPENAI: "batch_", _MISTRAL: "job-"}


class _Batch(msgspec.Struct, frozen=True):
    nonce: str
    created_s: int
    fault: str
    file_nonce: str
    file_size: int
    file_created_s: int
    file_name: str
    work: list[Any]

    @property
    def sums(self) -> Work:
        """What it comes to."""
        return Work(*self.work)


class _Creation(msgspec.Struct):
    input_file_id: str = ""
    input_files: list[str] = []
    endpoint: str = ""
    completion_window: str = ""
    model: str | None = None
    metadata: dict[str, str] | None = None


class _Asked(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


class _Requests(msgspec.Struct):
    requests: list[_Asked]


def is_large(id_: str) -> bool:
    """Whether the batch with this id has more results than are written at once."""
    found = [memory.recall(prefix, id_, _Batch) for prefix in _PREFIXES.values()]
    return any(each is not None and each.sums.lines > _LARGE_LINES for each in found)


def find(method: str, request: Request) -> Callable[[Request], Draft] | None:
    """The operation at a path; None where it is none of batches."""
    for base, prefix in _PREFIXES.items():
        _, found, rest = request.path.partition(base)
        if found and (not rest or rest.startswith("/")):
            if rest:
                return partial(_one, base=base, rest=rest, prefix=prefix)
            if method == "POST":
                return _make_inline if base == _ANTHROPIC else partial(_make, base=base)
            return _list
    return None


def _list(request: Request) -> Draft:
    return Whole(headers=openai.headers(request), body=b'{"object":"list","data":[],"total":0}')


def _make(request: Request, base: str) -> Draft:
    creation = openai.read(request, _Creation)
    id_ = creation.input_file_id or next(iter(creation.input_files), "")
    file = files.recall(id_)
    if file is None or file.purpose != "batch":
        openai.refuse(request, f"Invalid input_file_id: {id_[:200]}", param="input_file_id")
    sums = file.work
    if creation.model and not sums.model:
        sums = msgspec.structs.replace(sums, model=creation.model)
    batch = _Batch(
        memory.nonce(request.request_id),
        request.now_s,
        request.faults.batch,
        file.nonce,
        file.size,
        file.created_s,
        file.name,
        list(msgspec.structs.astuple(sums)),
    )
    shown = _mistral(request, batch) if base == _MISTRAL else _openai(request, batch)
    billed = sums.billed(done(sums, batch.fault)) if batch.fault != "stuck" else None
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(shown), billed=billed)


def _make_inline(request: Request) -> Draft:
    creation = anthropic.read(request, _Requests)
    lines = [Line(custom_id=each.custom_id, body=each.params) for each in creation.requests]
    sums = work(request, lines, {"/v1/messages": messages.answer}, "/v1/messages")
    nonce = memory.nonce(request.request_id)
    inner = list(msgspec.structs.astuple(sums))
    batch = _Batch(nonce, request.now_s, request.faults.batch, "", 0, 0, "", inner)
    counted = sums.billed(done(sums, batch.fault))
    billed = {
        "input_tokens": counted["input_tokens"],
        "cache_read_input_tokens": counted["cached_tokens"],
        "cache_creation_input_tokens": counted["cache_write_tokens"],
        "output_tokens": counted["output_tokens"],
    }
    body = msgspec.json.encode(_anthropic(request, batch, ""))
    return Whole(headers=anthropic.headers(request), body=body, billed=None if batch.fault == "stuck" else billed)


def _one(request: Request, base: str, rest: str, prefix: str) -> Draft:
    id_, _, sub = rest.strip("/").partition("/")
    batch = memory.recall(prefix, id_, _Batch)
    if base == _ANTHROPIC:
        if batch is None:
            raise Refusal(anthropic.error(request, 404))
        if sub == "results":
            return _results(request, batch)
        if request.method == "DELETE":
            body = {"id": id_, "type": "message_batch_deleted"}
            return Whole(headers=anthropic.headers(request), body=msgspec.json.encode(body))
        shown = _anthropic(request, batch, sub)
        return Whole(headers=anthropic.headers(request), body=msgspec.json.encode(shown))
    if batch is None:
        raise Refusal(openai.error(request, 404, f"No batch found with id '{id_[:200]}'."))
    shown = _mistral(request, batch) if base == _MISTRAL else _openai(request, batch)
    if sub == "cancel" and not _over(request, batch):
        shown["status"] = "CANCELLATION_REQUESTED" if base == _MISTRAL else "cancelling"
    return Whole(headers=openai.headers(request), body=msgspec.json.encode(shown))


def _over(request: Request, batch: _Batch) -> bool:
    return ended(batch.created_s, request.now_s, batch.fault)


def _ids(batch: _Batch, over: bool) -> tuple[str, str | None, int]:
    """Its input file, its output file once there is one, and how many answers that holds."""
    sums = batch.sums
    input_file = File(batch.file_nonce, batch.file_size, "batch", batch.file_created_s, batch.file_name, sums)
    count = done(sums, batch.fault) if over else 0
    output = files.ident(files.output(batch.nonce, sums, batch.created_s, count)) if count else None
    return files.ident(input_file), output, count


def _openai(request: Request, batch: _Batch) -> dict[str, Any]:
    sums, over = batch.sums, _over(request, batch)
    input_id, output_id, count = _ids(batch, over)
    status = {"": "completed"}.get(batch.fault, batch.fault) if over else "in_progress"
    at = batch.created_s + 2 if over else None
    billed = sums.billed(count)
    failed = sums.refused if over and batch.fault != "failed" else 0
    return {
        "id": memory.keep("batch_", batch),
        "object": "batch",
        "endpoint": sums.url,
        "model": sums.model,
        "errors": None,
        "input_file_id": input_id,
        "completion_window": "24h",
        "status": status,
        "output_file_id": output_id,
        "error_file_id": None,
        "created_at": batch.created_s,
        "in_progress_at": batch.created_s,
        "expires_at": batch.created_s + _DAY_S,
        "finalizing_at": at,
        **{f"{name}_at": at if status == name else None for name in ("completed", "failed", "expired", "cancelled")},
        "cancelling_at": None,
        "request_counts": {"total": sums.lines, "completed": count, "failed": failed},
        "usage": {
            "input_tokens": billed["input_tokens"],
            "input_tokens_details": {"cached_tokens": billed["cached_tokens"]},
            "output_tokens": billed["output_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": billed["input_tokens"] + billed["output_tokens"],
        },
        "metadata": None,
    }


def _mistral(request: Request, batch: _Batch) -> dict[str, Any]:
    sums, over = batch.sums, _over(request, batch)
    input_id, output_id, count = _ids(batch, over)
    names = {"": "SUCCESS", "failed": "FAILED", "expired": "TIMEOUT_EXCEEDED", "cancelled": "CANCELLED"}
    return {
        "id": memory.keep("job-", batch),
        "object": "batch",
        "input_files": [input_id],
        "endpoint": sums.url,
        "model": sums.model,
        "agent_id": None,
        "metadata": None,
        "output_file": output_id,
        "error_file": None,
        "errors": [],
        "status": names.get(batch.fault, "RUNNING") if over else "RUNNING",
        "created_at": batch.created_s,
        "started_at": batch.created_s,
        "completed_at": batch.created_s + 2 if over else None,
        "total_requests": sums.lines,
        "completed_requests": count + (sums.refused if over else 0),
        "succeeded_requests": count,
        "failed_requests": sums.refused if over else 0,
    }


def _anthropic(request: Request, batch: _Batch, sub: str) -> dict[str, Any]:
    sums, over = batch.sums, _over(request, batch)
    id_ = memory.keep("msgbatch_", batch)
    count = done(sums, batch.fault) if over else 0
    left = sums.lines - count - sums.refused if over else 0
    at = {name: _time(batch.created_s + seconds) for name, seconds in (("made", 0), ("ended", 2), ("expires", _DAY_S))}
    return {
        "id": id_,
        "type": "message_batch",
        "processing_status": "ended" if over else "canceling" if sub == "cancel" else "in_progress",
        "request_counts": {
            "processing": 0 if over else sums.lines,
            "succeeded": count,
            "errored": sums.refused if over else 0,
            "canceled": left if batch.fault == "cancelled" else 0,
            "expired": left if batch.fault == "expired" else 0,
        },
        "created_at": at["made"],
        "expires_at": at["expires"],
        "ended_at": at["ended"] if over else None,
        "cancel_initiated_at": _time(request.now_s) if sub == "cancel" else None,
        "archived_at": None,
        "results_url": f"{_place(request)}/v1/messages/batches/{id_}/results" if over else None,
    }


def _place(request: Request) -> str:
    """Where results are to be had: where the request came to, else where the provider lives."""
    host = request.headers.get("host")
    return f"http://{host}" if host else "https://api.anthropic.com"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _results(request: Request, batch: _Batch) -> Draft:
    if not _over(request, batch):
        raise Refusal(anthropic.error(request, 404))
    sums = batch.sums
    count = done(sums, batch.fault)
    lines = []
    for at in range(sums.lines):
        if at < count:
            result: dict[str, Any] = {"type": "succeeded", "message": _message(batch, sums, at)}
        elif at < count + sums.refused:
            error = {"type": "invalid_request_error", "message": "The simulator refused this request."}
            result = {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}
        else:
            result = {"type": "canceled" if batch.fault == "cancelled" else "expired"}
        lines.append(msgspec.json.encode({"custom_id": sums.custom_id(at), "result": result}) + b"\n")
    head = [item for item in anthropic.headers(request) if item[0] != "content-type"]
    return Whole(headers=[("content-type", "application/x-jsonl"), *head], body=b"".join(lines))


def _message(batch: _Batch, sums: Work, at: int) -> dict[str, Any]:
    return {
        "id": prose.ident("msg_", batch.nonce, str(at)),
        "type": "message",
        "role": "assistant",
        "model": sums.model,
        "content": [{"type": "text", "text": words(sums, at), "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": sums.share(sums.input, at),
            "cache_read_input_tokens": sums.share(sums.cached, at),
            "cache_creation_input_tokens": sums.share(sums.written, at),
            "cache_creation": {
                "ephemeral_5m_input_tokens": sums.share(sums.written, at),
                "ephemeral_1h_input_tokens": 0,
            },
            "output_tokens": sums.share(sums.output, at),
            "service_tier": "batch",
        },
    }
