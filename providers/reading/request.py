"""A request body as one JSON object: its top-level members, read without building their content, and edited in place.

Promises: a member that the provider could read differently from us is refused: one that stands twice, at whatever
depth, and one that is spelt like one of ours but for the case; a body is read in linear time and, beside itself, in
little memory; an edit changes the bytes it must and no other. Knows nothing of what members mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated

import msgspec

from providers.ground.errors import BadRequest
from providers.reading.doubles import places, refuse_crowds, refuse_doubles, too_deep

Head = dict[str, msgspec.Raw]
"""Top-level members by name, each still as its own JSON text."""

MODELS_MAX = 20
"""Most models that a request may list to be tried."""

TOKENS_MAX = (1 << 31) - 1
"""Largest count that a request may declare: what every provider's own integers hold."""

_HEAD = msgspec.json.Decoder(Head)
_TEXT = msgspec.json.Decoder(str)
_OPTIONAL_TEXT: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)
_INTEGER = msgspec.json.Decoder(int)
_NUMBER = re.compile(rb'(")?(-?[0-9]{1,19}(?:\.[0-9]{1,19})?(?:[eE][+-]?[0-9]{1,2})?)(?(1)")')


class Member(msgspec.Struct, frozen=True):
    """Where one member stands: its name, quoted, from `key` to `key_end`; its value from `value` to `value_end`."""

    name: str
    key: int
    key_end: int
    value: int
    value_end: int


def read_object(body: bytes, own: frozenset[str], *, cased: bool = True) -> Head:
    """Top-level members of a request body.

    Args:
        body: The whole body.
        own: Names of the members that the cost depends on; refused in another case.
        cased: Members inside are refused in another case, too. Not where a vendor's own names have capitals.

    Raises:
        BadRequest: Not a JSON object, nested too deep or too large to be read, or it can be read in two ways.
    """
    head = read_members(body, own)
    refuse_doubles(body, cased=cased)
    return head


def read_members(body: bytes, own: frozenset[str]) -> Head:
    """The same of an object inside a request, what is inside of it left aside. Raises BadRequest."""
    refuse_crowds(body)
    try:
        head = _HEAD.decode(body)
    except msgspec.ValidationError:
        raise BadRequest("The request body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}") from None
    except RecursionError:
        raise too_deep() from None
    for name in head.keys() - own:
        if name.casefold() in own:  # not `lower`: some parsers take the long s for an s
            raise BadRequest(f"Unknown field {name!r}: names are in lower case.", param=name.casefold())
    return head


class _Named(msgspec.Struct):
    model: str = ""


_NAMED = msgspec.json.Decoder(_Named)


def model_of(body: bytes) -> str:
    """The model that a JSON body names, for choosing who is to read it; "" where that cannot be told."""
    try:
        return _NAMED.decode(body).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


class _Models(msgspec.Struct):
    models: Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1)], ...], msgspec.Meta(max_length=MODELS_MAX)] = ()
    model: str = ""


_MODELS = msgspec.json.Decoder(_Models)


def models_of(body: bytes) -> tuple[str, ...]:
    """The models that a JSON body lists to be tried, `model` before them; none where it has no such list.

    Raises:
        BadRequest: Its `models` is no list of some names.
    """
    try:
        found = _MODELS.decode(body)
    except msgspec.ValidationError:
        message = f"'models' must be a list of at most {MODELS_MAX} names of models, to be tried in their order."
        raise BadRequest(message, param="models") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return tuple(dict.fromkeys((found.model, *found.models) if found.model else found.models)) if found.models else ()


def with_model(body: bytes, model: str) -> bytes:
    """The body with this model, and without a list of `models`. Nothing else changes.

    Raises:
        BadRequest: It is no JSON object, or names its model twice.
    """
    read_members(body, frozenset(("model", "models")))
    found = members(body)
    if sum(each.name == "model" for each in found) > 1 or sum(each.name == "models" for each in found) > 1:
        raise BadRequest("The request names its model twice.", param="model")
    text = msgspec.json.encode(model)
    edits = [(each.value, each.value_end, text) for each in found if each.name == "model"]
    for number, each in enumerate(found):
        if each.name == "models" and number:  # with the comma before it
            edits.append((body.rindex(b",", found[number - 1].value_end, each.key), each.value_end, b""))
        elif each.name == "models":
            edits.append((each.key, found[1].key if len(found) > 1 else each.value_end, b""))
    edited = replaced(body, edits)
    if any(each.name == "model" for each in found):
        return edited
    return with_member(edited, b'"model":' + text, empty=not [each for each in found if each.name != "models"])


