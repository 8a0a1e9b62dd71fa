"""Deepgram from text: speech, billed by the character as the answer's head counts them; analysis, billed by the token.

Promises: as every shape. `callback` is refused, as for transcription. Source: providers.md §3 and P5; deepgram-sdk 7's
types.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.bounding.text import estimates
from providers.contract.flags import MALFORMED, Flags
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter, Reading
from providers.deepgram import fields
from providers.deepgram.listen import FOUND_TOKENS, INTELLIGENCE, Query, intelligence
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.reading.answer import BodyMeter, read_usage
from providers.reading.credits import HeadMeter
from providers.reading.json_text import NULL, UNREADABLE, given
from providers.reading.request import read_object, text_field

_OWN = frozenset({"text", "url"})
_VOICE = "aura-asteria-en"  # the provider's, where a request names none
_READER = "read"  # the catalogue's id: the operation has no model
_REMOTE_TOKENS = 32_768  # a text that the request only refers to; the provider takes 150,000
_REMOTE_TOKENS_MAX = 150_000


class _Speak(PassThrough):
    """Text to speech."""

    name = "deepgram_speak"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        query = Query(asked.query)
        query.refuse("callback", "callback_method")
        head = read_object(body, _OWN)
        said = Usage(characters=len(text_field(head, "text", required=True)))
        model = query.text("model") or _VOICE
        return Call(
            model=model,
            input_typical=said,
            input_upper=said,
            input_bound=said,
            endless=query.opted_out,
            unlisted=fields.SPEAK.unlisted(query.names) or fields.BODY.unlisted(head),
            cache_writes=False,
        )

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return HeadMeter(call, headers, characters_in="dg-char-count")


class _Read(PassThrough):
    """Text analysis: each feature reads the whole text."""

    name = "deepgram_read"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        query = Query(asked.query)
        query.refuse("callback", "callback_method")
        head = read_object(body, _OWN)
        text, url = text_field(head, "text").encode(), text_field(head, "url")
        if bool(text) == bool(url):
            raise BadRequest("Either 'text' or 'url' is required.", param="text")
        readers = max(sum(query.on(name) for name in INTELLIGENCE), 1)
        typical, upper = estimates(text) if text else (_REMOTE_TOKENS, _REMOTE_TOKENS)
        most = len(text) if text else _REMOTE_TOKENS_MAX
        return Call(
            model=_READER,
            # What is found is a summary, or labels for parts of the text: no longer than what was read, or some words.
            input_typical=Usage(input_tokens=typical * readers, output_tokens=min(typical, FOUND_TOKENS) * readers),
            input_upper=Usage(input_tokens=upper * readers, output_tokens=max(upper, FOUND_TOKENS) * readers),
            input_bound=Usage(input_tokens=most * readers, output_tokens=max(most, FOUND_TOKENS) * readers),
            unlisted=fields.READ.unlisted(query.names) or fields.BODY.unlisted(head),
            cache_writes=False,
        )

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return _ReadMeter()


class _Answer(msgspec.Struct, gc=False):
    metadata: msgspec.Raw = NULL
    err_code: str | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


class _ReadMeter(BodyMeter):
    """Reads what each feature counted."""

    __slots__ = ()

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
        if whole is None:
            return Reading(complete=self._body.tail().endswith(b"}"))
        try:
            answer = _ANSWER.decode(whole)
        except UNREADABLE:
            return Reading(flags=(MALFORMED,))
        metadata = read_usage(answer.metadata, flags) if given(answer.metadata) else None
        usage: Usage | None = None
        if metadata is not None:
            inner = metadata.get("metadata")
            tokens = intelligence(inner if isinstance(inner, dict) else metadata, flags)
            usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1]) if tokens is not None else None
        return Reading(usage=usage, complete=True, flags=tuple(sorted(flags)), error=answer.err_code is not None)


DEEPGRAM_SPEAK = _Speak()
DEEPGRAM_READ = _Read()
