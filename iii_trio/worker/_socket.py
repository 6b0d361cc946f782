"""The link of a worker over a WebSocket: what it says and hears, whichever connection carries it at the time."""

import logging
from collections.abc import Iterable
from typing import Final

import attrs
import trio
from msgspec import Raw

from iii_trio.kernel import Call, Ids
from iii_trio.protocol import BadAction, Payload, encode, encode_text
from iii_trio.protocol.errors import (
    Codes,
    FunctionNotFound,
    InvocationError,
    Overloaded,
    PayloadTooLarge,
    WorkerDisconnected,
    to_error_body,
)
from iii_trio.protocol.messages import (
    ABSENT,
    Announcement,
    AnyMessage,
    Enqueue,
    InvocationResult,
    InvokeFunction,
    Message,
    Ping,
    Pong,
    Reattach,
    RegisterTrigger,
    RegistrationRejected,
    TriggerRegistrationResult,
    UnregisterFunction,
    UnregisterTrigger,
    Void,
    WorkerRegistered,
)

from ._errors import WorkerRejected
from ._functions import OfferedFunction
from ._link import LinkStatistics, Registration
from ._outbox import MAX_MESSAGE, Frame, Outbox
from ._pending import PendingCalls
from ._registrations import Registrations, registration_of
from ._trace import Trace
from ._triggers import Triggers

_log = logging.getLogger("iii_trio.worker")
_ANNOUNCE: Final = "engine::workers::register"
_NULL: Final = Raw(b"null")
_CLOSED: Final = "the worker has ended"


