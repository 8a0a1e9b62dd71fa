"""Refusals and failures of ours: the one table of them, and how they are told in the dialect of the SDK that called.

An error has a public message and, apart from it, whatever the log may say; only the public one is rendered here.
A vendor's dialect stands in its family's folder (`providers.dialects`). Who retries what: providers.md §4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from keys.hashing import Overloaded
from keys.keyring import Denied
from keys.limits import Exceeds, Invalid
from keys.minting import ScopeRefused
from ledger.billing.terms import TermTaken
from ledger.changes import Closed, InUse, TooDeep, TooManySubjects, Uncapped
from ledger.outbox.hooks import TooManyHooks
from ledger.records import LedgerUnavailable, Shortfall
from ledger.replays import ReplayMismatch
from ledger.retention import Dropped
from ledger.routes import NameTaken, TooManyRoutes
from ledger.views import NotFound
from providers.contract.dialect import Dialect, Problem, close_code
from providers.dialects import DIALECTS
from providers.ground.errors import BadRequest
from providers.routing import Route

JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder().encode

RETRY_AFTER_S_MAX = 60  # some SDKs sleep for whatever they are told


class CallError(Exception):
    """A call ends here with an error of ours.

    Attributes:
        status, code, message, param: As the client will see them.
        retry: `x-should-retry`: False where trying again is pointless or could spend twice; None says nothing.
        retry_after_s: Only where waiting helps.
        farthing: Which limit refused, and what it has left.
        route: Where the call was to go, where that is known better than by its path: in its dialect it is told.
    """

    route: Route | None = None

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry: bool | None = False,
        retry_after_s: int | None = None,
        farthing: dict[str, Any] | None = None,
        allow: tuple[str, ...] = (),
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry = retry
        self.retry_after_s = retry_after_s
        self.farthing = farthing
        self.allow = allow

    def at(self, route: Route) -> CallError:
        """The same, of a call to this route."""
        if self.route is None:
            self.route = route
        return self


DENIED = {
    "invalid_key": "This is not a valid key.",
    "key_revoked": "This key has been revoked.",
    "key_disabled": "This key is disabled.",
    "key_expired": "This key has expired.",
}


def denied(reason: str) -> CallError:
    """Why a key lets nobody in."""
    return CallError(401, reason, DENIED[reason])


def _ledger_unavailable(error: LedgerUnavailable) -> CallError:
    message = "The ledger does not answer; nothing was called, changed or charged."
    return CallError(503, "ledger_unavailable", message, retry=True, retry_after_s=1)


def _overloaded(error: Overloaded) -> CallError:
    return CallError(503, "overloaded", "Too many new keys at once; try again.", retry=True, retry_after_s=1)


def _dropped(error: Dropped) -> CallError:
    kept = f"Events before {error.kept_from_ms} are gone: ask from then on, or for whole UTC days and no tag."
    return CallError(400, "events_dropped", kept, param="from_ms")


def _mismatch(error: ReplayMismatch) -> CallError:
    message = "This Idempotency-Key was used with another request."
    return CallError(422, "idempotency_mismatch", message, param="Idempotency-Key")


_PROBLEMS: dict[type[Exception], Callable[[Any], CallError]] = {
    LedgerUnavailable: _ledger_unavailable,
    Overloaded: _overloaded,
    Denied: lambda error: denied(error.reason),
    BadRequest: lambda error: CallError(400, error.code, error.message, param=error.param),
    TooManySubjects: lambda _: CallError(429, "too_many_end_users", "This key has too many end users or runs."),
    TermTaken: lambda error: CallError(
        400, "term_taken", f"{error.param}: the plan {error.plan_id} says the same.", param=error.param
    ),
    NameTaken: lambda error: CallError(400, "name_taken", f"There is a route {error}.", param="name"),
    TooManyRoutes: lambda _: CallError(400, "too_many_routes", "There are as many routes as there may be."),
    TooManyHooks: lambda _: CallError(400, "too_many_hooks", "This key has as many hooks as a key may have."),
    Exceeds: lambda error: CallError(403, "exceeds_parent", f"{error.param}: {error.message}.", param=error.param),
    Invalid: lambda error: CallError(400, "invalid_request", f"{error.param}: {error.message}.", param=error.param),
    ScopeRefused: lambda error: CallError(403, "scope_not_allowed", f"{error}"),
    NotFound: lambda _: CallError(404, "not_found", "There is nothing with this id."),
    Closed: lambda error: CallError(400, f"key_{error.status}", f"The key is {error.status}."),
    InUse: lambda _: CallError(400, "plan_in_use", "Some key is on this plan."),
    Uncapped: lambda _: CallError(400, "no_cap", "The key has no cap that could be raised."),
    Dropped: _dropped,
    TooDeep: lambda _: CallError(400, "too_deep", "Keys cannot be nested any deeper."),
    ReplayMismatch: _mismatch,
}
"""What the other rooms refuse with, and how a client is told, of a call and of the management API alike."""

PROBLEMS: tuple[type[Exception], ...] = (CallError, *_PROBLEMS)
"""Everything that `as_problem` takes."""


def as_problem(error: Exception) -> CallError:
    """The public face of one of `PROBLEMS`."""
    if isinstance(error, CallError):
        return error
    return next(made for kind in type(error).__mro__ if (made := _PROBLEMS.get(kind)) is not None)(error)


def over_limit(shortfall: Shortfall, *, over_cap_status: int, request_id: str, now_ms: int) -> CallError:
    """The answer to a call that a limit refused: 402 for money, 429 for everything else."""
    farthing: dict[str, Any] = {
        "cap": shortfall.cap,
        "cap_id": shortfall.limit_id or None,
        "account_id": shortfall.account_id or None,
        "unit": shortfall.unit,
        "limit": shortfall.max,
        "used": shortfall.used,
        "held": shortfall.held,
        "remaining": shortfall.remaining,
        "required": shortfall.required,
        "affordable_output_tokens": shortfall.affordable,
        "resets_at_ms": shortfall.resets_at_ms,
        "request_id": request_id,
    }
    if shortfall.unit == "micros":
        farthing |= {
            "limit_micros": shortfall.max,
            "spent_micros": shortfall.used,
            "held_micros": shortfall.held,
            "remaining_micros": shortfall.remaining,
            "required_micros": shortfall.required,
        }
        message = (
            f"The {shortfall.cap.replace('_', ' ')}'s spend cap of {shortfall.max} micro-USD has {shortfall.remaining}"
            f" left ({shortfall.used} spent, {shortfall.held} held); this call may cost {shortfall.required}."
        )
        return CallError(over_cap_status, "spend_cap_exceeded", message, farthing=farthing)
    wait_s = 1 if shortfall.unit == "concurrent" else RETRY_AFTER_S_MAX
    if shortfall.resets_at_ms is not None:
        wait_s = max(1, min(RETRY_AFTER_S_MAX, -(-(shortfall.resets_at_ms - now_ms) // 1000)))
    message = (
        f"The {shortfall.cap.replace('_', ' ')}'s limit of {shortfall.max} {shortfall.unit} has {shortfall.remaining}"
        f" left; this call needs {shortfall.required}."
    )
    return CallError(429, "rate_limited", message, retry=None, retry_after_s=wait_s, farthing=farthing)


def render(error: CallError, dialect: str, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of an error, as the dialect's SDKs expect them."""
    request_id = f"req_{request_id}"
    spoken = _DIALECTS[dialect]
    headers = [JSON, (b"x-farthing-request-id", request_id.encode()), (b"cache-control", b"no-store")]
    if spoken.request_id_header is not None:
        headers.append((spoken.request_id_header, request_id.encode()))
    if error.retry is not None:
        headers.append((b"x-should-retry", b"true" if error.retry else b"false"))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.allow:
        headers.append((b"allow", ", ".join(error.allow).encode()))
    body = _encode(spoken.body(error, request_id))
    headers.append((b"content-length", b"%d" % len(body)))
    return error.status, headers, body


def in_stream(error: CallError, dialect: str, operation: str, request_id: str, *, events: bool = True) -> bytes:
    """What tells a streaming SDK that the answer was cut by us.

    `events` says that the answer is a stream of events. Of other streams only some can say it: for all others it is
    empty, and breaking off says it.
    """
    spoken, request_id = _DIALECTS[dialect], f"req_{request_id}"
    return spoken.event(error, operation, request_id) if events else spoken.end(error, request_id)


def in_socket(error: CallError, dialect: str, operation: str, request_id: str) -> tuple[list[str], int, str]:
    """What tells a WebSocket's SDK that we end it: messages, close code, reason."""
    spoken = _DIALECTS[dialect]
    messages = spoken.messages(error, operation, f"req_{request_id}")
    return [_encode(each).decode() for each in messages], close_code(error), spoken.reason(error)


class _Farthing(Dialect):
    """The management API's own shape."""

    def body(self, problem: Problem, request_id: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "code": problem.code,
            "message": problem.message,
            "param": problem.param,
            "request_id": request_id,
        }
        if problem.farthing is not None:
            body["farthing"] = problem.farthing
        return {"error": body}


_DIALECTS = {**DIALECTS, "farthing": _Farthing()}
