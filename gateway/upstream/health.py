"""How upstreams are doing, by what real calls meet there. In this process only, and nobody is asked to find out.

One that failed `DOWN_AFTER` times in a row, with nothing else heard from it meanwhile, is down; whatever it answers
that is no failure of its own makes it well again. A down one is asked now and then all the same, by one call at a
time, where there is another to send calls to; a lone one is always asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

DOWN_AFTER = 5
"""Failures in a row."""

TOGETHER_S = 60.0
"""A failure that is older than this says nothing of now."""

PROBE_EVERY_S = 10.0
"""Until a down one is tried again."""

_FAILURES_FROM = 500
_OVERLOADED = 529  # what some say instead of 503


class Turned(Protocol):
    """Hears that an upstream went down, or is well again. Never awaits, never fails."""

    def __call__(self, name: str, why: str) -> None:
        """`why` is what was met last; "" where it is well again."""
        ...


class _Trouble(msgspec.Struct):
    failures: int = 0
    last: float = 0.0
    why: str = ""
    down: bool = False
    probe_at: float = 0.0


class Health:
    """One for the process. `now` is a clock in seconds that only rises; `down` names who is known to be down."""

    def __init__(self, now: Callable[[], float], turned: Turned, down: Sequence[str] = ()) -> None:
        self._now = now
        self._turned = turned
        self._troubles = {name: _Trouble(down=True) for name in down}

    def heard(self, name: str, status: int) -> None:
        """An upstream has answered, with this HTTP status."""
        if status >= _FAILURES_FROM:
            self.failed(name, "overloaded" if status == _OVERLOADED else f"status {status}")
        elif self._troubles and (trouble := self._troubles.pop(name, None)) is not None and trouble.down:
            self._turned(name, "")

    def failed(self, name: str, why: str) -> None:
        """An upstream has failed: "unreachable", "timeout", "broken", or the status that it answered."""
        now = self._now()
        trouble = self._troubles.setdefault(name, _Trouble())
        trouble.failures = trouble.failures + 1 if now - trouble.last < TOGETHER_S else 1
        trouble.last, trouble.why = now, why
        if trouble.down:
            trouble.probe_at = now + PROBE_EVERY_S
        elif trouble.failures >= DOWN_AFTER:
            trouble.down, trouble.probe_at = True, now + PROBE_EVERY_S
            self._turned(name, why)

    def is_down(self, name: str) -> bool:
        """Whether it is down."""
        return bool(self._troubles) and (trouble := self._troubles.get(name)) is not None and trouble.down

    def may_ask(self, name: str) -> bool:
        """Whether a call that could go elsewhere should go there: it is well, or it is time to try."""
        if not self.is_down(name):
            return True
        trouble, now = self._troubles[name], self._now()
        if now < trouble.probe_at:
            return False
        trouble.probe_at = now + PROBE_EVERY_S
        return True

    def shown(self, name: str) -> tuple[bool, int, str]:
        """Whether it is down, how often in a row it failed just now, and what was met last."""
        trouble = self._troubles.get(name)
        if trouble is None or (not trouble.down and self._now() - trouble.last >= TOGETHER_S):
            return False, 0, ""
        return trouble.down, trouble.failures, trouble.why
