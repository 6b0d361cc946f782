"""The connection actor: one worker's WebSocket, from the greeting to the cleanup (wire-protocol 2, 3)."""

import hmac
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import attrs
import trio

from iii_trio.kernel import DEFAULT_NAMESPACE, Kernel, NameConflict, Worker
from iii_trio.kernel.http_functions import is_http_invoked
from iii_trio.kernel.labels import shown
from iii_trio.protocol import BadAction, decode, decode_announcement
from iii_trio.protocol.errors import Codes, InvocationError, RemoteProtocolError
from iii_trio.protocol.messages import (
    ABSENT,
    Announcement,
    InvocationResult,
    InvokeFunction,
    Ping,
    Pong,
    Reattach,
    RegisterFunction,
    RegisterService,
    RegisterTrigger,
    RegisterTriggerType,
    RegisterWorker,
    RegistrationRejected,
    TriggerRegistrationResult,
    UnregisterFunction,
    UnregisterTrigger,
    UnregisterTriggerType,
    WorkerRegistered,
)
from iii_trio.sockets import CloseReason, Message, Turn, WebSocket

from .access import ANNOUNCE, Gate

_log = logging.getLogger("iii_trio.connection")
_TELEMETRY = (b"OTLP", b"MTRC", b"LOGS")


@attrs.define(eq=False, repr=False)
class Connection:
    """One worker. Reads in batches and never waits for anybody else's socket.

    Everything it registered is gone when `stop` returns or `run` ends, whatever ended it.
    """

    kernel: Kernel
    worker: Worker
    socket: WebSocket
    turn: Turn
    settled_by: float
    """When a worker that has not announced itself is taken for a member of `default`, in the clock's seconds."""

    count_end: Callable[[CloseReason], None]
    """Told the reason, once, at the moment it is decided."""

    gate: Gate | None = None
    """What its messages have to pass; None on a listener without access control."""

    reason: CloseReason | None = None
    _checks: Callable[[], Awaitable[None]] | None = None
    """What has to be waited for before the next message may be looked at (1.4), beside what the gate asks."""

    _reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self) -> CloseReason:
        """Greet, read until the peer or the engine ends it, clean up. Cancelled: cleans up and drops the socket."""
        try:
            self.worker.close = self.stop
            self.worker.tell(WorkerRegistered(self.worker.id, self.worker.reattach_token))
            with self._reading:
                await self.socket.deliver(self._take, self._take_one)
            self._conclude(self.socket.ended or CloseReason.CRASHED)
        except Exception:  # noqa: BLE001  # the connection boundary: a bug here costs one worker its connection, never the engine
            _log.exception("connection of worker %s failed", self.worker.id)
            self._conclude(CloseReason.CRASHED)
        finally:
            self._conclude(CloseReason.KILLED)
            assert self.reason is not None
            await self.socket.close(self.reason)
        return self.reason

    def stop(self, reason: str) -> None:
        """End the connection: undo all it did, now; then say goodbye as the reason demands, in its own task."""
        self._conclude(CloseReason(reason))
        self._reading.cancel(reason=reason)

    def tick(self, now: float) -> None:
        """Called once a second: settles the namespace of a worker that never announced itself (12.4)."""
        if self.worker.namespace is not None or now < self.settled_by or self.worker.closing:
            return
        if self.gate is None or self.gate.may_settle:
            with self.turn.joined():
                self.kernel.registrations.fix_namespace(self.worker, DEFAULT_NAMESPACE)
        if self.gate is not None:
            self.gate.settle()

    def _conclude(self, reason: CloseReason) -> None:
        if self.reason is None:
            self.reason = reason
            self.count_end(reason)
            with self.turn.joined():
                self.kernel.disconnect(self.worker)

    def _take(self, batch: list[Message]) -> Awaitable[None] | None:
        """Handle messages in their order; what they make for others is sent at the end, or at once if there is only one.

        Where something has to be waited for before the next of them, that and the rest are in what is returned.
        """
        if len(batch) == 1:
            return self._take_one(batch[0])
        self.turn.active = True
        try:
            for number, data in enumerate(batch, 1):
                if (waiting := self._take_one(data)) is not None:
                    return self._resume(waiting, _kept(batch[number:]))
                if self.reason is not None:
                    break
        finally:
            self.turn.end()
        return None

    def _take_one(self, data: Message) -> Awaitable[None] | None:
        """Handle one message; returned is what has to be waited for before the next, if anything has."""
        gate, bus = self.gate, self.kernel.bus
        try:
            text = data if type(data) is bytes else self._text_of(data)
            message = decode(text)
            if type(message) is InvocationResult:
                bus.result_from(self.worker, message)
                return None
            if gate is not None and not gate.passes(message):
                pass  # the gate has dealt with it
            elif type(message) is InvokeFunction and bus.pass_on(self.worker, message, text):
                return None
            else:
                with self.turn.joined():  # what it makes may be a lot
                    _HANDLERS[type(message)](self, message, text)
        except RemoteProtocolError as error:
            self._drop(data, error)
        if self.reason is not None or (self._checks is None and (gate is None or gate.pending is None)):
            return None
        return self._find_out()

    async def _find_out(self) -> None:
        """Wait for what has to be known before the next message."""
        if self.gate is not None:
            await self.gate.finish()
        if self._checks is not None:
            checks, self._checks = self._checks, None
            await checks()
        self.socket.heard = True  # the silence was ours

    async def _resume(self, waiting: Awaitable[None], rest: list[Message]) -> None:
        """Wait for what has to be known first, then go on with the messages behind."""
        await waiting
        if rest and self.reason is None and (more := self._take(rest)) is not None:
            await more

    def _drop(self, data: Message, error: RemoteProtocolError) -> None:
        """A malformed message leaves a line in the log (2.2), an empty one nothing."""
        if bytes(data).strip():
            _log.warning("dropped a message of worker %s: %s", self.worker.id, shown(error))

    def _text_of(self, data: Message) -> bytes:
        """A binary message is telemetry, or protocol JSON all the same (1.2)."""
        binary = bytes(data)
        if binary[:4] in _TELEMETRY:
            return b'{"type":"pong"}'
        try:
            binary.decode()
        except UnicodeDecodeError as error:
            raise RemoteProtocolError(f"a binary message that is neither telemetry nor UTF-8: {error}") from error
        return binary

    # --- one handler per message ------------------------------------------------------------------------------------

    def on_invoke(self, message: InvokeFunction, text: bytes) -> None:
        if message.function_id == ANNOUNCE and message.namespace in {None, DEFAULT_NAMESPACE}:
            self._announce_by_call(message)
        else:
            self.kernel.bus.invoke_from(self.worker, message, text)

    def _announce_by_call(self, message: InvokeFunction) -> None:
        """Applied in the reader's order: what follows may rely on the namespace (1.4)."""
        bus = self.kernel.bus
        try:
            said = decode_announcement(message.data if message.data is not ABSENT else b"null")
            self._announce(said)
        except InvocationError as error:
            bus.refuse(self.worker, message, error)
        else:
            if message.action is None:
                bus.answer(self.worker, message, {"success": True})

    def _announce(self, said: Announcement) -> None:
        if self.gate is not None:
            self.gate.admit(said)
        try:
            self.kernel.announce(self.worker, said)
        except NameConflict as conflict:
            self.worker.tell(
                RegistrationRejected(
                    Codes.WORKER_NAMESPACE_CONFLICT, conflict.namespace, conflict.owner_id, worker_name=conflict.name
                )
            )
            self.stop(CloseReason.NAME_CONFLICT)
        if self.gate is not None:
            self.gate.settle()

    def on_register_worker(self, message: RegisterWorker, _: bytes) -> None:
        try:
            self._announce(message)
        except InvocationError as error:
            raise RemoteProtocolError(str(error)) from error

    def on_bad_action(self, message: BadAction, _: bytes) -> None:
        self.kernel.bus.refuse_action(self.worker, message)

    def on_register(self, message: Any, _: bytes) -> None:
        self.kernel.registrations.take(self.worker, message)

    def on_register_function(self, message: RegisterFunction, text: bytes) -> None:
        if is_http_invoked(message):
            self._checks = partial(self.kernel.registrations.take_http_function, self.worker, message)
        else:
            self.on_register(message, text)

    def on_trigger_result(self, message: TriggerRegistrationResult, _: bytes) -> None:
        triggers = self.kernel.triggers
        if message.error is None:
            triggers.accepted_by_provider(self.worker, message.id)
        else:
            triggers.refused_by_provider(self.worker, message.id, message.error)

    def on_ping(self, _: Ping, __: bytes) -> None:
        self.worker.tell(Pong())

    def on_reattach(self, message: Reattach, _: bytes) -> None:
        """Retire the previous connection of the same worker (3.5); complete when this returns."""
        previous = self.kernel.workers.get(message.previous_worker_id)
        token = (message.reattach_token or "").encode()
        if previous is None or previous is self.worker or previous.close is None:
            return
        if hmac.compare_digest(token, previous.reattach_token.encode()):
            previous.close(CloseReason.REATTACHED)

    def on_ignore(self, _: Any, __: bytes) -> None:
        """Messages that only the engine sends, and `pong`."""


def _kept(batch: list[Message]) -> list[Message]:
    """The same messages, none of them in the buffer that all connections receive into: they survive a wait."""
    return [data if type(data) is bytes else memoryview(bytes(data)) for data in batch]


_HANDLERS: Final[dict[type, Callable[[Connection, Any, bytes], None]]] = {
    InvokeFunction: Connection.on_invoke,
    BadAction: Connection.on_bad_action,
    RegisterWorker: Connection.on_register_worker,
    RegisterFunction: Connection.on_register_function,
    UnregisterFunction: Connection.on_register,
    RegisterTriggerType: Connection.on_register,
    UnregisterTriggerType: Connection.on_register,
    RegisterTrigger: Connection.on_register,
    UnregisterTrigger: Connection.on_register,
    RegisterService: Connection.on_register,
    TriggerRegistrationResult: Connection.on_trigger_result,
    Ping: Connection.on_ping,
    Reattach: Connection.on_reattach,
    Pong: Connection.on_ignore,
    WorkerRegistered: Connection.on_ignore,
    RegistrationRejected: Connection.on_ignore,
}
