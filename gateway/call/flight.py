"""A call in flight: owned by the process, not by the request's task, so that it always lands.

Promises: whatever happens to the client, the provider or the task, a flight hands exactly one settlement to the
ledger, without awaiting. One watchdog for all flights enforces every deadline; nothing on a call's path sets timers.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Literal

from gateway.bounds import WATCH_INTERVAL_S

NEVER = math.inf
Stage = Literal["held", "dispatched", "answering", "landed"]


class Flight:
    """One admitted call. `deadline` is on the loop's clock; `cut` ends the call from outside.

    Attributes:
        to_the_end: The answer is read to its end whether its client is there or not: only that tells what it came to.
        nudge: Called at `nudge_at`, on the loop's clock, if the call has not put that off meanwhile.
    """

    __slots__ = (
        "call_id", "chain", "client_gone", "cut_reason", "deadline", "nudge", "nudge_at", "stage", "task", "to_the_end",
    )  # fmt: skip

    def __init__(
        self,
        call_id: str,
        chain: tuple[int, ...],
        task: asyncio.Task[object],
        deadline: float,
        *,
        to_the_end: bool = False,
    ) -> None:
        self.call_id = call_id
        self.chain = chain
        self.task = task
        self.deadline = deadline
        self.stage: Stage = "held"
        self.cut_reason = ""
        self.client_gone = False
        self.to_the_end = to_the_end
        self.nudge: Callable[[], None] | None = None
        self.nudge_at = NEVER

    def cut(self, reason: str) -> None:
        """End the call now, for this reason; the first reason stands.

        A landed call is only cut for time: its bill is written, its last bytes wait for a client that does not read.
        """
        if not self.cut_reason and (self.stage != "landed" or reason == "timeout"):
            self.cut_reason = reason
            self.task.cancel()


class Flights:
    """All flights of the process, and the watchdog over them."""

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._flights: set[Flight] = set()
        self._watchdog: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.now: Callable[[], float] = self._loop.time

    def __len__(self) -> int:
        return len(self._flights)

    def add(self, flight: Flight) -> None:
        """A call has been admitted."""
        self._flights.add(flight)
        if self._watchdog is None:
            self._watchdog = self._loop.create_task(self._watch())

    def remove(self, flight: Flight) -> None:
        """The call has been settled and its task is done with it."""
        self._flights.discard(flight)

    def client_gone(self, flight: Flight) -> None:
        """The client has closed its connection: the answer is read on for a while, for its true usage."""
        flight.client_gone = True
        if not flight.to_the_end:
            flight.deadline = min(flight.deadline, self.now() + self._drain_s)

    def cut_account(self, account_id: int, reason: str) -> int:
        """Cut every call of an account's subtree; how many there were."""
        cut = [flight for flight in self._flights if account_id in flight.chain]
        for flight in cut:
            flight.cut(reason)
        return len(cut)

    def cut_all(self, reason: str) -> None:
        """Cut every call."""
        for flight in list(self._flights):
            flight.cut(reason)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            now = self.now()
            for flight in [flight for flight in self._flights if flight.deadline <= now or flight.nudge_at <= now]:
                if flight.deadline <= now:
                    flight.cut("client_gone" if flight.client_gone and not flight.to_the_end else "timeout")
                elif flight.nudge is not None:
                    flight.nudge_at = NEVER
                    flight.nudge()

    async def close(self, drain_s: float) -> None:
        """Wait for the calls in flight, then cut what is left and wait until it has landed."""
        tasks = [flight.task for flight in self._flights]
        if tasks:
            await asyncio.wait(tasks, timeout=drain_s)
        self.cut_all("shutdown")
        tasks = [flight.task for flight in self._flights]
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        if self._watchdog is not None:
            self._watchdog.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watchdog
