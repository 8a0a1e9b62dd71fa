"""OpenAI's speech: text in; sound out, or a stream of events with sound in them.

Promises: as every shape. The `tts-` models are billed by the character, which the request tells exactly. The others are
billed by tokens, which only a stream of events (`stream_format: "sse"`) states: of plain sound they are estimated from
its length, 1,250 a minute, as the price lists reckon. Voices that somebody made are refused: they are not everybody's.
Source: providers.md §5.1 and P1; openai 3.54's types.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.bounding.sound import FILE_HEAD_BYTES, length, pcm
from providers.bounding.text import estimates
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter, Reading
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.openai import fields, parts
from providers.openai.usage import responses_usage
from providers.reading.answer import EventMeter, read_usage
from providers.reading.inside import unlisted_in
from providers.reading.json_text import NULL, given
from providers.reading.request import present, read_object, text_field

_OWN = frozenset({"model", "input", "instructions", "voice", "stream_format", "response_format"})
_TOKENS_A_MINUTE = 1_250
# Tokens of sound for each character of text: at 15, 7 and 2 characters a second.
_TYPICAL, _UPPER, _MOST = (1_389, 2_977, 10_417)  # thousandths
_PCM_RATE = 24_000


class _Speech(PassThrough):
    """The shape."""

    name = "openai_speech"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _OWN)
        model = text_field(head, "model", required=True)
        spoken = text_field(head, "input", required=True)
        if present(head, "voice") and bytes(head["voice"])[:1] != b'"':
            raise BadRequest("'voice' must be the name of one of the provider's own voices.", param="voice")
        sse = text_field(head, "stream_format") == "sse"
        noted = (text_field(head, "response_format") or "mp3",)
        if model.startswith("tts-"):
            said = Usage(characters=len(spoken))
            return Call(
                model=model, stream=sse, input_typical=said, input_upper=said, input_bound=said, cache_writes=False,
                noted=noted, unlisted=unlisted_in(fields.SPEECH, parts.SPEECH, head, sound=asked.sound),
            )  # fmt: skip
        text = (spoken + text_field(head, "instructions")).encode()
        typical, upper = estimates(text)
        characters = len(spoken)
        return Call(
            model=model,
            stream=sse,
            input_typical=_tokens(typical, characters * _TYPICAL // 1_000),
            input_upper=_tokens(upper, characters * _UPPER // 1_000 + 50),
            input_bound=_tokens(len(text), characters * _MOST // 1_000 + 200),
            cache_writes=False,
            noted=noted,
            unlisted=unlisted_in(fields.SPEECH, parts.SPEECH, head, sound=asked.sound),
        )

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        if streamed:
            return _SpeechMeter(call)
        sounds = not (headers.get("content-type") or "application/json").startswith(("application/json", "text/"))
        return _SoundMeter(call, sounds=sounds)


def _tokens(text: int, sound: int) -> Usage:
    return Usage(input_tokens=text, output_tokens=sound, output_audio_tokens=sound)


class _SoundMeter:
    """Counts the bytes of a sound, if it is one."""

    __slots__ = ("_call", "_head", "_size", "_sounds")

    def __init__(self, call: Call, *, sounds: bool) -> None:
        self._call = call
        self._sounds = sounds
        self._head = b""
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes."""
        self._size += len(chunk)
        if len(self._head) < FILE_HEAD_BYTES:
            self._head += chunk[: FILE_HEAD_BYTES - len(self._head)]

    def output_tokens_seen(self) -> int:
        """Nothing is held for by the token."""
        return 0

    def finish(self) -> Reading:
        """See the interface."""
        if not self._sounds:
            return Reading()
        return _reading(self._call, self._head, self._size)


def _reading(call: Call, head: bytes, size: int, flags: tuple[str, ...] = ()) -> Reading:
    """What so much sound comes to, where no usage was stated."""
    typical = call.input_typical
    if typical.characters:  # known from the request, and all of it is billed, however much was listened to
        return Reading(usage=typical, complete=True, flags=flags)
    bare = "pcm" in call.noted
    heard = pcm(size, sample_rate=_PCM_RATE, sample_bytes=2, channels=1) if bare else length(head, size)
    spoken = -(-heard.typical_ms * _TOKENS_A_MINUTE // 60_000)
    return Reading(usage=_tokens(typical.input_tokens, spoken), partial=True, flags=(*flags, "usage_missing"))


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    audio: str | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


_EVENT = msgspec.json.Decoder(_Event)


class _SpeechMeter(EventMeter):
    """Reads a stream of events."""

    __slots__ = ("_call", "_size")

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call
        self._size = 0

    def finish(self) -> Reading:
        """See the interface."""
        reading = super().finish()
        if reading.usage is not None and not self._call.input_typical.characters:
            return reading
        estimate = _reading(self._call, b"", self._size, reading.flags)
        return msgspec.structs.replace(estimate, complete=reading.complete, error=reading.error)

    def _said(self, data: bytes) -> None:
        said = _EVENT.decode(data)
        self._size += len(said.audio or "") * 3 // 4
        self._complete = self._complete or said.type == "speech.audio.done"
        self._error = self._error or said.type == "error" or given(said.error)
        counted = read_usage(said.usage, self._flags)
        if counted is not None and (usage := responses_usage(counted, self._flags)) is not None:
            self._usage = msgspec.structs.replace(usage, output_audio_tokens=usage.output_tokens)

    def _unread(self, size: int) -> None:
        self._size += size * 3 // 4


OPENAI_SPEECH = _Speech()
