"""Data channels over sockets (wire-protocol 10): from creation to every way they end."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock
from trio_websocket import CloseReason, ConnectionClosed, WebSocketConnection
from wire_client import (
    BINARY,
    CLOSE,
    MIB,
    PING,
    RawPeer,
    World,
    eventually,
    frame,
    open_world,
    upgrade_request,
)

from iii_trio.kernel import TrioClock
from iii_trio.testing import MemoryNetwork
from tests.process import free_port

Message = str | bytes
ITEMS: list[Message] = ["text", b"\x00\x01", "", b"", '{"type":"ping"}', b"z" * 70_000, "\u00fc\U0001f600"]


@attrs.frozen
class Made:
    """A channel as its creator sees it."""

    result: dict[str, Any]

    def path(self, end: str, **more: str) -> str:
        ref = self.result[end]
        query = {"key": ref["access_key"], "dir": ref["direction"], **more}
        return f"/ws/channels/{ref['channel_id']}?" + "&".join(f"{name}={value}" for name, value in query.items())


async def make(world: World, **asked: Any) -> Made:
    client = await world.connect()
    return Made(await client.value("engine::channels::create", asked))


async def ended(socket: WebSocketConnection, *, within: float = 5.0) -> int:
    """The code a connection ended with; nothing must come before."""
    with trio.fail_after(within):
        with pytest.raises(ConnectionClosed):
            await socket.get_message()
    assert isinstance(socket.closed, CloseReason)
    return int(socket.closed.code)


async def status_of(world: World, path: str, **options: Any) -> tuple[int, str]:
    """The answer to an upgrade request: status and body."""
    peer = await world.raw()
    await peer.stream.send_all(upgrade_request(path, **options))
    head = await peer.read_until(b"\r\n\r\n")
    status = int(head.split()[1])
    return status, "" if status == 101 else (await peer.read_all()).decode()


async def raw_end(world: World, path: str) -> RawPeer:
    peer = await world.raw()
    await peer.upgrade(path)
    return peer


async def take(socket: WebSocketConnection, count: int) -> list[Message]:
    taken: list[Message] = []
    with trio.fail_after(5):
        while len(taken) < count:
            taken.append(await socket.get_message())
    return taken


# --- creation and keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{}, {"buffer_size": 0}, {"buffer_size": None}, {"buffer_size": 5000}, {"zzz": 1}])
async def test_a_channel_is_two_references(world: World, asked: dict[str, Any]) -> None:  # wire 66
    made = (await make(world, **asked)).result
    assert sorted(made) == ["reader", "writer"]
    for end, direction in (("writer", "write"), ("reader", "read")):
        assert sorted(made[end]) == ["access_key", "channel_id", "direction"]
        assert made[end]["direction"] == direction
    assert made["writer"]["channel_id"] == made["reader"]["channel_id"]
    assert made["writer"]["access_key"] == made["reader"]["access_key"]


@pytest.mark.parametrize("asked", [{"buffer_size": -1}, {"buffer_size": 1.5}, {"buffer_size": "8"}, "x"])
async def test_a_buffer_size_that_is_none(world: World, asked: Any) -> None:  # wire 66
    client = await world.connect()
    error = await client.error("engine::channels::create", asked)
    assert error["code"] == "deserialization_error"
    assert world.engine.kernel.channels.statistics().open == 0


@pytest.mark.parametrize(
    ("asked", "size"), [({}, 64), ({"buffer_size": 0}, 1), ({"buffer_size": 3}, 3), ({"buffer_size": 5000}, 1024)]
)
async def test_the_buffer_size_is_brought_into_bounds(
    world: World, asked: dict[str, Any], size: int
) -> None:  # wire 66
    made = await make(world, **asked)
    ref = made.result["writer"]
    channel = world.engine.kernel.channels.find(ref["channel_id"], ref["access_key"])
    assert channel is not None
    assert channel.buffer_size == size


async def test_the_number_of_channels_is_bounded(world: World) -> None:
    registry = world.engine.kernel.channels
    registry.limits = attrs.evolve(registry.limits, channels=2)
    client = await world.connect()
    for _ in range(2):
        await client.value("engine::channels::create", {})
    assert (await client.error("engine::channels::create", {}))["code"] == "overloaded"
    assert registry.statistics().open == 2


async def test_a_wrong_key_or_id(world: World) -> None:  # wire 67
    made = await make(world)
    ref = made.result["reader"]
    assert await status_of(world, made.path("reader", key="x")) == (404, "Channel not found")
    assert await status_of(world, made.path("reader", key="")) == (404, "Channel not found")
    assert await status_of(world, f"/ws/channels/nope?key={ref['access_key']}&dir=read") == (404, "Channel not found")
    assert world.closed == {"handshake_refused": 3}


@pytest.mark.parametrize(
    "query",
    ["", "dir=read", "key=k", "key=k&dir=both", "key=k&dir=READ", "key=k&dir=read&dir=write", "key=k&key=k&dir=read"],
)
async def test_a_query_that_is_incomplete_or_ambiguous(world: World, query: str) -> None:  # wire 67
    status, body = await status_of(world, f"/ws/channels/x?{query}")
    assert status == 400
    assert body.startswith("Failed to deserialize query string: ")
    assert (await status_of(world, f"/ws/channels/x?{query}", leave_out="upgrade"))[1] == body  # checked first


async def test_a_channel_is_asked_for_with_an_upgrade(world: World) -> None:  # wire 2, 67
    made = await make(world)
    assert (await status_of(world, made.path("reader"), leave_out="upgrade"))[0] == 400
    assert await status_of(world, made.path("reader").replace("?", "/?")) == (404, "")
    assert await status_of(world, "/ws/channels/?key=k&dir=read") == (404, "")
    peer = await world.raw()
    await peer.stream.send_all(upgrade_request(made.path("reader")).replace(b"GET", b"POST"))
    assert b" 405 " in await peer.read_until(b"\r\n\r\n")
    assert (await status_of(world, made.path("reader", token="1")))[0] == 101  # other parameters are ignored


# --- data -------------------------------------------------------------------------------------------------------------


async def test_items_arrive_as_they_were_sent_writer_first(world: World) -> None:  # wire 68, 69
    made = await make(world)
    writer = await world.open_socket(made.path("writer"))
    for item in ITEMS:
        await writer.socket.send_message(item)
    await writer.socket.aclose()  # answered, although nobody has read anything yet
    reader = await world.open_socket(made.path("reader"))
    assert await take(reader.socket, len(ITEMS)) == ITEMS
    assert await ended(reader.socket) == 1005
    await eventually(lambda: world.closed == {"peer_closed": 1, "channel_ended": 1})
    assert world.engine.kernel.channels.statistics().open == 0


async def test_items_arrive_as_they_were_sent_reader_first(world: World) -> None:  # wire 68
    made = await make(world)
    reader = await world.open_socket(made.path("reader"))
    writer = await world.open_socket(made.path("writer"))
    for item in ITEMS:
        await writer.socket.send_message(item)
    assert await take(reader.socket, len(ITEMS)) == ITEMS


async def test_a_fragmented_message_is_one_item(world: World) -> None:  # wire 68
    made = await make(world)
    reader = await world.open_socket(made.path("reader"))
    writer = await raw_end(world, made.path("writer"))
    piece = bytes(MIB)
    await writer.stream.send_all(frame(piece, BINARY, fin=False))
    for number in range(19):
        await writer.stream.send_all(frame(piece, 0, fin=number == 18))
    (item,) = await take(reader.socket, 1)
    assert len(item) == 20 * MIB


async def test_a_writer_whose_connection_is_cut(world: World) -> None:  # wire 69
    made = await make(world)
    reader = await world.open_socket(made.path("reader"))
    writer = await world.open_socket(made.path("writer"))
    await writer.socket.send_message("last")
    await writer.socket.send_message(b"x" * 1000)
    await writer.drop()
    assert await take(reader.socket, 2) == ["last", b"x" * 1000]
    assert await ended(reader.socket) == 1005


async def test_what_is_sent_after_the_close_is_discarded(world: World) -> None:  # wire 69
    made = await make(world)
    writer, reader = await raw_end(world, made.path("writer")), await raw_end(world, made.path("reader"))
    await writer.stream.send_all(frame(b"one") + frame(b"", CLOSE) + frame(b"after"))
    assert await writer.read_all() == b"\x88\x00"
    assert await reader.read_all() == b"\x81\x03one\x88\x00"


@pytest.mark.parametrize("end", ["reader", "writer"])
async def test_an_end_is_taken_once(world: World, end: str) -> None:  # wire 70
    made = await make(world)
    reader = await world.open_socket(made.path("reader"))
    writer = await world.open_socket(made.path("writer"))
    assert await ended((await world.open_socket(made.path(end))).socket) == 1005
    await eventually(lambda: world.closed == {"channel_taken": 1})
    await writer.socket.send_message("still")
    assert await take(reader.socket, 1) == ["still"]


async def test_channels_of_one_listener_work_on_another() -> None:  # wire 75
    second = {"name": "iii-worker-manager", "config": {"host": "127.0.0.1", "port": free_port()}}
    config = {"workers": [{"name": "iii-worker-manager"}, second]}
    async with open_world(config) as world:
        made = await make(world)
        writer = await world.open_socket(made.path("writer"))
        host, port = world.engine.addresses["listener#1"]
        other = attrs.evolve(world, dial=partial(trio.open_tcp_stream, host, port))
        reader = await other.open_socket(made.path("reader"))
        await writer.socket.send_message("across")
        assert await take(reader.socket, 1) == ["across"]
        first_listener, second_listener = world.engine.statistics().listeners
        assert (first_listener.channel_ends, second_listener.channel_ends) == (1, 1)


async def test_the_creator_may_leave(world: World) -> None:  # 10.5
    creator = await world.connect()
    made = Made(await creator.value("engine::channels::create", {}))
    await world.leave(creator)
    writer = await world.open_socket(made.path("writer"))
    await writer.socket.send_message("x")
    assert await take((await world.open_socket(made.path("reader"))).socket, 1) == ["x"]


# --- back-pressure ----------------------------------------------------------------------------------------------------


async def send_until_stuck(stream: trio.abc.Stream, data: bytes, limit: int) -> int:
    """Send `data` again and again; the bytes taken until half a second brought no progress, `limit` at most."""
    sent = 0
    while sent < limit:
        with trio.move_on_after(0.5):
            await stream.send_all(data)
            sent += len(data)
            continue
        break
    return sent


async def test_a_writer_without_a_reader_is_throttled(world: World) -> None:  # wire 71
    made = await make(world, buffer_size=1)
    writer = await raw_end(world, made.path("writer"))
    piece = frame(bytes(64 * 1024), BINARY)
    sent = await send_until_stuck(writer.stream, piece, 50 * MIB)
    assert sent < 50 * MIB  # the rest is what the two sockets hold
    statistics = world.engine.kernel.channels.statistics()
    assert statistics.items == 1
    assert statistics.size < 65 * 1024


async def test_a_large_stream_through_a_small_window(world: World) -> None:  # wire 71
    made = await make(world, buffer_size=4)
    total, size = 64 * MIB, 64 * 1024
    registry = world.engine.kernel.channels
    reader = await world.open_socket(made.path("reader"))
    writer = await world.open_socket(made.path("writer"))
    peak = 0

    async def write() -> None:
        for number in range(total // size):
            await writer.socket.send_message(number.to_bytes(4, "big") + bytes(size - 4))
        await writer.socket.aclose()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for number in range(total // size):
                item = await reader.socket.get_message()
                assert item[:4] == number.to_bytes(4, "big")
                assert len(item) == size
                peak = max(peak, registry.statistics().size)
    assert await ended(reader.socket) == 1005
    assert 0 < peak <= 4 * (size + 256)
    assert registry.statistics().size == 0


async def test_the_bytes_buffered_in_a_channel_are_bounded_too(world: World) -> None:  # wire 71
    made = await make(world, buffer_size=1024)
    writer = await raw_end(world, made.path("writer"))
    registry = world.engine.kernel.channels
    await send_until_stuck(writer.stream, frame(bytes(MIB), BINARY), 50 * MIB)
    assert registry.statistics().items == 3
    reader = await world.open_socket(made.path("reader"))
    for _ in range(5):
        await take(reader.socket, 1)
    assert registry.statistics().size <= registry.limits.channel_size


async def test_channels_together_are_bounded(world: World) -> None:
    registry = world.engine.kernel.channels
    registry.limits = attrs.evolve(registry.limits, total_size=3 * MIB)
    abandoned = [await make(world) for _ in range(3)]
    for made in abandoned:
        writer = await raw_end(world, made.path("writer"))
        await send_until_stuck(writer.stream, frame(bytes(MIB), BINARY), 20 * MIB)
    assert registry.statistics().size <= 4 * MIB
    made = await make(world)  # one that is read works on, an item at a time
    reader = await world.open_socket(made.path("reader"))
    writer = await world.open_socket(made.path("writer"))
    for number in range(5):
        await writer.socket.send_message(str(number))
    assert await take(reader.socket, 5) == ["0", "1", "2", "3", "4"]
    late = await world.open_socket(abandoned[2].path("reader"))  # and so does one whose reader comes at last
    await take(late.socket, 1)


# --- the reader's side ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "cut"])
async def test_a_reader_that_leaves_costs_the_writer_its_socket(world: World, how: str) -> None:  # wire 72
    made = await make(world)
    reader = await world.open_socket(made.path("reader"))
    writer = await world.open_socket(made.path("writer"))
    await writer.socket.send_message("one")
    assert await take(reader.socket, 1) == ["one"]
    if how == "close":
        await reader.socket.aclose()
        assert isinstance(reader.socket.closed, CloseReason)  # C8: it is answered
    else:
        await reader.drop()
    gone = "peer_closed" if how == "close" else "peer_gone"
    await eventually(lambda: world.closed == {gone: 1})
    await writer.socket.ping()  # nothing has happened to the writer so far
    await writer.socket.send_message("two")
    assert await ended(writer.socket) == 1006
    await eventually(lambda: world.closed == {gone: 1, "channel_unread": 1})
    assert world.engine.kernel.channels.statistics().open == 0
    assert await status_of(world, made.path("reader")) == (404, "Channel not found")


async def test_a_waiting_writer_learns_that_the_reader_left(world: World) -> None:  # wire 72
    made = await make(world, buffer_size=1)
    reader = await raw_end(world, made.path("reader"))
    writer = await raw_end(world, made.path("writer"))
    await send_until_stuck(writer.stream, frame(bytes(MIB), BINARY), 60 * MIB)
    await trio.aclose_forcefully(reader.stream)
    await writer.read_all()
    await eventually(lambda: world.closed.get("channel_unread") == 1)
    assert world.engine.kernel.channels.statistics().size == 0


async def test_pings_of_both_ends_are_answered(world: World) -> None:  # wire 74
    made = await make(world)
    for end in ("reader", "writer"):
        peer = await raw_end(world, made.path(end))
        await peer.stream.send_all(frame(b"hi", PING))
        assert await peer.read_until(b"hi") == b"\x8a\x02hi"


async def test_an_idle_reader_stays_connected(memory_world: World, autojump_clock: MockClock) -> None:  # wire 74
    made = await make(memory_world)
    reader = await memory_world.open_socket(made.path("reader"))
    writer = await memory_world.open_socket(made.path("writer"))
    for _ in range(8):  # as the Python SDK does
        await trio.sleep(15)
        with trio.fail_after(20):
            await reader.socket.ping()
    await writer.socket.send_message("at last")
    assert await take(reader.socket, 1) == ["at last"]


async def test_the_end_waits_for_a_reader_that_still_reads(world: World) -> None:  # wire 69
    # what the network holds must not be lost to a ping of the peer that comes after our end
    made = await make(world, buffer_size=1024)
    reader = await raw_end(world, made.path("reader"))
    writer = await world.open_socket(made.path("writer"))
    count, size = 48, 64 * 1024
    for _ in range(count):
        await writer.socket.send_message(bytes(size))
    await writer.socket.aclose()
    while world.engine.kernel.channels.statistics().items:  # until the network holds all that is left
        reader.received += await reader.stream.receive_some(size)
    await trio.sleep(1.5)  # longer than the engine lingers elsewhere
    await reader.stream.send_all(frame(b"hi", PING))
    received = await reader.read_all()
    assert received.endswith(b"\x88\x00")
    assert len(received) >= count * (size + 10) + 2
    await eventually(lambda: world.closed == {"peer_closed": 1, "channel_ended": 1})


# --- silence, expiry, shutdown ----------------------------------------------------------------------------------------


@asynccontextmanager
async def lockstep_world() -> AsyncIterator[World]:
    """Over streams that hold nothing: a sender waits until its peer has taken every byte."""
    async with open_world(network=MemoryNetwork(trio.testing.lockstep_stream_pair), clock=TrioClock()) as world:
        yield world


@pytest.mark.parametrize("end", ["reader", "writer"])
async def test_a_silent_end_is_asked_and_given_up(
    memory_world: World, autojump_clock: MockClock, end: str
) -> None:  # 1.2
    made = await make(memory_world)
    peer = await raw_end(memory_world, made.path(end))
    begun = trio.current_time()
    assert await peer.read_all(within=300) == b"\x89\x00" * 5
    assert trio.current_time() - begun == pytest.approx(180, abs=1.5)
    assert memory_world.closed == {"idle": 1}


async def test_a_writer_that_must_wait_is_not_idle(autojump_clock: MockClock) -> None:  # wire 71
    async with lockstep_world() as world:
        made = await make(world, buffer_size=1)
        reader = await raw_end(world, made.path("reader"))
        writer = await raw_end(world, made.path("writer"))

        async def write() -> None:
            for number in range(6):
                await writer.stream.send_all(frame(b"%d" % number * 70_000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.sleep(400)  # neither a ping nor the end, although nobody says anything
            assert world.closed == {}
            for number in range(6):
                await reader.read_until(b"%d" % number * 70_000, within=1)


async def test_a_reader_that_takes_nothing_for_ten_minutes_is_cut(autojump_clock: MockClock) -> None:
    async with lockstep_world() as world:
        made = await make(world)
        await raw_end(world, made.path("reader"))
        writer = await raw_end(world, made.path("writer"))
        begun = trio.current_time()
        await writer.stream.send_all(frame(b"x"))

        async def answer_pings() -> None:
            while True:
                await writer.read_until(b"\x89\x00", within=1_000)
                await writer.stream.send_all(frame(b"", 10))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_pings)
            while not world.closed:  # noqa: ASYNC110  # virtual time
                await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert trio.current_time() - begun == pytest.approx(600, abs=2)
        assert world.closed == {"slow_consumer": 1}


async def test_a_channel_that_is_not_used_expires(memory_world: World, autojump_clock: MockClock) -> None:  # wire 73
    unused, read, written, used = [await make(memory_world) for _ in range(4)]
    reader = await memory_world.open_socket(read.path("reader"))
    writer = await memory_world.open_socket(written.path("writer"))
    await writer.socket.send_message("lost")
    pair = [await memory_world.open_socket(used.path(end)) for end in ("reader", "writer")]
    registry = memory_world.engine.kernel.channels
    begun = trio.current_time()
    await trio.sleep(290)
    assert registry.statistics().open == 4
    await trio.sleep(420 - 290)
    assert trio.current_time() - begun == pytest.approx(420)
    assert registry.statistics().open == 1
    assert registry.statistics().expired == 3
    assert registry.statistics().items == 0
    for made in (unused, read, written):
        assert await status_of(memory_world, made.path("reader")) == (404, "Channel not found")
    assert await ended(reader.socket) == 1005  # the end of the stream
    await writer.socket.send_message("too late")
    assert await ended(writer.socket) == 1006
    await pair[1].socket.send_message("in time")
    assert await take(pair[0].socket, 1) == ["in time"]


async def test_shutdown_ends_both_sides(autojump_clock: MockClock) -> None:
    async with open_world(network=MemoryNetwork(), clock=TrioClock()) as world:
        made = await make(world)
        peers = [await raw_end(world, made.path(end)) for end in ("reader", "writer")]
        world.streams.clear()  # they outlast the engine
    for peer in peers:
        assert await peer.read_all() == b"\x88\x02\x03\xf4"  # 1012, which no reader takes for the end of the stream


@pytest.mark.parametrize("end", ["reader", "writer"])
async def test_a_killed_end_ends_the_other(world: World, end: str) -> None:
    made = await make(world)
    sockets = {name: await world.open_socket(made.path(name)) for name in ("reader", "writer")}
    workers = {worker.id for worker in world.engine.kernel.workers}
    children = [child.name for child in world.engine.composition.connections if child.name not in workers]
    victim = children[0] if end == "reader" else children[1]
    assert world.engine.kill(f"connections/{victim}")
    assert await ended(sockets[end].socket) == 1006
    if end == "writer":
        assert await ended(sockets["reader"].socket) == 1005
    else:
        await sockets["writer"].socket.send_message("x")
        assert await ended(sockets["writer"].socket) == 1006


async def test_refs_pass_through_calls_unchanged(world: World) -> None:  # wire 74
    made = await make(world)
    callee, caller = await world.connect(), await world.connect()
    await callee.register("keeps::refs")
    await callee.fence()
    sent = {"deep": [{"r": made.result["reader"]}], "w": made.result["writer"]}
    invocation = await caller.invoke("keeps::refs", sent)
    call = await callee.invoked("keeps::refs")
    assert {key: value for key, value in call["data"].items() if key != "_caller_worker_id"} == sent
    await callee.answer(call, result=sent)
    assert (await caller.outcome(invocation))["result"] == sent
    assert json.dumps(sent)  # still plain JSON
