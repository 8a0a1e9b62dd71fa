"""The public face of the ledger: what the other rooms may ask of it.

Promises: a hold that is answered is durable; a settlement that is handed over is written exactly once, whenever the
database can; reads see every change that was answered before. Holds no balance of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from ledger import accounts, changes, nodes, objects, retention
from ledger.accounts import AccountView, Credential, Node
from ledger.audit import Audit, audit
from ledger.changes import Answer, Credit, Edit, NewAccount, Once
from ledger.engine import Change, Engine, Script
from ledger.events import (
    EventQuery,
    EventView,
    HoldView,
    expired_holds,
    hold_sums,
    list_events,
    list_holds,
    open_holds,
    promise,
)
from ledger.journal import Journal, Orphan, left_behind
from ledger.money import PICOS_PER_MICRO
from ledger.objects import Object, Page
from ledger.records import (
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
)
from ledger.refusals import Refusals
from ledger.rules import EXPIRED
from ledger.sqlite.engine import SqliteEngine
from ledger.usage import Query, UsageReport, report
from ledger.windows import DAY_MS, day_start_ms
from ledger.writer import Writer

if TYPE_CHECKING:
    from ledger.postgres.engine import PostgresEngine

_log = logging.getLogger("farthing.ledger")
T = TypeVar("T")

LEASE_S = 15.0  # how long after its last word a gateway counts as alive where several share a database
RENEWALS = 3  # how many times a lease is renewed before it would end
REPLAYED_AT_ONCE = 1_000  # settlements of a dead process's journal: well within the writer's queue
DROP_PAUSE_S = 0.05  # between the transactions that drop old events: calls come first
REFUSALS_READ_S = 1.0  # between two times that refusals which were only counted are written because somebody reads
RENEW_AGAIN_S = 0.2  # until a lease that could not be renewed is tried again
REVOKED_OVERLAP_MS = 10_000  # a revocation bears the time at which it was asked for, and is seen when it is committed

Unsettled = Literal["keep", "charge", "release"]
"""What becomes of a hold whose end nobody saw: it stays counted, is charged in full, or goes back."""


class Ledger:
    """One ledger. Open it with `open`; `owner` names this process on its holds."""

    def __init__(self, engine: Engine, writer: Writer, clock_ms: Callable[[], int], owner: str) -> None:
        self._engine = engine
        self._writer = writer
        self._clock_ms = clock_ms
        self._tending: asyncio.Task[None] | None = None
        self._revoked: set[int] = set()
        self._looked_ms = clock_ms()
        self._grace_ms = 0
        self._refusals = Refusals(writer.keep, clock_ms)
        self._refusals_read = 0.0
        self.owner = owner

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock_ms: Callable[[], int],
        owner: str,
        serving: bool = True,
        unsettled: Unsettled = "keep",
        lease_s: float = LEASE_S,
        database_clock: bool = True,
        state_dir: Path | None = None,
    ) -> Ledger:
        """Open a database: `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://user@host/name`.

        With `serving`, holds that a dead process left open become unsettled: on SQLite before this returns, on
        PostgreSQL for as long as the ledger is open, at most two leases of `lease_s` after the death. `unsettled` says
        what then becomes of them. Times are the database's own where it is shared, unless tests say otherwise. In
        `state_dir` (None: nowhere) lies the journal of settlements that the database does not take; those that dead
        processes of this machine left there are carried out first.

        Raises:
            ValueError: The URL names no database that this version knows, or `state_dir` cannot be written to.
            AlreadyOpen, SchemaTooNew, LedgerUnavailable: See the engine.
        """
        parts = urlsplit(url)
        if parts.scheme in ("postgresql", "postgres"):
            postgres = await _open_postgres(url, owner, None if database_clock else clock_ms)
            ledger = cls(postgres, Writer(postgres, postgres.clock_ms), postgres.clock_ms, owner)
            if serving:
                try:
                    await ledger._renew(lease_s)
                    await ledger._keep_journal(state_dir)
                except BaseException:
                    await ledger.close()
                    raise
                ledger._grace_ms = int(lease_s * 1000) // RENEWALS
                ledger._tending = asyncio.create_task(ledger._tend(lease_s, unsettled))
            return ledger
        if parts.scheme != "sqlite" or parts.netloc or len(parts.path) < 2:
            raise ValueError(
                f"not a database URL that Farthing knows: {parts.scheme}:… (sqlite:///farthing.db or postgresql://…)"
            )
        engine = await SqliteEngine.open(Path(parts.path[1:]), serving=serving)
        ledger = cls(engine, Writer(engine, clock_ms), clock_ms, owner)
        if serving:
            try:
                await ledger._keep_journal(state_dir)
                await ledger.recover(unsettled)
            except BaseException:
                await ledger.close()
                raise
        return ledger

    async def _keep_journal(self, directory: Path | None) -> None:
        """Carry out what dead processes of this ledger left in their journals, and begin one of our own.

        Raises:
            ValueError: The directory cannot be written to.
            LedgerUnavailable: The database did not take it; the journals stay.
        """
        if directory is None:
            return
        ledger_id = await self.setting("ledger_id", secrets.token_hex(16))
        try:
            for orphan in await asyncio.to_thread(left_behind, directory, ledger_id):
                try:
                    await self._carry_out(orphan)
                finally:
                    orphan.close()
            self._writer.journal = await asyncio.to_thread(Journal, directory, self.owner, ledger_id)
        except OSError as error:
            raise ValueError(f"cannot keep a journal in {directory}: {error.strerror}") from error

    async def _carry_out(self, orphan: Orphan) -> None:
        rejected = 0
        for start in range(0, len(orphan.settlements), REPLAYED_AT_ONCE):
            part = orphan.settlements[start : start + REPLAYED_AT_ONCE]
            for result in await asyncio.gather(*map(self._writer.submit, part), return_exceptions=True):
                if isinstance(result, LedgerUnavailable):
                    raise result
                rejected += isinstance(result, BaseException)
        if rejected:
            orphan.set_aside()
        else:
            orphan.remove()
        facts = {"path": str(orphan.path), "count": len(orphan.settlements), "rejected": rejected}
        _log.warning("a dead process's journal was carried out", extra=facts)

    @property
    def clock_ms(self) -> Callable[[], int]:
        """The clock by which windows and lives are measured: the database's where it is shared."""
        return self._clock_ms

    @property
    def shared(self) -> bool:
        """Whether other processes serve from the same database."""
        return self._engine.shared

    async def _renew(self, lease_s: float) -> None:
        lease_ms = int(lease_s * 1000)
        await self._writer.submit(Change(lambda touched: nodes.renew(self.owner, lease_ms), alone=False))

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
                if renewed >= max(steady_since, self._engine.steady_since) + lease_s + self._grace_ms / 1000:
                    await self.recover(unsettled)
            except Exception as error:  # noqa: BLE001 - who stops renewing for whatever reason loses its calls in flight
                steady_since = loop.time()
                if not isinstance(error, LedgerUnavailable):
                    _log.critical("lease not renewed", extra={"error": repr(error)})

    async def revoked(self) -> set[int]:
        """The accounts that were revoked since this was last answered, or since the start, by whichever process.

        However long the database was away meanwhile: a call that was let in before may still be running.
        """
        now_ms, since_ms = self._clock_ms(), self._looked_ms - REVOKED_OVERLAP_MS
        seen = set(await self._engine.read(lambda: nodes.revoked_since(since_ms)))
        fresh = seen - self._revoked
        self._revoked, self._looked_ms = seen, now_ms
        return fresh

    async def recover(self, policy: Unsettled = "keep") -> int:
        """Mark the holds of processes that are gone as unsettled; how many there were."""
        count = 0

        def left_open() -> Script[list[tuple[str, int]]]:
            if self._engine.shared:
                return nodes.abandoned_holds(self.owner, self._grace_ms)
            return open_holds(self.owner)

        while found := await self._engine.read(left_open, long=True):
            await asyncio.gather(*(self._writer.submit(Recover(id=hold_id)) for hold_id, _ in found))
            if policy != "keep":
                await asyncio.gather(*(self.resolve(hold_id, policy, micros) for hold_id, micros in found))
            count += len(found)
        return count

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

    async def _write_refusals(self) -> None:
        """Let what was counted of refusals be read: once in a while only, for who reads may be who is refused."""
        now = asyncio.get_running_loop().time()
        if self._refusals.waiting and now >= self._refusals_read + REFUSALS_READ_S:
            self._refusals_read = now
            self._refusals.flush()
            with contextlib.suppress(LedgerUnavailable):
                await self._writer.submit(Change(lambda touched: _nothing(), alone=False))  # behind them

    async def close(self) -> None:
        """Write what waits and let go of the database."""
        self._refusals.flush()
        if self._tending is not None:
            self._tending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._tending
            if self._writer.healthy:  # behind everything that waits; of one that cannot be written nothing is said
                farewell = self._writer.submit(Change(lambda touched: nodes.leave(self.owner), alone=False))
                farewell.add_done_callback(lambda done: done.cancelled() or done.exception())
        await self._writer.close()

    @property
    def waiting(self) -> int:
        """Operations that wait for the next transaction."""
        return self._writer.depth

    @property
    def commits(self) -> int:
        """Transactions so far."""
        return self._writer.commits

    @property
    def healthy(self) -> bool:
        """Whether the last transaction was taken."""
        return self._writer.healthy

    async def lost(self) -> str:
        """Wait until what is written is not kept any more, if that ever happens, and why: then the process must end."""
        return await asyncio.shield(self._writer.lost)

    # ---- calls

    async def hold(self, ask: Ask, *, fold: bool = False) -> Held | Refused:
        """Hold the worst case of a call, durably. If the caller is cancelled meanwhile, the hold is released.

        A refusal becomes an event in the same transaction; with `fold`, only if the account has not many: see `refuse`.

        Raises:
            LedgerUnavailable: No hold was made.
        """
        quiet = fold and self._refusals.many(ask.account_id) and not ask.dry_run
        future = self._writer.submit(ask if not quiet else msgspec.structs.replace(ask, quiet=True))
        try:
            outcome = cast("Held | Refused", await future)
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
        return bool(await self._writer.submit(extension))

    async def prolong(self, prolonging: Prolong) -> bool:
        """Let a reservation live longer; False if it has ended. Raises LedgerUnavailable."""
        return bool(await self._writer.submit(prolonging))

    async def report(self, call: Report) -> Settled | None:
        """Count a call that was made elsewhere; None if there is no such account. Raises LedgerUnavailable."""
        return cast("Settled | None", await self._writer.submit(call))

    async def expire(self) -> int:
        """Release the reservations whose time is over; how many there were.

        A call that outlives the process which made it (a batch) is no reservation: it may have cost something, so its
        hold becomes unsettled. What was unsettled for so long only is released.
        """
        now_ms = self._clock_ms()
        found = await self._engine.read(lambda: expired_holds(now_ms))
        await asyncio.gather(
            *(
                self.resolve(hold_id, "release", left_micros)
                if left_micros is not None
                else self.settled(Settlement(id=hold_id, status="released", cost_picos=0, requests=0, reason=EXPIRED))
                if reserved
                else self._writer.submit(Recover(id=hold_id))
                for hold_id, reserved, left_micros in found
            )
        )
        return len(found)

    def lose(self, call_id: str) -> None:
        """Nobody knows how a call ended: its hold becomes unsettled. Never awaits, never fails."""
        self._writer.keep(Recover(id=call_id))

    async def promise(self, owner_id: int, call_id: str) -> HoldView | EventView:
        """A hold, or the event that it became. Raises NotFound."""
        return await self._engine.read(lambda: promise(owner_id, call_id))

    def settle(self, settlement: Settlement) -> None:
        """Hand over how a call ended. Never awaits, never fails; settling an id twice changes nothing."""
        self._writer.keep(settlement)

    async def settled(self, settlement: Settlement) -> Settled | None:
        """Settle and wait until it is durable; None if there was no such hold."""
        return cast("Settled | None", await self._writer.submit(settlement))

    def block(self, block: Block) -> None:
        """Record a call that was refused before a hold was asked for. Never awaits."""
        self._writer.keep(block)

    def refuse(self, block: Block) -> None:
        """Count a call that was refused: an event of its own, or one of many. Never awaits. See `ledger.refusals`."""
        self._refusals.add(block)

    # ---- accounts

    async def open_account(self, new: NewAccount, once: Once | None = None) -> Answer:
        """Open an account. Raises what `changes.open_account` and `changes.once` raise."""
        return await self._change(once, lambda touched: changes.open_account(new))

    async def open_first(self, new: NewAccount) -> AccountView | None:
        """Open the first account of all; None if there is one, whichever process opened it."""
        return cast("AccountView | None", await self._writer.submit(Change(lambda touched: changes.open_first(new))))

    async def open_subject(self, key_id: int, kind: str, subject: str, *, public_id: str, balance_id: str) -> int:
        """The id of a key's end user or run, opened at first sight."""
        now_ms = self._clock_ms()
        change = Change(lambda touched: changes.open_subject(key_id, kind, subject, public_id, balance_id, now_ms))
        return cast("int", await self._writer.submit(change))

    async def edit_account(
        self, owner_id: int, public_id: str, edit: Edit, *, kind: str = "key", once: Once | None = None
    ) -> Answer:
        """Change an account; in force on the next call. Raises NotFound."""
        now_ms = self._clock_ms()
        return await self._change(
            once,
            lambda touched: changes.edit(owner_id, public_id, edit, kind=kind, now_ms=now_ms, touched=touched),
        )

    async def credit(self, owner_id: int, public_id: str, new: Credit, *, once: Once | None = None) -> Answer:
        """Raise an account's spend cap, on the record. Raises NotFound or Uncapped."""
        now_ms = self._clock_ms()
        return await self._change(
            once, lambda touched: changes.credit(owner_id, public_id, new, now_ms=now_ms, touched=touched)
        )

    async def remove_plan(self, owner_id: int, public_id: str, *, once: Once | None = None) -> Answer:
        """Remove a plan. Raises NotFound or InUse."""
        now_ms = self._clock_ms()
        return await self._change(
            once, lambda touched: changes.remove_plan(owner_id, public_id, now_ms=now_ms, touched=touched)
        )

    async def subject_id(self, key_id: int, kind: str, subject: str) -> int:
        """The id of a key's end user or run; 0 if it has not been seen."""
        return await self._engine.read(lambda: accounts.find_subject(key_id, kind, subject))

    async def subject(self, key_id: int, kind: str, subject: str) -> AccountView:
        """A key's end user or run. Raises NotFound."""
        now_ms = self._clock_ms()
        return await self._engine.read(lambda: accounts.subject_view(key_id, kind, subject, now_ms))

    async def forget_subject(self, key_id: int, kind: str, subject: str) -> None:
        """Forget who an end user is; the sums stay. Raises NotFound."""
        now_ms = self._clock_ms()
        await self._writer.submit(
            Change(lambda touched: changes.forget_subject(key_id, kind, subject, now_ms=now_ms, touched=touched))
        )

    async def revoke_account(self, owner_id: int, public_id: str, *, once: Once | None = None) -> Answer:
        """Close an account and its subtree for ever. Raises NotFound."""
        now_ms = self._clock_ms()
        return await self._change(
            once, lambda touched: changes.revoke(owner_id, public_id, now_ms=now_ms, touched=touched)
        )

    async def rotate_credential(
        self, owner_id: int, public_id: str, new: Credential, *, old_until_ms: int, once: Once | None = None
    ) -> Answer:
        """Give an account a new secret. Raises NotFound or Closed."""
        now_ms = self._clock_ms()
        return await self._change(
            once,
            lambda touched: changes.rotate(
                owner_id, public_id, new, old_until_ms=old_until_ms, now_ms=now_ms, touched=touched
            ),
        )

    async def _change(self, once: Once | None, script: Callable[[set[int]], Script[AccountView]]) -> Answer:
        now_ms = self._clock_ms()
        change = Change(lambda touched: changes.once(once, now_ms, lambda: script(touched)))
        return cast("Answer", await self._writer.submit(change))

    async def account(self, owner_id: int, public_id: str, kind: str = "key") -> AccountView:
        """One account of the owner's subtree. Raises NotFound."""
        now_ms = self._clock_ms()
        return await self._engine.read(lambda: accounts.view(owner_id, public_id, now_ms, kind))

    async def accounts(
        self,
        owner_id: int,
        *,
        kind: str = "key",
        limit: int,
        starting_after: str | None = None,
        livemode: bool | None = None,
    ) -> tuple[list[AccountView], bool]:
        """A page of the keys or plans under the owner, newest first, and whether there are more. Raises NotFound."""
        now_ms = self._clock_ms()
        return await self._engine.read(
            lambda: accounts.list_accounts(
                owner_id, kind=kind, limit=limit, starting_after=starting_after, livemode=livemode, now_ms=now_ms
            ),
            long=True,
        )

    async def credential(self, locator: str) -> tuple[Credential, tuple[Node, ...]] | None:
        """The credential with this locator and the chain of its account."""
        return await self._engine.read(lambda: accounts.credential(locator))

    async def chain(self, account_id: int) -> tuple[Node, ...]:
        """An account and its ancestors."""
        return await self._engine.read(lambda: accounts.chain(account_id))

    async def root(self) -> int | None:
        """The id of the first account, if there is one."""
        return await self._engine.read(_first_root)

    # ---- objects

    async def own(self, account_id: int, made: Sequence[Object]) -> list[str]:
        """Write down, durably, that an account has made objects; the ids that are somebody else's already."""
        now_ms = self._clock_ms()
        change = Change(lambda touched: objects.own(account_id, made, now_ms))
        return cast("list[str]", await self._writer.submit(change))

    async def owned(self, account_id: int, ids: Sequence[str]) -> list[Object]:
        """Which of these ids are the account's own."""
        now_ms = self._clock_ms()
        return await self._engine.read(lambda: objects.owned(account_id, ids, now_ms))

    async def taken(self, account_id: int, ids: Sequence[str]) -> set[tuple[str, str, str]]:
        """Which of these ids belong to somebody else: `(provider, kind, id)`."""
        return await self._engine.read(lambda: objects.taken(account_id, ids))

    async def objects(self, account_id: int, provider: str, kind: str, wanted: Page) -> tuple[list[Object], bool]:
        """A page of an account's objects and whether there are more. Raises NotFound for a strange cursor."""
        now_ms = self._clock_ms()
        return await self._engine.read(lambda: objects.page(account_id, provider, kind, wanted, now_ms), long=True)

    async def count_objects(self, account_id: int, provider: str, kind: str, label: str | None) -> int:
        """How many objects of a kind an account has."""
        return await self._engine.read(lambda: objects.count(account_id, provider, kind, label))

    async def kept(self, account_id: int, kinds: Sequence[str]) -> tuple[int, int]:
        """How many objects of these kinds an account has, and how many bytes they are, as far as that is known."""
        now_ms = self._clock_ms()
        return await self._engine.read(lambda: objects.kept(account_id, kinds, now_ms))

    async def forget_objects(self, account_id: int, provider: str, kind: str, ids: Sequence[str]) -> None:
        """The provider has these objects no more."""
        await self._writer.submit(Change(lambda touched: objects.forget(account_id, provider, kind, ids)))

    async def note_object(self, account_id: int, changed: Object) -> None:
        """Put an own object's facts and the time of its next housework in place of what stood there."""
        await self._writer.submit(Change(lambda touched: objects.note(account_id, changed)))

    async def hasten_objects(self, account_id: int, provider: str, kind: str, ids: Sequence[str]) -> bool:
        """Bring the housework on own objects forward to now; False if none is waited for."""
        now_ms = self._clock_ms()
        change = Change(lambda touched: objects.hasten(account_id, provider, kind, ids, now_ms))
        return cast("bool", await self._writer.submit(change))

    async def due_objects(self, again_ms: int, limit: int) -> list[tuple[Object, bool]]:
        """Objects for which it is time, each with whether it is live; due again at `again_ms`, whoever took them."""
        now_ms = self._clock_ms()
        if not await self._engine.read(lambda: objects.any_due(now_ms)):
            return []  # a look costs nothing, a transaction does
        change = Change(lambda touched: objects.due(now_ms, again_ms, limit))
        return cast("list[tuple[Object, bool]]", await self._writer.submit(change))

    async def expire_objects(self) -> int:
        """Drop objects that their providers have forgotten, a batch at a time; how many there were."""
        now_ms = self._clock_ms()
        if not await self._engine.read(lambda: objects.any_expired(now_ms)):
            return 0  # a look costs nothing, a transaction does
        return cast("int", await self._writer.submit(Change(lambda touched: objects.expire(now_ms))))

    # ---- reports

    async def usage(self, query: Query) -> UsageReport:
        """Sums for the bill. Raises NotFound."""
        await self._write_refusals()
        return await self._engine.read(lambda: report(query), long=True)

    async def events(self, query: EventQuery) -> tuple[list[EventView], bool]:
        """A page of events and whether there are more. Raises NotFound."""
        await self._write_refusals()
        return await self._engine.read(lambda: list_events(query), long=True)

    async def holds(
        self, owner_id: int, *, limit: int, starting_after: str | None = None, state: str | None = None
    ) -> tuple[list[HoldView], bool]:
        """A page of holds and whether there are more."""
        return await self._engine.read(
            lambda: list_holds(owner_id, limit=limit, starting_after=starting_after, state=state), long=True
        )

    async def hold_sums(self) -> tuple[int, int]:
        """How many holds are open and how many unsettled."""
        return await self._engine.read(hold_sums, long=True)

    async def audit(self) -> Audit:
        """Compare everything with everything."""
        return await self._engine.read(audit, long=True)

    async def probe(self) -> None:
        """Whether the database takes a transaction. Raises LedgerUnavailable."""
        await self._writer.submit(Change(lambda touched: _nothing()))

    async def drop_events(self, days: int) -> int:
        """Drop the events of calls made before the last `days` UTC days, a little at a time; how many went."""
        before_ms = day_start_ms(self._clock_ms()) - days * DAY_MS
        count = 0
        while dropped := await self._writer.submit(Change(lambda touched: retention.drop(before_ms))):
            count += dropped
            await asyncio.sleep(DROP_PAUSE_S)
        return count

    # ---- settings

    async def setting(self, name: str, default: str) -> str:
        """The value under this name; `default` is kept and answered if there was none."""
        return cast("str", await self._writer.submit(Change(lambda touched: _setting(name, default))))


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


def _nothing() -> Script[None]:
    yield "SELECT 1", ()


def _setting(name: str, default: str) -> Script[str]:
    yield "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, default)
    ((value,),) = yield "SELECT value FROM settings WHERE name = ?", (name,)
    return str(value)


def _first_root() -> Script[int | None]:
    rows = yield "SELECT id FROM accounts WHERE parent_id IS NULL ORDER BY id LIMIT 1", ()
    return rows[0][0] if rows else None


async def _open_postgres(url: str, owner: str, clock_ms: Callable[[], int] | None) -> PostgresEngine:
    try:
        from ledger.postgres.engine import PostgresEngine
    except ImportError as error:
        raise ValueError(f"PostgreSQL needs a driver: pip install 'farthing[postgresql]' ({error})") from error
    return await PostgresEngine.open(url, owner=owner, clock_ms=clock_ms)
