"""JSON that two parsers could read differently: a member stands twice, or is spelt like one of ours but for the case.

Promises: such a value is refused, at whatever depth; it is read in linear time and in little memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from providers.ground.errors import BadRequest
from providers.ground.names import words

# Braces, brackets, colons and commas in one body, but for those in strings: each may become an object of ours, some 50
# to 200 bytes. A text with more of them is longer than any model's window.
_MOST = {b"{": 250_000, b"[": 250_000, b":": 500_000, b",": 1_000_000}
_STRINGS_MAX = 1_500_000
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_LARGE_BYTES = 256 << 10
_TEXT = msgspec.json.Decoder(str)
# A name spelt with escapes ("\u006dodel") is the same name to the provider; only these can stand in one of ours.
_ESCAPED_LETTER = re.compile(rb"\\u00(?:5[fF]|[46][1-9a-fA-F]|[57][0-9aA])")
# Strings are taken whole; possessive, so that hostile text costs linear time.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\],:]', re.DOTALL)
_FLAT = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)  # up to the next brace or bracket
_ANY = msgspec.json.Decoder()
_COMPACT = msgspec.json.Encoder()
# What is left of a body shows whether any name has a capital, or a letter that some parsers take for one of ASCII's.
_CAPITALS = bytes(byte for byte in range(128) if not (65 <= byte <= 90 or byte in b'":\\'))
_CAPITAL_NAME = re.compile(rb'[A-Z\x80-\xff]":')
_PIECE_BYTES = 256 << 10  # decoded at once; a tree can be forty times its text
_PIECES_DEEP = 24  # levels that are each longer than a piece: content has some six
_NAMES = words(
    """
    annotations arguments audio cache_control citations container content custom data definition detail documents
    effort encrypted_content environment file file_data file_id file_ids file_url filename format function functions
    id image image_file image_url images include_usage input input_audio input_image input_text json_schema
    max_num_results max_tokens max_uses media_type message messages mode model name options output parameters parts
    prompt reasoning refusal result results role schema server_label server_url size source speed stream strict
    summary system text thinking tier title tool tool_call_id tool_calls tool_choice tool_use_id tools ttl type url
    urls vector_store_ids video
    """
)
"""Members that decide about the cost somewhere inside a request: another case of these is refused."""
_FREE_FORM = words(
    "args arguments documents env headers input_schema json_schema labels logit_bias metadata parameters properties "
    "response schema variables"
)
"""Members whose content is the client's own business, names included."""


# Everything up to a string of more than some thousand bytes.
_SHORT_STRINGS = re.compile(
    rb'(?:[^"]++|"[^"\\]{0,1000}+(?:\\.[^"\\]{0,1000}+){0,100}+")*+',
    re.DOTALL,
)


def refuse_crowds(body: bytes) -> None:
    """Refuse a body of so many objects, lists, members or elements that reading it would take too much memory.

    Raises:
        BadRequest: As said.
    """
    if len(body) <= _LARGE_BYTES:
        return
    counts = {sign: body.count(sign) for sign in _MOST}
    crowds = [sign for sign in _MOST if counts[sign] > _MOST[sign]]
    if not crowds:
        return
    for number, string in enumerate(_STRING.finditer(body)):
        if number > _STRINGS_MAX:
            break
        for sign in crowds:
            counts[sign] -= string[0].count(sign)
    if any(counts[sign] > _MOST[sign] for sign in crowds):
        raise BadRequest(
            "The request body holds more than 250000 objects or lists, 500000 members or 1000000 elements."
        )


def refuse_doubles(body: bytes, *, cased: bool = True) -> None:
    """Refuse a JSON value in which a member stands twice, at any depth, or one of `_NAMES` in another case.

    Parsers differ in which of two they take, and some ignore case. What is free form may have names in any case.

    Raises:
        BadRequest: As said; or it is no JSON, or nested too deep.
    """
    if len(body) > _PIECE_BYTES:
        body = skeleton(body)
    if len(body) > _PIECE_BYTES:
        _in_pieces(memoryview(body.strip()), 0, cased=cased)
    else:
        _at_once(body, cased=cased)


def skeleton(body: bytes) -> bytes:
    """A valid JSON value with short texts in place of long ones: pictures and documents say nothing of members.

    Those begin with a zero, which is in nobody's text, and no two of them are equal.
    """
    view = memoryview(body)
    kept: list[bytes | memoryview] = []
    at = 0
    while at < len(body):
        end = _SHORT_STRINGS.match(body, at).end()  # type: ignore[union-attr]  # it matches the empty text too
        close = body.find(b'"', end + 1)
        if body[end : end + 1] != b'"' or close < 0:
            break
        if body.find(b"\\", end + 1, close) >= 0:  # it may go on: sound and pictures have no escapes
            long = _STRING.match(body, end)
            if long is None:
                break
            close = long.end() - 1
        kept += view[at:end], b'"\\u0000%d"' % end
        at = close + 1
    return b"".join((*kept, view[at:])) if kept else body


