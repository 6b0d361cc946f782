"""A worker in the engine's process: the same API, on a kernel (wire-protocol 3, 5, 7)."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from iii_trio.kernel import Call, Function, Kernel, ModuleOwner, OwnershipConflict, TrioClock
from iii_trio.kernel import Trigger as KernelTrigger
from iii_trio.protocol import Payload
from iii_trio.protocol.errors import (
    FunctionNotFound,
    InputRejected,
    InvalidNamespace,
    InvocationError,
    TriggerRejected,
    WorkerDisconnected,
)
from iii_trio.worker import InvocationContext, TriggerConfig, Worker, WorkerRejected, open_local_worker


@asynccontextmanager
async def open_kernel() -> AsyncIterator[Kernel]:
    kernel = Kernel(clock=TrioClock())
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: kernel.invocations.run(task_status=task_status))
        yield kernel
        kernel.invocations.request_stop()
    assert not kernel.ledger.rows


@asynccontextmanager
async def open_two() -> AsyncIterator[tuple[Kernel, Worker, Worker]]:
    async with open_kernel() as kernel, open_local_worker(kernel, "a") as a, open_local_worker(kernel, "b") as b:
        yield kernel, a, b


@attrs.frozen
class Order:
    sku: str
    qty: int = 1


@attrs.frozen
class Quote:
    total: float


async def test_it_is_a_worker_like_any_other(autojump_clock: Any) -> None:
    async with open_kernel() as kernel:
        async with open_local_worker(kernel, "orders", description="Orders") as worker:
            record = kernel.workers.get(worker.id)
            assert record is not None
            assert (record.name, record.runtime, record.namespace) == ("orders", "trio", "default")
            assert record.is_modern
            assert record.pid
            assert record.description == "Orders"
            worker.register_function("f", nothing)
            await worker.register_trigger("cron", "f")
            assert kernel.statistics().functions.functions == 1
            assert worker.statistics().link.connected
        assert kernel.statistics().workers.connected == 0
        assert kernel.statistics().functions.functions == 0
        assert kernel.statistics().triggers == attrs.evolve(kernel.statistics().triggers, bound=0, parked=0)
        assert not worker.statistics().link.connected


async def nothing() -> None:
    pass


async def test_a_typed_call_between_two(autojump_clock: Any) -> None:
    async with open_two() as (kernel, a, b):
        seen: list[Any] = []

        @a.function("orders::quote", metadata={"team": "shop"})
        async def quote(order: Order, context: InvocationContext) -> Quote:
            seen.append((order, context.metadata, context.caller_worker_id))
            return Quote(order.qty * 2.5)

        function = kernel.functions.find("default", "orders::quote")
        assert function is not None
        assert function.request_format is not None
        assert function.response_format is not None
        assert function.metadata is not None
        assert function.request_format.value["properties"]["qty"] == {"type": "integer"}
        assert function.response_format.value["properties"] == {"total": {"type": "number"}}
        assert function.metadata.value == {"team": "shop"}
        assert await b.trigger("orders::quote", Order("x", 4), metadata=[1], result_type=Quote) == Quote(10.0)
        assert seen == [(Order("x", 4), [1], b.id)]
        with pytest.raises(InputRejected, match=r"a string where an integer is expected @ \$\.qty"):
            await b.trigger("orders::quote", {"sku": "x", "qty": "4"})


async def test_no_mutable_value_is_shared(autojump_clock: Any) -> None:
    async with open_two() as (_, a, b):
        kept: list[Any] = []

        @a.function("keep")
        async def keep(payload: Any) -> Any:
            kept.append(payload)
            payload["items"].append("changed by the handler")
            return payload["items"]

        sent = {"items": ["one"]}
        result = await b.trigger("keep", sent)
        assert sent == {"items": ["one"]}
        assert result == ["one", "changed by the handler"]
        result.append("changed by the caller")
        assert kept[0]["items"] == ["one", "changed by the handler"]


async def test_errors_are_those_of_a_socket(autojump_clock: Any) -> None:
    async with open_two() as (_, a, b):

        @a.function("fails")
        async def fails(_: Any) -> None:
            raise ValueError("no such order")

        @a.function("refuses")
        async def refuses(_: Any) -> None:
            raise InvocationError("sold out", code="SOLD_OUT")

        with pytest.raises(InvocationError, match="invocation_failed: no such order") as caught:
            await b.trigger("fails")
        assert "in fails" in str(caught.value.stacktrace)
        with pytest.raises(InvocationError, match="SOLD_OUT: sold out"):
            await b.trigger("refuses")
        with pytest.raises(FunctionNotFound):
            await b.trigger("unknown")
        with pytest.raises(InvalidNamespace):
            await b.trigger("fails", namespace=" ")


async def test_a_callers_deadline_does_not_stop_the_handler(autojump_clock: Any) -> None:
    async with open_two() as (_, a, b):
        done = trio.Event()

        @a.function("slow")
        async def slow() -> None:
            await trio.sleep(10)
            done.set()

        with trio.move_on_after(1) as deadline:
            await b.trigger("slow")
        assert deadline.cancelled_caught
        await done.wait()
        assert trio.current_time() == pytest.approx(10)


async def test_void_returns_at_once_and_reports_nothing(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with open_two() as (_, a, b):
        heard: list[Any] = []

        @a.function("log")
        async def log(payload: Any, context: InvocationContext) -> None:
            heard.append((payload, context.metadata, context.caller_worker_id))

        await b.trigger_void("log", {"n": 1}, metadata="m")
        await b.trigger_void("unknown")
        await trio.testing.wait_all_tasks_blocked()
        assert heard == [({"n": 1, "_caller_worker_id": b.id}, "m", b.id)]
        assert "dropped call of unknown" in caplog.text


async def test_the_end_of_the_block_cancels_handlers(autojump_clock: Any) -> None:
    async with open_kernel() as kernel, open_local_worker(kernel, "caller") as caller, trio.open_nursery() as nursery:
        failed: list[str] = []

        async def call() -> None:
            try:
                await caller.trigger("slow")
            except WorkerDisconnected as error:
                failed.append(error.code)

        async with open_local_worker(kernel, "callee") as callee:
            cancelled = trio.Event()

            @callee.function("slow")
            async def slow() -> None:
                try:
                    await trio.sleep_forever()
                finally:
                    cancelled.set()

            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            assert callee.statistics().link.running == 1
            assert caller.statistics().link.waiting == 1
        await cancelled.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert failed == ["invocation_stopped"]
        for attempt in (callee.trigger("x"), callee.trigger_void("x"), callee.enqueue("q", "x")):
            with pytest.raises(WorkerDisconnected, match="the worker has ended"):
                await attempt
        with pytest.raises(WorkerDisconnected):
            callee.register_function("f", nothing)


async def test_an_error_of_the_block_arrives_bare(autojump_clock: Any) -> None:
    async with open_kernel() as kernel:
        with pytest.raises(KeyError, match="mine"):
            async with open_local_worker(kernel, "a"):
                raise KeyError("mine")
        assert kernel.statistics().workers.connected == 0


async def test_a_name_is_held_by_one(autojump_clock: Any) -> None:
    async with open_kernel() as kernel, open_local_worker(kernel, "orders") as first:
        with pytest.raises(WorkerRejected) as caught:
            async with open_local_worker(kernel, "orders"):
                pass
        assert caught.value.owner_worker_id == first.id
        assert kernel.statistics().workers.connected == 1
        async with open_local_worker(kernel, "orders", namespace="other") as second:
            assert second.namespace == "other"
        with pytest.raises(InvalidNamespace):
            async with open_local_worker(kernel, "x", namespace=" "):
                pass
        assert kernel.statistics().workers.connected == 1


async def test_a_taken_function_is_an_error_here(autojump_clock: Any) -> None:
    async with open_two() as (_, a, b):
        a.register_function("taken", nothing)
        with pytest.raises(OwnershipConflict):
            b.register_function("taken", nothing)
        assert not b.unregister_function("taken")
        assert a.unregister_function("taken")
        b.register_function("taken", nothing)


async def test_namespaces(autojump_clock: Any) -> None:
    async with (
        open_kernel() as kernel,
        open_local_worker(kernel, "a", namespace="shop") as a,
        open_local_worker(kernel, "b") as b,
    ):

        @a.function("f")
        async def f() -> str:
            return "shop"

        @b.function("f")
        async def g() -> str:
            return "default"

        assert await a.trigger("f") == "shop"
        assert await a.trigger("f", namespace="default") == "default"
        assert await b.trigger("f") == "default"
        assert await b.trigger("f", namespace="shop") == "shop"


async def test_calls_of_a_handler_belong_to_its_trace(autojump_clock: Any) -> None:
    async with open_two() as (kernel, a, b):
        seen: list[Any] = []

        @a.function("first")
        async def first() -> Any:
            return await a.trigger("second")

        @b.function("second")
        async def second(_: Any, context: InvocationContext) -> None:
            seen.append((context.traceparent, context.baggage))

        await kernel.bus.invoke("first", traceparent="00-1-2-01", baggage="k=v")
        await kernel.bus.invoke("first")
        assert seen == [("00-1-2-01", "k=v"), (None, None)]


async def test_enqueue_goes_to_the_queue_module(autojump_clock: Any) -> None:
    async with open_two() as (kernel, a, _):
        orders: list[Any] = []

        async def take(call: Call) -> Payload:
            orders.append(call.payload.value)
            if call.payload.value["queue"] != "mails":
                raise InvocationError("no such queue", code="queue_not_found")
            return Payload.of(None)

        kernel.functions.add(Function("engine::queue::enqueue", ModuleOwner("q", "queue"), handler=take))
        receipt = await a.enqueue("mails", "mail::send", {"to": "x"})
        assert (orders[0]["function_id"], orders[0]["data"]) == ("mail::send", {"to": "x"})
        assert orders[0]["messageReceiptId"] == receipt
        with pytest.raises(InvocationError, match="enqueue_error: queue_not_found: no such queue"):
            await a.enqueue("nails", "mail::send")
        assert a.statistics().link.waiting == 0


async def test_a_trigger_of_a_module(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with open_two() as (kernel, a, _):
        bound: list[str] = []

        def bind(trigger: KernelTrigger) -> Any:
            if trigger.config.value != "* * * * *":
                raise TriggerRejected("not a cron expression")
            bound.append(trigger.id)
            return lambda: bound.remove(trigger.id)

        with kernel.triggers.serve("cron", bind, owner=ModuleOwner("c", "cron")):
            handle = await a.register_trigger("cron", "f", "* * * * *")
            assert bound == [handle.id]
            await handle.unregister()
            await handle.unregister()
            assert bound == []
            refused = await a.register_trigger("cron", "f", "nonsense")
            (error,) = a.trigger_errors
            assert (error.trigger_id, error.error.code) == (refused.id, "trigger_registration_failed")
            assert "not a cron expression" in error.error.message
            assert "not a cron expression" in caplog.text


async def test_a_type_of_one_worker_and_a_trigger_of_another(autojump_clock: Any) -> None:
    async with open_two() as (kernel, a, b):
        seen: list[Any] = []

        class Clock:
            async def register_trigger(self, trigger: TriggerConfig) -> None:
                seen.append(("begin", trigger.id, trigger.config))
                if trigger.config == "never":
                    raise ValueError("never comes")
                await a.trigger_void(trigger.function_id, "tick", namespace=trigger.namespace)

            async def unregister_trigger(self, trigger: TriggerConfig) -> None:
                seen.append(("end", trigger.id, trigger.config))

        @b.function("on::tick")
        async def on_tick(payload: str) -> None:
            seen.append(payload)

        early = await b.register_trigger("clock", "on::tick", "soon", trigger_id="early")  # before its type: parked
        a.register_trigger_type("clock", "Ticks", Clock())
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [("begin", "early", "soon"), "tick"]
        seen.clear()

        await b.register_trigger("clock", "on::tick", "never", trigger_id="refused")
        await trio.testing.wait_all_tasks_blocked()
        assert [(error.trigger_id, error.error.message) for error in b.trigger_errors] == [("refused", "never comes")]
        assert a.trigger_errors == ()

        await early.unregister()
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [("begin", "refused", "never"), ("end", "early", "soon")]
        seen.clear()

        await b.register_trigger("clock", "on::tick", "again", trigger_id="t3")
        await trio.testing.wait_all_tasks_blocked()
        assert a.unregister_trigger_type("clock")
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [("begin", "t3", "again"), "tick", ("end", "t3", "again")]
        assert kernel.triggers.statistics().types == 0


async def test_a_provider_and_registrant_in_one(autojump_clock: Any) -> None:  # wire 58
    async with open_two() as (_, a, __):
        begun: list[str] = []

        class Own:
            async def register_trigger(self, trigger: TriggerConfig) -> None:
                begun.append(trigger.id)

            async def unregister_trigger(self, trigger: TriggerConfig) -> None: ...

        a.register_trigger_type("own", "", Own())
        await a.register_trigger("own", "f", trigger_id="t")
        await trio.testing.wait_all_tasks_blocked()
        assert begun == ["t"]


async def test_what_a_provider_begins_is_outside_of_any_trace(autojump_clock: Any) -> None:
    async with open_two() as (kernel, a, b):
        traces: list[str | None] = []

        @b.function("traced")
        async def traced(_: Any, context: InvocationContext) -> None:
            traces.append(context.traceparent)

        class Own:
            async def register_trigger(self, trigger: TriggerConfig) -> None:
                await a.trigger(trigger.function_id)

            async def unregister_trigger(self, trigger: TriggerConfig) -> None: ...

        @b.function("register")
        async def register() -> None:
            await b.trigger("traced")
            await b.register_trigger("own", "traced")

        a.register_trigger_type("own", "", Own())
        await kernel.bus.invoke("register", traceparent="00-1-2-01")
        await trio.testing.wait_all_tasks_blocked()
        assert traces == ["00-1-2-01", None]
