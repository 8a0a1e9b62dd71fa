"""The comment that says what a stream cost is one for every SDK: none sees it, none stumbles over it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.harness import Running
from tests.sdk import test_anthropic_python as anthropic_cases
from tests.sdk import test_openai_python as openai_cases
from tests.sdk.sides import comparable, perform

pytestmark = pytest.mark.asyncio(loop_scope="session")

CASES: list[tuple[str, Callable[[Any], Awaitable[Any]]]] = [
    ("openai", openai_cases.chat_stream),
    ("openai", openai_cases.chat_stream_usage),
    ("openai", openai_cases.responses_stream),
    ("anthropic", anthropic_cases.message_stream),
    ("anthropic", anthropic_cases.message_helper),
]


@pytest.mark.parametrize(("sdk", "case"), CASES, ids=lambda each: getattr(each, "__name__", each))
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_no_sdk_sees_the_comment(
    gate: Running, live_key: str, sdk: str, case: Callable[[Any], Awaitable[Any]], sync: bool
) -> None:
    """What the SDK makes of the stream is the same with the comment at its end."""
    without, _ = await perform(sdk, gate.url, live_key, case, sync=sync)
    asked = {"default_headers": {"x-farthing-stream-cost": "1"}}
    found, tap = await perform(sdk, gate.url, live_key, case, sync=sync, **asked)
    assert comparable(found) == comparable(without)
    for exchange in tap.exchanges:
        read_to_the_end = b"\n\n: farthing cost_micros=" in exchange.got[-60:]
        assert read_to_the_end or exchange.got.endswith(b"data: [DONE]\n\n")  # where some stop reading
