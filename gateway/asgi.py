"""What ASGI hands us, by name; and a client's connection, as far as a call needs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

CONNECTION = "farthing.connection"
"""Where a scope carries the client's `ClientConnection`."""

INSIDE = "farthing.inside"
"""Where the scope of a call that is made from within the process carries its `Inside`."""


class Inside(Protocol):
    """Who makes a call from within the process, and is told what a client learns from its answer only, or never."""

    def admitted(self, call_id: str) -> None:
        """The call is held for, and is made now."""
        ...

    def refused(self, error: Exception) -> None:
        """The call was refused before it was held for."""
        ...


class ClientGone(Exception):
    """The client closed its connection before its request was complete."""


async def receive_body(receive: Receive) -> dict[str, Any]:
    """The next part of a request's body. Raises ClientGone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


class ClientConnection(Protocol):
    """The client's connection, as far as a call needs it."""

    head: Any  # of its last request, if it remembers that; see `gateway.edge.head`
    on_gone: Callable[[], None] | None
    gone: bool

    @property
    def whole(self) -> bool:
        """Whether the whole request has arrived."""
        ...

    @property
    def answering(self) -> bool:
        """Whether the head of an answer has been sent."""
        ...

    def expect_upload(self, bytes_max: int) -> None:
        """The request that is coming may be so long, and may take its time while it moves."""
        ...

    def abort(self) -> None:
        """Break it off, so that the client cannot take what it got for a whole answer."""
        ...
