"""Which limits a call counts against, in which counters. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ledger.book import DEFAULT_MARKS, Account, Book, CounterKey, Hold, Limit
from ledger.records import UNSEEN, Adjust, Ask, Report
from ledger.windows import window_span_ms


def line(book: Book, account: Account, call: Ask | Report | Adjust | Hold) -> tuple[list[Account], list[Account]]:
    """The account with its ancestors, and the end user and run of the call, as far as they exist."""
    chain = [found for account_id in account.chain if (found := book.account(account_id)) is not None]
    if not call.subject_id and not call.run_id:
        return chain, []
    ids = (call.subject_id, call.run_id)
    return chain, [found for account_id in ids if account_id > 0 and (found := book.account(account_id)) is not None]


def matching(
    account: Account, chain: list[Account], subjects: list[Account], call: Ask | Report | Adjust | Hold, at_ms: int
) -> Iterator[tuple[Account, Limit, CounterKey]]:
    """Every limit that the call counts against, with the counter of its present window."""
    # Nearly always; what follows says the same of a call with nobody behind it.
    if not subjects and not call.subject_id and not call.run_id:
        for owner in chain:
            if owner.livemode != account.livemode:
                continue
            for limit in owner.limits:
                if limit.per == "key" and (limit.match is None or limit.match.covers(call.facts)):
                    yield owner, limit, (limit.id, limit.subject_id, _start_ms(limit, at_ms))
        return
    by_kind = {subject.kind: subject.id for subject in subjects}
    if call.subject_id == UNSEEN:
        by_kind["end_user"] = UNSEEN
    if call.run_id == UNSEEN:
        by_kind["run"] = UNSEEN
    own_cap = any(subject.kind == "end_user" and subject.own_cap for subject in subjects)
    shared: set[CounterKey] = set()
    for owner in (*subjects, *chain):
        if owner.livemode != account.livemode:
            continue  # what a test key spends is not money
        for limit in owner.limits:
            if limit.match is not None and not limit.match.covers(call.facts):
                continue
            subject_id = limit.subject_id
            if limit.per != "key":
                subject_id = by_kind.get(limit.per, 0)
                if not subject_id:
                    continue
                if own_cap and owner.id == account.id and limit.is_default_cap and not _also_of(limit, chain[1:]):
                    limit = msgspec.structs.replace(limit, max=None)  # noqa: PLW2901 - counted for when it binds again
            key = (limit.id, subject_id, _start_ms(limit, at_ms))
            if limit.per != "key":
                if key in shared:
                    continue  # of a plan that an account and its ancestor are both on: it counts a call once
                shared.add(key)
            yield owner, limit, key


def _start_ms(limit: Limit, at_ms: int) -> int:
    if limit.window == "total":
        return 0
    return window_span_ms(at_ms, limit.window, limit.timezone, limit.anchor_ms)[0]


def _also_of(limit: Limit, ancestors: list[Account]) -> bool:
    """Whether an ancestor is on the plan that the limit comes from: then it is the ancestor's limit too."""
    return any(limit.id == other.id for ancestor in ancestors for other in ancestor.limits)


def marks(limit: Limit, owner: Account, key: Account) -> tuple[int, ...]:
    """At which percentages a limit tells of itself: its own, its owner's or plan's, else the key's."""
    found = limit.alert_at
    if found is None:
        found = owner.alert_at
    if found is None and owner.kind != "key":
        found = key.alert_at
    return DEFAULT_MARKS if found is None else found
