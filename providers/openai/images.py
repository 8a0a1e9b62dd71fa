"""OpenAI's images: made from text, made from others, varied. JSON or a form in; JSON or a stream of events out.

Promises: as every shape. The `dall-e-` models are billed by the image, by size and quality; the others by tokens, which
every answer of theirs states. Before that, an image's tokens are told by its area and quality; what it is planned with
(`complexity`) only the answer tells. What calls further models (SVG) is refused; so is a request that names no model,
for whose price is it?
Source: providers.md §5.1 and P1; openai 3.57's types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from providers.bounding.text import estimates
from providers.contract.flags import MALFORMED, Flags
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import JSON, NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter, Reading
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.openai import fields, parts
from providers.openai.usage import responses_usage
from providers.reading.answer import BodyMeter, EventMeter, count, later, read_usage, tail_usage
from providers.reading.inside import unlisted_in
from providers.reading.json_text import NULL, UNREADABLE, Object, given, is_list
from providers.reading.multipart import Form, boundary_of, is_form
from providers.reading.request import Head, members, read_object, replaced, with_member

_OWN = frozenset(
    {"model", "prompt", "n", "size", "quality", "stream", "partial_images", "frame_count", "svg", "input_fidelity"}
    | {"background", "moderation", "output_compression", "output_format", "complexity"}
)
_NEWER_ONLY = (
    *("background", "moderation", "output_compression", "output_format", "partial_images", "input_fidelity", "stream"),
)
_FILES = frozenset({"image", "mask", "markup"})
_BROUGHT = _FILES | {"images"}
_LIST: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_COUNT_MAX = 10
_FRAMES_MAX = 100
_FRAMES = 9  # of a GIF that names no number
_IMAGES_GIVEN_MAX = 16
_SQUARE = 1_024 * 1_024
_TOKENS = {"low": 272, "medium": 1_056, "high": 4_160, "xhigh": 8_320, "max": 16_640}  # of a square of 1,024 pixels
_PARTIAL_TOKENS = 100
_SIZE = re.compile(r"(\d{2,5})x(\d{2,5})")
_LARGEST = 3_840 * 2_160  # what gpt-image-2 takes
_USUAL_LARGEST = 1_024 * 1_536
# Of one image that is given: in small tiles, or kept in detail.
_GIVEN_TYPICAL, _GIVEN_UPPER, _GIVEN_MOST = (400, 4_500, 7_800)


def _members(head: Head) -> dict[str, str]:
    """A JSON request's own members as texts; null is none."""
    found: dict[str, str] = {}
    for name, json_text in head.items():
        if name in _OWN:
            try:
                value = msgspec.json.decode(json_text)
            except UNREADABLE:
                raise BadRequest(f"{name!r} is not valid.", param=name) from None
            if value is not None:
                found[name] = value if isinstance(value, str) else bytes(json_text).decode()
    return found


class _Asks(msgspec.Struct, frozen=True):
    """A request: its own members, how many pictures it brings, as what it was read, and a field in no table."""

    members: dict[str, str]
    given: int
    read_as: str
    unlisted: str


def _read_form(body: bytes, content_type: str) -> _Asks:
    form = Form(content_type, _OWN, lists=frozenset({"image"}), files=_FILES, table=fields.IMAGES)
    form.feed(body)
    form.close()
    asks = {name: form.text(name) for name in form.fields}
    return _Asks(asks, len(form.file_parts), form.content_type, form.unlisted)


def _read_json(body: bytes, asked: Asked) -> _Asks:
    head = read_object(body, _OWN | _BROUGHT)
    brought = 0
    for name in _BROUGHT & head.keys():
        try:
            brought += len(_LIST.decode(head[name])) if is_list(head[name]) else given(head[name])
        except UNREADABLE:
            raise BadRequest(f"{name!r} is not valid.", param=name) from None
    if brought > _IMAGES_GIVEN_MAX + len(_FILES):
        raise BadRequest(f"A request brings {_IMAGES_GIVEN_MAX} images at most.", param="images")
    unlisted = unlisted_in(fields.IMAGES, parts.IMAGES, head, sound=asked.sound)
    return _Asks(_members(head), brought, JSON, unlisted)


