"""Responses: items in, items out, usage and tool calls at the end."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseCompletedEvent, ResponseTextDeltaEvent

from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.openai.responses import OPENAI_RESPONSES
from tests.providers.answers import CUTS, NUMBER, read, sse

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "hi", "annotations": []}],
}
RESPONSE: dict[str, object] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-5",
    "service_tier": "default",
    "output": [MESSAGE],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 100,
        "input_tokens_details": {
            "cached_tokens": 40,
            "cache_write_tokens": 10,
            "cache_write_tokens_details": {"ttl_30m_tokens": 6, "ttl_12h_tokens": 4},
        },
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 150,
    },
}
EXPECTED = Usage(
    input_tokens=100,
    cache_read_tokens=40,
    cache_write_tokens=10,
    cache_write_12h_tokens=4,
    output_tokens=50,
    reasoning_tokens=20,
)
DELTA = {
    "type": "response.output_text.delta",
    "sequence_number": 2,
    "item_id": "msg_1",
    "output_index": 0,
    "content_index": 0,
    "delta": "hello there",
    "logprobs": [],
}


def event(kind: str, response: object = None) -> dict[str, object]:
    return {"type": kind, "sequence_number": 9, "response": RESPONSE if response is None else response}


CREATED = event("response.created", {**RESPONSE, "status": "in_progress", "output": [], "usage": None})


def body(**members: object) -> bytes:
    return json.dumps({"model": "gpt-5", "input": "hi", **members}).encode()


def test_fixtures_are_what_the_sdk_expects() -> None:
    """The answer and events pass the official SDK's types."""
    Response.model_validate(RESPONSE)
    ResponseCompletedEvent.model_validate(event("response.completed"))
    ResponseTextDeltaEvent.model_validate(DELTA)


@given(CUTS)
def test_stream(cuts: list[int]) -> None:
    """Usage comes with the last event, wherever the stream is cut."""
    data = sse(CREATED, DELTA, event("response.completed"), names=True)
    reading = read(OPENAI_RESPONSES, data, cuts=cuts)
    assert reading.usage == EXPECTED
    assert (reading.complete, reading.model, reading.flags, reading.error) == (True, "gpt-5", (), False)


@pytest.mark.parametrize(("kind", "error"), [("response.incomplete", False), ("response.failed", True)])
def test_other_ends_are_billed_too(kind: str, error: bool) -> None:
    """An incomplete or failed answer states its usage like any other."""
    reading = read(OPENAI_RESPONSES, sse(CREATED, DELTA, event(kind)))
    assert (reading.usage, reading.error, reading.complete) == (EXPECTED, error, True)


def test_json() -> None:
    """A body in one piece reads the same."""
    reading = read(OPENAI_RESPONSES, json.dumps(RESPONSE).encode(), streamed=False)
    assert (reading.usage, reading.complete, reading.model) == (EXPECTED, True, "gpt-5")


def test_tool_calls_are_counted() -> None:
    """Calls of priced tools are counted from the output; what the answer states of searches replaces their count."""
    calls = [{"type": "web_search_call"}] * 2 + [
        {"type": "file_search_call"},
        {"type": "code_interpreter_call"},
        MESSAGE,
    ]
    answer = {**RESPONSE, "output": calls}
    for data, streamed in ((json.dumps(answer).encode(), False), (sse(event("response.completed", answer)), True)):
        usage = read(OPENAI_RESPONSES, data, streamed=streamed).usage
        assert usage is not None
        assert usage.tools == {"web_search": 2, "file_search": 1, "code_interpreter": 1}
    stated = {**answer, "tool_usage": {"web_search": {"num_requests": 5}, "image_gen": {"input_tokens": 0}}}
    usage = read(OPENAI_RESPONSES, json.dumps(stated).encode(), streamed=False).usage
    assert usage is not None
    assert usage.tools == {"web_search": 5, "file_search": 1, "code_interpreter": 1}


