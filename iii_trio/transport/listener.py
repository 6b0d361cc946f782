"""The worker listener: accepts, answers the opening handshake, and hands each worker to its connection actor."""

import errno
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus

import attrs
import trio

from actors import Child, DynamicSupervisor, Exit, MaxChildrenReached, SupervisorStopped
from iii_trio.kernel import Channel, Kernel, Policy, Session
from iii_trio.sockets import (
    BROKEN,
    RECEIVE_SIZE,
    ByteStream,
    CloseReason,
    Heartbeat,
    KnownPath,
    Outbox,
    OutboxLimits,
    Refusal,
    SpareBuffers,
    Turn,
    Upgrade,
    WebSocket,
    own_stream,
    read_upgrade,
    refusal_response,
)

from .access import Gate
from .admission import Admission
from .channels import CHANNELS, OUTBOX, ChannelEnd, find_channel, open_end, problem_with
from .connection import Connection
from .telemetry import TelemetrySink

_log = logging.getLogger("iii_trio.listener")
WORKERS, TELEMETRY = "/", "/otel"
_PATHS = KnownPath(WORKERS, TELEMETRY, prefix=CHANNELS, problem_with=problem_with)
_NO_CHANNEL = Refusal(HTTPStatus.NOT_FOUND, "Channel not found")
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_ACCEPT_PAUSE = 0.1

Listeners = Sequence[trio.abc.Listener[trio.abc.Stream]]
OpenListeners = Callable[[], Awaitable[Listeners]]
Peer = Admission | Connection | TelemetrySink | ChannelEnd


@attrs.frozen
class ListenerSettings:
    """How a listener treats its peers; all times in seconds."""

    handshake_timeout: float = 10.0
    heartbeat: Heartbeat = attrs.field(factory=Heartbeat)
    outbox: OutboxLimits = attrs.field(factory=OutboxLimits)
    namespace_grace: float = 5.0


@attrs.frozen
class ListenerStatistics:
    """Open connections, those not let in yet, and how every closed one ended."""

    workers: int
    telemetry: int
    closed: dict[str, int]
    entering: int = 0
    channel_ends: int = 0


