"""Workers against a real engine over real sockets, and beside it in one process (issue: iii_trio/worker)."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from iii_trio import connect, open_engine
from iii_trio.engine import Engine
from iii_trio.protocol.errors import FunctionNotFound, WorkerDisconnected
from iii_trio.worker import TriggerConfig, Worker, WorkerRejected


@attrs.frozen
class Order:
    sku: str
    qty: int = 1


@attrs.frozen
class Quote:
    total: float


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Engine, str]]:
    with trio.fail_after(20):
        async with open_engine({"modules": []}, host="127.0.0.1", port=0) as engine:
            host, port = engine.address
            yield engine, f"ws://{host}:{port}"


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(10):
        while not await condition():  # noqa: ASYNC110  # what happens on the other side of a socket
            await trio.sleep(0.01)


async def knows(engine: Engine, function_id: str) -> bool:
    await trio.lowlevel.checkpoint()
    return engine.kernel.functions.find("default", function_id) is not None


async def test_a_socket_worker_and_a_local_one_call_each_other() -> None:  # wire 26, 31, 33, 34
    async with running() as (engine, url), connect(url, name="far") as far, engine.worker("near") as near:

        @far.function("far::quote")
        async def quote(order: Order) -> Quote:
            return Quote(await far.trigger("near::price", {"sku": order.sku}) * order.qty)

        @near.function("near::price")
        async def price(payload: dict[str, Any]) -> float:
            assert payload["_caller_worker_id"] == far.id
            return 2.5

        await until(lambda: knows(engine, "far::quote"))
        assert await near.trigger("far::quote", Order("A-7", 4), result_type=Quote) == Quote(10.0)
        assert await far.trigger("far::quote", {"sku": "A-7"}, result_type=Quote) == Quote(2.5)
        listed = await far.trigger("engine::workers::list", {})
        rows = {row["name"]: row for row in listed["workers"]}
        assert {"far", "near"} <= set(rows)
        assert rows["far"]["runtime"] == rows["near"]["runtime"] == "trio"
        with pytest.raises(FunctionNotFound, match="nobody::home"):
            await far.trigger("nobody::home")


async def test_a_killed_connection_comes_back_with_everything_it_had(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with running() as (engine, url), connect(url, name="far") as far, engine.worker("near") as near:
        begun: list[str] = []
        slow_began = trio.Event()

        class Clock:
            async def register_trigger(self, trigger: TriggerConfig) -> None:
                begun.append(trigger.id)

            async def unregister_trigger(self, trigger: TriggerConfig) -> None:
                begun.remove(trigger.id)

        @far.function("far::echo")
        async def echo(payload: Any) -> Any:
            return payload

        @far.function("far::slow")
        async def slow() -> None:
            slow_began.set()
            await trio.sleep_forever()

        far.register_trigger_type("clock", "Ticks", Clock())
        await near.register_trigger("clock", "near::tick", trigger_id="t")
        await until(lambda: knows(engine, "far::slow"))

        async def call_slow() -> None:
            with pytest.raises(WorkerDisconnected):
                await near.trigger("far::slow")

        first = far.id
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call_slow)
            await slow_began.wait()
            assert begun == ["t"]
            assert engine.kill(f"connections/{first}")
        await until(lambda: knows(engine, "far::slow"))
        assert far.id != first
        assert await near.trigger("far::echo", [1, 2]) == [1, 2]
        assert begun == ["t"]
        assert engine.kernel.statistics().workers.connected == 2


async def test_a_second_worker_of_one_name_is_rejected() -> None:  # wire 89
    async with running() as (_, url), connect(url, name="orders") as first:
        with pytest.raises(WorkerRejected) as caught:
            async with connect(url, name="orders"):
                await trio.sleep_forever()
        assert caught.value.owner_worker_id == first.id
        async with connect(url, name="orders", namespace="other") as second:
            await second.trigger("engine::workers::list", {})


async def test_leaving_takes_everything_along() -> None:
    async with running() as (engine, url):
        async with connect(url, name="far") as far:
            far.register_function("far::echo", _echo)
            await until(lambda: knows(engine, "far::echo"))

        async def gone() -> bool:
            return not await knows(engine, "far::echo")

        await until(gone)
        assert engine.kernel.statistics().workers.connected == 0


async def _echo(payload: Any) -> Any:
    return payload


async def test_no_tls_where_tls_is_expected(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as (_, url), trio.open_nursery() as nursery:

        async def try_tls() -> None:
            async with connect(url.replace("ws:", "wss:")):
                raise AssertionError

        async def refused() -> bool:
            await trio.lowlevel.checkpoint()
            return "ended the connection during the handshake" in caplog.text

        nursery.start_soon(try_tls)
        await until(refused)
        nursery.cancel_scope.cancel()


async def call_many(worker: Worker, count: int) -> list[Any]:
    results: list[Any] = [None] * count

    async def call(number: int) -> None:
        results[number] = await worker.trigger("far::echo", number)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(call, number)
    return results


async def test_two_workers_call_each_other_by_the_thousand() -> None:
    async with running() as (engine, url), connect(url, name="far") as far, connect(url, name="other") as other:
        far.register_function("far::echo", _echo)
        await until(lambda: knows(engine, "far::echo"))
        results: list[list[Any]] = []

        async def run(worker: Worker) -> None:
            results.append(await call_many(worker, 500))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, far)
            nursery.start_soon(run, other)
        assert results == [list(range(500))] * 2
        assert engine.kernel.statistics().invocations.in_flight == 0
