"""The one refusal: a request that cannot be read, or whose cost cannot be bounded. Knows nothing of HTTP."""

from __future__ import annotations


class BadRequest(Exception):
    """The client's request cannot be read or bounded. `param` names the field, `message` is fit for the client."""

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code  # "invalid_request" | "unbounded_cost"
