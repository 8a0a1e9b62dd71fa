"""Chat and legacy completions: what a request is read as, what a stream says, and that our question leaves no trace."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from providers.contract.flags import Flags
from providers.ground.errors import BadRequest
from providers.ground.quirks import PLAIN, Quirks
from providers.ground.usage import Usage
from providers.openai.chat import OPENAI_CHAT, OPENAI_COMPLETIONS
from providers.openai.usage import chat_usage, usual_usage
from tests.providers.answers import CALL, CUTS, NUMBER, read, sse

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 5, "audio_tokens": 3},
    "completion_tokens_details": {
        "reasoning_tokens": 20,
        "audio_tokens": 2,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
EXPECTED = Usage(
    input_tokens=100,
    cache_read_tokens=40,
    cache_write_tokens=5,
    input_audio_tokens=3,
    output_tokens=50,
    reasoning_tokens=20,
    output_audio_tokens=2,
)


def chunk(content: str | None = None, *, usage: object = None, **more: object) -> dict[str, object]:
    delta = {} if content is None else {"content": content}
    choices = [{"index": 0, "delta": delta, "finish_reason": None if content else "stop"}]
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5", "choices": choices}
    return {**base, "usage": usage, **more}


SPLICED = {**chunk(), "choices": [], "usage": USAGE}
STREAM = sse(chunk("Hel"), chunk("lo"), chunk(service_tier="default"), SPLICED, "[DONE]")


def whole(usage: object, **more: object) -> bytes:
    message = {"role": "assistant", "content": "hi " * 20}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    base = {"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-5", "choices": choices}
    return json.dumps({**base, "usage": usage, **more}).encode()


def test_fixtures_are_what_the_sdk_expects() -> None:
    """The chunks and answers of these tests pass the official SDK's types."""
    for event in (chunk("a"), chunk(), SPLICED):
        ChatCompletionChunk.model_validate(event)
    ChatCompletion.model_validate_json(whole(USAGE))


def body(**members: object) -> bytes:
    base = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}
    return json.dumps({**base, **members}).encode()


