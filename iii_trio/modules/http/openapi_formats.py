"""The formats that functions declare, made fit for a description of all of them: JSON Schemas from anybody."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from iii_trio.protocol import Json, Payload
from iii_trio.protocol.errors import RemoteProtocolError

from .openapi_paths import unused_name

LONGEST: Final = 64 * 1024
"""Bytes of a format that is described; a longer one is left out."""

ALL_TOGETHER: Final = 16 << 20
"""Bytes of all formats that are described; what comes later is left out."""

_DEEPEST: Final = 64
_MOST_HOPS: Final = 16
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]")
_OF_A_DOCUMENT: Final = frozenset({"$schema", "$id", "$anchor", "$dynamicAnchor", "$vocabulary"})
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "error_id": {"type": "string", "description": "The log of the engine has the same."},
            },
        },
        "skipped": {"type": "boolean"},
    },
}

Schema = dict[str, Any]


class UnusableFormatError(ValueError):
    """A format that cannot stand in a description."""


@attrs.frozen
class Format:
    """One format. Its references are those of the whole description, in which it is a component of this name."""

    schema: Schema
    name: str

    def resolve(self, node: Json) -> Schema:
        """What a part says, behind its references; nothing if it is no schema with members."""
        for _ in range(_MOST_HOPS):
            if not isinstance(node, dict) or not isinstance(reference := node.get("$ref"), str):
                break
            node = _at(self.schema, reference.removeprefix(_component(self.name)))
        return node if isinstance(node, dict) else {}

    def alternatives(self, node: Json) -> Iterator[Schema]:
        """What a part says if that is one thing, or each of the things that it leaves open."""
        found = self.resolve(node)
        choices = found.get("anyOf") or found.get("oneOf")
        if isinstance(choices, list):
            yield from map(self.resolve, choices)
        else:
            yield found

    def members(self, node: Json) -> tuple[Mapping[str, Json], frozenset[str]]:
        """The properties of an object, and which of them it must have; nothing if it is not about objects."""
        for found in self.alternatives(node):
            properties, required = found.get("properties"), found.get("required", ())
            if isinstance(properties, dict):
                return properties, frozenset(required)
        return {}, frozenset()


@attrs.define(eq=False)
class Formats:
    """All formats of one description, and the components they need."""

    components: dict[str, Schema] = attrs.field(factory=lambda: {"Error": _ERROR})
    _left: int = ALL_TOGETHER

    def take(self, payload: Payload | None, name: str) -> Format | None:
        """The format of a function; None if there is none, or none that a description can hold."""
        if payload is None or payload.is_null or len(text := bytes(payload.raw)) > min(LONGEST, self._left):
            return None
        key = unused_name(_ODD.sub("_", name), self.components, ".")
        try:
            taken = _read(Payload(payload.raw).value, key)
        except (UnusableFormatError, RemoteProtocolError):
            return None
        self._left -= len(text)
        if _component(key) in str(taken.schema):
            self.components[key] = taken.schema
        return taken


def _component(name: str) -> str:
    return f"#/components/schemas/{name}"


def _read(given: Json, name: str) -> Format:
    from jsonschema_rs import Draft202012Validator, ValidationError  # loaded when somebody asks for a description

    if not isinstance(given, dict):
        raise UnusableFormatError("a format is an object")
    own = _copy(given, _local, _DEEPEST)
    try:
        Draft202012Validator(own)
    except (ValidationError, ValueError) as error:
        raise UnusableFormatError(f"it is not JSON Schema: {error}") from error
    return Format(_copy(own, lambda reference: _component(name) + reference[1:], _DEEPEST), name)


def _local(reference: Json) -> str:
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise UnusableFormatError("it refers to another document")
    return reference


def _copy(node: Json, moved: Callable[[Json], str], deep: int) -> Any:
    """A copy with its references moved, and without what only makes sense at the top of a document."""
    if not deep:
        raise UnusableFormatError("it nests too deep")
    if isinstance(node, list):
        return [_copy(one, moved, deep - 1) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        key: moved(value) if key == "$ref" else _copy(value, moved, deep - 1)
        for key, value in node.items()
        if key not in _OF_A_DOCUMENT
    }


def _at(schema: Json, pointer: str) -> Json:
    """What a JSON pointer points at, None if at nothing."""
    node = schema
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        else:
            return None
    return node
