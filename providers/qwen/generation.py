"""DashScope's own generation of text, from a prompt or from messages, with pictures or without; and its embeddings.

Promises: as every shape. Whether the answer is a stream is said by a header; each event of one counts all that there is
so far. Speech, which the same path makes of `input.text`, is refused by name: its price is not in the request.
Source: providers.md §3 and P7, dashscope 2.0's SDK.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from providers.bounding import media
from providers.bounding.extent import Extent, data_url, string_bytes
from providers.contract.pass_through import PassThrough
from providers.contract.shapes import NO_HEADERS, NOTHING_ELSE, Asked, Call, Meter
from providers.ground.errors import BadRequest
from providers.ground.names import words
from providers.openai.input import Content
from providers.qwen import fields, parts
from providers.qwen.answer import EmbeddingMeter, JsonMeter, StreamMeter
from providers.reading.elements import Elements
from providers.reading.inside import unlisted_in
from providers.reading.json_text import NULL, given, is_list, is_object, is_string
from providers.reading.request import (
    Head,
    count_field,
    members,
    present,
    read_members,
    read_object,
    replaced,
    said_bytes,
    text_field,
    with_count,
    with_member,
)

_OWN = words("model input parameters")
_INPUT = words("messages prompt history text voice language_type texts")
_SPEECH: Final = ("text", "voice", "language_type")
_PARAMETERS = words(
    "max_tokens n tools response_format enable_search search_options enable_thinking thinking_budget plugins"
)
_LIMIT: Final = "max_tokens"
_CHOICES_MAX: Final = 4
# Searches have a price each.
_ENDLESS: Final = ("enable_search", "search_options", "plugins")
_UNPRICED: Final = ("enable_search", "plugins")
# What is thought is output beside the limit. Some models always think, of others it is not said what they do unasked.
_THINKERS = re.compile(r"qwq|qvq|.*thinking|.*-r1")
_MAY_THINK = re.compile(r"qwen3(?!.*(?:instruct|coder))|deepseek-|glm-|kimi-")


class _Part(msgspec.Struct, gc=False):
    """A part of a message, told by its member's name; or the message."""

    text: msgspec.Raw = NULL
    image: msgspec.Raw = NULL
    audio: msgspec.Raw = NULL
    video: msgspec.Raw = NULL
    content: msgspec.Raw = NULL
    min_pixels: msgspec.Raw = NULL
    max_pixels: msgspec.Raw = NULL


_PART = msgspec.json.Decoder(_Part)
_PARTS = Elements(_PART, msgspec.json.Decoder(list[_Part]))


class _Generation(PassThrough):
    """The shape."""

    name = "dashscope_generation"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _OWN)
        model = text_field(head, "model", required=True)
        said, parameters = _inner(head, "input", _INPUT), _inner(head, "parameters", _PARAMETERS)
        for name in _SPEECH:
            if present(said, name):
                raise BadRequest("Speech is not offered here.", param=f"input.{name}")
        extent = Extent()
        _read_input(extent, said)
        Content(extent, model).tools(parameters, "tools")
        if "response_format" in parameters:
            extent.tools(parameters["response_format"], 0)
        for name in _ENDLESS:
            if present(parameters, name):
                extent.unknown(f"parameters.{name}", endless=True)
                if name in _UNPRICED:
                    extent.unpriced = extent.unpriced or f"parameters.{name}"
        extent.endless = extent.endless or _thinks(model, parameters)
        limit = count_field(parameters, _LIMIT, least=0)
        if limit == 0:
            limit = None
            extent.unknown(f"parameters.{_LIMIT}", endless=True)
        typical, upper, bound = extent.usages(len(body) - said_bytes(body, parameters, (_LIMIT,)))
        return Call(
            model=model,
            stream="enable" in asked.headers.get("x-dashscope-sse", "").lower(),
            input_typical=typical,
            input_upper=upper,
            input_bound=bound,
            output_tokens_max=limit,
            output_field=f"parameters.{_LIMIT}",
            choices=count_field(parameters, "n", least=1, most=_CHOICES_MAX) or 1,
            unbounded=extent.unbounded,
            endless=extent.endless,
            unpriced=extent.unpriced,
            unlisted=unlisted_in(fields.REQUEST, parts.GENERATION, head, sound=asked.sound),
        )

    def limit(self, body: bytes, call: Call, output_tokens: int) -> bytes:
        """Lower, or set, `max_tokens` in `parameters`, which are made where there are none."""
        for member in members(body):
            if member.name == "parameters":
                inner = body[member.value : member.value_end]
                inner = with_count(b"{}" if inner == b"null" else inner, (_LIMIT,), output_tokens)
                return replaced(body, ((member.value, member.value_end, inner),))
        return with_member(body, b'"parameters":%b' % with_count(b"{}", (_LIMIT,), output_tokens), empty=False)

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return StreamMeter() if streamed else JsonMeter()


