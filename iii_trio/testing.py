"""For tests of whole engines: a network in memory, a worker that speaks the protocol by hand, a trace of the kernel.

And for adapters: the contract of each kind as a class of tests to inherit from.

    network = MemoryNetwork()
    async with open_engine({}, host="127.0.0.1", network=network, clock=TrioClock(), random=Random(1)) as engine:
        async with open_raw_worker(await network.connect(engine.address[1])) as worker:
            outcome = await worker.call("engine::functions::list", {})
            await worker.register("shop::price")
            await worker.send("invokefunction", function_id="shop::price", data={"sku": "A-7"})
            call = await worker.take("invokefunction", function_id="shop::price")
            await worker.answer(call, result=29.7)

Under `trio.testing.MockClock(autojump_threshold=0)` nothing of this takes real time.
"""

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from .contracts import ConfigurationAdapterContract
from .kernel import Kernel
from .network import AddressTaken, Listener
from .protocol.errors import IIIError

__all__ = [
    "ConfigurationAdapterContract",
    "Disconnected",
    "MemoryListener",
    "MemoryNetwork",
    "RawWorker",
    "TraceEntry",
    "kernel_trace",
    "open_raw_worker",
]

_EPHEMERAL = 49_152
_HIGHEST_PORT = 65_535
_BACKLOG = 128
_LARGEST = 80 * 1024 * 1024
_INBOX_SIZE = 65_536

StreamPair = tuple[trio.abc.Stream, trio.abc.Stream]
Message = dict[str, Any]
TraceEntry = tuple[float, str, str]
"""Virtual time in seconds, kind of the kernel event, id it is about."""


