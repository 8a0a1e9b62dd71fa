"""Replacing a hold by the truth, exactly once. Pure: a book in, a changed book out."""

from __future__ import annotations

import msgspec

from ledger.book import Book, Event, Hold
from ledger.matching import line, matching
from ledger.money import CHARGE_MICROS_MAX, COUNT_MAX, PICOS_PER_MICRO, add, charge
from ledger.records import LOST, Leg, Recover, Report, Settled, Settlement

EXPIRED = "expired"
"""The reason with which a reservation ends whose time is over."""

IMPLAUSIBLE = "implausible"
"""The reason with which a call becomes `unsettled` of which more is said than any call can have used."""

TOLD = ""
"""The owner of an unsettled hold whose process has said all that it knows; of one that it may still tell of, itself."""


def settle(book: Book, settlement: Settlement, now_ms: int) -> Settled | None:
    """Replace a hold by the truth. A second settlement changes nothing; None if the id was never held."""
    found = book.hold(settlement.id)
    if found is not None:
        if settlement.reason == EXPIRED and (found.expires_ms or 0) > now_ms:
            return None  # prolonged since it was found to be over
        if not _plausible(settlement, found.amount_micros):
            if found.state == "open":
                _end(book, found, _unknown(found.id, IMPLAUSIBLE), now_ms)
            return Settled(id=found.id, cost_micros=0, first=False)
        if found.state == "unsettled" and settlement.keeps_rest and (found.owner == TOLD or not settlement.cost_picos):
            return Settled(id=found.id, cost_micros=book.event_cost_micros(found.id) or 0, first=False)
        return _end(book, found, settlement, now_ms)
    for event_id in (_late_id(settlement.id), settlement.id):
        cost = book.event_cost_micros(event_id)
        if cost is not None:
            return Settled(id=event_id, cost_micros=cost, first=False)
    return None


def _late_id(hold_id: str) -> str:
    """The event of a settlement that came after its hold had been recovered."""
    return f"{hold_id}-late"


def recover(book: Book, operation: Recover, now_ms: int) -> None:
    """Turn an open hold whose owner died into an `unsettled` event. A hold that ended meanwhile is left alone."""
    found = book.hold(operation.id)
    if found is not None and found.state == "open":
        _end(book, found, _unknown(found.id, operation.reason), now_ms)


def _unknown(hold_id: str, reason: str) -> Settlement:
    """The end of a call of which nobody knows what it came to."""
    return Settlement(id=hold_id, status="unsettled", cost_picos=0, requests=0, reason=reason, keeps_rest=True)


def report(book: Book, operation: Report, now_ms: int) -> Settled | None:
    """Count a call that has been made elsewhere. None if there is no such account, or it cannot have cost so much."""
    cost = book.event_cost_micros(operation.id)
    if cost is not None:
        return Settled(id=operation.id, cost_micros=cost, first=False)
    account = book.account(operation.account_id)
    if account is None or not _plausible(operation, 0):
        return None
    legs: list[Leg] = [
        (*key, limit.unit, operation.requests if limit.unit == "requests" else 0)
        for _owner, limit, key in matching(account, *line(book, account, operation), operation, operation.at_ms)
    ]
    for limit_id, subject_id, start_ms, _unit, amount in legs:
        book.counter((limit_id, subject_id, start_ms)).held += amount
    made = Hold(
        id=operation.id,
        account_id=operation.account_id,
        subject_id=operation.subject_id,
        run_id=operation.run_id,
        owner="",
        state="open",
        created_ms=operation.at_ms,
        expires_ms=None,
        amount_micros=0,
        legs=legs,
        facts=operation.facts,
    )
    settlement = Settlement(
        id=operation.id,
        status="settled",
        cost_picos=operation.cost_picos,
        measures=operation.measures,
        tokens=operation.tokens,
        seconds=operation.seconds,
        usage=operation.usage,
        latency_ms=operation.latency_ms,
    )
    return _end(book, made, settlement, now_ms)


def _plausible(said: Settlement | Report, held_micros: int) -> bool:
    """Whether an end can be written: nobody has used more of anything in one call, and sums must not overflow."""
    if said.cost_picos > max(CHARGE_MICROS_MAX, held_micros) * PICOS_PER_MICRO:
        return False
    most: int = max(said.tokens, said.seconds, said.requests or 0, *msgspec.structs.astuple(said.measures))
    return most <= COUNT_MAX


