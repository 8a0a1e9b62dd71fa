"""Messages: caches beside the input, cumulative counts, blocks."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from anthropic.types import Message, RawMessageDeltaEvent, RawMessageStartEvent
from anthropic.types.beta import BetaMessage
from hypothesis import given
from hypothesis import strategies as st

from providers.anthropic.messages import ANTHROPIC_MESSAGES
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from tests.providers.answers import CALL, CUTS, NUMBER, read, sse

ANSWER: dict[str, object] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 50,
        "cache_read_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 3},
        "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
        "service_tier": "standard",
        "speed": "standard",
        "inference_geo": "global",
    },
}
EXPECTED = Usage(
    input_tokens=160,
    cache_read_tokens=100,
    cache_write_tokens=50,
    cache_write_1h_tokens=30,
    output_tokens=7,
    reasoning_tokens=3,
    tools={"web_search": 1},
)
START = {
    "type": "message_start",
    "message": {
        **ANSWER,
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 100, "output_tokens": 1},
    },
}
PING = {"type": "ping"}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello there, "}}
DELTA = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 7},
}
STOP = {"type": "message_stop"}


def usage_of(**usage: object) -> Usage | None:
    return read(ANTHROPIC_MESSAGES, json.dumps({**ANSWER, "usage": usage}).encode(), streamed=False).usage


def body(**members: object) -> bytes:
    base = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    return json.dumps({**base, **members}).encode()


def test_fixtures_are_what_the_sdk_expects() -> None:
    """The answer and events pass the official SDK's types."""
    Message.model_validate(ANSWER)
    RawMessageStartEvent.model_validate(START)
    RawMessageDeltaEvent.model_validate(DELTA)


def test_json_adds_the_caches() -> None:
    """Total input is plain, written and read together; lifetimes, tools and thinking are parts."""
    reading = read(ANTHROPIC_MESSAGES, json.dumps(ANSWER).encode(), streamed=False)
    assert reading.usage == EXPECTED
    assert (reading.complete, reading.model, reading.flags) == (True, "claude-sonnet-4-5", ())


@given(CUTS)
def test_stream_replaces_counts(cuts: list[int]) -> None:
    """The last cumulative counts hold, member by member; what they leave out stays as it began."""
    reading = read(ANTHROPIC_MESSAGES, sse(START, PING, TEXT, DELTA, STOP, names=True), cuts=cuts)
    assert reading.usage == Usage(input_tokens=110, cache_read_tokens=100, output_tokens=7)
    assert (reading.complete, reading.partial, reading.flags) == (True, False, ())


def test_restated_counts_replace() -> None:
    """A delta may restate the input, grown by what server tools read."""
    usage = {"input_tokens": 30, "cache_read_input_tokens": 100, "output_tokens": 9,
             "server_tool_use": {"web_search_requests": 2}}  # fmt: skip
    reading = read(ANTHROPIC_MESSAGES, sse(START, DELTA, {**DELTA, "usage": usage}, STOP))
    assert reading.usage == Usage(input_tokens=130, cache_read_tokens=100, output_tokens=9, tools={"web_search": 2})
    assert reading.flags == ()


def test_decreasing_counts_are_flagged() -> None:
    """A cumulative count does not go down: the larger holds."""
    reading = read(ANTHROPIC_MESSAGES, sse(START, DELTA, {**DELTA, "usage": {"output_tokens": 3}}, STOP))
    assert reading.usage is not None
    assert (reading.usage.output_tokens, reading.flags) == (7, ("usage_decreased",))


def test_cut_stream_knows_its_input() -> None:
    """Cut after the start, input is exact, output is what was visible, and the count is partial."""
    reading = read(ANTHROPIC_MESSAGES, sse(START, *[TEXT] * 10))
    assert reading.partial
    assert not reading.complete
    assert reading.usage == Usage(input_tokens=110, cache_read_tokens=100, output_tokens=1)
    assert reading.output_tokens_seen > 20


@pytest.mark.parametrize(
    "delta",
    [
        {"type": "thinking_delta", "thinking": "thinking about it"},
        {"type": "input_json_delta", "partial_json": '{"a": "argument"}'},
    ],
)
def test_all_deltas_are_visible(delta: dict[str, str]) -> None:
    """Thinking and tool arguments are output too."""
    event = {"type": "content_block_delta", "index": 0, "delta": delta}
    assert read(ANTHROPIC_MESSAGES, sse(event)).output_tokens_seen > 2


