"""Group commit: everything that waits is committed in one transaction.

Promises: an operation's future is resolved only after its transaction is durable; a settlement, once handed over, is
kept and repeated by its id until the database takes it, and lies in the journal if that takes longer than a moment; a
hold that nobody waits for any more is released. At most one transaction is under way. Knows no SQL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar, overload

from ledger.engine import Change, Engine, Work
from ledger.journal import Journal
from ledger.records import (
    Adjust,
    Ask,
    Block,
    Extend,
    Held,
    LedgerLost,
    LedgerUnavailable,
    Prolong,
    Recover,
    Refused,
    Report,
    Settled,
    Settlement,
)

T = TypeVar("T")

_log = logging.getLogger("farthing.ledger")

BATCH_MAX = 512  # one transaction stays well under 50 ms, so a lone caller never waits long behind a burst
QUEUE_MAX = 20_000  # holds and changes that may wait; beyond it callers are told "unavailable" at once
RETRY_S = (0.05, 0.1, 0.2, 0.5, 1.0)  # between attempts to write what must not be lost
NOT_WRITTEN = "not_written"  # the reason with which a call becomes `unsettled` whose settlement the database rejects
LOOK_S = 0.25  # how often a transaction that does not end is noticed; what waits for it is then journalled


class Writer:
    """The queue in front of an engine's one writing connection."""

    def __init__(self, engine: Engine, clock_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._clock_ms = clock_ms
        self._loop = asyncio.get_running_loop()
        self._queue: list[tuple[Work, asyncio.Future[Any] | None]] = []
        self._batch: list[tuple[Work, asyncio.Future[Any] | None]] = []
        self._batches = self._looked_at = 0
        self._look: asyncio.TimerHandle | None = None
        self._saving: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._scheduled = False
        self._failures = 0
        self.commits = 0
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self.journal: Journal | None = None
        self.told: Callable[[], None] = _nobody

    @property
    def depth(self) -> int:
        """How much waits for the next transaction."""
        return len(self._queue)

    @property
    def healthy(self) -> bool:
        """Whether the last transaction was taken."""
        return self._failures == 0

    @overload
    def submit(self, work: Ask) -> asyncio.Future[Held | Refused]: ...
    @overload
    def submit(self, work: Settlement | Report | Adjust) -> asyncio.Future[Settled | None]: ...
    @overload
    def submit(self, work: Extend | Prolong) -> asyncio.Future[bool]: ...
    @overload
    def submit(self, work: Block | Recover) -> asyncio.Future[None]: ...
    @overload
    def submit(self, work: Change[T]) -> asyncio.Future[T]: ...
    def submit(self, work: Work) -> asyncio.Future[Any]:
        """Queue work; the future has its result, of the kind that `rules.apply` gives, once it is durable."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if len(self._queue) >= QUEUE_MAX or (self.journal is not None and self.journal.full):
            future.set_exception(LedgerUnavailable("too much waits for the database"))
            return future
        self._put(work, future)
        return future

    def keep(self, work: Settlement | Block | Recover) -> None:
        """Queue work that nobody waits for. Never awaits; never refuses what carries money."""
        if isinstance(work, Block) and len(self._queue) >= QUEUE_MAX:
            _log.error("blocked call not recorded", extra={"call_id": work.id})
            return
        self._put(work, None)

    def _put(self, work: Work, future: asyncio.Future[Any] | None) -> None:
        self._queue.append((work, future))
        if self._running is None and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._start)
        if self._look is None and self.journal is not None:
            self._look = self._loop.call_later(LOOK_S, self._watch, self.journal)

    def _start(self) -> None:
        self._scheduled = False
        if self._running is None:
            self._running = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
                self._batch = batch
                self._batches += 1
                try:
                    results = await self._engine.commit([work for work, _ in batch], self._clock_ms())
                except LedgerUnavailable as error:
                    await self._failed(batch, error)
                    continue
                self._failures = 0
                self.commits += 1
                untaken, unsure, changed = [], False, self._engine.told
                self._engine.told = False
                for (work, future), result in zip(batch, results, strict=True):
                    changed = changed or (isinstance(work, Change) and work.alone)
                    if isinstance(result, LedgerUnavailable):
                        untaken.append((work, future))
                        unsure = unsure or result.unsure
                    else:
                        self._resolve(work, future, result)
                if untaken:
                    await self._failed(untaken, LedgerUnavailable("part of a batch was not taken", unsure=unsure))
                self._batch = []
                if changed:
                    self.told()
        finally:
            self._running = None

    def _watch(self, journal: Journal) -> None:
        """Look whether transactions end, for as long as there is something to look at."""
        self._look = None
        stuck = self._failures > 0 or (bool(self._batch) and self._looked_at == self._batches)
        self._looked_at = self._batches
        if stuck or journal.ids:
            self._note(journal, stuck=stuck)
        if self._batch or self._queue or self._saving is not None:
            self._look = self._loop.call_later(LOOK_S, self._watch, journal)

    def _note(self, journal: Journal, *, stuck: bool) -> None:
        """Put the settlements that wait into the journal; or empty it, if none of those in it waits any more."""
        if self._saving is not None:
            return  # the next look will see to it
        waiting = [work for work, _ in (*self._batch, *self._queue) if isinstance(work, Settlement)]
        if stuck and waiting:
            self._saving = self._loop.create_task(self._on_disk(journal.save, waiting))
        elif journal.ids and journal.ids.isdisjoint(work.id for work in waiting):
            self._saving = self._loop.create_task(self._on_disk(journal.clear))

    async def _noted(self) -> None:
        """Everything that waits is in the journal, as far as the disk takes it."""
        for _ in range(2):  # what was being written when this was asked for may not have been all
            if self.journal is not None:
                self._note(self.journal, stuck=True)
            if self._saving is not None:
                await self._saving

    async def _on_disk(self, step: Callable[..., None], *arguments: Any) -> None:
        try:
            await asyncio.to_thread(step, *arguments)
        except (OSError, ValueError) as error:  # what waits is still in memory; the next look tries again
            _log.critical("journal not written", extra={"error": repr(error), "waiting": len(self._queue)})
        finally:
            self._saving = None

    def _resolve(self, work: Work, future: asyncio.Future[Any] | None, result: Any) -> None:
        if future is not None and not future.done():
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        elif isinstance(result, Held):
            # The caller was cancelled while its hold was being committed: nothing was forwarded.
            self.keep(_abandoned(result.id))
        if isinstance(result, Exception) and isinstance(work, Settlement):
            # It is not to be written, however often it is tried: the call stays counted at what it holds.
            _log.critical("settlement rejected", extra={"call_id": work.id, "error": type(result).__name__})
            self.keep(Recover(id=work.id, reason=NOT_WRITTEN))

    async def _failed(self, batch: list[tuple[Work, asyncio.Future[Any] | None]], error: LedgerUnavailable) -> None:
        """Keep what must not be lost; refuse all else, also what is still in the queue: it would wait for too long."""
        kept: list[tuple[Work, asyncio.Future[Any] | None]] = []
        if error.unsure:  # a hold may stand that its caller is told does not; it is released
            kept += [(_abandoned(work.id), None) for work, _ in batch if isinstance(work, Ask)]
        for work, future in (*batch, *self._queue):
            if isinstance(work, Settlement | Block | Recover):
                kept.append((work, future))
            elif future is not None and not future.done():
                future.set_exception(error)
        self._queue, self._batch = kept, []
        delay_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        _log.error("ledger unavailable", extra={"error": str(error), "waiting": len(self._queue)})
        if self.journal is not None:
            self._note(self.journal, stuck=True)
        if isinstance(error, LedgerLost):
            await self._noted()
            if not self.lost.done():
                self.lost.set_result(str(error))
        if kept:
            await asyncio.sleep(delay_s)

    async def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits, then close the engine. What cannot be written in time is left to the journal."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._running is not None or self._queue:
                    if self._running is None:
                        self._start()
                    running = self._running
                    if running is not None:
                        await asyncio.shield(running)
        except TimeoutError:
            _log.error("ledger closed with work waiting", extra={"waiting": len(self._queue)})
            if self._running is not None:
                self._running.cancel()
        if self._look is not None:
            self._look.cancel()
        await self._engine.close()
        if self.journal is not None:
            await self._noted()
            self.journal.close()


def _nobody() -> None:
    """Nobody wants to know of messages."""


def _abandoned(call_id: str) -> Settlement:
    """The end of a hold for which nobody waits: nothing was forwarded."""
    return Settlement(id=call_id, status="released", cost_picos=0, reason="abandoned")