class TestRead:
    def test_reads_what_the_gateway_needs(self) -> None:
        """Model, stream, limit, choices and tier are read; usage is asked for, for the client does not ask."""
        call = OPENAI_CHAT.read(body(max_completion_tokens=7, n=3, stream=True, service_tier="flex"))
        assert (call.model, call.stream, call.output_tokens_max, call.choices) == ("gpt-5", True, 7, 3)
        assert (call.output_field, call.service_tier, call.splice) == ("max_completion_tokens", "flex", True)
        assert call.unbounded == ""

    def test_two_limits_count_as_the_larger(self) -> None:
        """Which of two limits a vendor obeys is unknown, so the larger bounds the cost."""
        assert OPENAI_CHAT.read(body(max_completion_tokens=7, max_tokens=9)).output_tokens_max == 9
        assert OPENAI_CHAT.read(body(max_tokens=9)).output_field == "max_tokens"
        assert OPENAI_CHAT.read(body()).output_tokens_max is None

    @pytest.mark.parametrize(
        ("raw", "param"),
        [
            (b"", None),
            (b"nonsense", None),
            (b"[]", None),
            (b'"x"', None),
            (b"\xef\xbb\xbf{}", None),
            (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, None),  # Python 3.13 reads 10,000 levels
            (b"{}", "model"),
            (b'{"model":3}', "model"),
            (b'{"model":""}', "model"),
            (b'{"model":null}', "model"),
            (b'{"model":"m"}', "messages"),
            (b'{"model":"m","messages":"hi"}', "messages"),
            (b'{"model":"m","messages":null}', "messages"),
            (b'{"model":"m","messages":[1]}', "messages"),
            (body(max_tokens=-1), "max_tokens"),
            (body(max_tokens=1.5), "max_tokens"),
            (body(max_tokens="9"), "max_tokens"),
            (body(max_tokens=True), "max_tokens"),
            (body(max_tokens=1 << 40), "max_tokens"),
            (body(n=0), "n"),
            (body(n=129), "n"),
            (body(stream="yes"), "stream"),
            (body(stream=1), "stream"),
            (body(service_tier=1), "service_tier"),
            (body(stream=True, stream_options=3), "stream_options"),
            (body(stream=True, stream_options={"include_usage": "x"}), "stream_options.include_usage"),
            (body(tools="x"), "tools"),
            (b'{"model":"a","model":"b","messages":[]}', "model"),
            (b'{"model":"a","\\u006dodel":"b","messages":[]}', "model"),
            (b'{"model":"a","Model":"b","messages":[]}', "model"),
            ('{"model":"a","messages":[],"\u017ftream":true}'.encode(), "stream"),
            (b'{"model":"a", "messages":[], "max_tokens":1 ,"max_tokens":2}', "max_tokens"),
            (b'{"model":"a","messages":[],"n":1,"n":2}', "n"),
            (b'{"messages":[{}],"model":"a","messages":[]}', "messages"),
            (b'{"model":"a","messages":[],"stream":true,"stream":false}', "stream"),
        ],
    )
    def test_refuses_what_cannot_be_read(self, raw: bytes, param: str | None) -> None:
        """A body that two readers could read differently, or none at all, is refused with the field's name."""
        with pytest.raises(BadRequest) as caught:
            OPENAI_CHAT.read(raw)
        assert caught.value.param == param
        assert caught.value.code == "invalid_request"

    def test_equal_names_inside_content_are_no_doubles(self) -> None:
        """Only the top level can contradict itself; a schema may have a property of any name."""
        tool = {"type": "function", "function": {"name": "f", "parameters": {"model": {}, "stream": {}, "n": {"n": 1}}}}
        assert OPENAI_CHAT.read(body(tools=[tool], n=2, stream=True)).choices == 2

    @pytest.mark.parametrize(
        ("members", "field"),
        [
            ({"web_search_options": None}, ""),
            ({"web_search_options": {}}, "web_search_options"),
            ({"web_search_options": {"search_context_size": "low"}}, "web_search_options"),
            ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
            ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
            (
                {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]},
                "messages[0].content[0].image_url",
            ),
            (
                {"messages": [{"content": [{"type": "file", "file": {"file_id": "f"}}]}]},
                "messages[0].content[0].file.file_id",
            ),
            ({"messages": [{"content": [{"type": "video_url"}]}]}, "messages[0].content[0].type"),
        ],
    )
    def test_names_what_makes_the_cost_unknown(self, members: dict[str, object], field: str) -> None:
        """What the request's bytes do not show is named by its path."""
        call = OPENAI_CHAT.read(body(**members))
        assert call.unbounded == field

    def test_best_of_nothing_is_the_default(self) -> None:
        """As OpenAI's specification has it: from 0 on."""
        raw = json.dumps({"model": "m", "prompt": "a", "n": 2, "best_of": 0}).encode()
        assert OPENAI_COMPLETIONS.read(raw).choices == 2

    def test_prompts_and_best_of_multiply(self) -> None:
        """Legacy completions answer every prompt `best_of` times."""
        raw = json.dumps({"model": "m", "prompt": ["a", "b"], "n": 2, "best_of": 3, "max_tokens": 4}).encode()
        call = OPENAI_COMPLETIONS.read(raw)
        assert (call.choices, call.output_tokens_max, call.output_field) == (6, 4, "max_tokens")
        assert OPENAI_COMPLETIONS.read(b'{"model":"m","prompt":[1,2,3]}').choices == 1
        assert OPENAI_COMPLETIONS.read(b'{"model":"m","prompt":[[1,2],[3]]}').choices == 2
        assert OPENAI_COMPLETIONS.read(b'{"model":"m"}').choices == 1
        with pytest.raises(BadRequest):
            OPENAI_COMPLETIONS.read(b'{"model":"m","prompt":3}')


