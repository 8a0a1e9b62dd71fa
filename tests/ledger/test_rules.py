"""Corners of the rules that a random life seldom reaches; the rest is `test_machine`'s."""

from __future__ import annotations

from ledger import rules
from ledger.book import Book
from ledger.records import Ask, Facts, Refused
from tests.ledger.tables import Memory


def test_an_account_that_does_not_exist_is_stale() -> None:
    """A hold for nobody is refused as stale and leaves no trace."""
    book = Book(Memory())
    unknown = Ask(id="c", account_id=7, facts=Facts(), owner="o")
    assert rules.apply(book, unknown, 0) == Refused(reason="stale")
    assert not book.events
