"""A worker that stops reading is cut off within bounds of memory and time, and delays nobody else (wire-protocol 1.4)."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from served import HANDSHAKE, BytePeer
from trio.testing import MockClock, lockstep_stream_pair

from iii_trio import Engine, open_engine
from iii_trio.kernel import Function, TrioClock, Worker
from iii_trio.sockets import Outbox, OutboxLimits
from iii_trio.testing import MemoryNetwork, RawWorker, open_raw_worker
from tests.waiting import eventually

pytestmark = pytest.mark.chaos
LIMITS = OutboxLimits(frames=50, size=400_000, waiting=800_000, patience=60.0)
BOUND = LIMITS.size + LIMITS.waiting
DATA = "x" * 10_000


@attrs.define(eq=False)
class Scene:
    """An engine with small outboxes, a worker that does not read, and one that does."""

    engine: Engine
    slow: BytePeer
    slow_worker: Worker
    honest: RawWorker

    @property
    def outbox(self) -> Outbox:
        assert isinstance(self.slow_worker.outlet, Outbox)
        return self.slow_worker.outlet

    @property
    def closed(self) -> dict[str, int]:
        return self.engine.statistics().listeners[0].closed

    async def call(self, count: int, outcomes: Counter[str]) -> None:
        """Call the slow worker's function that often at once, and count how the calls end."""

        async def one() -> None:
            answer = await self.honest.call("slow::f", DATA, invocation_id=self.engine.kernel.ids.new())
            outcomes[answer["error"]["code"] if "error" in answer else "reply"] += 1

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one)


@asynccontextmanager
async def open_scene() -> AsyncIterator[Scene]:
    """Over streams whose sender waits until every byte was taken: nothing hides in a buffer of the network."""
    network = MemoryNetwork(lockstep_stream_pair)
    async with (
        open_engine({}, host="127.0.0.1", network=network, clock=TrioClock()) as engine,
        open_workers(engine, network.connect, LIMITS) as scene,
    ):
        yield scene


@asynccontextmanager
async def open_workers(
    engine: Engine, connect: Callable[[int], Awaitable[trio.abc.Stream]], limits: OutboxLimits
) -> AsyncIterator[Scene]:
    port = engine.address[1]
    async with open_raw_worker(await connect(port)) as honest:
        await honest.register("honest::echo")
        await honest.fence()
        listener = engine.composition.listeners[0]
        listener.settings = attrs.evolve(listener.settings, outbox=limits)
        slow = BytePeer(await connect(port))
        await slow.say(HANDSHAKE)
        await slow.hear_until(b"\r\n\r\n")
        worker = engine.kernel.workers.get((await slow.message())["worker_id"])
        assert worker is not None
        yield Scene(engine, slow, worker, honest)
        await trio.aclose_forcefully(slow.stream)


async def connect_tcp(port: int) -> trio.abc.Stream:
    return await trio.open_tcp_stream("127.0.0.1", port)


async def serve_echo(worker: RawWorker) -> None:
    while True:
        call = await worker.take("invokefunction")
        await worker.answer(call, result=call["data"])


