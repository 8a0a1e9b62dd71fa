"""Cohere: billed units, events and lines, search units."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cohere import EmbedByTypeResponse, NonStreamedChatResponse, V2ChatResponse, V2RerankResponse
from cohere.v2.types.v2chat_stream_response import MessageEndV2ChatStreamResponse
from hypothesis import given
from hypothesis import strategies as st

from providers.cohere.shapes import COHERE_CHAT, COHERE_CHAT_1, COHERE_EMBED, COHERE_RERANK
from providers.contract.metering import conclude
from providers.contract.shapes import Call, Reading, Shape
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from tests.providers.answers import CUTS, NUMBER, read, sse

CALL = Call(model="command-a", stream=True, input_typical=Usage(input_tokens=20), output_field="max_tokens")
USAGE = {
    "billed_units": {"input_tokens": 10.0, "output_tokens": 5.0},
    "tokens": {"input_tokens": 70.0, "output_tokens": 6.0},
    "cached_tokens": 0.0,
}
ANSWER: dict[str, Any] = {
    "id": "c",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "hi"}]},
    "usage": USAGE,
}
FIRST: dict[str, Any] = {"text": "hi", "finish_reason": "COMPLETE", "generation_id": "g", "meta": USAGE}
EVENTS: list[dict[str, Any]] = [
    {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}},
    {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "hello there, "}}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"thinking": "my friend"}}}},
    {"type": "content-end", "index": 0},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": USAGE}},
]
LINES: list[dict[str, Any]] = [
    {"is_finished": False, "event_type": "stream-start", "generation_id": "g"},
    {"is_finished": False, "event_type": "text-generation", "text": "hello there, "},
    {"is_finished": False, "event_type": "text-generation", "text": "my friend"},
    {"is_finished": True, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": FIRST},
]
BILLED = Usage(input_tokens=10, output_tokens=5)
STREAM = sse(*EVENTS, names=True)
JSONL = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)
FORMS = pytest.mark.parametrize(("data", "streamed"), [(STREAM, True), (JSONL, False)], ids=["events", "lines"])


def body(**members: object) -> bytes:
    return json.dumps({"model": "command-a", "messages": [{"role": "user", "content": "hi"}], **members}).encode()


def first(**members: object) -> bytes:
    return json.dumps({"model": "command-r", "message": "hi", **members}).encode()


def whole(answer: object, shape: Shape = COHERE_CHAT) -> Reading:
    call = Call(model="command-a", output_field="max_tokens")
    return read(shape, json.dumps(answer).encode(), streamed=False, call=call)


def test_fixtures_are_what_the_sdk_expects() -> None:
    """Answers and the last event pass the official SDK's types."""
    assert V2ChatResponse.model_validate(ANSWER).usage
    assert NonStreamedChatResponse.model_validate(FIRST).meta
    assert MessageEndV2ChatStreamResponse.model_validate(EVENTS[-1]).delta
    assert V2RerankResponse.model_validate({"results": [], "meta": {"billed_units": {"search_units": 1.0}}}).meta
    assert EmbedByTypeResponse.model_validate({"id": "e", "embeddings": {"float": [[0.1]]}, "meta": USAGE}).meta


def test_billed_units_are_the_bill() -> None:
    """The tokens of Cohere's own template are not billed."""
    for answer in (ANSWER, FIRST):
        reading = whole(answer)
        assert (reading.usage, reading.complete, reading.flags) == (BILLED, True, ())


@FORMS
@given(cuts=CUTS)
def test_a_stream_s_end_has_the_count(data: bytes, streamed: bool, cuts: list[int]) -> None:
    """Usage comes with the end, whatever the pieces; what was said is seen."""
    reading = read(COHERE_CHAT, data, streamed=streamed, cuts=cuts, call=CALL)
    assert (reading.usage, reading.complete, reading.flags) == (BILLED, True, ())
    assert reading.output_tokens_seen >= 4
    assert reading == read(COHERE_CHAT, data, streamed=streamed, call=CALL)


