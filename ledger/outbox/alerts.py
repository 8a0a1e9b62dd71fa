"""Which marks of a limit a batch has passed, and what else of it somebody wants to hear of. Pure.

A mark is passed once per limit, whom it counts, window, percentage and maximum: a raise arms it anew. It is judged by
what is settled, never by what is only held. The row that says that it was passed is unique, so whoever comes second
writes none; what this process has seen written is not tried again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ledger.book import Account, Book, CounterKey, Event, Limit
from ledger.matching import marks
from ledger.records import Ask, Refused, Shortfall
from ledger.views import AccountView, LimitView
from ledger.windows import window_span_ms

REACHED = 0
"""The percentage under which it is written that a limit was reached; no mark has it."""

LOOP_TOLD_EVERY_MS = 60_000
RUNG_MAX = 30_000  # marks that a process remembers as passed: asking again costs a row that is not written

_Mark = tuple[CounterKey, int, int]
"""(counter, percentage or `REACHED`, maximum)"""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message to be written with a batch.

    Attributes:
        account_id: Whom it concerns: a key, or an end user or run under one.
        subject_id: The end user or run that it is about; 0 for none.
        data: JSON; what the counter stands at is added to its `limit`.
        once: Of two with the same only one is written; None for one that cannot come twice.
        counter: The counter that decides whether it is written; None if that is decided.
        threshold: What the counter must have used.
        used: What is used, where no counter decides; None for a message that is about no limit.
        until_ms: For how long it must be known that it was written: 0 for no longer than it is kept, None for ever.
    """

    type: str
    account_id: int
    data: str
    subject_id: int = 0
    once: str | None = None
    counter: CounterKey | None = None
    threshold: int = 0
    used: int | None = None
    until_ms: int | None = 0


