"""Mistral's speech: text in, sound out as base64 in JSON or in a stream of events; billed by the character.

Promises: as every shape. The characters are known from the request, and all of them are billed once there is an answer.
Source: providers.md P11 and §17; mistralai 3.7's types.
"""

from __future__ import annotations

from collections.abc import Mapping

from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter, Reading
from providers.ground.usage import Usage
from providers.mistral import fields, parts
from providers.reading.inside import unlisted_in
from providers.reading.request import flag_field, present, read_object, text_field

_OWN = frozenset({"model", "input", "stream"})
_SOUND = (b'"audio_data"', b"speech.audio.")  # in JSON, and in events


class _Speech(PassThrough):
    """The shape."""

    name = "mistral_speech"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _OWN)
        metered = next((name for name in fields.SPEECH.rows["metered"] if present(head, name)), "")
        said = Usage(characters=len(text_field(head, "input", required=True)))
        return Call(
            model=text_field(head, "model", required=True),
            stream=flag_field(head, "stream"),
            input_typical=said,
            input_upper=said,
            input_bound=said,
            endless=metered,
            unlisted=unlisted_in(fields.SPEECH, parts.SPEECH, head, sound=asked.sound),
            cache_writes=False,
        )

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return _SpeechMeter(call)


class _SpeechMeter:
    """Looks whether there is sound in an answer."""

    __slots__ = ("_call", "_found", "_tail")

    _TAIL_BYTES = 16

    def __init__(self, call: Call) -> None:
        self._call = call
        self._tail = b""
        self._found = False

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes."""
        if not self._found:
            seam = self._tail + chunk
            self._found = any(mark in seam for mark in _SOUND)
            self._tail = seam[-self._TAIL_BYTES :]

    def output_tokens_seen(self) -> int:
        """No tokens are billed."""
        return 0

    def finish(self) -> Reading:
        """See the interface."""
        return Reading(usage=self._call.input_typical if self._found else None, complete=self._found)


MISTRAL_SPEECH = _Speech()