@attrs.define(eq=False)
class SocketLink:
    """A link whose messages wait in an outbox for the connection of the day.

    Handlers run in `_nursery`, at most `max_running` at once, and outlive the connection that called them; then their
    answer is dropped, as the engine has given the invocation up. `failure` says that the engine wants this worker never
    again; the nursery is cancelled then.
    """

    _announcement: Announcement
    _ids: Ids
    _triggers: Triggers
    _nursery: trio.Nursery
    outbox: Outbox = attrs.field(factory=Outbox)
    max_running: int = 1_024
    failure: WorkerRejected | None = None
    _known: Registrations = attrs.field(factory=Registrations)
    _pending: PendingCalls = attrs.field(factory=PendingCalls)
    _greeting: WorkerRegistered | None = None
    _running: int = 0
    _closed: bool = False

    @property
    def worker_id(self) -> str:
        return self._greeting.worker_id if self._greeting is not None else ""

    # --- what the worker says ---------------------------------------------------------------------------------------

    def offer(self, function: OfferedFunction) -> None:
        self._check_open()
        self._known.functions[function.id] = function
        self._say(registration_of(function))

    def withdraw(self, function_id: str) -> bool:
        if self._known.functions.pop(function_id, None) is None:
            return False
        self._say(UnregisterFunction(function_id))
        return True

    def register(self, message: Registration) -> None:
        self._check_open()
        self._known.note(message)
        self._say(message)

    async def wait_room(self) -> None:
        await self.outbox.wait_room()

    async def call(
        self, function_id: str, payload: Payload, namespace: str | None, metadata: Payload | None, trace: Trace
    ) -> Payload:
        more = ABSENT if metadata is None else metadata.raw
        return await self._ask(InvokeFunction(function_id, self._ids.new(), payload.raw, None, *trace, more, namespace))

    async def notify(
        self, function_id: str, payload: Payload, namespace: str | None, metadata: Payload | None, trace: Trace
    ) -> None:
        self._check_open()
        more = ABSENT if metadata is None else metadata.raw
        message = InvokeFunction(function_id, None, payload.raw, Void(), *trace, more, namespace)
        await self.outbox.put(_frame(message, keep=True))

    async def enqueue(
        self, queue: str, function_id: str, payload: Payload, namespace: str | None, trace: Trace
    ) -> Payload:
        action = Enqueue(queue)
        return await self._ask(
            InvokeFunction(function_id, self._ids.new(), payload.raw, action, *trace, ABSENT, namespace)
        )

    async def _ask(self, message: InvokeFunction) -> Payload:
        self._check_open()
        assert message.invocation_id is not None
        frame = _frame(message, keep=True)
        with self._pending.expect(message.invocation_id, frame) as slot:
            try:
                await self.outbox.put(frame)
                return await slot.wait()
            finally:
                if not frame.sent:
                    self.outbox.withdraw(frame)

    def _say(self, message: Message) -> None:
        """Send what needs no answer; without a connection the next one's replay says it."""
        if self.outbox.connected:
            self.outbox.put_nowait(Frame(encode(message)))

    def close(self) -> None:
        """Nothing is said or heard from now on; calls that wait fail."""
        self._closed = True
        self._pending.fail(WorkerDisconnected(_CLOSED))

    def statistics(self) -> LinkStatistics:
        return LinkStatistics(
            connected=self.outbox.connected,
            connections=self.outbox.connection,
            functions=len(self._known.functions),
            running=self._running,
            waiting=len(self._pending),
            queued=len(self.outbox),
        )

    def _check_open(self) -> None:
        if self._closed:
            raise WorkerDisconnected(str(self.failure or _CLOSED))

    # --- what the engine says (the `Conversation` of its connections) -----------------------------------------------

    def greeted(self, greeting: WorkerRegistered) -> Iterable[bytes]:
        previous, self._greeting = self._greeting, greeting
        if previous is not None:
            yield encode(Reattach(previous.worker_id, previous.reattach_token))
        yield encode(InvokeFunction(_ANNOUNCE, None, Raw(encode_text(self._announcement)), Void()))
        yield from map(encode, self._known.replay())

    def disconnected(self) -> None:
        self._pending.fail(WorkerDisconnected("the connection to the engine was lost"), only_sent=True)
        self._triggers.drop_all()

    def take(self, message: AnyMessage | BadAction) -> None:
        match message:
            case InvocationResult():
                self._pending.settle(message)
            case InvokeFunction():
                self._invoked(message)
            case RegisterTrigger() | UnregisterTrigger() | TriggerRegistrationResult():
                self._triggers.take(message, self._say)
            case RegistrationRejected():
                self._rejected(message)
            case Ping():
                self._say(Pong())

    def _invoked(self, message: InvokeFunction) -> None:
        function = self._known.functions.get(message.function_id)
        if function is None:
            self._refuse(message, FunctionNotFound(f"Function {message.function_id} not found"))
        elif self._running >= self.max_running:
            self._refuse(message, Overloaded(f"{self.max_running} invocations are running in this worker"))
        else:
            self._running += 1
            connection, name = self.outbox.connection, f"invocations/{message.invocation_id}"
            self._nursery.start_soon(self._run, function, message, connection, name=name)

    async def _run(self, function: OfferedFunction, message: InvokeFunction, connection: int) -> None:
        try:
            frame = await _outcome(function, message)
            if frame is not None:
                await self.outbox.put_reply(frame, connection)
        finally:
            self._running -= 1

    def _refuse(self, message: InvokeFunction, error: InvocationError) -> None:
        _log.warning("refused an invocation of %s: %s", message.function_id, error)
        if message.invocation_id is not None:
            self._say(_failed(message.invocation_id, message.function_id, error))

    def _rejected(self, message: RegistrationRejected) -> None:
        """A function of this worker is somebody else's, or the worker itself is not wanted (2.15)."""
        if message.code == Codes.FUNCTION_NAMESPACE_CONFLICT:
            where, owner = message.namespace, message.owner_worker_id or "the engine"
            _log.warning("function %s in namespace %s belongs to %s", message.function_id, where, owner)
            return
        self.failure = WorkerRejected(message.code, message.namespace, message.worker_name, message.owner_worker_id)
        self._nursery.cancel_scope.cancel(reason=str(self.failure))  # first, so that the block sees nothing else
        self._closed = True
        self._pending.fail(WorkerDisconnected(str(self.failure)))


async def _outcome(function: OfferedFunction, message: InvokeFunction) -> Frame | None:
    """Run a handler; the answer, unless nobody wants one (2.6)."""
    payload = Payload(_NULL if message.data is ABSENT else message.data)
    metadata = None if message.metadata is ABSENT else Payload(message.metadata)
    invocation_id = message.invocation_id or ""
    call = Call(message.function_id, invocation_id, payload, metadata, None, message.traceparent, message.baggage)
    try:
        result = InvocationResult(invocation_id, message.function_id, (await function.run(call)).raw)
        frame = _frame(result)
    except InvocationError as error:
        frame = _frame(_failed(invocation_id, message.function_id, error))
    return None if message.invocation_id is None else frame


def _failed(invocation_id: str, function_id: str, error: InvocationError) -> InvocationResult:
    return InvocationResult(invocation_id, function_id, error=to_error_body(error))


def _frame(message: Message, *, keep: bool = False) -> Frame:
    """Encode a message; raises PayloadTooLarge for one that would end the connection."""
    data = encode(message)
    if len(data) > MAX_MESSAGE:
        raise PayloadTooLarge(f"the message has {len(data)} bytes, the engine reads at most {MAX_MESSAGE}")
    return Frame(data, keep)
