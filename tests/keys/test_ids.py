"""Ids sort by the moment in which they were made."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keys.ids import BODY, new_body, new_id

moments = st.integers(0, 2**48 - 1)


@given(moments, moments)
def test_ids_sort_by_time(one: int, two: int) -> None:
    """The id of a later millisecond sorts after that of an earlier one, as text."""
    if one != two:
        assert (new_body(one) < new_body(two)) == (one < two)


def test_ids_are_words_of_one_length_and_do_not_repeat() -> None:
    """Ids of one millisecond differ, have one length and only lower-case letters and digits."""
    made = {new_body(1_767_225_600_000) for _ in range(20_000)}
    assert len(made) == 20_000
    assert {len(body) for body in made} == {BODY}
    assert all(body.isalnum() and body == body.lower() for body in made)
    assert new_id("key", 0).startswith("key_0")
