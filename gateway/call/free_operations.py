"""What costs nothing is bounded all the same, for a key that others have: how often, and how much it keeps."""

from __future__ import annotations

from collections.abc import Callable

from gateway.bounds import BROKE_PER_MINUTE, FREE_OBJECTS_MAX
from gateway.call.holding import Holds
from gateway.call.options import Options
from gateway.call.records import Request
from gateway.config import Settings
from gateway.problems import RETRY_AFTER_S_MAX, CallError
from gateway.rates import KEYS_MAX, Rate
from keys.keyring import Key
from ledger.ledger import Ledger
from ledger.records import Facts, Held, Refused


class FreeOperations:
    """One for the process."""

    def __init__(self, ledger: Ledger, holds: Holds, settings: Settings, clock_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._holds = holds
        self._storage_bytes_max = settings.free_storage_mb * 1_000_000
        self._rate = Rate(settings.free_per_minute, clock_ms)
        self._rate_of_the_broke = Rate(BROKE_PER_MINUTE if settings.free_per_minute else 0, clock_ms)
        self._broke: set[int] = set()  # keys that had nothing left when they were last seen

    async def refusal(
        self, call_id: str, key: Key, request: Request, facts: Facts, options: Options
    ) -> CallError | None:
        """Why a free operation may not be done now: 429 too often; 402 it would keep something and has nothing left;
        403 it keeps too much.
        """
        rate = self._rate_of_the_broke if key.account_id in self._broke else self._rate
        if wait_s := rate.take(key.account_id):
            message = "This key asks too often for what costs nothing."
            return CallError(429, "rate_limited", message, retry=True, retry_after_s=min(wait_s, RETRY_AFTER_S_MAX))
        operation, upload = request.route.operation, request.upload
        if not operation.makes or operation.batch is not None:
            return None
        outcome = await self._holds.could_take(call_id, key, facts, options)
        if isinstance(outcome, Refused):
            return self._holds.refusal(outcome, key, call_id) if outcome.reason != "stale" else None
        count, kept_bytes = await self._ledger.objects.kept(
            key.account_id, tuple({each.kind for each in operation.makes})
        )
        coming_bytes = 0 if upload is None else upload.length or upload.received_bytes
        if count < FREE_OBJECTS_MAX and kept_bytes + coming_bytes <= self._storage_bytes_max:
            return None
        message = f"This key keeps {count} objects of {kept_bytes} bytes at providers: delete some first."
        return CallError(403, "storage_full", message)

    def see_left(self, key: Key, held: Held) -> None:
        """Remember whether a key has any money left, for its next call that costs none."""
        if held.left.get("micros", 1) > 0:
            self._broke.discard(key.account_id)
            return
        if len(self._broke) >= KEYS_MAX:
            self._broke.clear()
        self._broke.add(key.account_id)
