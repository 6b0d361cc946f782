"""A function of the engine itself: its id, what it says of itself, and its handler."""

from collections.abc import Callable
from typing import TypeVar

import attrs
import trio
from msgspec import Struct

from iii_trio.kernel import Call, Function, Handler, Owner
from iii_trio.protocol import Json, Payload

from ._inputs import decode_input, input_schema

_T = TypeVar("_T", bound=Struct)


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
