"""Input that no worker would send: a wrong type for each field of each message, made from their definitions, and worse."""

import json
import struct
from collections.abc import Iterator
from random import Random
from typing import Any

import attrs
import msgspec
from msgspec import inspect
from websockets.frames import Frame, Opcode

from iii_trio.protocol.messages import Announcement, AnyMessage
from iii_trio.sockets import MAX_FRAME

MESSAGES: tuple[type[msgspec.Struct], ...] = AnyMessage.__args__
VALUES: tuple[Any, ...] = (None, True, 0, -1, 1.5, 1 << 70, "text", [], ["a", 1], {}, {"type": "later"}, {"a": {}})


@attrs.frozen
class Wrong:
    """A message whose one field has a type it must not have. `path` names the field."""

    message: dict[str, Any]
    path: str

    @property
    def text(self) -> bytes:
        return json.dumps(self.message).encode()


def struct_of(cls: type[msgspec.Struct]) -> inspect.StructType:
    kind = inspect.type_info(cls)
    assert isinstance(kind, inspect.StructType)
    return kind


def valid(cls: type[msgspec.Struct], **given: Any) -> dict[str, Any]:
    """A message of this class with every field, those not given with a value of the right type."""
    kind = struct_of(cls)
    tag = {} if kind.tag is None else {"type": kind.tag}
    return tag | {field.name: _value(field.type) for field in kind.fields} | given


def wrong(cls: type[msgspec.Struct], **given: Any) -> list[Wrong]:
    """The valid message of a class, once for each way in which one of its fields can have a wrong type."""
    whole = valid(cls, **given)
    return [
        Wrong({**whole, field.name: value}, f"{cls.__name__}.{field.name}{path}")
        for field in struct_of(cls).fields
        for path, value in _wrong_values(field.type)
    ]


def _value(kind: inspect.Type) -> Any:
    match kind:
        case inspect.UnionType(types=types):
            return _value(types[0])
        case inspect.StrType():
            return "text"
        case inspect.IntType():
            return 7
        case inspect.VarTupleType():
            return ["text"]
        case inspect.RawType():
            return {"any": ["thing"]}
        case inspect.StructType(cls=cls):
            return valid(cls)
    raise NotImplementedError(kind)


def _wrong_values(kind: inspect.Type) -> Iterator[tuple[str, Any]]:
    """Values that do not fit, with the path below the field where they do not."""
    for value in VALUES:
        if not _fits(kind, value):
            yield "", value
    for part in kind.types if isinstance(kind, inspect.UnionType) else (kind,):
        if isinstance(part, inspect.StructType):
            for case in wrong(part.cls):
                yield "." + case.path.partition(".")[2], case.message


def _fits(kind: inspect.Type, value: Any) -> bool:
    """Whether JSON of this value is what the definition asks for; said here anew, not by the decoder under test."""
    match kind:
        case inspect.RawType():
            return True
        case inspect.UnionType(types=types):
            return any(_fits(part, value) for part in types)
        case inspect.NoneType():
            return value is None
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.IntType(ge=low, le=high):
            assert low is not None
            assert high is not None
            return type(value) is int and low <= value <= high
        case inspect.VarTupleType(item_type=item):
            return isinstance(value, list) and all(_fits(item, part) for part in value)
        case inspect.StructType(fields=fields, tag=tag):
            known = isinstance(value, dict) and (tag is None or value.get("type") == tag)
            return known and all(not field.required or field.name in value for field in fields)
    raise NotImplementedError(kind)


def wrong_announcements() -> list[Wrong]:
    """Inputs of `engine::workers::register` with a field of a wrong type, and inputs that are no object."""
    others = [Wrong(value, "input") for value in VALUES if not isinstance(value, dict)]
    return wrong(Announcement) + others


INVALID_JSON = (
    b"not json",
    b"[]",
    b"7",
    b"{",
    b'{"type":',
    b'{"type":"ping"',
    b'{"type":"ping"}}',
    b'{"type":"ping"}{"type":"ping"}',
    b"{'type':'ping'}",
    b'{"type":"invokefunction","function_id":"f","data":NaN}',
    b'\xef\xbb\xbf{"type":"ping"}',
    b'{"type":"ping","a":' + b"[" * 50_000,
    b'{"type":"ping","a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    b"\x00" * 100,
)
UNKNOWN_TYPES = (
    b'{"type":"nope"}',
    b'{"type":"Ping"}',
    b'{"type":7}',
    b'{"type":null}',
    b'{"type":{"type":"ping"}}',
    b'{"Type":"ping"}',
    b"{}",
    b'{"type":""}',
    b'{"type":"invoke_function","function_id":"f","invocation_id":"1","data":{}}',
)


def text_frame(data: bytes) -> bytes:
    """One masked, unfragmented text frame."""
    return Frame(Opcode.TEXT, data).serialize(mask=True)


def half_frame(random: Random) -> bytes:
    """A valid frame that ends too early: inside its header, its mask or its text."""
    size = random.choice([5, 200, 70_000])
    opcode = random.choice([Opcode.TEXT, Opcode.BINARY])
    whole = Frame(opcode, b"x" * size, fin=random.random() < 0.5).serialize(mask=True)
    return whole[: random.randrange(1, len(whole))]


def oversize_message() -> Iterator[bytes]:
    """64 MiB and one byte, in five fragments of legal size."""
    part = bytes(MAX_FRAME)
    yield Frame(Opcode.TEXT, part, fin=False).serialize(mask=True)
    for _ in range(3):
        yield Frame(Opcode.CONT, part, fin=False).serialize(mask=True)
    yield Frame(Opcode.CONT, b"x").serialize(mask=True)


def oversize_frame() -> bytes:
    """The header of a frame of 64 MiB and one byte; the limit is broken before any of it has come."""
    return struct.pack("!BBQ", 0x81, 0xFF, 64 * 1024 * 1024 + 1) + bytes(4)
