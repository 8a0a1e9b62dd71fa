"""The two small interfaces to a provider, for requests and for sockets, and what passes through them.

Real providers and the simulator stand behind both, so that test keys go the same path. Both say of a failure whether
the request can have reached the provider: only then can it have cost anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import msgspec

from providers.contract.sockets import Frame
from providers.simulator import Faults


class UpstreamFailed(Exception):
    """The provider did not answer, or stopped answering. `sent`: the request may have reached it."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Unsendable(UpstreamFailed):
    """The request is none that can be sent: that is no fault of the provider's."""

    def __init__(self) -> None:
        super().__init__("not a request that can be sent", sent=False)


class Body(Protocol):
    """A request's body that is not here yet."""

    @property
    def length(self) -> int | None:
        """How many bytes it has; None where that is not known."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, as they come. What this raises ends the request, and is raised on."""
        ...


class Forward(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it goes out."""

    provider: str
    method: str
    origin: str
    target: str  # path and query
    headers: dict[str, str]
    body: bytes | Body
    call_id: str
    faults: Faults | None = None


class Answer(Protocol):
    """An answer whose head has arrived."""

    status: int
    headers: Mapping[str, str]  # case-insensitive

    def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they arrive. Raises UpstreamFailed if they stop before the end."""
        ...

    def rest(self, bytes_max: int) -> bytes | None:
        """All that is left of the body, if it is here to its end already and no longer than that; else None."""
        ...

    def nudge(self) -> None:
        """Let who waits for the next chunk have an empty one, if that is possible: to look around."""
        ...

    def close(self) -> None:
        """Let go of the answer; an unfinished one is cut off. May be called more than once."""
        ...


async def read_short(answer: Answer, bytes_max: int) -> bytes:
    """All of an answer that is not to be longer than that, and let go of it. Raises UpstreamFailed."""
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in answer.chunks():
            size += len(chunk)
            if size > bytes_max:
                raise UpstreamFailed("longer than it can be", sent=True)
            chunks.append(chunk)
    finally:
        answer.close()
    return b"".join(chunks)


class Upstream(Protocol):
    """Something that answers forwarded requests."""

    async def send(self, request: Forward) -> Answer:
        """Send a request and wait for the answer's head. Raises UpstreamFailed, and what an upload raises."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...


BROKEN = 1006  # a connection that ended without a close; it cannot be sent as one


class SocketClosed(Exception):
    """The other side has closed, with this code and reason."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class HandshakeRefused(Exception):
    """The provider answered the handshake with an HTTP answer of its own."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """A handshake as it goes out."""

    provider: str
    origin: str
    target: str  # path and query
    headers: dict[str, str]
    subprotocols: list[str]
    call_id: str
    faults: Faults | None = None


class Duplex(Protocol):
    """An open socket to a provider."""

    @property
    def subprotocol(self) -> str | None:
        """The one that the provider has chosen."""
        ...

    async def send(self, frame: Frame) -> None:
        """Send a message, once there is room for it. Raises SocketClosed."""
        ...

    async def receive(self) -> Frame:
        """The next message. Raises SocketClosed."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close, and wait a while for the provider to do so too. May be called more than once."""
        ...

    def abort(self) -> None:
        """Break it off."""
        ...


class SocketUpstream(Protocol):
    """Something that takes forwarded handshakes."""

    async def open(self, handshake: Handshake) -> Duplex:
        """Open a socket. Raises HandshakeRefused or UpstreamFailed."""
        ...
