"""Pressure, limits, restarts and the drain, as peers see them (wire-protocol 1.2, 1.4, 17)."""

import json
from contextlib import ExitStack
from typing import Any

import pytest
import trio
import trio.testing
from wire_client import LEGACY, MIB, MODERN, Client, Json, RawPeer, World, frame, open_world

from iii_trio.kernel import Limits
from iii_trio.modules.engine_functions import EngineFunctionsModule
from iii_trio.network import TcpNetwork
from iii_trio.protocol.errors import InvocationError
from tests.waiting import eventually

OLD_PYTHON: Json = {"runtime": "python", "version": "0.23.1", "pid": 7}


async def _unread(world: World, *function_ids: str) -> RawPeer:
    """A worker that has registered functions and reads nothing."""
    peer = await world.raw()
    await peer.upgrade()
    for function_id in function_ids:
        await peer.stream.send_all(frame(b'{"type":"registerfunction","id":"%b"}' % function_id.encode()))
    await peer.stream.send_all(frame(b'{"type":"ping"}'))
    await peer.read_until(b'"pong"}')
    return peer


async def test_a_worker_that_does_not_read_delays_nobody_and_loses_nothing(world: World) -> None:
    # wire 107
    stuck, caller, quick = await _unread(world, "stuck::one"), await world.connect(), await world.connect()
    await quick.register("quick::one")
    await quick.fence()
    for number in range(30):
        await caller.invoke("stuck::one", f"{number:02}" + "x" * MIB)
        invocation_id = await caller.invoke("quick::one", number)
        await quick.serve_one("quick::one", result=number)
        assert (await caller.outcome(invocation_id, within=1))["result"] == number
    for number in range(30):
        assert b'"data":"%02d' % number in await stuck.read_until(b'x"}')
    assert world.closed == {}


async def test_calls_beyond_what_may_wait_for_a_worker_are_refused(world: World) -> None:
    # 1.4: 16 MiB are queued, 64 MiB more may wait, beyond that `overloaded`
    stuck, caller = await _unread(world, "stuck::one"), await world.connect()
    ids = [await caller.invoke("stuck::one", f"{number:03}" + "x" * MIB) for number in range(100)]
    refused = [message for message in await caller.fence() if message["error"]["code"] == "overloaded"]
    accepted = len(ids) - len(refused)
    assert 79 <= accepted < 100
    assert [message["invocation_id"] for message in refused] == ids[accepted:]
    for number in range(accepted):
        assert b'"data":"%03d' % number in await stuck.read_until(b'x"}')
    invocation_id = await caller.invoke("stuck::one", "room again")
    assert invocation_id.encode() in await stuck.read_until(b'again"}')


async def test_a_caller_that_does_not_read_its_replies_is_cut_off(world: World) -> None:
    # 1.4: what answers it cannot be refused
    executor = await world.connect()
    await executor.register("big::one")
    await executor.fence()
    caller = await _unread(world)
    call = b'{"type":"invokefunction","function_id":"big::one","invocation_id":"a%d","data":null}'
    for number in range(100):
        await caller.stream.send_all(frame(call % number))
    for _ in range(100):
        await executor.serve_one("big::one", result="x" * MIB)
    await world.wait_closed("slow_consumer")
    assert await executor.fence() == []
    assert world.engine.kernel.statistics().invocations.in_flight == 0


async def test_workers_with_full_outboxes_call_each_other(world: World) -> None:
    # the issue: a remote call works while both peers call each other and neither reads
    clients = [await world.connect() for _ in range(2)]
    for number, client in enumerate(clients):
        await client.register(f"side::{number}")
        await client.fence()
    calls = 600  # more than outbox and system take together
    text = "x" * (64 * 1024)
    for _ in range(calls):
        for number, client in enumerate(clients):
            await client.invoke(f"side::{1 - number}", text)
    waiting = [worker.outlet for worker in world.engine.kernel.workers]
    await eventually(lambda: all(outlet is not None and outlet.is_full for outlet in waiting))
    taken = [0, 0]

    async def serve(number: int) -> None:
        client = clients[number]
        for _ in range(2 * calls):
            message = json.loads(await client.socket.get_message())
            if message["type"] == "invokefunction":
                await client.answer(message, result=message["data"])
            else:
                assert message["result"] == text
                taken[number] += 1

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(serve, number)
    assert taken == [calls, calls]


