"""What customers are to be billed at Stripe, hour by hour: collected from the events, each exactly once. Scripts only.

Promises: the cursor moves in the transaction that adds what it has passed, so a kill loses nothing and doubles nothing;
late settlements and adjustments change their call's hour, which is then told again; only live calls that were made
since it was turned on. Every number is the sum of events: `priced_hours` adds them up anew.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ledger import settings
from ledger.engine import Script
from ledger.lookup import customer
from ledger.outbox import messages
from ledger.retention import Dropped, kept_from

HOUR_MS = 3_600_000
SENDABLE_MS = 34 * 24 * HOUR_MS  # Stripe takes 35 calendar days; an hour is sent before the last of them
EVENTS_AT_ONCE = 500  # of one transaction: it keeps calls waiting for some milliseconds
MAPPED_AT_ONCE = 200
REJECTED = "stripe.rejected"
_SINCE, _CURSOR, _LEASE = "stripe_usage_since_ms", "stripe_usage_cursor", "stripe_usage_lease"


Caller = tuple[int, int]
"""(a key's account id, its end user's or 0)"""


class Hour(msgspec.Struct, frozen=True, kw_only=True):
    """One customer's hour that Stripe is to be told. `number` counts how often it was."""

    customer_id: str
    hour_ms: int
    price_micros: int
    number: int
    tries: int


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What became of telling an hour: taken; refused for good, with a reason; or neither, to be tried later."""

    hour: Hour
    taken: bool = False
    refusal: str | None = None
    due_ms: int = 0


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """An hour that Stripe does not take."""

    customer_id: str
    hour_ms: int
    price_micros: int
    reason: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with what is told: hours by state, and what belongs to no customer."""

    since_ms: int | None
    waiting: int
    sent: int
    refused: int
    refusals: list[Refused]
    without_customer_micros: int


def begin(now_ms: int) -> Script[None]:
    """Usage is told from now on, if it was not before: what was sold until now was billed by other means, or not."""
    rows = yield "SELECT 1 FROM settings WHERE name = ?", (_SINCE,)
    if rows:
        return
    ((seq,),) = yield "SELECT COALESCE(MAX(seq), 0) FROM events", ()
    for name, value in ((_SINCE, now_ms), (_CURSOR, seq)):
        yield "INSERT INTO settings (name, value) VALUES (?, ?)", (name, str(value))


def since() -> Script[int | None]:
    """From when usage is told; None if it is not."""
    rows = yield "SELECT value FROM settings WHERE name = ?", (_SINCE,)
    return int(rows[0][0]) if rows else None


def claim(owner: str, until_ms: int, now_ms: int) -> Script[bool]:
    """Be the one gateway that tells, until then; False if another one is."""
    rows = yield "SELECT value FROM settings WHERE name = ?", (_LEASE,)
    if rows:
        holder, _, ends_ms = str(rows[0][0]).rpartition(" ")
        if holder != owner and int(ends_ms) > now_ms:
            return False
    yield from settings.turned(_LEASE, f"{owner} {until_ms}")
    return True


def collect() -> Script[int]:
    """Add some of the new events to their hours; how many there were."""
    since_ms = yield from since()
    if since_ms is None:
        return 0
    ((cursor,),) = yield "SELECT value FROM settings WHERE name = ?", (_CURSOR,)
    rows = yield (
        "SELECT seq, account_id, subject_id, created_ms, price_micros FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
        (int(cursor), EVENTS_AT_ONCE),
    )
    if not rows:
        return 0
    sums: dict[tuple[int, int, int], int] = {}
    for _seq, account_id, subject_id, created_ms, price_micros in rows:
        if price_micros and created_ms >= since_ms:
            key = (account_id, subject_id, created_ms - created_ms % HOUR_MS)
            sums[key] = sums.get(key, 0) + price_micros
    customers: dict[tuple[int, int], str | None] = {}
    livemode: dict[int, bool] = {}
    for (account_id, subject_id, hour_ms), micros in sorted(sums.items()):
        if account_id not in livemode:
            found = yield "SELECT livemode FROM accounts WHERE id = ?", (account_id,)
            livemode[account_id] = bool(found and found[0][0])
        if livemode[account_id]:
            yield from _add(account_id, subject_id, hour_ms, micros, customers)
    yield "UPDATE settings SET value = ? WHERE name = ?", (str(rows[-1][0]), _CURSOR)
    return len(rows)


