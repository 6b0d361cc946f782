from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from actors import DynamicSupervisor
from iii_trio.protocol.errors import IIIError
from iii_trio.protocol.messages import Announcement

from .bus import Bus
from .channel_registry import ChannelLimits, ChannelRegistry, ChannelStatistics
from .clock import Clock, Ids, SystemClock
from .events import KernelEvents
from .functions import FunctionRegistry, FunctionStatistics
from .http_functions import HttpFunctions
from .invocations import Ledger, LedgerStatistics, Limits
from .registrations import Registrations
from .services import ServiceRegistry
from .triggers import TriggerRegistry, TriggerStatistics
from .workers import Worker, WorkerRegistry, WorkerStatistics, check_namespace


class NameConflict(IIIError):
    """A modern worker announced a name that a live connection holds (wire-protocol 3.4)."""

    def __init__(self, namespace: str, name: str, owner_id: str) -> None:
        super().__init__(f"worker name {name} in namespace {namespace} is held by {owner_id}")
        self.namespace, self.name, self.owner_id = namespace, name, owner_id


@attrs.frozen
class KernelStatistics:
    """Everything the kernel counts, in one picture."""

    workers: WorkerStatistics
    functions: FunctionStatistics
    triggers: TriggerStatistics
    invocations: LedgerStatistics
    refused: int
    services: int
    channels: ChannelStatistics
    resting_runners: int
    """Tasks among the running invocations that wait for the next handler."""


@attrs.define(eq=False, repr=False)
class Kernel:
    """What survives the crash of any part: registries, ledger and bus, as plain objects without a task.

    Everything that changes several registries at once is a method here, and none of them waits: a change is atomic.
    """

    clock: Clock = attrs.field(factory=SystemClock)
    ids: Ids = attrs.field(factory=Ids)
    limits: Limits = attrs.field(factory=Limits)
    channel_limits: ChannelLimits = attrs.field(factory=ChannelLimits)
    events: KernelEvents = attrs.field(factory=KernelEvents)
    services: ServiceRegistry = attrs.field(factory=ServiceRegistry)
    invocations: DynamicSupervisor = attrs.field(factory=lambda: DynamicSupervisor("invocations"))
    http_functions: HttpFunctions = attrs.field(factory=HttpFunctions)
    _at_drain: dict[int, Callable[[], object]] = attrs.field(factory=dict)
    workers: WorkerRegistry = attrs.field(init=False, factory=WorkerRegistry)
    functions: FunctionRegistry = attrs.field(init=False)
    triggers: TriggerRegistry = attrs.field(init=False)
    ledger: Ledger = attrs.field(init=False)
    bus: Bus = attrs.field(init=False)
    registrations: Registrations = attrs.field(init=False)
    channels: ChannelRegistry = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.functions = FunctionRegistry(self.events)
        self.triggers = TriggerRegistry(self.events)
        self.ledger = Ledger(self.events)
        self.bus = Bus(self.functions, self.ledger, self.invocations, self.ids, self.limits)
        self.channels = ChannelRegistry(self.clock, self.ids, self.channel_limits)
        self.registrations = Registrations(self.functions, self.triggers, self.services, self.http_functions)

    def connect(self, worker_id: str | None = None, **details: Any) -> Worker:
        """Enter a new worker under a fresh (or the given unused) id and a fresh token (3.1)."""
        worker = Worker(
            worker_id or self.ids.new(), reattach_token=self.ids.new(), connected_at=self.clock.now(), **details
        )
        self.workers.add(worker)
        self.events.emit("worker_connected", worker.id)
        return worker

    def announce(self, worker: Worker, said: Announcement) -> None:
        """Take an announcement (3.3): name lease, details, namespace, held registrations.

        Raises InvalidNamespace, or NameConflict, after which the caller must end the connection.
        """
        namespace = check_namespace(said.namespace)
        worker.describe(said)
        home = worker.namespace or namespace
        holder = self.workers.claim(worker, home, worker.name, modern=worker.is_modern)
        if holder is not None:
            raise NameConflict(home, worker.name or "", holder.id)
        self.registrations.fix_namespace(worker, namespace)
        self.events.emit("worker_metadata_updated", worker.id)

    def disconnect(self, worker: Worker) -> None:
        """Undo everything a worker did, exactly once and in the order of 3.6. Never waits."""
        if worker.closing:
            return
        worker.closing = True
        worker.early.clear()
        self.functions.remove_all(worker)
        self.ledger.drop_worker(worker)
        self.triggers.drop_worker(worker)
        self.workers.remove(worker)
        self.events.emit("worker_disconnected", worker.id)

    @contextmanager
    def when_draining(self, stop_accepting: Callable[[], object]) -> Iterator[None]:
        """For the length of a block, have `stop_accepting` called when the engine begins to stop.

        For whoever takes work from outside the bus. It must neither wait nor raise.
        """
        self._at_drain[id(stop_accepting)] = stop_accepting
        try:
            yield
        finally:
            del self._at_drain[id(stop_accepting)]

    async def drain(self) -> None:
        """Refuse new work with `shutting_down` and wait until no call and no held channel is left; the caller's scope is the deadline."""
        self.bus.draining = True
        for stop_accepting in tuple(self._at_drain.values()):
            stop_accepting()
        await self.ledger.wait_empty()
        await self.channels.wait_let_go()

    def statistics(self) -> KernelStatistics:
        """Counts of every registry, for monitoring and leak tests."""
        return KernelStatistics(
            self.workers.statistics(),
            self.functions.statistics(),
            self.triggers.statistics(),
            self.ledger.statistics(),
            self.bus.refused,
            self.services.statistics(),
            self.channels.statistics(),
            self.bus.runners.resting,
        )