async def test_calls_in_flight_are_limited_per_caller_and_in_all() -> None:
    async with open_world(limits=Limits(per_caller=2, in_all=3)) as world:
        executor, first, second = [await world.connect() for _ in range(3)]
        await executor.register("work::do")
        await executor.fence()
        ids = [await first.invoke("work::do", number) for number in range(3)]
        assert (await first.outcome(ids[2]))["error"]["code"] == "overloaded"
        await second.invoke("work::do", 3)
        assert (await second.error("work::do", {}))["code"] == "overloaded"
        await executor.serve_one("work::do", result=1)
        assert (await first.outcome(ids[0]))["result"] == 1
        again = await second.invoke("work::do", 5)
        numbers = [(await executor.serve_one("work::do", result=2))["data"] for _ in range(3)]
        assert numbers == [1, 3, 5]
        assert (await second.outcome(again))["result"] == 2


async def test_a_stopping_engine_refuses_new_calls_and_finishes_old_ones() -> None:
    drained = trio.Event()
    ends: list[int | None] = []
    stack = ExitStack()  # left when the engine is gone

    async def go_on(caller: Client, executor: Client, running: str) -> None:
        await drained.wait()
        assert (await caller.error("work::do", {}))["code"] == "shutting_down"
        enqueue = {"type": "enqueue", "queue": "q"}
        assert (await caller.error("work::do", {}, action=enqueue))["code"] == "shutting_down"
        await executor.serve_one("work::do", result="finished")
        assert (await caller.outcome(running))["result"] == "finished"
        for client in (caller, executor):
            ends.append(await client.wait_closed())
            await client.drop()

    async with trio.open_nursery() as outliving, open_world() as world:
        world.nursery = outliving
        executor, caller = await world.connect(), await world.connect()
        await executor.register("work::do")
        await executor.fence()
        running = await caller.invoke("work::do", {})
        await caller.fence()
        outliving.start_soon(go_on, caller, executor, running)
        world.streams.clear()
        stack.enter_context(world.engine.kernel.when_draining(drained.set))
    stack.close()
    assert ends == [1012, 1012]


async def test_functions_of_a_module_that_restarts_are_unavailable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 17: module_unavailable, and everything is back afterwards
    gate, waiting = trio.Event(), trio.Event()
    run = EngineFunctionsModule.run

    async def slow_run(self: EngineFunctionsModule, *args: Any, **options: Any) -> None:
        waiting.set()
        await gate.wait()
        await run(self, *args, **options)

    caller, target = await world.connect(MODERN, name="c"), await world.connect(MODERN, name="t")
    await target.register("watch::workers")
    await target.trigger("w", "engine::workers-available", "watch::workers", config={})
    await target.fence()
    monkeypatch.setattr(EngineFunctionsModule, "run", slow_run)
    assert world.engine.kill("modules/iii-engine-functions/logic")
    with trio.fail_after(5):
        await waiting.wait()
    assert (await caller.error("engine::workers::list"))["code"] == "module_unavailable"
    assert (await caller.announce(MODERN, name="still announced"))["result"] == {"success": True}
    gate.set()
    await eventually(lambda: world.engine.kernel.triggers.statistics().bound == 1)
    last = await world.connect(MODERN, name="last")
    while (await target.invoked("watch::workers"))["data"]["worker_id"] != last.id:
        pass
    rows = (await caller.value("engine::workers::list", {}))["workers"]
    assert {"still announced", "t", "last"} <= {row["name"] for row in rows}


