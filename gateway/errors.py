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
_GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_DASHSCOPE_CODES = {401: "InvalidApiKey", 402: "Arrearage", 429: "Throttling.RateQuota"}
_MINIMAX_CODES = {401: 1004, 402: 1008, 429: 1002}
_REQUEST_ID_HEADERS = {  # where the SDKs' errors take it from
    "openai": b"x-request-id",
    "anthropic": b"request-id",
    "elevenlabs": b"request-id",
    "deepgram": b"dg-request-id",
}
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
    body: dict[str, Any] = {
        "message": error.message,
        "type": _openai_type(error),
        "param": error.param,
        "code": error.code,
    }
    if error.farthing is not None:
        body["farthing"] = error.farthing
    return {"error": body}


def _openai_type(error: CallError) -> str:
    if error.code == "spend_cap_exceeded":
        return "insufficient_quota"
    return _OPENAI_TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")


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


def _google(error: CallError, request_id: str) -> dict[str, Any]:
    status = _GOOGLE_STATUSES.get(error.status, "INTERNAL" if error.status >= 500 else "INVALID_ARGUMENT")
    body = {"code": error.status, "message": error.message, "status": status, "reason": error.code}
    return {"error": body | _particulars(error)}


def _elevenlabs(error: CallError, request_id: str) -> dict[str, Any]:
    status = {"spend_cap_exceeded": "quota_exceeded", "invalid_key": "invalid_api_key"}.get(error.code, error.code)
    return {"detail": {"status": status, "message": error.message, "code": error.code} | _particulars(error)}


def _deepgram(error: CallError, request_id: str) -> dict[str, Any]:
    code = {402: "ASR_PAYMENT_REQUIRED", 401: "INVALID_AUTH", 429: "TOO_MANY_REQUESTS"}.get(
        error.status, error.code.upper()
    )
    body = {"err_code": code, "err_msg": error.message, "request_id": request_id, "code": error.code}
    return body | _particulars(error)


def _mistral(error: CallError, request_id: str) -> dict[str, Any]:
    body = {"object": "error", "message": error.message, "type": _openai_type(error), "code": error.code}
    return {"param": None, **body} | _particulars(error)


def _cohere(error: CallError, request_id: str) -> dict[str, Any]:
    return {"id": request_id, "message": error.message, "code": error.code} | _particulars(error)


def _dashscope(error: CallError, request_id: str) -> dict[str, Any]:
    code = _DASHSCOPE_CODES.get(error.status, error.code)
    return {"code": code, "message": error.message, "request_id": request_id} | _particulars(error)


def _minimax(error: CallError, request_id: str) -> dict[str, Any]:
    status = {"status_code": _MINIMAX_CODES.get(error.status, 2013), "status_msg": error.message, "code": error.code}
    return {"base_resp": status, "trace_id": request_id} | _particulars(error)


def _particulars(error: CallError) -> dict[str, Any]:
    """What our errors say beyond the dialect's own fields."""
    more: dict[str, Any] = {} if error.param is None else {"param": error.param}
    return more if error.farthing is None else more | {"farthing": error.farthing}


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


_BODIES = {
    "openai": _openai,
    "anthropic": _anthropic,
    "google": _google,
    "elevenlabs": _elevenlabs,
    "deepgram": _deepgram,
    "mistral": _mistral,
    "cohere": _cohere,
    "dashscope": _dashscope,
    "minimax": _minimax,
    "farthing": _farthing,
}


def in_stream(error: CallError, dialect: str, operation: str, request_id: str, *, events: bool = True) -> bytes:
    """What tells a streaming SDK that the answer was cut by us. Source: providers.md §4.2, mid-stream.

    `events` says that the answer is a stream of events. Of other streams only some can say it, Google's JSON array and
    Cohere's lines of JSON: for all others it is empty, and breaking off says it.
    """
    body = _BODIES[dialect](error, f"req_{request_id}")
    if not events:
        if dialect == "google":
            return b"\r\n,\r\n" + _encode(body) + b"\r\n]\r\n"
        if dialect == "cohere":
            end = {"is_finished": True, "event_type": "stream-end", "finish_reason": "ERROR", "response": {"text": ""}}
            return _encode(end | {"error": error.message, "code": error.code}) + b"\n"
        return b""
    if dialect == "anthropic":
        return b"event: error\ndata: " + _encode(body) + b"\n\n"
    if operation == "responses":
        # The API's own event is flat, and the SDKs hand that to their user as one event among others: only an `error`
        # object, as in the chat API, makes them raise.
        event = {"type": "error", "code": error.code, "message": error.message, "param": error.param} | body
        return b"event: error\ndata: " + _encode(event) + b"\n\n"
    if dialect == "cohere":
        delta = {"finish_reason": "ERROR", "error": error.message, "code": error.code}
        return b"event: message-end\ndata: " + _encode({"type": "message-end", "delta": delta}) + b"\n\n"
    if dialect == "dashscope":
        return b"event:error\n:HTTP_STATUS/%d\ndata:%b\n\n" % (error.status, _encode(body))
    return b"data: " + _encode(body) + b"\n\n"


def in_socket(error: CallError, dialect: str, operation: str, request_id: str) -> tuple[list[str], int, str]:
    """What tells a WebSocket's SDK that we end it: messages, close code, reason. Source: providers.md §4.2.

    The code is 1008, a policy, for what the caller can do something about; 1001 where we go away; 1011 for the rest.
    A reason has at most 123 bytes (RFC 6455, §5.5.1).
    """
    code = 1008 if error.status < 500 else 1001 if error.code == "overloaded" else 1011
    reason = f"{error.code}: {error.message}".encode()[:123].decode(errors="ignore")
    request_id = f"req_{request_id}"
    if dialect == "openai":
        event = {"type": "error", "event_id": f"event_{request_id[4:]}"} | _openai(error, request_id)
        event["error"]["event_id"] = None
        return [_encode(event).decode()], code, reason
    if dialect == "elevenlabs":
        status = _elevenlabs(error, request_id)["detail"]["status"]
        if operation.startswith("speech-to-text"):
            event = {"message_type": status, "error": error.message}
        else:
            event = {"message": error.message, "error": status, "code": code}
        return [_encode(event | _particulars(error)).decode()], code, reason
    if dialect == "deepgram":
        body = _deepgram(error, request_id)
        if operation == "listen.flux":
            # Its errors are messages, numbered like all others; nobody knows here which number is the next.
            event = {"type": "Error", "sequence_id": 0, "code": body["err_code"], "description": error.message}
            return [_encode(event | _particulars(error)).decode()], code, reason
        return [], code, f"{body['err_code']}: {error.message}".encode()[:123].decode(errors="ignore")
    return [], code, reason
