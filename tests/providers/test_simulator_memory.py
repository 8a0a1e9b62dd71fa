"""Ids that carry their object: understood by every simulator, and no other id is."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from providers.simulator.stored import memory


class Thing(msgspec.Struct, frozen=True):
    nonce: str
    name: str
    count: int
    inner: list[int]


THINGS = st.builds(
    Thing, st.text(max_size=10), st.text(max_size=40), st.integers(0, 2**40), st.lists(st.integers(0, 9), max_size=5)
)


@given(THINGS)
def test_what_an_id_carries_comes_back(thing: Thing) -> None:
    """As it was, from the id alone; and no id is longer than a path's placeholder takes."""
    id_ = memory.keep("file-", thing)
    assert memory.recall("file-", id_, Thing) == thing
    assert memory.recall("batch_", id_, Thing) is None
    assert len(id_) <= 256


@given(THINGS, st.integers(0, 400), st.characters(codec="ascii"))
def test_an_id_that_was_never_given_out_is_unknown(thing: Thing, place: int, letter: str) -> None:
    id_ = memory.keep("file-", thing)
    at = place % len(id_)
    changed = id_[:at] + letter + id_[at + 1 :]
    if changed != id_ and memory.recall("file-", changed, Thing) is not None:
        assert memory.recall("file-", changed, Thing) == thing  # the last letter's spare bits


@given(st.text(max_size=60))
def test_no_id_is_too_strange(id_: str) -> None:
    assert memory.recall("file-", "file-" + id_, Thing) is None


def test_equal_objects_of_two_requests_have_two_ids() -> None:
    one, other = memory.nonce("req_1"), memory.nonce("req_2")
    assert one != other
    assert one == memory.nonce("req_1")
