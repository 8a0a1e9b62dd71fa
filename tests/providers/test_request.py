"""A request body as members: found exactly where they stand, whatever stands around them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from providers.request import members, read_object, with_count
from providers.shapes import BadRequest

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


@given(PAIRS, st.sampled_from(["", " ", "\n"]), st.booleans())
def test_doubles_are_refused_and_nothing_else(pairs: list[tuple[str, object]], gap: str, ascii_only: bool) -> None:
    """An object is refused if and only if one of our members stands in it twice."""
    own = frozenset({"a", "b", "ab"})
    names = [name for name, _ in pairs if name in own]
    try:
        head = read_object(spelt(pairs, gap, ascii_only), own)
    except BadRequest as error:
        assert error.param is not None
        assert names.count(error.param) > 1
    else:
        assert len(names) == len(set(names))
        assert {name: json.loads(bytes(raw)) for name, raw in head.items()} == dict(pairs)


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
