"""Outputs on their way into requests, and the outputs of nodes that call nobody. Pure.

Promises: what a specification says is never changed; a request is a copy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.api.workflow import Binding, Source, TransformInput, When
from gateway.pipelines.pointers import NoSuchPlace, find, pointer_of_path, put

Outputs = Mapping[str, Any]


class NotBound(Exception):
    """An output is not what a binding, a transform or an output of the run says of it."""


def bound(body: dict[str, Any], bindings: Sequence[Binding], outputs: Outputs) -> dict[str, Any]:
    """A request with what is bound into it, in the order of the bindings. Raises NotBound."""
    made: dict[str, Any] = json.loads(json.dumps(body))
    placed: dict[str, str] = {}
    for binding in bindings:
        value = taken(outputs, Source(from_=binding.from_, pointer=binding.pointer))
        if isinstance(binding.to_placeholder, str):
            plain = isinstance(value, str) and binding.encoding == "json"
            placed[f"{{{{{binding.to_placeholder}}}}}"] = value if plain else _text(value)
    if placed:  # first, and all at once: what is put in is nobody's placeholder
        made = _filled(made, placed)
    for binding in bindings:
        if isinstance(binding.to, str):
            value = taken(outputs, Source(from_=binding.from_, pointer=binding.pointer))
            value = _text(value) if binding.encoding == "json_string" else json.loads(json.dumps(value))
            try:
                put(made, binding.to, value)
            except NoSuchPlace as missing:
                raise NotBound(f"In the request, {missing}.") from None
    return made


def taken(outputs: Outputs, source: Source) -> Any:
    """What a source names. Raises NotBound."""
    try:
        return find(outputs[source.from_], source.pointer)
    except NoSuchPlace as missing:
        raise NotBound(f"In the output of {source.from_!r}, {missing}.") from None


def holds(when: When, output: Any) -> bool:
    """Whether a condition holds of an output. A number equals a number, and true is none."""
    try:
        found = find(output, pointer_of_path(when.path))
    except NoSuchPlace:
        return False
    return when.op == "exists" or _same(found, when.value)


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; it goes no further than the smaller of the two."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def weight(value: Any, most: int) -> int:
    """About how many bytes a value has as JSON; once that is more than `most`, any larger number.

    Outputs share what they are made of, so a few nodes could make a value that nobody has room for.
    """
    total, left = 0, [value]
    while left and total <= most:
        each = left.pop()
        if isinstance(each, str):
            total += len(each) + 2
        elif isinstance(each, dict):
            total += 2 + sum(len(name) + 4 for name in each)
            left += each.values()
        elif isinstance(each, list):
            total += 2 + len(each)
            left += each
        else:
            total += 8
    return total


def bound_bytes(body: dict[str, Any], bindings: Sequence[Binding], outputs: Outputs, most: int) -> int:
    """About how many bytes the bindings put into a request; once that is more than `most`, any larger number.

    Raises:
        NotBound: An output is not what a binding says of it.
    """
    total = 0
    request = json.dumps(body) if any(isinstance(each.to_placeholder, str) for each in bindings) else ""
    for each in bindings:
        value = taken(outputs, Source(from_=each.from_, pointer=each.pointer))
        times = request.count(f"{{{{{each.to_placeholder}}}}}") if isinstance(each.to_placeholder, str) else 1
        total += weight(value, most) * times
        if total > most:
            break
    return total


def transformed(said: TransformInput, outputs: Outputs) -> dict[str, Any]:
    """The output of a transform. Raises NotBound."""
    if isinstance(said.object, dict):
        return {name: taken(outputs, source) for name, source in said.object.items()}
    merged: dict[str, Any] = {}
    for source in said.merge or ():
        value = taken(outputs, source)
        if not isinstance(value, dict):
            raise NotBound(f"What is taken of {source.from_!r} is no object, so it cannot be merged.")
        merged |= value
    return merged


def holds_placeholder(value: Any, name: str) -> bool:
    """Whether `{{name}}` stands in any text of a request."""
    if isinstance(value, dict):
        return any(holds_placeholder(each, name) for each in value.values())
    if isinstance(value, list):
        return any(holds_placeholder(each, name) for each in value)
    return isinstance(value, str) and f"{{{{{name}}}}}" in value


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _filled(value: Any, placed: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(each, placed) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, placed) for each in value]
    return _replaced(value, placed) if isinstance(value, str) and "{{" in value else value


def _replaced(text: str, placed: Mapping[str, str]) -> str:
    """A text with every placeholder filled: what is put in is not looked through again."""
    parts = text.split("{{")
    made = parts[0]
    for part in parts[1:]:
        name, closed, rest = part.partition("}}")
        placeholder = f"{{{{{name}}}}}"
        made += placed[placeholder] + rest if closed and placeholder in placed else "{{" + part
    return made
