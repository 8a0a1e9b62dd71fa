"""ElevenLabs' sockets: text in and sound out (`stream-input`, `multi-stream-input`), sound in and transcripts out.

Promises: speech is billed by the characters of every `text` that was sent, the blank that opens a stream too, whatever
context it belongs to; transcription by the sound that was sent, whose bytes tell its length exactly, for it is raw.
The provider says of neither what it came to. What an edit of each transcript costs at least depends on how many there
will be, which nobody knows. Source: providers.md §1, §3 and P4; elevenlabs 2.78.
"""

from __future__ import annotations

import re

import msgspec

from providers.contract.shapes import NOTHING_ELSE, Asked, Call, HoldSteps, Reading
from providers.contract.sockets import NOTHING_DUE, Characters, Due, Frame, SocketMeter, Stop
from providers.elevenlabs import fields
from providers.elevenlabs.hearing import SURCHARGES
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.reading.frames import base64_bytes, frame_object, refuse_unclear

_CHARACTERS_STEP = 100
_CHARACTERS_STEPS = 20
_DEFAULT_MODEL = "eleven_multilingual_v2"  # costs what the older default does: a credit a character
_DEFAULT_TRANSCRIBER = "scribe_v2_realtime"
_STEP_MS = 1_000
_STEPS = 60
_EDIT = SURCHARGES["transcript_edit"]
_EDIT_MS = 10_000  # of each transcript, at least
_FORMAT = re.compile(r"(pcm|ulaw)_(\d{4,6})")
_SECRETS = frozenset(("xi_api_key", "xi-api-key", "authorization"))
_OWN = _SECRETS | {"text", "audio_base_64", "message_type"}


