"""The JSON Schema of a config class, so that values which come at run time are held to what a file is held to."""

import types
from collections.abc import Mapping
from typing import Any, Final, Literal, Union, get_args, get_origin

import attrs

Schema = dict[str, Any]
_TYPES: Final = {str: "string", int: "integer", float: "number", bool: "boolean"}


def json_schema(cls: type[Any]) -> Schema:
    """The schema of an attrs class: its keys and no others, each with its `doc`, bounds and type.

    What a field's metadata holds under `schema` is added to the key's own.
    """
    attrs.resolve_types(cls)
    fields = [field for field in attrs.fields(cls) if field.init]
    schema: Schema = {
        "type": "object",
        "properties": {field.name: _property(field) for field in fields},
        "additionalProperties": False,
    }
    required = [field.name for field in fields if field.default is attrs.NOTHING]
    return {**schema, "required": required} if required else schema


def _property(field: "attrs.Attribute[Any]") -> Schema:
    said = field.metadata
    bounds = {key: said[key] for key in ("minimum", "maximum") if key in said}
    return {**_kind(field.type), **bounds, "description": said["doc"], **said.get("schema", {})}


def _kind(kind: Any) -> Schema:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        return _optional([one for one in arguments if one is not type(None)], nullable=type(None) in arguments)
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin in {list, tuple}:
        return {"type": "array", "items": _kind(arguments[0])}
    if origin in {dict, Mapping}:
        return {"type": "object", "additionalProperties": _kind(arguments[1])}
    if isinstance(kind, type) and attrs.has(kind):
        return json_schema(kind)
    return {"type": _TYPES[kind]} if kind in _TYPES else {}


def _optional(kinds: list[Any], *, nullable: bool) -> Schema:
    if len(kinds) > 1:
        return {"anyOf": [*map(_kind, kinds), *([{"type": "null"}] if nullable else [])]}
    schema = _kind(kinds[0])
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else schema
