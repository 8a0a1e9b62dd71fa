"""A call that may be tried in several places: what its way must know of that. Most calls know nothing of it.

One attempt is one call: with an id, a hold and an event of its own. The first has the request's id; the others have it
with their number behind it, so that an event's id says which request it belongs to, and which attempt it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.asgi import ClientConnection, Send
from gateway.call.records import Inbound
from gateway.edge.head import Head
from keys.keyring import Key
from providers.routing import Route


class Aliased(Exception):
    """The request may go to several places: somebody else decides to which.

    Attributes:
        key: Whose it is.
        body: As it was received.
        name: What its `model` says.
        models: What it brings itself: the models to try, in their order.
        provider: Whose model it is, where only the credential is open.
        planned: The key's plan says so.
    """

    def __init__(
        self,
        key: Key,
        body: bytes,
        name: str,
        *,
        models: tuple[str, ...] = (),
        provider: str = "",
        planned: bool = False,
    ) -> None:
        super().__init__(name)
        self.key = key
        self.body = body
        self.name = name
        self.models = models
        self.provider = provider
        self.planned = planned


class Aliases(Protocol):
    """Knows the names that stand for other models."""

    @property
    def pooled(self) -> frozenset[str]:
        """The providers for which there is more than one credential."""
        ...

    def __bool__(self) -> bool:
        """Whether there are any names."""
        ...

    def __contains__(self, name: str, /) -> bool:
        """Whether this is one."""
        ...


class Switching(Protocol):
    """Tries a call in one place after the other."""

    async def fly(
        self,
        inbound: Inbound,
        aliased: Aliased,
        connection: ClientConnection | None,
        send: Send,
        started: float,
        told: Callable[[str], None] | None,
    ) -> Route:
        """Answer the call; where it went in the end. `told` hears of the id of each attempt that was let in.

        Raises CallError and ClientGone, as admission does.
        """
        ...

    async def attempts(self, inbound: Inbound, aliased: Aliased) -> list[Inbound]:
        """The request as it would be asked of each, if all others failed. Raises CallError."""
        ...

    def within(self, head: Head) -> tuple[str, Head] | None:
        """The upstream in whose path a request came, and its head without that; None where it is nobody's."""
        ...


def attempt_id(call_id: str, number: int) -> str:
    """The id of a request's attempt, counted from 1."""
    return call_id if number == 1 else f"{call_id}-{number}"


def request_of(call_id: str) -> str:
    """The id of the request that a call is an attempt of."""
    return call_id.partition("-")[0]


def attempt_of(call_id: str) -> int:
    """Which attempt at its request a call is."""
    number = call_id.split("-")[1:2]
    return int(number[0]) if number and number[0].isdigit() else 1
