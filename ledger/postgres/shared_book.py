"""A book that is remembered although other processes write too, and what a batch that was decided on it rests upon.

Promises: what `basis` names is all that the batch's decisions rest upon, so if it still stands, they stand. Of an
account's own rows (sums, rollups, holds) that is its revision; of a counter, that there is room for what was added; of
limits and states, the versions of the accounts and plans that have them. Knows no SQL, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ledger.book import (
    EVERY_ACCOUNT,
    ROWS_MAX,
    Account,
    Book,
    Counter,
    CounterKey,
    Event,
    Hold,
    Limit,
    Rollup,
    RollupKey,
    Tables,
)
from ledger.engine import Result
from ledger.records import Ask, Block, Extend, Held, Measures, Settlement
from ledger.rules import Operation
from ledger.settling import EXPIRED
from ledger.windows import day_start_ms

Sums = tuple[int, int, int]
"""(used, held, unsettled)"""


class Basis(msgspec.Struct, kw_only=True):
    """What a batch's decisions rest upon, beside its changes.

    Attributes:
        versions: By account or plan.
        accounts: Whose own rows change, with the revision on which that was decided; in the order of the ids.
        added: What is added to each counter, in the order of the keys.
        maxima: What each counter may then have at most; no entry for one without a bound.
    """

    versions: dict[int, int]
    accounts: list[tuple[Account, int]]
    added: list[tuple[CounterKey, Sums]]
    maxima: dict[CounterKey, int]


class SharedBook(Book):
    """Rows in memory with what must be known of them so that they can be trusted."""

    def __init__(self, tables: Tables, *, rows_max: int = ROWS_MAX) -> None:
        super().__init__(tables, rows_max=rows_max)
        self._before: dict[CounterKey, Sums] = {}
        self._revisions: dict[int, int] = {}
        self._plans: dict[int, tuple[int, int]] = {}
        self._limits: dict[tuple[int, int], Limit] = {}
        self._own: dict[int, tuple[set[str], set[RollupKey]]] = {}

    def read_from(self, tables: Tables) -> None:
        """From now on what is not in memory comes from there."""
        self._tables = tables

    # ---- rows that were read

    def put_account(self, account: Account, revision: int, plan: tuple[int, int] | None) -> None:
        """An account as it stands, and its plan's id and version. What was known of its own rows may be over."""
        if self._revisions.get(account.id) != revision:
            self._forget_own(account.id)
        self.accounts[account.id] = account
        self._revisions[account.id] = revision
        self._plans.pop(account.id, None)
        if plan is not None:
            self._plans[account.id] = plan
        for limit in account.limits:
            self._limits[limit.id, min(limit.subject_id, 0)] = limit

    def put_read_hold(self, hold: Hold) -> None:
        """A hold as it stands."""
        self.holds[hold.id] = hold
        self._own_of(hold.account_id)[0].add(hold.id)

    def put_rollup(self, key: RollupKey, rollup: Rollup) -> None:
        """A rollup as it stands."""
        self.rollups[key] = rollup
        self._own_of(key[1])[1].add(key)

    def adopt(self, other: SharedBook, calls: Iterable[str]) -> None:
        """What another book has read and committed since is what stands; of these calls it has all that are held."""
        for call in calls:
            if call not in other.holds:
                self.holds.pop(call, None)
        for account in other.accounts.values():
            self._forget_own(account.id)
            self.put_account(account, other._revisions[account.id], other._plans.get(account.id))
        self.counters.update(other.counters)
        for hold in other.holds.values():
            self.put_read_hold(hold)
        for key, rollup in other.rollups.items():
            self.put_rollup(key, rollup)

    def _own_of(self, account_id: int) -> tuple[set[str], set[RollupKey]]:
        found = self._own.get(account_id)
        if found is None:
            found = self._own[account_id] = (set(), set())
        return found

    def _forget_own(self, account_id: int) -> None:
        holds, rollups = self._own.pop(account_id, ((), ()))
        for hold_id in holds:
            self.holds.pop(hold_id, None)
        for key in rollups:
            self.rollups.pop(key, None)

    # ---- rows that a batch changes

    def counter(self, key: CounterKey) -> Counter:
        """See `Book`; remembers how it stood before the batch."""
        found = super().counter(key)
        if key not in self._before:
            self._before[key] = (found.used, found.held, found.unsettled)
        return found

    def put_hold(self, hold: Hold) -> None:
        """See `Book`."""
        super().put_hold(hold)
        self._own_of(hold.account_id)[0].add(hold.id)

    def end_hold(self, hold: Hold) -> None:
        """See `Book`."""
        super().end_hold(hold)
        self._own_of(hold.account_id)[0].discard(hold.id)

    def put_event(self, event: Event, measures: Measures) -> None:
        """See `Book`."""
        super().put_event(event, measures)
        key = (day_start_ms(event.created_ms), event.account_id, event.subject_id, event.facts.provider, event.model)
        self._own_of(event.account_id)[1].add(key)

    def clean(self) -> None:
        """See `Book`."""
        super().clean()
        self._before.clear()
        if len(self._revisions) > 2 * self._rows_max or len(self._limits) > 4 * self._rows_max:
            self.forget()

    def forget(self) -> None:
        """See `Book`."""
        for known in (self._before, self._revisions, self._plans, self._limits, self._own):
            known.clear()
        super().forget()

    def forget_accounts(self, account_ids: set[int]) -> None:
        """See `Book`. Their own rows are forgotten too."""
        super().forget_accounts(account_ids)
        for account_id in list(self._own) if EVERY_ACCOUNT in account_ids else account_ids:
            self._forget_own(account_id)

    def undo(self) -> None:
        """The batch has not happened: whatever it has changed is read again."""
        touched = {hold.account_id for hold in self.written_holds.values()}
        self.forget_accounts(touched | {event.account_id for event in self.events} | self.changed_accounts.keys())
        for key in self.changed_counters:
            self.counters.pop(key, None)
        for rollup in self.changed_rollups:
            self.rollups.pop(rollup, None)
        self.clean()

    # ---- what was decided

    def basis(self, batch: Sequence[Operation], results: Sequence[Result], now_ms: int) -> Basis:
        """What the batch's decisions rest upon."""
        versions: dict[int, int] = {}
        maxima: dict[CounterKey, int] = {}
        own = {event.account_id for event in self.events} | self.changed_accounts.keys()
        for work, result in zip(batch, results, strict=True):
            if isinstance(work, Ask) and isinstance(result, Held):
                self._rest_on(work, versions)
                found = self.written_holds.get(work.id)
            elif isinstance(work, Extend) and result:
                found = self.written_holds.get(work.id)
                if found is not None:
                    self._rest_on(found, versions)
            else:
                continue
            if found is not None:
                maxima |= self._maxima(found, now_ms)
        asked = {work.id for work, result in zip(batch, results, strict=True) if isinstance(result, Held)}
        own |= {hold.account_id for hold in self.written_holds.values() if hold.id not in asked}
        added = []
        for key, counter in sorted(self.changed_counters.items()):
            used, held, unsettled = self._before[key]
            added.append((key, (counter.used - used, counter.held - held, counter.unsettled - unsettled)))
        accounts = [(self.accounts[account_id], self._revisions[account_id]) for account_id in sorted(own)]
        return Basis(versions=versions, accounts=accounts, added=added, maxima=maxima)

    def _rest_on(self, call: Ask | Hold, versions: dict[int, int]) -> None:
        """The versions of every account that has a say in a call, and of their plans."""
        chain = self.accounts[call.account_id].chain
        for account_id in (*chain, call.subject_id, call.run_id):
            if account_id > 0 and account_id not in versions:
                versions[account_id] = self.accounts[account_id].version
                if (plan := self._plans.get(account_id)) is not None:
                    versions[plan[0]] = plan[1]

    def _maxima(self, hold: Hold, now_ms: int) -> dict[CounterKey, int]:
        """What the counters from which a hold takes something may have at most."""
        found = {}
        for limit_id, subject_id, start_ms, _unit, amount in hold.legs:
            limit = self._limits.get((limit_id, min(subject_id, 0)))
            maximum = None if limit is None or not amount else limit.max_at(now_ms)
            if maximum is not None:
                found[limit_id, subject_id, start_ms] = maximum
        return found

    def stored(self, basis: Basis, sums: Iterable[Sums], results: list[Result], now_ms: int) -> None:
        """The batch was stored, and its counters now stand so. Where others have added to them, holds are told."""
        for account, revision in basis.accounts:
            self._revisions[account.id] = revision + 1
        drifted = False
        for (key, _), found in zip(basis.added, sums, strict=True):
            counter = self.counters[key]
            if (counter.used, counter.held, counter.unsettled) != found:
                drifted = True
                counter.used, counter.held, counter.unsettled = found
        if drifted:
            results[:] = [self._with_left(result, now_ms) if isinstance(result, Held) else result for result in results]
        self.clean()

    def _with_left(self, held: Held, now_ms: int) -> Held:
        """A hold with what is really left after it."""
        hold = self.written_holds.get(held.id)
        if hold is None:
            return held
        subject = self.accounts.get(hold.subject_id)
        left: dict[str, int] = {}
        for limit_id, subject_id, start_ms, unit, _amount in hold.legs:
            limit = self._limits.get((limit_id, min(subject_id, 0)))
            maximum = None if limit is None or limit.action != "block" else limit.max_at(now_ms)
            if limit is None or maximum is None or (limit.is_default_cap and subject is not None and subject.own_cap):
                continue
            spare = max(maximum - self.counters[limit_id, subject_id, start_ms].taken, 0)
            left[unit] = min(left.get(unit, spare), spare)
        return msgspec.structs.replace(held, left=left)


def is_plain(work: Operation) -> bool:
    """Whether it may be decided on what is remembered. The rest is rare, or asks what only the database knows."""
    if isinstance(work, Ask):
        return work.expires_ms is None and not work.dry_run and work.subject_max_micros is None
    if isinstance(work, Settlement):
        return work.reason != EXPIRED
    return isinstance(work, Extend | Block)


def is_sure(work: Operation, result: Result, book: SharedBook) -> bool:
    """Whether a decision holds as long as its basis does. A refusal does not: others may have given back meanwhile."""
    if isinstance(work, Ask):
        if not isinstance(result, Held) or result.allowance != work.want:
            return False
        hold = book.written_holds.get(work.id)
        return hold is None or len(hold.facts.flags) == len(work.facts.flags)
    return not isinstance(work, Extend) or bool(result)
