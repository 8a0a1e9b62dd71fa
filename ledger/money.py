"""Micros, picos and the carry between them.

A micro is 1/1,000,000 USD; a pico is 1/1,000,000 micro. Prices and exact costs are picos, charges and caps are
micros. Promises: integers only, no float is ever read or made; charging with a carry neither rounds up a call nor
lets any call go free for ever.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, InvalidOperation

MICROS_PER_USD = 1_000_000
PICOS_PER_MICRO = 1_000_000
MICROS_MAX = 9 * 10**12  # of a cap, nine million dollars: above it a number is a mistake, and its picos leave 64 bits
CHARGE_MICROS_MAX = 10**12  # of one call, a million dollars: a sum leaves 64 bits after nine million of them
COUNT_MAX = 10**12  # of any unit or measure of one call
SUM_MAX = 2**62  # a sum that is kept stops here: half of 64 bits, so that one more addition always has room
_DIGITS_MAX = 40
_PLAIN = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_EXACT = Context(prec=_DIGITS_MAX + 20)


def usd_to_micros(value: int | str | Decimal) -> int:
    """Read an amount of dollars exactly.

    Raises:
        ValueError: It is not a decimal number, is negative, has more than 6 decimals or is above `MICROS_MAX`.
    """
    if isinstance(value, str) and (not value.isascii() or value != value.strip() or "_" in value):
        raise ValueError("must be a decimal number of dollars, such as 5 or '0.25'")
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise ValueError("must be a decimal number of dollars, such as 5 or '0.25'") from None
    if not amount.is_finite() or len(amount.as_tuple().digits) > _DIGITS_MAX:
        raise ValueError("must be a finite number of sensible length")
    if amount < 0:
        raise ValueError("must not be negative")
    if amount > MICROS_MAX // MICROS_PER_USD:
        raise ValueError(f"must be at most {MICROS_MAX // MICROS_PER_USD} dollars")
    micros = _EXACT.multiply(amount, Decimal(MICROS_PER_USD))
    if micros != int(micros) or (amount and not micros):  # the latter: so small that the product underflowed
        raise ValueError("must have at most 6 decimals")
    return int(micros)


def is_plain_decimal(text: str) -> bool:
    """Whether a text is digits with at most one point: no sign, exponent, blank or underscore, nor others' digits."""
    return _PLAIN.fullmatch(text) is not None


def micros_to_usd(micros: int) -> str:
    """Write micros as dollars, exactly: 2500000 → "2.5"."""
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    whole, part = divmod(micros, MICROS_PER_USD)
    return f"{sign}{whole}.{part:06d}".rstrip("0").rstrip(".")


def ceil_micros(picos: int) -> int:
    """Micros that surely cover `picos`: what a hold takes."""
    return -(-picos // PICOS_PER_MICRO)


def add(total: int, amount: int) -> int:
    """A kept sum with another amount: it stops at `SUM_MAX`, and the audit then says by how much it is short."""
    return max(total, min(total + amount, SUM_MAX)) if amount >= 0 else total + amount


def charge(carry_picos: int, cost_picos: int) -> tuple[int, int]:
    """Micros to charge now, and the carry to keep. `charge ≤ ceil_micros(cost_picos)` always."""
    return divmod(carry_picos + cost_picos, PICOS_PER_MICRO)
