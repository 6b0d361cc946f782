"""Who is connected: worker records, their names and leases (wire-protocol 3)."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import attrs

from iii_trio.protocol.codec import encode
from iii_trio.protocol.errors import InvalidNamespace
from iii_trio.protocol.messages import Announcement, Message
from iii_trio.protocol.payload import Buffer

from .labels import clean_label

if TYPE_CHECKING:
    from .access import Session
    from .functions import Function
    from .invocations import Invocation
    from .triggers import Trigger, TriggerType

DEFAULT_NAMESPACE = "default"
_UNKNOWN_RUNTIME = "unknown"
_MODERN = (0, 23, 0)
_READS_LARGE_MESSAGES = (0, 24, 5)
PYTHON_RECEIVE_LIMIT = 1 << 20
_VERSION = re.compile(r"\s*v?(\d+)\.(\d+)(?:\.(\d+))?")


class Outlet(Protocol):
    """Where messages to one worker go. Nothing here waits but `wait_room`."""

    def send(self, pieces: Sequence[Buffer], size: int) -> None:
        """Queue one message given as consecutive pieces of `size` bytes in all; sent in the order of the calls."""
        ...

    def has_room(self, size: int) -> bool:
        """Whether a new invocation of `size` bytes may still be queued; if not it is refused as `overloaded`."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether callers inside the engine should wait before queueing more."""
        ...

    async def wait_room(self) -> None:
        """Wait until the queue is below its bound or the connection has ended."""
        ...


@attrs.define(eq=False)
class Owner:
    """What hosts functions: a connected worker, a worker in this process, or a module."""

    id: str
    name: str | None = None
    functions: dict[tuple[str, str], "Function"] = attrs.field(factory=dict, repr=False)
    executing: dict[str, "Invocation"] = attrs.field(factory=dict, repr=False)
    available: bool = True


@attrs.define(eq=False)
class ModuleOwner(Owner):
    """A built-in or user module. `available` is false while it is being restarted."""


@attrs.define(eq=False)
class Worker(Owner):
    """A worker as the kernel knows it. `namespace` is None until the announcement or the grace has fixed it."""

    outlet: Outlet | None = attrs.field(default=None, repr=False)
    reattach_token: str = attrs.field(default="", repr=False)
    connected_at: float = 0.0
    ip_address: str | None = None
    namespace: str | None = None
    announced: bool = False
    chose_namespace: bool = False
    """Whether an announcement of it has named a namespace, be it `default`."""

    runtime: str = _UNKNOWN_RUNTIME
    version: str | None = None
    description: str | None = None
    os: str | None = None
    pid: int | None = None
    isolation: str | None = None
    receive_limit: int | None = None
    closing: bool = False
    close: Callable[[str], None] | None = attrs.field(default=None, repr=False)
    """Ends its connection for a reason (a `CloseReason`), with the whole cleanup done when it returns."""

    session: "Session | None" = attrs.field(default=None, repr=False)
    """What it may do; None for everything, as on a listener without access control and inside the process."""

    calling: dict[str, "Invocation"] = attrs.field(factory=dict, repr=False)
    triggers: dict[str, "Trigger"] = attrs.field(factory=dict, repr=False)
    trigger_types: dict[tuple[str, str], "TriggerType"] = attrs.field(factory=dict, repr=False)
    names: set[tuple[str, str]] = attrs.field(factory=set, repr=False)
    """Every `(namespace, name)` it holds, alone or with others."""

    early: dict[object, tuple[Message, bool]] = attrs.field(factory=dict, repr=False)
    """What it registered before its namespace was fixed, in order, and whether that is in force meanwhile; of a function
    the last registration, under its id."""

    caller_member: bytes = attrs.field(init=False, repr=False)
    """The member that names it as caller, with the end of the object it is the last member of."""

    further_caller_member: bytes = attrs.field(init=False, repr=False)
    """The same behind another member."""

    def __attrs_post_init__(self) -> None:
        self.caller_member = b'"_caller_worker_id":"%b"}' % self.id.encode()
        self.further_caller_member = b"," + self.caller_member

    def tell(self, message: Message) -> None:
        """Send it a message that answers nothing (or drop it: a worker in this process has no socket)."""
        if self.outlet is not None and not self.closing:
            text = encode(message)
            self.outlet.send((text,), len(text))

    @property
    def home(self) -> str:
        """The namespace its registrations go to, fixed or provisional."""
        return self.namespace or DEFAULT_NAMESPACE

    @property
    def is_modern(self) -> bool:
        """Whether the rules of 0.23 for owners and names apply to it as a newcomer (C1)."""
        if not self.announced:
            return False
        version = parse_version(self.version)
        return version is None or version >= _MODERN or self.chose_namespace

    def describe(self, said: Announcement) -> None:
        """Store an announcement (3.3): null keeps an earlier name, description, os, pid, isolation."""
        self.announced = True
        self.chose_namespace = self.chose_namespace or said.namespace is not None
        self.runtime = _UNKNOWN_RUNTIME if said.runtime is None else said.runtime
        self.version = said.version
        self.name = clean_label(said.name) or self.name
        self.description = clean_label(said.description) or self.description
        self.os, self.pid = said.os or self.os, said.pid if said.pid is not None else self.pid
        self.isolation = said.isolation or self.isolation
        self.receive_limit = _receive_limit(said)


