"""How much of what is asked for fits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger import holding
from ledger.book import Book, Limit
from ledger.records import Ask, Facts, Held, Refused
from tests.ledger.tables import Memory
from tests.ledger.world import PICOS


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
        assert least <= first.allowance <= want
        assert first.amount_micros <= cap
        assert first.allowance == want or isinstance(outcome(first.allowance + 1, want), Refused)
        return
    assert first.shortfall is not None
    assert first.shortfall.required > first.shortfall.remaining
    affordable = first.shortfall.affordable
    assert affordable < max(least, 1)
    if affordable:
        assert isinstance(outcome(affordable, affordable), Held)
        assert isinstance(outcome(affordable + 1, affordable + 1), Refused)
