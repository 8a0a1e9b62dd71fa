"""How much of what a call asks for its limits have room for, and which of them has none. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ledger.book import Account, Counter, CounterKey, Limit
from ledger.money import CHARGE_MICROS_MAX, PICOS_PER_MICRO, ceil_micros
from ledger.records import UNSEEN, Ask, Shortfall
from ledger.windows import window_span_ms

Claim = tuple[Account, Limit, CounterKey, Counter]
_METERED = frozenset(("micros", "tokens", "seconds"))
_NO_KEY: CounterKey = (0, 0, 0)


def required(ask: Ask, unit: str, allowance: int) -> int:
    """What the call needs of a unit, if it may put out `allowance`."""
    if unit == "micros":
        return ceil_micros(ask.fixed_picos + ask.each_picos * allowance)
    if unit == "tokens":
        return ask.fixed_tokens + ask.each_tokens * allowance
    if unit == "requests":
        return ask.requests
    return ask.seconds + ask.each_seconds * allowance if unit == "seconds" else ask.concurrent


def fits(ask: Ask, unit: str, left: int) -> int:
    """The largest output allowance, at most `want`, whose need is not above `left`; -1 if there is none."""
    left = max(left, 0)  # a call that needs nothing of the unit takes nothing, even from a limit that is overdrawn
    if unit == "micros":
        spare, each = left * PICOS_PER_MICRO - ask.fixed_picos, ask.each_picos
    elif unit == "tokens":
        spare, each = left - ask.fixed_tokens, ask.each_tokens
    elif unit == "seconds":
        spare, each = left - ask.seconds, ask.each_seconds
    else:
        spare, each = left - required(ask, unit, 0), 0
    if spare < 0:
        return -1
    return min(ask.want, spare // each) if each else ask.want


def shortfall_of(
    ask: Ask, owner: Account, limit: Limit, counter: Counter, at_ms: int, now_ms: int, room: int
) -> Shortfall:
    """What a refusal says of the limit that refused; `room` is the largest allowance that every limit admits."""
    maximum = limit.max_at(now_ms) or 0
    _, end_ms = window_span_ms(at_ms, limit.window, limit.timezone, limit.anchor_ms)
    return Shortfall(
        cap=cap_name(owner, limit),
        limit_id=limit.public_id,
        account_id=owner.public_id if limit.public_id else "",
        unit=limit.unit,
        max=maximum,
        used=counter.used,
        held=counter.held + counter.unsettled,
        remaining=max(maximum - counter.taken, 0),
        required=required(ask, limit.unit, ask.least),
        affordable=max(room, 0) if ask.each_picos or ask.each_tokens or ask.each_seconds else 0,
        resets_at_ms=end_ms,
    )


def cap_name(owner: Account, limit: Limit) -> str:
    """Whose cap it is, in a word: "key", "end_user", "run", "call"."""
    if not limit.public_id:
        return limit.role
    return limit.per if limit.per != "key" else owner.kind


def own_caps(ask: Ask, account: Account, claims: list[Claim]) -> Iterator[Claim]:
    """The caps that the call itself brought, as limits that last for this call only."""
    if ask.call_max_micros is not None:
        yield account, _call_limit("call", ask.call_max_micros), _NO_KEY, Counter()
    if ask.fixed_picos + ask.each_picos * ask.want > CHARGE_MICROS_MAX * PICOS_PER_MICRO:
        yield account, _call_limit("call", CHARGE_MICROS_MAX), _NO_KEY, Counter()
    if ask.subject_max_micros is not None:
        for owner, limit, key, counter in _caps_of_subject(ask, claims):
            yield owner, _brought(limit, ask.subject_max_micros), key, counter
        if ask.subject_id == UNSEEN:  # of whom nothing is counted that the cap could be measured by
            yield account, _call_limit("end_user", ask.subject_max_micros), _NO_KEY, Counter()


def with_set_cap(ask: Ask, account: Account, ancestors: list[Account], claims: list[Claim]) -> list[Claim]:
    """The claims, with the cap that the call brings instead of its end user's, where it may set it.

    Only what the key itself says of its users gives way: the key's own cap and all of its ancestors' limits stay.
    """
    if not ask.subject_max_sets or ask.subject_max_micros is None:
        return claims
    ids = {claim[1].id for claim in _caps_of_subject(ask, claims) if claim[0].id in (ask.subject_id, account.id)}
    ids -= {limit.id for ancestor in ancestors for limit in ancestor.limits}
    return [
        (owner, _brought(limit, ask.subject_max_micros), key, counter)
        if limit.id in ids and owner.id in (ask.subject_id, account.id)
        else (owner, limit, key, counter)
        for owner, limit, key, counter in claims
    ]


def unbounded(ask: Ask, account: Account, caps: tuple[Claim, ...]) -> str | None:
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


def _brought(limit: Limit, max_micros: int) -> Limit:
    """A cap that the call brings, counted as this limit is."""
    return msgspec.structs.replace(limit, public_id="", role="end_user", max=max_micros, boosts=(), action="block")


def _call_limit(role: str, max_micros: int) -> Limit:
    return Limit(id=0, public_id="", role=role, unit="micros", max=max_micros, window="total")
