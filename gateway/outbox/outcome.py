"""What came of an attempt to deliver, and when the next one is due. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from random import Random

import msgspec

_S, _MIN, _H = 1_000, 60_000, 3_600_000
AGAIN_MS = (5 * _S, 5 * _MIN, 30 * _MIN, 2 * _H, 5 * _H, 10 * _H, 14 * _H, 20 * _H, 24 * _H)
"""How long after each failed attempt the next one is due: ten attempts in all, over about three days."""

TRIES_MAX = len(AGAIN_MS) + 1
JITTER = 0.1  # of the wait, so that what failed together does not come back together
WAIT_ASKED_MAX_S = 24 * 3_600  # a receiver may ask for patience, not for ever


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt.

    Attributes:
        delivered: The receiver has it.
        status: The answer's status code, of HTTP or SMTP; None without one.
        error: What went wrong, as a word: `timeout`, `refused`, `not_public`, … Nothing that a receiver wrote.
        wait_s: How long the receiver asked us to wait.
        final: Trying again is of no use.
        gone: The receiver wants nothing more at all.
    """

    delivered: bool = False
    status: int | None = None
    error: str | None = None
    wait_s: float | None = None
    final: bool = False
    gone: bool = False


def due_after_ms(tries: int, outcome: Outcome, random: Random) -> int | None:
    """How long until the next attempt, after so many failed ones; None if there is to be none."""
    if outcome.final or outcome.gone or tries >= TRIES_MAX:
        return None
    wait_ms = AGAIN_MS[tries - 1]
    wait_ms += int(wait_ms * JITTER * random.random())
    if outcome.wait_s is not None:
        wait_ms = max(wait_ms, int(min(outcome.wait_s, WAIT_ASKED_MAX_S) * 1000))
    return wait_ms


def wait_asked_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """The seconds that a `Retry-After` of case-insensitive headers asks for, as a number or a date; None for none."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - now_s, 0.0)
    except (ValueError, OverflowError):
        return None
