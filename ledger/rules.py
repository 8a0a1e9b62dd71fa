"""The rules of the ledger: what may be held, and what becomes of a hold. Pure: a book in, a changed book out.

Every call is a two-phase transfer. A hold takes the worst case from every matching limit on the key, on its end user
and run and on all ancestors, or from none. A settlement replaces the hold by the truth, exactly once, in the windows
in which the hold was made. A hold whose owner died becomes `unsettled`: it costs nothing on the bill and stays
counted against the caps. Nothing here knows a database, a clock or a provider.
"""

from __future__ import annotations

from collections.abc import Iterator

from ledger.adjusting import adjust, adjusted
from ledger.book import Book, CounterKey
from ledger.holding import block, extend, hold, prolong
from ledger.matching import line, matching
from ledger.records import Adjust, Ask, Block, Extend, Held, Prolong, Recover, Refused, Report, Settled, Settlement
from ledger.settling import recover, report, settle

Operation = Ask | Settlement | Block | Recover | Extend | Prolong | Report | Adjust
Outcome = Held | Refused | Settled | bool | None


def apply(book: Book, operation: Operation, now_ms: int) -> Outcome:
    """Carry out one operation on the book."""
    match operation:
        case Ask():
            return hold(book, operation, now_ms)
        case Settlement():
            return settle(book, operation, now_ms)
        case Block():
            block(book, operation, now_ms)
        case Recover():
            recover(book, operation, now_ms)
        case Extend():
            return extend(book, operation, now_ms)
        case Prolong():
            return prolong(book, operation)
        case Report():
            return report(book, operation, now_ms)
        case Adjust():
            return adjust(book, operation, now_ms)
    return None


def counter_keys(book: Book, operation: Operation, now_ms: int) -> Iterator[CounterKey]:
    """The counters that an operation may touch, for an engine that fetches them all at once."""
    if isinstance(operation, Ask | Report):
        account = book.account(operation.account_id)
        if account is not None:
            at_ms = now_ms if operation.at_ms is None else operation.at_ms
            yield from (key for *_, key in matching(account, *line(book, account, operation), operation, at_ms))
    elif isinstance(operation, Adjust):
        yield from adjusted(book, operation)
    elif not isinstance(operation, Block) and (found := book.hold(operation.id)) is not None:
        yield from ((leg[0], leg[1], leg[2]) for leg in found.legs)
