"""`/v1/reservations`, `/v1/check`, `/v1/estimate`: limits for callers who call the provider themselves.

A reservation is a hold like any other, with an end: what is neither committed nor released in time goes back by
itself. It ends once; a second word is answered with the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.responses import Response

from gateway.api.endpoint import Call, choice, json_response, replayed
from gateway.api.stated import COUNT_MAX, TTL_S_MAX, Commit, Estimate, Extend, Payer, Reserve
from gateway.bounds import SUBJECT_BYTES_MAX
from gateway.problems import CallError, over_limit
from keys.ids import derived_id, new_body, new_id
from keys.minting import ScopeRefused
from keys.policy import Policy, read_policy
from ledger.events import EventView, HoldView
from ledger.money import CHARGE_MICROS_MAX, PICOS_PER_MICRO, ceil_micros
from ledger.records import UNSEEN, Ask, Facts, Held, Prolong, Refused, Settlement, Shortfall
from ledger.replays import Origin, ReplayMismatch
from ledger.views import AccountView, NotFound

_Said = dict[str, Any]
STANDARD_TTL_S_MAX = 3600  # of a key that is in others' hands: it holds back what its parents could spend

_MAY_EXCEED = frozenset(("master", "team", "ingest"))
"""Who is believed that more was used than was reserved: they could report as much."""


async def whom(call: Call, payer: Payer, *, reports: bool = False, opens: bool = True) -> tuple[AccountView, int]:
    """The key and the end user's account (or 0) that a request is about.

    With `reports`, an ingest key speaks for its parent's subtree. Without `opens`, an end user who was never seen is
    not opened: its account is `UNSEEN`.

    Raises:
        NotFound, ScopeRefused: It is not the caller, nor a key under a caller who may speak for it.
        CallError: The end user's id is too long.
    """
    ledger, policy = call.services.ledger, call.key.policy
    owner_id, key_id = call.key.account_id, payer.key_id or call.key.public_id
    if reports and policy.scope == "ingest":
        owner_id = call.key.chain[1] if len(call.key.chain) > 1 else owner_id
    elif key_id != call.key.public_id and not policy.may_manage:
        raise ScopeRefused(f"A {policy.scope} key can only speak for itself.")
    key = await ledger.accounts.get(owner_id, key_id)
    if payer.end_user is None:
        return key, 0
    if len(payer.end_user.encode()) > SUBJECT_BYTES_MAX:
        message = f"An end user's id has 1 to {SUBJECT_BYTES_MAX} bytes."
        raise CallError(400, "invalid_request", message, param="subject.end_user")
    if not opens:
        try:
            return key, (await ledger.accounts.subject(key.id, "end_user", payer.end_user)).id
        except NotFound:
            return key, UNSEEN
    now_ms = call.services.clock_ms()
    end_user = await ledger.accounts.open_subject(
        key.id, "end_user", payer.end_user, public_id=new_id("eu", now_ms), balance_id=new_id("lim", now_ms)
    )
    return key, end_user


def policy_of(key: AccountView) -> Policy:
    """What a key was minted with, and its plan's terms."""
    return read_policy(key.profile, key.plan.profile if key.plan is not None else None)


def _ask(
    call: Call, asked: Reserve, key: AccountView, end_user: int, *, origin: Origin | None = None, dry_run: bool = False
) -> Ask:
    now_ms = call.services.clock_ms()
    unit, amount = asked.unit, asked.amount
    if unit != "micros" and amount > COUNT_MAX:
        raise CallError(400, "invalid_request", f"amount: must be at most {COUNT_MAX} {unit}.", param="amount")
    _check_ttl(call, asked.ttl_seconds)
    return Ask(
        id=new_body(now_ms)
        if origin is None or origin.key is None
        else derived_id("reservation", origin.account_id, origin.key),
        account_id=key.id,
        subject_id=end_user,
        facts=Facts(
            mode="reservation",
            provider=asked.provider,
            model=asked.model,
            also=call.services.catalogue.names_of(asked.provider, asked.model),
            route="reservation",
            metadata=asked.metadata,
            markup_ppm=policy_of(key).markup_ppm,
            reserved=(unit, amount),
        ),
        owner=call.services.ledger.owner,
        fixed_picos=amount * PICOS_PER_MICRO if unit == "micros" else 0,
        fixed_tokens=amount if unit == "tokens" else 0,
        seconds=amount if unit == "seconds" else 0,
        requests=amount if unit == "requests" else 0,
        concurrent=amount if unit == "concurrent" else 0,
        expires_ms=now_ms + asked.ttl_seconds * 1000,
        own_limit=None if call.key.policy.may_manage else unit,
        dry_run=dry_run,
    )


