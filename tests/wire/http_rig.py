"""A kernel, an http module and clients for it: over memory streams in virtual time, or over TCP on a free port."""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Literal

import attrs
import trio
import trio.testing

from iii_trio.kernel import Call, Function, Kernel, ModuleOwner, Trigger, TrioClock
from iii_trio.modules.http import (
    HttpConfig,
    HttpModule,
    HttpServer,
    OpenServer,
    RequestHandler,
    ServerLimits,
    open_fast,
    open_hypercorn,
)
from iii_trio.protocol import Payload
from iii_trio.sockets import Turn

Handler = Callable[[Call], Any]
SERVER: ContextVar[Literal["fast", "hypercorn"]] = ContextVar("server", default="fast")
"""Which server `serving` runs; tests of both ask for the fixture `server`."""


@attrs.define
class Source:
    """A streamed body: what `pieces` gives, in order; an exception among them is raised, None waits for ever."""

    pieces: list[Any]
    asked: int = 0
    cancelled: trio.Event = attrs.field(factory=trio.Event)

    async def next(self) -> bytes:
        self.asked += 1
        try:
            await trio.lowlevel.checkpoint()
            piece = self.pieces.pop(0) if self.pieces else b""
            if piece is None:
                await trio.sleep_forever()
            if isinstance(piece, BaseException):
                raise piece
            return bytes(piece)
        except trio.Cancelled:
            self.cancelled.set()
            raise


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts the server sides of memory streams."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](64)
        self.closed = False
        self.failures: list[OSError] = []

    async def accept(self) -> trio.abc.Stream:
        if self.failures:
            raise self.failures.pop()
        try:
            return await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise trio.ClosedResourceError from None

    async def aclose(self) -> None:
        self.closed = True
        self._send.close()
        self._receive.close()
        await trio.lowlevel.checkpoint()

    async def connect(self, wrap: Callable[[Any], trio.abc.Stream] = lambda stream: stream) -> trio.abc.Stream:
        client, server = trio.testing.memory_stream_pair()
        await self.offer(wrap(server))
        return client

    async def offer(self, server: trio.abc.Stream) -> None:
        """Have it accept the server's side of a stream."""
        await self._send.send(server)


class Wrapped(trio.abc.HalfCloseableStream):
    """A stream that behaves differently where a subclass says so; `closed` is set at its end."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream, self.closed = stream, trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.stream.receive_some(max_bytes))

    async def send_all(self, data: Any) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def aclose(self) -> None:
        self.closed.set()
        await self.stream.aclose()


@attrs.define
class MemoryNetwork:
    """One memory listener per bind; `taken` is raised instead."""

    taken: OSError | None = None
    bound: list[tuple[str, int]] = attrs.field(factory=list)
    listener: MemoryListener | None = None

    async def open_listeners(self, host: str, port: int) -> list[trio.abc.Listener[trio.abc.Stream]]:
        await trio.lowlevel.checkpoint()
        if self.taken is not None:
            raise self.taken
        self.bound.append((host, port))
        self.listener = MemoryListener()
        return [self.listener]

    def port_of(self, listeners: Any) -> int:
        assert listeners == [self.listener]
        return 4711

    async def connect(self) -> trio.abc.Stream:
        assert self.listener is not None
        return await self.listener.connect()


class TcpNetwork:
    """The loopback interface."""

    port = 0

    async def open_listeners(self, host: str, port: int) -> list[trio.SocketListener]:
        return await trio.open_tcp_listeners(port, host=host)

    def port_of(self, listeners: Any) -> int:
        self.port = listeners[0].socket.getsockname()[1]
        return self.port

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)


@attrs.define
class Answer:
    """One response as it came: status line, header fields in order, body."""

    line: str
    fields: list[tuple[str, str]]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.line.split()[1])

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def __getitem__(self, name: str) -> str:
        return self.all(name)[0]


@attrs.define
class Client:
    """A raw client: bytes out, responses in."""

    stream: trio.abc.Stream
    _buffer: bytes = b""

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            await self.stream.send_all(piece)

    async def read(self, *, head_only: bool = False) -> Answer:
        """The next response; `head_only` for one to HEAD."""
        answer = await self.read_head()
        if ("transfer-encoding", "chunked") in answer.fields and not head_only:
            pieces = []
            while piece := await self.read_chunk():
                pieces.append(piece)
            answer.body = b"".join(pieces)
            return answer
        size = 0 if head_only or answer.status in {100, 204, 304} else int(answer["content-length"])
        while len(self._buffer) < size:
            await self._more()
        answer.body, self._buffer = self._buffer[:size], self._buffer[size:]
        return answer

    async def read_head(self) -> Answer:
        """The next response without its body, which is to be read next."""
        while b"\r\n\r\n" not in self._buffer:
            await self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        return Answer(lines[0], fields, b"")

    async def read_chunk(self) -> bytes:
        """The next chunk of a body, empty at its end."""
        size = int(await self._until(b"\r\n"), 16)
        while len(self._buffer) < size + 2:
            await self._more()
        chunk, end, self._buffer = self._buffer[:size], self._buffer[size : size + 2], self._buffer[size + 2 :]
        assert end == b"\r\n"
        return chunk

    async def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            await self._more()
        line, _, self._buffer = self._buffer.partition(end)
        return line

    async def _more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise EOFError(self._buffer)
        self._buffer += bytes(data)

    async def ends(self) -> bool:
        """Wait for the server's end; False if something else comes."""
        return not self._buffer and not await self.stream.receive_some(1)

    async def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        await self.send(request(method, path, headers, body))
        return await self.read(head_only=method == "HEAD")


