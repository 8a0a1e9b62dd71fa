"""A request as every simulated operation sees it, and its refusal. Knows no provider's words."""

from __future__ import annotations

from typing import Final

import msgspec

from providers.simulator.answers import Whole
from providers.simulator.faults import Faults

REFUSED_MODEL: Final = "does-not-exist"  # a model whose name holds this is unknown; every other is served


class Refusal(Exception):
    """The provider refuses the request; `draft` says so in its own words."""

    def __init__(self, draft: Whole) -> None:
        super().__init__("refused")
        self.draft = draft


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request as an operation sees it: header names in lower case. `provider` is "" where only the path tells."""

    provider: str = ""
    method: str = "POST"
    path: str
    headers: dict[str, str]
    query: str
    body: bytes
    faults: Faults
    request_id: str
    now_s: int


def streamed(request: Request, asked: bool | None) -> bool:
    """Whether the answer is a stream: as asked, unless a fault says otherwise."""
    return request.faults.stream == "on" if request.faults.stream else bool(asked)
