"""The part of the ledger that a batch of operations needs, in memory, and what the batch changed in it.

The rules read and write a book; an engine fills it from its tables and writes the changes back in one transaction.
A book never decides anything. It is a write-through cache: an engine may keep it between batches if it can tell
that nobody else has written, and must `forget` everything when a transaction fails.
"""

from __future__ import annotations

from operator import add
from typing import Any, Protocol

import msgspec

from ledger import latency
from ledger.money import PICOS_PER_MICRO
from ledger.records import Facts, Leg, Measures, Unit
from ledger.windows import Window, day_start_ms

CounterKey = tuple[int, int, int]
"""(limit id, subject id or 0, window start in ms)"""
RollupKey = tuple[int, int, int, str, str]
"""(day in ms, account id, subject id or 0, provider, model)"""

EVERY_ACCOUNT = 0
ROWS_MAX = 30_000  # of each kind kept in memory, about 60 MB: reading a row again costs 10 µs, whoever it is about


class Match(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which calls a limit is about. Absent = any. A trailing `*` in `model` matches a prefix."""

    provider: str | None = None
    model: str | None = None
    route: str | None = None
    metadata: dict[str, str] | None = None

    def covers(self, facts: Facts) -> bool:
        """Whether the call is one of them."""
        if self.provider is not None and self.provider != facts.provider:
            return False
        if self.route is not None and self.route != facts.route:
            return False
        if self.model is not None and not (
            _names(self.model, facts.model) or any(_names(self.model, other) for other in facts.also)
        ):
            return False
        return self.metadata is None or self.metadata.items() <= facts.metadata.items()


def _names(pattern: str, model: str) -> bool:
    return pattern == model or (pattern.endswith("*") and model.startswith(pattern[:-1]))


DEFAULT_MARKS = (80,)
"""At which percentages of a limit somebody is told, where nothing else is said."""

CAP_SUBJECTS: dict[str, int] = {"total": 0, "day": -1, "week": -2, "month": -3}
"""Under which subject an account's balance is counted in a window of its spend cap."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """At most `max` (None: counted, not limited) of `unit` in each window, for calls that match.

    Attributes:
        role: "total" (the balance), "cap" (the spend cap in windows, measured by the balance), "limit".
        boosts: (amount, until ms or None) on top of `max`, each until its end.
        subject_id: What it is counted under where it is `per` key: 0, a plan's member, or see `CAP_SUBJECTS`.
        alert_at: At which percentages of it somebody is told; None where its owner's marks hold.
    """

    id: int
    public_id: str
    role: str
    unit: Unit
    max: int | None
    window: Window
    timezone: str | None = None
    anchor_ms: int | None = None
    match: Match | None = None
    per: str = "key"
    action: str = "block"
    boosts: tuple[tuple[int, int | None], ...] = ()
    subject_id: int = 0
    alert_at: tuple[int, ...] | None = None

    @property
    def is_default_cap(self) -> bool:
        """Whether it is the spend cap of each end user that has none of its own."""
        return self.unit == "micros" and self.per == "end_user" and self.match is None and self.action == "block"

    def max_at(self, now_ms: int) -> int | None:
        """The maximum at this moment."""
        if not self.boosts or self.max is None:
            return self.max
        return self.max + sum(amount for amount, until_ms in self.boosts if until_ms is None or until_ms > now_ms)


def spend_limits(
    total: Limit,
    cap_micros: int | None,
    window: Window,
    boosts: tuple[tuple[int, int | None], ...],
    anchor_ms: int | None = None,
) -> tuple[Limit, ...]:
    """The balance, and the spend cap on it: one limit without a reset, two with one, which counts from its anchor."""
    if window == "total":
        return (msgspec.structs.replace(total, max=cap_micros, boosts=boosts),)
    cap = msgspec.structs.replace(
        total,
        role="cap",
        max=cap_micros,
        boosts=boosts,
        window=window,
        anchor_ms=anchor_ms,
        subject_id=CAP_SUBJECTS[window],
    )
    return total, cap


class Account(msgspec.Struct, kw_only=True):
    """A node of the tree, with its limits and its plan's. `chain` is its own id and its ancestors', up to the root.

    `own_cap` says that an end user has a spend cap of its own, which stands instead of its key's default; `hooks`, how
    many listen to it; `alert_at`, at which percentages of its limits they are told, where a limit does not say.
    """

    id: int
    public_id: str
    kind: str
    chain: tuple[int, ...]
    livemode: bool
    disabled: bool
    revoked_ms: int | None
    expires_ms: int | None
    version: int
    spent_micros: int
    carry_picos: int
    price_micros: int
    price_carry_picos: int
    overrun_micros: int
    last_used_ms: int | None
    limits: tuple[Limit, ...]
    own_cap: bool = False
    hooks: int = 0
    alert_at: tuple[int, ...] | None = None


class Counter(msgspec.Struct):
    """What one limit has seen in one window."""

    used: int = 0
    held: int = 0
    unsettled: int = 0

    @property
    def taken(self) -> int:
        """All that stands against the limit."""
        return self.used + self.held + self.unsettled


class Hold(msgspec.Struct, kw_only=True):
    """A promise: what was taken from which counters for a call that has not been settled."""

    id: str
    account_id: int
    subject_id: int
    run_id: int
    owner: str
    state: str
    created_ms: int
    expires_ms: int | None
    amount_micros: int
    legs: list[Leg]
    facts: Facts


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One call's immutable record; `legs` says what it used of which counter.

    That of several refusals has their `count` in its `usage`.
    """

    id: str
    account_id: int
    subject_id: int
    run_id: int
    created_ms: int
    settled_ms: int
    facts: Facts
    model: str
    decision: str
    reason: str | None
    status: str
    usage: dict[str, object]
    cost_micros: int
    cost_picos: int
    price_micros: int
    held_micros: int
    http_status: int | None
    latency_ms: int | None
    ttft_ms: int | None
    flags: tuple[str, ...]
    legs: list[tuple[int, int, int, int]]


def is_call(mode: str, status: str) -> bool:
    """Whether an allowed event counts as a call: it is neither a correction nor a reservation that went back."""
    return mode in ("proxy", "monitor") or (mode == "reservation" and status != "released")


class Rollup(msgspec.Struct):
    """The sums of one day, key, end user and model."""

    requests: int = 0
    blocked: int = 0
    cost_micros: int = 0
    rest_picos: int = 0  # exact costs without their charges: picos of them would leave 64 bits
    price_micros: int = 0
    measures: list[int] = msgspec.field(default_factory=lambda: [0] * len(Measures.__struct_fields__))
    latency_ms_sum: int = 0
    latencies: dict[int, int] = msgspec.field(default_factory=dict)

    def add(self, event: Event, measures: Measures) -> None:
        """Count one event."""
        if event.decision == "blocked":
            count = event.usage.get("count", 1)
            self.blocked += count if isinstance(count, int) else 1
            return
        self.requests += is_call(event.facts.mode, event.status)
        self.cost_micros += event.cost_micros
        self.rest_picos += event.cost_picos - event.cost_micros * PICOS_PER_MICRO
        self.price_micros += event.price_micros
        self.measures = list(map(add, self.measures, msgspec.structs.astuple(measures)))
        if event.latency_ms is not None:
            self.latency_ms_sum += event.latency_ms
            index = latency.bucket(event.latency_ms)
            self.latencies[index] = self.latencies.get(index, 0) + 1


class Tables(Protocol):
    """Where a book gets what it does not have. Each answers None for a row that does not exist."""

    def account(self, account_id: int) -> Account | None:
        """An account with its limits."""
        ...

    def counter(self, key: CounterKey) -> Counter | None:
        """A counter."""
        ...

    def hold(self, hold_id: str) -> Hold | None:
        """A hold, open or unsettled."""
        ...

    def rollup(self, key: RollupKey) -> Rollup | None:
        """A rollup row."""
        ...

    def event_cost_micros(self, event_id: str) -> int | None:
        """What an event cost, if it has been written."""
        ...


class Book:
    """Rows in memory, and which of them the running batch has changed."""

    def __init__(self, tables: Tables, *, rows_max: int = ROWS_MAX) -> None:
        self._tables = tables
        self._rows_max = rows_max
        self.accounts: dict[int, Account] = {}
        self.counters: dict[CounterKey, Counter] = {}
        self.holds: dict[str, Hold] = {}
        self.rollups: dict[RollupKey, Rollup] = {}
        self.changed_accounts: dict[int, Account] = {}
        self.changed_counters: dict[CounterKey, Counter] = {}
        self.changed_rollups: dict[RollupKey, Rollup] = {}
        self.written_holds: dict[str, Hold] = {}
        self.ended_holds: set[str] = set()
        self.events: list[Event] = []
        self.event_costs: dict[str, int] = {}

    def account(self, account_id: int) -> Account | None:
        """An account, from memory or from the tables."""
        found = self.accounts.get(account_id)
        if found is None:
            found = self._tables.account(account_id)
            if found is not None:
                self.accounts[account_id] = found
        return found

    def counter(self, key: CounterKey) -> Counter:
        """A counter; a new one where there is none yet."""
        found = self.counters.get(key)
        if found is None:
            found = self.counters[key] = self._tables.counter(key) or Counter()
        return found

    def hold(self, hold_id: str) -> Hold | None:
        """A hold that is open or unsettled."""
        if hold_id in self.ended_holds:
            return None  # ended in this very batch: the tables still have it
        return self.holds.get(hold_id) or self._tables.hold(hold_id)

    def event_cost_micros(self, event_id: str) -> int | None:
        """What an event cost, if it exists, in this batch or before."""
        cost = self.event_costs.get(event_id)
        return cost if cost is not None else self._tables.event_cost_micros(event_id)

    def put_hold(self, hold: Hold) -> None:
        """Write a new or changed hold."""
        self.holds[hold.id] = self.written_holds[hold.id] = hold

    def end_hold(self, hold: Hold) -> None:
        """Delete a hold."""
        self.holds.pop(hold.id, None)
        self.written_holds.pop(hold.id, None)
        self.ended_holds.add(hold.id)

    def put_event(self, event: Event, measures: Measures) -> None:
        """Append an event and count it in its day's rollup."""
        self.events.append(event)
        self.event_costs[event.id] = event.cost_micros
        key = (day_start_ms(event.created_ms), event.account_id, event.subject_id, event.facts.provider, event.model)
        rollup = self.rollups.get(key)
        if rollup is None:
            rollup = self.rollups[key] = self._tables.rollup(key) or Rollup()
        self.changed_rollups[key] = rollup
        rollup.add(event, measures)

    def clean(self) -> None:
        """The changes have been committed; old rows make room."""
        self.changed_accounts.clear()
        self.changed_counters.clear()
        self.changed_rollups.clear()
        self.written_holds.clear()
        self.ended_holds.clear()
        self.events.clear()
        self.event_costs.clear()
        rows: dict[Any, Any]
        for rows in (self.accounts, self.counters, self.holds, self.rollups):
            if len(rows) > self._rows_max:
                _forget_oldest(rows, self._rows_max // 4)

    def forget_accounts(self, account_ids: set[int]) -> None:
        """A script has changed these accounts or their limits; `EVERY_ACCOUNT` stands for all of them."""
        if EVERY_ACCOUNT in account_ids:
            self.accounts.clear()
        for account_id in account_ids:
            self.accounts.pop(account_id, None)

    def forget(self) -> None:
        """Nothing in memory can be trusted any more: a transaction failed, or somebody else has written."""
        self.clean()
        self.accounts.clear()
        self.counters.clear()
        self.holds.clear()
        self.rollups.clear()


def _forget_oldest(rows: dict[Any, Any], number: int) -> None:
    for key in list(rows)[:number]:
        del rows[key]
