from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio
from msgspec import Raw

from iii_trio.protocol import Payload
from iii_trio.protocol.errors import InvocationError, from_error_body
from iii_trio.protocol.messages import ABSENT, InvocationResult

from ._outbox import Frame


@attrs.define(eq=False)
class Slot:
    """One call that waits for its result. `frame` is its message, if it has to travel."""

    frame: Frame | None = None
    _event: trio.Event = attrs.field(factory=trio.Event)
    _result: Payload | None = None
    _error: InvocationError | None = None

    def fail(self, error: InvocationError) -> None:
        """End the wait with an error, unless it has ended already."""
        if not self._event.is_set():
            self._error = error
            self._event.set()

    def settle(self, message: InvocationResult) -> None:
        """End the wait with what the engine says."""
        if message.error is not None:
            self.fail(from_error_body(message.error))
        elif not self._event.is_set():
            self._result = Payload(Raw(b"null") if message.result is ABSENT else message.result)
            self._event.set()

    async def wait(self) -> Payload:
        """Wait for the result; raises InvocationError. Cancelling gives up the wait, not the invocation."""
        await self._event.wait()
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result


@attrs.define(eq=False)
class PendingCalls:
    """Calls in flight by invocation id. Bounded by the tasks that wait, one each."""

    _slots: dict[str, Slot] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self._slots)

    @contextmanager
    def expect(self, invocation_id: str, frame: Frame | None = None) -> Iterator[Slot]:
        """Hold a slot open for the length of a block; a result that comes later is nobody's."""
        self._slots[invocation_id] = slot = Slot(frame)
        try:
            yield slot
        finally:
            del self._slots[invocation_id]

    def settle(self, message: InvocationResult) -> None:
        """Hand a result to who waits for it; ignored if nobody does."""
        if (slot := self._slots.get(message.invocation_id)) is not None:
            slot.settle(message)

    def fail(self, error: InvocationError, *, only_sent: bool = False) -> None:
        """Fail every call, or only those whose message may have left."""
        for slot in self._slots.values():
            if not only_sent or slot.frame is None or slot.frame.sent:
                slot.fail(error)
