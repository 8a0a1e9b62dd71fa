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


@given(moments)
def test_an_id_tells_its_moment(moment: int) -> None:
    """The first ten characters are the millisecond, whatever was made in between; sixteen are by chance."""
    one, other = new_body(moment), (new_body(moment + 1), new_body(moment))[1]
    assert one[:10] == other[:10]
    assert one[10:] != other[10:]
    assert sum("0123456789abcdefghjkmnpqrstvwxyz".index(each) << 5 * at for at, each in enumerate(one[9::-1])) == moment


def test_every_character_comes_by_chance_as_often_as_another() -> None:
    """Of 320,000 characters each of the 32 is one in 32, within a tenth."""
    drawn = "".join(new_body(0)[10:] for _ in range(20_000))
    assert {each: round(drawn.count(each) / 1_000) for each in set(drawn)} == dict.fromkeys(
        "0123456789abcdefghjkmnpqrstvwxyz", 10
    )


def test_ids_are_words_of_one_length_and_do_not_repeat() -> None:
    """Ids of one millisecond differ, have one length and only lower-case letters and digits."""
    made = {new_body(1_767_225_600_000) for _ in range(20_000)}
    assert len(made) == 20_000
    assert {len(body) for body in made} == {BODY}
    assert all(body.isalnum() and body == body.lower() for body in made)
    assert new_id("key", 0).startswith("key_0")
