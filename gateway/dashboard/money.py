"""Amounts in words for people: exactly in dollars, and before that in the operator's own currency, if he has one.

The ledger is in dollars; a rate is for the eyes only. Exact decimal arithmetic, rounded once, at the end: to the
currency's own decimals where the dollars are whole cents, to four more where they are not. The dollars stay beside.
"""

from __future__ import annotations

from decimal import Context, Decimal

import msgspec

from gateway.config import Settings
from gateway.currencies import DECIMALS, SIGNS
from ledger.money import MICROS_PER_USD

_CENT = MICROS_PER_USD // 100
_FINER = 4
_EXACT = Context(prec=60)  # micros have at most 19 digits, a rate at most 21
_NONE = "no cap"
_MINUS = "\u2212"


def count(number: int | None) -> str:
    """A whole number."""
    return "\u2013" if number is None else f"{number:,}"


def usd(micros: int | None) -> str:
    """An amount of dollars, exactly: to the micro where it is not whole cents."""
    if micros is None:
        return _NONE
    sign, micros = (_MINUS, -micros) if micros < 0 else ("", micros)
    if micros % _CENT == 0:
        return f"{sign}${micros // MICROS_PER_USD:,}.{micros % MICROS_PER_USD // _CENT:02}"
    return f"{sign}${micros // MICROS_PER_USD:,}.{micros % MICROS_PER_USD:06}"


class Money(msgspec.Struct, frozen=True):
    """How amounts are told. `rate` is how many units of the currency one dollar is."""

    currency: str = "USD"
    rate: Decimal = Decimal(1)

    def said(self, micros: int | None) -> str:
        """An amount in full: `£47.90 ($60.10)`, or `$60.10`."""
        beside = self.beside(micros)
        return f"{self.own(micros)} ({beside})" if beside else self.own(micros)

    def own(self, micros: int | None) -> str:
        """The amount in the operator's currency."""
        if micros is None or self.currency == "USD":
            return usd(micros)
        decimals = DECIMALS[self.currency] + (0 if micros % _CENT == 0 else _FINER)
        amount = _EXACT.multiply(Decimal(abs(micros)).scaleb(-6, _EXACT), self.rate)
        rounded = amount.quantize(Decimal(1).scaleb(-decimals), context=_EXACT)
        sign = SIGNS.get(self.currency, f"{self.currency}\u00a0")
        return f"{_MINUS if micros < 0 and rounded else ''}{sign}{rounded:,f}"

    def beside(self, micros: int | None) -> str:
        """The amount in dollars, where `own` is in another currency; else ""."""
        return "" if micros is None or self.currency == "USD" else usd(micros)

    def amount(self, number: int | None, unit: str) -> str:
        """So much of a limit's unit."""
        return self.said(number) if unit == "micros" else f"{count(number)} {unit}"


def money_of(settings: Settings) -> Money:
    """How the operator wants amounts told."""
    return Money(settings.face.currency, settings.face.usd_rate)
