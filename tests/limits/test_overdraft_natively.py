"""Under `overdraft: "never"` the cap holds in the native shapes of Google and Cohere too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import Running

GEMINI = "/v1beta/models/gemini-2.5-flash"
ASK: dict[str, Any] = {"contents": [{"parts": [{"text": "Tell me a long story."}]}]}
TURNS: dict[str, Any] = {"model": "command-a-03-2025", "messages": [{"role": "user", "content": "A long story."}]}
CALLS: dict[str, tuple[str, dict[str, Any], str]] = {
    "google-full": (f"{GEMINI}:generateContent", ASK, "generationConfig.maxOutputTokens"),
    "google-events": (f"{GEMINI}:streamGenerateContent?alt=sse", ASK, "generationConfig.maxOutputTokens"),
    "google-array": (f"{GEMINI}:streamGenerateContent", ASK, "generationConfig.maxOutputTokens"),
    "google-choices": (
        f"{GEMINI}:generateContent",
        ASK | {"generation_config": {"candidate_count": 3, "max_output_tokens": 9_000}},
        "generation_config.max_output_tokens",
    ),
    "cohere-full": ("/v2/chat", TURNS, "max_tokens"),
    "cohere-events": ("/v2/chat", TURNS | {"stream": True}, "max_tokens"),
    "cohere-lines": ("/v1/chat", {"model": TURNS["model"], "message": "A long story.", "stream": True}, "max_tokens"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_the_cap_holds(farthing: Running, name: str) -> None:
    """Calls are clamped to what is left, and refused when nothing is: never a micro above, whatever is written."""
    path, body, field = CALLS[name]
    key = await farthing.mint(max_spend_usd="0.004", overdraft="never", on_insufficient="clamp")
    statuses = []
    for _ in range(12):
        farthing.upstream.script("output_tokens=900")
        status, _, _ = await farthing.call(key["secret"], body, path)
        statuses.append(status)
        await farthing.quiet()
    assert statuses[0] == 200
    assert 402 in statuses
    _, seen = await farthing.api("GET", f"/v1/keys/{key['id']}")
    assert 0 < seen["spent_micros"] <= 4_000
    limited = json.loads(farthing.upstream.requests[-1].body)
    for step in field.split("."):
        limited = limited[step]
    assert isinstance(limited, int)
    assert limited < 9_000
