"""A request body as members: found exactly where they stand, whatever stands around them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.ground.errors import BadRequest
from providers.reading import doubles
from providers.reading.doubles import skeleton
from providers.reading.request import members, read_object, with_count

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\{}[]:,\u4e2d', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\', max_size=3), inner, max_size=3),
    max_leaves=12,
)
PAIRS = st.lists(st.tuples(st.text('ab"\\{}:,', max_size=3), JSON), max_size=5)


def spelt(pairs: list[tuple[str, object]], gap: str, ascii_only: bool) -> bytes:
    """An object's JSON text, with doubles and white space."""
    inner = f"{gap},{gap}".join(
        json.dumps(name, ensure_ascii=ascii_only) + gap + ":" + gap + json.dumps(value, ensure_ascii=ascii_only)
        for name, value in pairs
    )
    return f"{gap}{{{gap}{inner}{gap}}}{gap}".encode()


@given(PAIRS, st.sampled_from(["", " ", "\n\t "]), st.booleans())
def test_members_are_found_where_they_stand(pairs: list[tuple[str, object]], gap: str, ascii_only: bool) -> None:
    """Every member is found in order, doubles too, with exactly its own bytes."""
    body = spelt(pairs, gap, ascii_only)
    found = members(body)
    assert [(m.name, json.loads(body[m.value : m.value_end])) for m in found] == pairs
    assert all(json.loads(body[m.key : m.key_end]) == m.name for m in found)


class Pairs(list[tuple[str, object]]):
    """An object's members, doubles included."""


DOUBLES = st.recursive(
    st.none() | st.integers() | st.text('ab"\\{}[]:,', max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(st.text('ab"\\:', max_size=2), inner), max_size=3).map(Pairs)
    ),
    max_leaves=10,
)


def text(value: object, gap: str) -> str:
    if isinstance(value, Pairs):
        inner = f"{gap},{gap}".join(f"{json.dumps(name)}{gap}:{gap}{text(each, gap)}" for name, each in value)
        return f"{{{gap}{inner}{gap}}}"
    if isinstance(value, list):
        return f"[{gap}" + f"{gap},{gap}".join(text(each, gap) for each in value) + f"{gap}]"
    return json.dumps(value)


def has_doubles(value: object) -> bool:
    if isinstance(value, Pairs):
        names = [name for name, _ in value]
        return len(names) != len(set(names)) or any(has_doubles(each) for _, each in value)
    return isinstance(value, list) and any(map(has_doubles, value))


@pytest.mark.parametrize("piece", [256 << 10, 8], ids=["whole", "in pieces"])
@given(DOUBLES, st.sampled_from(["", " ", "\n"]))
def test_what_stands_twice_at_any_depth_is_refused_and_nothing_else(piece: int, value: object, gap: str) -> None:
    """However the text is spaced, escaped and cut: refused if and only if an object says one thing twice."""
    body = text(Pairs([("x", value)]), gap).encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(doubles, "_PIECE_BYTES", piece)
        if has_doubles(value):
            with pytest.raises(BadRequest, match="twice"):
                read_object(body, frozenset())
        else:
            assert read_object(body, frozenset()).keys() == {"x"}


@pytest.mark.parametrize("piece", [256 << 10, 8], ids=["whole", "in pieces"])
@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"tools":[{"Type":"web_search"}]}', "type"),
        (b'{"a": [{"b": {"IMAGE_URL": 1}}]}', "image_url"),
        ('{"a":[{"te\u017ft":1,"me\u017fsages":1}]}'.encode(), "messages"),
        (b'{"a":{"t\\u0059pe":1}}', "type"),
        (b'{"a":[{"type":"tool_use","Input":{}}]}', "input"),
        (b'{"tools":[{"function":{"parameters":{"properties":{"Type":{"Content":1}}}}}]}', None),
        (b'{"a":[{"type":"tool_use","input":{"File":1,"Text":{"Data":2}}}]}', None),
        (b'{"metadata":{"Type":"x","URL":"y"}}', None),
        (b'{"documents":[{"data":{"Title":"x"}}]}', None),
        (b'{"a":"\\"Type\\":","b":"Type"}', None),
        (b'{"a":{"cacheControl":1,"X-Type":2,"Types":3}}', None),
    ],
)
def test_a_name_of_consequence_is_refused_in_another_case(
    monkeypatch: pytest.MonkeyPatch, piece: int, body: bytes, param: str | None
) -> None:
    """At any depth, for some parsers ignore case; but not in what is free form: schemas, arguments, metadata."""
    monkeypatch.setattr(doubles, "_PIECE_BYTES", piece)
    if param is None:
        read_object(body, frozenset())
        return
    with pytest.raises(BadRequest) as caught:
        read_object(body, frozenset())
    assert caught.value.param == param


@given(PAIRS, st.integers(0, 99), st.integers(0, 99), st.sampled_from(["", " "]))
def test_a_limit_is_lowered_and_nothing_else(
    pairs: list[tuple[str, object]], declared: int, count: int, gap: str
) -> None:
    """With a limit declared it becomes the lower of the two; every other member stays as it was."""
    others = [(name, value) for name, value in pairs if name != "limit"]
    at = len(others) // 2
    body = spelt([*others[:at], ("limit", declared), *others[at:]], gap, False)
    after = with_count(body, ("limit",), count)
    assert json.loads(after) == {**dict(others), "limit": min(declared, count)}
    assert json.loads(with_count(spelt(others, gap, False), ("limit",), count)) == {**dict(others), "limit": count}


def test_long_texts_are_left_out_of_a_skeleton_and_nothing_else() -> None:
    """No two of what stands for them are equal; without any, it is the body itself."""
    short = b'{"a":"b\\"c","d":[1,{"e":"\\\\"}]}'
    assert skeleton(short) is short
    long = b'"' + b'x\\"' * 3_000 + b'"'
    bones = skeleton(b'{"a":%b,"b":"c","d":[%b,{"e":1}],"f":%b}' % (long, long, long))
    assert len(bones) < 100
    tree = json.loads(bones)
    assert (tree["b"], tree["d"][1]) == ("c", {"e": 1})
    assert len({tree["a"], tree["d"][0], tree["f"]}) == 3
    assert all(text.startswith("\0") for text in (tree["a"], tree["d"][0], tree["f"]))