class TestLimit:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (b'{"model":"m"}', b'{"max_completion_tokens":5,"model":"m"}'),
            (b'{ "max_tokens" : 9 }', b'{ "max_tokens" : 5 }'),
            (b'{"max_tokens":3}', b'{"max_tokens":3}'),
            (b'{"max_tokens":9,"max_completion_tokens":8}', b'{"max_tokens":5,"max_completion_tokens":5}'),
            (b'{"max_completion_tokens":null}', b'{"max_completion_tokens":5}'),
            (b'{"max_tokens":null}', b'{"max_completion_tokens":5,"max_tokens":null}'),
            (b'{"a":{"max_tokens":9}}', b'{"max_completion_tokens":5,"a":{"max_tokens":9}}'),
        ],
    )
    def test_changes_that_member_only(self, before: bytes, after: bytes) -> None:
        """A limit is lowered in place, or added where none is declared; no other byte changes."""
        assert OPENAI_CHAT.limit(before, CALL, 5) == after


def asked(raw: bytes) -> bytes:
    return OPENAI_CHAT.prepare(raw, OPENAI_CHAT.read(raw))


class TestSplice:
    @pytest.mark.parametrize(
        ("options", "after"),
        [
            (None, None),
            (b"null", b'{"include_usage":true}'),
            (b"{}", b'{"include_usage":true}'),
            (b"{ }", b'{"include_usage":true }'),
            (b'{"include_obfuscation":false}', b'{"include_usage":true,"include_obfuscation":false}'),
            (b'{"include_usage" : false}', b'{"include_usage" : true}'),
            (b'{"include_usage":null, "x":1}', b'{"include_usage":true, "x":1}'),
        ],
    )
    def test_asks_in_the_smallest_way(self, options: bytes | None, after: bytes | None) -> None:
        """The member is added, merged or changed; everything else stays byte for byte."""
        content = b'"\\"stream_options\\": {\\"include_usage\\":false}"'
        front = b' { "model" : "m" , "messages":[{"content":' + content + b'}],"stream":true'
        if options is None:
            got = asked(front + b"}")
            assert got == front.replace(b"{", b'{"stream_options":{"include_usage":true},', 1) + b"}"
        else:
            assert after is not None
            assert asked(front + b',"stream_options": ' + options + b" }") == (
                front + b',"stream_options": ' + after + b" }"
            )

    def test_leaves_alone_who_asks_himself(self) -> None:
        """A client that asks for usage gets its own request and its own answer."""
        raw = body(stream=True, stream_options={"include_usage": True})
        call = OPENAI_CHAT.read(raw)
        assert not call.splice
        assert OPENAI_CHAT.prepare(raw, call) is raw
        assert OPENAI_CHAT.filter(call) is None
        assert not OPENAI_CHAT.read(body()).splice

    @given(
        st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=20) | st.none(), max_size=4),
        st.none()
        | st.dictionaries(st.sampled_from(["include_usage", "include_obfuscation"]), st.none() | st.booleans()),
        st.booleans(),
        st.booleans(),
    )
    def test_means_the_same_plus_usage(
        self, more: dict[str, object], options: dict[str, object] | None, ascii_only: bool, compact: bool
    ) -> None:
        """The forwarded request decodes to the client's request with `include_usage` true, whatever else is in it."""
        members = {**more, "model": "m", "messages": [], "stream": True, "stream_options": options}
        separators = (",", ":") if compact else None
        raw = json.dumps(members, ensure_ascii=ascii_only, separators=separators).encode("utf-8", "replace")
        try:
            call = OPENAI_CHAT.read(raw)
        except BadRequest:  # a generated name that is one of ours in another case
            return
        after = json.loads(OPENAI_CHAT.prepare(raw, call))
        assert after == {**json.loads(raw), "stream_options": {**(options or {}), "include_usage": True}}


