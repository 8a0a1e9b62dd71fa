"""How a vendor's SDKs are told of an error of ours: in the shape that they expect of their own provider.

A *dialect* is one vendor's way to say that something went wrong: as a body, in the midst of a stream, on a socket.
Source of the shapes: providers.md §4. Knows nothing of HTTP's own fields but the one that carries a request's id.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

_encode = msgspec.json.Encoder().encode
_REASON_BYTES_MAX = 123  # of a WebSocket's close (RFC 6455, §5.5.1)


class Problem(Protocol):
    """What went wrong, as far as the client may know it.

    Attributes:
        status: Of HTTP.
        code: Ours, such as "spend_cap_exceeded".
        message: For people.
        param: Which field of the request; None where it is none.
        farthing: Which limit refused, and what it has left; None for everything else.
    """

    status: int
    code: str
    message: str
    param: str | None
    farthing: dict[str, Any] | None


class Dialect:
    """One vendor's. `request_id_header` is where its SDKs' errors take the request's id from; None where nowhere."""

    request_id_header: bytes | None = None

    def body(self, problem: Problem, request_id: str) -> dict[str, Any]:
        """The answer's JSON."""
        raise NotImplementedError

    def event(self, problem: Problem, operation: str, request_id: str) -> bytes:
        """What tells the SDK of a stream of events that we cut it."""
        return b"data: " + _encode(self.body(problem, request_id)) + b"\n\n"

    def end(self, problem: Problem, request_id: str) -> bytes:
        """The same in a stream of anything else; empty where only breaking off can say it."""
        return b""

    def messages(self, problem: Problem, operation: str, request_id: str) -> list[dict[str, Any]]:
        """What is said on a socket before it is closed."""
        return []

    def reason(self, problem: Problem) -> str:
        """Why a socket is closed; cut to what a close can carry."""
        return cut(f"{problem.code}: {problem.message}")


def close_code(problem: Problem) -> int:
    """1008, a policy, for what the caller can do something about; 1001 where we go away; 1011 for the rest."""
    return 1008 if problem.status < 500 else 1001 if problem.code == "overloaded" else 1011


def cut(reason: str) -> str:
    """A reason, as long as a close can carry it."""
    return reason.encode()[:_REASON_BYTES_MAX].decode(errors="ignore")


def particulars(problem: Problem) -> dict[str, Any]:
    """What our errors say beyond the dialect's own fields."""
    more: dict[str, Any] = {} if problem.param is None else {"param": problem.param}
    return more if problem.farthing is None else more | {"farthing": problem.farthing}
