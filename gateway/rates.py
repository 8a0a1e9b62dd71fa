"""How often somebody may do something, where no limit of money says so. One process's memory."""

from __future__ import annotations

from collections.abc import Callable

KEYS_MAX = 50_000  # remembered; whoever is forgotten begins anew


class Rate:
    """So many a minute for each key, all of a minute's at once if it likes; 0 is without end."""

    def __init__(self, per_minute: int, clock_ms: Callable[[], int]) -> None:
        self._per_minute = per_minute
        self._clock_ms = clock_ms
        self._spent_us: dict[int, int] = {}  # by key: when all that it has done will be forgotten, in µs

    def take(self, key_id: int) -> int:
        """Do it once more: 0, or after how many seconds it may be done, in whole ones."""
        if not self._per_minute:
            return 0
        now_us, each_us = self._clock_ms() * 1000, 60_000_000 // self._per_minute
        spent_us = max(self._spent_us.get(key_id, 0), now_us) + each_us
        over_us = spent_us - now_us - 60_000_000
        if over_us > 0:
            return -(-over_us // 1_000_000)
        if len(self._spent_us) >= KEYS_MAX and key_id not in self._spent_us:
            self._spent_us = {known: each for known, each in self._spent_us.items() if each > now_us}
            if len(self._spent_us) >= KEYS_MAX:
                self._spent_us.clear()
        self._spent_us[key_id] = spent_us
        return 0

    def give_back(self, key_id: int) -> None:
        """It need not have been counted: it was no more than anybody may."""
        if self._per_minute and key_id in self._spent_us:
            self._spent_us[key_id] -= 60_000_000 // self._per_minute
