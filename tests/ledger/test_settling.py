"""A hold ends once, whichever way it ends, and is counted where it was taken from."""

from __future__ import annotations

import pytest

from ledger import rules
from ledger.book import Book
from ledger.records import Facts, Held, Recover, Refused, Report, Settled, Settlement
from tests.ledger.tables import Memory, ask
from tests.ledger.world import PICOS, World, settlement


def test_a_hold_that_ended_in_this_batch_has_ended() -> None:
    """A second settlement in the batch of the first finds the event, although the tables still have the hold."""
    tables = Memory()
    before = Book(tables)
    assert isinstance(rules.apply(before, ask("c", 10), 0), Held)
    tables.holds = dict(before.written_holds)
    book = Book(tables)
    assert rules.apply(book, settlement("c", 7), 0) == Settled(id="c", cost_micros=7, first=True)
    assert rules.apply(book, settlement("c", 9), 0) == Settled(id="c", cost_micros=7, first=False)
    assert [event.cost_micros for event in book.events] == [7]
    assert book.ended_holds == {"c"}
    (counter,) = book.changed_counters.values()
    assert (counter.used, counter.held) == (7, 0)


def test_a_recovered_hold_may_be_settled_in_the_same_batch() -> None:
    """Recovery and the late settlement meet in one batch: an unsettled event, an adjustment, one charge."""
    tables = Memory()
    before = Book(tables)
    rules.apply(before, ask("c", 10), 0)
    tables.holds = dict(before.written_holds)
    book = Book(tables)
    rules.apply(book, Recover(id="c"), 0)
    assert rules.apply(book, settlement("c", 7), 0) == Settled(id="c-late", cost_micros=7, first=True)
    rules.apply(book, Recover(id="c"), 0)
    assert [(event.id, event.status, event.cost_micros) for event in book.events] == [
        ("c", "unsettled", 0),
        ("c-late", "settled", 7),
    ]
    (counter,) = book.changed_counters.values()
    assert (counter.used, counter.held, counter.unsettled) == (7, 0, 0)


async def test_a_call_whose_owner_died_is_not_in_flight_any_more(world: World) -> None:
    """An unsettled call counts against money and tokens, but not as one of so many at once."""
    key = await world.open(cap=100)
    await world.edit(key, limits=(world.terms("concurrent", 1), world.terms("tokens", 10)))
    call = await world.held(key, 40, fixed_tokens=6, owner="dead")
    assert isinstance(await world.hold(key, 1), Refused)
    await world.ledger.tending.recover()
    refused = await world.hold(key, 1, fixed_tokens=5)
    assert isinstance(refused, Refused)
    assert refused.shortfall is not None
    assert refused.shortfall.unit == "tokens"
    assert isinstance(await world.hold(key, 60, fixed_tokens=4), Held)
    await world.settle(call, 1, tokens=1)
    assert (await world.view(key)).cap.unsettled == 0


async def test_a_report_counts_once_in_the_window_of_its_own_time(world: World) -> None:
    """A call that was made elsewhere is charged once, where and when it was made, and no cap refuses it."""
    key = await world.open(cap=10, reset="day")
    yesterday = world.clock() - 86_400_000
    report = Report(
        id="rep_1", account_id=world.accounts[key], facts=Facts(mode="monitor"), at_ms=yesterday, cost_picos=25 * PICOS
    )
    first = await world.ledger.calls.report(report)
    again = await world.ledger.calls.report(report)
    assert first == Settled(id="rep_1", cost_micros=25, first=True)
    assert again == Settled(id="rep_1", cost_micros=25, first=False)
    view = await world.view(key)
    assert (view.spent_micros, view.remaining_micros, view.overrun_micros) == (25, 10, 0)
    world.clock.now_ms = yesterday
    assert (await world.view(key)).remaining_micros == 0


async def test_a_report_of_nobody_is_nothing(world: World) -> None:
    """A report for an account that does not exist is answered with None."""
    report = Report(id="rep_1", account_id=99, facts=Facts(mode="monitor"), at_ms=0, cost_picos=1)
    assert await world.ledger.calls.report(report) is None


@pytest.mark.parametrize("status", ["settled", "estimated", "released"])
async def test_an_admitted_call_is_a_request_however_it_ends(world: World, status: str) -> None:
    """A limit of requests counts admitted calls; a refused one counts nothing."""
    key = await world.open(cap=5)
    await world.edit(key, limits=(world.terms("requests", 2),))
    assert isinstance(await world.hold(key, 6), Refused)
    call = await world.held(key, 5)
    await world.ledger.calls.settled(Settlement(id=call, status=status, cost_picos=0))  # type: ignore[arg-type]
    await world.held(key, 5)
    refused = await world.hold(key, 0)
    assert isinstance(refused, Refused)
    assert refused.reason == "rate_limited"
