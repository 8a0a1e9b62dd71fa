"""What can stand in a Cohere request: turns, documents, pictures, tools.

Promises: a kind of part that is not in the tables makes the request unbounded by name; what the operator's account
keeps (connectors, stored conversations) is refused by name. Knows nothing of answers.
Source: providers.md P13 and §5, cohere 7.3's types.
"""

from __future__ import annotations

import msgspec

from providers.bounding.extent import Extent, data_url, string_bytes
from providers.bounding.media import Bound
from providers.ground.errors import BadRequest
from providers.ground.names import words
from providers.reading.json_text import NULL, UNREADABLE, given, is_list, is_object, is_string
from providers.reading.request import Head, present

# A picture: tiles of 256 tokens, twelve of them and one of the whole at most; embedded, a token for 784 of at most
# 2.5 million pixels [K].
_PICTURE = Bound(1_290, 3_328, 4_096)
_TOOL_PROMPT_TOKENS = 400
_PLAIN = words("text thinking document")
_KEPT = ("connectors", "conversation_id")
_ELEMENTS_MAX = 200_000
_LIST: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


class _Url(msgspec.Struct, gc=False):
    url: msgspec.Raw = NULL


class _Part(msgspec.Struct, gc=False):
    """A part of a turn's content, or a turn."""

    type: str = ""
    text: msgspec.Raw = NULL
    thinking: msgspec.Raw = NULL
    image_url: msgspec.Raw = NULL
    content: msgspec.Raw = NULL
    message: msgspec.Raw = NULL


_PART = msgspec.json.Decoder(_Part)
_URL = msgspec.json.Decoder(_Url)


def elements(json_text: msgspec.Raw, where: str) -> list[msgspec.Raw]:
    """The elements of a list; none where it is absent or null.

    Raises:
        BadRequest: It is no list, or has too many elements; the message names it.
    """
    if not given(json_text):
        return []
    if not is_list(json_text):
        raise BadRequest(f"{where!r} must be a list.", param=where)
    try:
        found = _LIST.decode(json_text)
    except UNREADABLE:
        raise BadRequest(f"{where!r} cannot be read.", param=where) from None
    if len(found) > _ELEMENTS_MAX:
        raise BadRequest(f"{where!r} holds more than {_ELEMENTS_MAX} elements.", param=where)
    return found


def refuse_kept(head: Head) -> None:
    """Refuse what lies in the operator's account, where everybody's does.

    Raises:
        BadRequest: As said; the message names the field.
    """
    for name in _KEPT:
        if present(head, name):
            raise BadRequest(f"{name!r} is not offered here: it would be shared with every other key.", param=name)


class Content:
    """Reads the content of one request into an extent.

    Attributes:
        images: How many pictures there are.
    """

    __slots__ = ("_extent", "images")

    def __init__(self, extent: Extent) -> None:
        self._extent = extent
        self.images = 0

    def turns(self, json_text: msgspec.Raw, where: str) -> None:
        """`messages` of v2, `chat_history` of v1, `inputs` of embed: turns of text or of parts."""
        self._extent.content(json_text)
        for at, turn in enumerate(elements(json_text, where)):
            place = f"{where}[{at}]"
            message = _read(turn, place)
            self._text(message.message)
            if is_list(message.content):
                for number, part in enumerate(elements(message.content, f"{place}.content")):
                    self._part(part, f"{place}.content[{number}]")
            else:
                self._text(message.content)

    def texts(self, json_text: msgspec.Raw) -> None:
        """A text, or a list of texts or of objects of them: `message`, `preamble`, `documents`, `texts`."""
        if given(json_text):
            self._extent.content(json_text)
            self._extent.text(json_text)

    def pictures(self, json_text: msgspec.Raw, where: str) -> None:
        """`images` of embed: data URLs."""
        self._extent.content(json_text)
        for at, picture in enumerate(elements(json_text, where)):
            self._picture(picture, f"{where}[{at}]")

    def tools(self, json_text: msgspec.Raw) -> None:
        """A member that describes functions, or the answer's schema."""
        if given(json_text):
            self._extent.tools(json_text, _TOOL_PROMPT_TOKENS)

    def _text(self, json_text: msgspec.Raw) -> None:
        if is_string(json_text):
            self._extent.text(json_text)

    def _part(self, json_text: msgspec.Raw, where: str) -> None:
        part = _read(json_text, where)
        if part.type in _PLAIN:
            self._text(part.text)
            self._text(part.thinking)
        elif part.type == "image_url":
            url = part.image_url
            if is_object(url):
                try:
                    url = _URL.decode(url).url
                except UNREADABLE:
                    raise BadRequest(f"{where!r} cannot be read.", param=where) from None
            self._picture(url, f"{where}.image_url")
        else:
            self._extent.unknown(f"{where}.type")

    def _picture(self, json_text: msgspec.Raw, where: str) -> None:
        self.images += 1
        if is_string(json_text) and data_url(string_bytes(json_text)) is not None:
            self._extent.image(len(json_text), _PICTURE)
        else:
            self._extent.unknown(where)


def _read(json_text: msgspec.Raw, where: str) -> _Part:
    try:
        return _PART.decode(json_text)
    except UNREADABLE:
        raise BadRequest(f"{where!r} is not what it should be.", param=where) from None
