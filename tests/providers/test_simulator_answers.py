"""`answer()` without a network: determinism, the bill, the directives byte by byte, and hostile requests."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.simulator import Answer, Cut, Faults, Pause, Step, answer
from providers.simulator.delivery import STALL_MS
from providers.simulator.tokens import count, pieces

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Say hello"}]
CHAT = {"model": "gpt-4o", "messages": HELLO}
MESSAGE = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": HELLO}
RESPONSE = {"model": "gpt-5", "input": "Say hello"}
SHAPES = [("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGE), ("/v1/responses", RESPONSE)]


def ask(path: str, body: object, faults: str = "", *, method: str = "POST", request_id: str = "req_1") -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Anthropic-Version": "2026-10-21"} if "messages" in path else {}
    return answer(method, path, headers, raw, faults=Faults.parse(faults), request_id=request_id, now_s=1_767_225_600)


def taken(made: Answer) -> bytes:
    return b"".join(step for step in made.steps if isinstance(step, bytes))


def full(path: str, body: object, faults: str = "") -> Any:
    made = ask(path, body, faults)
    return json.loads(taken(made))


def events(data: bytes) -> list[Any]:
    lines = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


@pytest.mark.parametrize(("path", "body"), SHAPES)
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_request_has_the_same_answer_to_the_byte(path: str, body: dict[str, Any], stream: bool) -> None:
    first, second = ask(path, body | {"stream": stream}), ask(path, body | {"stream": stream})
    assert first.headers == second.headers
    assert taken(first) == taken(second)
    assert first.billed == second.billed


def test_the_text_is_the_same_streamed_or_not_and_with_or_without_a_usage_splice() -> None:
    text = full("/v1/chat/completions", CHAT)["choices"][0]["message"]["content"]
    options: list[dict[str, Any]] = [{}, {"stream_options": {"include_usage": True}}]
    for more in options:
        chunks = events(taken(ask("/v1/chat/completions", CHAT | {"stream": True} | more)))
        assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == text


def test_other_questions_have_other_answers() -> None:
    other = CHAT | {"messages": [{"role": "user", "content": "Say goodbye"}]}
    assert full("/v1/chat/completions", CHAT)["choices"] != full("/v1/chat/completions", other)["choices"]


@pytest.mark.parametrize(("path", "body"), SHAPES)
@pytest.mark.parametrize("tokens", [16, 17, 100, 5_000])
def test_output_tokens_is_what_the_model_writes_reports_and_bills(path: str, body: Any, tokens: int) -> None:
    made = full(path, body | ({"max_tokens": 9_000} if "messages" in path else {}), f"output_tokens={tokens}")
    usage = made["usage"]
    assert usage.get("output_tokens", usage.get("completion_tokens")) == tokens
    for stream in (False, True):
        asked = ask(path, body | {"stream": stream} | ({"max_tokens": 9_000} if "messages" in path else {}),
                    f"output_tokens={tokens}")  # fmt: skip
        taken(asked)
        assert asked.billed is not None
        assert asked.billed["output_tokens"] == tokens


def test_usage_counts_the_text_that_is_there() -> None:
    made = full("/v1/chat/completions", CHAT, "output_tokens=333")
    assert count(made["choices"][0]["message"]["content"]) == 333


@given(st.text())
def test_tokens_join_to_the_text_and_are_at_most_its_characters(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert count(text) == len(pieces(text)) <= len(text)


@pytest.mark.parametrize(("path", "body"), SHAPES)
def test_the_bill_of_a_stream_grows_with_the_steps_taken(path: str, body: dict[str, Any]) -> None:
    made = ask(path, body | {"stream": True}, "output_tokens=50")
    assert made.billed is not None
    seen = [made.billed["output_tokens"]]
    for _ in made.steps:
        seen.append(made.billed["output_tokens"])
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 50)
    assert len(set(seen)) == 51


@pytest.mark.parametrize(("path", "body"), SHAPES)
def test_disconnect_after_cuts_a_stream_after_that_many_events_and_bills_them(path: str, body: Any) -> None:
    whole = list(ask(path, body | {"stream": True}).steps)
    made = ask(path, body | {"stream": True}, "disconnect_after=9")
    assert list(made.steps) == [*whole[:9], Cut()]
    assert made.billed is not None
    assert 0 < made.billed["output_tokens"] < 9


def test_disconnect_after_cuts_a_full_answer_after_that_many_bytes_and_bills_all() -> None:
    whole = ask("/v1/chat/completions", CHAT)
    made = ask("/v1/chat/completions", CHAT, "disconnect_after=20")
    assert list(made.steps)[:2] == [taken(whole)[:20], Cut()]
    assert made.billed == whole.billed


def test_disconnect_after_nothing_still_sends_the_head() -> None:
    assert list(ask("/v1/chat/completions", CHAT | {"stream": True}, "disconnect_after=0").steps) == [b"", Cut()]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ("delay_ms=200", [Pause(200)]),
        ("stall", [Pause(STALL_MS)]),
        ("reset=before_head", [Cut()]),
        ("reset=after_head", [b"", Cut()]),
    ],
)
def test_faults_before_the_body_come_before_the_first_bytes(faults: str, expected: list[Step]) -> None:
    for stream in (False, True):
        steps = list(ask("/v1/chat/completions", CHAT | {"stream": stream}, faults).steps)
        assert steps[: len(expected)] == expected


def test_a_reset_in_mid_event_leaves_half_of_it() -> None:
    whole = list(ask("/v1/chat/completions", CHAT | {"stream": True}).steps)
    steps = list(ask("/v1/chat/completions", CHAT | {"stream": True}, "reset=mid_event").steps)
    assert len(steps) == 3
    assert steps[0] == whole[0]
    assert isinstance(whole[1], bytes)
    assert isinstance(steps[1], bytes)
    assert whole[1].startswith(steps[1])
    assert steps[2] == Cut()


def test_stall_after_pauses_a_stream_after_that_many_events() -> None:
    steps = list(ask("/v1/chat/completions", CHAT | {"stream": True}, "stall_after=2").steps)
    assert steps[2] == Pause(STALL_MS)


def test_chunk_delay_pauses_between_events() -> None:
    steps = list(ask("/v1/chat/completions", CHAT | {"stream": True}, "chunk_delay_ms=7").steps)
    assert isinstance(steps[0], bytes)
    assert steps[1] == Pause(7)
    assert isinstance(steps[2], bytes)


@pytest.mark.parametrize("size", [1, 7, 1_460, 1_000_000])
@pytest.mark.parametrize("stream", [False, True])
def test_chunk_bytes_changes_the_pieces_and_not_the_bytes(size: int, stream: bool) -> None:
    whole = taken(ask("/v1/messages", MESSAGE | {"stream": stream}))
    steps = list(ask("/v1/messages", MESSAGE | {"stream": stream}, f"chunk_bytes={size}").steps)
    sizes = [len(step) for step in steps if isinstance(step, bytes)]
    assert b"".join(step for step in steps if isinstance(step, bytes)) == whole
    assert set(sizes[:-1]) <= {size}
    assert sizes[-1] <= size


@pytest.mark.parametrize(("path", "body"), SHAPES)
def test_malformed_breaks_the_json(path: str, body: dict[str, Any]) -> None:
    with pytest.raises(json.JSONDecodeError):
        full(path, body, "malformed")
    with pytest.raises(json.JSONDecodeError):
        events(taken(ask(path, body | {"stream": True}, "malformed")))


@pytest.mark.parametrize(("path", "body"), SHAPES)
def test_usage_missing_is_nowhere_and_still_billed(path: str, body: dict[str, Any]) -> None:
    for more in ({}, {"stream": True}):
        made = ask(path, body | more, "usage=missing")
        data = taken(made).replace(b'"usage":null', b"")
        assert b"usage" not in data
        assert made.billed is not None
        assert made.billed["output_tokens"] > 0


def usage_of(path: str, body: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    options = {"stream_options": {"include_usage": True}} if "chat" in path else {}
    for more in ({}, {"stream": True} | options):
        made = ask(path, body | more, f"usage={kind}")
        data = taken(made)
        for part in events(data) if more else [json.loads(data)]:
            inner = part.get("response") or part
            if inner.get("usage"):
                found.append(inner["usage"])
    return found


@pytest.mark.parametrize(("path", "body"), SHAPES)
@pytest.mark.parametrize(
    ("kind", "low", "high"), [("zero", 0, 0), ("negative", -9_999, -1), ("absurd", 2**63, 2**63 + 999)]
)
def test_distorted_usage_is_reported_as_asked(path: str, body: Any, kind: str, low: int, high: int) -> None:
    for usage in usage_of(path, body, kind):
        assert low <= usage.get("output_tokens", usage.get("completion_tokens")) <= high


@pytest.mark.parametrize(("path", "body"), SHAPES)
def test_reported_zero_is_invoiced_zero_and_every_other_lie_is_invoiced_truly(path: str, body: Any) -> None:
    truth = ask(path, body | {"stream": True})
    taken(truth)
    for kind in ("zero", "negative", "absurd", "float", "cached", "twice", "decreasing"):
        made = ask(path, body | {"stream": True}, f"usage={kind}")
        taken(made)
        assert made.billed == (dict.fromkeys(truth.billed or {}, 0) if kind == "zero" else truth.billed)


def test_decreasing_usage_is_stated_twice_the_second_time_less() -> None:
    told = usage_of("/v1/chat/completions", CHAT, "decreasing")[-2:]
    assert told[1]["completion_tokens"] < told[0]["completion_tokens"]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529])
@pytest.mark.parametrize(("path", "body"), SHAPES)
def test_status_answers_a_native_error_that_is_not_billed(path: str, body: Any, status: int) -> None:
    made = ask(path, body, f"status={status}")
    error = json.loads(taken(made))
    assert made.status == status
    assert made.billed is None
    assert error["error"]["message"]
    assert ("retry-after" in dict(made.headers)) == (status == 429)
    if path == "/v1/messages":
        assert error["type"] == "error"
        assert error["request_id"] == dict(made.headers)["request-id"] == "req_1"
    else:
        assert set(error["error"]) == {"message", "type", "param", "code"}
        assert dict(made.headers)["x-request-id"] == "req_1"


def test_overloaded_is_natively_529() -> None:
    assert full("/v1/messages", MESSAGE, "status=529")["error"]["type"] == "overloaded_error"


def test_html_and_redirect_are_no_provider_answers() -> None:
    page = ask("/v1/messages", MESSAGE, "html")
    assert (page.status, dict(page.headers)["content-type"]) == (502, "text/html")
    assert taken(page).startswith(b"<html>")
    moved = ask("/v1/messages", MESSAGE, "redirect")
    assert (moved.status, dict(moved.headers)["location"]) == (302, "/followed-redirect")


def test_gzip_is_the_same_body_encoded() -> None:
    for stream in (False, True):
        made = ask("/v1/chat/completions", CHAT | {"stream": stream}, "encoding=gzip")
        assert dict(made.headers)["content-encoding"] == "gzip"
        assert gzip.decompress(taken(made)) == taken(ask("/v1/chat/completions", CHAT | {"stream": stream}))


def test_content_length_is_true_unless_it_is_told_to_lie() -> None:
    made = ask("/v1/chat/completions", CHAT)
    assert int(dict(made.headers)["content-length"]) == len(taken(made))
    lie = ask("/v1/chat/completions", CHAT, "content_length=5")
    assert [value for name, value in lie.headers if name == "content-length"] == ["5"]
    assert "content-length" not in dict(ask("/v1/chat/completions", CHAT | {"stream": True}).headers)


def test_a_stream_can_end_lines_otherwise_have_comments_and_begin_with_a_mark() -> None:
    plain = taken(ask("/v1/messages", MESSAGE | {"stream": True}))
    assert taken(ask("/v1/messages", MESSAGE | {"stream": True}, "newline=crlf")) == plain.replace(b"\n", b"\r\n")
    assert taken(ask("/v1/messages", MESSAGE | {"stream": True}, "newline=cr")) == plain.replace(b"\n", b"\r")
    assert taken(ask("/v1/messages", MESSAGE | {"stream": True}, "bom")) == b"\xef\xbb\xbf" + plain
    commented = taken(ask("/v1/messages", MESSAGE | {"stream": True}, "comments"))
    assert commented.replace(b": keep-alive\n\n", b"") == plain != commented


@pytest.mark.parametrize(
    ("path", "body", "end"), [(*SHAPES[0], b"[DONE]"), (*SHAPES[1], b"message_stop"), (*SHAPES[2], b".completed")]
)
def test_no_end_leaves_out_the_last_event(path: str, body: dict[str, Any], end: bytes) -> None:
    whole = list(ask(path, body | {"stream": True}).steps)
    without = list(ask(path, body | {"stream": True}, "no_end").steps)
    assert without == whole[:-1]
    assert isinstance(whole[-1], bytes)
    assert end in whole[-1]


def test_stream_overrides_what_was_asked() -> None:
    assert ask("/v1/messages", MESSAGE, "stream=on").headers[0][1] == "text/event-stream; charset=utf-8"
    assert ask("/v1/messages", MESSAGE | {"stream": True}, "stream=off").headers[0][1] == "application/json"


def test_web_searches_are_reported_and_billed() -> None:
    assert full("/v1/messages", MESSAGE, "web_searches=3")["usage"]["server_tool_use"]["web_search_requests"] == 3
    assert full("/v1/responses", RESPONSE, "web_searches=2")["tool_usage"]["web_search"]["num_requests"] == 2
    assert (ask("/v1/messages", MESSAGE, "web_searches=3").billed or {})["web_searches"] == 3


def test_what_is_not_simulated_is_a_native_404() -> None:
    assert ask("/v1/videos", {}).status == 404
    assert full("/v1/messages/nothing", {})["error"]["type"] == "not_found_error"
    assert ask("/v1/chat/completions", b"", method="GET").status == 404


@pytest.mark.parametrize(
    "path", ["/chat/completions", "/compatible-mode/v1/chat/completions", "/v1/chat/completions?x"]
)
def test_vendors_who_copy_a_shape_are_served_under_their_own_paths(path: str) -> None:
    assert full(path, CHAT)["object"] == "chat.completion"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ["model", "messages", "input", "prompt", "tools", "tool_choice", "stop", "n", "max_tokens", "stream",
          "stream_options", "response_format", "system", "thinking", "text", "dimensions", "output_config",
          "stop_sequences", "logprobs", "reasoning", "cache_control"]  # fmt: skip
BASE: dict[str, Any] = {"model": "m", "max_tokens": 20, "messages": HELLO, "input": "hello", "prompt": "hello"}
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/messages",
         "/v1/messages/count_tokens", "/v1/responses/input_tokens", "/v1/models/x"]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PATHS), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_a_hostile_field_is_answered_and_never_raises(path: str, fields: dict[str, Any]) -> None:
    made = ask(path, BASE | fields)
    assert made.status in (200, 400, 404)
    taken(made)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PATHS), st.binary(max_size=40))
def test_bytes_that_are_no_request_are_refused_in_the_provider_s_shape(path: str, body: bytes) -> None:
    made = ask(path, body)
    if path == "/v1/responses/input_tokens" and body.lstrip()[:1] == b"{":
        assert made.status in (200, 400)  # any object is a request there: nothing of it is required
        return
    assert made.status in (400, 404)
    assert json.loads(taken(made))["error"]["message"]


def test_deep_nesting_is_refused() -> None:
    body = b'{"model":"m","input":"x","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert ask("/v1/chat/completions", body).status == 400


def test_a_schema_that_asks_for_the_world_gets_a_bounded_answer() -> None:
    inner: dict[str, Any] = {"type": "array", "minItems": 10**9, "items": {"$ref": "#"}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": inner}}
    assert len(taken(ask("/v1/chat/completions", CHAT | {"response_format": form}))) < 200_000
