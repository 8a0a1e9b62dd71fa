"""The rules of the ledger once more, as plainly as they can be said: lists that are scanned, and no cleverness.

Shares no code with the ledger's rules, book, windows or money. A window is found with `datetime`, a sum by adding up
everything, the largest allowance by trying each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Bucket = tuple[str, int, int]
"""(limit, subject, window's start): where something is counted."""


def window_start(now_ms: int, window: str) -> int:
    """The start of a UTC calendar window."""
    if window == "total":
        return 0
    now = EPOCH + timedelta(milliseconds=now_ms)
    start = now.replace(microsecond=0, second=0)
    if window != "minute":
        start = start.replace(minute=0)
    if window not in ("minute", "hour"):
        start = start.replace(hour=0)
    if window == "week":
        while start.weekday() != 0:
            start -= timedelta(days=1)
    if window == "month":
        start = start.replace(day=1)
    return round((start - EPOCH) / timedelta(milliseconds=1))


@dataclass(frozen=True)
class MLimit:
    name: str
    unit: str
    max: int | None
    window: str
    provider: str | None = None
    model: str | None = None
    metadata: dict[str, str] | None = None
    per: str = "key"
    action: str = "block"

    def covers(self, call: MCall) -> bool:
        if self.provider not in (None, call.provider):
            return False
        if self.model is not None:
            prefix = self.model.removesuffix("*")
            if not (call.model.startswith(prefix) if prefix != self.model else call.model == self.model):
                return False
        return all(call.metadata.get(name) == value for name, value in (self.metadata or {}).items())


@dataclass
class MAccount:
    id: int
    name: str
    kind: str
    parent: int | None
    livemode: bool
    cap: int | None = None
    reset: str = "total"
    limits: list[MLimit] = field(default_factory=list)
    disabled: bool = False
    revoked: bool = False
    expires_ms: int | None = None
    version: int = 1
    picos: list[int] = field(default_factory=list)
    overrun: int = 0


@dataclass(frozen=True)
class MCall:
    id: str
    account: int
    provider: str = "openai"
    model: str = "gpt-a"
    metadata: dict[str, str] = field(default_factory=dict)
    subject: int = 0
    run: int = 0
    fixed_picos: int = 0
    each_picos: int = 0
    fixed_tokens: int = 0
    each_tokens: int = 0
    seconds: int = 0
    want: int = 0
    least: int = 0
    call_max: int | None = None
    subject_max: int | None = None
    at_ms: int | None = None
    owner: str = ""
    versions: tuple[tuple[int, int], ...] = ()

    def need(self, unit: str, allowance: int) -> int:
        if unit == "micros":
            return math.ceil(Fraction(self.fixed_picos + self.each_picos * allowance, 10**6))
        if unit == "tokens":
            return self.fixed_tokens + self.each_tokens * allowance
        return self.seconds if unit == "seconds" else 1


@dataclass
class Entry:
    """Something that counts in a bucket, on behalf of a call."""

    bucket: Bucket
    call: str
    kind: str
    unit: str
    amount: int


class Model:
    """All that a ledger must know, as lists."""

    def __init__(self) -> None:
        self.accounts: dict[int, MAccount] = {}
        self.entries: list[Entry] = []
        self.open: dict[str, tuple[MCall, int]] = {}
        self.unsettled: dict[str, tuple[MCall, int]] = {}
        self.told: set[str] = set()
        """Of the unsettled: whose process has said all that it knows."""
        self.costs: dict[str, int] = {}
        """What each event cost, by its id: the proof that a call ends once."""
        self.blocked: list[str] = []

    # ---- looking

    def chain(self, account_id: int) -> list[MAccount]:
        found: list[MAccount] = []
        step: int | None = account_id
        while step is not None:
            found.append(self.accounts[step])
            step = self.accounts[step].parent
        return found

    def status(self, account_id: int, now_ms: int) -> str:
        for account in self.chain(account_id):
            if account.revoked:
                return "revoked"
            if account.disabled:
                return "disabled"
            if account.expires_ms is not None and account.expires_ms <= now_ms:
                return "expired"
        return "active"

    def sum(self, bucket: Bucket, *kinds: str) -> int:
        return sum(entry.amount for entry in self.entries if entry.bucket == bucket and entry.kind in kinds)

    def taken(self, bucket: Bucket) -> int:
        return self.sum(bucket, "used", "held", "unsettled")

    def spend_limits(self, account: MAccount) -> list[tuple[MLimit, str]]:
        """The balance and the cap on it, each with the name under which it is counted."""
        balance = f"total:{account.id}"
        if account.reset == "total":
            return [(MLimit(balance, "micros", account.cap, "total"), balance)]
        cap = MLimit(balance, "micros", account.cap, account.reset)
        return [(MLimit(balance, "micros", None, "total"), balance), (cap, f"{account.reset}:{account.id}")]

    def limits_of_all_money(self, account: MAccount) -> list[tuple[MLimit, str]]:
        """The spend cap, and the limits of money that are like one."""
        alike = [
            (limit, limit.name)
            for limit in account.limits
            if (limit.unit, limit.per, limit.action) == ("micros", "key", "block")
            and limit.provider is None
            and limit.model is None
            and limit.metadata is None
        ]
        return self.spend_limits(account) + alike

    def is_default_cap(self, limit: MLimit) -> bool:
        """Whether it is a spend cap of each end user: one that asks about nothing else."""
        about_all = limit.provider is None and limit.model is None and limit.metadata is None
        return limit.per == "end_user" and limit.unit == "micros" and limit.action == "block" and about_all

    def claims(self, call: MCall, now_ms: int) -> list[tuple[MAccount, MLimit, Bucket]]:
        """Every limit that counts the call, in the order in which they are asked."""
        at_ms = now_ms if call.at_ms is None else call.at_ms
        subjects = [self.accounts[id_] for id_ in (call.subject, call.run) if id_]
        own_cap = any(subject.kind == "end_user" and subject.cap is not None for subject in subjects)
        found = []
        for owner in [*subjects, *self.chain(call.account)]:
            if owner.livemode != self.accounts[call.account].livemode:
                continue
            for limit, name in self.spend_limits(owner):
                found.append((owner, limit, (name, 0, window_start(at_ms, limit.window))))
            for limit in owner.limits:
                if not limit.covers(call):
                    continue
                subject = 0
                if limit.per != "key":
                    named = [each.id for each in subjects if each.kind == limit.per]
                    if not named:
                        continue
                    if own_cap and owner.id == call.account and self.is_default_cap(limit):
                        limit = replace(limit, max=None)  # noqa: PLW2901 - it is counted and does not bind
                    subject = named[0]
                found.append((owner, limit, (limit.name, subject, window_start(at_ms, limit.window))))
        return found

    # ---- operations

    def hold(self, call: MCall, now_ms: int, *, dry_run: bool = False) -> dict[str, Any]:
        for account_id, version in call.versions:
            if self.accounts[account_id].version != version:
                return {"reason": "stale"}
        status = self.status(call.account, now_ms)
        reason = None if status == "active" else f"key_{status}"
        if reason is None:
            for subject_id in (call.subject, call.run):
                if subject_id and self.accounts[subject_id].revoked:
                    return {"reason": "stale"}
                if subject_id and self.accounts[subject_id].disabled:
                    reason = "run_closed" if self.accounts[subject_id].kind == "run" else "end_user_disabled"
                    break
        if reason is not None:
            self.blocked += [] if dry_run else [call.id]
            return {"reason": reason}

        claims = self.claims(call, now_ms)
        bounds = [
            (limit, limit.name, limit.max, self.taken(bucket))
            for _owner, limit, bucket in claims
            if limit.max is not None and limit.action == "block"
        ]
        if call.call_max is not None:
            bounds.append((MLimit("", "micros", call.call_max, "total"), "", call.call_max, 0))
        if call.subject_max is not None and call.subject:
            user = self.accounts[call.subject]
            measures = [bucket for _, limit, bucket in claims if self.is_default_cap(limit) and limit.max is not None]
            if user.cap is not None or not measures:
                limit, name = self.spend_limits(user)[-1]
                at_ms = now_ms if call.at_ms is None else call.at_ms
                measures = [(name, 0, window_start(at_ms, limit.window))]
            bounds += [
                (MLimit("", "micros", call.subject_max, "total"), "", call.subject_max, self.taken(bucket))
                for bucket in measures
            ]

        def fits(allowance: int) -> bool:
            return all(
                call.need(limit.unit, allowance) <= max(maximum - taken, 0) for limit, _name, maximum, taken in bounds
            )

        failing = [bound for bound in bounds if call.need(bound[0].unit, call.least) > max(bound[2] - bound[3], 0)]
        largest = max((x for x in range(call.want + 1) if fits(x)), default=None)
        if failing:
            limit, name, maximum, taken = next((one for one in failing if one[0].unit == "micros"), failing[0])
            self.blocked += [] if dry_run else [call.id]
            return {
                "reason": "spend_cap_exceeded" if limit.unit == "micros" else "rate_limited",
                "limit": name,
                "unit": limit.unit,
                "max": maximum,
                "taken": taken,
                "remaining": max(maximum - taken, 0),
                "required": call.need(limit.unit, call.least),
                "affordable": (largest or 0) if call.each_picos or call.each_tokens else 0,
            }
        assert largest is not None
        for _owner, limit, bucket in claims:
            self.entries.append(Entry(bucket, call.id, "held", limit.unit, call.need(limit.unit, largest)))
        for owner, limit, bucket in claims:
            if limit.unit == "micros" and limit.max is not None and limit.action == "block":
                within = self.taken(bucket) <= limit.max
                assert within or call.need("micros", largest) == 0, f"{owner.name} is over its cap"
        left: dict[str, int] = {}
        for _owner, limit, bucket in claims:
            if limit.max is not None and limit.action == "block":
                spare = max(limit.max - self.taken(bucket), 0)
                left[limit.unit] = min(spare, left.get(limit.unit, spare))
        amount = call.need("micros", largest)
        if dry_run:
            self.entries = [entry for entry in self.entries if entry.call != call.id]
        else:
            self.open[call.id] = (replace(call, at_ms=now_ms if call.at_ms is None else call.at_ms), amount)
        return {"allowance": largest, "amount": amount, "left": left}

    def extend(self, call_id: str, micros: int, tokens: int, now_ms: int) -> bool:
        if call_id not in self.open:
            return False
        call, amount = self.open[call_id]
        more = {"micros": micros, "tokens": tokens}
        mine = [entry for entry in self.entries if entry.call == call_id]
        for _owner, limit, bucket in self.claims(call, now_ms):
            counted = any(entry.bucket == bucket for entry in mine)
            needed = more.get(limit.unit, 0)
            bound = limit.max if counted and limit.action == "block" else None
            if needed and bound is not None and self.taken(bucket) + needed > bound:
                return False
        for entry in mine:
            entry.amount += more.get(entry.unit, 0)
        self.open[call_id] = call, amount + micros
        return True

    def settle(
        self, call_id: str, picos: int, tokens: int, seconds: int, *, keeps_rest: bool = False
    ) -> tuple[int, bool] | None:
        """What was charged, and whether this was the first end; None if the id was never held."""
        late = call_id in self.unsettled
        if late and keeps_rest and (call_id in self.told or not picos):
            return self.costs[call_id], False
        found = self.open.pop(call_id, None) or self.unsettled.pop(call_id, None)
        if found is None:
            for event_id in (f"{call_id}-late", call_id):
                if event_id in self.costs:
                    return self.costs[event_id], False
            return (0, False) if call_id in self.blocked else None
        call, amount = found
        account = self.accounts[call.account]
        before = sum(account.picos) // 10**6
        account.picos.append(picos)
        cost = sum(account.picos) // 10**6 - before
        account.overrun += max(cost - amount, 0)
        truth = {"micros": cost, "tokens": tokens, "seconds": seconds, "requests": 1, "concurrent": 0}
        if call_id in self.told:
            truth["requests"] = 0  # it has been counted
        for entry in [entry for entry in self.entries if entry.call == call_id and entry.kind != "used"]:
            left = 0 if entry.unit == "concurrent" else max(entry.amount - truth[entry.unit], 0)
            entry.kind, entry.amount = "used", truth[entry.unit]
            if keeps_rest and not late:
                self.entries.append(Entry(entry.bucket, call_id, "unsettled", entry.unit, left))
        if keeps_rest and not late:
            self.unsettled[call_id] = call, max(amount - cost, 0)
            self.told.add(call_id)
        self.costs[f"{call_id}-late" if late else call_id] = cost
        return cost, True

    def recover(self, call_id: str) -> None:
        if call_id not in self.open:
            return
        self.unsettled[call_id] = self.open.pop(call_id)
        self.costs[call_id] = 0
        for entry in self.entries:
            if entry.call == call_id:
                entry.kind = "unsettled"
                if entry.unit == "concurrent":
                    entry.amount = 0
