"""References in bodies and new objects in answers: found however they are written, in time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.ground.errors import BadRequest
from providers.stored.objects import (
    REFERENCES_MAX,
    Makes,
    References,
    Refers,
    StreamMakes,
    made_in_body,
    made_in_head,
    unescaped,
)

NAMES = References(
    {
        "file_id": Refers(kind="file"),
        "file_ids": Refers(kind="file"),
        "conversation": Refers(kind="conversation"),
        "fileUri": Refers(kind="file", pattern=r"/files/([^/?]+)"),
    }
)


def ids(body: bytes) -> list[str]:
    return [reference.id for reference in NAMES.find(body)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"input": [{"content": [{"type": "input_file", "file_id": "f1"}]}]}', ["f1"]),
        (b'{"file_id":"f1","a":{"file_id" : "f2"}}', ["f1", "f2"]),
        (b'{"file_id":"f1","file_id":"f2"}', ["f1", "f2"]),
        (b'{"\\u0066ile_\\u0069d":"f1"}', ["f1"]),
        (b'{"file\\u005fid":"\\u0066\\u0031"}', ["f1"]),
        (b'{"File_ID":"f1"}', ["f1"]),
        (b'{"file_ids":["f1","f2"]}', ["f1", "f2"]),
        (b'{"conversation":"c1"}', ["c1"]),
        (b'{"conversation":{"metadata":{},"id":"c1"}}', ["c1"]),
        (b'{"conversation":{"id":"c1","id":"c2"}}', ["c1", "c2"]),
        (b'{"fileUri":"https://host/v1beta/files/f1?x=1"}', ["f1"]),
        (b'{"fileUri":"https://www.youtube.com/watch?v=1"}', []),
        (b'{"file_id":null,"conversation":null}', []),
        (b'{"text":"\\"file_id\\": \\"f1\\""}', []),
        (b'{"text":"file_id","file_id_":"f1"}', []),
        (b'{"text":"\\\\\\\\u0066ile_id"}', []),
        (b'not json "file_id": "f1"', ["f1"]),
        (b'{"file_id":', []),
        (b'{"file_ids":["f1"', ["f1"]),
    ],
)
def test_every_spelling_of_a_reference_is_found(body: bytes, expected: list[str]) -> None:
    assert ids(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"tools": [{"parameters": {"properties": {"file_id": {"type": "string", "id": "x"}}}}]}, []),
        ({"content": [{"type": "tool_use", "input": {"file_id": "theirs"}}]}, []),
        ({"metadata": {"file_id": "noted"}}, []),
        ({"content": [{"type": "tool_use", "input": {}}, {"type": "document", "file_id": "f1"}]}, ["f1"]),
        ({"input": {"file_id": "f1"}}, ["f1"]),
    ],
)
def test_arguments_and_schemas_of_tools_are_no_references(body: dict[str, Any], expected: list[str]) -> None:
    assert [reference.id for reference in NAMES.certain(json.dumps(body).encode())] == expected


def test_where_a_member_stands_twice_all_that_might_count_does() -> None:
    """A parser may take the first or the last; nobody may name a foreign object behind an own one."""
    body = b'{"content":[{"file_id":"theirs","file_id":"mine"},{"type":"tool_use","input":{"file_id":"x"}}]}'
    assert [reference.id for reference in NAMES.certain(body)] == ["theirs", "mine", "x"]


def test_more_references_than_anybody_needs_are_refused() -> None:
    with pytest.raises(BadRequest):
        ids(json.dumps({"file_ids": [f"f{number}" for number in range(REFERENCES_MAX + 1)]}).encode())
    with pytest.raises(BadRequest):
        ids(json.dumps([{"file_id": 1}] * 6_000).encode())
    with pytest.raises(BadRequest):
        ids(b'{"file_ids":[' + b"1," * 40_000 + b'"f1"]}')


def test_values_within_values_are_not_read_for_each_other() -> None:
    """31 KB of lists within lists, each of a listed member, stood still for 7 s: all of it together is read once."""
    with pytest.raises(BadRequest, match="too long"):
        ids(b'{"file_id":[' * 2_500 + b"]}" * 2_500)


def test_an_escaped_text_is_left_as_it_is() -> None:
    """Letters beyond ASCII need their escapes; undoing those of others would cost a body of 30 MB five seconds."""
    body = b'{"text":"' + b"\\u00e9\\\\u0066" * 1_000 + b'"}'
    assert unescaped(body) is body


def test_references_among_long_texts_are_found() -> None:
    """Long texts are left out of the look, but for one that is itself a reference: nobody's id is so long."""
    text = "long " * 100_000
    body = {
        "messages": [{"content": [{"text": text}, {"type": "file", "file_id": "f1"}, {"x": text}]}],
        "file_ids": ["f2"],
    }
    assert ids(json.dumps(body).encode()) == ["f1", "f2"]
    assert [each.id for each in NAMES.certain(json.dumps(body).encode())] == ["f1", "f2"]
    for name in ("fileUri", "file_id"):
        with pytest.raises(BadRequest, match="too long"):
            ids(json.dumps({"text": text, name: "https://x/files/f1?" + "y" * 10_000}).encode())