async def test_replies_nobody_reads_end_the_connection(autojump_clock: MockClock) -> None:
    """They cannot be dropped, so beyond the bound the peer is; its calls are forgotten, the callee hears no more."""
    async with open_scene() as scene, trio.open_nursery() as nursery:
        nursery.start_soon(serve_echo, scene.honest)
        call = b'{"type":"invokefunction","function_id":"honest::echo","invocation_id":"%d","data":"%b"}'
        sizes = []
        for number in range(BOUND // len(DATA) + 20):
            if scene.slow_worker.closing:
                break
            await scene.slow.say_all([call % (number, DATA.encode())])
            await eventually(lambda: scene.slow_worker.closing or not scene.slow_worker.calling, within=30)
            sizes.append(scene.outbox.statistics().size)
        assert scene.closed == {"slow_consumer": 1}
        assert BOUND - 3 * len(DATA) < max(sizes) <= BOUND
        assert scene.outbox.statistics().size == 0
        assert scene.engine.kernel.workers.get(scene.slow_worker.id) is None
        await eventually(lambda: scene.engine.kernel.ledger.statistics().in_flight == 0, within=30)
        nursery.cancel_scope.cancel()


async def test_calls_nobody_reads_are_refused_and_then_stopped(autojump_clock: MockClock) -> None:
    """`overloaded` at the bound, `invocation_stopped` when the peer has taken no byte for 60 s (# wire 107)."""
    async with open_scene() as scene:
        scene.engine.kernel.functions.add(Function("slow::f", scene.slow_worker))
        outcomes: Counter[str] = Counter()
        count = BOUND // len(DATA) + 30
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.call, count, outcomes)
            await trio.sleep(LIMITS.patience - 1)
            assert outcomes == {"overloaded": count - len(scene.slow_worker.executing)}
            assert BOUND - 3 * len(DATA) < scene.outbox.statistics().size <= BOUND
            assert not scene.slow_worker.closing
            nursery.start_soon(serve_echo, scene.honest)
            answer = await scene.honest.call("honest::echo", 1, invocation_id=scene.engine.kernel.ids.new())
            assert answer["result"] == 1
            await eventually(lambda: sum(outcomes.values()) == count, within=30)
            nursery.cancel_scope.cancel()
        assert set(outcomes) == {"overloaded", "invocation_stopped"}
        assert outcomes["overloaded"] >= 30
        assert scene.closed == {"slow_consumer": 1}
        assert LIMITS.patience <= trio.current_time() - start < LIMITS.patience + 5


async def test_a_slow_peer_that_reads_again_gets_everything_in_order(autojump_clock: MockClock) -> None:
    """# wire 107"""
    async with open_scene() as scene:
        scene.engine.kernel.functions.add(Function("slow::f", scene.slow_worker))
        ids = [scene.engine.kernel.ids.new() for _ in range(60)]
        for invocation_id in ids:
            await scene.honest.send("invokefunction", function_id="slow::f", invocation_id=invocation_id, data=DATA)
        await scene.honest.fence()
        assert scene.outbox.is_full
        await trio.sleep(LIMITS.patience - 1)
        heard = [await scene.slow.message() for _ in ids]
        assert [call["invocation_id"] for call in heard] == ids
        assert {call["data"] for call in heard} == {DATA}
        assert scene.outbox.statistics().frames < LIMITS.frames
        assert scene.closed == {}


async def test_callers_inside_the_engine_wait_for_room(autojump_clock: MockClock) -> None:
    """They have tasks of their own to wait in; readers never wait."""
    async with open_scene() as scene, trio.open_nursery() as nursery:
        scene.engine.kernel.functions.add(Function("slow::f", scene.slow_worker))
        for _ in range(LIMITS.frames):
            nursery.start_soon(scene.engine.invoke, "slow::f", 1)
        await eventually(lambda: scene.outbox.is_full, within=30)
        nursery.start_soon(scene.engine.invoke, "slow::f", "the last")
        await trio.sleep(1)
        assert len(scene.slow_worker.executing) == LIMITS.frames
        for _ in range(LIMITS.frames):
            assert (await scene.slow.message())["data"] == 1
        assert (await scene.slow.message())["data"] == "the last"
        nursery.cancel_scope.cancel()


async def test_the_same_over_tcp() -> None:
    """Where the system's buffers take the first megabytes, in as large pieces as they have room for."""
    limits = attrs.evolve(LIMITS, patience=0.5)
    async with (
        open_engine({}, host="127.0.0.1", port=0) as engine,
        open_workers(engine, connect_tcp, limits) as scene,
    ):
        engine.kernel.functions.add(Function("slow::f", scene.slow_worker))
        outcomes: Counter[str] = Counter()
        with trio.fail_after(20):
            while not outcomes["overloaded"]:
                for _ in range(100):
                    await scene.honest.send("invokefunction", function_id="slow::f", data=DATA)
                with trio.move_on_after(0.05):
                    await scene.call(1, outcomes)
                assert scene.outbox.statistics().size <= BOUND
            await eventually(lambda: scene.closed == {"slow_consumer": 1}, within=30)
        assert engine.kernel.ledger.statistics().in_flight == 0