def _integer(members: Mapping[str, str], name: str, otherwise: int, most: int) -> int:
    text = members.get(name, "")
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= most):
        raise BadRequest(f"{name!r} must be an integer up to {most}.", param=name)
    return int(text)


class _Images(PassThrough):
    """The shape."""

    name = "openai_images"

    def __init__(self, model: str = "") -> None:
        """`model` is the only one that an operation has, if so."""
        self._model = model

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        content_type = asked.headers.get("content-type", "")
        whole = _read_form(body, content_type) if is_form(content_type) else _read_json(body, asked)
        asks, given_images, read_as = whole.members, whole.given, whole.read_as
        model = asks.get("model") or self._model or _default(asks)
        written = not (asks.get("model") or self._model)
        if asks.get("svg") not in (None, "", "{}"):
            raise BadRequest("'svg' is not offered here: it calls a further model.", param="svg")
        if asks.get("output_format", "").lower() == "svg":
            raise BadRequest("SVG is not offered here: it calls a further model.", param="output_format")
        images = max(_integer(asks, "n", 1, _COUNT_MAX), 1)
        stream = asks.get("stream", "").lower() == "true"
        if model.startswith("dall-e-"):
            used = _by_image(model, images, asks)
            return Call(
                model=model, stream=stream, input_typical=used, input_upper=used, input_bound=used, cache_writes=False,
                noted=(asks.get("quality", ""), asks.get("size", "")), content_type=read_as, splice=written,
                unlisted=whole.unlisted,
            )  # fmt: skip
        silent = _FRAMES if asks.get("output_format", "").lower() == "gif" else 1
        frames = images * max(_integer(asks, "frame_count", silent, _FRAMES_MAX), 1)
        partial = _integer(asks, "partial_images", 0, _COUNT_MAX) * images * _PARTIAL_TOKENS
        prompt = asks.get("prompt", "").encode()
        typical, upper = estimates(prompt)
        tokens = [each * frames + partial for each in made(model, asks)]
        return Call(
            model=model,
            stream=stream,
            input_typical=_usage(typical, given_images * _GIVEN_TYPICAL, tokens[0]),
            input_upper=_usage(upper, given_images * _GIVEN_UPPER, tokens[1]),
            input_bound=_usage(len(prompt) + 64, given_images * _GIVEN_MOST, tokens[2]),
            cache_writes=False,
            content_type=read_as,
            splice=written,
            endless="complexity" if asks.get("complexity") else "",
            unlisted=whole.unlisted,
        )

    def prepare(self, body: bytes, call: Call) -> bytes:
        """The same bytes, with the model where the request names none."""
        if not call.splice:
            return body
        if call.content_type != JSON:
            mark = b"--" + boundary_of(call.content_type)
            part = b'%b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n' % (mark, call.model.encode())
            return part + body
        found = members(body)
        named = next((each for each in found if each.name == "model"), None)  # as null, or as an empty text
        if named is not None:
            return replaced(body, ((named.value, named.value_end, b'"%b"' % call.model.encode()),))
        return with_member(body, b'"model":"%b"' % call.model.encode(), empty=not found)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return _StreamMeter() if streamed else _JsonMeter(call)


def _default(asks: Mapping[str, str]) -> str:
    newer = any(asks.get(name) for name in _NEWER_ONLY) or asks.get("quality") in ("low", "medium", "high", "auto")
    return "gpt-image-1" if newer else "dall-e-2"


