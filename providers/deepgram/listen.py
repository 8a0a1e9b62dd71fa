"""Deepgram's transcription of recorded sound: the bytes themselves, or a URL; everything else is in the query.

Promises: as every shape that takes uploads. The sound is never kept. `callback` is refused, for then the result, and
with it the bill, goes elsewhere. Features that are billed by the second beside the transcription are counted as tools
of so many milliseconds; those that are billed by tokens (`summarize`, `topics`, `intents`, `sentiment`) as tokens.
Source: providers.md §3, §5.3 and P5; deepgram-sdk 7's types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

import msgspec

from providers.bounding.sound import FILE_HEAD_BYTES, REMOTE, Length, has_container, length, pcm
from providers.contract.flags import CONTRADICTORY, MALFORMED, Flags
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import JSON, NO_HEADERS, NOTHING_ELSE, Arrival, Asked, Call, Meter, Reading, arrived
from providers.deepgram import fields
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.reading.answer import BodyMeter, count, milliseconds, read_usage
from providers.reading.json_text import NULL, UNREADABLE, Object, given
from providers.reading.multipart import media_type
from providers.reading.request import read_object, text_field

_JSON_BYTES_MAX = 1024 * 1024
_OWN = frozenset({"url"})
SAMPLE_BYTES = {"linear16": 2, "linear32": 4, "mulaw": 1, "alaw": 1}
_BY_THE_SECOND = {  # parameter: the tool's name in the catalogue
    "diarize": "diarize_ms",
    "diarize_model": "diarize_ms",
    "diarize_version": "diarize_ms",
    "redact": "redact_ms",
    "keyterm": "keyterm_ms",
    "detect_entities": "detect_entities_ms",
}
INTELLIGENCE = {  # parameter: where the answer's metadata says what it counted
    "summarize": "summary_info",
    "topics": "topics_info",
    "intents": "intents_info",
    "sentiment": "sentiment_info",
}
_CHANNELS_MAX, _SAMPLE_RATE_MAX = 20, 192_000  # of bare samples; whoever claims more makes a long sound short
_TOKENS_A_SECOND = 10  # of speech, at most: each feature reads the whole transcript
FOUND_TOKENS = 128  # that a feature may write of however little
DEFAULT_MODEL = "base"  # the provider's, where a request names none; the dearest too


class Query:
    """A Deepgram request's query: parameters read as its own API reads them."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, list[str]]) -> None:
        self._values = values

    @property
    def names(self) -> Iterable[str]:
        """Of the parameters that are given."""
        return self._values

    def text(self, name: str) -> str:
        """A parameter's value; "" where it is absent. Raises BadRequest where two different ones are given."""
        values = self._values.get(name, ())
        if len(set(values)) > 1:
            raise BadRequest(f"The parameter {name!r} is given twice.", param=name)
        return values[0] if values else ""

    def on(self, name: str) -> bool:
        """Whether a feature is asked for: anything but false is a yes (`redact=pci`, `summarize=v2`)."""
        return any(value.lower() not in ("", "false", "0") for value in self._values.get(name, ()))

    def number(self, name: str, otherwise: int) -> int:
        """A positive integer parameter. Raises BadRequest."""
        text = self.text(name)
        if not text:
            return otherwise
        if not (text.isascii() and text.isdigit() and 0 < int(text[:10]) <= 1_000_000):
            raise BadRequest(f"{name!r} must be a positive integer.", param=name)
        return int(text)

    @property
    def opted_out(self) -> str:
        """The parameter by which an account leaves its discount for one call; "" where that is not asked for."""
        return "mip_opt_out" if self.on("mip_opt_out") else ""

    def refuse(self, *names: str) -> None:
        """Raises BadRequest where one of these is given."""
        for name in names:
            if self.text(name):
                raise BadRequest(f"{name!r} is not offered here: its result could not be metered.", param=name)


def model_of_query(query: Query) -> str:
    """The id that the price list has: the model, an old tier in front of it; nova-3's price for many languages."""
    model, tier = query.text("model") or DEFAULT_MODEL, query.text("tier")
    if tier:
        model = f"{tier}-{model}" if model not in (DEFAULT_MODEL, tier) else tier
    elif model in ("general", "meeting", "phonecall", "voicemail", "finance", "conversationalai", "video"):
        model = f"{DEFAULT_MODEL}-{model}"
    if query.text("language").lower() == "multi" and model in ("nova-3", "nova-3-general"):
        return "nova-3-multilingual"
    return model


def features(query: Query, audio_ms: int) -> dict[str, int]:
    """The features asked for that are billed by the second, as tools of so many milliseconds."""
    return {tool: audio_ms for name, tool in _BY_THE_SECOND.items() if query.on(name)}


