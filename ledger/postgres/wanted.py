"""Which rows a batch needs, and tables that know which of them have been looked for. Knows no SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ledger import rules
from ledger.book import Account, Book, Counter, CounterKey, Hold, Rollup, RollupKey
from ledger.records import UNSEEN, Adjust, Ask, Block, Facts, Recover, Report, Settlement
from ledger.rules import Operation
from ledger.windows import day_start_ms


class Missing(LookupError):
    """The rules asked for a row that the batch was not expected to need: it is to be loaded too, from the start."""

    def __init__(self, table: str, key: Any) -> None:
        super().__init__(f"{table} {key!r}")
        self.table = table
        self.key = key


class Wanted:
    """Which rows a batch needs: first what its operations name, then what follows from the accounts and holds."""

    def __init__(self) -> None:
        self.accounts: set[int] = set()
        self.others: set[int] = set()
        self.calls: set[str] = set()
        self.counters: set[CounterKey] = set()
        self.rollups: set[RollupKey] = set()
        self.events: set[str] = set()

    def add(self, missing: Missing) -> None:
        """What was missed is wanted."""
        getattr(self, missing.table).add(missing.key)

    def name(self, batch: Iterable[Operation], *, repeated: bool) -> None:
        """What the operations say themselves. In a repeated batch, holds and refusals may stand already."""
        for work in batch:
            if isinstance(work, Ask | Report | Adjust | Block):
                self.accounts.update((work.account_id, work.subject_id, work.run_id))
                if isinstance(work, Ask):
                    self.others.update(account_id for account_id, _ in work.versions)
                    if repeated:
                        self.calls.add(work.id)
                        self.events.add(work.id)
                else:
                    self.events.add(work.id)
            else:
                self.calls.add(work.id)
        self.accounts -= {0, UNSEEN}

    @property
    def named(self) -> bool:
        """Whether any account or hold is wanted."""
        return bool(self.accounts or self.others or self.calls)

    def lack(self, book: Book, batch: Iterable[Operation]) -> None:
        """The accounts and holds that the operations name and the book does not have."""
        known = book.accounts
        for work in batch:
            if isinstance(work, Ask | Block):
                if work.account_id not in known:
                    self.accounts.add(work.account_id)
                for account_id in (work.subject_id, work.run_id):
                    if account_id and account_id not in known:
                        self.accounts.add(account_id)
                if isinstance(work, Ask):
                    self.others.update(account_id for account_id, _ in work.versions if account_id not in known)
            elif (found := book.holds.get(work.id)) is None:
                self.calls.add(work.id)
            elif found.account_id not in known:
                self.accounts.add(found.account_id)
        self.accounts.discard(UNSEEN)

    def follow(self, book: Book, batch: Sequence[Operation], now_ms: int) -> None:
        """What follows from the accounts and holds in the book: counters, rollups, events that may exist."""
        asks = {work.id: work for work in batch if isinstance(work, Ask)}
        for work in batch:
            self.counters.update(rules.counter_keys(book, work, now_ms))
            if isinstance(work, Ask | Block):
                at_ms = work.at_ms if isinstance(work, Ask) and work.at_ms is not None else now_ms
                self._count(now_ms, work, work.facts)
                self._count(at_ms, work, work.facts)
            elif isinstance(work, Report | Adjust):
                self._count(work.at_ms, work, work.facts)
            elif isinstance(work, Settlement | Recover):
                model = work.model if isinstance(work, Settlement) else ""
                found = book.holds.get(work.id)
                if found is not None:
                    self._count(found.created_ms, found, found.facts, model)
                elif isinstance(work, Settlement):
                    self.events.update((work.id, f"{work.id}-late"))
                    if (ask := asks.get(work.id)) is not None:
                        self._count(now_ms if ask.at_ms is None else ask.at_ms, ask, ask.facts, model)

    def leave_out(self, book: Book) -> None:
        """What the book has of counters and rollups need not be fetched."""
        self.counters -= book.counters.keys()
        self.rollups -= book.rollups.keys()

    def _count(self, at_ms: int, call: Ask | Block | Report | Adjust | Hold, facts: Facts, model: str = "") -> None:
        key = (day_start_ms(at_ms), call.account_id, call.subject_id, facts.provider, model or facts.model)
        self.rollups.add(key)


class Loaded:
    """Tables that know what has been looked for: a row that was and is not there does not exist."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self.event_costs: dict[str, int] = {}

    def account(self, account_id: int) -> Account | None:
        """See `Tables`. An account of a chain was locked with its descendant; any other one was wanted by its id."""
        if account_id in self._wanted.accounts or account_id in self._wanted.others:
            return None
        raise Missing("accounts", account_id)

    def counter(self, key: CounterKey) -> Counter | None:
        """See `Tables`."""
        if key in self._wanted.counters:
            return None
        raise Missing("counters", key)

    def hold(self, hold_id: str) -> Hold | None:
        """See `Tables`."""
        if hold_id in self._wanted.calls:
            return None
        raise Missing("calls", hold_id)

    def rollup(self, key: RollupKey) -> Rollup | None:
        """See `Tables`."""
        if key in self._wanted.rollups:
            return None
        raise Missing("rollups", key)

    def event_cost_micros(self, event_id: str) -> int | None:
        """See `Tables`."""
        if event_id in self._wanted.events:
            return self.event_costs.get(event_id)
        raise Missing("events", event_id)
