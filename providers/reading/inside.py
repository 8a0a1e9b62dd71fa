"""What may stand inside of a request: tables of its objects, at whatever depth, and the look that they are held up to.

A request's own fields have their tables in `contract.fields`. Inside of those, every object has one here: the messages
of a chat, their parts, what these hold. What a table lists costs its own bytes, which are held for, or is measured by
the shape's `input`, or takes the model's whole window; what it does not list may do anything, and what it refuses
cannot be held for. Only a cap that must hold looks (`Asked.sound`): nobody else pays for it.

Promises: one pass over the request's text, in time linear in it; the first object that is not as a table says is told
with its place. Knows no vendor: each family has its tables in its `parts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from providers.contract.fields import Fields
from providers.ground.errors import BadRequest
from providers.reading.json_text import UNREADABLE
from providers.reading.request import Head

_DEPTH_MAX = 40  # objects and lists within each other, as far as tables go: what is free is not looked into
_OBJECT = 0x7B  # {
_NESTED = (_OBJECT, 0x5B)  # [
_HEAD = msgspec.json.Decoder(Head)
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)
_WORD = re.compile(r"[^\s{}]+|[{}]")
_ESCAPED = re.compile(rb"\\u00[4-7]")  # a letter that need not be: no mark is found by its bytes then
_NEITHER = "\0"  # a kind that no table can list
_UNREAD = "…"  # too deep, or no JSON
_NONE: Mapping[str, str] = MappingProxyType({})


class NotHeld(BadRequest):
    """Something that a table lists as what cannot be held for."""


class Table(Protocol):
    """A table of objects."""

    def find(self, json_text: msgspec.Raw, why: list[str], depth: int = 0) -> str:
        """The place of the first thing that it does not take, from where the value stands: `[2].type`; "" = none.

        `why` gets the reason where one is said. What is neither object nor list is one value, and costs its bytes.
        """
        ...


class Inside:
    """One kind of object.

    Args:
        text: Names of its members. `name{…}` is an object or a list of such, with these members; `name{*}` may hold
            anything; `*` alone says so of all. A name without braces is a value, or a list of values; of `name=a|b` the
            value says one of these.
        inside: Members that have a table of their own.
        names: Instead of the text's names: a table that lists them, or None where they are judged elsewhere.
        refused: Members that are refused, and why.
        spelt: How a name stands in the tables.
    """

    __slots__ = ("_spelt", "free", "inside", "names", "refused", "said")

    def __init__(
        self,
        text: str = "",
        *,
        inside: Mapping[str, Table] = MappingProxyType({}),
        names: Fields | None = None,
        every: bool = False,
        refused: Mapping[str, str] = _NONE,
        spelt: Callable[[str], str] = str,
    ) -> None:
        own, nested, free, self.said = _parsed(iter(_WORD.findall(text)), spelt)
        listed = frozenset[str]().union(*names.rows.values()) if names is not None else frozenset()
        self.names = None if every or "*" in own else frozenset(own) | listed | inside.keys() | refused.keys()
        self.inside: dict[str, Table] = {**nested, **inside}
        self.free = frozenset(free)
        self.refused = refused
        self._spelt = spelt

    @property
    def anything(self) -> bool:
        """Whether all of it is free."""
        return self.names is None and not self.inside

    @property
    def tables(self) -> dict[str, Table]:
        """Its members that may be objects, and the tables of these."""
        return {**self.inside, **dict.fromkeys(self.free, ANYTHING)}

    def find(self, json_text: msgspec.Raw, why: list[str], depth: int = 0) -> str:
        """See `Table`."""
        return "" if self.anything else _find(json_text, why, depth, self.members)

    def members(self, head: Head, why: list[str], depth: int = 0) -> str:
        """The same of an object whose members are read already."""
        for given, json_text in head.items():
            name = given if self._spelt is str else self._spelt(given)
            if self.names is not None and name not in self.names:
                return f".{name}"
            if name in self.refused:
                why.append(self.refused[name])
                return f".{name}"
            if name in self.said and _said(json_text) not in self.said[name]:
                return f".{name}"
            first = memoryview(json_text)[0]
            if first not in _NESTED or name in self.free:
                continue
            if found := self.inside.get(name, VALUE).find(json_text, why, depth + 1):
                return f".{name}{found}"
        return ""

    def look(self, head: Head) -> str:
        """The place of the first thing in a request that no table lists; "" where all does.

        Raises:
            NotHeld: It is listed as what cannot be held for; the message says why.
        """
        why: list[str] = []
        place = self.members(head, why).removeprefix(".")
        if why:
            message = f"{place!r} is not taken where the cap must hold: {why[0]}"
            raise BadRequest(message, param=place, code="unbounded_cost")
        return place


class Kinds:
    """Objects of several kinds, told apart by one of their members.

    Args:
        kinds: By what that member says, or several words that it may say: what else the object may hold. A
            space in front adds the object without that member.
        common: What each kind may hold besides.
        by: That member.
        inside: Members with a table of their own, in whatever kind.
        refused: Kinds that cannot be held for, and why.
    """

    __slots__ = ("_by", "kinds", "refused")

    def __init__(
        self,
        kinds: Mapping[str, str | Inside],
        *,
        common: str = "",
        by: str = "type",
        inside: Mapping[str, Table] = MappingProxyType({}),
        refused: Mapping[str, str] = _NONE,
    ) -> None:
        self._by = by
        self.refused = refused
        self.kinds: dict[str, Inside] = {}
        for words, text in kinds.items():
            table = text if isinstance(text, Inside) else Inside(f"{by} {common} {text}")
            if isinstance(text, str):
                table.inside |= {name: within for name, within in inside.items() if name in (table.names or ())}
            self.kinds |= dict.fromkeys(words.split(" "), table)

    def find(self, json_text: msgspec.Raw, why: list[str], depth: int = 0) -> str:
        """See `Table`."""
        return _find(json_text, why, depth, self._members)

    def _members(self, head: Head, why: list[str], depth: int) -> str:
        said = head.get(self._by)
        kind = "" if said is None else _said(said)
        table = self.kinds.get(kind)
        if table is None:
            if kind in self.refused:
                why.append(self.refused[kind])
            return f".{self._by}"
        return "" if table.anything else table.members(head, why, depth)


def _said(json_text: msgspec.Raw) -> str:
    """The text of a value; "" where it is null."""
    try:
        return _TEXT.decode(json_text) or ""
    except UNREADABLE:
        return _NEITHER


def _find(json_text: msgspec.Raw, why: list[str], depth: int, members: Callable[[Head, list[str], int], str]) -> str:
    """What `members` finds in an object, or in the first of a list that has something to find."""
    first = memoryview(json_text)[0]
    if first not in _NESTED:
        return ""
    if depth > _DEPTH_MAX:
        return _UNREAD
    try:
        if first == _OBJECT:
            return members(_HEAD.decode(json_text), why, depth)
        elements = _ELEMENTS.decode(json_text)
    except UNREADABLE:
        return _UNREAD
    for at, element in enumerate(elements):
        if found := _find(element, why, depth + 1, members):
            return f"[{at}]{found}"
    return ""


_Words = tuple[list[str], dict[str, "Table"], list[str], dict[str, frozenset[str]]]


def _parsed(words: Iterator[str], spelt: Callable[[str], str], *, nested_in: str = "") -> _Words:
    """(names, tables of those in braces, those that are free, what values say) up to the closing brace or the end."""
    names: list[str] = []
    nested: dict[str, Table] = {}
    free: list[str] = []
    said: dict[str, frozenset[str]] = {}
    for word in words:
        if word == "}":
            if not nested_in:
                raise ValueError("a brace too many")
            return names, nested, free, said
        if word != "{":
            name, _, values = word.partition("=")
            names.append(name)
            if values:
                said[name] = frozenset(values.split("|")) | {""}
            continue
        own, tables, inner_free, inner_said = _parsed(words, spelt, nested_in=names[-1])
        table = Inside(spelt=spelt)
        table.names, table.inside, table.free = frozenset(own), tables, frozenset(inner_free)
        table.said = inner_said
        if own == ["*"]:
            free.append(names[-1])
        else:
            nested[names[-1]] = table
    if nested_in:
        raise ValueError(f"no brace closes {nested_in}")
    return names, nested, free, said


ANYTHING = Inside("*")
"""What costs its bytes, whatever it is."""

VALUE = Inside()
"""A value, or a list of values: an object in their place has no member that it may have."""


def unlisted_in(fields: Fields, inside: Inside, head: Head, *, sound: bool) -> str:
    """The first of a request's fields that stands in no table, or, where a cap must hold, of what is inside of them.

    Raises:
        BadRequest: As `Inside.look` says.
    """
    return fields.unlisted(head) or (inside.look(head) if sound else "")


class Brought:
    """Tools that a conversation brings: of those that the provider runs nobody counts beforehand what they cost.

    Args:
        kinds: Of the objects that bring some.
        run: Kinds of the tools that the provider runs.
    """

    def __init__(self, kinds: str, run: Collection[str]) -> None:
        self._kinds = frozenset(kinds.split())
        self._run = frozenset(run)
        self._marks = tuple(f'"{kind}"'.encode() for kind in self._kinds)

    def find(self, body: bytes) -> str:
        """The kind of the first object that brings such a tool; "" where none does: nearly always."""
        if not any(mark in body for mark in self._marks) and not (b"\\u00" in body and _ESCAPED.search(body)):
            return ""
        left: list[tuple[Any, str]] = [(msgspec.json.decode(body), "")]
        while left:
            value, by = left.pop()
            if isinstance(value, dict):
                kind = value.get("type")
                if by and kind in self._run:
                    return by
                by = kind if isinstance(kind, str) and kind in self._kinds else by
                left += [(each, by) for each in value.values() if isinstance(each, dict | list)]
            else:
                left += [(each, by) for each in value if isinstance(each, dict | list)]
        return ""
