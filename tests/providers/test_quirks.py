"""Each vendor's usage is read as that vendor means it: fixtures of the real layouts, in any pieces, cut anywhere."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.contract.metering import conclude
from providers.contract.shapes import Call, Reading, Shape
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.operations import TABLE
from tests.providers.answers import CALL, CUTS, NUMBER, read, sse

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def shape_of(provider: str, path: str = "/v1/chat/completions", method: str = "POST") -> Shape:
    """The shape that the table has at a vendor's path."""
    (found,) = {
        id(each.operation.shape): each.operation.shape
        for each in TABLE
        if (each.provider, each.path, each.method) == (provider, path, method)
    }.values()
    return found


def reading(provider: str, usage: Any, *, streamed: bool = False, path: str = "/v1/chat/completions") -> Reading:
    """What a vendor's meter makes of a usage object, in a whole answer or in a stream's extra chunk."""
    if streamed:
        return read(shape_of(provider, path), sse({"choices": [], "usage": usage}, "[DONE]"))
    return read(shape_of(provider, path), json.dumps({"choices": [], "usage": usage}).encode(), streamed=False)


XAI = {
    "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 10, "text_tokens": 100, "image_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 30}, "num_sources_used": 0, "cost_in_usd_ticks": 10_500_000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "usage", "expected"),
    [
        ("xai", XAI, Usage(input_tokens=100, cache_read_tokens=10, output_tokens=50, reasoning_tokens=30,
                           provider_cost_picos=1_050_000_000)),
        # folded already: the total says so
        ("xai", XAI | {"completion_tokens": 50, "cost_in_usd_ticks": None},
         Usage(input_tokens=100, cache_read_tokens=10, output_tokens=50, reasoning_tokens=30)),
        # cached input beside the input
        ("xai", {"prompt_tokens": 4, "completion_tokens": 20, "total_tokens": 24,
                 "prompt_tokens_details": {"cached_tokens": 60}},
         Usage(input_tokens=64, cache_read_tokens=60, output_tokens=20)),
        ("xai", {"prompt_tokens": 4, "completion_tokens": 20, "total_tokens": 84,
                 "prompt_tokens_details": {"cached_tokens": 60}},
         Usage(input_tokens=64, cache_read_tokens=60, output_tokens=20)),
        ("xai", {"prompt_tokens": 4, "completion_tokens": 20, "total_tokens": 94,
                 "prompt_tokens_details": {"cached_tokens": 60}, "completion_tokens_details": {"reasoning_tokens": 10}},
         Usage(input_tokens=64, cache_read_tokens=60, output_tokens=30, reasoning_tokens=10)),
        ("xai", {"cost_in_usd_ticks": 7}, Usage(provider_cost_picos=700)),
        ("xai", {"prompt_tokens": 4, "completion_tokens": 2, "server_side_tool_usage_details":
                 {"web_search_calls": 2, "x_search_calls": 0, "mcp_calls": 9}},
         Usage(input_tokens=4, output_tokens=2, tools={"web_search": 2})),
        ("deepseek",
         {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "prompt_cache_hit_tokens": 60,
          "prompt_cache_miss_tokens": 40, "prompt_tokens_details": {"cached_tokens": 60},
          "completion_tokens_details": {"reasoning_tokens": 8}},
         Usage(input_tokens=100, cache_read_tokens=60, output_tokens=20, reasoning_tokens=8)),
        ("deepseek", {"prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40, "completion_tokens": 20},
         Usage(input_tokens=100, cache_read_tokens=60, output_tokens=20)),
        ("kimi", {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "cached_tokens": 60},
         Usage(input_tokens=100, cache_read_tokens=60, output_tokens=5)),
        ("qwen", {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "prompt_tokens_details":
                  {"cached_tokens": 2, "cache_creation_input_tokens": 3, "cache_type": "ephemeral"}},
         Usage(input_tokens=9, cache_read_tokens=2, cache_write_tokens=3, output_tokens=1)),
        ("mistral", {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "num_cached_tokens": 4,
                     "prompt_audio_seconds": 3, "service_tier": "priority"},
         Usage(input_tokens=9, cache_read_tokens=4, output_tokens=1, audio_ms=3000, service_tier="priority")),
        ("mistral", {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "prompt_audio_seconds": {},
                     "prompt_token_details": {"cached_tokens": 4}, "service_tier": "standard"},
         Usage(input_tokens=9, cache_read_tokens=4, output_tokens=1)),
        ("cerebras", {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "prompt_tokens_details":
                      {"cached_tokens": 4}}, Usage(input_tokens=9, cache_read_tokens=4, output_tokens=1)),
        ("minimax", {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "total_characters": 0},
         Usage(input_tokens=9, output_tokens=1)),
    ],
)  # fmt: skip
def test_usage_is_read_as_the_vendor_means_it(provider: str, usage: Any, expected: Usage) -> None:
    """Every layout of the vendors' own, whole and streamed, gives the same record without a doubt on it."""
    for streamed in (False, True):
        got = reading(provider, usage, streamed=streamed)
        assert (got.usage, got.flags) == (expected, ())


