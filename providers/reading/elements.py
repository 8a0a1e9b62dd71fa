"""A list inside a request, as objects of one kind: at once where it is short, else one by one.

Promises: of a long list there is never more than one object in memory; it may be a hundred times its text.
Knows nothing of what the objects mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import msgspec

from providers.ground.errors import BadRequest

Element = TypeVar("Element")

_LONG_BYTES = 256 << 10
_JSON_TEXTS = msgspec.json.Decoder(list[msgspec.Raw])


class Elements(Generic[Element]):
    """Reads lists of one kind of object."""

    __slots__ = ("_all", "_one")

    def __init__(self, one: msgspec.json.Decoder[Element], every: msgspec.json.Decoder[list[Element]]) -> None:
        self._one = one
        self._all = every

    def read(self, json_text: msgspec.Raw, where: str) -> Iterable[Element]:
        """A list's objects.

        Raises:
            BadRequest: It is no list of objects; the message names the element. Of a long list, also while it is read.
        """
        try:
            if len(json_text) > _LONG_BYTES:
                return self._one_by_one(_JSON_TEXTS.decode(json_text), where)
            return self._all.decode(json_text)
        except msgspec.ValidationError as error:
            raise BadRequest(f"{where!r} is not what it should be: {error}.", param=where) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRequest(f"{where!r} cannot be read.", param=where) from None

    def _one_by_one(self, json_texts: list[msgspec.Raw], where: str) -> Iterator[Element]:
        for at, json_text in enumerate(json_texts):
            try:
                yield self._one.decode(json_text)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise BadRequest(f"'{where}[{at}]' cannot be read.", param=where) from None