def filtered(data: bytes, cuts: list[int]) -> bytes:
    stream = OPENAI_CHAT.filter(msgspec.structs.replace(CALL, splice=True))
    assert stream is not None
    out = []
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        out.append(stream.feed(data[at:cut]))
        at = max(at, cut)
    return b"".join([*out, stream.flush()])


class TestFilter:
    @given(
        st.lists(
            st.sampled_from(
                [
                    sse(chunk("a")),
                    sse(chunk(usage=USAGE)),
                    sse({**chunk(), "choices": []}),
                    b": keep-alive\n\n",
                    sse("[DONE]"),
                    b"data: \r\n\r\n",
                    sse({"error": {"message": '"choices":[],"usage":{}'}}),
                    b'data: {"choices":[],"usage":{\n\n',
                    b"\r\n",
                ]
            ),
            max_size=8,
        ),
        st.integers(0, 8),
        CUTS,
        st.sampled_from([b"\n", b"\r\n"]),
    )
    def test_takes_out_exactly_our_event(self, events: list[bytes], at: int, cuts: list[int], eol: bytes) -> None:
        """The client's bytes are those of a provider that was never asked, wherever the network cuts."""
        ours = sse(SPLICED).replace(b"\n\n", eol * 2)
        at = min(at, len(events))
        before, after = b"".join(events[:at]), b"".join(events[at:])
        if before.endswith(b"\r\n") and events[at - 1] == b"\r\n":
            before += b"data: x\n\n"  # a blank line before an event belongs to it
        assert filtered(before + ours + after, cuts) == before + after

    def test_null_usage_stays(self) -> None:
        """`"usage":null` in other chunks is not ours to remove."""
        data = sse(chunk("a"), chunk())
        assert b'"usage":null' in data
        assert filtered(data, []) == data

    @given(st.binary(max_size=200), CUTS)
    def test_any_other_bytes_pass(self, data: bytes, cuts: list[int]) -> None:
        """Bytes that are no event of ours come out as they went in."""
        assert filtered(data, cuts) == data