def members(body: bytes) -> list[Member]:
    """Every member of a valid JSON object, in order, doubles included. Linear, but slower than `read_object`."""
    return [_member(body, key, value, end) for key, value, end in places(body, body.index(b"{") + 1)]


def _member(body: bytes, key: tuple[int, int], value: int, end: int) -> Member:
    text = body[value:end]
    return Member(
        name=_TEXT.decode(body[key[0] : key[1]]),
        key=key[0],
        key_end=key[1],
        value=end - len(text.lstrip(b" \t\r\n")),
        value_end=value + len(text.rstrip(b" \t\r\n")),
    )


def replaced(body: bytes, edits: Iterable[tuple[int, int, bytes]]) -> bytes:
    """The body with each `(start, end, new)` in place of its bytes from start to end. Edits do not overlap."""
    pieces: list[bytes] = []
    at = 0
    for start, end, new in sorted(edits):
        pieces += (body[at:start], new)
        at = end
    pieces.append(body[at:])
    return b"".join(pieces)


def with_count(body: bytes, names: tuple[str, ...], count: int) -> bytes:
    """The body with every declared member of these names lowered to `count`; with the first added if none is.

    A null declares nothing. Nothing else changes.
    """
    found = members(body)
    declared = [m for m in found if m.name in names and body[m.value : m.value_end] != b"null"]
    number = b"%d" % count
    if declared:
        above = (m for m in declared if (integer(body[m.value : m.value_end]) or 0) > count)
        return replaced(body, ((m.value, m.value_end, number) for m in above))
    for member in found:
        if member.name == names[0]:
            return replaced(body, ((member.value, member.value_end, number),))
    return with_member(body, b'"%b":%b' % (names[0].encode(), number), empty=not found)


def with_member(body: bytes, member: bytes, *, empty: bool) -> bytes:
    """The JSON object with one more member in front. `empty` says that it has none so far."""
    start = body.index(b"{") + 1
    return body[:start] + member + (b"" if empty else b",") + body[start:]


def integer(text: bytes) -> int | None:
    """An integer as ProtoJSON may write it: `1024`, `"1024"`, `1024.0`, `1.024e3`; None for everything else."""
    if text.isdigit():
        return int(text) if len(text) < 20 else None
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    value = Decimal(found[2].decode())
    return int(value) if value == value.to_integral_value() and abs(value) < 1 << 63 else None


def text_field(head: Head, name: str, *, required: bool = False) -> str:
    """A string member; "" where it is absent or null.

    Raises:
        BadRequest: It is no string, or it is required and absent, null or empty.
    """
    json_text = head.get(name)
    text = ""
    if json_text is not None:
        try:
            text = _OPTIONAL_TEXT.decode(json_text) or ""
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise BadRequest(f"{name!r} must be a string.", param=name) from None
    if required and not text:
        raise BadRequest(f"{name!r} is required.", param=name)
    return text


def flag_field(head: Head, name: str) -> bool:
    """A boolean member; False where it is absent or null.

    Raises:
        BadRequest: It is neither true, false nor null.
    """
    json_text = head.get(name)
    if json_text is None:
        return False
    text = bytes(json_text)
    if text == b"true":
        return True
    if text in (b"false", b"null"):
        return False
    raise BadRequest(f"{name!r} must be true or false.", param=name)


def count_field(head: Head, name: str, *, least: int, most: int = TOKENS_MAX, loosely: bool = False) -> int | None:
    """An integer member within bounds; None where it is absent or null. `loosely` takes it as ProtoJSON writes it.

    Raises:
        BadRequest: It is no integer, or out of bounds.
    """
    json_text = head.get(name)
    if json_text is None:
        return None
    text = bytes(json_text)
    if text == b"null":
        return None
    try:
        count = integer(text) if loosely else _INTEGER.decode(text) if text.lstrip(b"-").isdigit() else None
    except msgspec.DecodeError:
        count = None
    if count is None or not least <= count <= most:
        raise BadRequest(f"{name!r} must be an integer from {least} to {most}.", param=name)
    return count


def said_bytes(body: bytes, head: Head, names: Iterable[str]) -> int:
    """How many bytes of the body say these members: names, values, punctuation, and the spaces that its writer puts."""
    total = 0
    for name in names:
        if name in head:
            at = body.find(b'"%b"' % name.encode()) + len(name) + 2
            spaces = 2 if body[at : at + 2] == b": " else 0
            total += len(name) + len(head[name]) + len('"":,') + spaces
    return total


def present(head: Head, name: str) -> bool:
    """Whether a member asks for anything: it is there, and neither null, false, nor without content.

    An empty object does ask: `"web_search_options": {}` switches web search on.
    """
    json_text = head.get(name)
    return json_text is not None and bytes(json_text) not in (b"null", b"false", b'""', b"[]")
