"""A caller's own tools, in each shape: what is asked, what is answered, and that nothing given is changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.openai.workflow_parts import as_responses
from providers.operations import TABLE
from providers.tool_use import TOOL_USE

Json = dict[str, Any]

CASES: dict[str, tuple[Json, Json, Json]] = {
    "responses": (
        {"model": "m", "input": "x"},
        {"output": [{"type": "reasoning", "id": "r"}, {"type": "web_search_call"},
                    {"type": "function_call", "call_id": "c1", "name": "t", "arguments": "{}"}]},
        {"model": "m", "input": [{"role": "user", "content": "x"}, {"type": "reasoning", "id": "r"},
                                 {"type": "web_search_call"},
                                 {"type": "function_call", "call_id": "c1", "name": "t", "arguments": "{}"},
                                 {"type": "function_call_output", "call_id": "c1", "output": "done"}]},
    ),
    "chat.completions": (
        {"messages": [{"role": "user", "content": "x"}]},
        {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "t", "arguments": "{}"}}]}}]},
        {"messages": [{"role": "user", "content": "x"},
                      {"role": "assistant", "content": None, "tool_calls": [
                          {"id": "c1", "type": "function", "function": {"name": "t", "arguments": "{}"}}]},
                      {"role": "tool", "tool_call_id": "c1", "content": "done"}]},
    ),
    "messages": (
        {"messages": [{"role": "user", "content": "x"}]},
        {"content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                     {"type": "tool_use", "id": "c1", "name": "t", "input": {}}]},
        {"messages": [{"role": "user", "content": "x"},
                      {"role": "assistant", "content": [
                          {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                          {"type": "tool_use", "id": "c1", "name": "t", "input": {}}]},
                      {"role": "user", "content": [
                          {"type": "tool_result", "tool_use_id": "c1", "content": "done"}]}]},
    ),
    "models.generate_content": (
        {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "hm"}, {"functionCall": {"name": "t"}}]}}]},
        {"contents": [{"role": "user", "parts": [{"text": "x"}]},
                      {"role": "model", "parts": [{"text": "hm"}, {"functionCall": {"name": "t"}}]},
                      {"role": "user", "parts": [
                          {"functionResponse": {"name": "t", "response": {"output": "done"}}}]}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_tool_is_asked_for_and_answered(name: str) -> None:
    """What the provider runs itself is not told of; the next request is whole, and the former as it was."""
    request, answer, expected = CASES[name]
    given_request, given_answer = copy.deepcopy(request), copy.deepcopy(answer)
    (call,) = TOOL_USE[name].pending(answer)
    assert (call.name, call.arguments) == ("t", "{}")
    assert TOOL_USE[name].went_on(request, answer, {call.tool_call_id: "done"}) == expected
    assert (request, answer) == (given_request, given_answer)


def test_every_name_is_an_operations() -> None:
    """Of the table of operations."""
    assert TOOL_USE.keys() <= {row.operation.name for row in TABLE}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["output", "type", "choices", "message", "tool_calls", "function", "content", "candidates",
                         "parts", "functionCall", "id", "name", "input", "tools", "text"]),
        inner | st.sampled_from(["function_call", "tool_use", "function", "text"]),
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(answer=st.dictionaries(st.sampled_from(["output", "choices", "content", "candidates"]), json_values))
def test_no_answer_is_too_odd(answer: Json) -> None:
    """Whatever a provider says, it is read without a fault, and can be answered."""
    for tools in TOOL_USE.values():
        calls = tools.pending(answer)
        went_on = tools.went_on(
            {"input": "x", "messages": [], "contents": []}, answer, {each.tool_call_id: "" for each in calls}
        )
        assert isinstance(went_on, dict)


@given(request=st.dictionaries(st.sampled_from(["input", "tools", "model"]), json_values))
def test_requests_are_put_in_the_providers_words_once(request: Json) -> None:
    """Doing it again changes nothing, and what was given stays."""
    before = copy.deepcopy(request)
    once = as_responses(request)
    assert request == before
    assert as_responses(once) == once
