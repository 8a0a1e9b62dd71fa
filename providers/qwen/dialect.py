"""How DashScope's clients are told of an error."""

from __future__ import annotations

from typing import Any

import msgspec

from providers.contract.dialect import Dialect, Problem, particulars

_CODES = {401: "InvalidApiKey", 402: "Arrearage", 429: "Throttling.RateQuota"}
_encode = msgspec.json.Encoder().encode


class DashScope(Dialect):
    """A code in words, a message and the request's id."""

    def body(self, problem: Problem, request_id: str) -> dict[str, Any]:
        """Flat."""
        code = _CODES.get(problem.status, problem.code)
        return {"code": code, "message": problem.message, "request_id": request_id} | particulars(problem)

    def event(self, problem: Problem, operation: str, request_id: str) -> bytes:
        """Its events carry the status in a comment."""
        return b"event:error\n:HTTP_STATUS/%d\ndata:%b\n\n" % (problem.status, _encode(self.body(problem, request_id)))


DIALECT = DashScope()
