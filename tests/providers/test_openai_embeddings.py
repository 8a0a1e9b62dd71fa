"""Embeddings: input only."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.openai.embeddings import OPENAI_EMBEDDINGS
from tests.providers.answers import CUTS, read

ANSWER = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}


def body(**members: object) -> bytes:
    return json.dumps({"model": "text-embedding-3-small", **members}).encode()


def test_fixture_is_what_the_sdk_expects() -> None:
    """The answer passes the official SDK's type."""
    CreateEmbeddingResponse.model_validate(ANSWER)


def test_usage_is_input_only() -> None:
    """Prompt tokens are input; there is no output, neither in the call nor in the reading."""
    reading = read(OPENAI_EMBEDDINGS, json.dumps(ANSWER).encode(), streamed=False)
    assert reading.usage == Usage(input_tokens=8)
    assert (reading.complete, reading.model, reading.flags) == (True, "text-embedding-3-small", ())
    assert OPENAI_EMBEDDINGS.read(body(input="hi")).output_field == ""


def test_total_alone_is_input() -> None:
    """Vendors that state only a total mean the input."""
    answer = json.dumps({**ANSWER, "usage": {"total_tokens": 8}}).encode()
    assert read(OPENAI_EMBEDDINGS, answer, streamed=False).usage == Usage(input_tokens=8)


def test_large_answers() -> None:
    """Usage is found after ten megabytes of vectors."""
    vectors = [{"object": "embedding", "index": 0, "embedding": "A" * (10 << 20)}]
    reading = read(OPENAI_EMBEDDINGS, json.dumps({**ANSWER, "data": vectors}).encode(), streamed=False)
    assert reading.usage == Usage(input_tokens=8)
    assert (reading.complete, reading.model) == (True, "text-embedding-3-small")


def test_tokens_are_counted_exactly() -> None:
    """A list of tokens is as many tokens as it has numbers."""
    assert OPENAI_EMBEDDINGS.read(body(input=[1, 2, 3])).input_typical.input_tokens == 3
    call = OPENAI_EMBEDDINGS.read(body(input=[[1, 2, 3], [100256, 5]]))
    assert call.input_typical.input_tokens == call.input_upper.input_tokens == 5
    assert call.input_bound.input_tokens >= 5


@pytest.mark.parametrize(
    ("raw", "param"),
    [(body(), "input"), (body(input=3), "input"), (b'{"input":"x"}', "model"), (body(input=None), "input")],
)
def test_refuses(raw: bytes, param: str) -> None:
    """What is missing or of a wrong kind is named."""
    with pytest.raises(BadRequest) as caught:
        OPENAI_EMBEDDINGS.read(raw)
    assert caught.value.param == param


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode), CUTS)
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    """Whatever the bytes, nothing is raised and the pieces do not matter."""
    assert read(OPENAI_EMBEDDINGS, data, cuts=cuts, streamed=False) == read(OPENAI_EMBEDDINGS, data, streamed=False)