@FORMS
def test_one_byte_at_a_time_with_crlf(data: bytes, streamed: bool) -> None:
    """Pieces of one byte, ends of line of two bytes, comments between events."""
    data = data.replace(b"\n", b"\r\n")
    data = b": keep-alive\r\n\r\n" + data if streamed else data
    reading = read(COHERE_CHAT, data, streamed=streamed, cuts=list(range(len(data))), call=CALL)
    assert (reading.usage, reading.complete) == (BILLED, True)


@FORMS
def test_a_cut_stream_is_estimated(data: bytes, streamed: bool) -> None:
    """Without its end a stream is billed as estimated and seen; without a word by nothing."""
    end = data.rfind(b"event: message-end" if streamed else b'{"is_finished": true')
    for at in (end, end + 30, end - 40, 1):
        reading = read(COHERE_CHAT, data[:at], streamed=streamed, call=CALL)
        concluded = conclude(CALL, reading, ended="cut", http_status=200)
        status = "estimated" if at > 1 else "unsettled"
        assert (reading.usage, reading.complete, concluded.status, concluded.rest) == (None, False, status, True)
        assert concluded.usage.input_tokens == (20 if at > 1 else 0)
        assert concluded.usage.output_tokens == reading.output_tokens_seen


def test_calls_of_functions_are_seen() -> None:
    """Arguments and plans count as output where there is no count."""
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}' * 9}}
    full = {"message": {"role": "assistant", "tool_calls": [call], "tool_plan": "I will look."}}
    delta = {"type": "tool-call-delta", "delta": {"message": {"tool_calls": {"function": {"arguments": "x y " * 30}}}}}
    assert whole(full).output_tokens_seen > 30
    assert read(COHERE_CHAT, sse(delta), call=CALL).output_tokens_seen > 20
    line = {"event_type": "tool-calls-chunk", "tool_call_delta": {"parameters": "x y " * 30}}
    assert read(COHERE_CHAT_1, json.dumps(line).encode(), streamed=False, call=CALL).output_tokens_seen > 20


@pytest.mark.parametrize(
    ("stated", "expected", "flags"),
    [
        ({"billed_units": {"input_tokens": 0.0, "output_tokens": 0.0}}, Usage(), ()),
        ({"billed_units": {"input_tokens": 8.0}}, Usage(input_tokens=8), ("usage_incomplete",)),
        ({"billed_units": {"input_tokens": 8.5, "output_tokens": 2}}, Usage(input_tokens=9, output_tokens=2),
         ("usage_contradictory",)),
        ({"billed_units": {"input_tokens": -8, "output_tokens": 2}}, Usage(output_tokens=2),
         ("usage_incomplete", "usage_negative")),
        ({"tokens": {"input_tokens": 70, "output_tokens": 6}}, Usage(input_tokens=70, output_tokens=6),
         ("usage_incomplete",)),
        ({"billed_units": {}}, None, ()),
        ({}, None, ()),
        (None, None, ()),
        (3, None, ()),
    ],
)  # fmt: skip
def test_odd_counts(stated: object, expected: Usage | None, flags: tuple[str, ...]) -> None:
    """An explicit zero is a count, half of one is flagged, and the template's count is the last resort."""
    reading = whole({**ANSWER, "usage": stated})
    assert (reading.usage, reading.flags) == (expected, flags)
    assert (reading.output_tokens_seen > 0) is (expected is None)


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ({"input_tokens": 7.0}, Usage(input_tokens=7)),
        ({"images": 2.0}, Usage(images=2)),
        ({"input_tokens": 7.0, "image_tokens": 100.0}, Usage(input_tokens=107, input_image_tokens=100)),
        ({"input_tokens": 107.0, "text_tokens": 7.0, "image_tokens": 100.0},
         Usage(input_tokens=107, input_image_tokens=100)),
        ({"search_units": 3.0}, Usage(searches=3)),
    ],
)  # fmt: skip
def test_other_units(units: object, expected: Usage) -> None:
    """Embeddings are billed by tokens or pictures, ranking by search units; none of them has output."""
    for shape in (COHERE_EMBED, COHERE_RERANK):
        reading = whole({"id": "x", "meta": {"billed_units": units}}, shape)
        assert (reading.usage, reading.flags) == (expected, ())