def test_tool_calls_seen_on_the_way_count() -> None:
    """A call that was streamed counts, though the last event does not repeat it."""
    item = {"type": "response.output_item.done", "output_index": 0, "item": {"type": "file_search_call", "id": "f"}}
    usage = read(OPENAI_RESPONSES, sse(item, event("response.completed"))).usage
    assert usage is not None
    assert usage.tools == {"file_search": 1}


def test_cut_stream_counts_what_was_visible() -> None:
    """Deltas of text, reasoning and arguments are visible output; lifecycle events are not."""
    quiet = read(OPENAI_RESPONSES, sse(CREATED))
    assert (quiet.usage, quiet.output_tokens_seen, quiet.complete, quiet.model) == (None, 0, False, "gpt-5")
    seen = 0
    events: list[object] = [CREATED]
    for kind in ("output_text", "reasoning_summary_text", "function_call_arguments", "refusal"):
        events.append({"type": f"response.{kind}.delta", "delta": "some words of output"})
        now = read(OPENAI_RESPONSES, sse(*events)).output_tokens_seen
        assert now > seen
        seen = now


def test_error_event() -> None:
    """An error event marks the reading."""
    assert read(OPENAI_RESPONSES, sse(CREATED, {"type": "error", "code": "x", "message": "y"})).error


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({}, ""),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"previous_response_id": None}, ""),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"tools": [{"type": "function", "name": "f"}]}, ""),
        ({"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}, "tools[1].type"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": "x"}, MESSAGE]}, ""),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, ""),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x/y.png"}]}]},
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x/y.pdf"}]}]},
            "input[0].content[0].file_url",
        ),
    ],
)
def test_names_what_makes_the_cost_unknown(members: dict[str, object], field: str) -> None:
    """State and tools on the provider's side are named."""
    assert OPENAI_RESPONSES.read(body(**members)).unbounded == field


def test_background_is_refused() -> None:
    """An answer that nobody waits for cannot be metered."""
    with pytest.raises(BadRequest) as caught:
        OPENAI_RESPONSES.read(body(background=True))
    assert (caught.value.param, caught.value.code) == ("background", "unbounded_cost")
    assert OPENAI_RESPONSES.read(body(background=False)).unbounded == ""


def test_limit() -> None:
    """The output limit is read, and lowered in place."""
    raw = body(max_output_tokens=90, stream=True)
    call = OPENAI_RESPONSES.read(raw)
    assert (call.output_tokens_max, call.output_field, call.stream, call.splice) == (
        90,
        "max_output_tokens",
        True,
        False,
    )
    assert OPENAI_RESPONSES.limit(raw, call, 7) == raw.replace(b"90", b"7")


@pytest.mark.parametrize(
    ("raw", "param"),
    [(body(input=3), "input"), (body(input=[3]), "input"), (body(max_output_tokens=-1), "max_output_tokens")],
)
def test_refuses(raw: bytes, param: str) -> None:
    """What cannot be read is named."""
    with pytest.raises(BadRequest) as caught:
        OPENAI_RESPONSES.read(raw)
    assert caught.value.param == param


EVENTS = st.lists(
    st.sampled_from([CREATED, DELTA, event("response.completed"), {"type": "response.completed", "response": 3}])
    | st.builds(
        lambda n, m: event("response.completed", {**RESPONSE, "usage": {"input_tokens": n, "output_tokens": m}}),
        NUMBER,
        NUMBER,
    )
    | st.dictionaries(st.sampled_from(["type", "delta", "item", "response"]), st.none() | st.integers() | st.text()),
    max_size=6,
).map(lambda events: sse(*events))


@given(EVENTS | st.binary(max_size=200), CUTS, st.booleans())
def test_any_bytes(data: bytes, cuts: list[int], streamed: bool) -> None:
    """Whatever the bytes, nothing is raised and the pieces do not matter."""
    assert read(OPENAI_RESPONSES, data, cuts=cuts, streamed=streamed) == read(OPENAI_RESPONSES, data, streamed=streamed)
