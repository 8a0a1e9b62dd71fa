"""What a key may do: a child never more than its parent."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.policy import Policy, allows, exceeds, matches, read_policy

SCOPES = ("master", "team", "standard", "read", "ingest")
names = st.text("ab*", max_size=4)
patterns = st.lists(names.filter(bool), max_size=4)


def test_only_masters_and_teams_mint_and_never_upwards() -> None:
    """The whole matrix of who may mint whom."""
    minted = {
        (scope, child)
        for scope, child in product(SCOPES, SCOPES)
        if Policy(scope=scope).may_mint(child)  # type: ignore[arg-type]
    }
    assert minted == {("master", child) for child in SCOPES} | {("team", child) for child in SCOPES[1:]}


@pytest.mark.parametrize(
    ("scope", "infers", "reads", "manages"),
    [
        ("master", False, True, True),
        ("team", True, True, True),
        ("standard", True, False, False),
        ("read", False, True, False),
        ("ingest", False, False, False),
    ],
)
def test_scopes(scope: str, infers: bool, reads: bool, manages: bool) -> None:
    """A master key does not call providers, a standard key does nothing else."""
    policy = read_policy({"scope": scope})
    assert (policy.may_infer, policy.may_read, policy.may_manage) == (infers, reads, manages)


@given(names, names.map(lambda name: name.replace("*", "")))
def test_a_trailing_star_is_a_prefix(pattern: str, name: str) -> None:
    """A pattern means its own name, or all that begins so if it ends in a star; a star elsewhere is a star."""
    expected = name == pattern or (pattern.endswith("*") and name[: len(pattern) - 1] == pattern[:-1])
    assert matches(pattern, name) == expected


@given(patterns, st.lists(st.none() | patterns, max_size=3), st.text("ab", max_size=5))
def test_what_does_not_exceed_allows_nothing_more(
    child: list[str], ancestors: list[list[str] | None], name: str
) -> None:
    """If a child's list is let through, whatever it allows its ancestors allow too."""
    if exceeds(child, ancestors) is None and allows(child, name):
        assert all(allows(ancestor, name) for ancestor in ancestors)


@given(patterns)
def test_a_child_may_have_what_its_parent_has(allowed: list[str]) -> None:
    """The parent's own list, or no list of its own, never exceeds."""
    assert exceeds(allowed, [allowed, None]) is None
    assert exceeds(None, [allowed]) is None
    assert exceeds([*allowed, "zzz"], [["z*", *allowed]]) is None


def test_an_empty_list_allows_nothing() -> None:
    """No list is no limit; an empty list lets nothing through."""
    assert allows(None, "gpt")
    assert not allows([], "gpt")
    assert exceeds(["gpt"], [[]]) == "gpt"


def test_a_profile_that_is_no_policy_is_refused() -> None:
    """A profile with a scope that does not exist is not taken for some policy."""
    with pytest.raises(msgspec.ValidationError):
        read_policy({"scope": "emperor"})