def test_tier_speed_and_region() -> None:
    """What was served is on the usage; where the answer does not say, what was asked for."""
    usage = usage_of(input_tokens=1, output_tokens=1, service_tier="priority", speed="fast", inference_geo="us")
    assert usage is not None
    assert (usage.service_tier, usage.speed, usage.geo) == ("priority", "fast", "us")
    call = ANTHROPIC_MESSAGES.read(body(speed="fast", inference_geo="us"))
    assert (call.input_bound.speed, call.input_upper.geo) == ("fast", "us")
    silent = {**ANSWER, "usage": {"input_tokens": 1, "output_tokens": 1}}
    reading = read(ANTHROPIC_MESSAGES, json.dumps(silent).encode(), streamed=False, call=call)
    assert reading.usage == Usage(input_tokens=1, output_tokens=1, speed="fast", geo="us")


def test_iterations() -> None:
    """Compaction is beside the totals and is added; an advisor is another model's; messages repeat the totals."""
    base = {"cache_creation_input_tokens": 1, "cache_read_input_tokens": 2, "input_tokens": 10, "output_tokens": 5}
    usage = {
        "input_tokens": 100,
        "output_tokens": 50,
        "iterations": [{"type": "message", **base}, {"type": "compaction", **base}],
    }
    BetaMessage.model_validate({**ANSWER, "usage": usage})
    reading = read(ANTHROPIC_MESSAGES, json.dumps({**ANSWER, "usage": usage}).encode(), streamed=False)
    assert reading.usage == Usage(input_tokens=113, cache_read_tokens=2, cache_write_tokens=1, output_tokens=55)
    assert reading.flags == ()
    usage["iterations"] = [{"type": "advisor_message", "model": "claude-opus-5", **base}]
    reading = read(ANTHROPIC_MESSAGES, json.dumps({**ANSWER, "usage": usage}).encode(), streamed=False)
    advised = Usage(input_tokens=13, cache_read_tokens=2, cache_write_tokens=1, output_tokens=5)
    assert reading.usage == Usage(input_tokens=100, output_tokens=50, beside={"claude-opus-5": advised})
    assert reading.flags == ()
    usage["iterations"] = [{"type": "advisor_message", **base}]
    reading = read(ANTHROPIC_MESSAGES, json.dumps({**ANSWER, "usage": usage}).encode(), streamed=False)
    assert reading.usage == Usage(input_tokens=113, cache_read_tokens=2, cache_write_tokens=1, output_tokens=55)
    assert reading.flags == ("usage_other_model",)


