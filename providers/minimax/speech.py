"""MiniMax's text to speech (`t2a_v2`): a text in, sound in hexadecimal out, whole or streamed, priced by characters.

Promises: as every shape. The provider counts a Chinese character as two [K], so the bound takes every character as
two; what is held and, without the provider's count, billed counts those so that are wide in East Asian scripts.
Source: providers.md §3 and P9.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import msgspec

from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter, Reading
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.minimax import fields, parts
from providers.minimax.base_resp import Watch
from providers.reading.inside import unlisted_in
from providers.reading.json_text import is_string
from providers.reading.request import flag_field, read_object, text_field

_OWN = frozenset({"model", "text", "stream"})
_USED = r'"usage_characters"\s*:\s*(\d{1,12})'
_TEXT = msgspec.json.Decoder(str)


class _Speech(PassThrough):
    """The shape."""

    name = "minimax_speech"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _OWN)
        model = text_field(head, "model", required=True)
        json_text = head.get("text")
        if json_text is None or not is_string(json_text):
            raise BadRequest("'text' must be a string.", param="text")
        try:
            text = _TEXT.decode(json_text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise BadRequest("'text' cannot be read.", param="text") from None
        counted = Usage(characters=billed_characters(text))
        return Call(
            model=model,
            stream=flag_field(head, "stream"),
            input_typical=counted,
            input_upper=counted,
            input_bound=Usage(characters=2 * len(text)),
            unlisted=unlisted_in(fields.SPEECH, parts.SPEECH, head, sound=asked.sound),
            cache_writes=False,
        )

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return _SpeechMeter()


def billed_characters(text: str) -> int:
    """What the provider is expected to count: wide characters twice."""
    if text.isascii():
        return len(text)
    return len(text) + sum(unicodedata.east_asian_width(each) in "WF" for each in text)


class _SpeechMeter:
    """Reads an answer, of either kind: the count stands in `extra_info`, behind the sound."""

    __slots__ = ("_used",)

    def __init__(self) -> None:
        self._used = Watch(b'"usage_characters"', _USED)

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes."""
        self._used.feed(chunk)

    def output_tokens_seen(self) -> int:
        """There are none."""
        return 0

    def finish(self) -> Reading:
        """See the interface."""
        used = self._used.value
        return Reading(usage=None if used is None else Usage(characters=used), complete=used is not None)


MINIMAX_SPEECH = _Speech()
