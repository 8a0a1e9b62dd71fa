"""DashScope's own API: what a request is read as, what is held for or refused, how its running counts are read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.metering import conclude
from providers.contract.shapes import Asked, Call
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.qwen.generation import DASHSCOPE_EMBEDDING, DASHSCOPE_GENERATION
from tests.providers.answers import CALL, CUTS, NUMBER, read

SOUND = Asked(sound=True)
MESSAGES = [{"role": "user", "content": "hi"}]


def asked(*, where: Asked = SOUND, model: str = "qwen-plus", said: Any = None, **parameters: Any) -> Call:
    body = {"model": model, "input": said or {"messages": MESSAGES}, "parameters": parameters}
    return DASHSCOPE_GENERATION.read(json.dumps(body).encode(), where)


def test_reads_what_the_gateway_needs() -> None:
    """The stream is asked for by a header; limit and choices stand in the parameters."""
    call = asked(max_tokens=7, n=3, result_format="message")
    assert (call.model, call.stream, call.output_tokens_max, call.choices) == ("qwen-plus", False, 7, 3)
    assert (call.output_field, call.unbounded, call.endless, call.unlisted) == ("parameters.max_tokens", "", "", "")
    assert asked(where=Asked(headers={"x-dashscope-sse": "enable"})).stream
    assert asked(said={"prompt": "hi", "history": [{"user": "a", "bot": "b"}]}).unlisted == ""


@pytest.mark.parametrize("said", [{"prompt": "x" * 900}, {"messages": [{"role": "user", "content": "x" * 900}]},
                                  {"messages": [{"role": "user", "content": [{"text": "x" * 900}]}]}])  # fmt: skip
def test_every_byte_of_what_is_said_is_held_for(said: dict[str, Any]) -> None:
    call = asked(said=said)
    assert call.input_bound.input_tokens >= 900
    assert call.input_typical.input_tokens <= call.input_upper.input_tokens <= call.input_bound.input_tokens


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"model":"m"}', {"model": "m", "parameters": {"max_tokens": 5}}),
        (b'{"model":"m","parameters":null}', {"model": "m", "parameters": {"max_tokens": 5}}),
        (b'{"parameters":{}, "model":"m"}', {"model": "m", "parameters": {"max_tokens": 5}}),
        (b'{"parameters":{"n":2,"max_tokens":9}}', {"parameters": {"n": 2, "max_tokens": 5}}),
        (b'{"parameters":{"max_tokens":3}}', {"parameters": {"max_tokens": 3}}),
        (b'{"parameters":{"max_tokens":null}}', {"parameters": {"max_tokens": 5}}),
    ],
)
def test_the_limit_is_written_into_the_parameters(before: bytes, after: dict[str, Any]) -> None:
    """Lowered, never raised; made where there is none."""
    assert json.loads(DASHSCOPE_GENERATION.limit(before, CALL, 5)) == after


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"[]", None),
        (b"{}", "model"),
        (b'{"model":"m"}', "input"),
        (b'{"model":"m","input":[]}', "input"),
        (b'{"model":"m","input":{},"parameters":[]}', "parameters"),
        (b'{"model":"m","input":{},"input":{}}', "input"),
        (b'{"model":"m","input":{"messages":[1]}}', None),
        (b'{"model":"m","input":{"messages":[{"content":7}]}}', "input.messages[0].content"),
        (b'{"model":"m","input":{},"parameters":{"max_tokens":1.5}}', "max_tokens"),
        (b'{"model":"m","input":{},"parameters":{"max_tokens":1,"max_tokens":9}}', "max_tokens"),
        (b'{"model":"m","input":{},"parameters":{"n":9}}', "n"),
        (b'{"model":"m","input":{},"Parameters":{"max_tokens":1}}', "parameters"),
        (b'{"model":"m","input":{"text":"hi","voice":"v"}}', "input.text"),
    ],
)
def test_what_cannot_be_read_or_priced_is_refused_by_name(raw: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        DASHSCOPE_GENERATION.read(raw)
    assert param is None or caught.value.param == param


@pytest.mark.parametrize(
    ("more", "field", "unpriced"),
    [
        ({"enable_search": True}, "parameters.enable_search", "parameters.enable_search"),
        ({"enable_thinking": True}, "parameters.enable_thinking", ""),
        ({"thinking_budget": 9}, "parameters.thinking_budget", ""),
        ({"tools": [{"type": "web_extractor"}]}, "tools[0].type", "tools[0].type"),
        ({"max_tokens": 0}, "parameters.max_tokens", ""),
        ({"model": "qwq-plus"}, "model", ""),
        ({"model": "qwen3-vl-32b-thinking"}, "model", ""),
        ({"model": "qwen3-vl-32b-thinking", "enable_thinking": False}, "model", ""),
        ({"model": "qwen3.8-max"}, "parameters.enable_thinking", ""),
        ({"model": "qwen3.8-max", "enable_thinking": False}, "", ""),
        ({"model": "qwen3-coder-plus"}, "", ""),
        ({"model": "qwen3-vl-32b-instruct"}, "", ""),
    ],
)
def test_what_no_limit_holds_for_is_named(more: dict[str, Any], field: str, unpriced: str) -> None:
    """Refused where the cap must hold; a search has no price, so whoever has a cap is refused that."""
    call = asked(**more)
    assert (call.endless, call.unpriced) == (field, unpriced)
    assert bool(call.unbounded) is ("search" in field or "tools" in field or "max_tokens" in field)  # of the input
    assert asked(enable_search=False, enable_thinking=False).endless == ""


@pytest.mark.parametrize("part", [{"image": "https://a.example/a.png"}, {"image": "oss://bucket/a"}, {"video": ["u"]},
                                  {"audio": "https://a.example/a"}])  # fmt: skip
def test_what_lies_elsewhere_takes_the_models_window(part: dict[str, Any]) -> None:
    said = {"messages": [{"role": "user", "content": [{"text": "hi"}, part]}]}
    assert asked(said=said).unbounded == f"input.messages[0].content[1].{next(iter(part))}"


@pytest.mark.parametrize(
    ("said", "parameters", "place"),
    [
        ({"messages": MESSAGES, "new": 1}, {}, "input.new"),
        ({"messages": [{"role": "user", "content": [{"new": "x"}]}]}, {}, "input.messages[0].content[0].new"),
        ({"messages": MESSAGES}, {"new": 1}, "parameters.new"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "new"}]}]},
            {},
            "input.messages[0].tool_calls[0].type",
        ),
        ({"messages": MESSAGES}, {"tool_choice": {"new": 1}}, "parameters.tool_choice.new"),
        (
            {"messages": MESSAGES},
            {"response_format": {"type": "json_object", "new": {}}},
            "parameters.response_format.new",
        ),
    ],
)
def test_what_is_new_is_named_with_its_place(said: Any, parameters: dict[str, Any], place: str) -> None:
    assert asked(said=said, **parameters).unlisted == place
    assert asked(said=said, where=Asked(), **parameters).unlisted == ""


CALLED = {"id": "call_1", "type": "function", "index": 0, "function": {"name": "f", "arguments": "{}"}}
USAGE = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120, "prompt_tokens_details": {"cached_tokens": 40},
         "output_tokens_details": {"reasoning_tokens": 8}}  # fmt: skip
EXPECTED = Usage(input_tokens=100, cache_read_tokens=40, output_tokens=20, reasoning_tokens=8)


def events(*told: dict[str, Any]) -> bytes:
    """As DashScope writes them: no space behind `data:`, the status in a comment."""
    lines = [
        f"id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{json.dumps(each)}\n\n"
        for number, each in enumerate(told, 1)
    ]
    return "".join(lines).encode()


def said(text: str, output: int, finish: str = "null", **usage: Any) -> dict[str, Any]:
    choices = [{"finish_reason": finish, "message": {"role": "assistant", "content": text}}]
    counted = {"input_tokens": 9, "output_tokens": output, "total_tokens": 9 + output}
    return {"output": {"choices": choices}, "usage": counted | usage, "request_id": "r"}


def test_as_rich_a_request_as_the_sdk_makes_it_is_known() -> None:
    messages = [
        {"role": "user", "content": [{"text": "look", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": "", "tool_calls": [CALLED], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]
    tools = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]
    call = asked(
        said={"messages": messages}, tools=tools, tool_choice={"type": "function", "function": {"name": "f"}}, seed=1,
        temperature=0.5, top_p=0.9, top_k=5, stop=["x"], repetition_penalty=1.1, presence_penalty=0.1, logprobs=True,
        top_logprobs=2, parallel_tool_calls=True, incremental_output=True, response_format={"type": "text"},
    )  # fmt: skip
    assert (call.unlisted, call.unbounded, call.endless, call.unpriced) == ("", "", "", "")


def test_a_whole_answer() -> None:
    got = read(DASHSCOPE_GENERATION, json.dumps({"output": {"text": "hi"}, "usage": USAGE}).encode(), streamed=False)
    assert (got.usage, got.complete, got.flags) == (EXPECTED, True, ())


@given(CUTS)
def test_a_stream_s_last_count_is_the_count(cuts: list[int]) -> None:
    """Each counts all that there is so far, in whatever pieces the network brings them."""
    got = read(DASHSCOPE_GENERATION, events(said("a", 1), said("ab", 2), said("abc", 4, "stop")), cuts=cuts)
    assert (got.usage, got.complete, got.partial) == (Usage(input_tokens=9, output_tokens=4), True, False)
    assert got.flags == ()


def test_a_stream_that_is_cut_is_billed_for_what_came() -> None:
    """The count was made along with the content: nothing is made up, and the rest of the hold stays counted."""
    got = read(DASHSCOPE_GENERATION, events(said("a", 1), said("ab", 2)))
    assert (got.usage, got.partial, got.running) == (Usage(input_tokens=9, output_tokens=2), True, True)
    concluded = conclude(CALL, got, ended="cut", http_status=200, hidden_tokens=500)
    assert (concluded.status, concluded.usage.output_tokens, concluded.rest) == ("estimated", 2, True)


def test_an_error_within_a_stream() -> None:
    """Before any content it costs nothing."""
    failed = b'id:1\nevent:error\n:HTTP_STATUS/500\ndata:{"code":"InternalError","message":"m","request_id":"r"}\n\n'
    got = read(DASHSCOPE_GENERATION, failed)
    assert (got.error, got.usage) == (True, None)
    assert conclude(CALL, got, ended="complete", http_status=200).status == "released"
    later = read(DASHSCOPE_GENERATION, events(said("a", 1)) + failed)
    assert (later.error, later.usage) == (True, Usage(input_tokens=9, output_tokens=1))


def test_an_answer_without_a_count_is_estimated_by_what_it_shows() -> None:
    bare = {"output": {"choices": [{"finish_reason": "stop", "message": {"content": "word " * 40}}]}}
    for streamed in (False, True):
        data = events(bare) if streamed else json.dumps(bare).encode()
        got = read(DASHSCOPE_GENERATION, data, streamed=streamed)
        assert got.usage is None
        assert got.output_tokens_seen >= 30


@given(
    st.dictionaries(st.sampled_from([*USAGE, "image_tokens"]), NUMBER | st.dictionaries(st.text(max_size=3), NUMBER)),
    st.booleans(),
)
def test_no_usage_raises_and_parts_stay_inside(usage: dict[str, Any], streamed: bool) -> None:
    body = {"output": {"text": "hi", "finish_reason": "stop"}, "usage": usage}
    text = json.dumps(body)
    data = f"data:{text}\n\n".encode() if streamed else text.encode()
    got = read(DASHSCOPE_GENERATION, data, streamed=streamed).usage
    if got is not None:
        assert 0 <= got.cache_read_tokens + got.cache_write_tokens <= got.input_tokens
        assert 0 <= got.reasoning_tokens <= got.output_tokens


def test_vectors() -> None:
    """The total is all input."""
    body = {"model": "text-embedding-v4", "input": {"texts": ["one", "two"]}, "parameters": {"dimension": 64}}
    call = DASHSCOPE_EMBEDDING.read(json.dumps(body).encode(), SOUND)
    assert (call.output_field, call.unlisted, call.model) == ("", "", "text-embedding-v4")
    assert call.input_bound.input_tokens >= len('["one", "two"]')
    answer = {"output": {"embeddings": [{"text_index": 0, "embedding": [0.5]}]}, "usage": {"total_tokens": 7}}
    got = read(DASHSCOPE_EMBEDDING, json.dumps(answer).encode(), streamed=False)
    assert (got.usage, got.flags) == (Usage(input_tokens=7), ())
    with pytest.raises(BadRequest):
        DASHSCOPE_EMBEDDING.read(b'{"model":"m","input":{"texts":"x"}}')
