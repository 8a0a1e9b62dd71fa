"""How Mistral's SDK is told of an error."""

from __future__ import annotations

from typing import Any

from providers.contract.dialect import Dialect, Problem, particulars
from providers.openai.dialect import error_type


class Mistral(Dialect):
    """OpenAI's types in an object of its own."""

    def body(self, problem: Problem, request_id: str) -> dict[str, Any]:
        """Flat."""
        body = {"object": "error", "message": problem.message, "type": error_type(problem), "code": problem.code}
        return {"param": None, **body} | particulars(problem)


DIALECT = Mistral()
