"""ElevenLabs from sound: transcription, another voice for it, speech without the noise. A form in, streamed through.

Promises: as every shape that takes uploads. What is billed is the head's `character-cost`, else the sound's length as
the answer states it, else its length as its file tells it. `webhook` is refused, for then the result, and with it the
length, goes elsewhere. Transcription has surcharges, counted as tools of so many ms; channels are billed each.
Noise that is removed before a voice is changed is held for as another pass. The surcharges are those of the SDK.
Source: providers.md §3, §5.3 and P4; elevenlabs 2.78's types.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.bounding.sound import REMOTE, Length, Mp3, has_container, length, pcm
from providers.contract.fields import Fields
from providers.contract.flags import MALFORMED, Flags
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Arrival, Asked, Call, Meter, Reading, arrived
from providers.elevenlabs import fields
from providers.elevenlabs.speech import COST, CREDIT_MS
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.reading.answer import BodyMeter, milliseconds
from providers.reading.credits import HeadMeter, stated
from providers.reading.json_text import UNREADABLE, Object
from providers.reading.multipart import Form

_CHANNELS_MAX = 5
SURCHARGES = {  # field: the tool's name in the catalogue
    "keyterms": "keyterms_ms",
    "transcript_edit": "transcript_edit_ms",
    "detect_speaker_roles": "speaker_roles_ms",
    "entity_detection": "entity_detection_ms",
}
_REMOTE = ("source_url", "cloud_storage_url")
_REDACTION = "entity_redaction"  # of what was detected
_NOISE = "remove_background_noise"
_OWN = frozenset({"model_id", "webhook", "file_format", "use_multi_channel", _REDACTION, _NOISE, *_REMOTE, *SURCHARGES})
_LISTS = frozenset({"keyterms", "entity_detection", _REDACTION})
# Surcharges may come behind the file, as JavaScript's client sends them: until the end all of them are held for.
_EARLY = frozenset({"model_id", "webhook", "file_format", *_REMOTE})
_LEAST_MS = {"transcript_edit": 10_000, "keyterms": 20_000}  # what is billed at least with them
_RAW_FORMATS = {"pcm_s16le_16": 16_000}


class _Arrival:
    """Reads one form."""

    __slots__ = ("_form", "_mp3", "_query", "_shape")

    def __init__(self, asked: Asked, shape: _Hearing) -> None:
        self._shape = shape
        self._query = fields.QUERY.unlisted(asked.query)
        self._mp3 = Mp3()
        self._form = Form(
            asked.headers.get("content-type", ""),
            _OWN,
            early=_EARLY,
            lists=_LISTS,
            files=frozenset({shape.file}),
            content=self._mp3.feed,
            table=shape.table,
        )

    @property
    def uncovered(self) -> str:
        """See the interface. Whatever else may come late is held for until the end."""
        return self._form.unlisted

    def feed(self, chunk: bytes) -> None:
        """See the interface."""
        self._form.feed(chunk)

    def call(self, length: int, *, whole: bool) -> Call | None:
        """See the interface."""
        form, shape = self._form, self._shape
        model = form.text("model_id") or shape.model
        if whole:
            form.close()
            if not model:
                raise BadRequest("'model_id' is required.", param="model_id")
        elif not (form.in_file and form.file_parts and (form.text("model_id") or not shape.takes_model)):
            return None
        form.decided = True
        if form.flag("webhook"):
            raise BadRequest("'webhook' is not offered here: the result could not be metered.", param="webhook")
        remote = next((name for name in _REMOTE if form.text(name)), "")
        if form.file_parts:
            sound = self._sound(length, whole=whole)
        elif remote:
            sound = REMOTE
        else:
            raise BadRequest(f"{shape.file!r} is required.", param=shape.file)
        asked_for = [name for name in shape.surcharges if _on(form, name) or _implied(form, name)]
        possible = asked_for if whole else shape.surcharges
        channels = _channels(form, sound) if shape.surcharges else 1
        most_channels = _CHANNELS_MAX if shape.surcharges else 1
        credit_ms = 0 if shape.surcharges else CREDIT_MS
        passes = 2 if _NOISE in shape.table.rows["bounded"] and (_on(form, _NOISE) or not whole) else 1
        return Call(
            model=model,
            input_typical=_usage(sound.charged_ms * channels, asked_for),
            input_upper=_usage(sound.upper_ms * channels + credit_ms, asked_for),
            input_bound=_usage(sound.most_ms * (channels if whole else most_channels) * passes + credit_ms, possible),
            unbounded=remote,
            unlisted=self._query or form.unlisted,
            cache_writes=False,
            noted=(str(channels),) if form.flag("use_multi_channel") else (),
            content_type=form.content_type,
        )

    def _sound(self, body_bytes: int, *, whole: bool) -> Length:
        """Length of the sound: until the file's end is seen, it is all that is still to come."""
        form = self._form
        file = form.file_parts[0]
        size = file.size if whole or not form.in_file else max(body_bytes, file.size)
        rate = None if has_container(file.head) else _RAW_FORMATS.get(form.text("file_format"))
        if whole and rate is None and (counted := self._mp3.length()) is not None:
            return counted
        return length(file.head, size) if rate is None else pcm(size, sample_rate=rate, sample_bytes=2, channels=1)