def test_what_only_one_vendor_means_is_no_other_s() -> None:
    """Ticks are xAI's money; elsewhere they say nothing, and a total that does not add up is a doubt."""
    got = reading("deepseek", XAI)
    assert got.usage is not None
    assert (got.usage.provider_cost_picos, got.flags) == (None, ("usage_contradictory",))


@pytest.mark.parametrize("ticks", [-1, 1 << 63, "7", 1.5e300, True, {}])
def test_a_price_that_is_none_is_not_believed(ticks: Any) -> None:
    """A stated cost that is no sane number leaves the price to the tokens, and is flagged."""
    got = reading("xai", XAI | {"cost_in_usd_ticks": ticks})
    assert got.usage is not None
    assert got.usage.provider_cost_picos is None
    assert got.flags


def test_a_running_price_of_a_cut_stream_is_not_final() -> None:
    """xAI may count along; where the stream breaks off, the price so far is no price of the whole."""
    chunk = {"choices": [{"index": 0, "delta": {"content": "hi"}}], "usage": XAI}
    got = read(shape_of("xai"), sse(chunk))
    assert got.partial
    concluded = conclude(CALL, got, ended="cut", http_status=200)
    assert (concluded.status, concluded.usage.provider_cost_picos) == ("estimated", None)


RESPONSES = {
    "input_tokens": 9212, "input_tokens_details": {"cached_tokens": 3072}, "output_tokens": 3417,
    "output_tokens_details": {"reasoning_tokens": 100}, "total_tokens": 12_629, "num_sources_used": 0,
    "num_server_side_tools_used": 3, "cost_in_usd_ticks": 318_319_000,
    "server_side_tool_usage_details": {"web_search_calls": 1, "x_search_calls": 3, "code_interpreter_calls": 0},
}  # fmt: skip


def test_xai_responses() -> None:
    """In Responses reasoning is inside; the tools that it ran are counted, and the price is its own."""
    expected = Usage(
        input_tokens=9212,
        cache_read_tokens=3072,
        output_tokens=3417,
        reasoning_tokens=100,
        tools={"web_search": 1, "x_search": 3},
        provider_cost_picos=31_831_900_000,
    )
    shape = shape_of("xai", "/v1/responses")
    answer = {"id": "r", "object": "response", "status": "completed", "model": "grok-4", "output": [
        {"type": "web_search_call"}], "usage": RESPONSES}  # fmt: skip
    whole = read(shape, json.dumps(answer).encode(), streamed=False)
    streamed = read(shape, sse({"type": "response.completed", "response": answer}, names=True))
    assert whole.usage == streamed.usage == expected


