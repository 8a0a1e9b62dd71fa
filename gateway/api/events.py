"""`GET /v1/events`, `GET /v1/keys/{id}/usage` and `GET /v1/holds`: what happened, call by call."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from gateway.api.endpoint import Call, choice, integer, json_response, list_response, livemode, page_size, replayed
from gateway.api.keys import key_object
from gateway.api.progress import progress, usage_of
from gateway.api.tables import csv_response, csv_stream, jsonl_response
from gateway.api.usage import RANGE_MS_MAX
from gateway.bounds import EXPORT_ROWS_AT_ONCE, EXPORT_ROWS_MAX
from gateway.call.attempt import attempt_of, request_of
from gateway.problems import CallError
from ledger.events import EventQuery, EventView, HoldView
from ledger.money import CHARGE_MICROS_MAX
from ledger.records import Unsettled
from ledger.views import NotFound

_COLUMNS = ["id", "request_id", "attempt", *EventView.__struct_fields__[1:]]
_MODES = ("proxy", "monitor", "reservation", "adjustment")
_FILTERS = (
    *("limit", "starting_after", "end_user", "run_id", "from_ms", "to_ms", "mode", "decision", "livemode"),
    *("reason", "provider", "model"),
)


def event_object(event: EventView) -> dict[str, Any]:
    """An event as the API shows it."""
    return {
        **msgspec.structs.asdict(event),
        "id": f"evt_{event.id}",
        "object": "event",
        "request_id": f"req_{request_of(event.id)}",
        "attempt": attempt_of(event.id),
        "upstream": event.upstream or event.provider,
    }


def hold_object(hold: HoldView) -> dict[str, Any]:
    """A hold as the API shows it."""
    unit, amount = hold.reserved or ("micros", hold.amount_micros)
    return {
        "id": f"hold_{hold.id}",
        "object": "hold",
        "key_id": hold.key_id,
        "unit": unit,
        "amount": amount,
        "state": hold.state,
        "mode": hold.mode,
        "provider": hold.provider,
        "model": hold.model,
        "created_ms": hold.created_ms,
        "expires_at_ms": hold.expires_ms,
    }


def _query(call: Call, parameters: dict[str, str], key: str | None) -> EventQuery:
    cursor, live = parameters.get("starting_after"), livemode(parameters.get("livemode"))
    return EventQuery(
        owner_id=call.key.account_id,
        limit=page_size(parameters.get("limit")),
        starting_after=cursor.removeprefix("evt_") if cursor is not None else None,
        livemode=live if key is None and call.key.livemode else None,
        key=key,
        end_user=parameters.get("end_user"),
        run_id=parameters.get("run_id"),
        from_ms=_moment(parameters, "from_ms"),
        to_ms=_moment(parameters, "to_ms"),
        mode=choice(parameters.get("mode"), "mode", _MODES),
        decision=choice(parameters.get("decision"), "decision", ("allowed", "blocked")),
        reason=parameters.get("reason"),
        provider=parameters.get("provider"),
        model=parameters.get("model"),
    )


def _moment(parameters: dict[str, str], name: str) -> int | None:
    return integer(parameters[name], name, low=0, high=RANGE_MS_MAX) if name in parameters else None


async def events(call: Call) -> Response:
    """GET /v1/events."""
    parameters = call.parameters(*_FILTERS, "key_id", "format")
    form = choice(parameters.get("format"), "format", ("json", "csv", "jsonl"), "json")
    found, has_more = await call.services.ledger.reports.events(_query(call, parameters, parameters.get("key_id")))
    rows = [event_object(event) for event in found]
    if form == "csv":
        return csv_response(_COLUMNS, rows, "events")
    return jsonl_response(rows) if form == "jsonl" else list_response(rows, has_more)


async def export(call: Call) -> Response:
    """All events that the filters let through, as one CSV file: for the dashboard, where nobody follows a cursor."""
    parameters = call.parameters(*_FILTERS, "key_id")
    reports = call.services.ledger.reports
    query = msgspec.structs.replace(_query(call, parameters, parameters.get("key_id")), limit=EXPORT_ROWS_AT_ONCE)
    first = await reports.events(query)  # what is refused is refused before the file begins

    async def pages() -> AsyncIterator[list[dict[str, Any]]]:
        (found, has_more), count = first, 0
        while True:
            yield [event_object(event) for event in found]
            count += len(found)
            if not has_more or count >= EXPORT_ROWS_MAX:
                return
            found, has_more = await reports.events(msgspec.structs.replace(query, starting_after=found[-1].id))

    return csv_stream(_COLUMNS, pages(), "events")


async def key_usage(call: Call) -> Response:
    """GET /v1/keys/{id}/usage: the cap's progress, what it went to, and the newest events."""
    parameters = call.parameters(*_FILTERS)
    key_id = str(call.request.path_params["id"])
    account = await call.services.ledger.accounts.get(call.key.account_id, key_id)
    query = _query(call, parameters, key_id)
    found, has_more = await call.services.ledger.reports.events(query)
    listed = {"object": "list", "data": [event_object(event) for event in found], "has_more": has_more}
    models = await usage_of(call, account, from_ms=query.from_ms, to_ms=query.to_ms, end_user=query.end_user)
    return json_response(progress(account, models) | {"key": key_object(account), "events": listed})