@pytest.mark.parametrize(
    ("usage", "expected", "flags"),
    [
        ({"input_tokens": 0, "output_tokens": 0}, Usage(), ()),
        ({}, None, ()),
        ({"input_tokens": -4, "output_tokens": 5}, Usage(output_tokens=5), ("usage_incomplete", "usage_negative")),
        ({"output_tokens": 5}, Usage(output_tokens=5), ("usage_incomplete",)),
        (
            {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 5,
             "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 9}},
            Usage(input_tokens=13, cache_write_tokens=12, cache_write_1h_tokens=9, output_tokens=1),
            ("usage_contradictory",),
        ),
        (
            {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": None, "cache_creation": None},
            Usage(input_tokens=1, output_tokens=1), (),
        ),
    ],
)  # fmt: skip
def test_odd_counts(usage: object, expected: Usage | None, flags: tuple[str, ...]) -> None:
    """Zero is zero, nothing is nothing, and contradictions take the larger reading and a flag."""
    reading = read(ANTHROPIC_MESSAGES, json.dumps({**ANSWER, "usage": usage}).encode(), streamed=False)
    assert (reading.usage, reading.flags) == (expected, flags)


def test_error_event() -> None:
    """An error inside a stream or a body marks the reading."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert read(ANTHROPIC_MESSAGES, sse(START, error, names=True)).error
    assert read(ANTHROPIC_MESSAGES, json.dumps(error).encode(), streamed=False).error


EVENTS = st.lists(
    st.sampled_from([START, PING, TEXT, DELTA, STOP])
    | st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "cache_creation", "iterations"]), NUMBER).map(
        lambda usage: {**DELTA, "usage": usage}
    )
    | st.dictionaries(st.sampled_from(["type", "delta", "message", "usage"]), st.none() | st.integers() | st.text()),
    max_size=6,
).map(lambda events: sse(*events))


@given(EVENTS | st.binary(max_size=200), CUTS, st.booleans())
def test_any_bytes(data: bytes, cuts: list[int], streamed: bool) -> None:
    """Whatever the bytes, nothing is raised and the pieces do not matter."""
    reading = read(ANTHROPIC_MESSAGES, data, cuts=cuts, streamed=streamed)
    assert reading == read(ANTHROPIC_MESSAGES, data, streamed=streamed)
    if reading.usage is not None:
        assert 0 <= reading.usage.cache_read_tokens + reading.usage.cache_write_tokens <= reading.usage.input_tokens


PDF = b"%PDF-1.4\n1 0 obj<</Type /Page>>endobj 2 0 obj<</Type/Page >>endobj 3 0 obj<</Type /Pages>>endobj"


def source(data: bytes, media_type: str) -> dict[str, str]:
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({}, ""),
        ({"system": [{"type": "text", "text": "be good"}]}, ""),
        ({"tools": [{"name": "f", "input_schema": {}}, {"type": "custom", "name": "g", "input_schema": {}}]}, ""),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, ""),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"mcp_servers": [{"url": "https://x"}]}, "mcp_servers"),
        ({"mcp_servers": []}, ""),
        ({"container": "c"}, "container"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://x"}}]}]},
            "messages[0].content[0].source",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content":
             [{"type": "text", "text": "x"}, {"type": "image", "source": {"type": "file", "file_id": "f"}}]}]}]},
            "messages[0].content[0].content[1].source",
        ),
        (
            {"messages": [{"content": [{"type": "document", "source": source(PDF, "application/pdf")}]}]},
            "",
        ),
        (
            {"messages": [{"content": [{"type": "document", "source": source(b"no", "application/pdf")}]}]},
            "messages[0].content[0].source.data",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]},
         "messages[0].content[0].type"),
    ],
)  # fmt: skip
def test_names_what_makes_the_cost_unknown(members: dict[str, object], field: str) -> None:
    """What the request's bytes do not show is named by its path."""
    assert ANTHROPIC_MESSAGES.read(body(**members)).unbounded == field


def test_pages_are_counted() -> None:
    """A PDF of two pages counts two pages, and not its base64."""
    content = [{"type": "document", "source": source(PDF + b"\0" * 100_000, "application/pdf")}]
    call = ANTHROPIC_MESSAGES.read(body(messages=[{"role": "user", "content": content}]))
    assert 2 * 7_000 < call.input_bound.input_tokens < 2 * 7_500


def test_cache_writes_have_to_be_asked_for() -> None:
    """Without `cache_control`, in any spelling, nothing is written to a cache."""
    assert not ANTHROPIC_MESSAGES.read(body()).cache_writes
    assert ANTHROPIC_MESSAGES.read(body(cache_control={"type": "ephemeral"})).cache_writes
    hidden = body().replace(b'"hi"', b'[{"type":"text","text":"x","c\\u0061che_control":{"type":"ephemeral"}}]')
    assert ANTHROPIC_MESSAGES.read(hidden).cache_writes
    assert not ANTHROPIC_MESSAGES.read(body().replace(b"hi", b"\\u00e9")).cache_writes


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (body(model=3), "model"),
        (body(messages="x"), "messages"),
        (body(messages=[3]), "messages"),
        (body(max_tokens=-1), "max_tokens"),
        (body(system=3), "system"),
        (body(speed=3), "speed"),
        (body(messages=[{"content": [3]}]), "messages[0].content"),
        (body(messages=[{"content": [{"type": "image", "source": 3}]}]), "messages[0].content[0].source"),
    ],
)
def test_refuses(raw: bytes, param: str) -> None:
    """What cannot be read is named."""
    with pytest.raises(BadRequest) as caught:
        ANTHROPIC_MESSAGES.read(raw)
    assert caught.value.param == param


def test_body_goes_as_it_came() -> None:
    """Nothing is spliced; only a limit is lowered."""
    raw = body(stream=True)
    call = ANTHROPIC_MESSAGES.read(raw)
    assert ANTHROPIC_MESSAGES.prepare(raw, call) is raw
    assert ANTHROPIC_MESSAGES.filter(call) is None
    assert ANTHROPIC_MESSAGES.limit(raw, call, 4) == raw.replace(b'"max_tokens": 9', b'"max_tokens": 4')
    assert (call.output_tokens_max, call.stream) == (9, True)


def test_calls_are_plain_records() -> None:
    """A call is data: it can be copied with a change."""
    assert msgspec.structs.replace(CALL, model="x").model == "x"
