"""JSON Schemas of annotations, checked against what the converter accepts (wire-protocol 14)."""

import enum
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Generic, Literal, Optional, TypeVar
from uuid import UUID

import attrs
import pytest

from iii_trio.worker import schema_of

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


@attrs.define
class Address:
    city: str
    zip: str | None = None


@attrs.define
class Person:
    name: str
    home: Address
    others: list[Address] = attrs.field(factory=list)
    age: int = 0
    id: int = attrs.field(init=False, default=0)


@attrs.define
class Tree:
    value: int
    children: "list[Tree]" = attrs.field(factory=list)


@attrs.define
class Box(Generic[T]):
    inside: T


@attrs.define
class Broken:
    field: "NoSuchName"  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (datetime, {"type": "string", "format": "date-time"}),
        (date, {"type": "string", "format": "date"}),
        (UUID, {"type": "string", "format": "uuid"}),
        (Any, {}),
        (object, {}),
        (complex, {}),
        (T, {}),
        (list, {"type": "array"}),
        (dict, {"type": "object"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (Sequence[Any], {"type": "array", "items": {}}),
        (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        ),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Mapping[str, Any], {"type": "object", "additionalProperties": {}}),
        (str | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045  # the old spelling
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Annotated[int, "seconds"], {"type": "integer"}),
        (Colour, {"enum": ["red", 2]}),
    ],
)
def test_annotations(annotation: Any, schema: dict[str, Any]) -> None:
    assert schema_of(annotation) == schema


def test_a_class() -> None:
    assert schema_of(Address) == {
        "title": "Address",
        "type": "object",
        "properties": {"city": {"type": "string"}, "zip": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        "required": ["city"],
    }


def test_classes_inside_are_defined_once() -> None:
    schema = schema_of(Person)
    assert schema["properties"] == {
        "name": {"type": "string"},
        "home": {"$ref": "#/$defs/Address"},
        "others": {"type": "array", "items": {"$ref": "#/$defs/Address"}},
        "age": {"type": "integer"},
    }
    assert schema["required"] == ["name", "home"]
    assert schema["$defs"] == {"Address": schema_of(Address)}


def test_a_class_may_mention_itself() -> None:
    schema = schema_of(Tree)
    assert schema["$ref"] == "#/$defs/Tree"
    assert schema["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


def test_classes_in_containers_and_unions() -> None:
    schema = schema_of(list[Address])
    assert schema == {
        "type": "array",
        "items": {"$ref": "#/$defs/Address"},
        "$defs": {"Address": schema_of(Address)},
    }
    assert schema_of(Address | None)["anyOf"] == [{"$ref": "#/$defs/Address"}, {"type": "null"}]


def test_what_cannot_be_resolved_admits_anything() -> None:
    assert schema_of(Broken)["properties"] == {"field": {}}
