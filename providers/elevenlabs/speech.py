"""ElevenLabs from text: speech, dialogue, sounds and music. JSON in, sound out, and the price in the answer's head.

Promises: as every shape. Characters are Unicode code points of what is spoken. A model that the request does not name
is the provider's own default. Source: providers.md §3, §5.1 and P4; elevenlabs 2.78's types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from providers.contract.fields import Fields
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter
from providers.elevenlabs import fields, parts
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.reading.credits import HeadMeter
from providers.reading.inside import unlisted_in
from providers.reading.json_text import UNREADABLE
from providers.reading.request import Head, count_field, present, read_object, text_field

COST = "character-cost"
_CREDIT_CHARACTERS = 2  # of the cheapest models, for a credit: a call is rounded up to one
CREDIT_MS = 60  # of changed, cleaned or made sound, for a credit
_VOICE_RATE_MAX = 3  # a shared voice's owner may ask for more than its text's characters
_MUSIC_MS_MAX = 600_000  # of one piece
_MUSIC_MS = 60_000  # where the request leaves it to the model
_OWN = frozenset({"model_id", "text", "inputs", "duration_seconds", "music_length_ms", "composition_plan"})


class _Line(msgspec.Struct):
    text: str


class _Section(msgspec.Struct):
    duration_ms: int = 0


class _Plan(msgspec.Struct):
    sections: list[_Section] = []
    chunks: list[_Section] = []


_LINES = msgspec.json.Decoder(list[_Line])
_PLAN: msgspec.json.Decoder[_Plan | None] = msgspec.json.Decoder(_Plan | None)


def _spoken(text: str) -> tuple[Usage, Usage, Usage]:
    characters = len(text)
    most = characters + _CREDIT_CHARACTERS
    return Usage(characters=characters), Usage(characters=most), Usage(characters=most * _VOICE_RATE_MAX)


def _speech(head: Head) -> tuple[Usage, Usage, Usage]:
    return _spoken(text_field(head, "text", required=True))


def _dialogue(head: Head) -> tuple[Usage, Usage, Usage]:
    try:
        lines = _LINES.decode(head.get("inputs", b"null"))
    except UNREADABLE:
        raise BadRequest("'inputs' must be a list of texts and voices.", param="inputs") from None
    return _spoken("".join(line.text for line in lines))


def _sounds(head: Head) -> tuple[Usage, Usage, Usage]:
    text_field(head, "text", required=True)
    one = Usage(tools={"generation": 1})
    return one, one, one


def _music(head: Head) -> tuple[Usage, Usage, Usage]:
    asked_ms = count_field(head, "music_length_ms", least=0, most=_MUSIC_MS_MAX)
    try:
        plan = _PLAN.decode(head.get("composition_plan", b"null"))
    except UNREADABLE:
        raise BadRequest(
            "'composition_plan' must have sections of so many milliseconds.", param="composition_plan"
        ) from None
    parts = () if plan is None else (*plan.sections, *plan.chunks)
    planned_ms = sum(max(part.duration_ms, 0) for part in parts)
    said_ms = asked_ms or min(planned_ms, _MUSIC_MS_MAX)
    typical = Usage(audio_ms=said_ms or _MUSIC_MS)
    # What the sections say need not be kept to the millisecond, and left to itself the model may write the longest.
    most = Usage(audio_ms=((0 if parts else asked_ms) or _MUSIC_MS_MAX) + CREDIT_MS)
    return typical, Usage(audio_ms=said_ms + CREDIT_MS) if said_ms else most, most


class _Spoken(PassThrough):
    """One of the operations: how its request is measured, and the model that it has where none is named."""

    def __init__(
        self,
        name: str,
        model: str,
        measure: Callable[[Head], tuple[Usage, Usage, Usage]],
        table: Fields,
        *,
        stream: bool = False,
    ) -> None:
        self.name = name
        self._table = table
        self._model = model
        self._measure = measure
        self._stream = stream

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _OWN)
        typical, upper, bound = self._measure(head)
        metered = next((name for name in self._table.rows["metered"] if present(head, name)), "")
        return Call(
            model=text_field(head, "model_id") or self._model,
            stream=self._stream,
            input_typical=typical,
            input_upper=upper,
            input_bound=bound,
            endless=metered,
            unlisted=unlisted_in(self._table, parts.SPEECH, head, sound=asked.sound)
            or fields.QUERY.unlisted(asked.query),
            cache_writes=False,
        )

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return HeadMeter(call, headers, credits_in=COST)


ELEVENLABS_SPEECH = _Spoken("elevenlabs_speech", "eleven_multilingual_v2", _speech, fields.SPEECH)
ELEVENLABS_SPEECH_STREAM = _Spoken("elevenlabs_speech", "eleven_multilingual_v2", _speech, fields.SPEECH, stream=True)
ELEVENLABS_DIALOGUE = _Spoken("elevenlabs_dialogue", "eleven_v3", _dialogue, fields.DIALOGUE)
ELEVENLABS_DIALOGUE_STREAM = _Spoken("elevenlabs_dialogue", "eleven_v3", _dialogue, fields.DIALOGUE, stream=True)
ELEVENLABS_SOUNDS = _Spoken("elevenlabs_sounds", "eleven_text_to_sound_v2", _sounds, fields.SOUNDS)
ELEVENLABS_MUSIC = _Spoken("elevenlabs_music", "music_v1", _music, fields.MUSIC)
ELEVENLABS_MUSIC_STREAM = _Spoken("elevenlabs_music", "music_v1", _music, fields.MUSIC, stream=True)