class TestStream:
    @given(CUTS)
    def test_usage_of_the_last_chunk(self, cuts: list[int]) -> None:
        """A stream's usage is read wherever it is cut, with model and end mark."""
        reading = read(OPENAI_CHAT, STREAM, cuts=cuts)
        assert reading.usage == EXPECTED
        assert (reading.complete, reading.model, reading.flags, reading.partial) == (True, "gpt-5", (), False)

    @pytest.mark.parametrize(
        "end",
        [
            sse({**chunk(), "choices": [], "usage": USAGE}, "[DONE]"),
            sse(chunk(usage=USAGE), "[DONE]"),
            sse(chunk(usage=USAGE)),
            sse({**chunk(), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]}),
            sse({**chunk(), "choices": [], "usage": USAGE}).rstrip(),
            b"\xef\xbb\xbf" + sse(SPLICED).replace(b"\n", b"\r\n"),
        ],
    )
    def test_places_of_usage(self, end: bytes) -> None:
        """Usage is accepted beside choices, inside a choice, and without a last blank line."""
        reading = read(OPENAI_CHAT, (b"" if end.startswith(b"\xef") else sse(chunk("a"))) + end)
        assert reading.usage == EXPECTED
        assert not reading.partial

    def test_tier_of_the_answer_is_billed(self) -> None:
        """The tier in the answer replaces the one asked for; "default" is none; absent, the one asked for holds."""
        call = msgspec.structs.replace(CALL, service_tier="priority")
        for tier, billed in (("flex", "flex"), ("default", ""), (None, "priority")):
            more = {"service_tier": tier} if tier else {}
            reading = read(OPENAI_CHAT, sse({**SPLICED, **more}, chunk("a", **more), "[DONE]"), call=call)
            assert reading.usage is not None
            assert reading.usage.service_tier == billed

    def test_cut_stream_counts_what_was_visible(self) -> None:
        """Without usage there is an estimate of all visible output: content, reasoning, tool calls."""
        deltas = [
            {"content": "word " * 10},
            {"reasoning_content": "thought " * 10},
            {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a": "long argument here"}'}}]},
            {"refusal": "no no no"},
            {"content": [{"type": "text", "text": "mistral's way of saying it"}]},
        ]
        estimates = []
        for upto in range(len(deltas) + 1):
            events = [{**chunk(), "choices": [{"index": 0, "delta": d}]} for d in deltas[:upto]]
            reading = read(OPENAI_CHAT, sse(*events))
            assert reading.usage is None
            assert not reading.complete
            estimates.append(reading.output_tokens_seen)
        assert estimates[0] == 0
        assert all(one < other for one, other in pairwise(estimates))

    def test_a_piece_is_a_token_at_least(self) -> None:
        """Five hundred one-letter deltas are five hundred tokens."""
        assert read(OPENAI_CHAT, sse(*[chunk("a")] * 500)).output_tokens_seen == 500

    def test_running_count_is_partial(self) -> None:
        """A vendor that counts along has not counted all until the end is seen."""
        running = [
            chunk("a", usage={"prompt_tokens": 9, "completion_tokens": n, "total_tokens": 9 + n}) for n in (1, 2, 3)
        ]
        cut = read(OPENAI_CHAT, sse(*running))
        assert cut.partial
        assert cut.usage == Usage(input_tokens=9, output_tokens=3)
        assert not read(OPENAI_CHAT, sse(*running, "[DONE]")).partial

    def test_error_inside_a_stream(self) -> None:
        """An error event marks the reading."""
        reading = read(OPENAI_CHAT, sse(chunk("a"), {"error": {"message": "overloaded"}}))
        assert reading.error
        assert reading.usage is None

    def test_broken_events_are_flagged(self) -> None:
        """Invalid JSON is one piece of output and a flag; the rest is still read."""
        reading = read(OPENAI_CHAT, b"data: {broken\n\n" + STREAM)
        assert reading.flags == ("malformed",)
        assert reading.usage == EXPECTED

    def test_usage_twice(self) -> None:
        """The later count holds; if it went down the larger holds, flagged."""
        small = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        large = {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19}
        up = read(OPENAI_CHAT, sse({**SPLICED, "usage": small}, {**SPLICED, "usage": large}, "[DONE]"))
        down = read(OPENAI_CHAT, sse({**SPLICED, "usage": large}, {**SPLICED, "usage": small}, "[DONE]"))
        assert up.usage == down.usage == Usage(input_tokens=10, output_tokens=9)
        assert (up.flags, down.flags) == ((), ("usage_decreased",))

    @given(
        st.binary(max_size=300) | st.lists(st.binary(max_size=30), max_size=8).map(lambda x: sse(*map(repr, x))), CUTS
    )
    def test_any_bytes(self, data: bytes, cuts: list[int]) -> None:
        """Whatever the bytes, nothing is raised and the pieces do not matter."""
        for streamed in (True, False):
            assert read(OPENAI_CHAT, data, cuts=cuts, streamed=streamed) == read(OPENAI_CHAT, data, streamed=streamed)


class TestUsualUsage:
    """What is read in one go where nothing is odd is what is read member by member, and is left to it elsewhere."""

    COUNTS = st.one_of(st.integers(0, 60), st.sampled_from([-1, 1.0, 1.5, None, True, "7", 2**53, 2**53 + 1, 2**70]))

    @staticmethod
    def objects(*names: str) -> st.SearchStrategy[object]:
        counts = dict.fromkeys(names, TestUsualUsage.COUNTS)
        return st.one_of(st.none(), st.just([]), st.fixed_dictionaries({}, optional=counts))

    @given(st.data())
    @settings(max_examples=600)
    def test_it_says_the_same_or_nothing(self, data: st.DataObject) -> None:
        into, out, inner = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 60)), data.draw(st.booleans())
        usage: dict[str, object] = {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out}
        if inner:
            usage["prompt_tokens_details"] = data.draw(
                self.objects("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens")
            )
            usage["completion_tokens_details"] = data.draw(
                self.objects("reasoning_tokens", "audio_tokens", "rejected_prediction_tokens")
            )
        usage |= data.draw(
            st.fixed_dictionaries(
                {},
                optional=dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens", "extra"), self.COUNTS),
            )
        )
        found = usual_usage(msgspec.Raw(json.dumps(usage).encode()), "flex")
        flags: Flags = set()
        read = chat_usage(msgspec.json.decode(json.dumps(usage)), flags, tier="flex")
        if found is not None:
            assert (found, flags) == (read, set())

    def test_it_reads_what_openai_writes(self) -> None:
        """Else nothing would be gained."""
        assert usual_usage(msgspec.Raw(json.dumps(USAGE).encode()), "") == EXPECTED
        bare = msgspec.Raw(b'{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}')
        assert usual_usage(bare, "flex") == Usage(input_tokens=3, output_tokens=2, service_tier="flex")

    @pytest.mark.parametrize(
        ("text", "quirks"),
        [
            (b"null", PLAIN),
            (b"7", PLAIN),
            (b'{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5', PLAIN),
            (b'{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}', Quirks(ticks=True)),
            (b'{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}', Quirks(server_tools={"a": "b"})),
            (b'{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}' + b" " * 2000, PLAIN),
            (b'{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"service_tier":"flex"}', PLAIN),
        ],
    )
    def test_it_leaves_what_is_odd(self, text: bytes, quirks: Quirks) -> None:
        assert usual_usage(msgspec.Raw(text), "", quirks) is None