@attrs.define(eq=False, repr=False)
class WorkerListener:
    """Accepts workers on one address. Connections live in `connections` and outlast a crash of the accept loop."""

    kernel: Kernel
    connections: DynamicSupervisor
    settings: ListenerSettings
    turn: Turn
    open_listeners: OpenListeners
    """Binds the address, anew at every start; raises OSError."""

    policy: Policy | None = None
    """Whom to let in, and what they may do; None: everybody, everything."""

    _shared: memoryview = attrs.field(factory=lambda: memoryview(bytearray(RECEIVE_SIZE)))
    _spares: SpareBuffers = attrs.field(factory=SpareBuffers)
    _open: dict[str, Peer] = attrs.field(factory=dict)
    _closed: Counter[str] = attrs.field(factory=Counter)
    _accepting: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Bind, accept until told to stop, keep the heartbeat until cancelled."""
        listeners = await self.open_listeners()
        self._accepting = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.settings.heartbeat.run, self._open.values, self.kernel.clock.monotonic)
            with self._accepting:
                async with trio.open_nursery() as accepting:
                    for listener in listeners:
                        accepting.start_soon(self._accept, listener)
                    task_status.started()

    def stop_accepting(self) -> None:
        """Close the address; open connections stay. Part of the drain."""
        self._accepting.cancel(reason="the engine is draining")

    async def _accept(self, listener: trio.abc.Listener[trio.abc.Stream]) -> None:
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except trio.ClosedResourceError:
                    return
                except OSError as error:
                    if error.errno not in _EXHAUSTED:
                        raise
                    _log.error("cannot accept a connection: %s; trying again", error.strerror)
                    await trio.sleep(_ACCEPT_PAUSE)
                    continue
                self.serve(stream)

    def serve(self, accepted: trio.abc.Stream) -> Child | None:
        """Take one connected stream as a child of `connections`; refuse it when there are too many."""
        try:
            stream = own_stream(accepted, self._shared)
        except OSError:
            return None  # gone before it was accepted
        try:
            worker_id = self.kernel.ids.new()
            child = self.connections.start_soon(
                self._serve, stream, worker_id, name=worker_id, on_exit=partial(self._ended, stream)
            )
        except (MaxChildrenReached, SupervisorStopped):
            self._closed[CloseReason.TOO_MANY_CONNECTIONS] += 1
            stream.close()
            return None
        child.request_stop = partial(self._request_stop, worker_id, child)
        return child

    def _ended(self, stream: ByteStream, _: Exit) -> None:
        stream.close()

    async def _serve(self, stream: ByteStream, worker_id: str) -> None:
        with trio.move_on_after(self.settings.handshake_timeout) as deadline:
            request = await read_upgrade(stream, _PATHS)
            channel: Channel | None = None
            if isinstance(request, Upgrade) and request.path.startswith(CHANNELS):
                channel = find_channel(self.kernel.channels, request)
                request = _NO_CHANNEL if channel is None else request
            if isinstance(request, Refusal):
                self._closed[CloseReason.HANDSHAKE_REFUSED] += 1
                await _say(stream, refusal_response(request))
                return
        if deadline.cancelled_caught:
            self._closed[CloseReason.HANDSHAKE_TIMEOUT] += 1
        elif isinstance(request, Upgrade):
            await self._upgraded(stream, worker_id, request, channel)

    async def _upgraded(self, stream: ByteStream, worker_id: str, request: Upgrade, channel: Channel | None) -> None:
        async with trio.open_nursery() as nursery:
            peer: Peer | None = None

            def fail(reason: CloseReason) -> None:
                assert peer is not None  # nothing is sent before there is one
                peer.stop(reason)

            limits = self.settings.outbox if channel is None else OUTBOX
            outbox = Outbox(stream, self.turn, partial(nursery.start_soon), fail, limits)
            now = self.kernel.clock.monotonic
            socket = WebSocket(stream, outbox, now, heard_at=now(), spares=self._spares)
            try:
                self._open[worker_id] = peer = self._newcomer(request, socket, worker_id, channel)
                socket.begin(request.response, request.leftover)
                if isinstance(peer, Admission) and (session := await peer.run()) is not None:
                    self._open[worker_id] = peer = self._peer(request, socket, worker_id, session)
                if not isinstance(peer, Admission):
                    await peer.run()
            finally:
                self._open.pop(worker_id, None)
                nursery.cancel_scope.cancel()

    def _newcomer(self, request: Upgrade, socket: WebSocket, worker_id: str, channel: Channel | None) -> Peer:
        """Who is served first: on a guarded listener somebody who has not been let in yet. A channel has its key (11.4)."""
        if channel is not None:
            return open_end(channel, request, socket, self.turn, self._count_end)
        if self.policy is None:
            return self._peer(request, socket, worker_id, None)
        return Admission(self.kernel, self.policy, request, socket, self._count_end)

    def _peer(
        self, request: Upgrade, socket: WebSocket, worker_id: str, session: Session | None
    ) -> Connection | TelemetrySink:
        """What serves a path once its peer is let in."""
        if request.path == WORKERS:
            return self._connection(socket, worker_id, session)
        return TelemetrySink(socket, self._count_end)

    def _connection(self, socket: WebSocket, worker_id: str, session: Session | None) -> Connection:
        address = socket.stream.peer_address
        worker = self.kernel.connect(worker_id, outlet=socket.outbox, ip_address=address, session=session)
        settled_by = self.kernel.clock.monotonic() + self.settings.namespace_grace
        gate = Gate(self.kernel, worker, session) if session is not None else None
        return Connection(self.kernel, worker, socket, self.turn, settled_by, self._count_end, gate)

    def _count_end(self, reason: CloseReason) -> None:
        self._closed[reason] += 1

    def _request_stop(self, worker_id: str, child: Child) -> None:
        """The engine stops: a peer hears so, one that is still shaking hands is dropped."""
        peer = self._open.get(worker_id)
        if peer is None:
            child.cancel("the engine is stopping")
        else:
            peer.stop(CloseReason.SHUTDOWN)

    def statistics(self) -> ListenerStatistics:
        """Counts, for monitoring."""
        kinds = Counter(type(peer) for peer in self._open.values())
        workers, telemetry, entering = kinds[Connection], kinds[TelemetrySink], kinds[Admission]
        channel_ends = len(self._open) - workers - telemetry - entering
        return ListenerStatistics(workers, telemetry, dict(self._closed), entering, channel_ends)


async def _say(stream: ByteStream, data: bytes) -> None:
    """Send a short answer whole; the deadline is the caller's."""
    try:
        while data:
            data = data[await stream.send_some((data,), len(data)) :]
        stream.end_sending()
    except BROKEN:
        pass  # the peer did not wait for its refusal