class TestKimi:
    """Usage in the last choice; searches that it runs itself."""

    FINAL: ClassVar[dict[str, Any]] = {
        "id": "k", "object": "chat.completion.chunk", "model": "kimi-k2.6",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage":
                     {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "cached_tokens": 60}}],
    }  # fmt: skip

    @given(CUTS)
    def test_usage_in_the_last_choice(self, cuts: list[int]) -> None:
        """It counts, in whatever pieces it comes, alone or with the extra chunk that says it again."""
        expected = Usage(input_tokens=100, cache_read_tokens=60, output_tokens=5)
        extra = {"choices": [], "usage": self.FINAL["choices"][0]["usage"]}
        for events in ((self.FINAL, "[DONE]"), (self.FINAL, extra, "[DONE]")):
            got = read(shape_of("kimi"), sse(*events), cuts=cuts)
            assert (got.usage, got.complete, got.partial, got.flags) == (expected, True, False, ())

    def test_a_search_is_a_priced_call(self) -> None:
        """Each `$web_search` that the model calls has a price of its own; a function of the client's has none."""
        calls = [
            {"index": 0, "id": "1", "type": "builtin_function", "function": {"name": "$web_search", "arguments": ""}},
            {"index": 1, "id": "2", "type": "function", "function": {"name": "mine", "arguments": "{}"}},
        ]
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        more = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]}
        streamed = read(
            shape_of("kimi"),
            sse({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}, more, {"choices": [], "usage": usage}),
        )
        answer = {"choices": [{"message": {"content": None, "tool_calls": calls}}], "usage": usage}
        whole = read(shape_of("kimi"), json.dumps(answer).encode(), streamed=False)
        for got in (streamed, whole):
            assert got.usage is not None
            assert got.usage.tools == {"web_search": 1}


class TestMiniMax:
    """HTTP 200 says nothing there."""

    REFUSED: ClassVar[dict[str, Any]] = {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}
    PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/text/chatcompletion_v2", "/v1/t2a_v2", "/v1/responses")

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("streamed", [False, True])
    @given(cuts=CUTS)
    @settings(max_examples=20)
    def test_a_refusal_in_a_200_costs_nothing(self, path: str, streamed: bool, cuts: list[int]) -> None:
        """A `base_resp` that is not 0, with nothing counted and nothing shown, is an error and free, in any pieces."""
        data = sse(self.REFUSED) if streamed else json.dumps(self.REFUSED, indent=2).encode()
        got = read(shape_of("minimax", path), data, streamed=streamed, cuts=cuts)
        assert (got.error, got.refused) == (True, True)
        assert conclude(CALL, got, ended="complete", http_status=200).status == "released"

    def test_a_late_error_is_not_free(self) -> None:
        """What was said before the error was made, so it is estimated."""
        said = {"choices": [{"index": 0, "delta": {"content": "hello there"}}]}
        got = read(shape_of("minimax"), sse(said, self.REFUSED))
        assert (got.error, got.refused) == (True, False)
        concluded = conclude(CALL, got, ended="complete", http_status=200)
        assert concluded.status == "estimated"
        assert concluded.usage.output_tokens > 0

    def test_a_text_that_speaks_of_it_is_no_refusal(self) -> None:
        """Only the member itself counts, not its name within what the model says."""
        said = '"base_resp": {"status_code": 1008}'
        answer = {"choices": [{"message": {"content": said}}], "base_resp": {"status_code": 0, "status_msg": ""}}
        got = read(shape_of("minimax"), json.dumps(answer).encode(), streamed=False)
        assert (got.error, got.refused) == (False, False)

    def test_a_stream_ends_with_the_whole_answer(self) -> None:
        """The last chunk may repeat everything: without a count, what was said is not estimated twice."""
        text = "The quick brown fox jumps over the lazy dog. " * 5
        pieces = [{"choices": [{"index": 0, "delta": {"content": word + " "}}]} for word in text.split()]
        last: dict[str, Any] = {"object": "chat.completion", "choices": [{"index": 0, "message": {"content": text}}]}
        alone = read(shape_of("minimax"), sse(*pieces)).output_tokens_seen
        assert read(shape_of("minimax"), sse(*pieces, last)).output_tokens_seen == alone
        last["usage"] = {"prompt_tokens": 5, "completion_tokens": 44, "total_tokens": 49}
        assert read(shape_of("minimax"), sse(*pieces, last)).usage == Usage(input_tokens=5, output_tokens=44)

    def test_the_splice_is_for_the_compatible_api_only(self) -> None:
        """Its own API counts unasked."""
        body = json.dumps(BODY).encode()
        assert shape_of("minimax").read(body).splice
        assert not shape_of("minimax", "/v1/text/chatcompletion_v2").read(body).splice