class _StreamInput:
    """The shape."""

    name = "elevenlabs_stream_input"
    first_frame = "secret"
    secrets = _SECRETS

    def read(self, opening: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a handshake. Raises BadRequest."""
        hold_steps = HoldSteps(step=Usage(characters=_CHARACTERS_STEP), count=_CHARACTERS_STEPS)
        unlisted = fields.STREAM_INPUT.unlisted(asked.query)
        return Call(
            model=_one(asked, "model_id") or _DEFAULT_MODEL, stream=True, hold_steps=hold_steps, unlisted=unlisted
        )

    def unlisted(self, frame: Frame) -> str:
        """See the interface."""
        return fields.STREAM_MESSAGES.unlisted(frame)

    def meter(
        self, call: Call, asked: Asked, *, max_input_tokens: int | None, max_output_tokens: int | None
    ) -> SocketMeter:
        """A meter for one socket."""
        return _SpeechMeter()


class _SpeechMeter(Characters):
    __slots__ = ()

    def weigh(self, frame: Frame) -> Due | Stop:
        """Read a client's message. Raises BadRequest."""
        refuse_unclear(frame, _OWN)
        message = frame_object(frame)
        text = message.get("text") if message is not None else None
        return Due(characters=len(text)) if isinstance(text, str) else NOTHING_DUE

    def received(self, frame: Frame) -> None:
        """Read a provider's message."""
        message = frame_object(frame)
        if message is not None and (message.get("isFinal") or message.get("is_final")):
            self._waiting = False


class _Transcribe:
    """The shape."""

    name = "elevenlabs_transcribe_live"
    first_frame = ""
    secrets = frozenset[str]()

    def read(self, opening: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a handshake. Raises BadRequest."""
        _rate(asked)
        tools = _surcharges(asked)
        return Call(
            model=_one(asked, "model_id") or _DEFAULT_TRANSCRIBER,
            stream=True,
            hold_steps=HoldSteps(step=_heard(_STEP_MS, tools), count=_STEPS),
            unbounded="transcript_edit" if _EDIT in tools else "",
            unlisted=fields.TRANSCRIBE.unlisted(asked.query),
        )

    def unlisted(self, frame: Frame) -> str:
        """See the interface."""
        return fields.TRANSCRIBE_MESSAGES.unlisted(frame)

    def meter(
        self, call: Call, asked: Asked, *, max_input_tokens: int | None, max_output_tokens: int | None
    ) -> SocketMeter:
        """A meter for one socket."""
        return _TranscribeMeter(*_rate(asked), _surcharges(asked))


class _TranscribeMeter:
    __slots__ = ("_byte_rate", "_bytes", "_edited_ms", "_sample_rate", "_tools", "_waiting")

    def __init__(self, sample_rate: int, sample_bytes: int, tools: frozenset[str]) -> None:
        self._sample_rate = sample_rate
        self._byte_rate = sample_rate * sample_bytes
        self._edited_ms = 0  # what edits have cost at least
        self._tools = tools
        self._bytes = 0
        self._waiting = False

    def weigh(self, frame: Frame) -> Due | Stop:
        """Read a client's message. Raises BadRequest."""
        refuse_unclear(frame, _OWN)
        message = frame_object(frame)
        if message is None:
            return NOTHING_DUE
        sound, rate = base64_bytes(message.get("audio_base_64")), message.get("sample_rate")
        if isinstance(rate, int) and 0 < rate < self._sample_rate:  # as bytes at the rate that the query declares
            sound = -(-sound * self._sample_rate // rate)
        return Due(audio_bytes=sound)

    def sent(self, due: Due) -> None:
        """The message is about to be forwarded."""
        self._bytes += due.audio_bytes
        self._waiting = self._waiting or due.audio_bytes > 0

    def received(self, frame: Frame) -> None:
        """Read a provider's message."""
        message = frame_object(frame)
        if message is not None and str(message.get("message_type", "")).startswith("committed_transcript"):
            self._waiting = False
            self._edited_ms += _EDIT_MS

    def elapsed(self, ms: int) -> None:
        """The sound tells its length."""

    def used(self, due: Due = NOTHING_DUE) -> Usage:
        """The sound that was sent."""
        heard = _heard(-(-(self._bytes + due.audio_bytes) * 1_000 // self._byte_rate), self._tools)
        if _EDIT not in heard.tools or self._edited_ms <= heard.audio_ms:
            return heard
        return msgspec.structs.replace(heard, tools={**heard.tools, _EDIT: self._edited_ms})

    exposed = used

    def models(self, due: Due = NOTHING_DUE) -> frozenset[str]:
        """None but its own."""
        return frozenset()

    def busy(self) -> bool:
        """Whether sound waits to be transcribed."""
        return self._waiting

    def farewell(self) -> Frame | None:
        """The count is ours."""
        return None

    def finish(self) -> Reading:
        """Say what was seen."""
        return Reading(usage=self.used(), complete=True)


def _one(asked: Asked, name: str) -> str:
    values = asked.query.get(name, [])
    if len(set(values)) > 1:
        raise BadRequest(f"The parameter {name!r} is given twice.", param=name)
    return values[0] if values else ""


def _surcharges(asked: Asked) -> frozenset[str]:
    """What is asked for that costs more by the second, by the catalogue's names."""
    names = {*asked.query, *(("entity_detection",) if "entity_redaction" in asked.query else ())}
    off = {name for name in names if set(asked.query.get(name, ())) <= {"", "false"} and name in asked.query}
    return frozenset(tool for name, tool in SURCHARGES.items() if name in names - off)


def _heard(audio_ms: int, tools: frozenset[str]) -> Usage:
    return Usage(audio_ms=audio_ms, tools=dict.fromkeys(tools, audio_ms))


def _rate(asked: Asked) -> tuple[int, int]:
    """Samples a second of the sound that the query declares, and bytes of each. Raises BadRequest."""
    declared = _one(asked, "audio_format") or "pcm_16000"
    found = _FORMAT.fullmatch(declared)
    if found is None:
        raise BadRequest("'audio_format' must be raw sound, such as pcm_16000.", param="audio_format")
    return max(int(found[2]), 1), 2 if found[1] == "pcm" else 1


ELEVENLABS_STREAM_INPUT = _StreamInput()
ELEVENLABS_TRANSCRIBE = _Transcribe()
