"""What every WebSocket protocol offers, and the records that pass between it and the gateway.

A socket is one call: one hold that grows while it lives, one event at its end. A *socket shape* is one provider's
protocol over it; its meter reads the frames of both directions as they pass, keeps none of them, and says at any
moment what the call has come to so far and what it may come to at most. Pure: frames in, records out; time is told.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import msgspec

from providers.answer import UNREADABLE, Flags, Object
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.request import read_object, skeleton
from providers.shapes import NOTHING_ELSE, Asked, Call, Reading

Frame: TypeAlias = str | bytes
"""One message: text or binary."""

SOCKET = "(socket)"
"""Stands for the method of a row that is a WebSocket: no HTTP method can be spelt so."""

_LARGE_BYTES = 256 << 10
_ESCAPES_MAX = 1_000_000
_OBJECT: msgspec.json.Decoder[Object] = msgspec.json.Decoder(Object)


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
    """

    @property
    def name(self) -> str:
        """For logs."""
        ...

    @property
    def first_frame(self) -> str:
        """What the client's first frame tells."""
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


def frame_object(frame: Frame, flags: Flags | None = None) -> Object | None:
    """A frame that is a JSON object; None for every other."""
    try:
        return _OBJECT.decode(frame)
    except UNREADABLE:
        if flags is not None and isinstance(frame, str):
            flags.add("malformed")
        return None


def refuse_unclear(frame: Frame, own: frozenset[str], *, cased: bool = True) -> None:
    """Refuse a client's message that is no JSON object, or can be read in two ways (`providers.request.read_object`).

    What we cannot read a lenient parser may, and its count is ours alone.

    Args:
        frame: As it came.
        own: Names of the members that the cost depends on.
        cased: Members inside are refused in another case, too.

    Raises:
        BadRequest: As said.
    """
    read_object(bounded(frame), own, cased=cased)


def bounded(frame: Frame) -> bytes:
    """A client's message, long texts made short where it is large: it is read where others wait.

    Raises:
        BadRequest: It is large in other things than texts, or no JSON object.
    """
    raw = as_bytes(frame)
    if len(raw) <= _LARGE_BYTES:
        return raw
    short, escapes = raw, raw.count(b"\\")
    if escapes <= _ESCAPES_MAX and raw.count(b'"') <= escapes + _LARGE_BYTES:
        short = skeleton(raw)
    if len(short) > _LARGE_BYTES or frame_object(raw) is None:
        raise BadRequest("A message of more than 256 KB must be a JSON object, and large in long texts only.")
    return short


def as_bytes(frame: Frame) -> bytes:
    """A frame's text as it is on the wire."""
    return frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")


def size(frame: Frame) -> int:
    """Bytes of a frame on the wire."""
    return len(frame) if isinstance(frame, bytes) or frame.isascii() else len(frame.encode("utf-8", "surrogatepass"))


def base64_bytes(text: object) -> int:
    """Bytes that a base64 text stands for; 0 for what is no text."""
    return len(text) * 3 // 4 - text[-2:].count("=") if isinstance(text, str) and text else 0


def summed(one: Usage, other: Usage) -> Usage:
    """Both usages together. Terms (`service_tier`, …) are the first's, or the other's where that has none."""
    merged: dict[str, object] = {}
    for name in Usage.__struct_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if isinstance(mine, int) and isinstance(theirs, int):
            merged[name] = mine + theirs
        elif name == "beside":
            merged[name] = {
                model: summed(mine.get(model, Usage()), theirs.get(model, Usage())) for model in mine | theirs
            }
        elif isinstance(mine, dict):
            merged[name] = {tool: mine.get(tool, 0) + theirs.get(tool, 0) for tool in mine | theirs}
        else:
            merged[name] = mine or theirs
    return Usage(**merged)  # type: ignore[arg-type]
