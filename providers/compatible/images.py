"""Pictures from a text, in OpenAI's frame, by vendors who price them by the piece and may state the price (xAI).

Promises: as every shape. Pictures that were asked for and not made (moderation) are not billed, if the answer says how
many there are. Source: providers.md P6.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.compatible import fields, parts
from providers.contract.flags import MALFORMED, Flags
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter, Reading
from providers.ground.quirks import PICOS_PER_TICK
from providers.ground.usage import Usage
from providers.reading.answer import BodyMeter, count, read_usage, tail_usage
from providers.reading.inside import unlisted_in
from providers.reading.json_text import NULL, UNREADABLE, Object, given, is_list
from providers.reading.request import Head, count_field, present, read_object, text_field

_OWN = frozenset({"model", "prompt", "n"})
_IMAGES_MAX = 10
_USUAL = {"quality": (b'"low"', b'"medium"'), "resolution": (b'"1k"',)}  # at the price of a picture, or below


class _Images(PassThrough):
    """The shape."""

    name = "images"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _OWN)
        metered = _metered(head)
        wanted = Usage(images=count_field(head, "n", least=1, most=_IMAGES_MAX) or 1)
        return Call(
            model=text_field(head, "model", required=True),
            input_typical=wanted,
            input_upper=wanted,
            input_bound=wanted,
            endless=metered,
            unlisted=unlisted_in(fields.IMAGES, parts.IMAGES, head, sound=asked.sound),
            cache_writes=False,
        )

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return _ImageMeter(call)


def _metered(head: Head) -> str:
    for name in sorted(fields.IMAGES.rows["metered"]):
        if present(head, name) and bytes(head[name]) not in _USUAL.get(name, ()):
            return name
    return ""


class _Answer(msgspec.Struct, gc=False):
    data: msgspec.Raw = NULL
    model: str | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


_ANSWER = msgspec.json.Decoder(_Answer)
_LIST: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


class _ImageMeter(BodyMeter):
    """Reads an answer."""

    __slots__ = ("_wanted",)

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._wanted = call.input_bound.images

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        whole = self._body.whole()
        if whole is None:
            tail = self._body.tail()
            ended = tail.endswith(b"}")
            return self._reading(tail_usage(tail), self._wanted if ended else None, flags, complete=ended)
        try:
            answer = _ANSWER.decode(whole)
            images = len(_LIST.decode(answer.data)) if is_list(answer.data) else None
        except UNREADABLE:
            return Reading(flags=(MALFORMED,))
        stated = read_usage(answer.usage, flags)
        return self._reading(stated, images, flags, complete=True, model=answer.model, error=given(answer.error))

    @staticmethod
    def _reading(
        stated: Object | None,
        images: int | None,
        flags: Flags,
        *,
        complete: bool,
        model: str | None = None,
        error: bool = False,
    ) -> Reading:
        ticks = count(stated, flags, "cost_in_usd_ticks") if stated is not None else None
        usage = None
        if ticks is not None or images is not None:
            cost_picos = None if ticks is None else ticks * PICOS_PER_TICK
            usage = Usage(images=images or 0, provider_cost_picos=cost_picos)
        return Reading(usage=usage, complete=complete, model=model or "", flags=tuple(sorted(flags)), error=error)


IMAGES = _Images()