def _by_image(model: str, images: int, members: Mapping[str, str]) -> Usage:
    """Images by the price of their size and quality, where the catalogue has one for it."""
    quality, size = members.get("quality") or "standard", members.get("size") or "1024x1024"
    size = {"1024x1792": "1792x1024"}.get(size, size)
    if model == "dall-e-3" and quality in ("standard", "hd") and size in ("1024x1024", "1792x1024"):
        return Usage(tools={f"image_{quality}_{size}": images})
    return Usage(images=images)


def made(model: str, members: Mapping[str, str]) -> tuple[int, int, int]:
    """Tokens of one image that is made: typical, likely most, and most."""
    newer = not model.startswith(("gpt-image-1", "chatgpt-image"))
    quality = members.get("quality", "")
    found = _SIZE.fullmatch(members.get("size", ""))
    if found is not None:
        area = upper_area = most_area = int(found[1]) * int(found[2])
    else:  # the model chooses
        area, upper_area, most_area = _SQUARE, _USUAL_LARGEST, _LARGEST if newer else _USUAL_LARGEST
    typical = _TOKENS.get(quality, _TOKENS["medium"])
    upper = _TOKENS.get(quality, _TOKENS["high"])
    # How the newer models count is not published: twice as many at most.
    most = _TOKENS.get(quality, _TOKENS["max"] if newer else _TOKENS["high"]) * (2 if newer else 1)
    each = (typical * area, upper * upper_area, most * most_area)
    first, second, third = (-(-tokens // _SQUARE) for tokens in each)
    return min(first, third), min(second, third), third


def _usage(text: int, images: int, made: int) -> Usage:
    return Usage(input_tokens=text + images, input_image_tokens=images, output_tokens=made, output_image_tokens=made)


class _Answer(msgspec.Struct, gc=False):
    data: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


_ANSWER = msgspec.json.Decoder(_Answer)
_EVENT = msgspec.json.Decoder(_Event)


def _counted(usage: Object | None, flags: Flags) -> Usage | None:
    """Tokens of an answer; its output is pictures, unless it says how much of it is text."""
    tokens = responses_usage(usage, flags) if usage is not None else None
    if tokens is None or usage is None:
        return None
    drawn = count(usage, flags, "output_tokens_details", "image_tokens")
    drawn = tokens.output_tokens if drawn is None else min(drawn, tokens.output_tokens)
    return msgspec.structs.replace(tokens, output_image_tokens=drawn)


class _JsonMeter(BodyMeter):
    """Reads an answer in one JSON body."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    def finish(self) -> Reading:
        """See the interface."""
        flags: Flags = set()
        by_image = self._call.model.startswith("dall-e-")
        whole = self._body.whole()
        if whole is None:
            tail = self._body.tail()
            complete = tail.endswith(b"}")
            usage = self._call.input_typical if by_image and complete else _counted(tail_usage(tail), flags)
            return Reading(usage=usage, complete=complete, flags=tuple(sorted(flags)))
        try:
            answer = _ANSWER.decode(whole)
        except UNREADABLE:
            flags.add(MALFORMED)
            return Reading(flags=tuple(sorted(flags)))
        if by_image and answer.data is not None:
            quality, size = self._call.noted
            usage = _by_image(self._call.model, len(answer.data), {"quality": quality, "size": size})
        else:
            usage = _counted(read_usage(answer.usage, flags), flags)
            if usage is not None:
                usage = msgspec.structs.replace(usage, images=len(answer.data or ()))
        return Reading(usage=usage, complete=True, flags=tuple(sorted(flags)), error=given(answer.error))


class _StreamMeter(EventMeter):
    """Reads a streamed answer; an image's end states its usage."""

    __slots__ = ()

    def _said(self, data: bytes) -> None:
        said = _EVENT.decode(data)
        self._complete = self._complete or (said.type or "").endswith(".completed")
        self._error = self._error or said.type == "error" or given(said.error)
        usage = _counted(read_usage(said.usage, self._flags), self._flags)
        if usage is not None:
            self._usage = later(self._usage, usage, self._flags)


OPENAI_IMAGES = _Images()
OPENAI_VARIATIONS = _Images("dall-e-2")