async def holds(call: Call) -> Response:
    """GET /v1/holds: calls in flight, and those whose end nobody saw."""
    parameters = call.parameters("limit", "starting_after", "state")
    cursor = parameters.get("starting_after")
    found, has_more = await call.services.ledger.reports.holds(
        call.key.account_id,
        limit=page_size(parameters.get("limit")),
        starting_after=cursor.removeprefix("hold_") if cursor is not None else None,
        state=choice(parameters.get("state"), "state", ("open", "unsettled")),
    )
    return list_response([hold_object(hold) for hold in found], has_more)


class Resolve(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What becomes of an unsettled hold. `cost_micros` is what to charge, if it is not the whole hold."""

    action: Unsettled
    cost_micros: Annotated[int, msgspec.Meta(ge=0, le=CHARGE_MICROS_MAX)] | None = None


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator's word came to: the event that the call became, or the hold that was kept."""

    event_id: str = ""
    hold: dict[str, Any] = {}


async def resolve(call: Call) -> Response:
    """POST /v1/holds/{id}/resolve: an operator's word on a call whose end nobody saw. The first word stands."""
    call.parameters()
    asked = await call.body(Resolve)
    origin, repeats = await call.origin(), call.services.ledger.repeats
    earlier = await repeats.find(origin, Word)
    word = earlier if earlier is not None else await repeats.keep(origin, await _resolved(call, asked))
    headers = replayed(earlier is not None)
    if word.hold:
        return json_response(word.hold, headers=headers)
    event = await call.services.ledger.calls.promise(call.key.account_id, word.event_id)
    return json_response(event_object(event) if isinstance(event, EventView) else hold_object(event), headers=headers)


async def _resolved(call: Call, asked: Resolve) -> Word:
    hold_id = str(call.request.path_params["id"]).removeprefix("hold_")
    found = await call.services.ledger.calls.promise(call.key.account_id, hold_id)
    if isinstance(found, EventView):  # ended already: the first word stands
        with contextlib.suppress(NotFound):
            found = await call.services.ledger.calls.promise(call.key.account_id, f"{hold_id}-late")
    if isinstance(found, EventView):
        return Word(event_id=found.id)
    if found.state != "unsettled":
        raise CallError(400, "hold_open", "The call is still in flight; it will settle by itself.")
    if asked.action == "keep":
        return Word(hold=hold_object(found))
    micros = found.amount_micros if asked.cost_micros is None else asked.cost_micros
    settled = await call.services.ledger.calls.resolve(hold_id, asked.action, micros)
    await call.services.ledger.reports.note(
        "hold.resolved", call.key.account_id, f"hold_{hold_id}", {"action": asked.action, "micros": micros}, call.asker
    )
    return Word(event_id=hold_id if settled is None else settled.id)
