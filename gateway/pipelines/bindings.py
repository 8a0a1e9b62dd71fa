"""Outputs on their way into requests, and the outputs of nodes that call nobody. Pure.

Promises: what a specification says is never changed; a request is a copy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.api.workflow import Binding, Source, TransformInput
from gateway.pipelines.pointers import NoSuchPlace, find, put

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
