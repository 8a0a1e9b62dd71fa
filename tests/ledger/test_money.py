"""Money is integers, and no call is rounded up or free for ever."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.money import MICROS_MAX, ceil_micros, charge, micros_to_usd, usd_to_micros


@given(st.lists(st.integers(0, 10**13)))
def test_charges_and_carry_are_the_exact_sum(costs: list[int]) -> None:
    """However a cost is cut into calls, what is charged and what is carried add up to it."""
    carry = total = 0
    for cost in costs:
        charged, carry = charge(carry, cost)
        assert 0 <= carry < 10**6
        assert charged <= ceil_micros(cost)
        total += charged
    assert total * 10**6 + carry == sum(costs)


def test_ten_thousand_small_calls_cost_what_they_cost() -> None:
    """10,000 calls of 0.24 micros are 2,400 micros, not 0 and not 10,000."""
    carry = total = 0
    for _ in range(10_000):
        charged, carry = charge(carry, 240_000)
        total += charged
    assert (total, carry) == (2_400, 0)


@given(st.integers(0, 10**21))
def test_a_hold_covers_its_picos_and_no_whole_micro_more(picos: int) -> None:
    """Holds round up to the next micro."""
    assert Fraction(picos, 10**6) <= ceil_micros(picos) < Fraction(picos, 10**6) + 1


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        (0, 0),
        ("0", 0),
        ("-0", 0),
        ("-0.0", 0),
        (5, 5_000_000),
        ("0.25", 250_000),
        ("0.000001", 1),
        ("1e3", 1_000_000_000),
        ("1E-6", 1),
        ("5.0000000000", 5_000_000),
        (".5", 500_000),
        ("5.", 5_000_000),
        ("+5", 5_000_000),
        (Decimal("0.1"), 100_000),
        ("9000000", MICROS_MAX),
        (9 * 10**6, MICROS_MAX),
    ],
)
def test_dollars_are_read_exactly(value: int | str | Decimal, micros: int) -> None:
    """Numbers and decimal strings of up to six decimals are read as they stand."""
    assert usd_to_micros(value) == micros


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        " 5",
        "5 ",
        "\t5",
        "5\n",
        "1_000",
        "1,5",
        "$5",
        "0x10",
        "\u0665",
        "NaN",
        "sNaN",
        "-NaN",
        "Infinity",
        "-Infinity",
        "inf",
        "-1",
        "-0.000001",
        -1,
        "0.0000001",
        "1.2345678",
        "1e-7",
        "1e-1000010",
        "1e-99999999999",
        "1000000000.000001",
        "1e10",
        "1e999999999",
        "9" * 41,
        "9" * 5000,
        "0." + "0" * 50 + "1",
        10**10,
        10**300,
        Decimal("NaN"),
        Decimal("Infinity"),
    ],
)
def test_what_is_no_amount_is_refused(value: int | str | Decimal) -> None:
    """What is negative, endless, too fine, too large or no number raises ValueError and nothing else."""
    with pytest.raises(ValueError, match="must"):
        usd_to_micros(value)


@given(st.text(max_size=12))
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    """Whatever text comes, there is either an amount within bounds or a ValueError."""
    try:
        micros = usd_to_micros(text)
    except ValueError:
        return
    assert 0 <= micros <= MICROS_MAX


@given(st.integers(-MICROS_MAX, MICROS_MAX))
def test_dollars_are_written_exactly(micros: int) -> None:
    """What is written as dollars is read back as the same micros, without needless zeros."""
    text = micros_to_usd(micros)
    assert text.startswith("-") == (micros < 0)
    assert usd_to_micros(text.removeprefix("-")) == abs(micros)
    assert "." not in text or not text.endswith(("0", "."))
