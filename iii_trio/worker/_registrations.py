from collections.abc import Iterator

import attrs

from iii_trio.protocol.messages import (
    ABSENT,
    Message,
    RegisterFunction,
    RegisterTrigger,
    RegisterTriggerType,
    UnregisterTrigger,
    UnregisterTriggerType,
)

from ._functions import OfferedFunction
from ._link import Registration


@attrs.define(eq=False)
class Registrations:
    """What a worker has registered, to be said again on every new connection (wire-protocol 3.1, 3.5)."""

    functions: dict[str, OfferedFunction] = attrs.field(factory=dict)
    _types: dict[str, RegisterTriggerType] = attrs.field(factory=dict)
    _triggers: dict[str, RegisterTrigger] = attrs.field(factory=dict)

    def note(self, message: Registration) -> None:
        """Remember or forget what a message says."""
        match message:
            case RegisterTriggerType():
                self._types[message.id] = message
            case UnregisterTriggerType():
                self._types.pop(message.id, None)
            case RegisterTrigger():
                self._triggers[message.id] = message
            case UnregisterTrigger():
                self._triggers.pop(message.id, None)

    def replay(self) -> Iterator[Message]:
        """Everything, in the order of the official SDKs: trigger types, functions, triggers."""
        yield from self._types.values()
        yield from map(registration_of, self.functions.values())
        yield from self._triggers.values()


def registration_of(function: OfferedFunction) -> RegisterFunction:
    """The message that offers a function."""
    formats = (function.request_format, function.response_format, function.metadata)
    return RegisterFunction(
        function.id, function.description, *(ABSENT if payload is None else payload.raw for payload in formats)
    )