def _on(form: Form, name: str) -> bool:
    return any(value.strip().lower() not in ("", "false", "null", "[]", "none") for value in form.fields.get(name, ()))


def _implied(form: Form, name: str) -> bool:
    return name == "entity_detection" and _on(form, _REDACTION)


def _channels(form: Form, sound: Length) -> int:
    return min(max(sound.channels, 1), _CHANNELS_MAX) if form.flag("use_multi_channel") else 1


def _usage(audio_ms: int, surcharges: tuple[str, ...] | list[str]) -> Usage:
    least_ms = max((_LEAST_MS.get(name, 0) for name in surcharges), default=0)
    audio_ms = max(audio_ms, least_ms)
    return Usage(audio_ms=audio_ms, tools={SURCHARGES[name]: audio_ms for name in surcharges})


class _Hearing(PassThrough):
    """One of the operations.

    Attributes:
        file: The form's field that holds the sound.
        model: Where the request names none; "" where it must.
        takes_model: The request may name one.
        table: What the request may hold.
        surcharges: Names of the fields that cost more; transcription alone has them.
    """

    def __init__(
        self,
        name: str,
        file: str,
        model: str,
        table: Fields,
        *,
        takes_model: bool = True,
        surcharges: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.file = file
        self.model = model
        self.table = table
        self.takes_model = takes_model
        self.surcharges = surcharges

    def arrival(self, asked: Asked) -> Arrival:
        """See the interface."""
        return _Arrival(asked, self)

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request that is here already. Raises BadRequest."""
        return arrived(self, body, asked)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        if not self.surcharges or stated(headers, COST) is not None:
            return HeadMeter(call, headers, credits_in=COST)
        return _TranscriptMeter(call)


class _Transcript(msgspec.Struct, gc=False):
    audio_duration_secs: float | None = None
    transcripts: list[msgspec.Raw] | None = None


_TRANSCRIPT = msgspec.json.Decoder(_Transcript)


class _TranscriptMeter(BodyMeter):
    """Reads a transcript for how long the sound was."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
        if whole is None:
            return Reading(complete=self._body.tail().endswith(b"}"))
        try:
            answer = _TRANSCRIPT.decode(whole)
        except UNREADABLE:
            return Reading(flags=(MALFORMED,))
        seconds: Object = {"secs": answer.audio_duration_secs}
        stated_ms = milliseconds(seconds, flags, "secs")
        usage = None
        if stated_ms is not None:
            typical = self._call.input_typical
            channels = len(answer.transcripts or ()) or 1
            if self._call.noted and answer.transcripts is None:
                # One transcript of all channels does not say how many there were; the file's header did.
                channels = int(self._call.noted[0])
            surcharges = [name for name, tool in SURCHARGES.items() if tool in typical.tools]
            usage = _usage(stated_ms * min(channels, _CHANNELS_MAX), surcharges)
        return Reading(usage=usage, complete=True, flags=tuple(sorted(flags)))


ELEVENLABS_TRANSCRIPT = _Hearing("elevenlabs_transcript", "file", "", fields.TRANSCRIPT, surcharges=tuple(SURCHARGES))
ELEVENLABS_VOICE_CHANGER = _Hearing("elevenlabs_voice_changer", "audio", "eleven_english_sts_v2", fields.VOICE_CHANGER)
ELEVENLABS_ISOLATION = _Hearing("elevenlabs_isolation", "audio", "audio_isolation", fields.ISOLATION, takes_model=False)