def _at_once(body: bytes, *, cased: bool) -> None:
    capitals = cased and _has_capitals(body)
    try:
        # If the tree says all that the body says, nothing was dropped: so it is with compact JSON, as SDKs send it.
        if not capitals and _COMPACT.encode(_ANY.decode(body)) == body:
            return
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # as of a lone surrogate: it is not for us to judge
    except RecursionError:
        raise too_deep() from None
    try:
        tree = _ONCE.decode(body.decode("utf-8", "surrogatepass"))
    except RecursionError:
        raise too_deep() from None
    except ValueError:
        raise BadRequest("The request body is not valid JSON.") from None
    if capitals:
        _refuse_strange_cases(tree)


def _has_capitals(body: bytes) -> bool:
    if _CAPITAL_NAME.search(body.translate(None, _CAPITALS)) is not None:
        return True
    return body.find(b"\\u00") >= 0 and _ESCAPED_LETTER.search(body) is not None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        seen: set[str] = set()
        raise _twice(next(name for name, _ in pairs if name in seen or seen.add(name)))  # type: ignore[func-returns-value]
    return tree


_ONCE = json.JSONDecoder(object_pairs_hook=_once)


def _refuse_strange_cases(tree: Any) -> None:
    left = [tree]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            for name, inner in value.items():
                _refuse_strange_case(name)
                # What a model said to a tool, and a document's own fields, are free as well.
                if name not in _FREE_FORM and not (name in ("input", "data") and isinstance(inner, dict)):
                    left.append(inner)


def _refuse_strange_case(name: str) -> None:
    if name not in _NAMES and name.casefold() in _NAMES:
        raise BadRequest(f"Unknown field {name!r}: it is spelt {name.casefold()!r}.", param=name.casefold())


def _in_pieces(value: memoryview, depth: int, *, cased: bool) -> None:
    """The same for a long value, of which never more than a piece is decoded at a time."""
    if value[0] not in b"[{":
        return
    if depth > _PIECES_DEEP:
        raise too_deep()
    parts = _elements(value, cased=cased) if value[0] == 0x5B else _values(value, cased=cased)
    pieces: dict[bool, list[memoryview]] = {True: [], False: []}
    sizes = {True: 0, False: 0}
    for part, part_cased in parts:
        if len(part) > _PIECE_BYTES:
            _in_pieces(part, depth + 1, cased=part_cased)
            continue
        pieces[part_cased].append(part)
        sizes[part_cased] += len(part)
        if sizes[part_cased] > _PIECE_BYTES:
            _at_once(b"[%b]" % b",".join(pieces[part_cased]), cased=part_cased)
            pieces[part_cased], sizes[part_cased] = [], 0
    for part_cased, piece in pieces.items():
        _at_once(b"[%b]" % b",".join(piece), cased=part_cased)


def _elements(value: memoryview, *, cased: bool) -> Iterator[tuple[memoryview, bool]]:
    """The lists and objects that are elements of a list."""
    at, depth, start = 1, 1, 0
    while depth:
        at = _FLAT.match(value, at).end()  # type: ignore[union-attr]  # it matches the empty text too
        if value[at] in b"{[":
            start = at if depth == 1 else start
            depth += 1
        else:
            depth -= 1
            if depth == 1:
                yield value[start : at + 1], cased
        at += 1


def _values(value: memoryview, *, cased: bool) -> Iterator[tuple[memoryview, bool]]:
    """The lists and objects that are members of an object, none of which stands twice; those in free form not cased."""
    seen: set[str] = set()
    for key, begin, end in places(value, 1):
        start = begin
        name = _TEXT.decode(value[key[0] : key[1]])
        if name in seen:
            raise _twice(name)
        seen.add(name)
        if cased:
            _refuse_strange_case(name)
        while value[start] in b" \t\r\n":
            start += 1
        if value[start] in b"[{":
            free = name in _FREE_FORM or (name in ("input", "data") and value[start] == 0x7B)
            yield value[start:end], cased and not free


def _twice(name: str) -> BadRequest:
    return BadRequest(f"The field {name!r} stands in the request twice.", param=name)


def too_deep() -> BadRequest:
    """For JSON that nobody could read without an end."""
    return BadRequest("The request body is nested too deep.")


def places(body: bytes | memoryview, at: int) -> Iterator[tuple[tuple[int, int], int, int]]:
    """For each member of an object whose content begins at `at`: where its name, its value and the value's end are."""
    depth = 1
    value = 0
    key: tuple[int, int] | None = None
    while depth:
        if depth > 1:
            at = _FLAT.match(body, at).end()  # type: ignore[union-attr]  # it matches the empty text too
            depth += 1 if body[at] in b"{[" else -1
            at += 1
            continue
        token = _TOKEN.search(body, at)
        if token is None:
            break
        start, at = token.span()
        kind = body[start]
        if kind == 0x22:  # "
            key = key or (start, at)
        elif kind in b"{[":
            depth += 1
        elif kind == 0x3A:  # :
            value = at
        else:  # a comma between members, or the end of the object
            if key is not None:
                yield key, value, start
                key = None
            depth -= kind != 0x2C
