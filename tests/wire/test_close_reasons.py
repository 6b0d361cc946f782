"""Every way a connection can end, provoked once and found counted under its name (wire-protocol 1.2 - 1.4)."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from trio.testing import MockClock
from wire_client import CLOSE, MODERN, World, frame, open_world

from iii_trio.kernel import TrioClock
from iii_trio.sockets import CloseReason
from iii_trio.testing import MemoryNetwork
from tests.waiting import eventually

Provocation = Callable[[World], Awaitable[bytes]]
"""Ends one connection; returns the last bytes its peer was sent."""
PROVOCATIONS: dict[CloseReason, Provocation] = {}


def provokes(reason: CloseReason) -> Callable[[Provocation], Provocation]:
    def note(provocation: Provocation) -> Provocation:
        PROVOCATIONS[reason] = provocation
        return provocation

    return note


async def _end_by(world: World, data: bytes) -> bytes:
    peer = await world.raw()
    await peer.upgrade()
    await peer.stream.send_all(data)
    said = await peer.read_all()
    await peer.stream.aclose()
    return said


def _closes(code: int) -> bytes:
    return b"\x88\x02" + code.to_bytes(2, "big")


@provokes(CloseReason.PEER_CLOSED)
async def _peer_closes(world: World) -> bytes:
    return await _end_by(world, frame((1000).to_bytes(2, "big"), CLOSE))


@provokes(CloseReason.PEER_GONE)
async def _peer_goes(world: World) -> bytes:
    peer = await world.raw()
    await peer.upgrade()
    await peer.stream.aclose()
    return b""


@provokes(CloseReason.PROTOCOL_ERROR)
async def _peer_breaks_the_rules(world: World) -> bytes:
    return await _end_by(world, frame(b"{}", masked=False))


@provokes(CloseReason.NOT_UTF8)
async def _peer_sends_bad_text(world: World) -> bytes:
    return await _end_by(world, frame(b'"\xff"'))


@provokes(CloseReason.TOO_BIG)
async def _peer_sends_too_much(world: World) -> bytes:
    return await _end_by(world, frame(bytes(16 * 1024 * 1024 + 1))[:14])


@provokes(CloseReason.REATTACHED)
async def _peer_returns(world: World) -> bytes:
    old, new = await world.connect(), await world.connect()
    await new.say(type="reattach", previous_worker_id=old.id, reattach_token=old.token)
    assert await old.wait_closed() == 1006
    return b""


@provokes(CloseReason.NAME_CONFLICT)
async def _name_is_taken(world: World) -> bytes:
    await world.connect(MODERN, name="taken")
    newcomer = await world.connect()
    await newcomer.invoke("engine::workers::register", {**MODERN, "name": "taken"})
    assert await newcomer.wait_closed() == 1005
    await newcomer.drop()
    return b"\x88\x00"


@provokes(CloseReason.CRASHED)
async def _connection_fails(world: World) -> bytes:
    def fail(kind: str, _: str) -> None:
        if kind == "function_registered":
            raise RuntimeError("a bug")

    world.engine.kernel.events.listen(fail)
    return await _end_by(world, frame(b'{"type":"registerfunction","id":"f"}'))


@provokes(CloseReason.KILLED)
async def _connection_is_killed(world: World) -> bytes:
    client = await world.connect()
    assert world.engine.kill(f"connections/{client.id}")
    assert await client.wait_closed() == 1006
    return b""


@provokes(CloseReason.HANDSHAKE_REFUSED)
async def _request_is_no_upgrade(world: World) -> bytes:
    peer = await world.raw()
    await peer.stream.send_all(b"GET / HTTP/1.1\r\nhost: engine\r\n\r\n")
    assert (await peer.read_all()).startswith(b"HTTP/1.1 400 ")
    return b""


async def _channel(world: World) -> tuple[str, str]:
    made = await (await world.connect()).value("engine::channels::create", {})
    ref = made["writer"]
    path = f"/ws/channels/{ref['channel_id']}?key={ref['access_key']}&dir="
    return path + "read", path + "write"


@provokes(CloseReason.CHANNEL_ENDED)
async def _stream_ends(world: World) -> bytes:
    reading, writing = await _channel(world)
    peer, writer = await world.raw(), await world.raw()
    await peer.upgrade(reading)
    await writer.upgrade(writing)
    await writer.stream.aclose()
    await eventually(lambda: bool(world.closed))
    assert world.closed == {"peer_gone": 1}  # the writer's
    said = await peer.read_all()
    await peer.stream.aclose()
    await eventually(lambda: len(world.closed) == 2)
    forget(world, CloseReason.PEER_GONE)
    return said


@provokes(CloseReason.CHANNEL_TAKEN)
async def _end_is_taken(world: World) -> bytes:
    reading, _ = await _channel(world)
    first, second = await world.raw(), await world.raw()
    await first.upgrade(reading)
    await second.upgrade(reading)
    said = await second.read_all()
    await second.stream.aclose()
    return said


@provokes(CloseReason.CHANNEL_UNREAD)
async def _nobody_reads(world: World) -> bytes:
    reading, writing = await _channel(world)
    reader, writer = await world.raw(), await world.raw()
    await reader.upgrade(reading)
    await writer.upgrade(writing)
    await reader.stream.aclose()
    await eventually(lambda: world.closed == {"peer_gone": 1})
    await writer.stream.send_all(frame(b"x"))
    said = await writer.read_all()
    await eventually(lambda: len(world.closed) == 2)
    forget(world, CloseReason.PEER_GONE)
    return said


def forget(world: World, reason: CloseReason) -> None:
    """Leave an end out of the counts that the provocation needed besides."""
    del world.engine.composition.listeners[0]._closed[reason]


@provokes(CloseReason.TOO_MANY_CONNECTIONS)
async def _house_is_full(world: World) -> bytes:
    world.engine.composition.connections.max_children = 1
    await world.connect()
    peer = await world.raw()
    assert await peer.read_all() == b""
    return b""


SAID = {
    CloseReason.PEER_CLOSED: _closes(1000),
    CloseReason.PROTOCOL_ERROR: _closes(1002),
    CloseReason.NOT_UTF8: _closes(1007),
    CloseReason.TOO_BIG: _closes(1009),
    CloseReason.CRASHED: _closes(1011),
    CloseReason.NAME_CONFLICT: b"\x88\x00",
    CloseReason.CHANNEL_ENDED: b"\x88\x00",
    CloseReason.CHANNEL_TAKEN: b"\x88\x00",
}
IN_VIRTUAL_TIME = {CloseReason.IDLE, CloseReason.SLOW_CONSUMER, CloseReason.HANDSHAKE_TIMEOUT, CloseReason.SHUTDOWN}
ON_A_GUARDED_LISTENER = {CloseReason.AUTH_FAILED}  # test_access_auth.py


@pytest.mark.parametrize("reason", PROVOCATIONS)
async def test_every_end_has_its_reason(world: World, reason: CloseReason) -> None:
    said = await PROVOCATIONS[reason](world)
    assert said.endswith(SAID.get(reason, b""))
    assert (b"\x88" in said) == (reason in SAID)
    await world.wait_closed(reason)

    def only_others_are_left() -> bool:
        statistics = world.engine.statistics()
        others = statistics.kernel.workers.connected + statistics.listeners[0].channel_ends
        return statistics.connections.running == others

    await eventually(only_others_are_left)


def test_no_reason_is_left_out() -> None:
    assert set(PROVOCATIONS) | IN_VIRTUAL_TIME | ON_A_GUARDED_LISTENER == set(CloseReason)


@pytest.mark.parametrize("path", ["/", "/otel"])
async def test_a_silent_peer_is_asked_and_given_up(autojump_clock: MockClock, path: str) -> None:
    # 1.2: a ping after 30 s of silence, the end after 180 s
    async with open_world(network=MemoryNetwork(), clock=TrioClock()) as world:
        peer = await world.raw()
        await peer.upgrade(path)
        begun = trio.current_time()
        await peer.read_until(b"\x89\x00", within=100)
        assert trio.current_time() - begun == pytest.approx(30, abs=1.5)
        assert b"\x88" not in await peer.read_all(within=300)
        assert trio.current_time() - begun == pytest.approx(180, abs=1.5)
        assert bytes(peer.received) == b"\x89\x00" * 4
        assert world.closed == {"idle": 1}


async def test_any_byte_is_a_sign_of_life(autojump_clock: MockClock) -> None:
    async with open_world(network=MemoryNetwork(), clock=TrioClock()) as world:
        client = await world.connect()  # answers pings by itself
        peer = await world.raw()
        await peer.upgrade()
        for byte in frame(b'{"type":"ping"}'):
            await peer.stream.send_all(bytes([byte]))
            await trio.sleep(60)
        assert world.closed == {}
        assert await client.fence() == []


async def test_the_heartbeat_can_be_switched_off(autojump_clock: MockClock) -> None:
    options = {"heartbeat_interval_ms": 0, "idle_timeout_ms": 0}
    config = {"workers": [{"name": "iii-worker-manager", "config": options}]}
    async with open_world(config, network=MemoryNetwork(), clock=TrioClock()) as world:
        peer = await world.raw()
        await peer.upgrade()
        with trio.move_on_after(3600):
            await peer.read_until(b"never", within=10_000)
        assert b"\x89" not in peer.received
        assert world.closed == {}


async def test_a_peer_that_takes_nothing_for_a_minute_is_a_slow_consumer(autojump_clock: MockClock) -> None:
    # 1.4: bytes wait for it all the time; a peer that sends is not idle
    network = MemoryNetwork(trio.testing.lockstep_stream_pair)
    async with open_world(network=network, clock=TrioClock()) as world:
        peer = await world.raw()
        await peer.upgrade()
        caller = await world.connect()
        begun = trio.current_time()
        await peer.stream.send_all(frame(b'{"type":"registerfunction","id":"stuck::one"}'))
        await caller.fence()
        invocation_id = await caller.invoke("stuck::one", {})
        outcome = await caller.outcome(invocation_id, within=100)
        assert outcome["error"]["code"] == "invocation_stopped"
        assert trio.current_time() - begun == pytest.approx(60, abs=1.5)
        assert world.closed == {"slow_consumer": 1}
