"""The seam between a worker's API and how its messages travel: a socket, or a kernel in the same process."""

from typing import Protocol

import attrs

from iii_trio.protocol import Payload
from iii_trio.protocol.messages import (
    RegisterTrigger,
    RegisterTriggerType,
    UnregisterTrigger,
    UnregisterTriggerType,
)

from ._functions import OfferedFunction
from ._trace import Trace

Registration = RegisterTriggerType | UnregisterTriggerType | RegisterTrigger | UnregisterTrigger


@attrs.frozen
class LinkStatistics:
    """What a link counts. `queued` messages wait for the socket; `connections` have been made so far."""

    connected: bool
    connections: int
    functions: int
    running: int
    waiting: int
    queued: int


class Link(Protocol):
    """Carries what a worker says to its engine. Payloads cross encoded, so that nothing mutable is shared."""

    @property
    def worker_id(self) -> str:
        """Its id at the engine; another one after each reconnect."""
        ...

    def offer(self, function: OfferedFunction) -> None:
        """Make a function callable, or replace it."""
        ...

    def withdraw(self, function_id: str) -> bool:
        """Take a function away; False if there is none."""
        ...

    def register(self, message: Registration) -> None:
        """Add or remove a trigger or a trigger type."""
        ...

    async def wait_room(self) -> None:
        """Wait until there is room for messages that need no answer."""
        ...

    async def call(
        self, function_id: str, payload: Payload, namespace: str | None, metadata: Payload | None, trace: Trace
    ) -> Payload:
        """Call and wait for the result; raises InvocationError."""
        ...

    async def notify(
        self, function_id: str, payload: Payload, namespace: str | None, metadata: Payload | None, trace: Trace
    ) -> None:
        """Call without an answer, whatever becomes of it."""
        ...

    async def enqueue(
        self, queue: str, function_id: str, payload: Payload, namespace: str | None, trace: Trace
    ) -> Payload:
        """Hand a call to a queue and wait for the receipt; raises InvocationError."""
        ...

    def statistics(self) -> LinkStatistics:
        """Counts, for monitoring and leak tests."""
        ...