def _add(
    account_id: int, subject_id: int, hour_ms: int, micros: int, customers: dict[tuple[int, int], str | None]
) -> Script[None]:
    known = yield (
        "SELECT customer_id FROM stripe_usage WHERE account_id = ? AND subject_id = ? AND hour_ms = ?",
        (account_id, subject_id, hour_ms),
    )
    if known:
        customer_id = known[0][0]
        yield (
            "UPDATE stripe_usage SET price_micros = price_micros + ?"
            " WHERE account_id = ? AND subject_id = ? AND hour_ms = ?",
            (micros, account_id, subject_id, hour_ms),
        )
    else:
        if (account_id, subject_id) not in customers:
            customers[account_id, subject_id] = yield from customer(subject_id or account_id)
        customer_id = customers[account_id, subject_id]
        yield (
            "INSERT INTO stripe_usage (account_id, subject_id, hour_ms, customer_id, price_micros)"
            " VALUES (?, ?, ?, ?, ?)",
            (account_id, subject_id, hour_ms, customer_id, micros),
        )
    if customer_id is not None:
        yield from _bill(customer_id, hour_ms, micros)


def _bill(customer_id: str, hour_ms: int, micros: int) -> Script[None]:
    """Add to a customer's hour, which waits to be told unless it was refused: then it waits for the operator."""
    yield (
        "INSERT INTO stripe_hours (customer_id, hour_ms, price_micros, state) VALUES (?, ?, ?, 'waiting')"
        " ON CONFLICT (customer_id, hour_ms) DO UPDATE SET price_micros = stripe_hours.price_micros"
        " + excluded.price_micros,"
        " state = CASE WHEN stripe_hours.state = 'refused' THEN 'refused' ELSE 'waiting' END",
        (customer_id, hour_ms, micros),
    )


def found_late(now_ms: int, after: Caller) -> Script[tuple[list[tuple[Caller, str]], Caller | None]]:
    """Some of those whose usage has no customer and who have one now, and where to look on; None at the end.

    What is too old to be told stays without one.
    """
    rows = yield (
        "SELECT DISTINCT account_id, subject_id FROM stripe_usage WHERE customer_id IS NULL AND hour_ms >= ?"
        " AND (account_id > ? OR (account_id = ? AND subject_id > ?)) ORDER BY account_id, subject_id LIMIT ?",
        (now_ms - SENDABLE_MS, after[0], after[0], after[1], MAPPED_AT_ONCE),
    )
    found = []
    for account_id, subject_id in rows:
        customer_id = yield from customer(subject_id or account_id)
        if customer_id is not None:
            found.append(((account_id, subject_id), customer_id))
    last = rows[-1] if len(rows) == MAPPED_AT_ONCE else None
    return found, None if last is None else (last[0], last[1])


def map_late(caller: Caller, customer_id: str, now_ms: int) -> Script[None]:
    """Give usage to a customer that was named after it."""
    hours = yield (
        "SELECT hour_ms, price_micros FROM stripe_usage WHERE account_id = ? AND subject_id = ?"
        " AND customer_id IS NULL AND hour_ms >= ?",
        (*caller, now_ms - SENDABLE_MS),
    )
    for hour_ms, micros in hours:
        yield (
            "UPDATE stripe_usage SET customer_id = ? WHERE account_id = ? AND subject_id = ? AND hour_ms = ?",
            (customer_id, *caller, hour_ms),
        )
        yield from _bill(customer_id, hour_ms, micros)


def take(limit: int, now_ms: int) -> Script[list[Hour]]:
    """Hours that are to be told now, each customer's oldest first; each gets its number before it is sent."""
    rows = yield (
        "SELECT customer_id, hour_ms, price_micros, sends, tries FROM stripe_hours"
        " WHERE state = 'waiting' AND due_ms <= ? ORDER BY due_ms, hour_ms, customer_id LIMIT ?",
        (now_ms, limit),
    )
    hours = []
    for customer_id, hour_ms, price_micros, sends, tries in rows:
        yield (
            "UPDATE stripe_hours SET sends = sends + 1 WHERE customer_id = ? AND hour_ms = ?",
            (customer_id, hour_ms),
        )
        hours.append(
            Hour(customer_id=customer_id, hour_ms=hour_ms, price_micros=price_micros, number=sends, tries=tries)
        )
    return hours


def say(results: list[Said], now_ms: int) -> Script[None]:
    """Write down what became of hours that were told."""
    for each in results:
        hour = each.hour
        key = (hour.customer_id, hour.hour_ms)
        if each.taken:
            yield (
                "UPDATE stripe_hours SET sent_micros = ?, tries = 0, due_ms = 0, refusal = NULL, state ="
                " CASE WHEN price_micros = ? THEN 'sent' ELSE 'waiting' END WHERE customer_id = ? AND hour_ms = ?",
                (hour.price_micros, hour.price_micros, *key),
            )
        elif each.refusal is not None:
            yield (
                "UPDATE stripe_hours SET state = 'refused', refusal = ? WHERE customer_id = ? AND hour_ms = ?",
                (each.refusal, *key),
            )
            facts: dict[str, Any] = {
                "reason": each.refusal,
                "customer": hour.customer_id,
                "hour_ms": hour.hour_ms,
                "price_micros": hour.price_micros,
            }
            yield from messages.turned(f"stripe_refused:{hour.customer_id}:{hour.hour_ms}", REJECTED, facts, now_ms)
        else:
            yield (
                "UPDATE stripe_hours SET tries = tries + 1, due_ms = ? WHERE customer_id = ? AND hour_ms = ?",
                (each.due_ms, *key),
            )


