"""The engine's side of a worker's connections, over memory streams and under the test's command."""

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import attrs
import trio
import trio.testing
from trio_websocket import CloseReason, ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from iii_trio.worker import Worker, connect


@attrs.define(eq=False)
class Peer:
    """One connection as the engine sees it."""

    socket: WebSocketConnection
    request: WebSocketRequest
    stream: Any
    worker_id: str
    token: str
    invocations: int = 0

    async def say(self, **message: Any) -> None:
        await self.socket.send_message(json.dumps(message))

    async def say_text(self, text: str | bytes) -> None:
        await self.socket.send_message(text)

    async def hear(self, *types: str) -> dict[str, Any]:
        """The next message, of one of these types if any are given (others are skipped)."""
        while True:
            message: dict[str, Any] = json.loads(await self.socket.get_message())
            if not types or message["type"] in types:
                return message

    async def hear_all(self) -> list[dict[str, Any]]:
        """Everything said until the worker has nothing more to say."""
        said: list[dict[str, Any]] = []
        with trio.move_on_after(0.1):  # virtual time: it passes only when every task is blocked
            while True:
                said.append(await self.hear())
        return said

    async def wait_closed(self) -> CloseReason:
        """Why the connection ended."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.socket.get_message()
        assert self.socket.closed is not None
        return self.socket.closed

    async def drop(self) -> None:
        """End the stream without a goodbye."""
        await trio.aclose_forcefully(self.stream)

    async def answer(self, call: dict[str, Any], **outcome: Any) -> None:
        await self.say(
            type="invocationresult", invocation_id=call["invocation_id"], function_id=call["function_id"], **outcome
        )

    async def invoke(self, function_id: str, data: Any = None, **more: Any) -> str:
        self.invocations += 1
        invocation_id = f"00000000-0000-4000-8000-{self.invocations:012}"
        await self.say(type="invokefunction", function_id=function_id, invocation_id=invocation_id, data=data, **more)
        return invocation_id

    async def call(self, function_id: str, data: Any = None, **more: Any) -> dict[str, Any]:
        """Invoke a function of the worker and wait for its answer."""
        invocation_id = await self.invoke(function_id, data, **more)
        while (answer := await self.hear("invocationresult"))["invocation_id"] != invocation_id:
            pass
        return answer


@attrs.define(eq=False)
class _Recording(trio.abc.Stream):
    """The worker's stream. It notes how much is sent at once: one frame, with trio-websocket."""

    stream: Any
    engine: "FakeEngine"

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.engine.writes.append(len(data))
        while self.engine.stuck:
            await trio.sleep(0.01)
            if self.engine.broken:
                self.engine.stuck = self.engine.broken = False
                raise trio.BrokenResourceError("the network is unreachable")
        if not self.engine.deaf:
            await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self.engine.resets:
            raise trio.BrokenResourceError("connection reset by peer")
        received: bytes | bytearray = await self.stream.receive_some(max_bytes)
        return received

    async def aclose(self) -> None:
        await self.stream.aclose()


@attrs.define(eq=False)
class FakeEngine:
    """What a worker connects to. `attempts` are the virtual times at which it tried, `writes` the sizes
    of what it sent at once. While `down` it is refused, while `deaf` nothing it sends arrives, while `stuck` it cannot send,
    and fails once it is `broken`; while it `resets`, reading fails."""

    nursery: trio.Nursery
    down: bool = False
    deaf: bool = False
    stuck: bool = False
    broken: bool = False
    resets: bool = False
    attempts: list[float] = attrs.field(factory=list)
    writes: list[int] = attrs.field(factory=list)
    _streams: list[Any] = attrs.field(factory=list)
    _arrived: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _peers: int = 0

    async def open_stream(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.attempts.append(trio.current_time())
        if self.down:
            raise ConnectionRefusedError("nobody listens here")
        client, server = trio.testing.memory_stream_pair()
        self._streams.append(server)
        self._arrived.unpark()
        return _Recording(client, self)

    async def next_stream(self) -> Any:
        while not self._streams:
            await self._arrived.park()
        return self._streams.pop(0)

    async def accept(self, *, greet: bool = True) -> Peer:
        """Take the next connection."""
        stream = await self.next_stream()
        request = await wrap_server_stream(self.nursery, stream, max_message_size=1 << 27, message_queue_size=1_000)
        socket = await request.accept()
        self._peers += 1
        peer = Peer(socket, request, stream, f"worker-{self._peers}", f"token-{self._peers}")
        if greet:
            await peer.say(type="workerregistered", worker_id=peer.worker_id, reattach_token=peer.token)
        return peer

    @asynccontextmanager
    async def worker(self, **options: Any) -> AsyncIterator[tuple[Worker, Peer]]:
        """A connected worker and its first connection, whose announcement has been heard."""
        peers: list[Peer] = []

        async def accept_first() -> None:
            peers.append(await self.accept())

        self.nursery.start_soon(accept_first)
        async with self.connect(**options) as worker:
            (peer,) = peers
            assert (await peer.hear())["function_id"] == "engine::workers::register"
            yield worker, peer

    def connect(self, **options: Any) -> Any:
        defaults = {"random": Random(7), "open_stream": self.open_stream}
        return connect("ws://engine.test:49134", **{**defaults, **options})


@asynccontextmanager
async def open_fake_engine() -> AsyncIterator[FakeEngine]:
    """An engine for one test, which must be over within an hour of (virtual) time."""
    deadline = trio.current_time() + 3_600
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = deadline
        yield FakeEngine(nursery)
        nursery.cancel_scope.cancel()
    assert trio.current_time() < deadline, "the test hangs"
