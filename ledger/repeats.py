"""Requests that may come again, of acts that change nothing when they are done again: what the first was answered.

Where doing it twice would be doing it twice, the answer is kept in the transaction of the act itself: `made_once`.
"""

from __future__ import annotations

from typing import TypeVar

from ledger.access import Access
from ledger.engine import Script
from ledger.replays import Origin, keep, recalled

T = TypeVar("T")


class Repeats:
    """What is remembered by Idempotency-Key."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def find(self, origin: Origin, kind: type[T]) -> T | None:
        """What the request was answered before; None if it was not asked. Raises ReplayMismatch, LedgerUnavailable."""
        if origin.key is None:
            return None
        now_ms = self._access.clock_ms()
        return await self._access.read(lambda: recalled(origin, now_ms, kind))

    async def keep(self, origin: Origin, answer: T) -> T:
        """Keep an answer; what another request with the same key was answered meanwhile, if one was.

        Raises:
            ReplayMismatch: The other one was another request.
            LedgerUnavailable: It was not kept.
        """
        if origin.key is None:
            return answer
        now_ms = self._access.clock_ms()

        def script() -> Script[T]:
            earlier = yield from recalled(origin, now_ms, type(answer))
            if earlier is not None:
                return earlier
            yield from keep(origin, answer, now_ms)
            return answer

        return await self._access.write(lambda touched: script())
