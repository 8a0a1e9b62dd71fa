"""Everything that can be asked of a provider here: the closed table of operations, and the tree that finds a row.

Promises: an upstream path is always a row's own text, with nothing of the client's in it but checked placeholders; so
no spelling of a path (`//evil`, `@`, `\\`, `%2f..`, absolute form, NUL) reaches anything that the table does not name.
Every operation has a shape, hence a meter, or is known to be free. Knows nothing of keys, models, headers or settings.
Source: providers.md §2 and the sheets P1 to P13.

Adding an operation is adding a row, in the family's `rows`. A vendor that offers OpenAI's
operations in OpenAI's shape needs none: its row in `providers.ground.vendors` names them (`speaks`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from providers.anthropic import rows as anthropic
from providers.cohere import rows as cohere
from providers.compatible import offers
from providers.compatible import rows as compatible
from providers.deepgram import rows as deepgram
from providers.elevenlabs import rows as elevenlabs
from providers.google import rows as google
from providers.minimax import rows as minimax
from providers.mistral import rows as mistral
from providers.openai import rows as openai
from providers.qwen import rows as qwen
from providers.stored.row import Row

TABLE: tuple[Row, ...] = (
    *offers.OPENAIS,
    *openai.ROWS,
    *anthropic.ROWS,
    *offers.ANTHROPICS,
    *elevenlabs.ROWS,
    *deepgram.ROWS,
    *google.ROWS,
    *compatible.ROWS,
    *mistral.ROWS,
    *minimax.ROWS,
    *qwen.ROWS,
    *cohere.ROWS,
)
"""Every row. Where several providers have a path and nothing tells which is meant, the first of them is."""

# Starts with a letter or digit, so "." and ".." are no ids; no "%", "/" or "\" is in one. Colons: tuned models.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,255}")
_PLACEHOLDER = re.compile(r"\{(\w+)\}(:\w+)?")

Methods = Mapping[str, Row]
Found = tuple[Mapping[str, Methods], dict[str, str]]
"""What stands at a path: by provider and method, and the values of the placeholders."""


class _Node:
    """A place in the tree of paths. Placeholders are tried after literals, those with a verb before those without."""

    __slots__ = ("literals", "placeholders", "rows")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.placeholders: list[tuple[str, str, _Node]] = []  # (name, verb, node)
        self.rows: dict[str, dict[str, Row]] = {}

    def child(self, segment: str) -> _Node:
        placeholder = _PLACEHOLDER.fullmatch(segment)
        if placeholder is None:
            return self.literals.setdefault(segment, _Node())
        name, verb = placeholder[1], placeholder[2] or ""
        for known, ending, node in self.placeholders:
            if (known, ending) == (name, verb):
                return node
        node = _Node()
        self.placeholders.append((name, verb, node))
        self.placeholders.sort(key=lambda each: -len(each[1]))
        return node

    def find(self, segments: list[str], at: int, params: dict[str, str]) -> Iterator[Found]:
        if at == len(segments):
            if self.rows:
                yield self.rows, params
            return
        segment = segments[at]
        if (node := self.literals.get(segment)) is not None:
            yield from node.find(segments, at + 1, params)
        for name, verb, node in self.placeholders:
            value = segment.removesuffix(verb) if segment.endswith(verb) else ""
            if _ID.fullmatch(value):
                yield from node.find(segments, at + 1, {**params, name: value})


def _tree(rows: Iterable[Row]) -> _Node:
    root = _Node()
    for row in rows:
        node = root
        for segment in row.path.strip("/").split("/"):
            node = node.child(segment)
        node.rows.setdefault(row.provider, {})[row.method] = row
    return root


_TREE = _tree(TABLE)


def find(segments: list[str]) -> Iterator[Found]:
    """Everything that stands at a path, literal readings of it before placeholders."""
    return _TREE.find(segments, 0, {})


def filled(template: str, params: Mapping[str, str]) -> str:
    """A row's path with its placeholders' values."""
    if "{" not in template:
        return template
    return _PLACEHOLDER.sub(lambda found: params[found[1]] + (found[2] or ""), template)
