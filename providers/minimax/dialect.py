"""How MiniMax's clients are told of an error."""

from __future__ import annotations

from typing import Any

from providers.contract.dialect import Dialect, Problem, particulars

_CODES = {401: 1004, 402: 1008, 429: 1002}
_OTHER = 2013


class MiniMax(Dialect):
    """`base_resp`, as every answer of its own API has it."""

    def body(self, problem: Problem, request_id: str) -> dict[str, Any]:
        """With the status that is not 0."""
        status = {
            "status_code": _CODES.get(problem.status, _OTHER),
            "status_msg": problem.message,
            "code": problem.code,
        }
        return {"base_resp": status, "trace_id": request_id} | particulars(problem)


DIALECT = MiniMax()
