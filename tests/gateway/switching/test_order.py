"""In which order targets are asked: by shares, with every caller staying where he is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.switching.order import ordered
from gateway.switching.spec import Target

CALLERS = [f"key_{number}" for number in range(4_000)]


def targets(*weights: int | None) -> list[Target]:
    return [Target(provider="openai", model=f"m{number}", weight=weight) for number, weight in enumerate(weights)]


def test_without_weights_they_stand_as_they_are() -> None:
    found = targets(None, None, None)
    assert all(ordered(found, caller) == found for caller in CALLERS[:50])


def test_weights_are_shares() -> None:
    found = targets(1, 2, 5)
    firsts = [ordered(found, caller)[0].model for caller in CALLERS]
    for target, share in zip(found, (1 / 8, 2 / 8, 5 / 8), strict=True):
        assert abs(firsts.count(target.model) / len(CALLERS) - share) < 0.03


@given(st.lists(st.integers(1, 1_000_000), min_size=2, max_size=8), st.text(max_size=20), st.integers(0, 7))
def test_one_absence_moves_nobody_elses_callers(weights: list[int], caller: str, absent: int) -> None:
    found = targets(*weights)
    gone = found[absent % len(found)]
    before = ordered(found, caller)
    assert sorted(before, key=lambda each: each.model) == sorted(found, key=lambda each: each.model)
    assert ordered([each for each in found if each is not gone], caller) == [
        each for each in before if each is not gone
    ]