def _end(book: Book, found: Hold, settlement: Settlement, now_ms: int) -> Settled:
    """Charge the truth, give back the hold or keep the rest of it, write the event."""
    late = found.state == "unsettled"
    keeps_rest = settlement.keeps_rest and not late
    account = book.account(found.account_id)
    if account is None:
        raise LookupError(f"hold {found.id} names account {found.account_id}, which does not exist")
    cost, account.carry_picos = charge(account.carry_picos, settlement.cost_picos)
    price_picos = settlement.cost_picos + settlement.cost_picos * found.facts.markup_ppm // 1_000_000
    price, account.price_carry_picos = charge(account.price_carry_picos, price_picos)
    overrun = 0 if found.facts.mode == "monitor" else max(0, cost - found.amount_micros)
    account.overrun_micros = add(account.overrun_micros, overrun)
    if overrun:
        settlement = msgspec.structs.replace(settlement, flags=(*settlement.flags, "overrun"))
    book.changed_accounts[account.id] = account
    for spender_id in (account.id, found.subject_id, found.run_id):
        if spender_id and (spender := book.account(spender_id)) is not None:
            spender.spent_micros = add(spender.spent_micros, cost)
            spender.price_micros = add(spender.price_micros, price)
            if settlement.status != "unsettled":
                spender.last_used_ms = now_ms
            book.changed_accounts[spender_id] = spender

    actual = {"micros": cost, "tokens": settlement.tokens, "seconds": settlement.seconds, "concurrent": 0}
    if settlement.requests is not None:
        actual["requests"] = settlement.requests
    used = []
    rest: list[Leg] = []
    for limit_id, subject_id, start_ms, unit, amount in found.legs:
        key = (limit_id, subject_id, start_ms)
        counter = book.counter(key)
        if late:
            counter.unsettled -= amount
        else:
            counter.held -= amount
        spent = actual.get(unit, amount)  # requests: as many as were held
        counter.used = add(counter.used, spent)
        if keeps_rest:
            kept = 0 if unit == "concurrent" else max(amount - spent, 0)
            counter.unsettled += kept
            rest.append((*key, unit, kept))
        book.changed_counters[key] = counter
        used.append((*key, spent))
    event_id = _late_id(found.id) if late else found.id
    event = _event(found, settlement, event_id, cost, price, used, now_ms)
    book.put_event(event, settlement.measures)
    if keeps_rest:
        found.state, found.legs = "unsettled", rest
        found.amount_micros = max(found.amount_micros - cost, 0)
        found.expires_ms = settlement.rest_until_ms
        if settlement.reason != LOST:
            found.owner = TOLD
        book.put_hold(found)
    else:
        book.end_hold(found)
    return Settled(id=event_id, cost_micros=cost, first=True)


def _event(
    found: Hold,
    settlement: Settlement,
    event_id: str,
    cost: int,
    price: int,
    used: list[tuple[int, int, int, int]],
    now_ms: int,
) -> Event:
    facts = found.facts
    if settlement.price_version:
        facts = msgspec.structs.replace(facts, price_version=settlement.price_version)
    if event_id != found.id:
        metadata = facts.metadata | {"adjusts": f"evt_{found.id}"}
        facts = msgspec.structs.replace(facts, mode="adjustment", metadata=metadata)
    return Event(
        id=event_id,
        account_id=found.account_id,
        subject_id=found.subject_id,
        run_id=found.run_id,
        created_ms=found.created_ms,
        settled_ms=now_ms,
        facts=facts,
        model=settlement.model or facts.model,
        decision="allowed",
        reason=settlement.reason,
        status=settlement.status,
        usage=settlement.usage,
        cost_micros=cost,
        cost_picos=settlement.cost_picos,
        price_micros=price,
        held_micros=found.amount_micros,
        http_status=settlement.http_status,
        latency_ms=settlement.latency_ms,
        ttft_ms=settlement.ttft_ms,
        flags=(*facts.flags, *settlement.flags),
        legs=[leg for leg in used if leg[3]],
    )
