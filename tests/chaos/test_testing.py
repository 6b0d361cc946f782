"""The public test helpers themselves: what they refuse, and how they end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from iii_trio import Engine, open_engine
from iii_trio.kernel import TrioClock
from iii_trio.network import AddressTaken
from iii_trio.sockets import CloseReason
from iii_trio.testing import Disconnected, MemoryNetwork, kernel_trace, open_raw_worker


@asynccontextmanager
async def open_world() -> AsyncIterator[tuple[Engine, MemoryNetwork]]:
    network = MemoryNetwork()
    options: dict[str, Any] = {"host": "127.0.0.1", "network": network, "clock": TrioClock(), "random": Random(1)}
    with trio.fail_after(3_600):
        async with open_engine({}, **options) as engine:
            yield engine, network


async def test_the_example_of_the_docstring(autojump_clock: MockClock) -> None:
    async with (
        open_world() as (engine, network),
        open_raw_worker(await network.connect(engine.address[1])) as worker,
    ):
        outcome = await worker.call("engine::functions::list", {"include_internal": True})
        assert "engine::functions::list" in str(outcome["result"])
        trace = kernel_trace(engine.kernel)
        await worker.register("shop::price")
        await worker.send("invokefunction", function_id="shop::price", data={"sku": "A-7"})
        call = await worker.take("invokefunction", function_id="shop::price")
        await worker.answer(call, result=29.7)
        await worker.fence()
        now = trio.current_time()
        assert trace == [
            (now, "function_registered", "shop::price"),
            (now, "invoked", call["invocation_id"]),
            (now, "answered", call["invocation_id"]),
        ]


async def test_a_network_refuses_as_a_real_one_does(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    with pytest.raises(ConnectionRefusedError):
        await network.connect(80)
    first = await network.open_listeners("memory", 80)
    with pytest.raises(AddressTaken, match="80"):
        await network.open_listeners("memory", 80)
    other = await network.open_listeners("memory", 0)
    assert network.port_of(other) != network.port_of(first) == 80
    waiting = await network.connect(80)
    await first[0].aclose()
    await first[0].aclose()
    assert await waiting.receive_some() == b""
    with pytest.raises(trio.ClosedResourceError):
        await first[0].accept()
    with pytest.raises(ConnectionRefusedError):
        await network.connect(80)
    assert network.port_of(await network.open_listeners("memory", 80)) == 80


async def test_who_waits_hears_of_the_end(autojump_clock: MockClock) -> None:
    """Every task that waits, and every later one; with the status of the engine's `Close`."""
    ended: list[int | None] = []
    async with (
        open_world() as (engine, network),
        open_raw_worker(await network.connect(engine.address[1])) as worker,
        trio.open_nursery() as nursery,
    ):
        await worker.register("f")

        async def wait(kind: str) -> None:
            with pytest.raises(Disconnected) as caught:
                await (worker.call("f") if kind == "call" else worker.take(kind))
            ended.append(caught.value.code)

        nursery.start_soon(wait, "call")
        nursery.start_soon(wait, "never")
        await worker.take("invokefunction")
        known = engine.kernel.workers.get(worker.id)
        assert known is not None
        assert known.close is not None
        known.close(CloseReason.SHUTDOWN)
        await trio.sleep(1)
        await wait("call")
        await wait("never")
    assert len(ended) == 4
    assert len(set(ended)) == 1
    assert None not in ended


async def test_an_answer_nobody_waits_for_any_more_stays(autojump_clock: MockClock) -> None:
    async with (
        open_world() as (engine, network),
        open_raw_worker(await network.connect(engine.address[1])) as worker,
    ):
        await worker.register("f")
        with trio.move_on_after(5):
            await worker.call("f")
        call = await worker.take("invokefunction")
        await worker.answer(call, result=1)
        await worker.fence()
        assert [message["result"] for message in worker.inbox] == [1]


async def test_a_refused_worker_says_so_and_an_error_in_the_block_is_bare(autojump_clock: MockClock) -> None:
    async with open_world() as (engine, network):
        port = engine.address[1]
        stream = await network.connect(port)
        with pytest.raises(Disconnected):
            await open_raw_worker(stream, "/nowhere").__aenter__()
        with pytest.raises(LookupError, match="bare"):
            async with open_raw_worker(await network.connect(port)):
                raise LookupError("bare")
        await trio.sleep(1)
        assert engine.kernel.statistics().workers.connected == 0
