"""A value that satisfies a JSON Schema: for structured outputs and for the arguments of tool calls.

Promises: deterministic and bounded, whatever the schema; never raises. `pattern`, `not` and `if` are not looked at.
"""

from __future__ import annotations

from typing import Any, Final

from providers.simulator.tokens import MARK

_NODES_MAX: Final = 2_000  # a schema can ask for more values than there is memory
_DEPTH_MAX: Final = 32  # of nesting; below _DEPTH_SHORT optional parts are left out, so recursion ends
_DEPTH_SHORT: Final = 5
_ITEMS_MAX: Final = 64
_CHARS_MAX: Final = 4_096
_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "simulated@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
}


def example(schema: object) -> Any:
    """A value for the schema. A schema that cannot be read gives an empty object."""
    return _Maker(schema).make(schema, 0) if isinstance(schema, dict) else {}


def _shown(value: Any) -> Any:
    """A value of the schema's own; of a long text its beginning, for the rest stands where nobody looks for it."""
    return value.partition(MARK)[0] if isinstance(value, str) else value


class _Maker:
    def __init__(self, root: object) -> None:
        self._root = root
        self._nodes = 0

    def make(self, schema: object, depth: int) -> Any:
        self._nodes += 1
        if not isinstance(schema, dict) or self._nodes > _NODES_MAX or depth > _DEPTH_MAX:
            return None
        if "const" in schema:
            return _shown(schema["const"])
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return _shown(schema["enum"][0])
        if isinstance(schema.get("$ref"), str):
            return self.make(self._referred(schema["$ref"]), depth + 1)
        for union in ("anyOf", "oneOf"):
            options = schema.get(union)
            if isinstance(options, list) and options:
                return self.make(_option(options, depth), depth + 1)
        if isinstance(schema.get("allOf"), list):
            return self._merged(schema, depth)
        return self._typed(schema, depth)

    def _typed(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = "null" if depth > _DEPTH_SHORT and "null" in kind else next(iter(kind), None)
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind == "string":
            return _string(schema)
        if kind in ("integer", "number"):
            return _number(schema, whole=kind == "integer")
        return True if kind == "boolean" else None if kind == "null" else {} if depth == 0 else "simulated"

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        parts = schema.get("properties")
        required = schema.get("required")
        names = list(parts) if isinstance(parts, dict) else []
        if isinstance(required, list):
            names = [name for name in names if name in required]
        elif depth > _DEPTH_SHORT:
            names = []
        return {name: self.make(parts[name], depth + 1) for name in names} if isinstance(parts, dict) else {}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        least, most = _integer(schema, "minItems", 0), _integer(schema, "maxItems", _ITEMS_MAX)
        items: list[Any] = []
        fixed = schema.get("prefixItems")
        if isinstance(fixed, list):
            items = [self.make(part, depth + 1) for part in fixed[:_ITEMS_MAX]]
        wanted = min(max(least, 0 if depth > _DEPTH_SHORT or items else 1), most, _ITEMS_MAX)
        while len(items) < wanted and self._nodes <= _NODES_MAX:
            items.append(self.make(schema.get("items", {"type": "string"}), depth + 1))
        return items

    def _merged(self, schema: dict[str, Any], depth: int) -> Any:
        made: dict[str, Any] = {}
        for part in [*schema["allOf"], {key: value for key, value in schema.items() if key != "allOf"}]:
            value = self.make(part, depth + 1)
            if isinstance(value, dict):
                made |= value
            elif part in schema["allOf"]:
                return value
        return made

    def _referred(self, reference: str) -> object:
        found: object = self._root
        for name in reference.removeprefix("#").strip("/").split("/") if reference != "#" else []:
            found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found


def _option(options: list[Any], depth: int) -> object:
    """The first option; once it is deep, the empty one, so that a recursive schema ends."""
    if depth > _DEPTH_SHORT:
        for option in options:
            if isinstance(option, dict) and option.get("type") == "null":
                return option
    return options[0]


def _string(schema: dict[str, Any]) -> str:
    text = _FORMATS.get(str(schema.get("format", "")), "simulated")
    least, most = _integer(schema, "minLength", 0), _integer(schema, "maxLength", _CHARS_MAX)
    return text.ljust(min(least, _CHARS_MAX), "x")[: max(0, most)]


def _number(schema: dict[str, Any], *, whole: bool) -> int | float:
    step = _bound(schema, "multipleOf")
    least, above = _bound(schema, "minimum"), _bound(schema, "exclusiveMinimum")
    most, below = _bound(schema, "maximum"), _bound(schema, "exclusiveMaximum")
    low = least if least is not None else None if above is None else above + 1
    high = most if most is not None else None if below is None else below - 1
    value: int | float = 1
    if high is not None:
        value = min(value, high)
    if low is not None:
        value = max(value, low)
    if low is not None and high is not None and low > high:  # an open interval of less than two
        value = (low - 1 + high + 1) / 2
    if step is not None and step > 0:
        value = -(-value // step) * step
    return int(value) if whole and abs(value) < 2**53 else value


def _bound(schema: dict[str, Any], name: str) -> int | float | None:
    value = schema.get(name)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63
    return value if usable else None


def _integer(schema: dict[str, Any], name: str, default: int) -> int:
    value = schema.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else default
