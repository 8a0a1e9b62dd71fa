"""Taking a call's worst case from every limit that it counts against, or from none. Pure."""

from __future__ import annotations

import msgspec

from ledger.book import Account, Book, Counter, Event, Hold, Limit
from ledger.fitting import Claim, cap_name, fits, own_caps, required, shortfall_of, unbounded, with_set_cap
from ledger.matching import line, marks, matching
from ledger.money import COUNT_MAX, ceil_micros
from ledger.records import Ask, Block, Extend, Held, Leg, Measures, Prolong, Refused, Shortfall

STALE = Refused(reason="stale")
_NOTHING = Measures()


def hold(book: Book, ask: Ask, now_ms: int) -> Held | Refused:
    """Take the worst case of a call from every matching limit, or from none."""
    account = book.account(ask.account_id)
    if account is None:
        return STALE
    for account_id, version in ask.versions:
        current = book.account(account_id)
        if current is None or current.version != version:
            return STALE
    if ask.expires_ms is not None and _known(book, ask.id):
        return Refused(reason="exists")
    chain, subjects = line(book, account, ask)
    reason = _closed(ask, account, chain, subjects, now_ms)
    if reason is not None:
        return STALE if reason == "stale" else _refuse(book, ask, reason, now_ms)

    at_ms = now_ms if ask.at_ms is None else ask.at_ms
    claims = [
        (owner, limit, key, book.counter(key)) for owner, limit, key in matching(account, chain, subjects, ask, at_ms)
    ]
    own = tuple(own_caps(ask, account, claims))
    claims = with_set_cap(ask, account, chain[1:], claims)
    caps = (*claims, *own)
    reason = unbounded(ask, account, caps)
    if reason is not None:
        return _refuse(book, ask, reason, now_ms)
    allowance = ask.want
    warnings: list[str] = []
    failed: tuple[Account, Limit, Counter] | None = None
    for owner, limit, _key, counter in caps:
        maximum = limit.max_at(now_ms)
        if maximum is None:
            continue
        fitting = fits(ask, limit.unit, maximum - counter.taken)
        if limit.action == "warn":
            if fitting < ask.least:
                warnings.append(f"over:{limit.public_id}")
            continue
        allowance = min(allowance, fitting)
        if fitting < ask.least and (failed is None or (limit.unit == "micros" and failed[1].unit != "micros")):
            failed = (owner, limit, counter)
    if failed is not None:
        shortfall = shortfall_of(ask, *failed, at_ms, now_ms, allowance)
        refused = "spend_cap_exceeded" if shortfall.unit == "micros" else "rate_limited"
        return _refuse(book, ask, refused, now_ms, shortfall)
    return _take(book, ask, account, claims, allowance, warnings, now_ms)


def _refuse(book: Book, ask: Ask, reason: str, now_ms: int, shortfall: Shortfall | None = None) -> Refused:
    """Say no, on the record unless the caller only asks or counts by itself."""
    if not ask.dry_run and not ask.quiet:
        _block(book, ask, reason, now_ms)
    return Refused(reason=reason, shortfall=shortfall)


def _take(
    book: Book, ask: Ask, account: Account, claims: list[Claim], allowance: int, warnings: list[str], now_ms: int
) -> Held:
    """Take the allowance from every limit; in a dry run, only say what would be left."""
    legs: list[Leg] = []
    left: dict[str, int] = {}
    amount_micros = required(ask, "micros", allowance)
    highest, whose = 0, ""
    for owner, limit, key, counter in claims:
        amount = amount_micros if limit.unit == "micros" else min(required(ask, limit.unit, allowance), COUNT_MAX)
        if not ask.dry_run:
            counter.held += amount
            book.changed_counters[key] = counter
        legs.append((*key, limit.unit, amount))
        maximum = limit.max_at(now_ms)
        if maximum and counter.used * 100 >= maximum:  # no mark is below one percent
            for percent in marks(limit, owner, account):
                if highest < percent and counter.used * 100 >= percent * maximum:
                    highest, whose = percent, cap_name(owner, limit)
        if maximum is not None and limit.action == "block":
            spare = max(maximum - counter.taken - (amount if ask.dry_run else 0), 0)
            left[limit.unit] = min(left.get(limit.unit, spare), spare)
    warning = (whose, highest) if highest else None
    held = Held(id=ask.id, allowance=allowance, amount_micros=amount_micros, left=left, warning=warning)
    if ask.dry_run:
        return held
    book.put_hold(
        Hold(
            id=ask.id,
            account_id=ask.account_id,
            subject_id=ask.subject_id,
            run_id=ask.run_id,
            owner=ask.owner,
            state="open",
            created_ms=now_ms if ask.at_ms is None else ask.at_ms,
            expires_ms=ask.expires_ms,
            amount_micros=amount_micros,
            legs=legs,
            facts=msgspec.structs.replace(ask.facts, flags=tuple(warnings)) if warnings else ask.facts,
        )
    )
    return held


def _known(book: Book, hold_id: str) -> bool:
    """Whether a caller's own reservation was made before; calls' ids are ours, and new each time."""
    return book.hold(hold_id) is not None or book.event_cost_micros(hold_id) is not None


def withdraw(book: Book, found: Hold) -> None:
    """Undo a hold of which nobody was told, so that the call can ask again."""
    for limit_id, subject_id, start_ms, _unit, amount in found.legs:
        key = (limit_id, subject_id, start_ms)
        counter = book.counter(key)
        counter.held -= amount
        book.changed_counters[key] = counter
    book.end_hold(found)


def extend(book: Book, operation: Extend, now_ms: int) -> bool:
    """Hold more for a call in flight, if every limit that it counts against has room for it."""
    found = book.hold(operation.id)
    account = None if found is None else book.account(found.account_id)
    if found is None or account is None or found.state != "open":
        return False
    more = {
        "micros": ceil_micros(operation.each_picos * operation.allowance),
        "tokens": operation.each_tokens * operation.allowance,
        "seconds": operation.each_seconds * operation.allowance,
    }
    maxima = {
        key: limit.max_at(now_ms)
        for _owner, limit, key in matching(account, *line(book, account, found), found, found.created_ms)
        if limit.action == "block" and limit.unit in more
    }
    for *key, unit, _amount in found.legs:
        counter_key = (key[0], key[1], key[2])
        maximum = maxima.get(counter_key)
        if maximum is not None and more[unit] > max(maximum - book.counter(counter_key).taken, 0):
            return False
    legs: list[Leg] = []
    for limit_id, subject_id, start_ms, unit, amount in found.legs:
        counter_key = (limit_id, subject_id, start_ms)
        counter = book.counter(counter_key)
        counter.held += more.get(unit, 0)
        book.changed_counters[counter_key] = counter
        legs.append((*counter_key, unit, amount + more.get(unit, 0)))
    found.legs = legs
    found.amount_micros += more["micros"]
    book.put_hold(found)
    return True


def prolong(book: Book, operation: Prolong) -> bool:
    """Let a caller's own reservation live longer; False if it has ended."""
    found = book.hold(operation.id)
    if found is None or found.state != "open":
        return False
    found.expires_ms = operation.expires_ms
    book.put_hold(found)
    return True


def _closed(ask: Ask, account: Account, chain: list[Account], subjects: list[Account], now_ms: int) -> str | None:
    """Why no call is let through this account, whatever its cost."""
    for current in chain:
        if current.revoked_ms is not None:
            return "key_revoked"
        if current.disabled:
            return "key_disabled"
        if current.expires_ms is not None and current.expires_ms <= now_ms:
            return "key_expired"
    if len(chain) != len(account.chain) or len(subjects) != (ask.subject_id > 0) + (ask.run_id > 0):
        return "stale"
    for subject in subjects:
        if subject.revoked_ms is not None:
            return "stale"  # forgotten since the caller looked it up
        if subject.disabled:
            return "run_closed" if subject.kind == "run" else "end_user_disabled"
    return None


def block(book: Book, operation: Block, now_ms: int) -> None:
    """Record a call that was refused before any hold was asked for."""
    _block(book, operation, operation.reason, now_ms)


def _block(book: Book, call: Ask | Block, reason: str, now_ms: int) -> None:
    book.put_event(
        Event(
            id=call.id,
            account_id=call.account_id,
            subject_id=call.subject_id,
            run_id=call.run_id,
            created_ms=now_ms,
            settled_ms=now_ms,
            facts=call.facts if isinstance(call, Block) else msgspec.structs.replace(call.facts, metadata={}),
            model=call.facts.model,
            decision="blocked",
            reason=reason,
            status="released",
            usage={"count": call.count} if isinstance(call, Block) and call.count > 1 else {},
            cost_micros=0,
            cost_picos=0,
            price_micros=0,
            held_micros=0,
            http_status=call.http_status if isinstance(call, Block) else None,
            latency_ms=None,
            ttft_ms=None,
            flags=(),
            legs=[],
        ),
        _NOTHING,
    )
