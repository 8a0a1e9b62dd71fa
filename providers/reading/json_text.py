"""JSON text that was found but not decoded: what kind of value it is, told from its first byte.

Promises: nothing is copied and nothing decoded. A member that is absent and one that is null are the same, as they are
to every provider. (msgspec knows no optional `Raw`, hence the default `NULL`.) Knows nothing of members' meaning.
"""

from __future__ import annotations

import msgspec

Object = dict[str, object]

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Everything that decoding hostile JSON can raise (`msgspec.ValidationError` is a `DecodeError`)."""

NULL = msgspec.Raw(b"null")


def given(json_text: msgspec.Raw) -> bool:
    """Whether a value is there, and is not null."""
    return json_text is not NULL and memoryview(json_text)[0] != 0x6E  # n


def is_string(json_text: msgspec.Raw) -> bool:
    """Whether a value is a string."""
    return memoryview(json_text)[0] == 0x22  # "


def is_list(json_text: msgspec.Raw) -> bool:
    """Whether a value is a list."""
    return memoryview(json_text)[0] == 0x5B  # [


def is_object(json_text: msgspec.Raw) -> bool:
    """Whether a value is an object."""
    return memoryview(json_text)[0] == 0x7B  # {
