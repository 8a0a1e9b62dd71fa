"""What is remembered of a database to which others write too: bounded, dropped when it may be over, named when used."""

from __future__ import annotations

import pytest

from ledger import rules
from ledger.book import Account, Counter, Hold, Limit, Rollup
from ledger.postgres.shared_book import SharedBook, is_plain, is_sure
from ledger.postgres.wanted import Loaded, Missing, Wanted
from ledger.records import Ask, Extend, Facts, Held, Settlement
from tests.ledger.world import PICOS

FACTS = Facts(provider="openai", model="gpt")
DAY: tuple[int, int, int, str, str] = (0, 2, 0, "openai", "gpt")


def account(number: int, *chain: int, cap: int | None = None, version: int = 1) -> Account:
    total = Limit(id=number * 10, public_id=f"lim{number}", role="total", unit="micros", max=cap, window="total")
    return Account(
        id=number, public_id=f"key{number}", kind="key", chain=(number, *chain), livemode=True, disabled=False,
        revoked_ms=None, expires_ms=None, version=version, spent_micros=0, carry_picos=0, price_micros=0,
        price_carry_picos=0, overrun_micros=0, last_used_ms=None, limits=(total,),
    )  # fmt: skip


def hold(call: str) -> Hold:
    return Hold(
        id=call, account_id=2, subject_id=0, run_id=0, owner="o", state="open", created_ms=0, expires_ms=None,
        amount_micros=5, legs=[(20, 0, 0, "micros", 5), (10, 0, 0, "micros", 5)], facts=FACTS,
    )  # fmt: skip


def ask(call: str, micros: int = 5) -> Ask:
    return Ask(id=call, account_id=2, facts=FACTS, owner="o", fixed_picos=micros * PICOS)


@pytest.fixture
def book() -> SharedBook:
    """A key under a capped parent, both remembered as of their seventh revision, with a hold and a day's rollup."""
    made = SharedBook(Loaded(Wanted()))
    made.put_account(account(1, cap=100), 7, None)
    made.put_account(account(2, 1), 7, (9, 4))
    made.counters.update({(10, 0, 0): Counter(used=50, held=5), (20, 0, 0): Counter(used=50, held=5)})
    made.put_read_hold(hold("old"))
    made.put_rollup(DAY, Rollup(requests=3))
    return made


def test_a_decision_names_all_that_it_rests_upon(book: SharedBook) -> None:
    """A hold: the versions of the chain and the plan, and the capped parent's maximum. A settlement: the revision."""
    work = [ask("a"), ask("b", 7), Settlement(id="old", status="settled", cost_picos=4 * PICOS)]
    results = [rules.apply(book, each, 0) for each in work]
    assert all(is_plain(each) and is_sure(each, result, book) for each, result in zip(work, results, strict=True))
    basis = book.basis(work, results, 0)
    assert basis.versions == {1: 1, 2: 1, 9: 4}
    assert basis.maxima == {(10, 0, 0): 100}
    assert basis.added == [((10, 0, 0), (4, 7, 0)), ((20, 0, 0), (4, 7, 0))]
    assert [(each.id, revision) for each, revision in basis.accounts] == [(2, 7)]
    held = basis_of_hold_alone(book)
    assert held == []


def basis_of_hold_alone(book: SharedBook) -> list[int]:
    """Whose own rows a new hold changes: nobody's."""
    book.undo()
    fresh = SharedBook(Loaded(Wanted()))
    fresh.put_account(account(1), 1, None)
    fresh.put_account(account(2, 1), 1, None)
    fresh.counters.update({(10, 0, 0): Counter(), (20, 0, 0): Counter()})
    result = rules.apply(fresh, ask("c"), 0)
    return [each.id for each, _ in fresh.basis([ask("c")], [result], 0).accounts]


def test_what_others_added_is_told(book: SharedBook) -> None:
    """The counters that come back are what is remembered, and a hold says what is really left."""
    work = [ask("a")]
    results = [rules.apply(book, work[0], 0)]
    assert isinstance(results[0], Held)
    assert results[0].left == {"micros": 40}
    book.stored(book.basis(work, results, 0), [(60, 20, 0), (50, 10, 0)], results, 0)
    assert isinstance(results[0], Held)
    assert results[0].left == {"micros": 20}
    assert book.counters[10, 0, 0].taken == 80


def test_refusals_and_smaller_allowances_are_not_sure(book: SharedBook) -> None:
    """What others may have bettered is asked again: a refusal, an allowance that shrank, a refused extension."""
    too_much = ask("a", 1000)
    assert not is_sure(too_much, rules.apply(book, too_much, 0), book)
    book.undo()
    assert not is_sure(Extend(id="old", each_picos=PICOS, each_tokens=0, allowance=900), False, book)
    less = Ask(id="b", account_id=2, facts=FACTS, owner="o", each_picos=PICOS, want=1000, least=1)
    assert not is_sure(less, Held(id="b", allowance=45, amount_micros=45), book)


def test_another_revision_ends_what_was_known_of_an_account(book: SharedBook) -> None:
    """When an account comes with a revision that this process did not make, its holds and rollups are read anew."""
    book.put_account(account(2, 1), 7, None)
    assert "old" in book.holds
    assert DAY in book.rollups
    book.put_account(account(2, 1), 8, None)
    assert "old" not in book.holds
    assert DAY not in book.rollups


def test_what_is_undone_is_read_again(book: SharedBook) -> None:
    """After a batch that did not happen, nothing that it touched is taken from memory."""
    rules.apply(book, ask("a"), 0)
    rules.apply(book, Settlement(id="old", status="settled", cost_picos=PICOS), 0)
    book.undo()
    assert not book.counters.keys() & {(10, 0, 0), (20, 0, 0)}
    assert not book.holds
    assert 2 not in book.accounts
    with pytest.raises(Missing):
        rules.apply(book, ask("a"), 0)


def test_memory_is_bounded() -> None:
    """However many accounts pass through, what is remembered of them stays within a bound."""
    book = SharedBook(Loaded(Wanted()), rows_max=50)
    for number in range(1, 1000):
        book.put_account(account(number), 1, None)
        book.put_rollup((0, number, 0, "openai", "gpt"), Rollup())
        book.clean()
        assert len(book.accounts) <= 51
        assert max(len(book._revisions), len(book._own), len(book._limits)) <= 201