def _check_ttl(call: Call, ttl_seconds: int) -> None:
    if not call.key.policy.may_manage and ttl_seconds > STANDARD_TTL_S_MAX:
        message = f"ttl_seconds: a {call.key.policy.scope} key reserves for at most {STANDARD_TTL_S_MAX} s at a time."
        raise CallError(400, "invalid_request", message, param="ttl_seconds")


def _reasons(refused: Refused) -> list[dict[str, Any]]:
    shortfall = refused.shortfall
    if shortfall is None:
        return [{"code": refused.reason}]
    return [
        {
            "code": refused.reason,
            "cap": shortfall.cap,
            "limit_id": shortfall.limit_id,
            "unit": shortfall.unit,
            "limit": shortfall.max,
            "used": shortfall.used,
            "held": shortfall.held,
            "remaining": shortfall.remaining,
            "required": shortfall.required,
            "resets_at_ms": shortfall.resets_at_ms,
        }
    ]


def _left(outcome: Held | Refused, unit: str) -> int | None:
    """What is left of the unit; None where nothing limits it."""
    if isinstance(outcome, Held):
        return outcome.left.get(unit)
    shortfall: Shortfall | None = outcome.shortfall
    return shortfall.remaining if shortfall is not None and shortfall.unit == unit else None


async def reserve(call: Call) -> Response:
    """POST /v1/reservations."""
    strict = choice(call.parameters("strict").get("strict"), "strict", ("true", "false"), "false") == "true"
    asked = await call.body(Reserve)
    key, end_user = await whom(call, asked.subject, opens=False)
    origin = await call.origin()
    outcome: Held | Refused | None = None
    if end_user == UNSEEN:  # who is not let in is not written down
        outcome = await call.services.ledger.calls.would_hold(_ask(call, asked, key, end_user, origin=origin))
    ask = _ask(call, asked, key, end_user, origin=origin)
    if not isinstance(outcome, Refused):
        if end_user == UNSEEN:
            key, end_user = await whom(call, asked.subject)
            ask = msgspec.structs.replace(ask, subject_id=end_user)
        outcome = await call.services.ledger.calls.hold(ask, fold=True)
    if isinstance(outcome, Refused) and outcome.reason == "exists":
        return await _again(call, asked, key, ask.id)
    body: dict[str, Any] = {
        "id": None,
        "object": "reservation",
        "allowed": False,
        "unit": asked.unit,
        "amount": asked.amount,
        "remaining": _left(outcome, asked.unit),
        "reasons": [],
        "expires_at_ms": None,
    }
    if isinstance(outcome, Held):
        body |= {"id": f"rsv_{ask.id}", "allowed": True, "state": "open", "expires_at_ms": ask.expires_ms}
        return json_response(body, 201)
    if strict and outcome.reason == "limit_required":
        message = f"This key has no limit of {asked.unit} of its own: what it reserves would be its parents' alone."
        raise CallError(403, "limit_required", message)
    if strict and outcome.shortfall is not None:
        raise over_limit(
            outcome.shortfall,
            over_cap_status=policy_of(key).over_cap_status,
            request_id=f"req_{ask.id}",
            now_ms=call.services.clock_ms(),
        )
    return json_response(body | {"reasons": _reasons(outcome)})


