"""Who asked to be left alone, and until when. In this process only."""

from __future__ import annotations

from collections.abc import Callable

REST_S = 5.0
"""For one that did not say for how long."""

ACCOUNT_REST_S = 60.0
"""For one at which our own account is refused: it is not soon paid."""

SILENCE_REST_S = 10.0
"""For one that took all its time with a caller's request: from that caller, who may have asked for much."""

REST_S_MAX = 300.0
RESTS_MAX = 10_000


class Rests:
    """One for the process. `now` is a clock in seconds that only rises."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until: dict[str, float] = {}

    def rest(self, name: str, seconds: float | None) -> None:
        """Leave this one alone for so long, unless it is already for longer."""
        until = self._now() + min(REST_S if seconds is None else seconds, REST_S_MAX)
        self._until[name] = max(until, self._until.get(name, 0.0))
        if len(self._until) > RESTS_MAX:
            now = self._now()
            self._until = {each: end for each, end in self._until.items() if end > now} or {name: until}

    def left_s(self, name: str) -> float:
        """For how long it is still to be left alone; 0 if it may be asked."""
        until = self._until.get(name)
        if until is None:
            return 0.0
        left = until - self._now()
        if left <= 0:
            del self._until[name]
            return 0.0
        return left