def test_large_answers() -> None:
    """Units are found after ten megabytes of vectors."""
    reading = whole({"id": "e", "embeddings": {"float": ["x" * (10 << 20)]}, "meta": USAGE}, COHERE_EMBED)
    assert (reading.usage, reading.complete) == (BILLED, True)


def test_an_error_at_the_end_is_one() -> None:
    """A stream that ends in an error says so, and has no count."""
    end = {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "x"}}
    reading = read(COHERE_CHAT, sse(*EVENTS[:4], end), call=CALL)
    assert (reading.error, reading.usage, reading.complete) == (True, None, True)
    last = {"event_type": "stream-end", "finish_reason": "ERROR_LIMIT", "response": {"text": ""}}
    assert read(COHERE_CHAT_1, json.dumps(last).encode(), streamed=False, call=CALL).error


_NAMES = ["type", "delta", "message", "usage", "billed_units", "input_tokens", "finish_reason", "response", "meta",
          "event_type", "text", "tokens"]  # fmt: skip


@given(st.recursive(NUMBER | st.sampled_from(["message-end", "stream-end", "text-generation"]), lambda inner:
       st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner)), CUTS)  # fmt: skip
def test_any_json(value: object, cuts: list[int]) -> None:
    """Whatever stands in an answer, nothing is raised and the pieces do not matter."""
    data = json.dumps(value).encode()
    for shape in (COHERE_CHAT, COHERE_EMBED):
        whole(value, shape)
    for framed, streamed in ((b"data: " + data + b"\n\n", True), (data + b"\n" + data, False)):
        result = read(COHERE_CHAT, framed, streamed=streamed, cuts=cuts, call=CALL)
        assert result == read(COHERE_CHAT, framed, streamed=streamed, call=CALL)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode), CUTS)
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    """Whatever the bytes, nothing is raised and the pieces do not matter."""
    for shape, streamed in ((COHERE_CHAT, True), (COHERE_CHAT, False), (COHERE_RERANK, False)):
        assert read(shape, data, streamed=streamed, cuts=cuts, call=CALL) == read(
            shape, data, streamed=streamed, call=CALL
        )


# ---- requests


def test_reads_requests() -> None:
    """Model, stream, limit and text are found in both versions."""
    for shape, make in ((COHERE_CHAT, body), (COHERE_CHAT_1, first)):
        call = shape.read(make(stream=True, max_tokens=9))
        assert (call.model.startswith("command"), call.stream, call.output_tokens_max) == (True, True, 9)
        assert (call.output_field, call.unbounded, call.cache_writes) == ("max_tokens", "", False)
        assert shape.prepare(make(), call) == make()
        assert json.loads(shape.limit(make(), shape.read(make()), 7))["max_tokens"] == 7
        more = shape.read(make(documents=["word " * 400], tools=[{"type": "function"}]))
        assert more.input_bound.input_tokens > 2_400 > call.input_bound.input_tokens
    history = first(chat_history=[{"role": "USER", "message": "word " * 400}], preamble="word " * 400)
    assert COHERE_CHAT_1.read(history).input_bound.input_tokens > 4_000


def test_a_budget_for_thinking_is_beside_the_limit() -> None:
    """Held is the limit and the budget; a lowered limit leaves the budget its room."""
    raw = body(max_tokens=100, thinking={"type": "enabled", "token_budget": 50})
    call = COHERE_CHAT.read(raw)
    assert call.output_tokens_max == 150
    assert json.loads(COHERE_CHAT.limit(raw, call, 90))["max_tokens"] == 40
    assert json.loads(COHERE_CHAT.limit(raw, call, 20))["max_tokens"] == 1


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 50_000}}


def test_pictures_are_bounded() -> None:
    """A picture counts as one, not as its bytes; in embeddings it is counted too."""
    call = COHERE_CHAT.read(body(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, PICTURE]}]))
    assert call.input_bound.input_image_tokens == 4_096
    assert call.input_bound.input_tokens < 5_000
    for members in ({"images": [PICTURE["image_url"]["url"]]}, {"inputs": [{"content": [PICTURE]}]}):  # type: ignore[index]
        embed = COHERE_EMBED.read(json.dumps({"model": "embed-v4.0", **members}).encode())
        assert (embed.input_bound.images, embed.input_bound.input_image_tokens) == (1, 4_096)
        assert embed.output_field == ""


