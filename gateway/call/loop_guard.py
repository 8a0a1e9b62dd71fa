"""Notices a client that makes the same call again and again, without keeping what it said.

A call is known by a salted hash that means nothing outside this process. Counts are this process's own: of several
processes each allows as many.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import blake2b

REMEMBERED_MAX = 50_000  # distinct calls: about 10 MB; beyond it the oldest are forgotten, which only ever allows more


class LoopGuard:
    """How often each call was made in its present window."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._salt = secrets.token_bytes(32)
        self._counts: dict[bytes, tuple[int, int]] = {}

    def count(
        self, account_id: int, caller: str, body: bytes, identical_max: int, window_s: int, *, again: bool
    ) -> int | None:
        """Count a call of `caller` under the account. None if it may pass, else the seconds until its window ends.

        `again` says that this very call has been counted just now: it is only asked about anew.
        """
        digest = blake2b(f"{account_id}:{caller}\0".encode(), key=self._salt, digest_size=16)
        digest.update(body)
        fingerprint, now_ms = digest.digest(), self._clock_ms()
        started_ms, seen = self._counts.pop(fingerprint, (now_ms, 0))
        if started_ms + window_s * 1000 <= now_ms:
            started_ms, seen = now_ms, 0
        seen -= again and seen > 0
        self._counts[fingerprint] = (started_ms, min(seen + 1, identical_max + 1))
        if len(self._counts) > REMEMBERED_MAX:
            for oldest in list(self._counts)[: REMEMBERED_MAX // 4]:
                del self._counts[oldest]
        if seen < identical_max:
            return None
        return max(1, -(-(started_ms + window_s * 1000 - now_ms) // 1000))
