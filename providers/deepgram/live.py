"""Deepgram's live sockets: sound in and transcripts out (`/v1/listen`; Flux: `/v2/listen`), text in and sound out.

Promises: a transcription is billed by the provider's own final `Metadata`, its duration times its channels where they
are transcribed apart; Flux sends none, so there it is the sound that was sent, or the end of the last window that it
reports where that is later. Raw and WAV sound tells its length exactly. Of sound in a container of its own a byte is
at most a millisecond: 8 kbit/s, below which no codec is used. Speech is billed by the characters of every `Speak`.

Live models have rows of their own in the price list, `streaming/MODEL`. Source: providers.md §3, §5.3 and P5;
deepgram-sdk 7's types.
"""

from __future__ import annotations

import math

from providers.bounding.sound import pcm_in_wav
from providers.contract.flags import Flags
from providers.contract.shapes import NOTHING_ELSE, Asked, Call, HoldSteps, Reading
from providers.contract.sockets import NOTHING_DUE, Characters, Due, Frame, SocketMeter, Stop
from providers.deepgram import fields
from providers.deepgram.listen import DEFAULT_MODEL, SAMPLE_BYTES, Query, features, model_of_query
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.reading.frames import frame_object, refuse_unclear

_STEP_MS = 1_000
_STEPS = 60  # a minute at a time
_CHANNELS_MAX = 20
_SECONDS_MAX = 10_000_000
_DEFAULT_VOICE = "aura-asteria-en"
_CHARACTERS_STEP = 100
_CHARACTERS_STEPS = 20
_OWN = frozenset(("type", "text", "keyterms"))