def test_what_cannot_be_measured_is_embedded_alone() -> None:
    """One remote picture is held for by the model's limit; of two each could be as large."""
    remote = "https://e.com/a.png"
    assert COHERE_EMBED.read(json.dumps({"model": "embed-v4.0", "images": [remote]}).encode()).unbounded == "images[0]"
    with pytest.raises(BadRequest) as caught:
        COHERE_EMBED.read(json.dumps({"model": "embed-v4.0", "images": [remote, remote]}).encode())
    assert caught.value.code == "unbounded_cost"


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ([{"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}], "messages[0].content[0].image_url"),
        ([{"type": "image_url", "image_url": "https://e.com/a.png"}], "messages[0].content[0].image_url"),
        ([{"type": "of_tomorrow"}], "messages[0].content[0].type"),
    ],
)
def test_names_what_makes_the_cost_unknown(content: object, field: str) -> None:
    """What the bytes do not show makes the call unbounded, by name."""
    assert COHERE_CHAT.read(body(messages=[{"role": "user", "content": content}])).unbounded == field


def rerank(documents: list[Any], query: str = "a city", **members: object) -> Call:
    raw = json.dumps({"model": "rerank-v3.5", "query": query, "documents": documents, **members}).encode()
    return COHERE_RERANK.read(raw)


def test_search_units() -> None:
    """A unit is a hundred documents; a long document is as many as it is split into."""
    assert rerank(["a"] * 100).input_bound.searches == 1
    assert rerank(["a"] * 101).input_bound.searches == 2
    assert rerank([{"text": "a"}] * 250).input_typical.searches == 3
    long = rerank(["word " * 1_200] * 100)
    assert long.input_typical.searches >= 3
    assert long.input_bound.searches >= long.input_upper.searches >= long.input_typical.searches
    assert rerank(["word " * 100_000] * 100).input_bound.searches <= 20  # cut off at 4,096 tokens each
    assert rerank(["word " * 100_000] * 100, max_tokens_per_doc=40_000).input_bound.searches > 50
    newer = COHERE_RERANK.read(json.dumps({"model": "rerank-v5.0-pro", "query": "q", "documents": ["a"]}).encode())
    assert newer.input_typical.input_tokens > 0 == newer.input_typical.searches


@pytest.mark.parametrize(
    ("shape", "raw", "param"),
    [
        (COHERE_CHAT, b'{"messages":[]}', "model"),
        (COHERE_CHAT, b'{"model":"m"}', "messages"),
        (COHERE_CHAT, body(messages="hi"), "messages"),
        (COHERE_CHAT, body(messages=[3]), "messages[0]"),
        (COHERE_CHAT, body(max_tokens="9"), "max_tokens"),
        (COHERE_CHAT, b'{"model":"m","messages":[],"max_tokens":1,"max_tokens":9}', "max_tokens"),
        (COHERE_CHAT, b'{"model":"m","messages":[],"MAX_TOKENS":9}', "max_tokens"),
        (COHERE_CHAT, body(thinking={"token_budget": -1}), "token_budget"),
        (COHERE_CHAT_1, first(connectors=[{"id": "web-search"}]), "connectors"),
        (COHERE_CHAT_1, first(conversation_id="x"), "conversation_id"),
        (COHERE_RERANK, b'{"model":"m","documents":[]}', "query"),
        (COHERE_RERANK, b'{"model":"m","query":"q","documents":3}', "documents"),
        (COHERE_EMBED, b'{"model":"m","images":"x"}', "images"),
    ],
)
def test_refuses(shape: Shape, raw: bytes, param: str) -> None:
    """What is missing, of a wrong kind, twice there, or kept in the operator's account is refused by name."""
    with pytest.raises(BadRequest) as caught:
        shape.read(raw)
    assert caught.value.param == param
