"""What works beside a call's own model: other models, and tools that the provider runs, under a cap."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.faults.test_unknown import MESSAGES, Field, chat
from tests.harness import running
from tests.scripted import Scripted


@pytest_asyncio.fixture
async def field(tmp_path: Path) -> AsyncIterator[Field]:
    async with Scripted() as provider, running(tmp_path) as farthing:
        yield Field(farthing, provider)


def message(model: str, **usage: Any) -> bytes:
    return json.dumps(
        {"id": "msg_1", "type": "message", "role": "assistant", "model": model,
         "content": [{"type": "text", "text": "a"}],
         "stop_reason": "end_turn", "usage": {"input_tokens": 1000, "output_tokens": 1000} | usage}
    ).encode()  # fmt: skip


ASK = {"model": "claude-haiku-4-5", "max_tokens": 2000, "messages": MESSAGES}
FALLBACK = ASK | {"fallbacks": [{"model": "claude-opus-4-1"}]}


async def test_a_fallback_is_held_for_and_charged_at_its_own_price(field: Field) -> None:
    """A key without a list of models may fall back; what opus answers costs what opus costs."""
    field.provider.answer(body=message("claude-opus-4-1"))
    status, headers, _ = await field.call(FALLBACK, "/v1/messages")
    assert status == 200
    event = await field.event()
    assert (event["model"], event["cost_micros"]) == ("claude-opus-4-1", 1000 * 15 + 1000 * 75)
    assert event["held_micros"] >= 2000 * 75
    assert int(headers["x-farthing-held-micros"]) == event["held_micros"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (FALLBACK, "fallbacks[0].model"),
        (
            ASK | {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-1"}]},
            "tools[0].model",
        ),
    ],
)
async def test_a_model_that_is_named_anywhere_must_be_allowed(field: Field, body: Any, param: str) -> None:
    """A list of models is no obstacle to walk round: nothing is forwarded."""
    status, _, got = await field.call(body, "/v1/messages", allowed_models=["claude-haiku-4-5"])
    error = json.loads(got)["error"]
    assert (status, error["code"], error["param"]) == (403, "model_not_allowed", param)
    assert not field.provider.heads


async def test_an_advisors_tokens_are_charged_at_its_own_price(field: Field) -> None:
    """Beside the answer's, and held for."""
    advice = {"type": "advisor_message", "model": "claude-opus-4-1", "input_tokens": 100, "output_tokens": 200,
              "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}  # fmt: skip
    field.provider.answer(body=message("claude-haiku-4-5", iterations=[advice]))
    tools = [{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-1"}]
    assert (await field.call(ASK | {"tools": tools}, "/v1/messages"))[0] == 200
    event = await field.event()
    assert event["cost_micros"] == 1000 * 1 + 1000 * 5 + 100 * 15 + 200 * 75
    assert event["held_micros"] >= 4096 * 75


async def test_pictures_of_a_tool_are_held_for_and_charged(field: Field) -> None:
    """A quarter of a dollar each, which the cap sees before and after."""
    stated = {"input_tokens": 40, "output_tokens": 6208, "total_tokens": 6248}
    answer = {"id": "resp_1", "object": "response", "model": "gpt-4.1", "status": "completed",
              "output": [{"type": "image_generation_call", "id": "ig_1", "result": "QUJD", "status": "completed"}],
              "usage": {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14},
              "tool_usage": {"image_gen": stated, "web_search": {"num_requests": 0}}}  # fmt: skip
    field.provider.answer(body=json.dumps(answer).encode())
    body = {"model": "gpt-4.1", "input": "draw", "tools": [{"type": "image_generation"}]}
    assert (await field.call(body, "/v1/responses"))[0] == 200
    event = await field.event()
    assert event["cost_micros"] == pytest.approx(6208 * 40, abs=400)
    assert event["held_micros"] >= 6_240 * 40
    assert (await field.me())["overrun_micros"] == 0
    poor = await field.farthing.mint(max_spend_usd="0.10")
    assert (await field.farthing.call(poor["secret"], body, "/v1/responses"))[0] == 402


UNPRICED: list[tuple[str, Any, str]] = [
    ("/v1/responses", {"model": "gpt-4.1", "input": "hi", "tools": [{"type": "telepathy"}]}, "tools[0].type"),
    ("/v1/messages", ASK | {"tools": [{"type": "telepathy_20270101", "name": "t"}]}, "tools[0].type"),
    ("/v1/messages", ASK | {"fallbacks": "default"}, "fallbacks"),
    ("/v1/chat/completions", {"model": "qwen-plus", "messages": MESSAGES, "enable_search": True}, "enable_search"),
    ("/v1/chat/completions", {"model": "gpt-4o", "messages": MESSAGES, "service_tier": "platinum"}, "service_tier"),
]


@pytest.mark.parametrize(("path", "body", "param"), UNPRICED)
async def test_work_without_a_price_is_refused_by_name_where_there_is_a_cap(
    field: Field, path: str, body: Any, param: str
) -> None:
    """And passes where there is none: its tokens are metered, and the event says what was not."""
    field.provider.answer(body=message("claude-haiku-4-5") if "messages" in path else chat("gpt-4o", output=5))
    status, _, got = await field.call(body, path)
    error = json.loads(got)["error"]
    assert (status, error["code"], error["param"]) == (400, "unbounded_cost", param)
    assert not field.provider.heads
    assert (await field.event())["decision"] == "blocked"
    free = await field.farthing.mint()
    assert (await field.farthing.call(free["secret"], body, path))[0] == 200


async def test_a_batchs_price_is_not_for_single_calls(field: Field) -> None:
    """Half of the price is for those who wait: the name alone does not buy it."""
    field.provider.answer(body=chat("gpt-4o", output=1000))
    assert (await field.call({"model": "gpt-4o", "messages": MESSAGES, "service_tier": "batch", "max_tokens": 1000}))[
        0
    ] == 200
    event = await field.event()
    assert event["cost_micros"] == pytest.approx(9 * 2.5 + 1000 * 10, abs=1)
    assert event["held_micros"] >= 1000 * 10


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/chat/completions", {"model": "gpt-4o", "messages": MESSAGES, "max_tokens": 0}, "max_tokens"),
        ("/v1/chat/completions", {"model": "gpt-4o", "messages": MESSAGES, "max_tokens": 9,
                                  "prediction": {"type": "content", "content": "x"}}, "prediction"),
        ("/v1/chat/completions", {"model": "gpt-4o-search-preview", "messages": MESSAGES, "max_tokens": 9}, "model"),
        ("/v1/responses", {"model": "gpt-4.1", "input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ("/v1/responses", {"model": "gpt-4.1", "input": "x", "tools": [{"type": "code_interpreter",
                           "container": {"type": "auto"}}]}, "tools[0].type"),
        ("/v1/messages", FALLBACK, "fallbacks"),
    ],
)  # fmt: skip
async def test_what_no_limit_bounds_is_refused_where_the_cap_must_hold(
    field: Field, path: str, body: Any, param: str
) -> None:
    """By name, before anything is forwarded."""
    status, _, got = await field.call(body, path, overdraft="never")
    error = json.loads(got)["error"]
    assert (status, error["code"], error["param"]) == (400, "unbounded_cost", param)
    assert not field.provider.heads
