"""JSON Schemas of attrs classes: what a typed handler says about its payload and result (wire-protocol 14)."""

import enum
import types
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs

Schema = dict[str, Any]

_PLAIN: Final[Mapping[Any, Schema]] = types.MappingProxyType(
    {
        str: {"type": "string"},
        int: {"type": "integer"},
        float: {"type": "number"},
        bool: {"type": "boolean"},
        None: {"type": "null"},
        type(None): {"type": "null"},
        list: {"type": "array"},
        dict: {"type": "object"},
        datetime: {"type": "string", "format": "date-time"},
        date: {"type": "string", "format": "date"},
        UUID: {"type": "string", "format": "uuid"},
    }
)
_ARRAYS: Final = (list, Sequence, MutableSequence)
_SETS: Final = (set, frozenset, AbstractSet)
_OBJECTS: Final = (dict, Mapping, MutableMapping)


def schema_of(annotation: Any) -> Schema:
    """The JSON Schema (2020-12) of an annotation; `{}`, which admits anything, for a type it does not know.

    Classes inside go to `$defs`, so that they may refer to each other and to themselves. Fields without a default are
    required; unknown members are allowed, as payloads may carry more than a handler reads.
    """
    definitions: dict[str, Schema] = {}
    schema = _schema(annotation, definitions)
    if attrs.has(annotation) and schema == {"$ref": f"#/$defs/{annotation.__name__}"}:
        own = definitions[annotation.__name__]
        if not _mentions(definitions, schema["$ref"]):
            del definitions[annotation.__name__]
            schema = own
    return {**schema, "$defs": definitions} if definitions else schema


def holds_attrs(annotation: Any) -> bool:
    """Whether an attrs class occurs in an annotation, so that values for it must be structured."""
    if attrs.has(get_origin(annotation) or annotation):
        return True
    return get_origin(annotation) is not Literal and any(map(holds_attrs, get_args(annotation)))


def hints_of(cls: type[Any]) -> Mapping[str, Any]:
    """The evaluated annotations of a class, as they are written where a name in them cannot be resolved."""
    try:
        return get_type_hints(cls, include_extras=True)
    except NameError:
        return {field.name: field.type for field in attrs.fields(cls)}


def _schema(annotation: Any, definitions: dict[str, Schema]) -> Schema:
    if isinstance(annotation, type) or annotation is None:
        return _schema_of_class(annotation, definitions)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _schema(arguments[0], definitions)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in {Union, types.UnionType}:
        return {"anyOf": [_schema(member, definitions) for member in arguments]}
    return _schema_of_collection(origin, arguments, definitions)


def _schema_of_class(cls: Any, definitions: dict[str, Schema]) -> Schema:
    if cls in _PLAIN:
        return dict(_PLAIN[cls])
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return {"enum": [member.value for member in cls]}
    if not attrs.has(cls):
        return _schema_of_collection(get_origin(cls), get_args(cls), definitions)
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # holds the place of a class that mentions itself
        definitions[cls.__name__] = _schema_of_attrs(cls, definitions)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _schema_of_attrs(cls: type[Any], definitions: dict[str, Schema]) -> Schema:
    hints = hints_of(cls)
    fields = [field for field in attrs.fields(cls) if field.init]
    properties = {field.name: _schema(hints.get(field.name, Any), definitions) for field in fields}
    required = [field.name for field in fields if field.default is attrs.NOTHING]
    schema: Schema = {"title": cls.__name__, "type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def _schema_of_collection(origin: Any, arguments: tuple[Any, ...], definitions: dict[str, Schema]) -> Schema:
    if origin in _ARRAYS:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin in _SETS:
        return {"type": "array", "items": _schema(arguments[0], definitions), "uniqueItems": True}
    if origin in _OBJECTS:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if origin is tuple and arguments[1:] == (...,):
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is tuple:
        items = [_schema(item, definitions) for item in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    return {}


def _mentions(value: Any, reference: str) -> bool:
    if isinstance(value, dict):
        return value.get("$ref") == reference or any(_mentions(inner, reference) for inner in value.values())
    return isinstance(value, list) and any(_mentions(inner, reference) for inner in value)
