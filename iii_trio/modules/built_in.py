"""A function of the engine itself: its id, what it says of itself, its input, and its handler."""

from collections.abc import Callable
from typing import Final, TypeVar

import attrs
import msgspec
import trio
from msgspec import Struct

from iii_trio.kernel import Call, Function, Handler, Owner
from iii_trio.protocol import Json, Payload, decode_json, encode_json
from iii_trio.protocol.errors import IIIError, InputRejected

_T = TypeVar("_T", bound=Struct)
_FAILURES: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IIIError)


@attrs.frozen
class BuiltIn:
    """One entry of the engine's own functions (wire-protocol 5.6, 13.7)."""

    id: str
    description: str
    input: type[Struct]
    output: Json
    handler: Handler

    @classmethod
    def of(
        cls, function_id: str, description: str, kind: type[_T], output: Json, answer: Callable[[Call, _T], Json]
    ) -> "BuiltIn":
        """A function that answers at once from the registries."""

        async def handler(call: Call) -> Json:
            await trio.lowlevel.checkpoint()
            return answer(call, decode_input(call, kind))

        return cls(function_id, description, kind, output, handler)

    def function(self, owner: Owner) -> Function:
        """The registration of this function for `owner`."""
        return Function(
            self.id,
            owner,
            handler=self.handler,
            description=self.description,
            request_format=Payload.of(input_schema(self.input)),
            response_format=Payload.of(self.output),
        )


def decode_input(call: Call, kind: type[_T]) -> _T:
    """The call's payload as `kind`; an array is read as its members in order. Raises InputRejected (5.6)."""
    text = memoryview(call.payload.raw)
    try:
        if text[:1].tobytes() == b"[":
            text = memoryview(_named(decode_json(text), kind))
        return msgspec.json.decode(text, type=kind)
    except _FAILURES as error:
        raise InputRejected(f"Failed to deserialize input for {call.function_id}: {error}") from error


def _named(items: list[Json], kind: type[Struct]) -> bytes:
    names = kind.__struct_fields__
    if len(items) > len(names):
        raise InputRejected(f"an array of {len(items)} where at most {len(names)} members are known")
    return encode_json(dict(zip(names, items, strict=False)))


def input_schema(kind: type[Struct]) -> Json:
    """The JSON Schema of `kind`, with the record itself on top."""
    schema = msgspec.json.schema(kind)
    definitions = schema["$defs"]
    top = definitions.pop(kind.__name__)
    return {**top, "$defs": definitions} if definitions else top