class Disconnected(IIIError):
    """The connection of a `RawWorker` has ended. `code` is the status of the `Close`, None without one."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the engine ended the connection ({code})")
        self.code = code


# --- the network ------------------------------------------------------------------------------------------------------


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts the far ends of streams in memory; a bounded backlog holds those that nobody accepted yet."""

    def __init__(self, port: int, on_closed: Callable[["MemoryListener"], None]) -> None:
        self.port = port
        self._on_closed = on_closed
        self._arrive, self._arrived = trio.open_memory_channel[trio.abc.Stream](_BACKLOG)

    async def accept(self) -> trio.abc.Stream:
        try:
            return await self._arrived.receive()
        except trio.EndOfChannel:
            raise trio.ClosedResourceError from None

    async def arrive(self, stream: trio.abc.Stream) -> None:
        """Queue a stream for `accept`; raises ConnectionRefusedError once the listener is closed."""
        try:
            await self._arrive.send(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ConnectionRefusedError(f"nobody listens on port {self.port} any more") from None

    async def aclose(self) -> None:
        """Refuse newcomers, and cut those who wait. Safe to repeat; done even when cancelled."""
        self._on_closed(self)
        self._arrive.close()
        waiting = []
        while self._arrived.statistics().current_buffer_used:
            waiting.append(self._arrived.receive_nowait())
        self._arrived.close()
        for stream in waiting:
            await trio.aclose_forcefully(stream)
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class MemoryNetwork:
    """An `iii_trio.network.Network` inside the process: ports are numbers, hosts do not matter.

    Args:
      make_pair: a new connection as (client's end, engine's end). The default buffers without bound, so that no sender
        ever waits; with `trio.testing.lockstep_stream_pair` a sender waits until its peer has taken every byte.
    """

    make_pair: Callable[[], StreamPair] = trio.testing.memory_stream_pair
    _ports: dict[int, MemoryListener] = attrs.field(factory=dict, init=False)

    async def open_listeners(self, host: str, port: int) -> Sequence[Listener]:
        """Listen; port 0 takes the lowest free one from 49152 on. Raises AddressTaken."""
        await trio.lowlevel.checkpoint()
        if port in self._ports:
            raise AddressTaken(host, port, None)
        chosen = port or next(free for free in range(_EPHEMERAL, _HIGHEST_PORT) if free not in self._ports)
        self._ports[chosen] = MemoryListener(chosen, self._closed)
        return [self._ports[chosen]]

    def port_of(self, listeners: Sequence[Listener]) -> int:
        """The port of what `open_listeners` returned."""
        first = listeners[0]
        assert isinstance(first, MemoryListener)
        return first.port

    async def connect(self, port: int) -> trio.abc.Stream:
        """A stream to whoever listens there; raises ConnectionRefusedError if nobody does."""
        listener = self._ports.get(port)
        if listener is None:
            await trio.lowlevel.checkpoint()
            raise ConnectionRefusedError(f"nobody listens on port {port}")
        ours, theirs = self.make_pair()
        await listener.arrive(theirs)
        return ours

    def _closed(self, listener: MemoryListener) -> None:
        if self._ports.get(listener.port) is listener:
            del self._ports[listener.port]


# --- a worker by hand -------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class _Awaited:
    """Somebody waits for a message that fits."""

    fits: Callable[[Message], bool]
    arrived: trio.Event = attrs.field(factory=trio.Event)
    message: Message | None = None


@attrs.define(eq=False)
class RawWorker:
    """One worker connection, message by message. It answers nothing by itself; any number of tasks may use it at once.

    What nobody waits for stays in `inbox`, in the order of arrival; the last 65,536 messages are kept.
    """

    id: str
    reattach_token: str
    inbox: deque[Message] = attrs.field(factory=lambda: deque(maxlen=_INBOX_SIZE))
    disconnected: Disconnected | None = None
    _socket: WebSocketConnection = attrs.field(kw_only=True)
    _stream: trio.abc.Stream = attrs.field(kw_only=True)
    _results: dict[str, _Awaited] = attrs.field(factory=dict, init=False)
    _awaited: dict[_Awaited, None] = attrs.field(factory=dict, init=False)
    _calls: int = attrs.field(default=0, init=False)

    async def send(self, kind: str, **members: Any) -> None:
        """Send one message of type `kind`. Raises Disconnected."""
        await self.send_text(json.dumps({"type": kind, **members}))

    async def send_text(self, text: str | bytes) -> None:
        """Send any text, or any bytes as a binary message. Raises Disconnected."""
        try:
            await self._socket.send_message(text)
        except ConnectionClosed as error:
            raise _disconnected(error) from error

    async def take(self, kind: str, **members: Any) -> Message:
        """Wait for a message of type `kind` with these members, and take it. Raises Disconnected.

        Cancelled: nothing has been taken. The caller's cancel scope is the deadline.
        """

        def fits(message: Message) -> bool:
            return message["type"] == kind and all(message.get(name) == value for name, value in members.items())

        for message in self.inbox:
            if fits(message):
                self.inbox.remove(message)
                await trio.lowlevel.checkpoint()
                return message
        waiting = _Awaited(fits)
        self._awaited[waiting] = None
        try:
            return await self._wait(waiting)
        finally:
            self._awaited.pop(waiting, None)

    async def call(self, function_id: str, data: Any = None, **members: Any) -> Message:
        """Invoke and wait for the whole `invocationresult`; `invocation_id` may be given. Raises Disconnected.

        Cancelled: the answer, if it still comes, stays in `inbox`.
        """
        self._calls += 1
        invocation_id = members.pop("invocation_id", f"00000000-0000-4000-8000-{self._calls:012}")
        slot = self._results[invocation_id] = _Awaited(lambda _: True)
        try:
            await self.send(
                "invokefunction", function_id=function_id, invocation_id=invocation_id, data=data, **members
            )
            return await self._wait(slot)
        finally:
            self._results.pop(invocation_id, None)

    async def answer(self, call: Message, **outcome: Any) -> None:
        """End a taken `invokefunction`: `result=...`, `error=...`, or neither."""
        await self.send(
            "invocationresult", invocation_id=call["invocation_id"], function_id=call["function_id"], **outcome
        )

    async def register(self, *function_ids: str) -> None:
        """Offer functions; whoever takes their calls answers them."""
        for function_id in function_ids:
            await self.send("registerfunction", id=function_id)

    async def announce(self, **details: Any) -> Message:
        """Say who this is (a modern worker unless told otherwise); returns the engine's answer."""
        said = {"runtime": "python", "version": "0.25.0", **details}
        return await self.call("engine::workers::register", said)

    async def fence(self) -> None:
        """Wait until the engine has handled everything sent before."""
        await self.send("ping")
        await self.take("pong")

    async def drop(self) -> None:
        """Cut the connection without a goodbye."""
        await trio.aclose_forcefully(self._stream)

    async def run(self) -> None:
        """Receive until the connection ends. Run by `open_raw_worker`."""
        try:
            while True:
                self._deliver(json.loads(await self._socket.get_message()))
        except ConnectionClosed as error:
            self.disconnected = _disconnected(error)
        finally:
            for waiting in (*self._results.values(), *self._awaited):
                waiting.arrived.set()

    def _deliver(self, message: Message) -> None:
        slot = self._results.pop(message.get("invocation_id", ""), None) if _is_result(message) else None
        if slot is None:
            slot = next((waiting for waiting in self._awaited if waiting.fits(message)), None)
        if slot is None:
            self.inbox.append(message)
            return
        self._awaited.pop(slot, None)
        slot.message = message
        slot.arrived.set()

    async def _wait(self, waiting: _Awaited) -> Message:
        if self.disconnected is None:
            await waiting.arrived.wait()
        if waiting.message is None:
            raise self.disconnected or Disconnected(None)
        return waiting.message


def _is_result(message: Message) -> bool:
    return bool(message["type"] == "invocationresult")


def _disconnected(error: ConnectionClosed) -> Disconnected:
    return Disconnected(None if error.reason is None else error.reason.code)


@asynccontextmanager
async def open_raw_worker(stream: trio.abc.Stream, path: str = "/") -> AsyncIterator[RawWorker]:
    """A greeted worker over any connected stream, in memory or TCP; the connection is cut when the block ends.

    Raises Disconnected if the engine refuses it. An error in the block arrives bare.
    """
    error: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                socket, greeting = await _greet(nursery, stream, path)
                worker = RawWorker(greeting["worker_id"], greeting["reattach_token"], socket=socket, stream=stream)
                nursery.start_soon(worker.run, name=f"raw worker {worker.id}")
                yield worker
            except Exception as raised:  # noqa: BLE001  # raised again below, where it leaves no group
                error = raised
            finally:
                nursery.cancel_scope.cancel(reason="the block of a raw worker has ended")
                await trio.aclose_forcefully(stream)
    except* HandshakeError:  # from trio-websocket's reader
        error = Disconnected(None)
    if error is not None:
        raise error


async def _greet(nursery: trio.Nursery, stream: Any, path: str) -> tuple[WebSocketConnection, Message]:
    try:
        socket = await wrap_client_stream(nursery, stream, "engine", path, max_message_size=_LARGEST)
        greeting: Message = json.loads(await socket.get_message())
    except ConnectionClosed as error:
        raise _disconnected(error) from error
    assert greeting["type"] == "workerregistered", greeting
    return socket, greeting


# --- the trace --------------------------------------------------------------------------------------------------------


def kernel_trace(kernel: Kernel) -> list[TraceEntry]:
    """Record what the kernel does from now on as (time, kind, id), in a list that grows as long as the kernel lives.

    Pass `on_created` to `open_engine` to record from before its first event. Equal for two runs of one program whose
    clock, ids and scheduler are seeded alike.
    """
    trace: list[TraceEntry] = []
    kernel.events.listen(lambda kind, subject: trace.append((kernel.clock.monotonic(), kind, subject)))
    return trace
