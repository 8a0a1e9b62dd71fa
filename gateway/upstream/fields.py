"""Header fields of a provider's answer."""

from __future__ import annotations

from typing import Any, TypeVar, overload

T = TypeVar("T")


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
    def of(cls, fields: list[tuple[bytes, bytes]]) -> Fields:
        """Those of a head, as they came."""
        headers = cls([(name.lower().decode("latin-1"), value.strip().decode("latin-1")) for name, value in fields])
        return headers if len(headers) == len(fields) else cls._joined(fields)

    @classmethod
    def _joined(cls, fields: list[tuple[bytes, bytes]]) -> Fields:
        headers = cls()
        for name_bytes, value_bytes in fields:
            name, value = name_bytes.lower().decode("latin-1"), value_bytes.strip().decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers
