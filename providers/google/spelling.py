"""Google's JSON takes its names in two spellings each, `maxOutputTokens` and `max_output_tokens`: both are read here.

Promises: a member that the provider could take for one of ours, but that we could read otherwise (twice, in both
spellings, in another case), is refused. Knows nothing of what members mean. Source: the JSON mapping of protocol
buffers, whose parsers take the name in lower camel case and the original one.
"""

from __future__ import annotations

import re

import msgspec

from providers.ground.errors import BadRequest
from providers.reading.json_text import UNREADABLE, given, is_list, is_object
from providers.reading.request import Head, read_members, read_object

_UNDERSCORE = re.compile(r"_([a-z0-9])")
_CAPITAL = re.compile(r"[A-Z]")
_LIST: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
ELEMENTS_MAX = 200_000  # of one list; a text with more of them is longer than any model's window


def snake(name: str) -> str:
    """`maxOutputTokens` as `max_output_tokens`."""
    return _CAPITAL.sub(lambda found: "_" + found[0].lower(), name)


def camel(name: str) -> str:
    """`max_output_tokens` as `maxOutputTokens`."""
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)


class Names:
    """The members of one kind of object that matter here, written in camel case and separated by spaces."""

    __slots__ = ("_loose", "_own", "_spelt", "known")

    def __init__(self, text: str) -> None:
        self.known = frozenset(text.split())
        self._own = {spelt: name for name in self.known for spelt in (name, snake(name))}
        self._spelt = frozenset(self._own)
        self._loose = {_loosely(name): name for name in self.known}

    def read(self, body: bytes, *, whole: bool = False) -> Head:
        """The members of a JSON object: ours by their name in camel case, strangers as they are spelt.

        `whole` says that it is a request: then nothing inside of it may stand twice either.

        Raises:
            BadRequest: It is no JSON object, or one of ours stands twice, or in a third spelling.
        """
        head = read_object(body, self._spelt, cased=False) if whole else read_members(body, self._spelt)
        found: Head = {}
        for spelt, json_text in head.items():
            name = self._own.get(spelt)
            if name is None and (meant := self._loose.get(_loosely(spelt))) is not None:
                raise BadRequest(f"Unknown field {spelt!r}: it is spelt {meant!r}.", param=meant)
            if name is not None and name in found:
                raise BadRequest(f"The field {name!r} stands in the request twice.", param=name)
            found[name or spelt] = json_text
        return found


def _loosely(name: str) -> str:
    return name.replace("_", "").casefold()


def each(json_text: msgspec.Raw, where: str) -> list[msgspec.Raw]:
    """The elements of a list; the API takes a lone object for a list of one, and null for none.

    Raises:
        BadRequest: It is neither, or has too many elements; the message names it.
    """
    if not given(json_text):
        return []
    if is_object(json_text):
        return [json_text]
    if not is_list(json_text):
        raise BadRequest(f"{where!r} must be a list.", param=where)
    try:
        found = _LIST.decode(json_text)
    except UNREADABLE:
        raise BadRequest(f"{where!r} cannot be read.", param=where) from None
    if len(found) > ELEMENTS_MAX:
        raise BadRequest(f"{where!r} holds more than {ELEMENTS_MAX} elements.", param=where)
    return found