def request(method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> bytes:
    """A request as bytes."""
    fields = {
        "host": "h.example",
        **({"content-length": str(len(body))} if body is not None else {}),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")


@attrs.define
class Rig:
    """A running module and what a test needs around it."""

    kernel: Kernel
    module: HttpModule
    network: Any
    nursery: trio.Nursery
    scope: trio.CancelScope
    ended: trio.Event
    host: ModuleOwner = attrs.field(factory=lambda: ModuleOwner("test", "test"))
    calls: list[Call] = attrs.field(factory=list)
    clients: list[Client] = attrs.field(factory=list)
    _numbers: Iterator[int] = attrs.field(factory=lambda: iter(range(10_000)))

    def function(self, function_id: str, answer: Any, namespace: str = "default") -> None:
        """A function in the engine: `answer` is its result, or an (async) callable for it."""

        async def run(call: Call) -> Any:
            self.calls.append(call)
            value = answer(call) if callable(answer) else answer
            return await value if hasattr(value, "__await__") else value

        self.kernel.functions.add(Function(function_id, self.host, namespace, handler=run))

    def trigger(self, function_id: str, path: str, method: str = "GET", **more: Any) -> Trigger:
        """An http trigger; keyword arguments beyond those of Trigger go to its config."""
        own = {key: more.pop(key) for key in ("metadata", "namespace", "registrant", "id", "kind") if key in more}
        trigger = Trigger(
            own.pop("id", f"t{next(self._numbers)}"),
            own.pop("kind", "http"),
            function_id,
            config=Payload.of({"api_path": path, "http_method": method, **more}),
            **own,
        )
        self.kernel.triggers.add(trigger)
        return trigger

    def route(self, path: str, answer: Any, method: str = "GET", **more: Any) -> None:
        """A function of its own and a trigger for it."""
        name = f"f::{method}{path}"
        self.function(name, answer, more.get("namespace", "default"))
        self.trigger(name, path, method, **more)

    async def connect(self) -> Client:
        self.clients.append(Client(await self.network.connect()))
        return self.clients[-1]

    async def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        return await (await self.connect()).ask(method, path, headers, body)


@asynccontextmanager
async def serving(
    config: HttpConfig | None = None,
    network: Any = None,
    kernel: Kernel | None = None,
    open_server: OpenServer | None = None,
) -> AsyncIterator[Rig]:
    """Run a kernel and an http module; over memory streams unless a network is given."""
    kernel = kernel or Kernel(clock=TrioClock())
    network = network or MemoryNetwork()
    config = attrs.evolve(config or HttpConfig(host="127.0.0.1", port=0), server=SERVER.get())
    module = HttpModule(config, ModuleOwner("http", "iii-http"), network, open_server)
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.invocations.run)
        scope, ended = trio.CancelScope(), trio.Event()
        await nursery.start(run_in, scope, module, kernel, ended)
        rig = Rig(kernel, module, network, nursery, scope, ended)
        try:
            yield rig
        finally:
            with trio.CancelScope(shield=True):
                for client in rig.clients:
                    await trio.aclose_forcefully(client.stream)
            nursery.cancel_scope.cancel()


async def run_in(
    scope: trio.CancelScope,
    module: HttpModule,
    kernel: Kernel,
    ended: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a module as its supervisor would: `scope` kills it, `ended` is set at its end."""
    try:
        with scope:
            await module.run(kernel, task_status=task_status)
    finally:
        ended.set()


@asynccontextmanager
async def serve_handler(
    listeners: Sequence[trio.abc.Listener[Any]], handler: RequestHandler, limits: ServerLimits | None = None
) -> AsyncIterator[HttpServer]:
    """Run only the server, with a handler of the test's own behind it."""
    made = (open_fast if SERVER.get() == "fast" else open_hypercorn)(Kernel(clock=TrioClock()), HttpConfig(), Turn())
    server = attrs.evolve(made, limits=limits or ServerLimits())  # type: ignore[type-var]  # both are attrs classes
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners, handler)
        yield server
        nursery.cancel_scope.cancel()