class _Listen:
    """The shape of both versions."""

    first_frame = ""
    secrets = frozenset[str]()

    def __init__(self, version: int) -> None:
        self.name = f"deepgram_listen_v{version}"
        self._flux = version == 2

    def read(self, opening: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a handshake. Raises BadRequest."""
        query = Query(asked.query)
        query.refuse("callback", "callback_method")
        model = query.text("model")
        if self._flux and not model:
            raise BadRequest("'model' is required.", param="model")
        _byte_rate(query)
        priced = model_of_query(query)
        return Call(
            model=model or DEFAULT_MODEL,
            stream=True,
            priced_as=priced if self._flux else f"streaming/{priced.removesuffix('-general')}",
            hold_steps=HoldSteps(step=_usage(query, _STEP_MS * _channels(query), keyterms=False), count=_STEPS),
            endless=query.opted_out,
            unlisted=fields.LIVE.unlisted(query.names),
        )

    def unlisted(self, frame: Frame) -> str:
        """See the interface."""
        return "" if isinstance(frame, bytes) else fields.LIVE_MESSAGES.unlisted(frame)

    def meter(
        self, call: Call, asked: Asked, *, max_input_tokens: int | None, max_output_tokens: int | None
    ) -> SocketMeter:
        """A meter for one socket."""
        return _ListenMeter(Query(asked.query), flux=self._flux)


class _ListenMeter:
    __slots__ = (
        "_billed_ms", "_bytes", "_bytes_per_s", "_channels", "_closing", "_elapsed_ms", "_flags", "_flux", "_head",
        "_keyterms", "_query", "_since_ms", "_told_ms",
    )  # fmt: skip

    def __init__(self, query: Query, *, flux: bool) -> None:
        self._query = query
        self._flux = flux
        self._channels = _channels(query)
        self._bytes_per_s = _byte_rate(query)  # 0: in a container of its own
        self._head = b""
        self._bytes = 0
        self._elapsed_ms = 0
        self._since_ms: int | None = None  # when the first sound was sent
        self._told_ms = 0  # how far the provider says that it has come
        self._billed_ms: int | None = None  # its final word
        self._keyterms = False
        self._closing = False
        self._flags: Flags = set()

    def weigh(self, frame: Frame) -> Due | Stop:
        """Read a client's frame: sound, or an order. Raises BadRequest."""
        if isinstance(frame, bytes):
            return Due(audio_bytes=len(frame), event=None if self._head else frame[:64])
        refuse_unclear(frame, _OWN)
        message = frame_object(frame)
        kind = None if message is None else message.get("type")
        return Due(event=message if kind in ("Configure", "CloseStream") else None)

    def sent(self, due: Due) -> None:
        """The frame is about to be forwarded."""
        if due.audio_bytes:
            if self._since_ms is None:
                self._since_ms = self._elapsed_ms
            if isinstance(due.event, bytes):
                self._head = due.event
                self._bytes_per_s = _in_container(self._head, self._bytes_per_s)
            self._bytes += due.audio_bytes
        elif isinstance(due.event, dict):
            self._closing = self._closing or due.event.get("type") == "CloseStream"
            self._keyterms = self._keyterms or bool(due.event.get("keyterms"))

    def received(self, frame: Frame) -> None:
        """Read a provider's message."""
        message = frame_object(frame, self._flags)
        if message is None:
            return
        kind = message.get("type")
        if kind == "Results":
            end_ms = _ms(message.get("start")) + _ms(message.get("duration"))
            self._told_ms = max(self._told_ms, end_ms)
        elif kind == "TurnInfo":
            self._told_ms = max(self._told_ms, _ms(message.get("audio_window_end")))
        elif kind == "Metadata" and "duration" in message:
            channels = message.get("channels")
            apart = channels if type(channels) is int and 0 < channels <= _CHANNELS_MAX else 1
            self._billed_ms = _ms(message["duration"]) * (max(apart, self._channels) if self._channels > 1 else 1)

    def elapsed(self, ms: int) -> None:
        """So much time has passed since the socket opened."""
        self._elapsed_ms = ms

    def _sent_ms(self, more: int = 0) -> int:
        """Length of the sound that was sent: exact, or what its bytes can be at most."""
        size = self._bytes + more
        return -(-size * 1_000 // self._bytes_per_s) if self._bytes_per_s else size

    def used(self, due: Due = NOTHING_DUE) -> Usage:
        """The sound so far: as the provider says, or as it was sent."""
        if self._billed_ms is not None and not due.audio_bytes:
            return self._usage(self._billed_ms)
        sent_ms = self._sent_ms(due.audio_bytes)
        if not self._bytes_per_s and self._since_ms is not None:
            sent_ms = min(sent_ms, self._elapsed_ms - self._since_ms)
        return self._usage(max(sent_ms, self._told_ms) * self._channels)

    def exposed(self, due: Due = NOTHING_DUE) -> Usage:
        """The sound that was sent, as long as its bytes can be."""
        longest = max(self._sent_ms(due.audio_bytes), self._told_ms) * self._channels
        return self._usage(max(longest, self._billed_ms or 0))

    def _usage(self, audio_ms: int) -> Usage:
        return _usage(self._query, audio_ms, keyterms=self._keyterms)

    def models(self, due: Due = NOTHING_DUE) -> frozenset[str]:
        """None but its own."""
        return frozenset()

    def busy(self) -> bool:
        """Whether the provider has yet to say how much it was."""
        return bool(self._bytes) and not self._flux and self._billed_ms is None

    def farewell(self) -> Frame | None:
        """Ask for the final count."""
        return None if self._closing or self._flux or not self._bytes else '{"type":"CloseStream"}'

    def finish(self) -> Reading:
        """Say what was seen."""
        exact = bool(self._bytes_per_s) or not self._bytes
        complete = self._billed_ms is not None or not self._bytes or (self._flux and exact)
        flags = self._flags if complete else {*self._flags, "usage_missing"}
        return Reading(usage=self.used(), complete=complete, partial=not complete, flags=tuple(sorted(flags)))


class _Speak:
    """The shape."""

    name = "deepgram_speak_live"
    first_frame = ""
    secrets = frozenset[str]()

    def read(self, opening: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a handshake. Raises BadRequest."""
        hold_steps = HoldSteps(step=Usage(characters=_CHARACTERS_STEP), count=_CHARACTERS_STEPS)
        query = Query(asked.query)
        unlisted = fields.SPEAK.unlisted(query.names)
        return Call(
            model=query.text("model") or _DEFAULT_VOICE,
            stream=True,
            hold_steps=hold_steps,
            endless=query.opted_out,
            unlisted=unlisted,
        )

    def unlisted(self, frame: Frame) -> str:
        """See the interface."""
        return fields.SPEAK_MESSAGES.unlisted(frame)

    def meter(
        self, call: Call, asked: Asked, *, max_input_tokens: int | None, max_output_tokens: int | None
    ) -> SocketMeter:
        """A meter for one socket."""
        return _SpeakMeter()


class _SpeakMeter(Characters):
    __slots__ = ()

    def weigh(self, frame: Frame) -> Due | Stop:
        """Read a client's message. Raises BadRequest."""
        refuse_unclear(frame, _OWN)
        message = frame_object(frame)
        text = message.get("text") if message is not None and message.get("type") == "Speak" else None
        return Due(characters=len(text)) if isinstance(text, str) else NOTHING_DUE

    def received(self, frame: Frame) -> None:
        """Read a provider's message; sound says nothing."""
        if isinstance(frame, str) and (message := frame_object(frame)) is not None:
            self._waiting = self._waiting and message.get("type") not in ("Flushed", "Cleared")


def _channels(query: Query) -> int:
    """How many channels are billed. Raises BadRequest."""
    return _within(query.number("channels", 2)) if query.on("multichannel") else 1


def _byte_rate(query: Query) -> int:
    """Bytes a second of the raw sound that the query declares; 0 where it comes in a container. Raises BadRequest."""
    channels, rate = _within(query.number("channels", 1)), query.number("sample_rate", 8_000)
    return SAMPLE_BYTES.get(query.text("encoding").lower(), 0) * channels * rate


def _within(channels: int) -> int:
    if channels > _CHANNELS_MAX:
        raise BadRequest(f"'channels' must be at most {_CHANNELS_MAX}.", param="channels")
    return channels


def _in_container(head: bytes, declared: int) -> int:
    """Bytes a second of sound that begins so: of a WAV file what its head says, or the query, whichever is less.

    0 where it holds something else than PCM, or could be read in two ways.
    """
    if head[:4] not in (b"RIFF", b"RF64"):
        return declared
    wav = pcm_in_wav(head, len(head))
    return 0 if wav is None else min(wav[0], declared or wav[0])


def _usage(query: Query, audio_ms: int, *, keyterms: bool) -> Usage:
    """What so much sound comes to; keyterms can be switched on in the middle, and count for all of it then."""
    tools = features(query, audio_ms)
    return Usage(audio_ms=audio_ms, tools=tools | {"keyterm_ms": audio_ms} if keyterms else tools)


def _ms(seconds: object) -> int:
    """Seconds as the provider writes them, in milliseconds, rounded up but for what a float cannot say."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < _SECONDS_MAX:
        return 0
    return math.ceil(round(seconds * 1_000, 3))


DEEPGRAM_LISTEN = _Listen(1)
DEEPGRAM_FLUX = _Listen(2)
DEEPGRAM_SPEAK = _Speak()
