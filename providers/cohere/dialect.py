"""How Cohere's SDKs are told of an error."""

from __future__ import annotations

from typing import Any

import msgspec

from providers.contract.dialect import Dialect, Problem, particulars

_encode = msgspec.json.Encoder().encode


class Cohere(Dialect):
    """A `message`, with an id."""

    def body(self, problem: Problem, request_id: str) -> dict[str, Any]:
        """Flat."""
        return {"id": request_id, "message": problem.message, "code": problem.code} | particulars(problem)

    def event(self, problem: Problem, operation: str, request_id: str) -> bytes:
        """A `message-end` that says that it went wrong."""
        delta = {"finish_reason": "ERROR", "error": problem.message, "code": problem.code}
        return b"event: message-end\ndata: " + _encode({"type": "message-end", "delta": delta}) + b"\n\n"

    def end(self, problem: Problem, request_id: str) -> bytes:
        """Version 1's lines of JSON: a `stream-end`."""
        end = {"is_finished": True, "event_type": "stream-end", "finish_reason": "ERROR", "response": {"text": ""}}
        return _encode(end | {"error": problem.message, "code": problem.code}) + b"\n"


DIALECT = Cohere()
