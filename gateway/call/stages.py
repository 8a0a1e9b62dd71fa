"""What may stand around one call: of objects that its provider keeps, of lists, of batches. A plain call meets none.

One interface with three moments: before the call, around the way to the provider, after the answer. Whoever relays a
call knows this and nothing of what stands behind it.
"""

from __future__ import annotations

from typing import Protocol

from gateway.call.records import Admitted
from gateway.upstream.base import Answer, Upstream


class Pieces(Protocol):
    """Looks through a stream of events on its way to the client."""

    async def feed(self, chunk: bytes) -> bytes:
        """What may go to the client of this and of what was kept back. Raises CallError: none of it."""
        ...

    def flush(self, rest: bytes) -> bytes:
        """The same at the end of the answer."""
        ...


class Stage(Protocol):
    """Around one call.

    Attributes:
        reads_whole: A JSON answer is read before any of it goes to the client, also to one that asked for a stream.
        nothing_longer: An answer above `whole_bytes_max` cannot be passed on.
        whole_bytes_max: Of an answer that is read whole.
    """

    reads_whole: bool
    nothing_longer: bool
    whole_bytes_max: int

    async def before(self) -> None:
        """Raises CallError: the call must not be made."""
        ...

    def around(self, upstream: Upstream) -> Upstream:
        """What the call is sent to."""
        ...

    async def answered(self, status: int) -> None:
        """The provider has answered."""
        ...

    async def passing(self, answer: Answer, *, events: bool) -> Pieces | None:
        """The answer will pass while it comes; what looks through it. Raises CallError: the client must not have it."""
        ...

    async def takes_over(self, body: bytes) -> bool:
        """Whether the call's hold lives on with what it has made, so that the answer settles nothing."""
        ...

    async def whole(self, answer: Answer, body: bytes) -> bytes:
        """What the client gets of an answer that is here. Raises CallError: he must not have it."""
        ...


class Stages(Protocol):
    """Tells what stands around calls."""

    def around(self, admitted: Admitted) -> Stage | None:
        """What stands around this one; None for nothing."""
        ...
