"""Calls: what is held for them before they are made, and how they ended.

Promises: a hold that is answered is durable; a settlement that is handed over is written exactly once, whenever the
database can. Who is refused for ever fills no disk (`ledger.refusals`).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import msgspec

from ledger import events
from ledger.access import Access, nothing
from ledger.engine import Script
from ledger.events import EventView, HoldView
from ledger.money import PICOS_PER_MICRO
from ledger.records import (
    Adjust,
    Ask,
    Block,
    Extend,
    Held,
    LedgerUnavailable,
    Prolong,
    Recover,
    Refused,
    Report,
    Settled,
    Settlement,
    Unsettled,
)
from ledger.refusals import Refusals

REFUSALS_READ_S = 1.0  # between two times that refusals which were only counted are written because somebody reads


class Calls:
    """Holds, settlements and refusals."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._refusals = Refusals(access.writer.keep, access.clock_ms)
        self._refusals_read = 0.0

    async def hold(self, ask: Ask, *, fold: bool = False) -> Held | Refused:
        """Hold the worst case of a call, durably. If the caller is cancelled meanwhile, the hold is released.

        A refusal becomes an event in the same transaction; with `fold`, only if the account has not many: see `refuse`.

        Raises:
            LedgerUnavailable: No hold was made.
        """
        quiet = fold and self._refusals.many(ask.account_id) and not ask.dry_run
        future = self._access.writer.submit(ask if not quiet else msgspec.structs.replace(ask, quiet=True))
        try:
            outcome = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and not future.exception():
                # The answer was on its way when the caller was cancelled, so the writer could not know.
                self.settle(Settlement(id=ask.id, status="released", cost_picos=0, reason="abandoned"))
            raise
        if fold and isinstance(outcome, Refused) and outcome.reason not in _NO_EVENT and not ask.dry_run:
            if quiet:
                self.refuse(_refusal(ask, outcome.reason))
            else:
                self._refusals.written(ask.account_id)
        return outcome

    async def would_hold(self, ask: Ask) -> Held | Refused:
        """What a dry run says of a call; if it is refused, that is on record, as if it had been asked for."""
        outcome = await self.hold(msgspec.structs.replace(ask, dry_run=True))
        if isinstance(outcome, Refused) and outcome.reason not in _NO_EVENT:
            self.refuse(_refusal(ask, outcome.reason))
        return outcome

    async def extend(self, extension: Extend) -> bool:
        """Hold more for a call in flight; False if some limit has no room for it. Raises LedgerUnavailable."""
        return bool(await self._access.writer.submit(extension))

    async def prolong(self, prolonging: Prolong) -> bool:
        """Let a reservation live longer; False if it has ended. Raises LedgerUnavailable."""
        return bool(await self._access.writer.submit(prolonging))

    async def report(self, call: Report) -> Settled | None:
        """Count a call that was made elsewhere; None if there is no such account. Raises LedgerUnavailable."""
        return await self._access.writer.submit(call)

    async def adjust(self, adjustment: Adjust) -> Settled | None:
        """Charge an event more or less than it says; None if there is no such account. Raises LedgerUnavailable."""
        return await self._access.writer.submit(adjustment)

    def lose(self, call_id: str) -> None:
        """Nobody knows how a call ended: its hold becomes unsettled. Never awaits, never fails."""
        self._access.writer.keep(Recover(id=call_id))

    async def promise(self, owner_id: int, call_id: str) -> HoldView | EventView:
        """A hold, or the event that it became. Raises NotFound."""
        return await self._access.read(lambda: events.promise(owner_id, call_id))

    def settle(self, settlement: Settlement) -> None:
        """Hand over how a call ended. Never awaits, never fails; settling an id twice changes nothing."""
        self._access.writer.keep(settlement)

    async def settled(self, settlement: Settlement) -> Settled | None:
        """Settle and wait until it is durable; None if there was no such hold."""
        return await self._access.writer.submit(settlement)

    async def charged_micros(self, call_id: str) -> int | None:
        """What a call is charged whose settlement was handed over, once that is durable; None if it has no event.

        Raises:
            LedgerUnavailable: Nobody knows yet.
        """

        def script() -> Script[int | None]:
            rows = yield "SELECT cost_micros FROM events WHERE id = ?", (call_id,)
            return int(rows[0][0]) if rows else None

        await self._access.write(lambda touched: nothing(), alone=False)  # behind the settlement
        return await self._access.read(script)

    async def resolve(self, hold_id: str, policy: Unsettled, micros: int) -> Settled | None:
        """End an unsettled hold: charge `micros`, or release it. It becomes an adjustment event beside the first."""
        charged = policy == "charge"
        return await self.settled(
            Settlement(
                id=hold_id,
                status="settled" if charged else "released",
                cost_picos=micros * PICOS_PER_MICRO if charged else 0,
                requests=None if charged else 0,
                reason=f"resolved:{policy}",
            )
        )

    def block(self, block: Block) -> None:
        """Record a call that was refused before a hold was asked for. Never awaits."""
        self._access.writer.keep(block)

    def refuse(self, block: Block) -> None:
        """Count a call that was refused: an event of its own, or one of many. Never awaits. See `ledger.refusals`."""
        self._refusals.add(block)

    def flush(self) -> None:
        """Write the refusals that were only counted."""
        self._refusals.flush()

    async def write_refusals(self) -> None:
        """Let what was counted of refusals be read: once in a while only, for who reads may be who is refused."""
        now = asyncio.get_running_loop().time()
        if self._refusals.waiting and now >= self._refusals_read + REFUSALS_READ_S:
            self._refusals_read = now
            self._refusals.flush()
            with contextlib.suppress(LedgerUnavailable):
                await self._access.write(lambda touched: nothing(), alone=False)  # behind them


_NO_EVENT = ("stale", "exists")
"""Refusals that say only that it is to be asked again."""


def _refusal(ask: Ask, reason: str) -> Block:
    return Block(
        id=ask.id if ask.expires_ms is None else secrets.token_hex(13),  # a reservation may be asked for again
        account_id=ask.account_id,
        facts=ask.facts,
        reason=reason,
        subject_id=max(ask.subject_id, 0),
        run_id=max(ask.run_id, 0),
    )