async def _again(call: Call, asked: Reserve, key: AccountView, reservation_id: str) -> Response:
    """The answer to a repeated Idempotency-Key: the reservation as it stands now. Raises ReplayMismatch."""
    found = await call.services.ledger.calls.promise(call.key.account_id, reservation_id)
    if isinstance(found, HoldView):
        made, reason = found.reserved, None
        state: str | None = "open"
    else:
        reason = found.reason if found.decision == "blocked" else None
        made = (found.usage["unit"], found.usage["reserved"]) if "unit" in found.usage else None
        state = None if reason else found.reason
    if found.key_id != key.public_id or (made is not None and tuple(made) != (asked.unit, asked.amount)):
        raise ReplayMismatch(reservation_id)
    body = {
        "id": None if reason else f"rsv_{reservation_id}",
        "object": "reservation",
        "allowed": reason is None,
        "state": state,
        "unit": asked.unit,
        "amount": asked.amount,
        "remaining": None,
        "reasons": [{"code": reason}] if reason else [],
        "expires_at_ms": found.expires_ms if isinstance(found, HoldView) else None,
    }
    return json_response(body, 200 if reason else 201, replayed(True))


async def check(call: Call) -> Response:
    """POST /v1/check: would this reservation be allowed? Nothing is held or recorded."""
    call.parameters()
    asked = await call.body(Reserve)
    key, end_user = await whom(call, asked.subject, opens=False)
    outcome = await call.services.ledger.calls.hold(_ask(call, asked, key, end_user, dry_run=True))
    allowed = isinstance(outcome, Held)
    return json_response(
        {
            "object": "check",
            "allowed": allowed,
            "remaining": _left(outcome, asked.unit),
            "reasons": [] if isinstance(outcome, Held) else _reasons(outcome),
        }
    )


async def estimate(call: Call) -> Response:
    """POST /v1/estimate: what would this usage cost?"""
    call.parameters()
    asked = await call.body(Estimate)
    price = call.services.catalogue.find(asked.provider, asked.model, call.services.clock_ms())
    if price is None:
        raise CallError(400, "model_not_priced", f"{asked.provider}/{asked.model} has no price here.", param="model")
    usage = asked.usage.usage()
    picos = price.cost_picos(usage)
    if picos > CHARGE_MICROS_MAX * PICOS_PER_MICRO:
        raise CallError(400, "amount_too_large", "usage: no call costs so much.", param="usage")
    return json_response(
        {
            "object": "estimate",
            "cost_micros": ceil_micros(picos),
            "cost_picos": picos,
            "price_version": price.version,
            "unpriced": list(price.unpriced(usage)),
        }
    )


async def commit(call: Call) -> Response:
    """POST /v1/reservations/{id}/commit: charge what was used; the rest goes back."""
    asked = await call.body(Commit)
    return await _once(call, lambda: _committed(call, asked))


async def _committed(call: Call, asked: Commit) -> _Said:
    found = await _open(call)
    if isinstance(found, HoldView):
        unit, amount = found.reserved or ("micros", found.amount_micros)
        if unit != "micros" and asked.actual > max(COUNT_MAX, amount):
            raise CallError(400, "invalid_request", f"actual: must be at most {COUNT_MAX} {unit}.", param="actual")
        if asked.actual > amount and call.key.policy.scope not in _MAY_EXCEED:
            message = f"actual: a {call.key.policy.scope} key commits at most what it reserved, {amount} {unit}."
            raise CallError(422, "exceeds_reservation", message, param="actual")
        settlement = Settlement(
            id=found.id,
            status="settled",
            cost_picos=asked.actual * PICOS_PER_MICRO if unit == "micros" else 0,
            tokens=asked.actual if unit == "tokens" else 0,
            seconds=asked.actual if unit == "seconds" else 0,
            requests=asked.actual if unit == "requests" else 0,
            usage={"unit": unit, "reserved": amount, "actual": asked.actual},
            reason="committed",
            flags=("over_reserved",) if asked.actual > amount else (),
        )
        found = await _end(call, settlement)
    return _ended(found)


async def release(call: Call) -> Response:
    """POST /v1/reservations/{id}/release: all of it goes back."""
    return await _once(call, lambda: _released(call))


