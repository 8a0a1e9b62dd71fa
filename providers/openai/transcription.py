"""Transcriptions and translations of sound in OpenAI's shape: a form with a file, answered in JSON, text or a stream.

Promises: as every shape that takes uploads. The sound is never kept. Its length is bounded by its header and size;
where an answer states no usage (`text`, `srt`, `vtt`, one cut short) the most that it can be is billed, as an estimate.
Texts and voices that guide it are held for as input; behind the file there is room for short texts only.
Mistral speaks it too, and also takes the sound by reference, whose length nobody knows before.
Source: providers.md §3, §5.3, P1 and P11; openai 3.54's types.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.bounding.sound import REMOTE, Length, Mp3, length
from providers.bounding.text import estimates
from providers.contract.flags import MALFORMED, Flags
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import (
    NO_HEADERS,
    NOTHING_ELSE,
    Arrival,
    Asked,
    Call,
    Meter,
    Reading,
    Reference,
    arrived,
)
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.openai import fields
from providers.openai.usage import responses_usage
from providers.reading.answer import BodyMeter, EventMeter, Seen, count, later, milliseconds, read_usage, tail_usage
from providers.reading.json_text import NULL, UNREADABLE, Object, given
from providers.reading.multipart import Form

_OWN = frozenset({"model", "stream", "prompt", "file_id", "file_url"})
_EARLY = frozenset({"model", "file_id", "file_url"})
_PROMPT_TOKENS_MAX = 1_000  # the models look at the last 224; allowed for while the prompt may still come
_TEXTS = ("prompt", "keywords", "known_speaker_names", "context_bias")
_VOICES = ("known_speaker_references", "speaker_references")  # sounds in base64, of ten seconds at most


class _Arrival:
    """Reads one form."""

    __slots__ = ("_form", "_mp3", "_texts_held", "_voices_held")

    def __init__(self, asked: Asked) -> None:
        self._mp3 = Mp3()
        self._texts_held = self._voices_held = 0
        self._form = Form(
            asked.headers.get("content-type", ""),
            _OWN,
            early=_EARLY,
            files=frozenset({"file"}),
            content=self._mp3.feed,
            table=fields.TRANSCRIPTION,
            sized=frozenset((*_TEXTS, *_VOICES)),
        )

    @property
    def uncovered(self) -> str:
        """See the interface."""
        form = self._form
        if form.unlisted or not form.decided:
            return form.unlisted
        for names, held in ((_TEXTS, self._texts_held), (_VOICES, self._voices_held)):
            if self._bytes(names) > held:
                return max(names, key=lambda name: form.sizes.get(name, 0))
        return ""

    def _bytes(self, names: tuple[str, ...]) -> int:
        return sum(self._form.sizes.get(name, 0) for name in names)

    def feed(self, chunk: bytes) -> None:
        """See the interface."""
        self._form.feed(chunk)

    def call(self, length: int, *, whole: bool) -> Call | None:
        """See the interface."""
        form = self._form
        model = form.text("model")
        if whole:
            form.close()
            if not model:
                raise BadRequest("'model' is required.", param="model")
        elif not (model and form.in_file and form.file_parts):
            return None
        texts, voices = max(self._bytes(_TEXTS), 0 if whole else _PROMPT_TOKENS_MAX), self._bytes(_VOICES)
        if not form.decided:
            form.decided, self._texts_held, self._voices_held = True, texts, voices
        remote = next((name for name in ("file_url", "file_id") if form.text(name)), "")
        if not form.file_parts and not remote:
            raise BadRequest("'file' is required.", param="file")
        sound = REMOTE
        if form.file_parts:
            sound = (self._mp3.length() if whole else None) or _sound(form, length, whole=whole)
        prompt = form.text("prompt").encode()
        upper = estimates(prompt)[1] + self._bytes(_TEXTS) - len(prompt)
        most_ms = sound.most_ms + _most_ms(voices)
        return Call(
            model=model,
            stream=form.flag("stream"),
            input_typical=Usage(audio_ms=sound.charged_ms),
            input_upper=Usage(audio_ms=sound.upper_ms, input_tokens=min(upper, texts)),
            # By tokens, were the sound as dense as can be: 25 tokens a second of it, and 10 of what is said in it.
            input_bound=Usage(
                audio_ms=most_ms,
                input_tokens=texts + -(-most_ms * 25 // 1_000),
                input_audio_tokens=-(-most_ms * 25 // 1_000),
                output_tokens=-(-most_ms // 100),
            ),
            unbounded=remote,
            unlisted=form.unlisted,
            cache_writes=False,
            refers=(Reference("file_id", "file", form.text("file_id")),) if form.text("file_id") else (),
            content_type=form.content_type,
        )


def _sound(form: Form, body_bytes: int, *, whole: bool) -> Length:
    """Length of the sound in a form of so many bytes: until the file's end is seen, it is all that is still to come."""
    file = form.file_parts[0]
    return length(file.head, file.size if whole or not form.in_file else max(body_bytes, file.size))


