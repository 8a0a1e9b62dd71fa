"""Objects that a provider keeps between calls (files, stored answers, batches, voices): where requests name them and
answers make them.

Promises: every place in a body where a listed member stands is found, however it is spelt and however often it stands,
so no reference slips through; an answer's new ids are found before its bytes have to be passed on. Knows nothing
of who owns what. Pure. How a row of `providers.operations` uses this is said in `ledger.objects`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from providers.contract.shapes import Reference
from providers.ground.errors import BadRequest
from providers.reading.doubles import skeleton
from providers.reading.json_text import UNREADABLE
from providers.reading.sse import Event, Scanner

REFERENCES_MAX = 500  # of one request: OpenAI takes 500 files in one message, nobody more


class Makes(msgspec.Struct, frozen=True, kw_only=True):
    """An object that an operation's answer makes.

    Attributes:
        kind: "file", "response", ….
        at: Where its id stands in the JSON answer: "id", "voice.voice_id", "output[].id".
        header: Or the answer's header that is its id.
        streamed: Where it stands in the events of a streamed answer.
        label: Where the text stands by which lists can be narrowed.
        facts: Where small facts worth keeping stand, by the name under which they are kept.
        keep_s: How long the provider keeps it, in seconds; None for ever.
        when, unless: Regular expressions: it is made only if the request's body has the one and not the other. A
            body that fools them makes an object that is nobody's.
    """

    kind: str
    at: str = ""
    header: str = ""
    streamed: tuple[str, ...] = ()
    label: str = ""
    facts: Mapping[str, str] = MappingProxyType({})
    keep_s: int | None = None
    when: str = ""
    unless: str = ""

    def by(self, body: bytes) -> bool:
        """Whether this request makes it."""
        return not (self.when and not re.search(self.when.encode(), body)) and not (
            self.unless and re.search(self.unless.encode(), body)
        )


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """An object that an answer has made."""

    kind: str
    id: str
    label: str = ""
    facts: dict[str, Any] = {}
    keep_s: int | None = None


class Refers(msgspec.Struct, frozen=True, kw_only=True):
    """What a body's member refers to: the text that is its value, or those of a list, or the `id` of an object.

    Attributes:
        kind: "file", "response", ….
        pattern: The id within the text, as a regular expression's first group; a text that it does not match refers to
            no object of the provider's. "" where the whole text is the id.
        status, code: Of the vendor's own answer to an id that it does not know.
    """

    kind: str
    pattern: str = ""
    status: int = 404
    code: str = "not_found"


_MISSING: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("openai", "file"): "No such File object: {id}",
        ("openai", "response"): "Response with id '{id}' not found.",
        ("openai", "conversation"): "Conversation with id '{id}' not found.",
        ("openai", "batch"): "No batch found with id '{id}'.",
        ("openai", "item"): "Item with id '{id}' not found.",
        ("anthropic", "file"): "File not found: {id}",
        ("mistral", "file"): "No file matches the given query.",
    }
)


def missing(provider: str, kind: str, id_: str) -> str:
    """What a provider says of an id that it does not know. Source: [K], from what its users report."""
    return _MISSING.get((provider, kind), "Not found.").format(id=id_)


# A member's name is followed by a colon, and inside a string a quote has a backslash before it: so a quoted name with a
# colon behind it is a member and nothing else.
# An escape of a letter or another sign from 0x40 on, which nobody needs; not behind an escaped backslash.
_ESCAPED = re.compile(rb"\\u00[4-7]")
_ESCAPE = re.compile(rb"(?<!\\)((?:\\\\)*+)\\u00(?!5[cC]|7[fF])([4-7][0-9a-fA-F])")
_TOKEN = re.compile(rb'"((?:[^"\\]++|\\.)*+)"(\s*:)?|[{}\[\]]', re.DOTALL)
_TEXT = msgspec.json.Decoder(str)
_MEMBERS_MAX = 5_000  # listed members in one body, tools' schemas and arguments included
_VALUE_BYTES_MAX = 32 << 10  # of one that is a list or an object; all of them together are no longer than the body
_LONG_BYTES = 256 << 10
_TREE_BYTES_MAX = 1 << 20  # decoded at once


def unescaped(body: bytes) -> bytes:
    """The body with every escape undone that a member's name could have: `\\u0066ile_id` is `file_id`."""
    if body.find(b"\\") < 0 or _ESCAPED.search(body) is None:
        return body
    made = bytearray()
    at = 0
    for found in _ESCAPE.finditer(body):
        made += body[at : found.start()]
        made += found[1] + bytes.fromhex(found[2].decode())
        at = found.end()
    return bytes(made + body[at:]) if at else body