VALUES = st.recursive(
    st.none() | st.text(max_size=5) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["file_id", "file_ids", "id", "type", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_certain_has_been_found(value: Any) -> None:
    """The quick look never misses what the exact one sees."""
    body = json.dumps(value).encode()
    assert {each.id for each in NAMES.certain(body)} <= {each.id for each in NAMES.find(body)}


@given(st.binary(max_size=60))
def test_no_bytes_are_too_strange(body: bytes) -> None:
    NAMES.find(body)
    NAMES.certain(b'{"file_id":' + body)
    made_in_body(MAKES, body)


MAKES = (
    Makes(kind="response", at="id", streamed=("response.id",), facts={"model": "model"}, label="purpose", keep_s=9),
    Makes(kind="item", at="output[].id", streamed=("item.id",)),
    Makes(kind="history", header="history-item-id"),
)


def test_an_answer_says_what_it_made() -> None:
    body = {"id": "r1", "model": "m", "purpose": "batch", "output": [{"id": "i1"}, {"x": 1}, {"id": "i2"}, {"id": 3}]}
    first, *rest = made_in_body(MAKES, json.dumps(body).encode())
    assert (first.kind, first.id, first.label, first.facts, first.keep_s) == (
        "response",
        "r1",
        "batch",
        {"model": "m"},
        9,
    )
    assert [(each.kind, each.id) for each in rest] == [("item", "i1"), ("item", "i2")]
    assert [each.id for each in made_in_head(MAKES, {"history-item-id": "h1"})] == ["h1"]
    assert made_in_head(MAKES, {}) == []


def test_a_request_says_whether_anything_is_kept() -> None:
    kept = Makes(kind="response", at="id", unless=r'"store"\s*:\s*false', when="audio")
    assert kept.by(b'{"audio": 1, "store": true}')
    assert not kept.by(b'{"audio": 1, "store" : false}')
    assert not kept.by(b"{}")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_gives_no_byte_of_an_id_away_before_it_is_named(size: int) -> None:
    """In whatever pieces the events come, the id is named with or before the first of its bytes that go on."""
    stream = (
        b': hello\n\nevent: response.created\ndata: {"response":{"id":"resp_secret"}}\n\n'
        b'data: {"item":{"id":"item_secret"}}\r\n\r\ndata: {"delta":"x"}\n\ndata: {"response":{"id":"resp_secret"}}'
    )
    finder, passed, named = StreamMakes(MAKES), b"", []
    for at in range(0, len(stream), size):
        visible, made = finder.feed(stream[at : at + size])
        named += [each.id for each in made]
        passed += visible
        for secret in (b"resp_secret", b"item_secret"):
            assert secret.decode() in named or secret[:6] not in passed
    passed += finder.flush()[0]
    assert passed == stream
    assert named == ["resp_secret", "item_secret"]
