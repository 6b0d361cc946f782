"""An engine with an open listener and guarded ones, and the functions that guard them, scripted by the test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from trio_websocket import wrap_client_stream
from wire_client import LARGEST, MODERN, Client, Json, World, open_world

from iii_trio import Engine
from iii_trio.kernel import TrioClock
from iii_trio.network import Listener, Network, TcpNetwork
from iii_trio.protocol.errors import InvocationError
from iii_trio.testing import MemoryNetwork

GUARD = "gate::auth"
ASK = {
    "on_function_registration_function_id": "gate::on-function",
    "on_trigger_registration_function_id": "gate::on-trigger",
    "on_trigger_type_registration_function_id": "gate::on-type",
}
Script = Callable[[Any], Any]


class AnyPort(TcpNetwork):
    """The machine's network, with a free port wherever one is asked for."""

    async def open_listeners(self, host: str, port: int) -> Sequence[Listener]:
        return await super().open_listeners(host, 0)


def refusing(code: str, message: str) -> Script:
    def raise_(_: Any) -> Any:
        raise InvocationError(message, code=code)

    return raise_


async def never() -> Any:
    """What a function does that does not answer."""
    await trio.sleep_forever()


@attrs.define(eq=False, repr=False)
class Guarded:
    """A running engine: listener 0 is open, the others are as the test configures them."""

    world: World
    network: Network
    asked: dict[str, list[Any]] = attrs.field(factory=dict)
    """What the scripted functions were called with, by id."""

    @property
    def engine(self) -> Engine:
        return self.world.engine

    def script(self, function_id: str, script: Script | None = None) -> list[Any]:
        """Offer a function inside the engine that notes what it is asked and answers by `script`, or with an empty object."""
        asked: list[Any] = self.asked.setdefault(function_id, [])

        async def handler(data: Any) -> Any:
            await trio.lowlevel.checkpoint()
            asked.append(data)
            value = {} if script is None else script(data)
            return await value if isinstance(value, Awaitable) else value

        self.engine.unregister(function_id)
        self.engine.register(function_id, handler)
        return asked

    async def offer(self, *function_ids: str, **more: Any) -> Client:
        """A worker on the open listener with functions that nobody guards; it answers nothing by itself."""
        worker = await self.world.connect(MODERN)
        await worker.register(*function_ids, **more)
        await worker.fence()
        return worker

    async def dial(self, number: int) -> trio.abc.Stream:
        host, port = self.engine.addresses[f"listener#{number}" if number else "listener"]
        if isinstance(self.network, MemoryNetwork):
            stream = await self.network.connect(port)
        else:
            stream = await trio.open_tcp_stream(host, port)
        self.world.streams.append(stream)
        return stream

    async def knock(self, number: int = 1, path: str = "/", headers: Sequence[tuple[bytes, bytes]] = ()) -> Client:
        """A WebSocket on a listener, before anything is read from it."""
        stream: Any = await self.dial(number)
        socket = await wrap_client_stream(
            self.world.nursery, stream, "engine", path, max_message_size=LARGEST, extra_headers=list(headers)
        )
        return Client(socket, stream)

    async def enter(
        self, number: int = 1, path: str = "/", announcement: Mapping[str, Any] | None = None, **more: Any
    ) -> Client:
        """A greeted worker on a guarded listener, announced if there is something to announce."""
        client = await self.knock(number, path)
        greeting = await client.hear("workerregistered", within=60)
        client.id, client.token = greeting["worker_id"], greeting["reattach_token"]
        if announcement is not None or more:
            assert (await client.announce(announcement or MODERN, **more))["result"] == {"success": True}
        return client

    async def code(self, client: Client, function_id: str, data: Any = None, **more: Any) -> str:
        """The code a call fails with, `ok` if it does not."""
        outcome = await client.call(function_id, data, **more)
        return str(outcome["error"]["code"]) if "error" in outcome else "ok"

    def has(self, function_id: str, namespace: str = "default") -> bool:
        return self.engine.kernel.functions.find(namespace, function_id) is not None


def listener(port: int, **config: Any) -> Json:
    return {"name": "iii-worker-manager", "config": {"host": "127.0.0.1", "port": port, **config}}


@asynccontextmanager
async def open_guarded(*configs: Json, network: Network | None = None, **options: Any) -> AsyncIterator[Guarded]:
    """An engine with one open listener and one for each of the configurations; over memory streams unless told otherwise."""
    network = network or MemoryNetwork()
    if isinstance(network, MemoryNetwork):
        options.setdefault("clock", TrioClock())
    workers = [listener(50_000 + number, **config) for number, config in enumerate(({}, *configs))]
    async with open_world({"workers": workers}, network=network, **options) as world:
        yield Guarded(world, network)
