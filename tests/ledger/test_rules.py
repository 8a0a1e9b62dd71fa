"""Corners of the rules that a random life seldom reaches; the rest is `test_machine`'s."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import holding, rules
from ledger.book import Account, Book, Counter, CounterKey, Hold, Limit, Rollup, RollupKey
from ledger.records import Ask, Extend, Facts, Held, Recover, Refused, Report, Settled, Settlement
from tests.ledger.world import PICOS, World, settlement

BALANCE = Limit(id=1, public_id="lim_1", role="total", unit="micros", max=100, window="total")


class Memory:
    """Tables that hold what an earlier transaction has written, and take nothing in."""

    def __init__(self) -> None:
        self.holds: dict[str, Hold] = {}

    def account(self, account_id: int) -> Account | None:
        if account_id != 1:
            return None
        return Account(
            id=1,
            public_id="key_1",
            kind="key",
            chain=(1,),
            livemode=True,
            disabled=False,
            revoked_ms=None,
            expires_ms=None,
            version=1,
            spent_micros=0,
            carry_picos=0,
            price_micros=0,
            price_carry_picos=0,
            overrun_micros=0,
            last_used_ms=None,
            limits=(BALANCE,),
        )

    def counter(self, key: CounterKey) -> Counter | None:
        return Counter(held=sum(hold.amount_micros for hold in self.holds.values()))

    def hold(self, hold_id: str) -> Hold | None:
        return self.holds.get(hold_id)

    def rollup(self, key: RollupKey) -> Rollup | None:
        return None

    def event_cost_micros(self, event_id: str) -> int | None:
        return None


def ask(call: str, micros: int) -> Ask:
    return Ask(id=call, account_id=1, facts=Facts(), owner="o", fixed_picos=micros * PICOS)


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


def test_an_account_that_does_not_exist_is_stale() -> None:
    """A hold for nobody is refused as stale and leaves no trace."""
    book = Book(Memory())
    unknown = Ask(id="c", account_id=7, facts=Facts(), owner="o")
    assert rules.apply(book, unknown, 0) == Refused(reason="stale")
    assert not book.events


@given(
    cap=st.integers(0, 50),
    fixed=st.integers(0, 60 * PICOS),
    each=st.integers(0, 3 * PICOS),
    want=st.integers(0, 60),
    data=st.data(),
)
def test_what_is_affordable_is_granted_and_no_more(
    cap: int, fixed: int, each: int, want: int, data: st.DataObject
) -> None:
    """Asking again for exactly what was called affordable is admitted; for one more it is not."""
    least = data.draw(st.integers(0, want))

    def outcome(least: int, want: int) -> Held | Refused:
        book = Book(Memory())
        account = book.account(1)
        assert account is not None
        account.limits = (Limit(id=1, public_id="l", role="total", unit="micros", max=cap, window="total"),)
        call = Ask(
            id="c", account_id=1, facts=Facts(), owner="o", fixed_picos=fixed, each_picos=each, want=want, least=least
        )
        result = holding.hold(book, call, 0)
        assert isinstance(result, Held | Refused)
        return result

    first = outcome(least, want)
    if isinstance(first, Held):
        assert least <= first.granted <= want
        assert first.amount_micros <= cap
        assert first.granted == want or isinstance(outcome(first.granted + 1, want), Refused)
        return
    assert first.shortfall is not None
    assert first.shortfall.required > first.shortfall.remaining
    affordable = first.shortfall.affordable
    assert affordable < max(least, 1)
    if affordable:
        assert isinstance(outcome(affordable, affordable), Held)
        assert isinstance(outcome(affordable + 1, affordable + 1), Refused)


# ---- extending


async def test_an_extension_is_taken_whole_or_not_at_all(world: World) -> None:
    """More is held only where every limit has room; what cannot be extended says so and holds what it held."""
    root = await world.open(cap=30)
    key = await world.open(root, cap=100)
    await world.edit(key, limits=(world.terms("tokens", 50),))
    call = await world.held(key, 10, fixed_tokens=20)
    assert await world.ledger.calls.extend(Extend(id=call, each_picos=PICOS, each_tokens=1, allowance=20))
    assert not await world.ledger.calls.extend(Extend(id=call, each_picos=PICOS, each_tokens=0, allowance=1))
    assert await world.ledger.calls.extend(Extend(id=call, each_picos=0, each_tokens=1, allowance=10))
    assert not await world.ledger.calls.extend(Extend(id=call, each_picos=0, each_tokens=1, allowance=1))
    assert not await world.ledger.calls.extend(Extend(id="c_unknown", each_picos=0, each_tokens=0, allowance=0))
    assert (await world.view(root)).cap.held == 30
    settled = await world.settle(call, 25, tokens=45)
    assert settled is not None
    view = await world.view(key)
    assert (view.cap.used, view.overrun_micros) == (25, 0)
    assert not await world.ledger.calls.extend(Extend(id=call, each_picos=0, each_tokens=0, allowance=0))


async def test_a_hold_of_seconds_shrinks_and_grows_in_steps(world: World) -> None:
    """A call that takes sound as it comes is granted the seconds that there are, and raised while there are more."""
    key = await world.open()
    limit = world.terms("seconds", 100)
    await world.edit(key, limits=(limit,))
    first = await world.hold(key, seconds=5, each_seconds=10, want=6, least=1)
    assert isinstance(first, Held)
    assert first.granted == 6
    second = await world.hold(key, seconds=5, each_seconds=10, want=6, least=1)
    assert isinstance(second, Held)
    assert second.granted == 3  # 35 seconds are left
    assert not await world.ledger.calls.extend(
        Extend(id=first.id, each_picos=0, each_tokens=0, each_seconds=1, allowance=1)
    )
    await world.settle(second.id, 1, seconds=30)
    assert await world.ledger.calls.extend(
        Extend(id=first.id, each_picos=0, each_tokens=0, each_seconds=1, allowance=5)
    )
    assert not await world.ledger.calls.extend(
        Extend(id=first.id, each_picos=0, each_tokens=0, each_seconds=1, allowance=1)
    )
    refused = await world.hold(key, seconds=1, each_seconds=10, want=6, least=1)
    assert isinstance(refused, Refused)
    assert refused.shortfall is not None
    assert (refused.shortfall.required, refused.shortfall.remaining) == (11, 0)


async def test_an_extension_that_needs_nothing_passes_an_overdrawn_limit(world: World) -> None:
    """What is free of a unit may be extended although nothing of that unit is left."""
    key = await world.open(cap=100)
    await world.edit(key, limits=(world.terms("tokens", 50),))
    call = await world.held(key, 10, fixed_tokens=5)
    other = await world.held(key, 10, fixed_tokens=5)
    await world.settle(other, 10, tokens=90)
    assert await world.ledger.calls.extend(Extend(id=call, each_picos=PICOS, each_tokens=0, allowance=5))
    assert not await world.ledger.calls.extend(Extend(id=call, each_picos=0, each_tokens=1, allowance=1))


# ---- what nobody settled


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


# ---- reports


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


# ---- requests


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


async def test_money_is_named_before_any_other_limit(world: World) -> None:
    """A call that fails at several limits is told of the money first, then of the nearest other."""
    root = await world.open(cap=1)
    key = await world.open(root)
    await world.edit(key, limits=(world.terms("requests", 0), world.terms("tokens", 0)))
    refused = await world.hold(key, 2, fixed_tokens=1)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.shortfall and refused.shortfall.account_id) == ("spend_cap_exceeded", root)
    refused = await world.hold(key, 1, fixed_tokens=1)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.shortfall and refused.shortfall.unit) == ("rate_limited", "requests")
