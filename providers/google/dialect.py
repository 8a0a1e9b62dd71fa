"""How Google's SDKs are told of an error."""

from __future__ import annotations

from typing import Any

import msgspec

from providers.contract.dialect import Dialect, Problem, particulars

_STATUSES = {
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
_encode = msgspec.json.Encoder().encode


class Google(Dialect):
    """A `google.rpc.Status`."""

    def body(self, problem: Problem, request_id: str) -> dict[str, Any]:
        """With the status's name beside its number."""
        status = _STATUSES.get(problem.status, "INTERNAL" if problem.status >= 500 else "INVALID_ARGUMENT")
        error = {"code": problem.status, "message": problem.message, "status": status, "reason": problem.code}
        return {"error": error | particulars(problem)}

    def end(self, problem: Problem, request_id: str) -> bytes:
        """The last element of the JSON array that streams without `alt=sse`."""
        return b"\r\n,\r\n" + _encode(self.body(problem, request_id)) + b"\r\n]\r\n"


DIALECT = Google()
