"""Refusals and failures, in the error shape of the SDK that called. The one module that renders them.

An error has a public message and, apart from it, whatever the log may say; only the public one is rendered here.
Source of the shapes and of who retries what: providers.md §4.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ledger.records import Shortfall

JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder().encode

_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    402: "insufficient_quota",
    403: "invalid_request_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_REQUEST_ID_HEADERS = {"openai": b"x-request-id", "anthropic": b"request-id"}  # where the SDKs' errors take it from
RETRY_AFTER_S_MAX = 60  # some SDKs sleep for whatever they are told


class CallError(Exception):
    """A call ends here with an error of ours.

    Attributes:
        status, code, message, param: As the client will see them.
        retry: `x-should-retry`: False where trying again is pointless or could spend twice; None says nothing.
        retry_after_s: Only where waiting helps.
        farthing: Which limit refused, and what it has left.
    """

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
    headers = [JSON, (b"x-farthing-request-id", request_id.encode()), (b"cache-control", b"no-store")]
    if (native := _REQUEST_ID_HEADERS.get(dialect)) is not None:
        headers.append((native, request_id.encode()))
    if error.retry is not None:
        headers.append((b"x-should-retry", b"true" if error.retry else b"false"))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.allow:
        headers.append((b"allow", ", ".join(error.allow).encode()))
    body = _encode(_BODIES[dialect](error, request_id))
    headers.append((b"content-length", b"%d" % len(body)))
    return error.status, headers, body


def _openai(error: CallError, request_id: str) -> dict[str, Any]:
    kind = _OPENAI_TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    if error.code == "spend_cap_exceeded":
        kind = "insufficient_quota"
    body: dict[str, Any] = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    if error.farthing is not None:
        body["farthing"] = error.farthing
    return {"error": body}


def _anthropic(error: CallError, request_id: str) -> dict[str, Any]:
    kind = _ANTHROPIC_TYPES.get(error.status, "api_error")
    if error.code == "spend_cap_exceeded":
        kind = "billing_error"
    body: dict[str, Any] = {"type": kind, "message": error.message, "code": error.code}
    if error.param is not None:
        body["param"] = error.param
    if error.farthing is not None:
        body["farthing"] = error.farthing
    return {"type": "error", "error": body, "request_id": request_id}


def _farthing(error: CallError, request_id: str) -> dict[str, Any]:
    """The management API's own shape."""
    body: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "param": error.param,
        "request_id": request_id,
    }
    if error.farthing is not None:
        body["farthing"] = error.farthing
    return {"error": body}


_BODIES = {"openai": _openai, "anthropic": _anthropic, "farthing": _farthing}


def in_stream(error: CallError, dialect: str, operation: str, request_id: str) -> bytes:
    """The event that tells a streaming SDK that the answer was cut by us. Source: providers.md §4.2, mid-stream."""
    body = _BODIES[dialect](error, f"req_{request_id}")
    if dialect == "anthropic":
        return b"event: error\ndata: " + _encode(body) + b"\n\n"
    if operation == "responses":
        # The API's own event is flat, and the SDKs hand that to their user as one event among others: only an `error`
        # object, as in the chat API, makes them raise.
        event = {"type": "error", "code": error.code, "message": error.message, "param": error.param} | body
        return b"event: error\ndata: " + _encode(event) + b"\n\n"
    return b"data: " + _encode(body) + b"\n\n"