def _searchable(body: bytes) -> bytes:
    return unescaped(skeleton(body) if len(body) > _LONG_BYTES else body)


class References:
    """Finds what the bodies of one operation refer to."""

    def __init__(self, names: Mapping[str, Refers]) -> None:
        self._names = {name.lower(): (name, refers) for name, refers in names.items()}
        quoted = [b'"%b"' % name.encode() for name in self._names]
        # Some parsers ignore the case of names.
        self._quick = re.compile(rb'"(?:%b)"' % b"|".join(map(re.escape, map(str.encode, self._names))), re.IGNORECASE)
        self._member = re.compile(rb"(?<!\\)(%b)\s*:\s*" % b"|".join(map(re.escape, quoted)))
        self._within = {name: re.compile(refers.pattern) for name, refers in names.items() if refers.pattern}

    def __bool__(self) -> bool:
        return bool(self._names)

    def find(self, body: bytes) -> list[Reference]:
        """Every place where a listed member stands, at any depth; perhaps some that only look like one.

        Raises:
            BadRequest: There are more than anybody needs.
        """
        return self._find(_searchable(body), long=len(body) > _LONG_BYTES)[0]

    def certain(self, body: bytes) -> list[Reference]:
        """As `find`, without what the provider takes for no reference: a tool's schema or arguments. Slower.

        Where a member stands twice in one object, nobody knows which counts: then all that `find` finds is certain.
        """
        text = _searchable(body)
        possible, members = self._find(text, long=len(body) > _LONG_BYTES)
        seen: list[tuple[Reference | None, bool]] = []
        try:
            for value in _trees(text):
                self._walk(value, seen, opaque=False)
        except UNREADABLE:
            return possible
        if sum(1 for _, member in seen if member) != members:
            return possible
        return list(dict.fromkeys(reference for reference, _ in seen if reference is not None))

    def _find(self, body: bytes, *, long: bool) -> tuple[list[Reference], int]:
        """What may be references, and how many members were seen."""
        if self._quick.search(body) is None:
            return [], 0  # nearly always
        low = body.lower()
        found: list[Reference] = []
        members = 0
        room = len(body) + _VALUE_BYTES_MAX  # values within values are read again; but not often
        for match in self._member.finditer(low):
            name, refers = self._names[match[1].decode().strip('"')]
            members += 1
            texts, end = _texts(body, match.end(), name, min(room, _VALUE_BYTES_MAX))
            room -= end - match.end()
            for text in texts:
                if long and text.startswith("\0"):  # see `skeleton`
                    raise BadRequest(f"{name!r} is too long.", param=name)
                if (id_ := self._id(name, text)) is not None:
                    found.append(Reference(name, refers.kind, id_))
            if len(found) > REFERENCES_MAX or members > _MEMBERS_MAX:
                raise BadRequest(f"The request refers to more than {REFERENCES_MAX} objects.", param=name)
        return list(dict.fromkeys(found)), members

    def _walk(self, value: Any, seen: list[tuple[Reference | None, bool]], *, opaque: bool) -> None:
        if isinstance(value, list):
            for each in value:
                self._walk(each, seen, opaque=opaque)
        elif isinstance(value, dict):
            kind = value.get("type")
            arguments = isinstance(kind, str) and kind.endswith("tool_use")
            for name, inner in value.items():
                known = self._names.get(name.lower())
                if known is not None:
                    seen.append((None, True))
                    if not opaque:
                        seen += ((reference, False) for reference in self._said(known, inner))
                hidden = opaque or name in _OPAQUE or (arguments and name == "input")
                self._walk(inner, seen, opaque=hidden)

    def _said(self, known: tuple[str, Refers], value: Any) -> Iterator[Reference]:
        for each in value if isinstance(value, list) else [value]:
            text = each.get("id") if isinstance(each, dict) else each
            if isinstance(text, str) and (id_ := self._id(known[0], text)) is not None:
                yield Reference(known[0], known[1].kind, id_)

    def _id(self, name: str, text: str) -> str | None:
        pattern = self._within.get(name)
        if pattern is None:
            return text or None
        match = pattern.search(text)
        return match[1] if match is not None else None


