"""Data channels of native workers, over sockets of their own and in the process of the engine (wire-protocol 10)."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock
from wire_client import World, open_world

from iii_trio import connect
from iii_trio.kernel import TrioClock
from iii_trio.testing import MemoryNetwork
from iii_trio.worker import Channel, ChannelReader, ChannelWriter, Worker
from iii_trio.worker._socket_channels import channel_resource
from tests.waiting import eventually


@attrs.define(eq=False)
class Place:
    """An engine with two workers, which came to it one way or the other: in its process or over sockets."""

    world: World
    kind: str
    one: Worker = attrs.field(init=False)
    two: Worker = attrs.field(init=False)

    def open_worker(self, name: str) -> AbstractAsyncContextManager[Worker]:
        if self.kind == "local":
            return self.world.engine.worker(name)
        return connect("ws://engine.test/", name=name, open_stream=self.world.dial, random=Random(name))

    @property
    def open_channels(self) -> int:
        return self.world.engine.kernel.channels.statistics().open


@asynccontextmanager
async def open_place(kind: str, **options: Any) -> AsyncIterator[Place]:
    async with open_world(**options) as world:
        place = Place(world, kind)
        async with place.open_worker("one") as place.one, place.open_worker("two") as place.two:
            yield place


@pytest.fixture(params=["local", "socket"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with open_place(request.param) as place:
        yield place


async def test_items_go_from_the_writer_to_the_reader(place: Place) -> None:  # wire 68
    worker = place.one
    channel = await worker.create_channel()
    items = [b"\x00\x01", "text", b"", "", "\u00fc\U0001f600", b"z" * 70_000]
    async with channel.writer:
        for item in items:
            await channel.writer.send(item)
    assert [item async for item in channel.reader] == items
    await channel.reader.aclose()
    await eventually(lambda: place.open_channels == 0)


async def test_references_in_a_payload_arrive_as_live_ends(place: Place) -> None:  # wire 74
    callee, caller = place.one, place.two

    @callee.function("double")
    async def double(job: dict[str, Any]) -> int:
        source, target = job["in"][0]["r"], job["out"]
        assert isinstance(source, ChannelReader)
        assert isinstance(target, ChannelWriter)
        async with target:
            data = await source.read_all()
            await target.write(data * 2)
        return len(data)

    forth, back = await caller.create_channel(4), await caller.create_channel()
    payload = {"in": [{"r": forth.reader_ref}], "out": back.writer_ref, "odd": {"channel_id": "x", "access_key": 5}}
    results: list[Any] = []

    async def call() -> None:
        results.append(await caller.trigger("double", payload))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        async with forth.writer:
            await forth.writer.write(b"abc" * 100_000)
        assert await back.reader.read_all() == b"abc" * 200_000
    assert results == [300_000]


async def test_ends_fit_into_annotated_payloads(place: Place) -> None:
    callee, caller = place.one, place.two

    @callee.function("count")
    async def count(job: Job) -> int:
        return len(await job.source.read_all()) * job.times

    channel = await caller.create_channel()
    async with channel.writer:
        await channel.writer.send(b"12345")
    assert await caller.trigger("count", {"source": channel.reader_ref, "times": 2}) == 10
    with pytest.raises(Exception, match="an object where a ChannelReader is expected"):
        await caller.trigger("count", {"source": {}, "times": 2})


@attrs.frozen
class Job:
    source: ChannelReader
    times: int


async def test_a_slow_reader_slows_the_writer(place: Place) -> None:  # wire 71
    worker = place.one
    channel = await worker.create_channel(2)
    sent = 0

    async def write() -> None:
        nonlocal sent
        while True:
            await channel.writer.send(bytes(256 * 1024))
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.sleep(0.5)
        stuck = sent
        await trio.sleep(0.2)
        assert sent == stuck < 100
        assert place.world.engine.kernel.channels.statistics().items <= 2
        for _ in range(stuck + 5):
            await channel.reader.receive()
        nursery.cancel_scope.cancel()


async def test_a_writer_learns_that_nobody_reads(place: Place) -> None:  # wire 72
    worker = place.one
    channel = await worker.create_channel()
    await channel.writer.send("one")
    assert await channel.reader.receive() == "one"
    channel.reader.close()

    async def write() -> None:
        while True:
            await channel.writer.send("more")
            await trio.sleep(0.01)

    with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
        await write()
    await channel.writer.aclose()


async def test_a_channel_that_is_not_there(place: Place) -> None:  # wire 67
    worker = place.one
    channel = await worker.create_channel()
    wrong = {**channel.reader_ref, "access_key": "x"}
    ends = channel.reader._ends
    with pytest.raises(trio.BrokenResourceError):
        await ChannelReader(wrong, ends).receive()
    with pytest.raises(trio.BrokenResourceError):
        await ChannelWriter({**wrong, "direction": "write"}, ends).send("x")
    assert await worker.trigger("engine::functions::list", {}) is not None  # the worker lives on


async def test_an_end_that_is_taken(place: Place) -> None:  # wire 70
    worker = place.one
    channel = await worker.create_channel()
    async with channel.writer:
        await channel.writer.send("x")
        assert await channel.reader.receive() == "x"
        again = ChannelReader(channel.reader.ref, channel.reader._ends)
        with pytest.raises((trio.BrokenResourceError, trio.EndOfChannel)):
            await again.receive()


async def test_what_is_closed_cannot_be_used(place: Place) -> None:
    worker = place.one
    channel = await worker.create_channel()
    await channel.writer.aclose()  # without an item: the reader sees the end all the same
    await channel.writer.aclose()
    assert await channel.reader.read_all() == b""
    await channel.reader.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await channel.reader.receive()
    with pytest.raises(trio.ClosedResourceError):
        await channel.writer.send("x")
    with pytest.raises(ValueError, match="at most 16777216 bytes"):
        await channel.writer.send(bytes((16 << 20) + 1))
    await eventually(lambda: place.open_channels == 0)


async def test_closing_wakes_who_waits(place: Place) -> None:
    worker = place.one
    channel = await worker.create_channel()
    with trio.move_on_after(0.2):
        await channel.reader.receive()

    async def close() -> None:
        await trio.sleep(0.1)
        channel.reader.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        with pytest.raises(trio.ClosedResourceError):
            await channel.reader.receive()


async def test_an_error_breaks_the_stream_off(place: Place) -> None:
    worker = place.one
    channel = await worker.create_channel()

    async def write() -> None:
        async with channel.writer:
            await channel.writer.send("half")
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        await write()
    assert await channel.reader.receive() == "half"
    with pytest.raises(trio.EndOfChannel):  # readers cannot tell; an HTTP client can
        await channel.reader.receive()


async def test_the_end_of_a_worker_closes_its_ends(place: Place) -> None:
    async with place.open_worker("w") as worker:
        channel: Channel = await worker.create_channel()
        await channel.writer.send("last")
        reader = ChannelReader(channel.reader.ref, place.one._ends)
        assert await reader.receive() == "last"
    with pytest.raises(trio.EndOfChannel):
        await reader.receive()
    reader.close()
    await eventually(lambda: place.open_channels == 0)


async def test_an_idle_reader_stays_connected(autojump_clock: MockClock) -> None:  # wire 74
    async with open_place("socket", network=MemoryNetwork(), clock=TrioClock()) as place:
        channel = await place.one.create_channel()
        await channel.writer.send("first")
        assert await channel.reader.receive() == "first"

        async def later() -> None:
            await trio.sleep(600)
            await channel.writer.send("second")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(later)
            assert await channel.reader.receive() == "second"


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("/", "/ws/channels/c?key=k&dir=read"),
        ("/engine/", "/engine/ws/channels/c?key=k&dir=read"),
        ("/engine?token=x", "/engine/ws/channels/c?token=x&key=k&dir=read"),
    ],
)
def test_where_a_channel_is(base: str, expected: str) -> None:  # 1.1
    assert channel_resource(base, {"channel_id": "c", "access_key": "k", "direction": "read"}) == expected
