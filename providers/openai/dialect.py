"""How OpenAI's SDKs are told of an error, and those of the vendors who speak as it does."""

from __future__ import annotations

from typing import Any

import msgspec

from providers.contract.dialect import Dialect, Problem

_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    402: "insufficient_quota",
    403: "invalid_request_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}
_encode = msgspec.json.Encoder().encode


class OpenAI(Dialect):
    """`{"error": {…}}`, everywhere but in the stream of Responses."""

    request_id_header = b"x-request-id"

    def body(self, problem: Problem, request_id: str) -> dict[str, Any]:
        """An `error` object."""
        error: dict[str, Any] = {
            "message": problem.message,
            "type": error_type(problem),
            "param": problem.param,
            "code": problem.code,
        }
        if problem.farthing is not None:
            error["farthing"] = problem.farthing
        return {"error": error}

    def event(self, problem: Problem, operation: str, request_id: str) -> bytes:
        """An `error` object as an event.

        The event of Responses is flat, and the SDKs hand that to their user as one event among others: only an `error`
        object, as in the chat API, makes them raise. So there it is both.
        """
        if operation != "responses":
            return super().event(problem, operation, request_id)
        flat = {"type": "error", "code": problem.code, "message": problem.message, "param": problem.param}
        return b"event: error\ndata: " + _encode(flat | self.body(problem, request_id)) + b"\n\n"

    def messages(self, problem: Problem, operation: str, request_id: str) -> list[dict[str, Any]]:
        """The `error` event of the realtime API."""
        event = {"type": "error", "event_id": f"event_{request_id[4:]}"} | self.body(problem, request_id)
        event["error"]["event_id"] = None
        return [event]


def error_type(problem: Problem) -> str:
    """`type`, by status."""
    if problem.code == "spend_cap_exceeded":
        return "insufficient_quota"
    return _TYPES.get(problem.status, "server_error" if problem.status >= 500 else "invalid_request_error")


DIALECT = OpenAI()