def _trees(body: bytes) -> Iterator[Any]:
    """A body as one tree; a long one as several, each of one member with as much of a list in it as is short."""
    if len(body) <= _TREE_BYTES_MAX:
        yield msgspec.json.decode(body)
        return
    for name, json_text in _HEAD.decode(body).items():
        if len(json_text) <= _TREE_BYTES_MAX or memoryview(json_text)[0] != 0x5B:
            yield {name: msgspec.json.decode(json_text)}
            continue
        for each in _LIST.decode(json_text):
            yield {name: [msgspec.json.decode(each)]}


_HEAD: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_OPAQUE = frozenset({"parameters", "input_schema", "schema", "json_schema", "arguments", "metadata"})


def _texts(body: bytes, at: int, name: str, most_bytes: int) -> tuple[list[str], int]:
    """The text that begins here, or the texts of a list, or the `id`s of an object; and where it ends."""
    opened = body[at : at + 1]
    if opened == b'"':
        token = _TOKEN.match(body, at)
        return ([_decoded(token[0])], at) if token is not None else ([], at)
    if opened not in (b"{", b"["):
        return [], at
    found: list[str] = []
    depth = 0
    is_id = False
    end = at
    for token in _TOKEN.finditer(body, at):
        end = token.end()
        if end - at > most_bytes:
            raise BadRequest(f"{name!r} is too long.", param=name)
        kind = token[0][:1]
        if kind in (b"{", b"["):
            depth += 1
        elif kind in (b"}", b"]"):
            depth -= 1
            if not depth:
                break
        elif token[2] is not None:
            is_id = token[1].lower() == b"id"
        else:
            if opened == b"[" or is_id:
                found.append(_decoded(token[0]))
            is_id = False
    return found, end


def _decoded(text: bytes) -> str:
    try:
        return _TEXT.decode(text)
    except UNREADABLE:
        return ""


def made_in_head(makes: Sequence[Makes], headers: Mapping[str, str]) -> list[Made]:
    """What an answer has made, as far as its headers say."""
    named = [(each, headers.get(each.header, "")) for each in makes if each.header]
    return [Made(kind=each.kind, id=id_, keep_s=each.keep_s) for each, id_ in named if id_]


def made_in_body(makes: Sequence[Makes], body: bytes) -> list[Made]:
    """What a JSON answer has made."""
    try:
        return _made(makes, msgspec.json.decode(body))
    except UNREADABLE:
        return []


def _made(makes: Sequence[Makes], answer: Any, *, streamed: bool = False) -> list[Made]:
    found: list[Made] = []
    for each in makes:
        for place in each.streamed if streamed else (each.at,) if each.at else ():
            for id_ in _at(answer, place):
                if isinstance(id_, str) and id_:
                    label = next((text for text in _at(answer, each.label) if isinstance(text, str)), "")
                    facts = {name: value for name, where in each.facts.items() for value in _at(answer, where)}
                    found.append(Made(kind=each.kind, id=id_, label=label, facts=facts, keep_s=each.keep_s))
    return found


def _at(answer: Any, place: str) -> Iterator[Any]:
    """The values at a dotted place; `[]` behind a name stands for every element of its list."""
    if not place:
        return
    values = [answer]
    for step in place.split("."):
        name = step.removesuffix("[]")
        values = [value[name] for value in values if isinstance(value, dict) and name in value]
        if name != step:
            values = [each for value in values if isinstance(value, list) for each in value]
    yield from values


class StreamMakes:
    """Finds in a stream of events what it makes, and keeps an event back until it is whole.

    The first event that names an object may come in pieces; its beginning alone could tell the client the id.
    """

    __slots__ = ("_makes", "_scanner", "_seen")

    def __init__(self, makes: Sequence[Makes]) -> None:
        self._makes = makes
        self._scanner = Scanner()
        self._seen: set[tuple[str, str]] = set()

    def feed(self, chunk: bytes) -> tuple[bytes, list[Made]]:
        """The bytes that may go on now, once what is listed with them is written down."""
        events = self._scanner.feed(chunk)
        return b"".join([event.raw for event in events]), [each for event in events for each in self._of(event)]

    def flush(self) -> tuple[bytes, list[Made]]:
        """What was kept back at the end of the answer."""
        rest = self._scanner.flush()
        return (b"", []) if rest is None else (rest.raw, self._of(rest))

    def _of(self, event: Event) -> list[Made]:
        if event.oversize or b'"id"' not in event.raw:
            return []
        try:
            answer = msgspec.json.decode(event.data())
        except UNREADABLE:
            return []
        new = [each for each in _made(self._makes, answer, streamed=True) if (each.kind, each.id) not in self._seen]
        self._seen.update((each.kind, each.id) for each in new)
        return new