class TestUsage:
    @pytest.mark.parametrize(
        ("usage", "expected", "flags"),
        [
            ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage(), ()),
            ({}, None, ()),
            (None, None, ()),
            ([], None, ("malformed",)),
            # DeepSeek
            (
                {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "prompt_cache_hit_tokens": 60,
                 "prompt_cache_miss_tokens": 40, "completion_tokens_details": {"reasoning_tokens": 8}},
                Usage(input_tokens=100, cache_read_tokens=60, output_tokens=20, reasoning_tokens=8), (),
            ),
            # Kimi
            (
                {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "cached_tokens": 60},
                Usage(input_tokens=100, cache_read_tokens=60, output_tokens=5), (),
            ),
            # reasoning beside the output, as only xAI may count it
            (
                {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 150, "prompt_tokens_details":
                 {"cached_tokens": 10}, "completion_tokens_details": {"reasoning_tokens": 30}},
                Usage(input_tokens=100, cache_read_tokens=10, output_tokens=50, reasoning_tokens=30),
                ("usage_contradictory",),
            ),
            # Qwen
            (
                {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "prompt_tokens_details":
                 {"cached_tokens": 2, "cache_creation_input_tokens": 3, "cache_type": "ephemeral"}},
                Usage(input_tokens=9, cache_read_tokens=2, cache_write_tokens=3, output_tokens=1), (),
            ),
            ({"prompt_tokens": 9, "completion_tokens": 1, "new": {"x": 1}}, Usage(input_tokens=9, output_tokens=1), ()),
            ({"prompt_tokens": 9.0, "completion_tokens": 1}, Usage(input_tokens=9, output_tokens=1), ()),
            (
                {"prompt_tokens": 8.5, "completion_tokens": 1},
                Usage(input_tokens=9, output_tokens=1), ("usage_contradictory",),
            ),
            (
                {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 99},
                Usage(input_tokens=10, output_tokens=89), ("usage_contradictory",),
            ),
            (
                {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 3},
                Usage(input_tokens=10, output_tokens=5), ("usage_contradictory",),
            ),
            (
                {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 20}},
                Usage(input_tokens=30, cache_read_tokens=20, output_tokens=5), ("usage_contradictory",),
            ),
            (
                {"prompt_tokens": -1, "completion_tokens": 5, "total_tokens": 30},
                Usage(input_tokens=25, output_tokens=5), ("usage_contradictory", "usage_negative"),
            ),
            (
                {"prompt_tokens": 1 << 63, "completion_tokens": 5},
                Usage(output_tokens=5), ("usage_contradictory", "usage_incomplete"),
            ),
            ({"prompt_tokens": 5}, Usage(input_tokens=5), ("usage_incomplete",)),
        ],
    )  # fmt: skip
    def test_readings(self, usage: object, expected: Usage | None, flags: tuple[str, ...]) -> None:
        """Vendors' differences are read; contradictions take the larger reading and a flag; zero is zero."""
        for reading in (
            read(OPENAI_CHAT, whole(usage), streamed=False),
            read(OPENAI_CHAT, sse({**SPLICED, "usage": usage}, "[DONE]")),
        ):
            assert reading.usage == expected
            assert reading.flags == flags

    @settings(max_examples=300)
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                **dict.fromkeys(["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"], NUMBER),
                "prompt_tokens_details": st.dictionaries(
                    st.sampled_from(["cached_tokens", "cache_write_tokens", "audio_tokens"]), NUMBER
                ),
                "completion_tokens_details": st.dictionaries(
                    st.sampled_from(["reasoning_tokens", "audio_tokens"]), NUMBER
                ),
            },
        )
    )
    def test_parts_stay_inside_totals(self, usage: dict[str, object]) -> None:
        """Whatever is claimed, the record is sane: nothing negative, no part above its total."""
        got = read(OPENAI_CHAT, whole(usage), streamed=False).usage
        if got is not None:
            assert 0 <= got.cache_read_tokens + got.cache_write_tokens <= got.input_tokens
            assert 0 <= got.input_audio_tokens <= got.input_tokens
            assert 0 <= got.reasoning_tokens <= got.output_tokens
            assert 0 <= got.output_audio_tokens <= got.output_tokens


