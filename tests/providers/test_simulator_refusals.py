"""What the providers refuse, in their own words."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from providers.simulator import Faults, answer, prose, sounds

HELLO = [{"role": "user", "content": "hello"}]
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": HELLO}
MESSAGE: dict[str, Any] = {"model": "claude-opus-5", "max_tokens": 2_000, "messages": HELLO}
MARKED = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}


def refused(path: str, body: Any, headers: dict[str, str]) -> Any:
    made = answer("POST", path, headers, json.dumps(body).encode(), faults=Faults(), request_id="req_1", now_s=1)
    assert made.status == 400
    assert made.billed is None
    return json.loads(b"".join(step for step in made.steps if isinstance(step, bytes)))["error"]


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("/v1/chat/completions", {"messages": HELLO}, None, None),
        ("/v1/chat/completions", {"model": "gpt-4o"}, "messages", "missing_required_parameter"),
        ("/v1/chat/completions", CHAT | {"messages": []}, "messages", "empty_array"),
        ("/v1/chat/completions", CHAT | {"messages": "hi"}, "messages", "invalid_type"),
        ("/v1/chat/completions", CHAT | {"messages": [{"role": "boss"}]}, "messages[0].role", "invalid_value"),
        ("/v1/chat/completions", CHAT | {"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ("/v1/chat/completions", CHAT | {"n": 129}, "n", "integer_above_max_value"),
        ("/v1/chat/completions", CHAT | {"stream_options": {"include_usage": True}}, "stream_options", None),
        ("/v1/responses", {"model": "gpt-5"}, "input", "missing_required_parameter"),
        ("/v1/responses", {"model": "gpt-5", "input": "x", "max_output_tokens": 15}, "max_output_tokens",
         "integer_below_min_value"),
        ("/v1/embeddings", {"model": "e"}, "input", "missing_required_parameter"),
        ("/v1/embeddings", {"model": "e", "input": []}, "input", None),
        ("/v1/embeddings", {"model": "e", "input": ["x"] * 2_049}, "input", None),
        ("/v1/embeddings", {"model": "e", "input": "x y " * 160_000}, "input", "max_tokens_per_request"),
        ("/v1/embeddings", {"model": "e", "input": "x", "dimensions": 0}, "dimensions", "integer_below_min_value"),
    ],
)  # fmt: skip
def test_openai_names_the_parameter_and_the_code(path: str, body: Any, param: str | None, code: str | None) -> None:
    error = refused(path, body, {})
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": HELLO, "max_tokens": 5}, "model: Field required"),
        ({"model": "claude-opus-5", "max_tokens": 5}, "messages: Field required"),
        ({"model": "claude-opus-5", "messages": HELLO}, "max_tokens: Field required"),
        (MESSAGE | {"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        (MESSAGE | {"messages": []}, "messages: at least one message is required"),
        (MESSAGE | {"messages": [{"role": "boss", "content": "x"}]}, "messages: Unexpected role"),
        (MESSAGE | {"messages": [{"role": "user", "content": 5}]}, "messages.0.content: Expected"),
        (MESSAGE | {"system": [MARKED] * 5}, "A maximum of 4 blocks with cache_control may be provided. Found 5."),
        (MESSAGE | {"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Input should be"),
        (MESSAGE | {"thinking": {"type": "enabled", "budget_tokens": 2_000}}, "`max_tokens` must be greater than"),
    ],
)
def test_anthropic_says_what_is_wrong(body: Any, message: str) -> None:
    error = refused("/v1/messages", body, {"anthropic-version": "2023-06-01"})
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(message)


def test_anthropic_wants_its_version() -> None:
    assert refused("/v1/messages", MESSAGE, {})["message"] == "anthropic-version: header is required"


WILD: tuple[tuple[str, str, Any, tuple[int, ...]], ...] = (
    *(("deepgram", f"/v1/speak?model=a&encoding=linear16&sample_rate={rate}", {"text": "hello"}, (400,))
      for rate in ("99999999999", "-5", "x", "0", "²")),
    *(("elevenlabs", f"/v1/text-to-speech/x?output_format={kind}_{rate}", {"text": "hello"}, (200, 422))
      for kind in ("pcm", "wav") for rate in ("99999999999", "-5", "x", "0", "²")),
    ("deepgram", "/v1/speak?model=a", {"text": "x" * 2_001}, (413,)),
    ("elevenlabs", "/v1/text-to-speech/x", {"text": "x" * 40_001}, (400,)),
    ("minimax", "/v1/t2a_v2", {"model": "speech-02-hd", "text": "x" * 10_001}, (200,)),
    ("mistral", "/v1/audio/speech", {"model": "voxtral-tts", "input": "x" * 10_001}, (422,)),
    ("openai", "/v1/chat/completions", CHAT | {"stop": [f"no{number}" for number in range(5_000)]}, (200,)),
)  # fmt: skip


@pytest.mark.parametrize(("provider", "path", "body", "statuses"), WILD)
def test_nobody_is_given_more_than_there_is(provider: str, path: str, body: Any, statuses: tuple[int, ...]) -> None:
    """Rates that no sound has, texts that no voice reads, more words to stop at than any provider takes."""
    made = answer(
        "POST", path, {}, json.dumps(body).encode(), provider=provider, faults=Faults(), request_id="req_1", now_s=1
    )
    assert made.status in statuses
    assert sum(len(step) for step in made.steps if isinstance(step, bytes)) < 1 << 20


def test_a_sound_is_as_long_as_it_is() -> None:
    """Not as its head says: of a sample a second, four thousand million."""
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 1, 1, 1, 8) + b"data" + struct.pack("<I", 0xFFFFFF00)
    seconds, _ = sounds.heard(b"RIFF" + struct.pack("<I", 0xFFFFFFF0) + head + bytes(60))
    assert 60 <= seconds <= 104
    assert len(sounds.mp3(10**9)) == len(sounds.mp3(600))
    assert prose.prose(1, tokens=10**12, limit=None, stops=[]).tokens == prose.TOKENS_MAX
