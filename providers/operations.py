"""Everything that can be asked of a provider here: the closed table of operations, and the tree that finds a row.

Promises: an upstream path is always a row's own text, with nothing of the client's in it but checked placeholders; so
no spelling of a path (`//evil`, `@`, `\\`, `%2f..`, absolute form, NUL) reaches anything that the table does not name.
Every operation has a shape, hence a meter, or is known to be free. Knows nothing of keys, models, headers or settings.
Source: providers.md §2 and the sheets P1 to P13.

Adding an operation is adding a row. A vendor that offers OpenAI's operations in OpenAI's shape needs none: its row in
`providers.vendors` names them (`speaks`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from providers.anthropic_messages import ANTHROPIC_MESSAGES
from providers.deepgram_listen import DEEPGRAM_LISTEN
from providers.free import FREE_POST, FREE_READ
from providers.openai_chat import OPENAI_CHAT, OPENAI_COMPLETIONS
from providers.openai_embeddings import OPENAI_EMBEDDINGS
from providers.openai_responses import OPENAI_RESPONSES
from providers.shapes import Shape
from providers.transcription import TRANSCRIPTION
from providers.vendors import VENDORS


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a provider can be asked to do.

    Attributes:
        name: Stable, for events and logs: "chat.completions", "messages.count_tokens", ….
        shape: Reads its requests and meters its answers.
        billable: False where the provider never charges for it; then nothing need be held.
        dialect: The error shape that its callers expect; a key of `gateway.errors`' table.
        upload_bytes_max: The longest body that the provider takes, where bodies are forwarded while they arrive: then
            the shape is an `Uploading` one. 0 where they are read whole first. Providers that share a path agree on
            which of the two it is.
    """

    name: str
    shape: Shape
    billable: bool
    dialect: str
    upload_bytes_max: int = 0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row: a method and path of one provider.

    Attributes:
        path: As clients send it, with exactly one version in front where the API has versions. A segment is literal,
            `{name}`, or `{name}:verb`.
        upstream: The path to send; "" for the same.
    """

    method: str
    path: str
    provider: str
    upstream: str
    operation: Operation


def _row(
    method: str,
    path: str,
    provider: str,
    name: str,
    shape: Shape,
    *,
    billable: bool = True,
    dialect: str = "",
    upstream: str = "",
    uploads: int = 0,
) -> Row:
    operation = Operation(
        name=name,
        shape=shape,
        billable=billable,
        dialect=dialect or VENDORS[provider].dialect,
        upload_bytes_max=uploads,
    )
    return Row(method=method, path=path, provider=provider, upstream=upstream or path, operation=operation)


_COMPATIBLE: Mapping[str, tuple[tuple[str, str, Shape, bool], ...]] = MappingProxyType(
    {
        "chat.completions": (("POST", "/v1/chat/completions", OPENAI_CHAT, True),),
        "completions": (("POST", "/v1/completions", OPENAI_COMPLETIONS, True),),
        "responses": (("POST", "/v1/responses", OPENAI_RESPONSES, True),),
        "embeddings": (("POST", "/v1/embeddings", OPENAI_EMBEDDINGS, True),),
        "models": (("GET", "/v1/models", FREE_READ, False), ("GET", "/v1/models/{id}", FREE_READ, False)),
    }
)
"""What a vendor's `speaks` can name: OpenAI's operations, in OpenAI's shape."""


def _compatible() -> Iterator[Row]:
    for vendor in VENDORS.values():
        for name in vendor.speaks:
            for method, path, shape, billable in _COMPATIBLE[name]:
                yield _row(
                    method, path, vendor.name, name, shape, billable=billable, upstream=vendor.path_prefix + path
                )


_FORM_26_MB = 27 * 1024**2  # OpenAI takes files of 25 MB, in a form
_SOUND_2_GB = 2 * 1024**3  # Deepgram and ElevenLabs

TABLE: tuple[Row, ...] = (
    *_compatible(),
    _row("POST", "/v1/messages", "anthropic", "messages", ANTHROPIC_MESSAGES),
    _row("POST", "/v1/messages/count_tokens", "anthropic", "messages.count_tokens", FREE_POST, billable=False),
    _row("GET", "/v1/models", "anthropic", "models", FREE_READ, billable=False),
    _row("GET", "/v1/models/{id}", "anthropic", "models", FREE_READ, billable=False),
    _row("POST", "/v1/audio/transcriptions", "openai", "audio.transcriptions", TRANSCRIPTION, uploads=_FORM_26_MB),
    _row("POST", "/v1/audio/translations", "openai", "audio.translations", TRANSCRIPTION, uploads=_FORM_26_MB),
    _row("POST", "/v1/listen", "deepgram", "listen", DEEPGRAM_LISTEN, uploads=_SOUND_2_GB),
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
