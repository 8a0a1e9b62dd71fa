"""Tending: who is alive, what the dead left open, and what time is over for.

Promises: a hold whose process is gone becomes unsettled and stays counted; a settlement in its journal is carried out.
Where several processes share a database, each says by its lease that it lives, and nobody is taken for dead while the
database could not be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from pathlib import Path

from ledger import events, nodes, retention, settings
from ledger.access import Access
from ledger.calls import Calls
from ledger.engine import Script
from ledger.journal import Journal, Orphan, left_behind
from ledger.records import LedgerUnavailable, Recover, Settlement, Unsettled
from ledger.settling import EXPIRED
from ledger.windows import DAY_MS, day_start_ms

_log = logging.getLogger("farthing.ledger")

LEASE_S = 15.0  # how long after its last word a gateway counts as alive where several share a database
RENEWALS = 3  # how many times a lease is renewed before it would end
RENEW_AGAIN_S = 0.2  # until a lease that could not be renewed is tried again
REPLAYED_AT_ONCE = 1_000  # settlements of a dead process's journal: well within the writer's queue
DROP_PAUSE_S = 0.05  # between the transactions that drop old events: calls come first
REVOKED_OVERLAP_MS = 10_000  # a revocation bears the time at which it was asked for, and is seen when it is committed


class Tending:
    """Keeps one process alive in the others' eyes, and puts in order what was left behind."""

    def __init__(self, access: Access, calls: Calls, owner: str) -> None:
        self._access = access
        self._calls = calls
        self._owner = owner
        self._task: asyncio.Task[None] | None = None
        self._grace_ms = 0
        self._revoked: set[int] = set()
        self._looked_ms = access.clock_ms()

    async def start(self, *, lease_s: float, unsettled: Unsettled, state_dir: Path | None) -> None:
        """Take over what dead processes left: on a shared database for as long as this one lives, else once.

        Raises:
            ValueError: `state_dir` cannot be written to.
            LedgerUnavailable: The database did not take it.
        """
        shared = self._access.engine.shared
        if shared:
            await self._renew(lease_s)
        await self._keep_journal(state_dir)
        if shared:
            self._grace_ms = int(lease_s * 1000) // RENEWALS
            self._task = asyncio.create_task(self._tend(lease_s, unsettled))
        else:
            await self.recover(unsettled)

    async def stop(self) -> None:
        """Say goodbye, if there is anybody to say it to."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._access.writer.healthy:  # behind everything that waits; of one that cannot be written nothing is said
            farewell = self._access.write(lambda touched: nodes.leave(self._owner), alone=False)
            farewell.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _renew(self, lease_s: float) -> None:
        lease_ms = int(lease_s * 1000)
        await self._access.write(lambda touched: nodes.renew(self._owner, lease_ms), alone=False)

    async def _tend(self, lease_s: float, unsettled: Unsettled) -> None:
        """Stay alive in the others' eyes, and take over what the dead left open.

        While the database is away nobody can renew. So nobody is taken for dead before the database has answered
        without a break for as long as a lease and its grace last, by the connection of who looks: whoever lives has
        been able to renew for all that time.
        """
        loop = asyncio.get_running_loop()
        interval_s = lease_s / RENEWALS
        steady_since = renewed = loop.time()
        while True:
            await asyncio.sleep(interval_s if renewed >= steady_since else min(interval_s, RENEW_AGAIN_S))
            try:
                await self._renew(lease_s)
                late = loop.time() > renewed + 1.5 * interval_s
                renewed = loop.time()
                if late:  # the database was slow, or this process was stopped
                    steady_since = renewed
                if renewed >= max(steady_since, self._access.engine.steady_since) + lease_s + self._grace_ms / 1000:
                    await self.recover(unsettled)
            except Exception as error:  # noqa: BLE001 - who stops renewing for whatever reason loses its calls in flight
                steady_since = loop.time()
                if not isinstance(error, LedgerUnavailable):
                    _log.critical("lease not renewed", extra={"error": repr(error)})

    async def revoked(self) -> set[int]:
        """The accounts that were revoked since this was last answered, or since the start, by whichever process.

        However long the database was away meanwhile: a call that was let in before may still be running.
        """
        now_ms, since_ms = self._access.clock_ms(), self._looked_ms - REVOKED_OVERLAP_MS
        seen = set(await self._access.read(lambda: nodes.revoked_since(since_ms)))
        fresh = seen - self._revoked
        self._revoked, self._looked_ms = seen, now_ms
        return fresh

    async def recover(self, policy: Unsettled = "keep") -> int:
        """Mark the holds of processes that are gone as unsettled; how many there were."""
        count = 0

        def left_open() -> Script[list[tuple[str, int]]]:
            if self._access.engine.shared:
                return nodes.abandoned_holds(self._owner, self._grace_ms)
            return events.open_holds(self._owner)

        while found := await self._access.read(left_open, long=True):
            await asyncio.gather(*(self._access.writer.submit(Recover(id=hold_id)) for hold_id, _ in found))
            if policy != "keep":
                await asyncio.gather(*(self._calls.resolve(hold_id, policy, micros) for hold_id, micros in found))
            count += len(found)
        return count

    async def expire(self) -> int:
        """Release the reservations whose time is over; how many there were.

        A call that outlives the process which made it (a batch) is no reservation: it may have cost something, so its
        hold becomes unsettled. What was unsettled for so long only is released.
        """
        now_ms = self._access.clock_ms()
        found = await self._access.read(lambda: events.expired_holds(now_ms))
        await asyncio.gather(
            *(
                self._calls.resolve(hold_id, "release", left_micros)
                if left_micros is not None
                else self._calls.settled(
                    Settlement(id=hold_id, status="released", cost_picos=0, requests=0, reason=EXPIRED)
                )
                if reserved
                else self._access.writer.submit(Recover(id=hold_id))
                for hold_id, reserved, left_micros in found
            )
        )
        return len(found)

    async def drop_events(self, days: int) -> int:
        """Drop the events of calls made before the last `days` UTC days, a little at a time; how many went."""
        before_ms = day_start_ms(self._access.clock_ms()) - days * DAY_MS
        count = 0
        while dropped := await self._access.write(lambda touched: retention.drop(before_ms)):
            count += dropped
            await asyncio.sleep(DROP_PAUSE_S)
        return count

    async def _keep_journal(self, directory: Path | None) -> None:
        """Carry out what dead processes of this ledger left in their journals, and begin one of our own.

        Raises:
            ValueError: The directory cannot be written to.
            LedgerUnavailable: The database did not take it; the journals stay.
        """
        if directory is None:
            return
        ledger_id = await self._access.write(lambda touched: settings.setting("ledger_id", secrets.token_hex(16)))
        try:
            for orphan in await asyncio.to_thread(left_behind, directory, ledger_id):
                try:
                    await self._carry_out(orphan)
                finally:
                    orphan.close()
            self._access.writer.journal = await asyncio.to_thread(Journal, directory, self._owner, ledger_id)
        except OSError as error:
            raise ValueError(f"cannot keep a journal in {directory}: {error.strerror}") from error

    async def _carry_out(self, orphan: Orphan) -> None:
        rejected = 0
        for start in range(0, len(orphan.settlements), REPLAYED_AT_ONCE):
            part = orphan.settlements[start : start + REPLAYED_AT_ONCE]
            for result in await asyncio.gather(*map(self._access.writer.submit, part), return_exceptions=True):
                if isinstance(result, LedgerUnavailable):
                    raise result
                rejected += isinstance(result, BaseException)
        if rejected:
            orphan.set_aside()
        else:
            orphan.remove()
        facts = {"path": str(orphan.path), "count": len(orphan.settlements), "rejected": rejected}
        _log.warning("a dead process's journal was carried out", extra=facts)