class _Arrival:
    """Reads one body."""

    uncovered = ""  # all that is asked for stands in the query

    __slots__ = ("_head", "_is_json", "_query", "_read_as", "_size")

    def __init__(self, asked: Asked) -> None:
        self._query = Query(asked.query)
        self._query.refuse("callback", "callback_method")
        kind, _ = media_type(asked.headers.get("content-type", ""))
        self._is_json = kind == JSON
        # What is neither is sound to us, whatever it is called, and must be no link to the provider.
        self._read_as = kind if kind == JSON or kind.startswith(("audio/", "video/")) else "application/octet-stream"
        self._head = b""
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """See the interface."""
        self._size += len(chunk)
        room = (_JSON_BYTES_MAX if self._is_json else FILE_HEAD_BYTES) - len(self._head)
        if room > 0:
            self._head += chunk[:room]
        if self._is_json and self._size > _JSON_BYTES_MAX:
            raise BadRequest("A JSON body is not that long here: send the sound itself, or its URL.")

    def call(self, length: int, *, whole: bool) -> Call | None:
        """See the interface."""
        if self._is_json and not whole:
            return None
        query = self._query
        multichannel = query.on("multichannel")
        remote, unlisted = "", fields.LISTEN.unlisted(query.names)
        if self._is_json:
            head = read_object(self._head, _OWN)
            unlisted = unlisted or fields.BODY.unlisted(head)
            if not text_field(head, "url"):
                raise BadRequest("'url' is required.", param="url")
            remote, sound = "url", REMOTE.times(2) if multichannel else REMOTE
        else:
            sound = self._sound(self._size if whole else max(length, self._size), multichannel=multichannel)
        return Call(
            model=model_of_query(query),
            input_typical=self._usage(sound.charged_ms),
            input_upper=self._usage(sound.upper_ms),
            input_bound=self._usage(sound.most_ms),
            unbounded=remote,
            endless=query.opted_out,
            unlisted=unlisted,
            cache_writes=False,
            noted=("multichannel",) if multichannel else (),
            content_type=self._read_as,
        )

    def _sound(self, size: int, *, multichannel: bool) -> Length:
        query = self._query
        sample_bytes = SAMPLE_BYTES.get(query.text("encoding").lower())
        if sample_bytes and not has_container(self._head):
            channels = min(query.number("channels", 1), _CHANNELS_MAX)
            rate = min(query.number("sample_rate", 8_000), _SAMPLE_RATE_MAX)
            sound = pcm(size, sample_rate=rate, sample_bytes=sample_bytes, channels=channels)
        else:
            sound = length(self._head, size)
        # Where the bytes tell the length by their rate, channels share it.
        return sound.times(sound.channels) if multichannel else sound

    def _usage(self, audio_ms: int) -> Usage:
        """What so many milliseconds come to with all features asked for."""
        query = self._query
        readers = sum(query.on(name) for name in INTELLIGENCE)
        tokens = -(-audio_ms * _TOKENS_A_SECOND // 1_000)
        found = max(tokens, FOUND_TOKENS) * readers
        tools = features(query, audio_ms)
        return Usage(audio_ms=audio_ms, input_tokens=tokens * readers, output_tokens=found, tools=tools)


class _Listen(PassThrough):
    """The shape."""

    name = "deepgram_listen"

    def arrival(self, asked: Asked) -> Arrival:
        """See the interface."""
        return _Arrival(asked)

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request that is here already. Raises BadRequest."""
        return arrived(self, body, asked)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return _ListenMeter(call)


class _Answer(msgspec.Struct, gc=False):
    metadata: msgspec.Raw = NULL
    err_code: str | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_METADATA = re.compile(rb'"metadata"\s*:\s*(?=\{)')
_METADATA_BYTES_MAX = 64 * 1024


class _ListenMeter(BodyMeter):
    """Reads an answer: `metadata` says the duration and the channels, and stands in front."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
        complete = True
        error = False
        metadata: Object | None = None
        if whole is not None:
            try:
                answer = _ANSWER.decode(whole)
            except UNREADABLE:
                flags.add(MALFORMED)
                complete = False
                metadata = _front(whole[:_METADATA_BYTES_MAX])
            else:
                error = answer.err_code is not None
                metadata = read_usage(answer.metadata, flags) if given(answer.metadata) else None
        else:
            metadata = _front(self._body.head())
        return Reading(
            usage=self._usage(metadata, flags) if metadata is not None else None,
            complete=complete,
            flags=tuple(sorted(flags)),
            error=error,
        )

    def _usage(self, metadata: Object, flags: Flags) -> Usage | None:
        stated_ms = milliseconds(metadata, flags, "duration")
        if stated_ms is None:
            return None
        asked = self._call.input_typical
        channels = max(count(metadata, flags, "channels") or 1, 1)
        if channels > 64:
            flags.add(CONTRADICTORY)
        audio_ms = stated_ms * min(channels, 64) if "multichannel" in self._call.noted else stated_ms
        tokens_in, tokens_out = intelligence(metadata, flags) or (0, 0)
        tools = dict.fromkeys(asked.tools, audio_ms)
        return Usage(audio_ms=audio_ms, input_tokens=tokens_in, output_tokens=tokens_out, tools=tools)


def intelligence(metadata: Object, flags: Flags) -> tuple[int, int] | None:
    """Tokens that features counted, in and out; None where none did."""
    found = [info for name in INTELLIGENCE.values() if isinstance(info := metadata.get(name), dict)]
    if not found:
        return None
    return (
        sum(count(info, flags, "input_tokens") or 0 for info in found),
        sum(count(info, flags, "output_tokens") or 0 for info in found),
    )


def _front(text: bytes) -> Object | None:
    """The first `"metadata":{…}` at the beginning of a body that is not whole; None where there is none."""
    found = _METADATA.search(text, 0, 256)
    if found is None:
        return None
    try:
        metadata, _ = json.JSONDecoder().raw_decode(text[found.end() :].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return metadata if isinstance(metadata, dict) else None


DEEPGRAM_LISTEN = _Listen()
