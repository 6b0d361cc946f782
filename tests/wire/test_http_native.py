"""Requests and answers that native workers stream, over a socket of theirs and inside the engine, with both HTTP servers."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from http_rig import Client, request
from wire_client import MIB, World, open_world

from iii_trio import connect
from iii_trio.worker import ChannelReader, ChannelWriter, Worker
from tests.process import forget_peak, peak
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("server")
PIECE = 64 * 1024


@attrs.define(eq=False)
class Site:
    """An engine with an http module, and a native worker."""

    world: World
    worker: Worker

    async def client(self) -> Client:
        self.world.streams.append(await trio.open_tcp_stream(*self.world.engine.addresses["http"]))
        return Client(self.world.streams[-1])

    async def route(self, function: Any) -> None:
        """Have a function answer `POST /f`."""
        self.worker.function("shop::f")(function)
        await self.worker.register_trigger("http", "shop::f", {"api_path": "f", "http_method": "POST"})
        await self.worker.trigger("engine::workers::list", {})  # answered once the route is in force

    async def wait_released(self) -> None:
        """No call runs, and nothing is left of the channels of any request."""

        def is_released() -> bool:
            statistics = self.world.engine.statistics()
            channels = statistics.kernel.channels
            left = (channels.open, channels.items, channels.size, statistics.listeners[0].channel_ends)
            return left == (0, 0, 0, 0) and statistics.kernel.invocations.in_flight == 0

        await eventually(is_released)


@pytest.fixture(params=["socket", "local"])
async def site(request: pytest.FixtureRequest, server: str) -> AsyncIterator[Site]:
    async with open_site(server, request.param) as site:
        yield site


@asynccontextmanager
async def open_site(server: str, kind: str) -> AsyncIterator[Site]:
    http = {"name": "iii-http", "config": {"host": "127.0.0.1", "port": 0, "server": server}}
    async with open_world({"workers": [{"name": "iii-worker-manager"}, http]}) as world:
        opening = world.engine.worker("shop") if kind == "local" else connect("ws://e/", open_stream=world.dial)
        async with opening as worker:
            yield Site(world, worker)


async def test_sixty_four_mebibytes_each_way_in_little_memory(site: Site) -> None:  # http 38, 56, 65
    """Client, engine and worker together hold far less than what goes through them."""

    async def echo(asked: dict[str, Any]) -> None:
        source: ChannelReader = asked["request_body"]
        answer: ChannelWriter = asked["response"]
        async with answer:
            async for piece in source:
                await answer.send(piece)

    sent, received = hashlib.sha256(), hashlib.sha256()
    await site.route(echo)
    client = await site.client()

    async def send() -> None:
        await client.send(request("POST", "/f", {"content-length": str(64 * MIB)}))
        for number in range(64 * MIB // PIECE):
            sent.update(piece := bytes([number % 256]) * PIECE)
            await client.send(piece)

    before, size = forget_peak(), 0
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert (await client.read_head()).status == 200
            while piece := await client.read_chunk():
                received.update(piece)
                size += len(piece)
    assert (size, received.digest()) == (64 * MIB, sent.digest())
    assert peak() - before < 24 * MIB
    await site.wait_released()


async def test_a_client_that_leaves_breaks_the_channels_of_its_handler(site: Site) -> None:  # http 65
    broken = trio.Event()

    async def pour(asked: dict[str, Any]) -> None:
        source: ChannelReader = asked["request_body"]
        answer: ChannelWriter = asked["response"]
        assert await source.receive() == b"part"
        try:
            while True:
                await answer.send(bytes(PIECE))
        except trio.BrokenResourceError:
            with pytest.raises(trio.EndOfChannel):
                await source.receive()
            broken.set()

    await site.route(pour)
    client = await site.client()
    await client.send(request("POST", "/f", {"content-length": "100"}), b"part")
    assert (await client.read_head()).status == 200
    await trio.aclose_forcefully(client.stream)
    with trio.fail_after(10):
        await broken.wait()
    await site.wait_released()


async def test_a_slow_function_slows_its_client(site: Site) -> None:  # http 38
    total, sent, go_on = 32 * MIB, 0, trio.Event()

    async def take(asked: dict[str, Any]) -> dict[str, Any]:
        source: ChannelReader = asked["request_body"]
        size = len(await source.receive())
        await go_on.wait()
        async for piece in source:
            size += len(piece)
        return {"body": size}

    await site.route(take)
    client = await site.client()

    async def send() -> None:
        nonlocal sent
        await client.send(request("POST", "/f", {"content-length": str(total)}))
        while sent < total:
            await client.send(bytes(PIECE))
            sent += PIECE

    before, last = forget_peak(), -1
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while sent != last:  # it stands still once the buffers of the system are full
                last = sent
                await trio.sleep(0.1)
            assert sent < 20 * MIB
            assert peak() - before < 8 * MIB
            go_on.set()
            assert (await client.read()).json == total
    await site.wait_released()


async def test_a_conflicting_route_is_told_to_who_registers_it(site: Site) -> None:  # http 18, 96
    async def params(asked: dict[str, Any]) -> dict[str, Any]:
        return {"body": asked["path_params"]}

    await site.route(params)
    for path in ("x/:a/:b", "x/:b/:a", "y/{z"):
        await site.worker.register_trigger("http", "shop::f", {"api_path": path})
    await eventually(lambda: len(site.worker.trigger_errors) == 2)
    conflict, impossible = (one.error for one in site.worker.trigger_errors)
    assert conflict.code == impossible.code == "trigger_registration_failed"
    assert "conflicts with already-registered route" in conflict.message
    assert (await (await site.client()).ask("GET", "/x/1/2")).json == {"a": "1", "b": "2"}