class TestJson:
    def test_leading_blank_lines(self) -> None:
        """Blank lines before the body, which vendors send while they work, are no part of it."""
        assert read(OPENAI_CHAT, b"\n\n  " + whole(USAGE) + b"\n", streamed=False).usage == EXPECTED

    def test_without_usage_the_text_is_counted(self) -> None:
        """A body without usage is estimated by its visible text."""
        reading = read(OPENAI_CHAT, whole(None), streamed=False)
        assert reading.complete
        assert reading.usage is None
        assert reading.output_tokens_seen > 10

    def test_error_body(self) -> None:
        """An error inside a 200 is an error."""
        assert read(OPENAI_CHAT, b'{"error":{"message":"no"}}', streamed=False).error

    @pytest.mark.parametrize("size", [3 << 20, 9 << 20])
    def test_large_bodies(self, size: int) -> None:
        """Usage is found at the end of a body of any size, which is not kept."""
        data = whole(USAGE).replace(b"hi ", b"x" * size, 1)
        meter = OPENAI_CHAT.meter(CALL, streamed=False)
        for at in range(0, len(data), 1 << 16):
            meter.feed(data[at : at + (1 << 16)])
        reading = meter.finish()
        assert reading.usage == EXPECTED
        assert (reading.complete, reading.model) == (True, "gpt-5")

    def test_cut_body(self) -> None:
        """A body that was cut has no usage, and is estimated by its bytes."""
        reading = read(OPENAI_CHAT, whole(USAGE)[:150], streamed=False)
        assert reading.usage is None
        assert not reading.complete
        assert reading.output_tokens_seen > 0
