"""Header fields: their grammar, once for everything that is read and written, and a mapping of an answer's.

The grammar is RFC 9110's (§5.5, §5.6.2) and RFC 9112's (§6.1, §6.2), without what only old senders need: no folding,
no list of lengths, no coding but `chunked`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, overload

RawFields = list[tuple[bytes, bytes]]
T = TypeVar("T")

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_IN_VALUES = bytes((9, *range(32, 127), *range(128, 256)))  # what may stand in a field's value
_SPACE = b" \t"


def is_token(text: bytes) -> bool:
    """Whether this can be a field's name, or a method."""
    return _TOKEN.fullmatch(text) is not None


def are_values(values: Iterable[bytes]) -> bool:
    """Whether all of these can be fields' values: none ends its line, or the head."""
    return not b"".join(values).translate(None, _IN_VALUES)


def length_of(value: bytes) -> int | None:
    """What a Content-Length says; None if that is no length."""
    stripped = value.strip(_SPACE)
    return int(stripped) if _LENGTH.fullmatch(stripped) is not None else None


def is_chunked(value: bytes) -> bool:
    """Whether a Transfer-Encoding says `chunked`, and nothing else."""
    return value.strip(_SPACE).lower() == b"chunked"


class Fields(dict[str, str]):
    """Header fields by lower-case name, looked up in any case; repeated ones are joined with commas."""

    __slots__ = ()

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    @overload
    def get(self, name: str, default: None = None, /) -> str | None: ...
    @overload
    def get(self, name: str, default: str, /) -> str: ...
    @overload
    def get(self, name: str, default: T, /) -> str | T: ...
    def get(self, name: str, default: Any = None, /) -> Any:
        """The field's value."""
        return super().get(name.lower(), default)

    @classmethod
    def of(cls, fields: Sequence[tuple[bytes, bytes]]) -> Fields:
        """Those of a head, as they came."""
        headers = cls([(name.lower().decode("latin-1"), value.strip().decode("latin-1")) for name, value in fields])
        return headers if len(headers) == len(fields) else cls._joined(fields)

    @classmethod
    def _joined(cls, fields: Sequence[tuple[bytes, bytes]]) -> Fields:
        headers = cls()
        for name_bytes, value_bytes in fields:
            name, value = name_bytes.lower().decode("latin-1"), value_bytes.strip().decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers
