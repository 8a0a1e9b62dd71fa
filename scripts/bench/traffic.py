"""What goes over the wire in the benchmark: requests, and the answers of the mock upstream.

The model named in a request sets the upstream's pace. All these models are in Farthing's catalogue, all answers carry
usage, so that every call is metered and priced. Sizes are those of real answers: 600 bytes whole, 290 a chunk.
"""

from __future__ import annotations

import json
from pathlib import Path

PATH = "/v1/chat/completions"
FAST, PACED, HELD, SPACED = "gpt-4o-mini", "gpt-4o", "gpt-4.1", "gpt-4.1-mini"
DELAY_MS = 50  # of PACED, before the first byte
GAP_MS = 10  # of PACED, between chunks
CHUNKS = 100  # of content, in a stream
EVENTS = CHUNKS + 3  # that a client sees: role, content, finish, [DONE]
SPACE_MS = 20  # of SPACED, between chunks: none of them joins the next, however slowly they are read
STAYS = -1  # HELD sends its first chunks and then nothing
PACES = {FAST: (0, 0), PACED: (DELAY_MS, GAP_MS), HELD: (0, STAYS), SPACED: (0, SPACE_MS)}

_MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Say something about a fox and a dog, please."},
]
_CONVERSATION = [
    _MESSAGES[0],
    *({"role": role, "content": "The quick brown fox jumps over the lazy dog. " * 5} for role in ("user", "assistant")),
    {"role": "user", "content": "Say it once more, but of a dog and a fox that are both tired. " * 8},
]
_ID = "chatcmpl-C3kQ2mZ4tN8vYw1LsPcD3eFgHiJxR"
_MODEL = "gpt-4o-mini-2024-07-18"
_USAGE = {
    "prompt_tokens": 27,
    "completion_tokens": 16,
    "total_tokens": 43,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}


def request_body(model: str, *, stream: bool) -> bytes:
    """A chat completion as an SDK sends it; a stream does not ask for usage, as most do not."""
    asked = {"model": model, "messages": _MESSAGES, "max_tokens": 256, "temperature": 0.7}
    return _compact(asked | {"stream": True} if stream else asked)


def long_body(model: str, *, stream: bool) -> bytes:
    """The same with a conversation before it: 1.2 KB."""
    asked = {"model": model, "messages": _CONVERSATION, "max_tokens": 256, "temperature": 0.7}
    return _compact(asked | {"stream": True} if stream else asked)


def request_bytes(port: int, secret: str, model: str, *, stream: bool) -> bytes:
    """The whole request."""
    body = request_body(model, stream=stream)
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {secret}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def answers() -> dict[str, bytes]:
    """The upstream's canned bytes, heads and framing included, by name."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nx-request-id: req_0123456789abcdef\r\n"
    body = _compact(
        {
            "id": _ID,
            "object": "chat.completion",
            "created": 1763700000,
            "model": _MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "The quick brown fox jumps over the lazy dog near the river bank.",
                        "refusal": None,
                        "annotations": [],
                    },
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": _USAGE,
            "service_tier": "default",
            "system_fingerprint": "fp_560af6e559",
        }
    )
    whole = head % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(body) + body
    start = head % b"text/event-stream" + b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
    done = _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    finish = _event({"delta": {}, "finish_reason": "stop"})
    return {
        "whole": whole,
        "first": start + _event({"delta": {"role": "assistant", "content": ""}, "finish_reason": None}),
        "chunk": _event({"delta": {"content": " river"}, "finish_reason": None}),
        "last": finish + done,
        "last_with_usage": finish + _event(None, usage=_USAGE) + done,
    }


def _event(choice: dict[str, object] | None, usage: object = None) -> bytes:
    chunk = {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": 1763700000,
        "model": _MODEL,
        "service_tier": "default",
        "system_fingerprint": "fp_560af6e559",
        "choices": [] if choice is None else [{"index": 0, "logprobs": None} | choice],
        "usage": usage,
    }
    return _framed(b"data: %b\n\n" % _compact(chunk))


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def write_answers(directory: Path) -> None:
    """The answers as files, for an upstream that is not written in Python: one file each, and the paces in `paces`."""
    for name, data in answers().items():
        (directory / name).write_bytes(data)
    (directory / "paces").write_text("".join(f"{model} {delay} {gap}\n" for model, (delay, gap) in PACES.items()))