def _most_ms(size: int) -> int:
    """How long sounds of so many bytes in all can be, whatever they are."""
    return length(b"", size).most_ms


class _Transcription(PassThrough):
    """The shape."""

    name = "transcription"

    def arrival(self, asked: Asked) -> Arrival:
        """See the interface."""
        return _Arrival(asked)

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request that is here already. Raises BadRequest."""
        return arrived(self, body, asked)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return _StreamMeter(call) if streamed else _JsonMeter(call)


class _Answer(msgspec.Struct, gc=False):
    usage: msgspec.Raw = NULL
    duration: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: str | None = None
    text: str | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


_ANSWER = msgspec.json.Decoder(_Answer)
_EVENT = msgspec.json.Decoder(_Event)


def _counted(usage: Object, flags: Flags, audio_ms: int) -> Usage | None:
    """What a usage object counts: seconds (`duration`, Mistral's `prompt_audio_seconds`), or tokens of `audio_ms`."""
    stated_ms = milliseconds(usage, flags, "seconds")
    if stated_ms is None and not isinstance(usage.get("prompt_audio_seconds"), dict):
        stated_ms = milliseconds(usage, flags, "prompt_audio_seconds")
    if stated_ms is not None:
        return Usage(audio_ms=stated_ms)
    if usage.get("type") == "duration" or "prompt_audio_seconds" in usage:
        return None
    tokens = responses_usage(usage, flags)
    if tokens is None:
        return None
    heard = count(usage, flags, "input_token_details", "audio_tokens") or 0
    return msgspec.structs.replace(tokens, input_audio_tokens=min(heard, tokens.input_tokens), audio_ms=audio_ms)


class _JsonMeter(BodyMeter):
    """Reads a whole answer: JSON, or a text that says nothing of usage."""

    __slots__ = ("_audio_ms",)

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._audio_ms = call.input_typical.audio_ms

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
        if whole is None or not whole.startswith(b"{"):
            tail = self._body.tail()
            counted = tail_usage(tail) if tail.endswith(b"}") else None
            usage = _counted(counted, flags, self._audio_ms) if counted is not None else None
            return Reading(usage=usage, complete=True, flags=tuple(sorted(flags)))
        try:
            answer = _ANSWER.decode(whole)
        except UNREADABLE:
            flags.add(MALFORMED)
            return Reading(flags=tuple(sorted(flags)))
        counted = read_usage(answer.usage, flags)
        usage = _counted(counted, flags, self._audio_ms) if counted is not None else None
        if usage is None and given(answer.duration):
            stated_ms = milliseconds({"duration": _number(answer.duration)}, flags, "duration")
            usage = Usage(audio_ms=stated_ms) if stated_ms is not None else None
        return Reading(usage=usage, complete=True, flags=tuple(sorted(flags)), error=given(answer.error))


def _number(json_text: msgspec.Raw) -> object:
    try:
        return msgspec.json.decode(json_text)
    except UNREADABLE:
        return None


class _StreamMeter(EventMeter):
    """Reads a streamed answer."""

    __slots__ = ("_audio_ms", "_seen")

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._audio_ms = call.input_typical.audio_ms
        self._seen = Seen()

    def output_tokens_seen(self) -> int:
        """See the interface."""
        return self._seen.so_far()

    def finish(self) -> Reading:
        """See the interface."""
        return msgspec.structs.replace(super().finish(), output_tokens_seen=self._seen.tokens())

    def _said(self, data: bytes) -> None:
        said = _EVENT.decode(data)
        kind = said.type or ""
        if kind.endswith("delta"):
            self._seen.add(said.delta or said.text or "")
        self._complete = self._complete or kind.endswith("done")
        self._error = self._error or kind == "error" or given(said.error)
        counted = read_usage(said.usage, self._flags)
        if counted is not None and (usage := _counted(counted, self._flags, self._audio_ms)) is not None:
            self._usage = later(self._usage, usage, self._flags)

    def _unread(self, size: int) -> None:
        self._seen.piece()


TRANSCRIPTION = _Transcription()
