"""Values for JSON Schemas: valid for the schemas that people write, bounded for all others."""

from __future__ import annotations

import enum
import json
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from providers.simulator.schemas import example


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str = Field(min_length=12, max_length=20)
    number: int = Field(ge=3, le=9, multiple_of=4)


class Person(BaseModel):
    name: str
    age: int = Field(gt=17, lt=120)
    born: datetime
    ident: UUID
    colour: Colour
    kind: Literal["person"]
    address: Address
    friends: list[Person] = Field(min_length=0)
    tags: list[str] = Field(min_length=2, max_length=3)
    pair: tuple[int, str]
    score: float = Field(ge=0, le=0.5)
    nickname: str | None
    choice: Address | int


def test_a_pydantic_model_reads_the_example_of_its_own_schema() -> None:
    person = Person.model_validate(example(Person.model_json_schema()))
    assert person.kind == "person"
    assert len(person.tags) == 2


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 5}, 5),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": ["string", "null"]}, "simulated"),
        ({"type": "integer", "maximum": -4}, -4),
        ({"type": "integer", "exclusiveMinimum": 10}, 11),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
        ({"type": "string", "maxLength": 3}, "sim"),
        ({"allOf": [{"type": "object", "properties": {"a": {"type": "null"}}}]}, {"a": None}),
        ({"properties": {"a": {"const": 1}, "b": {}}, "required": ["a"]}, {"a": 1}),
        ("no schema", {}),
    ],
)
def test_examples(schema: object, value: object) -> None:
    assert example(schema) == value


KEYWORDS = ["type", "properties", "items", "anyOf", "allOf", "$ref", "enum", "minItems", "maxItems", "minLength",
            "maxLength", "minimum", "maximum", "multipleOf", "required", "prefixItems", "format", "const"]  # fmt: skip
LEAVES = st.none() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(
    ["object", "array", "string", "integer", "number", "#", "#/properties/a", "date"]
)  # fmt: skip
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYWORDS, "a"]), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(SCHEMAS)
def test_any_schema_gets_a_bounded_value(schema: Any) -> None:
    assert len(json.dumps(example(schema))) < 10_000_000
