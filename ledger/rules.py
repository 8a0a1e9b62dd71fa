"""The rules of the ledger: what may be held, and what becomes of a hold. Pure: a book in, a changed book out.

Every call is a two-phase transfer. A hold takes the worst case from every matching limit on the key, on its end user
and run and on all ancestors, or from none. A settlement replaces the hold by the truth, exactly once, in the windows
in which the hold was made. A hold whose owner died becomes `unsettled`: it costs nothing on the bill and stays
counted against the caps. Nothing here knows a database, a clock or a provider.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ledger.book import Account, Book, Counter, CounterKey, Event, Hold, Limit
from ledger.money import CHARGE_MICROS_MAX, COUNT_MAX, PICOS_PER_MICRO, add, ceil_micros, charge
from ledger.records import (
    LOST,
    UNSEEN,
    Ask,
    Block,
    Extend,
    Held,
    Leg,
    Measures,
    Prolong,
    Recover,
    Refused,
    Report,
    Settled,
    Settlement,
    Shortfall,
)
from ledger.windows import window_span_ms

Claim = tuple[Account, Limit, CounterKey, Counter]
Operation = Ask | Settlement | Block | Recover | Extend | Prolong | Report
Outcome = Held | Refused | Settled | bool | None

EXPIRED = "expired"
"""The reason with which a reservation ends whose time is over."""

IMPLAUSIBLE = "implausible"
"""The reason with which a call becomes `unsettled` of which more is said than any call can have used."""

TOLD = ""
"""The owner of an unsettled hold whose process has said all that it knows; of one that it may still tell of, itself."""

STALE = Refused(reason="stale")
_METERED = frozenset(("micros", "tokens", "seconds"))
_NOTHING = Measures()
_NO_KEY: CounterKey = (0, 0, 0)


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
    return None


def counter_keys(book: Book, operation: Operation, now_ms: int) -> Iterator[CounterKey]:
    """The counters that an operation may touch, for an engine that fetches them all at once."""
    if isinstance(operation, Ask | Report):
        account = book.account(operation.account_id)
        if account is not None:
            at_ms = now_ms if operation.at_ms is None else operation.at_ms
            yield from (key for *_, key in _matching(account, *_line(book, account, operation), operation, at_ms))
    elif not isinstance(operation, Block) and (found := book.hold(operation.id)) is not None:
        yield from ((leg[0], leg[1], leg[2]) for leg in found.legs)


def withdraw(book: Book, found: Hold) -> None:
    """Undo a hold of which nobody was told, so that the call can ask again."""
    for limit_id, subject_id, start_ms, _unit, amount in found.legs:
        key = (limit_id, subject_id, start_ms)
        counter = book.counter(key)
        counter.held -= amount
        book.changed_counters[key] = counter
    book.end_hold(found)


def hold(book: Book, ask: Ask, now_ms: int) -> Held | Refused:
    """Take the worst case of a call from every matching limit, or from none."""
    account = book.account(ask.account_id)
    if account is None:
        return STALE
    for account_id, version in ask.versions:
        current = book.account(account_id)
        if current is None or current.version != version:
            return STALE
    if ask.expires_ms is not None and _known(book, ask.id):
        return Refused(reason="exists")
    chain, subjects = _line(book, account, ask)
    reason = _closed(ask, account, chain, subjects, now_ms)
    if reason is not None:
        if reason != "stale" and not ask.dry_run and not ask.quiet:
            _block(book, ask, reason, now_ms)
        return Refused(reason=reason)

    at_ms = now_ms if ask.at_ms is None else ask.at_ms
    claims = [
        (owner, limit, key, book.counter(key)) for owner, limit, key in _matching(account, chain, subjects, ask, at_ms)
    ]
    caps = (*claims, *_own_caps(ask, account, claims))
    reason = _unbounded(ask, account, caps)
    if reason is not None:
        if not ask.dry_run and not ask.quiet:
            _block(book, ask, reason, now_ms)
        return Refused(reason=reason)
    granted = ask.want
    warnings: list[str] = []
    failed: tuple[Account, Limit, Counter] | None = None
    for owner, limit, _key, counter in caps:
        maximum = limit.max_at(now_ms)
        if maximum is None:
            continue
        fits = _fits(ask, limit.unit, maximum - counter.taken)
        if limit.action == "warn":
            if fits < ask.least:
                warnings.append(f"over:{limit.public_id}")
            continue
        granted = min(granted, fits)
        if fits < ask.least and (failed is None or (limit.unit == "micros" and failed[1].unit != "micros")):
            failed = (owner, limit, counter)
    if failed is not None:
        shortfall = _shortfall(ask, *failed, at_ms, now_ms, granted)
        refused = "spend_cap_exceeded" if shortfall.unit == "micros" else "rate_limited"
        if not ask.dry_run and not ask.quiet:
            _block(book, ask, refused, now_ms)
        return Refused(reason=refused, shortfall=shortfall)

    legs: list[Leg] = []
    left: dict[str, int] = {}
    amount_micros = _required(ask, "micros", granted)
    for _owner, limit, key, counter in claims:
        amount = amount_micros if limit.unit == "micros" else min(_required(ask, limit.unit, granted), COUNT_MAX)
        if not ask.dry_run:
            counter.held += amount
            book.changed_counters[key] = counter
        legs.append((*key, limit.unit, amount))
        maximum = limit.max_at(now_ms)
        if maximum is not None and limit.action == "block":
            spare = max(maximum - counter.taken - (amount if ask.dry_run else 0), 0)
            left[limit.unit] = min(left.get(limit.unit, spare), spare)
    held = Held(id=ask.id, granted=granted, amount_micros=amount_micros, left=left)
    if ask.dry_run:
        return held
    book.put_hold(
        Hold(
            id=ask.id,
            account_id=ask.account_id,
            subject_id=ask.subject_id,
            run_id=ask.run_id,
            owner=ask.owner,
            state="open",
            created_ms=at_ms,
            expires_ms=ask.expires_ms,
            amount_micros=amount_micros,
            legs=legs,
            facts=msgspec.structs.replace(ask.facts, flags=tuple(warnings)) if warnings else ask.facts,
        )
    )
    return held


def _known(book: Book, hold_id: str) -> bool:
    """Whether a caller's own reservation was made before; calls' ids are ours, and new each time."""
    return book.hold(hold_id) is not None or book.event_cost_micros(hold_id) is not None


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


def extend(book: Book, operation: Extend, now_ms: int) -> bool:
    """Hold more for a call in flight, if every limit that it counts against has room for it."""
    found = book.hold(operation.id)
    account = None if found is None else book.account(found.account_id)
    if found is None or account is None or found.state != "open":
        return False
    more = {
        "micros": ceil_micros(operation.each_picos * operation.allowance),
        "tokens": operation.each_tokens * operation.allowance,
        "seconds": operation.each_seconds * operation.allowance,
    }
    maxima = {
        key: limit.max_at(now_ms)
        for _owner, limit, key in _matching(account, *_line(book, account, found), found, found.created_ms)
        if limit.action == "block" and limit.unit in more
    }
    for *key, unit, _amount in found.legs:
        counter_key = (key[0], key[1], key[2])
        maximum = maxima.get(counter_key)
        if maximum is not None and more[unit] > max(maximum - book.counter(counter_key).taken, 0):
            return False
    legs: list[Leg] = []
    for limit_id, subject_id, start_ms, unit, amount in found.legs:
        counter_key = (limit_id, subject_id, start_ms)
        counter = book.counter(counter_key)
        counter.held += more.get(unit, 0)
        book.changed_counters[counter_key] = counter
        legs.append((*counter_key, unit, amount + more.get(unit, 0)))
    found.legs = legs
    found.amount_micros += more["micros"]
    book.put_hold(found)
    return True


def prolong(book: Book, operation: Prolong) -> bool:
    """Let a caller's own reservation live longer; False if it has ended."""
    found = book.hold(operation.id)
    if found is None or found.state != "open":
        return False
    found.expires_ms = operation.expires_ms
    book.put_hold(found)
    return True


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
        for _owner, limit, key in _matching(account, *_line(book, account, operation), operation, operation.at_ms)
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