def _thinks(model: str, parameters: Head) -> str:
    """What says that the model may think, as long as it likes; "" where nothing does."""
    if _THINKERS.match(model):
        return "model"
    asked = next((name for name in ("enable_thinking", "thinking_budget") if present(parameters, name)), "")
    unasked = _MAY_THINK.match(model) and bytes(parameters.get("enable_thinking", NULL)) != b"false"
    return f"parameters.{asked or 'enable_thinking'}" if asked or unasked else ""


def _inner(head: Head, name: str, own: frozenset[str]) -> Head:
    """The members of `input` or of `parameters`.

    Raises:
        BadRequest: It is no object; and as `read_members` says.
    """
    json_text = head.get(name)
    if json_text is None or not given(json_text):
        if name == "input":
            raise BadRequest("'input' must be an object.", param=name)
        return {}
    if not is_object(json_text):
        raise BadRequest(f"{name!r} must be an object.", param=name)
    return read_members(bytes(json_text), own)


def _read_input(extent: Extent, said: Head) -> None:
    for name in ("prompt", "history"):
        if name in said and given(said[name]):
            extent.content(said[name])
            extent.text(said[name])
    messages = said.get("messages", NULL)
    if not given(messages):
        return
    extent.content(messages)
    for at, message in enumerate(_PARTS.read(messages, "input.messages")):
        content = message.content
        where = f"input.messages[{at}].content"
        if is_string(content):
            extent.text(content)
        elif is_list(content):
            for number, part in enumerate(_PARTS.read(content, where)):
                _read_part(extent, part, f"{where}[{number}]")
        elif given(content):
            raise BadRequest(f"{where!r} must be a text or a list.", param=where)


def _read_part(extent: Extent, part: _Part, where: str) -> None:
    if is_string(part.text):
        extent.text(part.text)
    for name, json_text in (("audio", part.audio), ("video", part.video)):
        if given(json_text):
            extent.unknown(f"{where}.{name}")
    for name, pixels in (("min_pixels", part.min_pixels), ("max_pixels", part.max_pixels)):
        if given(pixels):
            extent.unknown(f"{where}.{name}")
    if given(part.image):
        found = data_url(string_bytes(part.image)) if is_string(part.image) else None
        if found is None:
            extent.unknown(f"{where}.image")
        else:
            extent.image(len(part.image), media.openai_image(found[1]))


class _Embedding(PassThrough):
    """Vectors of texts: input only."""

    name = "dashscope_embedding"

    def read(self, body: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a request.

        Raises:
            BadRequest: As the interface says.
        """
        head = read_object(body, _OWN)
        texts = _inner(head, "input", _INPUT).get("texts", NULL)
        if not is_list(texts):
            raise BadRequest("'input.texts' must be a list.", param="input.texts")
        extent = Extent()
        extent.content(texts)
        extent.text(texts)
        typical, upper, bound = extent.usages(len(body))
        return Call(
            model=text_field(head, "model", required=True),
            input_typical=typical,
            input_upper=upper,
            input_bound=bound,
            cache_writes=False,
            unlisted=unlisted_in(fields.REQUEST, parts.EMBEDDING, head, sound=asked.sound),
        )

    def meter(self, call: Call, *, streamed: bool, headers: Mapping[str, str] = NO_HEADERS) -> Meter:
        """A meter for one answer."""
        return EmbeddingMeter()


DASHSCOPE_GENERATION = _Generation()
DASHSCOPE_EMBEDDING = _Embedding()
