"""The directives: what is read, what is refused, and by which name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.simulator import Faults


def test_directives_are_separated_by_commas_and_semicolons() -> None:
    assert Faults.parse("status=529, delay_ms=200; usage=missing") == Faults(status=529, delay_ms=200, usage="missing")


@pytest.mark.parametrize("header", ["", " ", ";,;", "\t"])
def test_an_empty_header_means_no_faults(header: str) -> None:
    assert Faults.parse(header) == Faults()


def test_a_flag_stands_alone_or_has_a_truth_value() -> None:
    assert Faults.parse("malformed").malformed
    assert Faults.parse("malformed=true").malformed
    assert not Faults.parse("malformed=false").malformed


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("nonsense=1", "'nonsense'"),
        ("status=200", "'status'"),
        ("status=abc", "'status'"),
        ("status", "'status'"),
        ("delay_ms=-1", "'delay_ms'"),
        ("delay_ms=99999999999999999999", "'delay_ms'"),
        ("delay_ms=٣", "'delay_ms'"),
        ("usage=wrong", "'usage'"),
        ("malformed=maybe", "'malformed'"),
        ("chunk_bytes=0", "'chunk_bytes'"),
        ("status=500, status=501", "'status'"),
        ("=5", "''"),
        ("x" * 5_000, "unknown directive"),
    ],
)
def test_a_bad_directive_is_refused_by_name(header: str, named: str) -> None:
    with pytest.raises(ValueError, match="directive") as refused:
        Faults.parse(header)
    assert named in str(refused.value)
    assert len(str(refused.value)) < 200


@given(st.text(max_size=60))
def test_any_header_is_read_or_refused_with_a_value_error(header: str) -> None:
    try:
        Faults.parse(header)
    except ValueError as error:
        assert "directive" in str(error)