SPLICED = {"openai": True, "xai": True, "deepseek": True, "kimi": True, "qwen": True, "minimax": True, "cerebras": True,
           "mistral": False}  # fmt: skip


@pytest.mark.parametrize(("provider", "spliced"), SPLICED.items())
def test_who_is_asked_for_usage(provider: str, spliced: bool) -> None:
    """A stream is asked for its usage where that is needed, and is left alone where the field would be refused."""
    shape = shape_of(provider)
    body = json.dumps(BODY).encode()
    call = shape.read(body)
    assert call.splice is spliced
    assert (shape.prepare(body, call) != body) is spliced
    assert (shape.filter(call) is not None) is spliced


def test_deferred_answers_are_refused_at_xai_only() -> None:
    """An answer that is fetched later could not be metered; other vendors know no such field."""
    body = json.dumps(BODY | {"deferred": True}).encode()
    with pytest.raises(BadRequest) as caught:
        shape_of("xai").read(body)
    assert (caught.value.param, caught.value.code) == ("deferred", "unbounded_cost")
    assert shape_of("xai").read(json.dumps(BODY | {"deferred": False}).encode()).model == "m"
    assert shape_of("deepseek").read(body).model == "m"


def test_blank_lines_and_comments_while_waiting() -> None:
    """DeepSeek sends blank lines before a body and comments within a stream; neither is part of the answer."""
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    expected = Usage(input_tokens=9, output_tokens=1)
    body = b"\n\n\n\n" + json.dumps({"choices": [], "usage": usage}).encode()
    assert read(shape_of("deepseek"), body, streamed=False).usage == expected
    stream = b": keep-alive\n\n: keep-alive\n\n" + sse({"choices": [], "usage": usage}, "[DONE]")
    for data in (stream, stream.replace(b"\n", b"\r\n")):
        assert read(shape_of("deepseek"), data).usage == expected


NAMES = ["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "prompt_cache_hit_tokens",
         "prompt_cache_miss_tokens", "num_cached_tokens", "prompt_audio_seconds", "service_tier",
         "cost_in_usd_ticks"]  # fmt: skip


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(SPLICED)),
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(NAMES, NUMBER),
            "prompt_tokens_details": st.dictionaries(
                st.sampled_from(["cached_tokens", "cache_creation_input_tokens"]), NUMBER
            ),
            "completion_tokens_details": st.dictionaries(st.just("reasoning_tokens"), NUMBER),
            "server_side_tool_usage_details": st.dictionaries(st.just("web_search_calls"), NUMBER) | NUMBER,
        },
    ),
    CUTS,
)
def test_whatever_is_claimed_the_record_is_sane(provider: str, usage: dict[str, Any], cuts: list[int]) -> None:
    """No claim raises, makes anything negative or puts a part above its total; the pieces do not matter."""
    data = sse({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop", "usage": usage}]})
    got = read(shape_of(provider), data, cuts=cuts)
    assert got == read(shape_of(provider), data)
    for each in (got.usage, reading(provider, usage).usage):
        if each is not None:
            assert 0 <= each.cache_read_tokens + each.cache_write_tokens <= each.input_tokens
            assert 0 <= each.reasoning_tokens <= each.output_tokens
            assert each.audio_ms >= 0
            assert each.provider_cost_picos is None or each.provider_cost_picos >= 0
            assert all(number > 0 for number in each.tools.values())


ALL = sorted({(each.provider, each.path, each.method) for each in TABLE if each.operation.billable})


@pytest.mark.parametrize("cell", ALL, ids=lambda cell: f"{cell[0]}{cell[1]}")
@settings(max_examples=15)
@given(data=st.binary(max_size=200), cuts=CUTS)
def test_no_meter_raises(cell: tuple[str, str, str], data: bytes, cuts: list[int]) -> None:
    """Whatever bytes a provider sends, streamed or not, every billable operation's meter reads on."""
    provider, path, method = cell
    for streamed in (False, True):
        assert isinstance(
            read(shape_of(provider, path, method), data, streamed=streamed, cuts=cuts, call=Call(model="m")), Reading
        )