def retry() -> Script[int]:
    """Let what was refused be told again; how many hours."""
    rows = yield "SELECT customer_id, hour_ms FROM stripe_hours WHERE state = 'refused'", ()
    for customer_id, hour_ms in rows:
        yield "DELETE FROM settings WHERE name = ?", (f"stripe_refused:{customer_id}:{hour_ms}",)
    yield "UPDATE stripe_hours SET state = 'waiting', tries = 0, due_ms = 0 WHERE state = 'refused'", ()
    return len(rows)


def again(from_ms: int, to_ms: int) -> Script[int]:
    """Let all hours of a span be told again, whatever Stripe was told of them; how many."""
    span = (from_ms, to_ms)
    ((count,),) = yield "SELECT COUNT(*) FROM stripe_hours WHERE hour_ms >= ? AND hour_ms < ?", span
    yield (
        "UPDATE stripe_hours SET state = 'waiting', tries = 0, due_ms = 0 WHERE hour_ms >= ? AND hour_ms < ?",
        span,
    )
    return int(count)


def reported(event_id: str, meter_id: str, now_ms: int) -> Script[bool]:
    """Stripe has found later that something it had taken is wrong: tell the operator, once; whether it was new."""
    name = f"stripe_report:{event_id}"
    rows = yield "SELECT 1 FROM settings WHERE name = ?", (name,)
    facts: dict[str, Any] = {"reason": f"events of meter {meter_id} were not counted", "meter": meter_id}
    yield from messages.turned(name, REJECTED, facts, now_ms)
    return not rows


def standing(limit: int) -> Script[Standing]:
    """How it stands; the newest refusals, at most so many."""
    since_ms = yield from since()
    rows = yield "SELECT state, COUNT(*) FROM stripe_hours GROUP BY state", ()
    counts = {str(state): int(count) for state, count in rows}
    refused = yield (
        "SELECT customer_id, hour_ms, price_micros, refusal FROM stripe_hours WHERE state = 'refused'"
        " ORDER BY hour_ms DESC, customer_id LIMIT ?",
        (limit,),
    )
    ((micros,),) = yield "SELECT COALESCE(SUM(price_micros), 0) FROM stripe_usage WHERE customer_id IS NULL", ()
    return Standing(
        since_ms=since_ms,
        waiting=counts.get("waiting", 0),
        sent=counts.get("sent", 0),
        refused=counts.get("refused", 0),
        refusals=[
            Refused(customer_id=customer_id, hour_ms=hour_ms, price_micros=price_micros, reason=reason)
            for customer_id, hour_ms, price_micros, reason in refused
        ],
        without_customer_micros=int(micros),
    )


def customers(from_ms: int, to_ms: int) -> Script[list[str]]:
    """Whose hours of a span were collected, whatever they came to."""
    rows = yield (
        "SELECT DISTINCT customer_id FROM stripe_hours WHERE hour_ms >= ? AND hour_ms < ? ORDER BY 1",
        (from_ms, to_ms),
    )
    return [str(customer_id) for (customer_id,) in rows]


def priced_hours(from_ms: int, to_ms: int) -> Script[dict[tuple[str, int], int]]:
    """Σ price_micros of `[from_ms, to_ms)` by customer and hour, from the events themselves.

    Raises:
        Dropped: Some of them are gone.
    """
    since_ms = yield from since()
    from_ms = max(from_ms, since_ms or 0)
    kept_from_ms = yield from kept_from()
    if from_ms < kept_from_ms:
        raise Dropped(kept_from_ms)
    rows = yield (
        "SELECT account_id, subject_id, created_ms - created_ms % 3600000 AS hour_ms, SUM(price_micros) FROM events"
        " WHERE created_ms >= ? AND created_ms < ? AND account_id IN (SELECT id FROM accounts WHERE livemode = 1)"
        " GROUP BY 1, 2, 3",
        (from_ms, to_ms),
    )
    known = yield (
        "SELECT account_id, subject_id, hour_ms, customer_id FROM stripe_usage WHERE hour_ms >= ? AND hour_ms < ?",
        (from_ms - from_ms % HOUR_MS, to_ms),
    )
    of = {(account_id, subject_id, hour_ms): customer_id for account_id, subject_id, hour_ms, customer_id in known}
    sums: dict[tuple[str, int], int] = {}
    for account_id, subject_id, hour_ms, micros in rows:
        if not micros:
            continue
        customer_id = of.get((account_id, subject_id, hour_ms))
        if customer_id is None:
            customer_id = yield from customer(subject_id or account_id)
        if customer_id is not None:
            sums[customer_id, int(hour_ms)] = sums.get((customer_id, int(hour_ms)), 0) + int(micros)
    return sums
