"""Charging an event more or less than it says, by another one beside it. Pure: a book in, a changed book out.

Promises: what was written stays; balances and the caps in which the call counted move by the difference, also down; no
hold is touched. A counter of a cap never falls below nothing: whoever has used less than is taken back has used none.
"""

from __future__ import annotations

from ledger.book import Book, CounterKey, Event
from ledger.matching import line, matching
from ledger.money import add, charge
from ledger.records import Adjust, Measures, Settled

REPRICED = "repriced"
"""The reason with which an event stands beside the one whose price it corrects."""


def adjusted(book: Book, operation: Adjust) -> list[CounterKey]:
    """The counters that move: those the call counted in, and the balances of all that it was charged to."""
    account = book.account(operation.account_id)
    if account is None:
        return []
    chain, subjects = line(book, account, operation)
    found = matching(account, chain, subjects, operation, operation.at_ms)
    balances = [key for _owner, limit, key in found if limit.role == "total"]
    return list(dict.fromkeys((*operation.counters, *balances)))


def adjust(book: Book, operation: Adjust, now_ms: int) -> Settled | None:
    """Write the adjustment; None if there is no such account. A second one of the same id changes nothing."""
    before = book.event_cost_micros(operation.id)
    if before is not None:
        return Settled(id=operation.id, cost_micros=before, first=False)
    account = book.account(operation.account_id)
    if account is None:
        return None
    facts = operation.facts
    cost, account.carry_picos = charge(account.carry_picos, operation.cost_picos)
    price_picos = operation.cost_picos + operation.cost_picos * facts.markup_ppm // 1_000_000
    price, account.price_carry_picos = charge(account.price_carry_picos, price_picos)
    for spender_id in (account.id, operation.subject_id, operation.run_id):
        if spender_id and (spender := book.account(spender_id)) is not None:
            spender.spent_micros = add(spender.spent_micros, cost)
            spender.price_micros = add(spender.price_micros, price)
            book.changed_accounts[spender_id] = spender
    legs = []
    for key in adjusted(book, operation):
        counter = book.counter(key)
        change = max(cost, -counter.used)
        if change:
            counter.used = add(counter.used, change)
            book.changed_counters[key] = counter
            legs.append((*key, change))
    event = Event(
        id=operation.id,
        account_id=operation.account_id,
        subject_id=operation.subject_id,
        run_id=operation.run_id,
        created_ms=operation.at_ms,
        settled_ms=now_ms,
        facts=facts,
        model=facts.model,
        decision="allowed",
        reason=REPRICED,
        status="settled",
        usage={},
        cost_micros=cost,
        cost_picos=operation.cost_picos,
        price_micros=price,
        held_micros=max(cost, 0),  # nobody has gone above a hold
        http_status=None,
        latency_ms=None,
        ttft_ms=None,
        flags=(),
        legs=legs,
    )
    book.put_event(event, Measures())
    return Settled(id=operation.id, cost_micros=cost, first=True)
