"""The runs of this process while they run: found by their ids, canceled, and counted against their bounds.

Promises: a run that another gateway was told to cancel ends here too, within half a second; a call that its run has
left is kept until it has landed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from gateway.bounds import RUN_LAND_S, RUN_LOOK_S, RUNS_MAX, RUNS_OF_KEY_MAX
from gateway.pipelines.runner import Run
from gateway.problems import CallError
from ledger.ledger import Ledger
from ledger.records import LedgerUnavailable

_STOP_S = 5.0  # for runs to end when the process stops; their calls have been cut before


class LiveRuns:
    """One for the process. While it is `draining` no run begins, and those that run may finish."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self.draining = False

    def check_room(self, account_id: int) -> None:
        """Refuse a run where there are too many, or the process is stopping. Raises CallError."""
        if self.draining:
            raise CallError(503, "overloaded", "The gateway is stopping.", retry=True, retry_after_s=1)
        if len(self._runs) >= RUNS_MAX:
            raise CallError(
                503, "overloaded", "Too many pipelines are running; try again.", retry=True, retry_after_s=1
            )
        if sum(run.key.account_id == account_id for run in self._runs.values()) >= RUNS_OF_KEY_MAX:
            message = f"This key has {RUNS_OF_KEY_MAX} pipelines running."
            raise CallError(429, "rate_limited", message, retry=True, retry_after_s=1)

    def start(self, run: Run) -> None:
        """Have it run."""
        self._runs[run.id] = run
        task = self.spawn(run.drive())
        task.add_done_callback(lambda _: self._runs.pop(run.id, None))
        if self._ledger.shared and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look())

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that lives until it is done."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel(self, run_id: str) -> Run | None:
        """End a run that runs here, and wait for that; None if it does not."""
        run = self._runs.get(run_id)
        if run is not None:
            run.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * RUN_LAND_S):
                    await run.over.wait()
        return run

    async def close(self) -> None:
        """End what is still running."""
        for run in list(self._runs.values()):
            run.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_STOP_S)
        for task in (*self._tasks, *([self._looking] if self._looking is not None else [])):
            task.cancel()

    async def _look(self) -> None:
        """See which runs were closed elsewhere, for as long as there are any."""
        while self._runs:
            await asyncio.sleep(RUN_LOOK_S)
            with contextlib.suppress(LedgerUnavailable):
                for run_id in await self._ledger.runs.closed(tuple(self._runs)):
                    if (run := self._runs.get(run_id)) is not None:
                        run.cancel()
