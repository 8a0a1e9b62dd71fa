"""How Deepgram's SDKs are told of an error."""

from __future__ import annotations

from typing import Any

from providers.contract.dialect import Dialect, Problem, cut, particulars

_CODES = {402: "ASR_PAYMENT_REQUIRED", 401: "INVALID_AUTH", 429: "TOO_MANY_REQUESTS"}


class Deepgram(Dialect):
    """`err_code` and `err_msg`."""

    request_id_header = b"dg-request-id"

    def body(self, problem: Problem, request_id: str) -> dict[str, Any]:
        """Flat."""
        body = {
            "err_code": _code(problem),
            "err_msg": problem.message,
            "request_id": request_id,
            "code": problem.code,
        }
        return body | particulars(problem)

    def messages(self, problem: Problem, operation: str, request_id: str) -> list[dict[str, Any]]:
        """Flux has errors as messages, numbered like all others; nobody knows here which number is the next."""
        if operation != "listen.flux":
            return []
        event = {"type": "Error", "sequence_id": 0, "code": _code(problem), "description": problem.message}
        return [event | particulars(problem)]

    def reason(self, problem: Problem) -> str:
        """Elsewhere the close itself says it, in the provider's codes."""
        return cut(f"{_code(problem)}: {problem.message}")


def _code(problem: Problem) -> str:
    return _CODES.get(problem.status, problem.code.upper())


DIALECT = Deepgram()
