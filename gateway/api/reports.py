"""`POST /v1/events`: monitoring mode. Callers report calls that they made themselves, against the same limits.

A cap never refuses a report; the answer says whether the next call is allowed. A bad event does not stop the batch.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response

from gateway.api.endpoint import Call, decode, json_response
from gateway.api.reservations import policy_of, whom
from gateway.api.stated import Payer, ReportedUsage
from gateway.problems import CallError
from keys.ids import derived_id, new_body
from keys.minting import ScopeRefused
from keys.requests import Metadata
from ledger.money import CHARGE_MICROS_MAX, PICOS_PER_MICRO
from ledger.records import Ask, Facts, Held, Measures, Report
from ledger.views import AccountView, NotFound

BATCH_MAX = 1000
PAST_MS_MAX = 35 * 24 * 3600 * 1000
FUTURE_MS_MAX = 5 * 60 * 1000
_MEASURES = Measures.__struct_fields__


class Reported(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One call that was made elsewhere: its usage, or what it cost."""

    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)]
    timestamp_ms: int
    subject: Payer = Payer()
    provider: Annotated[str, Meta(max_length=64)] = ""
    model: Annotated[str, Meta(max_length=200)] = ""
    usage: ReportedUsage | None = None
    cost_micros: Annotated[int, Meta(ge=0, le=CHARGE_MICROS_MAX)] | None = None
    latency_ms: Annotated[int, Meta(ge=0, le=86_400_000)] | None = None
    metadata: Metadata = {}


class _Rejected(Exception):
    """One event is not counted: a code, and why in words."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason


class _Keyed(msgspec.Struct, frozen=True):
    idempotency_key: str | None = None


class _Party(msgspec.Struct, kw_only=True):
    """Whom events are about, and the last of their calls."""

    key: AccountView
    end_user: int
    subject: str | None
    last: Facts = Facts()


class _Batch:
    """The events of one request."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._found: dict[Payer, _Party] = {}
        self.parties: dict[tuple[int, int], _Party] = {}  # in the order of their first event

    async def read(self, event: Reported) -> Report:
        """What to count. Raises _Rejected, CallError, NotFound, ScopeRefused."""
        now_ms = self._call.services.clock_ms()
        if event.timestamp_ms > now_ms + FUTURE_MS_MAX:
            raise _Rejected("timestamp_in_future", "timestamp_ms is more than five minutes ahead.")
        if event.timestamp_ms < now_ms - PAST_MS_MAX:
            raise _Rejected("timestamp_too_old", "timestamp_ms is more than 35 days ago.")
        if (event.usage is None) == (event.cost_micros is None):
            raise _Rejected("usage_or_cost_required", "An event has either usage or cost_micros.")
        usage, price_version = (event.usage or ReportedUsage()).usage(), ""
        if event.cost_micros is not None:
            cost_picos = event.cost_micros * PICOS_PER_MICRO
        else:
            price = self._call.services.catalogue.find(event.provider, event.model, event.timestamp_ms)
            if price is None:
                raise _Rejected(
                    "model_not_priced", f"{event.provider}/{event.model} has no price here: report cost_micros."
                )
            cost_picos, price_version = price.cost_picos(usage), price.version
            if cost_picos > CHARGE_MICROS_MAX * PICOS_PER_MICRO:
                raise _Rejected("amount_too_large", "usage: no call costs so much.")
        party = await self._party(event.subject)
        party.last = Facts(
            mode="monitor",
            provider=event.provider,
            model=event.model,
            also=self._call.services.catalogue.names_of(event.provider, event.model),
            route="report",
            price_version=price_version,
            metadata=event.metadata,
            markup_ppm=policy_of(party.key).markup_ppm,
        )
        return Report(
            id=derived_id("report", party.key.id, event.idempotency_key),
            account_id=party.key.id,
            subject_id=party.end_user,
            facts=party.last,
            at_ms=event.timestamp_ms,
            cost_picos=cost_picos,
            measures=Measures(*[getattr(usage, name) for name in _MEASURES]),
            tokens=usage.tokens,
            seconds=-(-usage.audio_ms // 1000),
            usage=msgspec.to_builtins(usage),
            latency_ms=event.latency_ms,
        )

    async def _party(self, payer: Payer) -> _Party:
        party = self._found.get(payer)
        if party is None:
            key, end_user = await whom(self._call, payer, reports=True)
            party = _Party(key=key, end_user=end_user, subject=payer.end_user)
            party = self._found[payer] = self.parties.setdefault((key.id, end_user), party)
        return party


async def report(call: Call) -> Response:
    """POST /v1/events."""
    call.parameters()
    body = (await call.raw_body()).lstrip()
    events = decode(body, list[msgspec.Raw]) if body[:1] != b"{" else [msgspec.Raw(body)]
    if len(events) > BATCH_MAX:
        raise CallError(400, "invalid_request", f"At most {BATCH_MAX} events in one request.")
    batch = _Batch(call)
    rejected: list[dict[str, Any]] = []
    reports: list[Report] = []
    for index, json_text in enumerate(events):
        idempotency_key, body = _key_of(json_text), bytes(json_text)
        try:
            event = decode(body, Reported)
            reports.append(await batch.read(event))
            continue
        except _Rejected as error:
            code, reason = error.code, error.reason
        except CallError as error:
            code, reason = error.code, error.message
        except (NotFound, ScopeRefused):
            code, reason = "not_found", "There is no such key under this one."
        rejected.append({"index": index, "idempotency_key": idempotency_key, "code": code, "reason": reason})
    settled = await asyncio.gather(*map(call.services.ledger.calls.report, reports))
    accepted = sum(each is not None and each.first for each in settled)
    state = [await _state(call, party) for party in batch.parties.values()]
    return json_response(
        {"accepted": accepted, "duplicates": len(settled) - accepted, "rejected": rejected, "state": state}
    )


def _key_of(json_text: msgspec.Raw) -> str | None:
    """The idempotency key of an event that may be wrong in everything else."""
    try:
        found = msgspec.json.decode(json_text, type=_Keyed).idempotency_key
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found


async def _state(call: Call, party: _Party) -> dict[str, Any]:
    """Whether the next call is allowed, were it like the last one and cost anything at all; and what is left."""

    def ask(units: int) -> Ask:
        return Ask(
            id=new_body(call.services.clock_ms()),
            account_id=party.key.id,
            subject_id=party.end_user,
            facts=party.last,
            owner="",
            fixed_picos=units * PICOS_PER_MICRO,
            fixed_tokens=units,
            requests=units,
            concurrent=units,
            dry_run=True,
        )

    ledger = call.services.ledger
    outcome, nothing = await asyncio.gather(ledger.calls.hold(ask(1)), ledger.calls.hold(ask(0)))
    return {
        "key_id": party.key.public_id,
        "end_user": party.subject,
        "allowed": isinstance(outcome, Held),
        "remaining_micros": nothing.left.get("micros") if isinstance(nothing, Held) else None,
    }
