"""`POST /v1/events`: monitoring mode. Callers report calls that they made themselves, against the same limits.

A cap never refuses a report; the answer says whether the next call is allowed. A bad event does not stop the batch.
"""

from __future__ import annotations

from base64 import b32encode
from hashlib import blake2b
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response

from gateway.api.endpoint import Call, decode, json_response
from gateway.api.reservations import Subject, whom
from gateway.errors import CallError
from keys.ids import new_body
from keys.minting import Metadata, Micros, ScopeRefused
from ledger.accounts import NotFound
from ledger.money import PICOS_PER_MICRO
from ledger.records import Ask, Facts, Held, Measures, Report
from providers.usage import Usage

BATCH_MAX = 1000
PAST_MS_MAX = 35 * 24 * 3600 * 1000
FUTURE_MS_MAX = 5 * 60 * 1000
_MEASURES = Measures.__struct_fields__


class Reported(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One call that was made elsewhere: its usage, or what it cost."""

    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)]
    timestamp_ms: int
    subject: Subject = Subject()
    provider: Annotated[str, Meta(max_length=64)] = ""
    model: Annotated[str, Meta(max_length=200)] = ""
    usage: Usage | None = None
    cost_micros: Micros | None = None
    latency_ms: Annotated[int, Meta(ge=0, le=86_400_000)] | None = None
    metadata: Metadata = {}


class _Rejected(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


async def report(call: Call) -> Response:
    """POST /v1/events."""
    call.parameters()
    body = (await call.raw_body()).lstrip()
    events = decode(body, list[msgspec.Raw]) if body.startswith(b"[") else [msgspec.Raw(body)]
    if len(events) > BATCH_MAX:
        raise CallError(400, "invalid_request", f"At most {BATCH_MAX} events in one request.")
    accepted = duplicates = 0
    rejected: list[dict[str, Any]] = []
    subjects: dict[tuple[int, int], tuple[str, str | None]] = {}
    for index, raw in enumerate(events):
        idempotency_key = None
        try:
            event = decode(bytes(raw), Reported)
            idempotency_key = event.idempotency_key
            first = await _one(call, event, subjects)
        except (_Rejected, CallError) as error:
            rejected.append({"index": index, "idempotency_key": idempotency_key, "code": error.code})
        except (NotFound, ScopeRefused):
            rejected.append({"index": index, "idempotency_key": idempotency_key, "code": "not_found"})
        else:
            accepted += first
            duplicates += not first
    state = [await _state(call, *ids, *names) for ids, names in subjects.items()]
    return json_response({"accepted": accepted, "duplicates": duplicates, "rejected": rejected, "state": state})


async def _one(call: Call, event: Reported, subjects: dict[tuple[int, int], tuple[str, str | None]]) -> bool:
    """Count one event; whether it was new."""
    now_ms = call.services.clock_ms()
    if event.timestamp_ms > now_ms + FUTURE_MS_MAX:
        raise _Rejected("timestamp_in_future")
    if event.timestamp_ms < now_ms - PAST_MS_MAX:
        raise _Rejected("timestamp_too_old")
    if (event.usage is None) == (event.cost_micros is None):
        raise _Rejected("usage_or_cost_required")
    key, end_user = await whom(call, event.subject)
    usage, price_version = event.usage or Usage(), ""
    if event.cost_micros is not None:
        cost_picos = event.cost_micros * PICOS_PER_MICRO
    else:
        price = call.services.catalogue.find(event.provider, event.model, event.timestamp_ms)
        if price is None:
            raise _Rejected("model_not_priced")
        cost_picos, price_version = price.cost_picos(usage), price.version
    settled = await call.services.ledger.report(
        Report(
            id=_event_id(key.id, event.idempotency_key),
            account_id=key.id,
            subject_id=end_user,
            facts=Facts(
                mode="monitor",
                provider=event.provider,
                model=event.model,
                route="report",
                price_version=price_version,
                metadata=event.metadata,
                markup_ppm=0 if key.plan is None else int(key.plan.profile.get("markup_ppm", 0)),
            ),
            at_ms=event.timestamp_ms,
            cost_picos=cost_picos,
            measures=Measures(*[getattr(usage, name) for name in _MEASURES]),
            tokens=usage.tokens,
            seconds=-(-usage.audio_ms // 1000),
            usage=msgspec.to_builtins(usage),
            latency_ms=event.latency_ms,
        )
    )
    subjects.setdefault((key.id, end_user), (key.public_id, event.subject.end_user))
    return settled is not None and settled.first


def _event_id(account_id: int, idempotency_key: str) -> str:
    """The same report always gets the same id: that is what makes it count once."""
    digest = blake2b(f"{account_id}:{idempotency_key}".encode(), digest_size=16, person=b"farthing-report").digest()
    return b32encode(digest).decode().rstrip("=").lower()


async def _state(call: Call, key_id: int, end_user: int, public_id: str, subject: str | None) -> dict[str, Any]:
    """Whether the next call is allowed: whether a call that costs anything at all would be."""
    outcome = await call.services.ledger.hold(
        Ask(
            id=new_body(call.services.clock_ms()),
            account_id=key_id,
            subject_id=end_user,
            facts=Facts(mode="monitor"),
            owner="",
            fixed_picos=PICOS_PER_MICRO,
            fixed_tokens=1,
            dry_run=True,
        )
    )
    if isinstance(outcome, Held):
        micros = outcome.left.get("micros")
        return {
            "key_id": public_id,
            "end_user": subject,
            "allowed": True,
            "remaining_micros": None if micros is None else micros + 1,
        }
    shortfall = outcome.shortfall
    left = shortfall.remaining if shortfall is not None and shortfall.unit == "micros" else None
    return {"key_id": public_id, "end_user": subject, "allowed": False, "remaining_micros": left}