async def _released(call: Call) -> _Said:
    found = await _open(call)
    if isinstance(found, HoldView):
        unit, amount = found.reserved or ("micros", found.amount_micros)
        settlement = Settlement(
            id=found.id,
            status="released",
            cost_picos=0,
            requests=0,
            usage={"unit": unit, "reserved": amount, "actual": 0},
            reason="released",
        )
        found = await _end(call, settlement)
    return _ended(found)


async def extend(call: Call) -> Response:
    """POST /v1/reservations/{id}/extend: it lives on, counted from now."""
    asked = await call.body(Extend)
    return await _once(call, lambda: _extended(call, asked))


async def _extended(call: Call, asked: Extend) -> _Said:
    found = await _open(call)
    if isinstance(found, EventView):
        return _ended(found)
    _check_ttl(call, asked.ttl_seconds)
    now_ms = call.services.clock_ms()
    expires_ms = now_ms + asked.ttl_seconds * 1000
    if not call.key.policy.may_manage and expires_ms > found.created_ms + TTL_S_MAX * 1000:
        message = f"ttl_seconds: a reservation of a {call.key.policy.scope} key lives {TTL_S_MAX} s in all."
        raise CallError(400, "invalid_request", message, param="ttl_seconds")
    if not await call.services.ledger.calls.prolong(Prolong(id=found.id, expires_ms=expires_ms)):
        return _ended(await _event(call, found.id))
    unit, amount = found.reserved or ("micros", found.amount_micros)
    return {
        "id": f"rsv_{found.id}",
        "object": "reservation",
        "state": "open",
        "unit": unit,
        "amount": amount,
        "expires_at_ms": expires_ms,
    }


async def _once(call: Call, act: Callable[[], Awaitable[_Said]]) -> Response:
    """The answer of the earlier request with the same Idempotency-Key, or else of this one.

    What ends a reservation, or lets it live on, may be done again: so the answer need not be kept in the same
    transaction.
    """
    call.parameters()
    origin, repeats = await call.origin(), call.services.ledger.repeats
    earlier = await repeats.find(origin, dict[str, Any])
    if earlier is not None:
        return json_response(earlier, headers=replayed(True))
    return json_response(await repeats.keep(origin, await act()))


async def _open(call: Call) -> HoldView | EventView:
    """The reservation of the request, or the event that it became.

    Raises:
        CallError: 422 `reservation_expired`.
        NotFound: It is none of the caller's.
    """
    found = await call.services.ledger.calls.promise(call.key.account_id, _id(call))
    if found.mode != "reservation":
        raise NotFound(_id(call))
    if isinstance(found, EventView):
        if found.reason == "expired":
            raise _expired()
        return found
    if found.expires_ms is not None and found.expires_ms <= call.services.clock_ms():
        await call.services.ledger.tending.expire()
        raise _expired()
    return found


async def _end(call: Call, settlement: Settlement) -> EventView:
    await call.services.ledger.calls.settled(settlement)
    return await _event(call, settlement.id)


async def _event(call: Call, call_id: str) -> EventView:
    found = await call.services.ledger.calls.promise(call.key.account_id, call_id)
    if isinstance(found, HoldView):
        raise NotFound(call_id)
    if found.reason == "expired":
        raise _expired()
    return found


def _ended(event: HoldView | EventView) -> dict[str, Any]:
    assert isinstance(event, EventView)  # noqa: S101 - only an ended reservation is shown as ended
    return {
        "id": f"rsv_{event.id}",
        "object": "reservation",
        "state": event.reason,
        "unit": event.usage["unit"],
        "amount": event.usage["reserved"],
        "actual": event.usage["actual"],
        "cost_micros": event.cost_micros,
        "flags": event.flags,
        "event_id": f"evt_{event.id}",
    }


def _expired() -> CallError:
    return CallError(422, "reservation_expired", "The reservation has expired; what it held has gone back.")


def _id(call: Call) -> str:
    return str(call.request.path_params["id"]).removeprefix("rsv_")