class GatedNetwork:
    """Lets the first bind of every port through, and later ones only when the gate is open."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.binds, self.port = inner, 0, 0
        self.gate, self.waiting = trio.Event(), trio.Event()

    async def open_listeners(self, host: str, port: int) -> Any:
        self.binds += 1
        if self.binds > 2:
            self.waiting.set()
            await self.gate.wait()
        return await self.inner.open_listeners(host, port)

    def port_of(self, listeners: Any) -> int:
        self.port = int(self.inner.port_of(listeners))
        return self.port


async def test_triggers_of_an_http_module_that_restarts_come_back(caplog: pytest.LogCaptureFixture) -> None:
    network = GatedNetwork(TcpNetwork())
    config = {"workers": [{"name": "iii-http", "config": {"host": "127.0.0.1", "port": 0}}]}
    async with open_world(config, network=network) as world:
        worker = await world.connect()
        await worker.register("on::hook")
        await worker.trigger("t1", "http", "on::hook", config={"api_path": "hook", "http_method": "GET"})
        await worker.fence()
        port = world.engine.addresses["http"][1]
        assert world.engine.kill("modules/iii-http/logic")
        with trio.fail_after(5):
            await network.waiting.wait()
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", port)
        assert await worker.fence() == []
        network.port = 0
        network.gate.set()
        await eventually(lambda: network.port != 0)
        crash = next(one for one in caplog.records if "modules/iii-http/logic crashed" in one.getMessage())
        assert crash.exc_info is not None  # the log says why
        async with await trio.open_tcp_stream("127.0.0.1", network.port) as stream:
            await stream.send_all(b"GET /hook HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            await worker.serve_one("on::hook", result={"status_code": 201, "body": "back"})
            assert (await RawPeer(stream).read_all()).startswith(b"HTTP/1.1 201 ")


SAFE = [
    {**OLD_PYTHON, "version": "0.24.5"},
    {**OLD_PYTHON, "version": "0.25.0"},
    {**OLD_PYTHON, "features": ["large-messages.v1"]},
    {**LEGACY, "runtime": "node"},
    None,
]


SPARED = [
    OLD_PYTHON,
    {**OLD_PYTHON, "version": "0.11.6", "features": ["other"]},
    {**OLD_PYTHON, "version": "0.24.0"},
    {**OLD_PYTHON, "version": "0.24.4"},
]


@pytest.mark.parametrize("announcement", SPARED)
async def test_old_python_sdks_are_spared_what_would_kill_their_socket(world: World, announcement: Json) -> None:
    # 1.2: their limit is 1 MiB per message
    worker, other = await world.connect(announcement), await world.connect()
    await worker.register("python::one")
    await worker.fence()
    error = await other.error("python::one", {"text": "x" * MIB})
    assert error["code"] == "payload_too_large"
    assert "1048576" in error["message"]
    assert await worker.fence() == []
    await other.register("other::one")
    await other.fence()
    invocation_id = await worker.invoke("other::one", {})
    await other.serve_one("other::one", result="x" * MIB)
    assert (await worker.outcome(invocation_id))["error"]["code"] == "payload_too_large"
    fitting = await other.invoke("python::one", "x" * (MIB - 500))
    await worker.serve_one("python::one", result=1)
    assert (await other.outcome(fitting))["result"] == 1


@pytest.mark.parametrize("announcement", SAFE)
async def test_other_sdks_get_large_messages(world: World, announcement: Json | None) -> None:
    worker, other = await world.connect(announcement), await world.connect()
    await worker.register("large::one")
    await worker.fence()
    invocation_id = await other.invoke("large::one", "x" * MIB)
    await worker.serve_one("large::one", result="y" * 2 * MIB)
    assert (await other.outcome(invocation_id))["result"] == "y" * 2 * MIB


async def test_a_call_inside_the_engine_waits_for_room_and_is_released_by_the_end(world: World) -> None:
    # style guide, Queues: callers inside the engine wait while an outbox is full
    stuck = await _unread(world, "stuck::one")
    worker = next(iter(world.engine.kernel.workers))
    assert worker.outlet is not None
    while not worker.outlet.is_full:
        await world.engine.kernel.bus.notify("stuck::one", "x" * MIB)
    waiting: list[str] = []

    async def call() -> None:
        try:
            await world.engine.invoke("stuck::one", "waits")
        except InvocationError as error:
            waiting.append(error.code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        assert waiting == []
        await stuck.stream.aclose()
    assert waiting == ["channel_send_failed"]