def block(book: Book, operation: Block, now_ms: int) -> None:
    """Record a call that was refused before any hold was asked for."""
    _block(book, operation, operation.reason, now_ms)


def _line(book: Book, account: Account, call: Ask | Report | Hold) -> tuple[list[Account], list[Account]]:
    """The account with its ancestors, and the end user and run of the call, as far as they exist."""
    chain = [found for account_id in account.chain if (found := book.account(account_id)) is not None]
    if not call.subject_id and not call.run_id:
        return chain, []
    ids = (call.subject_id, call.run_id)
    return chain, [found for account_id in ids if account_id > 0 and (found := book.account(account_id)) is not None]


def _closed(ask: Ask, account: Account, chain: list[Account], subjects: list[Account], now_ms: int) -> str | None:
    """Why no call is let through this account, whatever its cost."""
    for current in chain:
        if current.revoked_ms is not None:
            return "key_revoked"
        if current.disabled:
            return "key_disabled"
        if current.expires_ms is not None and current.expires_ms <= now_ms:
            return "key_expired"
    if len(chain) != len(account.chain) or len(subjects) != (ask.subject_id > 0) + (ask.run_id > 0):
        return "stale"
    for subject in subjects:
        if subject.revoked_ms is not None:
            return "stale"  # forgotten since the caller looked it up
        if subject.disabled:
            return "end_user_disabled"
    return None


def _matching(
    account: Account, chain: list[Account], subjects: list[Account], call: Ask | Report | Hold, at_ms: int
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


def _required(ask: Ask, unit: str, allowance: int) -> int:
    """What the call needs of a unit, if it may put out `allowance`."""
    if unit == "micros":
        return ceil_micros(ask.fixed_picos + ask.each_picos * allowance)
    if unit == "tokens":
        return ask.fixed_tokens + ask.each_tokens * allowance
    if unit == "requests":
        return ask.requests
    return ask.seconds + ask.each_seconds * allowance if unit == "seconds" else ask.concurrent


def _fits(ask: Ask, unit: str, left: int) -> int:
    """The largest output allowance, at most `want`, whose need is not above `left`; -1 if there is none."""
    left = max(left, 0)  # a call that needs nothing of the unit takes nothing, even from a limit that is overdrawn
    if unit == "micros":
        spare, each = left * PICOS_PER_MICRO - ask.fixed_picos, ask.each_picos
    elif unit == "tokens":
        spare, each = left - ask.fixed_tokens, ask.each_tokens
    elif unit == "seconds":
        spare, each = left - ask.seconds, ask.each_seconds
    else:
        spare, each = left - _required(ask, unit, 0), 0
    if spare < 0:
        return -1
    return min(ask.want, spare // each) if each else ask.want


def _shortfall(
    ask: Ask, owner: Account, limit: Limit, counter: Counter, at_ms: int, now_ms: int, room: int
) -> Shortfall:
    maximum = limit.max_at(now_ms) or 0
    _, end_ms = window_span_ms(at_ms, limit.window, limit.timezone, limit.anchor_ms)
    return Shortfall(
        cap=_cap_name(owner, limit),
        limit_id=limit.public_id,
        account_id=owner.public_id if limit.public_id else "",
        unit=limit.unit,
        max=maximum,
        used=counter.used,
        held=counter.held + counter.unsettled,
        remaining=max(maximum - counter.taken, 0),
        required=_required(ask, limit.unit, ask.least),
        affordable=max(room, 0) if ask.each_picos or ask.each_tokens or ask.each_seconds else 0,
        resets_at_ms=end_ms,
    )


def _cap_name(owner: Account, limit: Limit) -> str:
    """Whose cap it is, in a word: "key", "end_user", "run", "call"."""
    if not limit.public_id:
        return limit.role
    return limit.per if limit.per != "key" else owner.kind


def _own_caps(ask: Ask, account: Account, claims: list[Claim]) -> Iterator[Claim]:
    """The caps that the call itself brought, as limits that last for this call only."""
    if ask.call_max_micros is not None:
        yield account, _call_limit("call", ask.call_max_micros), _NO_KEY, Counter()
    if ask.fixed_picos + ask.each_picos * ask.want > CHARGE_MICROS_MAX * PICOS_PER_MICRO:
        yield account, _call_limit("call", CHARGE_MICROS_MAX), _NO_KEY, Counter()
    if ask.subject_max_micros is not None:
        for owner, limit, key, counter in _caps_of_subject(ask, claims):
            lower = msgspec.structs.replace(
                limit, public_id="", role="end_user", max=ask.subject_max_micros, boosts=(), action="block"
            )
            yield owner, lower, key, counter
        if ask.subject_id == UNSEEN:  # of whom nothing is counted that the cap could be measured by
            yield account, _call_limit("end_user", ask.subject_max_micros), _NO_KEY, Counter()


def _unbounded(ask: Ask, account: Account, caps: tuple[Claim, ...]) -> str | None:
    """Why a call may not be held for that no limit bounds as it must: see `Ask.own_limit` and `Ask.unpriced`."""
    if not ask.own_limit and not ask.unpriced:
        return None
    bounds = [(owner, limit) for owner, limit, *_ in caps if limit.max is not None and limit.action == "block"]
    if ask.unpriced and any(limit.unit in _METERED for _, limit in bounds):
        return "model_not_priced"
    if ask.own_limit:
        whose = {
            owner.id == account.id and limit.per == "key" for owner, limit in bounds if limit.unit == ask.own_limit
        }
        if whose == {False}:
            return "limit_required"
    return None


def _caps_of_subject(ask: Ask, claims: list[Claim]) -> list[Claim]:
    """What an end user's spending is measured by: its own cap, else the default for each end user, else its balance."""
    own = [claim for claim in claims if claim[0].id == ask.subject_id and claim[1].role != "limit"]
    defaults = [claim for claim in claims if claim[1].is_default_cap and claim[1].max is not None]
    return defaults if defaults and not any(limit.max is not None for _, limit, _, _ in own) else own[-1:]


def _call_limit(role: str, max_micros: int) -> Limit:
    return Limit(id=0, public_id="", role=role, unit="micros", max=max_micros, window="total")


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


def _block(book: Book, call: Ask | Block, reason: str, now_ms: int) -> None:
    book.put_event(
        Event(
            id=call.id,
            account_id=call.account_id,
            subject_id=call.subject_id,
            run_id=call.run_id,
            created_ms=now_ms,
            settled_ms=now_ms,
            facts=call.facts if isinstance(call, Block) else msgspec.structs.replace(call.facts, metadata={}),
            model=call.facts.model,
            decision="blocked",
            reason=reason,
            status="released",
            usage={"count": call.count} if isinstance(call, Block) and call.count > 1 else {},
            cost_micros=0,
            cost_picos=0,
            price_micros=0,
            held_micros=0,
            http_status=call.http_status if isinstance(call, Block) else None,
            latency_ms=None,
            ttft_ms=None,
            flags=(),
            legs=[],
        ),
        _NOTHING,
    )
