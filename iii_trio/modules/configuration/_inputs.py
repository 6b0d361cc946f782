"""What the functions of the module take, and what they answer, as types and as schemas for listings."""

from typing import Annotated, Final, TypeVar

from msgspec import Meta, Raw, Struct, field

from iii_trio.kernel import Call
from iii_trio.modules.built_in import decode_input
from iii_trio.protocol import Json, decode_json, is_null
from iii_trio.protocol.errors import InputRejected
from iii_trio.protocol.messages import ABSENT

_T = TypeVar("_T", bound=Struct)
Id = Annotated[str, Meta(description="The entry: 1 to 64 of a-z, 0-9, _ and -.")]


class Register(Struct, frozen=True):
    """An entry and what it is about."""

    id: Id
    name: Annotated[str, Meta(description="The entry's name for people.")]
    description: Annotated[str, Meta(description="What it configures.")]
    schema: Annotated[Raw, Meta(description="The JSON Schema its values must fit.")]
    initial_value: Annotated[Raw, Meta(description="Replaces the stored value; left out, that stays.")] = field(
        default_factory=lambda: ABSENT
    )
    metadata: Annotated[Raw, Meta(description="Anything its owner wants to keep with it.")] = field(
        default_factory=lambda: ABSENT
    )
    seed: Annotated[
        Raw,
        Meta(
            description="The owner's block of the configuration file. It replaces the stored value if it is another one than with the last registration."
        ),
    ] = field(default_factory=lambda: ABSENT)


class Set(Struct, frozen=True):
    """A new value of an entry."""

    id: Id
    value: Annotated[Raw, Meta(description="The value; texts may hold ${VAR:default}.")]


class Get(Struct, frozen=True):
    """Which value."""

    id: Id
    raw: Annotated[bool | None, Meta(description="As stored, variables not put in.")] = None


class Describe(Struct, frozen=True):
    """Which entry."""

    id: Id


class List(Struct, frozen=True):
    """An object without members of interest."""


_TEXT: Final = {"type": "string"}
_ANY: Final[dict[str, Json]] = {}
_ENTRY_MEMBERS: Final = {"id": _TEXT, "name": _TEXT, "description": _TEXT, "schema": _ANY, "metadata": _ANY}
ENTRY: Final = {"type": "object", "properties": _ENTRY_MEMBERS}
REGISTERED: Final = {"type": "object", "properties": {**_ENTRY_MEMBERS, "value": _ANY}}
CHANGED: Final = {"type": "object", "properties": {"old_value": _ANY, "new_value": _ANY}}
VALUE: Final = {"type": "object", "properties": {"id": _TEXT, "value": _ANY}}
ENTRIES: Final = {"type": "object", "properties": {"configurations": {"type": "array", "items": ENTRY}}}


def read(call: Call, kind: type[_T]) -> _T:
    """The payload as `kind`; here only objects are taken. Raises InputRejected."""
    if bytes(memoryview(call.payload.raw)[:1]) == b"[":
        raise InputRejected(
            f"Failed to deserialize input for {call.function_id}: an array, where an object is expected"
        )
    return decode_input(call, kind)


def value_of(member: Raw) -> Json:
    """A member of any type, decoded; None where it was left out."""
    return None if not memoryview(member) or is_null(member) else decode_json(memoryview(member))
