"""What every WebSocket protocol offers, and the records that pass between it and the gateway.

A socket is one call: one hold that grows while it lives, one event at its end. A *socket shape* is one provider's
protocol over it; its meter reads the frames of both directions as they pass, keeps none of them, and says at any
moment what the call has come to so far and what it may come to at most. Pure: frames in, records out; time is told.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import msgspec

from providers.contract.shapes import NOTHING_ELSE, Asked, Call, Reading
from providers.ground.usage import Usage

Frame: TypeAlias = str | bytes
"""One message: text or binary."""

SOCKET = "(socket)"
"""Stands for the method of a row that is a WebSocket: no HTTP method can be spelt so."""


class Due(msgspec.Struct, frozen=True):
    """What a client's frame will add to the call once it is forwarded.

    Attributes:
        characters: Of text to be spoken.
        audio_bytes: Of sound, decoded from base64 where it came so.
        text_bytes: Of everything else that becomes the model's input.
        pictures: Frames of video, and other images.
        event: What else the protocol's own meter read in it.
    """

    characters: int = 0
    audio_bytes: int = 0
    text_bytes: int = 0
    pictures: int = 0
    event: object = None


NOTHING_DUE = Due()


class Stop(msgspec.Struct, frozen=True):
    """A client's frame that is not forwarded, and ends the socket. `message` is fit for the client."""

    code: str
    message: str
    param: str | None = None


class SocketMeter(Protocol):
    """Reads the frames of one socket. Raises at nothing but a client's unclear frame; memory is bounded."""

    def weigh(self, frame: Frame) -> Due | Stop:
        """Read a client's frame. Changes nothing: it may yet be withheld. Raises BadRequest; see `refuse_unclear`."""
        ...

    def sent(self, due: Due) -> None:
        """The frame is about to be forwarded."""
        ...

    def received(self, frame: Frame) -> None:
        """Read a provider's frame."""
        ...

    def elapsed(self, ms: int) -> None:
        """So much time has passed since the socket opened."""
        ...

    def used(self, due: Due = NOTHING_DUE) -> Usage:
        """What the call has come to, as far as can be told, with this frame on top."""
        ...

    def exposed(self, due: Due = NOTHING_DUE) -> Usage:
        """Most that it can come to if this frame is forwarded and none after it. Never below `used`."""
        ...

    def models(self, due: Due = NOTHING_DUE) -> frozenset[str]:
        """Other models that the client has chosen beside the call's own (to transcribe what is said, …)."""
        ...

    def busy(self) -> bool:
        """Whether the provider is at work on something that it will charge for."""
        ...

    def farewell(self) -> Frame | None:
        """What to tell a provider whose client has left, so that it says what was used; None if that says nothing."""
        ...

    def finish(self) -> Reading:
        """Say what was seen. Called once, when both sides are done."""
        ...


class SocketShape(Protocol):
    """One protocol over a WebSocket.

    Attributes:
        first_frame: "" where path and headers tell the call; "call" where the client's first frame does; "secret"
            where that may carry the client's key, which then must not be forwarded.
        secrets: Names of the members of a frame that carry it.
    """

    @property
    def name(self) -> str:
        """For logs."""
        ...

    @property
    def first_frame(self) -> str:
        """What the client's first frame tells."""
        ...

    def unlisted(self, frame: Frame) -> str:
        """The first member of a client's frame that stands in no table; "" where there is none. It has been weighed."""
        ...

    @property
    def secrets(self) -> frozenset[str]:
        """Under what names the client's key may stand in a frame."""
        ...

    def read(self, opening: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read what is asked for; `opening` is the first frame where `first_frame` is "call". Raises BadRequest."""
        ...

    def meter(
        self, call: Call, asked: Asked, *, max_input_tokens: int | None, max_output_tokens: int | None
    ) -> SocketMeter:
        """A meter for one socket; the model's limits as far as they are known."""
        ...


class Pace:
    """How far a client's sound is ahead of time: what is, may hold turns that nobody has answered yet."""

    __slots__ = ("_elapsed_ms", "_since_ms")

    _TURN_MS = 500  # the shortest word and the silence after it

    def __init__(self) -> None:
        self._elapsed_ms = 0
        self._since_ms: int | None = None

    def elapsed(self, ms: int) -> None:
        """So much time has passed since the socket opened."""
        self._elapsed_ms = ms

    def began(self) -> None:
        """Sound is being sent."""
        if self._since_ms is None:
            self._since_ms = self._elapsed_ms

    def turns(self, audio_ms: int) -> int:
        """How many answers so much sound may still bring about by itself: one, and one for each turn ahead of time."""
        since_ms = self._elapsed_ms if self._since_ms is None else self._since_ms
        return 1 + max(audio_ms - (self._elapsed_ms - since_ms), 0) // self._TURN_MS


class Characters:
    """What every meter of text to be spoken has in common; how its messages read is the protocol's own."""

    __slots__ = ("_characters", "_waiting")

    def __init__(self) -> None:
        self._characters = 0
        self._waiting = False  # text is there that was not spoken to its end

    def sent(self, due: Due) -> None:
        """The message is about to be forwarded."""
        self._characters += due.characters
        self._waiting = self._waiting or due.characters > 1  # a single blank opens a stream and says nothing

    def elapsed(self, ms: int) -> None:
        """Time alone costs nothing here."""

    def used(self, due: Due = NOTHING_DUE) -> Usage:
        """Every character that was sent."""
        return Usage(characters=self._characters + due.characters)

    exposed = used

    def models(self, due: Due = NOTHING_DUE) -> frozenset[str]:
        """None but its own."""
        return frozenset()

    def busy(self) -> bool:
        """Whether text waits to be spoken."""
        return self._waiting

    def farewell(self) -> Frame | None:
        """The count is ours."""
        return None

    def finish(self) -> Reading:
        """Say what was seen."""
        return Reading(usage=self.used(), complete=True)
