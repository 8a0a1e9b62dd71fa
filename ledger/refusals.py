"""Refusals, so that who is refused for ever fills no disk.

Promises: each account's first refusals are events of their own, and one more every `EVENT_MS`: the first few at once,
the others together every `LIST_S`. Those beyond are counted, by reason, and become one event with their number every
`FOLD_S`. None is forgotten while the process lives: what waits is written before somebody reads, once a second at most,
and when the ledger is closed. They bear no metadata: what is refused costs little. Knows no SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from ledger.records import Block

FIRST = 20  # refusals of an account that are events at once
BURST = 500  # refusals of an account that are events of their own
EVENT_MS = 10_000  # then one of them in so much time
LIST_S = 1.0  # how long those that are not written at once wait for each other: a page of the disk takes several
FOLD_S = 10.0  # how long the others are counted before they are written
WAITING_MAX = 10_000  # accounts and refusals that are remembered


class Refusals:
    """Decides which refusals are written, and counts the rest. One for the process."""

    def __init__(self, write: Callable[[Block], None], clock_ms: Callable[[], int]) -> None:
        self._write = write
        self._clock_ms = clock_ms
        self._loop = asyncio.get_running_loop()
        self._full_ms: dict[int, int] = {}  # by account: when it may be refused as often again
        self._listed: list[Block] = []
        self._folded: dict[tuple[int, str], Block] = {}
        self._fold_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> bool:
        """Whether some are not written."""
        return bool(self._folded or self._listed)

    def many(self, account_id: int) -> bool:
        """Whether the account's next refusal is not to be written at once."""
        return account_id in self._full_ms and self._made(account_id) >= FIRST

    def _made(self, account_id: int) -> int:
        """Events that an account's refusals have become lately."""
        return max(0, -(-(self._full_ms.get(account_id, 0) - self._clock_ms()) // EVENT_MS))

    def written(self, account_id: int) -> None:
        """A refusal of the account becomes an event."""
        now_ms = self._clock_ms()
        if account_id not in self._full_ms and len(self._full_ms) >= WAITING_MAX:
            self._full_ms = {id_: full_ms for id_, full_ms in self._full_ms.items() if full_ms > now_ms}
            if len(self._full_ms) >= WAITING_MAX:
                self._full_ms.clear()
        self._full_ms[account_id] = max(self._full_ms.get(account_id, 0), now_ms) + EVENT_MS

    def add(self, block: Block) -> None:
        """A call was refused: an event of its own, or one more of those that are counted."""
        if block.facts.metadata:
            block = msgspec.structs.replace(block, facts=msgspec.structs.replace(block.facts, metadata={}))
        made = self._made(block.account_id)
        if made < FIRST:
            self.written(block.account_id)
            self._write(block)
            return
        if len(self._listed) + len(self._folded) >= WAITING_MAX:
            self.flush()
        if made < BURST:
            self.written(block.account_id)
            self._listed.append(block)
        else:
            if not self._folded:
                self._fold_at = self._loop.time() + FOLD_S
            known = self._folded.get((block.account_id, block.reason))
            count = block.count + (known.count if known is not None else 0)
            self._folded[block.account_id, block.reason] = msgspec.structs.replace(known or block, count=count)
        if self._timer is None:
            self._timer = self._loop.call_later(LIST_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._loop.time() >= self._fold_at:
            self.flush()
            return
        self._write_listed()
        self._timer = self._loop.call_later(LIST_S, self._tick)

    def _write_listed(self) -> None:
        listed, self._listed = self._listed, []
        for block in listed:
            self._write(block)

    def flush(self) -> None:
        """Write all of them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._write_listed()
        folded, self._folded = self._folded, {}
        for block in folded.values():
            self._write(block)