class Alerts:
    """What batches have to tell, and what of it this process knows to be written."""

    def __init__(self) -> None:
        self._written: set[_Mark] = set()
        self._new: dict[_Mark, int] = {}

    def messages(
        self, book: Book, batch: Sequence[Any], results: Sequence[Any], now_ms: int, *, exact: bool
    ) -> list[Message]:
        """What a batch has to tell to whoever listens; nearly always nothing.

        `exact`: the book's counters are what they will be once the batch is written. Otherwise others may have added to
        them, and every mark of a counter that the batch adds to goes along, for the database to decide.
        """
        found: list[Message] = []
        self._new.clear()
        for event in book.events:
            if _is_heard(book, event):
                _of_event(event, found)
                if event.legs:
                    self._of_counters(book, event, _line(book, event), now_ms, found, exact=exact)
        if Refused in map(type, results):
            for work, result in zip(batch, results, strict=True):
                if (
                    type(result) is Refused
                    and result.shortfall is not None
                    and not work.dry_run
                    and _is_heard(book, work)
                ):
                    self._of_refusal(work, result.shortfall, _line(book, work), now_ms, found)
        return found

    def written(self, book: Book) -> None:
        """The last batch is durable, and the book says what its counters stand at."""
        if len(self._written) > RUNG_MAX:
            self._written.clear()
        for mark, threshold in self._new.items():
            counter = book.counters.get(mark[0])
            if not threshold or (counter is not None and counter.used >= threshold):
                self._written.add(mark)
        self._new.clear()

    def _of_counters(
        self, book: Book, event: Event, line: list[Account], now_ms: int, found: list[Message], *, exact: bool
    ) -> None:
        key = book.accounts[event.account_id]
        own_cap = any(each.own_cap for each in line if each.kind == "end_user")
        legs: dict[tuple[int, int], CounterKey] = {(leg[0], leg[1]): leg[:3] for leg in event.legs}
        for owner in line:
            for limit in owner.limits:
                counter = legs.get((limit.id, _counted_under(limit, event)))
                maximum = None if counter is None else limit.max_at(now_ms)
                if counter is None or not maximum or (own_cap and limit.is_default_cap):
                    continue
                for percent in (REACHED, *marks(limit, owner, key)):
                    threshold = -(-(percent or 100) * maximum // 100)
                    if exact and book.counters[counter].used < threshold:
                        continue
                    if self._is_new((counter, percent, maximum), threshold):
                        message = crossing(limit, owner.id, _whom(limit, owner, counter), counter, percent, maximum)
                        found.append(msgspec.structs.replace(message, counter=counter, threshold=threshold))

    def _of_refusal(
        self, ask: Ask, shortfall: Shortfall, line: list[Account], now_ms: int, found: list[Message]
    ) -> None:
        at_ms = now_ms if ask.at_ms is None else ask.at_ms
        for owner in line:
            for limit in owner.limits:
                if limit.public_id == shortfall.limit_id and limit.max_at(now_ms) == shortfall.max:
                    start_ms, _ = window_span_ms(at_ms, limit.window, limit.timezone, limit.anchor_ms)
                    counter = (limit.id, _counted_under(limit, ask), start_ms)
                    if self._is_new((counter, REACHED, shortfall.max), 0):
                        whom = _whom(limit, owner, counter)
                        message = crossing(limit, owner.id, whom, counter, REACHED, shortfall.max)
                        found.append(msgspec.structs.replace(message, used=shortfall.used))
                    return

    def _is_new(self, mark: _Mark, threshold: int) -> bool:
        """Whether a mark is not known to be written, nor about to be."""
        if mark in self._written or mark in self._new:
            return False
        self._new[mark] = threshold
        return True


def passed(account: AccountView) -> Iterator[Message]:
    """What is to be told of an account's own limits as they stand after a change of them."""
    for limit in account.limits:
        if not limit.own or limit.per != "key" or not limit.max:
            continue
        counter = (limit.id, limit.subject_id, limit.window_start_ms)
        whom = 0 if account.kind == "key" else account.id
        for percent in (REACHED, *limit.alert_at):
            if limit.used * 100 >= (percent or 100) * limit.max:
                message = crossing(limit, account.id, whom, counter, percent, limit.max)
                yield msgspec.structs.replace(message, used=limit.used)


def _whom(limit: Limit, owner: Account, counter: CounterKey) -> int:
    """The end user or run that a limit's counter is about; 0 for none."""
    return counter[1] if limit.per != "key" else 0 if owner.kind == "key" else owner.id


def crossing(
    limit: Limit | LimitView, owner_id: int, subject_id: int, counter: CounterKey, percent: int, maximum: int
) -> Message:
    """What is told of a mark that was passed, but for what the counter stands at."""
    start_ms = counter[2]
    _, end_ms = window_span_ms(start_ms, limit.window, limit.timezone, limit.anchor_ms)
    data = {
        "percent": percent or 100,
        "limit": {
            "id": limit.public_id,
            "unit": limit.unit,
            "window": limit.window,
            "max": maximum,
            "window_start_ms": start_ms,
            "resets_at_ms": end_ms,
        },
    }
    return Message(
        type="limit.threshold_crossed" if percent else "limit.reached",
        account_id=owner_id,
        subject_id=subject_id,
        data=msgspec.json.encode(data).decode(),
        until_ms=end_ms,
        once=f"limit:{counter[0]}:{counter[1]}:{start_ms}:{percent}:{maximum}",
    )


def _is_heard(book: Book, call: Event | Ask) -> bool:
    """Whether anybody listens to the key of a call or to one above it."""
    accounts = book.accounts
    account = accounts.get(call.account_id)
    if account is None:
        if not isinstance(call, Event) or call.reason != "loop_detected":
            return False
        account = book.account(call.account_id)
        if account is None:
            return False
    for id_ in account.chain:
        each = accounts.get(id_) or book.account(id_)
        if each is not None and each.hooks:
            return True
    return False


def _line(book: Book, call: Event | Ask) -> list[Account]:
    """The end user and run of a call, its key, and the key's ancestors."""
    chain = book.accounts[call.account_id].chain
    ids = (call.subject_id, call.run_id, *chain)
    return [found for id_ in ids if id_ > 0 and (found := book.accounts.get(id_)) is not None]


def _counted_under(limit: Limit, call: Event | Ask) -> int:
    """The subject under which a limit counts a call."""
    if limit.per == "key":
        return limit.subject_id
    return call.subject_id if limit.per == "end_user" else call.run_id


def _of_event(event: Event, found: list[Message]) -> None:
    """What an event tells by itself."""
    if event.reason == "loop_detected":
        type_, once = "loop.detected", f"loop:{event.account_id}:{event.created_ms // LOOP_TOLD_EVERY_MS}"
    elif event.status == "unsettled":
        type_, once = "call.unsettled", f"unsettled:{event.id}"
    elif "overrun" in event.flags:
        type_, once = "call.overrun", f"overrun:{event.id}"
    else:
        return
    data = {
        "event_id": f"evt_{event.id}",
        "provider": event.facts.provider,
        "model": event.model,
        "reason": event.reason,
        "cost_micros": event.cost_micros,
        "held_micros": event.held_micros,
        "overrun_micros": max(event.cost_micros - event.held_micros, 0) if "overrun" in event.flags else 0,
    }
    found.append(
        Message(
            type=type_,
            account_id=event.account_id,
            subject_id=event.subject_id,
            data=msgspec.json.encode(data).decode(),
            once=once,
        )
    )
