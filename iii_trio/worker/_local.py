"""A worker inside the engine's process: its calls go straight over the bus, and no socket is involved."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from iii_trio.kernel import DEFAULT_NAMESPACE, Function, Kernel, NameConflict
from iii_trio.kernel import Worker as Record
from iii_trio.kernel.workers import check_namespace
from iii_trio.protocol import BadAction, Buffer, Payload, decode
from iii_trio.protocol.errors import Codes, WorkerDisconnected
from iii_trio.protocol.messages import (
    ABSENT,
    Enqueue,
    InvocationResult,
    InvokeFunction,
    TriggerRegistrationResult,
    Void,
)

from ._errors import WorkerRejected
from ._functions import OfferedFunction
from ._identity import identify
from ._link import LinkStatistics, Registration
from ._local_channels import LocalEnds
from ._nursery import open_bare_nursery
from ._pending import PendingCalls
from ._trace import Trace
from ._triggers import Triggers
from ._worker import Worker


@attrs.define(eq=False)
class LocalLink:
    """A link to a kernel in this process; also the outlet through which the kernel tells this worker something."""

    _kernel: Kernel
    _record: Record
    _triggers: Triggers
    _pending: PendingCalls = attrs.field(factory=PendingCalls)

    @property
    def worker_id(self) -> str:
        return self._record.id

    # --- what the worker says ---------------------------------------------------------------------------------------

    def offer(self, function: OfferedFunction) -> None:
        self._check_open()
        self._kernel.functions.add(
            Function(
                function.id,
                self._record,
                self._record.home,
                handler=function.run,
                description=function.description,
                request_format=function.request_format,
                response_format=function.response_format,
                metadata=function.metadata,
            )
        )

    def withdraw(self, function_id: str) -> bool:
        return self._kernel.functions.remove(self._record, self._record.home, function_id)

    def register(self, message: Registration) -> None:
        self._check_open()
        self._kernel.registrations.take(self._record, message)

    async def wait_room(self) -> None:
        await trio.lowlevel.checkpoint()

    async def call(
        self, function_id: str, payload: Payload, namespace: str | None, metadata: Payload | None, trace: Trace
    ) -> Payload:
        self._check_open()
        return await self._kernel.bus.invoke(
            function_id,
            payload,
            namespace=namespace,
            caller=self._record,
            metadata=metadata,
            traceparent=trace[0],
            baggage=trace[1],
        )

    async def notify(
        self, function_id: str, payload: Payload, namespace: str | None, metadata: Payload | None, trace: Trace
    ) -> None:
        self._check_open()
        more = ABSENT if metadata is None else metadata.raw
        message = InvokeFunction(function_id, None, payload.raw, Void(), *trace, more, namespace)
        self._kernel.bus.invoke_from(self._record, message, bytes(payload.raw))
        await trio.lowlevel.checkpoint()

    async def enqueue(
        self, queue: str, function_id: str, payload: Payload, namespace: str | None, trace: Trace
    ) -> Payload:
        self._check_open()
        invocation_id = self._kernel.ids.new()
        message = InvokeFunction(function_id, invocation_id, payload.raw, Enqueue(queue), *trace, ABSENT, namespace)
        with self._pending.expect(invocation_id) as slot:
            self._kernel.bus.invoke_from(self._record, message, b"")
            return await slot.wait()

    def close(self) -> None:
        """Leave the kernel: functions, triggers and types go, running handlers are cancelled, calls fail."""
        self._kernel.disconnect(self._record)
        self._pending.fail(WorkerDisconnected("the worker has ended"))

    def statistics(self) -> LinkStatistics:
        record = self._record
        waiting = len(record.calling) + len(self._pending)
        return LinkStatistics(not record.closing, 1, len(record.functions), len(record.executing), waiting, 0)

    def _check_open(self) -> None:
        if self._record.closing:
            raise WorkerDisconnected("the worker has ended")

    # --- what the kernel says (the `Outlet` of its record; nothing is queued, so there is always room) --------------

    @property
    def is_full(self) -> bool:
        return False

    def has_room(self, size: int) -> bool:  # noqa: ARG002  # the interface of an outlet
        return True

    def send(self, pieces: Sequence[Buffer], size: int) -> None:  # noqa: ARG002  # as above
        message = decode(b"".join(pieces))
        if isinstance(message, InvocationResult):
            self._pending.settle(message)
        elif not isinstance(message, BadAction):
            self._triggers.take(message, self._answer)

    def _answer(self, result: TriggerRegistrationResult) -> None:
        if result.error is not None:
            self._kernel.triggers.refused_by_provider(self._record, result.id, result.error)


@asynccontextmanager
async def open_local_worker(
    kernel: Kernel, name: str, *, namespace: str = DEFAULT_NAMESPACE, description: str | None = None
) -> AsyncIterator[Worker]:
    """A worker in the process of the engine, for the length of a block (config-cli-modules 9, wire-protocol 3).

    The same `Worker` as over a socket, but a call from one such worker to another touches none. Payloads cross
    encoded, so that nothing mutable is shared. At the end of the block its registrations go and its handlers are
    cancelled; an error of the block arrives bare.

    Raises WorkerRejected if the name is taken in that namespace; InvalidNamespace if that is blank.
    """
    announcement = identify(name, check_namespace(namespace), description)
    record = kernel.connect()
    try:
        kernel.announce(record, announcement)
    except NameConflict as conflict:
        kernel.disconnect(record)
        code = Codes.WORKER_NAMESPACE_CONFLICT
        raise WorkerRejected(code, namespace, name, conflict.owner_id) from conflict
    async with open_bare_nursery(f"worker {name} has ended") as nursery:
        triggers = Triggers(nursery.start_soon)
        record.outlet = link = LocalLink(kernel, record, triggers)
        ends = LocalEnds(kernel.channels)
        try:
            yield Worker(record.name or name, namespace, link, triggers, kernel.ids, ends)
        finally:
            ends.close()
            link.close()
