"""How Anthropic's SDKs are told of an error."""

from __future__ import annotations

from typing import Any

import msgspec

from providers.contract.dialect import Dialect, Problem

_TYPES = {
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
_encode = msgspec.json.Encoder().encode


class Anthropic(Dialect):
    """`{"type": "error", "error": {…}}`."""

    request_id_header = b"request-id"

    def body(self, problem: Problem, request_id: str) -> dict[str, Any]:
        """An error's object, with the id beside it."""
        kind = _TYPES.get(problem.status, "api_error")
        if problem.code == "spend_cap_exceeded":
            kind = "billing_error"
        error: dict[str, Any] = {"type": kind, "message": problem.message, "code": problem.code}
        if problem.param is not None:
            error["param"] = problem.param
        if problem.farthing is not None:
            error["farthing"] = problem.farthing
        return {"type": "error", "error": error, "request_id": request_id}

    def event(self, problem: Problem, operation: str, request_id: str) -> bytes:
        """The API's own `error` event."""
        return b"event: error\ndata: " + _encode(self.body(problem, request_id)) + b"\n\n"


DIALECT = Anthropic()
