"""An engine and independent peers for it: trio-websocket clients over TCP or memory streams, and raw sockets."""

import json
import os
import struct
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from trio_websocket import CloseReason, ConnectionClosed, WebSocketConnection, wrap_client_stream

from iii_trio import Engine, open_engine
from iii_trio.network import Network
from iii_trio.testing import MemoryNetwork
from tests.waiting import eventually

Json = dict[str, Any]
MODERN: Mapping[str, Any] = {"runtime": "node", "version": "0.23.0", "pid": 7}
LEGACY: Mapping[str, Any] = {"runtime": "node", "version": "0.11.6", "pid": 7}
MIB = 1024 * 1024
LARGEST = 80 * MIB
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(data: bytes, opcode: int = TEXT, *, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """A frame of a client, written by hand."""
    head = bytes([(0x80 if fin else 0) | reserved | opcode])
    mask = 0x80 if masked else 0
    if len(data) < 126:
        head += bytes([mask | len(data)])
    elif len(data) < 65536:
        head += struct.pack("!BH", mask | 126, len(data))
    else:
        head += struct.pack("!BQ", mask | 127, len(data))
    return head + (bytes(4) if masked else b"") + data


@attrs.define(eq=False, repr=False)
class Client:
    """One worker connection as its worker sees it. Messages nobody asked for yet wait in `backlog`."""

    socket: WebSocketConnection
    stream: trio.abc.Stream
    id: str = ""
    token: str = ""
    backlog: list[Json] = attrs.field(factory=list)

    async def say(self, **message: Any) -> None:
        await self.socket.send_message(json.dumps(message))

    async def say_text(self, text: str | bytes) -> None:
        await self.socket.send_message(text)

    async def hear(self, kind: str, *, within: float = 5.0, **fields: Any) -> Json:
        """The next message of this type with these members; others wait for whoever asks for them."""
        wanted = {"type": kind, **fields}
        for number, waiting in enumerate(self.backlog):
            if wanted.items() <= waiting.items():
                return self.backlog.pop(number)
        with trio.fail_after(within):
            while True:
                message: Json = json.loads(await self.socket.get_message())
                if all(key in message and message[key] == value for key, value in wanted.items()):
                    return message
                self.backlog.append(message)

    async def fence(self) -> list[Json]:
        """Wait until the engine has handled all this client said; return everything it has said and nobody took."""
        await self.say(type="ping")
        await self.hear("pong")
        heard, self.backlog = self.backlog, []
        return heard

    async def register(self, *function_ids: str, **more: Any) -> None:
        for function_id in function_ids:
            await self.say(type="registerfunction", id=function_id, **more)

    async def announce(self, base: Mapping[str, Any] = MODERN, **more: Any) -> Json:
        return await self.call("engine::workers::register", {**base, **more})

    async def invoke(self, function_id: str, data: Any = None, **more: Any) -> str:
        invocation_id = str(more.pop("invocation_id", uuid.UUID(bytes=os.urandom(16), version=4)))
        await self.say(type="invokefunction", invocation_id=invocation_id, function_id=function_id, data=data, **more)
        return invocation_id

    async def outcome(self, invocation_id: str, *, within: float = 5.0) -> Json:
        return await self.hear("invocationresult", invocation_id=invocation_id, within=within)

    async def call(self, function_id: str, data: Any = None, **more: Any) -> Json:
        """Invoke and wait for the `invocationresult`; objects are sent even where None is given."""
        return await self.outcome(await self.invoke(function_id, {} if data is None else data, **more))

    async def value(self, function_id: str, data: Any = None, **more: Any) -> Any:
        """The result of a call that must not fail."""
        outcome = await self.call(function_id, data, **more)
        assert "error" not in outcome, outcome
        return outcome.get("result")

    async def error(self, function_id: str, data: Any = None, **more: Any) -> Json:
        """The error of a call that must fail."""
        outcome = await self.call(function_id, data, **more)
        assert "result" not in outcome, outcome
        error: Json = outcome["error"]
        return error

    async def invoked(self, function_id: str, *, within: float = 5.0) -> Json:
        """The next call of one of this client's functions."""
        return await self.hear("invokefunction", function_id=function_id, within=within)

    async def answer(self, call: Json, **outcome: Any) -> None:
        await self.say(
            type="invocationresult", invocation_id=call["invocation_id"], function_id=call["function_id"], **outcome
        )

    async def serve_one(self, function_id: str, **outcome: Any) -> Json:
        """Wait for a call and answer it."""
        call = await self.invoked(function_id)
        await self.answer(call, **outcome)
        return call

    async def trigger(self, trigger_id: str, trigger_type: str, function_id: str, **more: Any) -> None:
        await self.say(
            type="registertrigger", id=trigger_id, trigger_type=trigger_type, function_id=function_id, **more
        )

    async def provide(self, type_id: str, **more: Any) -> None:
        await self.say(type="registertriggertype", id=type_id, **{"description": "", **more})

    async def wait_closed(self, *, within: float = 5.0) -> int | None:
        """The status of the `Close` that ended the connection; what was said before it is in `backlog`."""
        with trio.fail_after(within):
            try:
                while True:
                    self.backlog.append(json.loads(await self.socket.get_message()))
            except ConnectionClosed:
                assert isinstance(self.socket.closed, CloseReason)
                return int(self.socket.closed.code)

    async def drop(self) -> None:
        """Cut the connection without a goodbye."""
        await trio.aclose_forcefully(self.stream)


@attrs.define(eq=False, repr=False)
class RawPeer:
    """A connection whose bytes are written and read by hand."""

    stream: trio.abc.Stream
    received: bytearray = attrs.field(factory=bytearray)

    async def read_until(self, mark: bytes, *, within: float = 5.0) -> bytes:
        seen = 0
        with trio.fail_after(within):
            while (found := self.received.find(mark, max(0, seen - len(mark)))) < 0:
                seen = len(self.received)
                data = await self.stream.receive_some(MIB)
                assert data, bytes(self.received)
                self.received += data
        head = bytes(self.received[: found + len(mark)])
        del self.received[: found + len(mark)]
        return head

    async def read_all(self, *, within: float = 5.0) -> bytes:
        """Everything until the engine ends the connection, with or without a reset."""
        with trio.fail_after(within):
            try:
                while data := await self.stream.receive_some(65536):
                    self.received += data
            except trio.BrokenResourceError:
                pass
        return bytes(self.received)

    async def upgrade(self, path: str = "/") -> None:
        await self.stream.send_all(upgrade_request(path))
        assert b" 101 " in await self.read_until(b"\r\n\r\n")


def upgrade_request(path: str = "/", *, leave_out: str = "", **fields: str) -> bytes:
    """The head of an opening handshake, without one field or with other values."""
    values = {
        "host": "engine",
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    lines = [f"{name}: {value}" for name, value in values.items() if name != leave_out]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


@attrs.define(eq=False, repr=False)
class World:
    """A running engine and who is connected to it."""

    engine: Engine
    nursery: trio.Nursery
    dial: Callable[[], Awaitable[trio.abc.Stream]]
    streams: list[trio.abc.Stream] = attrs.field(factory=list)

    async def raw(self) -> RawPeer:
        stream = await self.dial()
        self.streams.append(stream)
        return RawPeer(stream)

    async def open_socket(self, path: str = "/") -> Client:
        """A WebSocket on any endpoint, before anything is read from it."""
        stream: Any = await self.dial()
        self.streams.append(stream)
        socket = await wrap_client_stream(self.nursery, stream, "engine", path, max_message_size=LARGEST)
        return Client(socket, stream)

    async def connect(self, announcement: Mapping[str, Any] | None = None, **more: Any) -> Client:
        """A greeted worker, announced if there is something to announce."""
        client = await self.open_socket()
        greeting = await client.hear("workerregistered")
        client.id, client.token = greeting["worker_id"], greeting["reattach_token"]
        if announcement is not None or more:
            assert (await client.announce(announcement or MODERN, **more))["result"] == {"success": True}
        return client

    async def leave(self, client: Client) -> None:
        """Cut a connection and wait until the engine has cleaned up behind it."""
        await client.drop()
        await self.wait_gone(client)

    async def wait_gone(self, client: Client) -> None:
        await eventually(lambda: self.engine.kernel.workers.get(client.id) is None)

    @property
    def closed(self) -> dict[str, int]:
        """How many connections ended for which reason."""
        return self.engine.statistics().listeners[0].closed

    async def wait_closed(self, reason: str) -> None:
        """Wait until a connection has ended, which must be the first one, for this reason."""
        await eventually(lambda: bool(self.closed))
        assert self.closed == {reason: 1}


def of_others(rows: list[Json]) -> list[Json]:
    """The rows of a list that have nothing to do with the configuration module, which every engine has."""
    keys = ("function_id", "id", "trigger_type")
    return [row for row in rows if not any(str(row.get(key, "")).startswith("configuration") for key in keys)]


@asynccontextmanager
async def open_world(
    config: Mapping[str, Any] | None = None, *, network: Network | None = None, **options: Any
) -> AsyncIterator[World]:
    """An engine on a free port of 127.0.0.1, or over memory streams."""
    async with open_engine(dict(config or {}), host="127.0.0.1", port=0, network=network, **options) as engine:

        async def dial() -> trio.abc.Stream:
            host, port = engine.address
            if isinstance(network, MemoryNetwork):
                return await network.connect(port)
            return await trio.open_tcp_stream(host, port)

        async with trio.open_nursery() as nursery:
            world = World(engine, nursery, dial)
            try:
                yield world
            finally:
                for stream in world.streams:
                    await trio.aclose_forcefully(stream)
                nursery.cancel_scope.cancel()