def parse_version(text: str | None) -> tuple[int, int, int] | None:
    """`(major, minor, patch)` of an SDK version, None when it does not parse."""
    match = _VERSION.match(text) if text else None
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def _receive_limit(said: Announcement) -> int | None:
    """Python SDKs before 0.24.5 close their socket on a message over 1 MiB (1.2)."""
    version = parse_version(said.version)
    old = said.runtime == "python" and version is not None and version < _READS_LARGE_MESSAGES
    return PYTHON_RECEIVE_LIMIT if old and "large-messages.v1" not in (said.features or ()) else None


def check_namespace(namespace: str | None, member: str = "namespace") -> str:
    """The namespace meant by an optional one (12.3); raises InvalidNamespace, naming the member, if it is blank."""
    if namespace is None:
        return DEFAULT_NAMESPACE
    if not namespace.strip():
        raise InvalidNamespace(f"`{member}` is blank: name one, or leave it out")
    return namespace


@attrs.frozen
class WorkerStatistics:
    """Counts of the worker registry."""

    connected: int
    ever_connected: int
    names: int


@attrs.define(eq=False)
class WorkerRegistry:
    """Connected workers by id, and who holds which `(namespace, name)` (3.4): one, or several that legacy workers share."""

    _workers: dict[str, Worker] = attrs.field(factory=dict)
    _names: dict[tuple[str, str], dict[Worker, None]] = attrs.field(factory=dict)
    _seen: int = 0

    def __iter__(self) -> Iterator[Worker]:
        return iter(tuple(self._workers.values()))

    def get(self, worker_id: str) -> Worker | None:
        """The worker with that id, if it is connected."""
        return self._workers.get(worker_id)

    def add(self, worker: Worker) -> None:
        """Enter a new connection."""
        self._workers[worker.id] = worker
        self._seen += 1

    def remove(self, worker: Worker) -> None:
        """Forget a connection and every name it holds."""
        self._workers.pop(worker.id, None)
        for key in worker.names:
            holders = self._names[key]
            del holders[worker]
            if not holders:
                del self._names[key]
        worker.names.clear()

    def claim(self, worker: Worker, namespace: str, name: str | None, *, modern: bool) -> Worker | None:
        """Lease a name; returns a live holder if a modern newcomer must be refused, None when all is well."""
        if name is None:
            return None
        holders = self._names.get((namespace, name), {})
        if modern:
            holder = next((other for other in holders if other is not worker and not other.closing), None)
            if holder is not None:
                return holder
        self._names.setdefault((namespace, name), {})[worker] = None
        worker.names.add((namespace, name))
        return None

    def named(self, names: Iterable[str]) -> list[Worker]:
        """The connected workers with one of these names."""
        wanted = dict.fromkeys(names)
        return [worker for worker in self._workers.values() if worker.name in wanted]

    def statistics(self) -> WorkerStatistics:
        """Counts, for monitoring and leak tests."""
        return WorkerStatistics(len(self._workers), self._seen, len(self._names))
