"""How upstreams are doing: down after failures in a row, well again with the first answer, tried now and then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.health import DOWN_AFTER, PROBE_EVERY_S, TOGETHER_S, Health


class Watched:
    """A health with a clock by hand, and what it told."""

    def __init__(self, *down: str) -> None:
        self.now = 1_000.0
        self.told: list[tuple[str, str]] = []
        self.health = Health(lambda: self.now, lambda name, why: self.told.append((name, why)), down)


def test_down_after_failures_in_a_row_and_well_with_the_first_answer() -> None:
    it = Watched()
    for _ in range(DOWN_AFTER - 1):
        it.health.failed("a", "unreachable")
    it.health.heard("a", 429)  # it lives
    for _ in range(DOWN_AFTER - 1):
        it.health.heard("a", 503)
    assert not it.told
    it.health.heard("a", 529)
    assert it.told == [("a", "overloaded")]
    assert it.health.is_down("a")
    assert not it.health.is_down("b")
    it.health.failed("a", "timeout")
    it.health.heard("a", 400)
    assert it.told == [("a", "overloaded"), ("a", "")]
    assert it.health.shown("a") == (False, 0, "")


def test_failures_that_are_far_apart_are_not_in_a_row() -> None:
    it = Watched()
    for _ in range(3 * DOWN_AFTER):
        it.health.failed("a", "unreachable")
        it.now += TOGETHER_S
    assert not it.told


def test_who_was_said_to_be_down_before_is_told_to_be_well() -> None:
    it = Watched("a")
    it.health.heard("a", 200)
    it.health.heard("a", 200)
    assert it.told == [("a", "")]


def test_one_that_is_down_is_tried_by_one_call_at_a_time() -> None:
    it = Watched()
    assert it.health.may_ask("a")
    for _ in range(DOWN_AFTER):
        it.health.failed("a", "timeout")
    assert not it.health.may_ask("a")
    it.now += PROBE_EVERY_S
    assert [it.health.may_ask("a") for _ in range(3)] == [True, False, False]
    it.health.failed("a", "timeout")
    it.now += PROBE_EVERY_S
    assert it.health.may_ask("a")
    it.health.heard("a", 200)
    assert [it.health.may_ask("a") for _ in range(3)] == [True, True, True]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0, 200, 401, 429, 500, 503, 529]))))
def test_what_is_told_alternates(met: list[tuple[str, int]]) -> None:
    it = Watched()
    for name, status in met:
        if status:
            it.health.heard(name, status)
        else:
            it.health.failed(name, "unreachable")
    for name in "ab":
        told = [bool(why) for each, why in it.told if each == name]
        assert told == [number % 2 == 0 for number in range(len(told))]
        assert it.health.is_down(name) == (len(told) % 2 == 1)
