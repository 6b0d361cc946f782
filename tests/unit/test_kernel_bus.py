"""The bus without sockets: calls from inside the engine, deferred answers, limits, what cannot be delivered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio
import trio.testing
from engine_functions_world import Outlet, outlet_of

from actors import ChildSpec, open_supervisor
from iii_trio.kernel import DEFERRED, Call, Function, Ids, Kernel, Limits, ModuleOwner, TrioClock, Worker
from iii_trio.protocol import Payload, decode, encode_json
from iii_trio.protocol.errors import FunctionFailed, InvocationError, NotFound
from iii_trio.protocol.messages import InvocationResult, InvokeFunction

OWNER = ModuleOwner("module", "module")


@asynccontextmanager
async def open_kernel(limits: Limits | None = None) -> AsyncIterator[Kernel]:
    kernel = Kernel(clock=TrioClock(), ids=Ids(Random(1)), limits=limits or Limits())
    async with open_supervisor([ChildSpec.supervisor("invocations", lambda: kernel.invocations)]):
        yield kernel


def worker_of(kernel: Kernel, *function_ids: str, outlet: Outlet | None = None) -> Worker:
    worker = kernel.connect(outlet=outlet or Outlet(), namespace="default")
    for function_id in function_ids:
        kernel.functions.add(Function(function_id, worker))
    return worker


def add_handler(kernel: Kernel, function_id: str, handler: Any) -> None:
    kernel.functions.add(Function(function_id, OWNER, handler=handler))


def say(kernel: Kernel, worker: Worker, **message: Any) -> None:
    text = encode_json(message)
    decoded = decode(text)
    if isinstance(decoded, InvokeFunction):
        kernel.bus.invoke_from(worker, decoded, text)
    else:
        assert isinstance(decoded, InvocationResult)
        kernel.bus.result_from(worker, decoded)


def answer(kernel: Kernel, worker: Worker, result: Any) -> None:
    """Answer the last call a worker was sent."""
    call = outlet_of(worker).of_type("invokefunction")[-1]
    members = {"invocation_id": call["invocation_id"], "function_id": call["function_id"], "result": result}
    say(kernel, worker, type="invocationresult", **members)


async def test_a_call_from_inside_reaches_handlers_and_workers() -> None:
    async with open_kernel() as kernel:
        calls: list[Call] = []

        async def handler(call: Call) -> Any:
            calls.append(call)
            await trio.lowlevel.checkpoint()
            return {"got": call.payload.value}

        add_handler(kernel, "module::one", handler)
        worker = worker_of(kernel, "worker::one")
        metadata = Payload.of({"m": 1})
        payload = await kernel.bus.invoke("module::one", [1], metadata=metadata, traceparent="t", baggage="a=1")
        assert payload.value == {"got": [1]}
        assert (calls[0].metadata, calls[0].caller, calls[0].traceparent, calls[0].baggage) == (
            metadata,
            None,
            "t",
            "a=1",
        )
        await kernel.bus.notify("worker::one", {"a": 1}, metadata=metadata)
        assert outlet_of(worker).messages[-1]["data"] == {"a": 1}
        assert outlet_of(worker).messages[-1]["metadata"] == {"m": 1}
        answer(kernel, worker, 1)
        assert kernel.statistics().invocations.in_flight == 0


async def test_a_call_on_behalf_of_a_worker_names_it_to_both_kinds_of_executors() -> None:
    async with open_kernel() as kernel:

        async def handler(call: Call) -> Any:
            await trio.lowlevel.checkpoint()
            return call.payload.value

        add_handler(kernel, "module::one", handler)
        caller, executor = worker_of(kernel), worker_of(kernel, "worker::one")
        result = await kernel.bus.invoke("module::one", {"_caller_worker_id": "forged"}, caller=caller)
        assert result.value == {"_caller_worker_id": caller.id}
        await kernel.bus.notify("worker::one", {"_caller_worker_id": "forged", "a": 1}, caller=caller)
        assert outlet_of(executor).messages[-1]["data"] == {"_caller_worker_id": caller.id, "a": 1}


async def test_the_members_of_a_handlers_call_are_absent_when_null() -> None:
    async with open_kernel() as kernel:
        seen: list[Call] = []

        async def handler(call: Call) -> Any:
            seen.append(call)
            await trio.lowlevel.checkpoint()

        add_handler(kernel, "module::one", handler)
        caller = worker_of(kernel)
        say(kernel, caller, type="invokefunction", function_id="module::one", data=1, metadata=None, invocation_id="a")
        await trio.testing.wait_all_tasks_blocked()
        assert seen[0].metadata is None
        reply = {"type": "invocationresult", "invocation_id": "a", "function_id": "module::one"}
        assert outlet_of(caller).messages == [reply]


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (NotFound("nothing there"), "NOT_FOUND", "nothing there"),
        (FunctionFailed("as said", code="OWN", stacktrace="trace"), "OWN", "as said"),
        (ValueError("a bug"), "invocation_failed", "a bug"),
        (KeyError(), "invocation_failed", "KeyError"),
    ],
)
async def test_what_a_handler_raises_is_its_callers_error(raised: Exception, code: str, message: str) -> None:
    async with open_kernel() as kernel:

        async def handler(_: Call) -> Any:
            await trio.lowlevel.checkpoint()
            raise raised

        add_handler(kernel, "module::one", handler)
        with pytest.raises(InvocationError) as caught:
            await kernel.bus.invoke("module::one")
        assert (caught.value.code, caught.value.message) == (code, message)
        assert caught.value.stacktrace == getattr(raised, "stacktrace", None)
        assert kernel.statistics().invocations.failed == 1


async def test_a_result_that_json_cannot_carry_is_a_serialization_error() -> None:
    async with open_kernel() as kernel:

        async def handler(_: Call) -> Any:
            await trio.lowlevel.checkpoint()
            return object()

        add_handler(kernel, "module::one", handler)
        with pytest.raises(InvocationError) as caught:
            await kernel.bus.invoke("module::one")
        assert caught.value.code == "serialization_error"


async def test_a_deferred_outcome_is_brought_later_and_once() -> None:
    async with open_kernel() as kernel:
        ids: list[str] = []

        async def handler(call: Call) -> Any:
            await trio.lowlevel.checkpoint()
            ids.append(call.invocation_id)
            return DEFERRED

        add_handler(kernel, "module::one", handler)
        outcomes: list[Any] = []

        async def call() -> None:
            try:
                outcomes.append((await kernel.bus.invoke("module::one")).value)
            except InvocationError as error:
                outcomes.append(error.code)

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            assert kernel.statistics().invocations.in_flight == 2
            assert kernel.bus.resolve(ids[0], {"late": True})
            assert kernel.bus.resolve(ids[1], error=NotFound("late"))
        assert sorted(outcomes, key=str) == ["NOT_FOUND", {"late": True}]
        assert not kernel.bus.resolve(ids[0], "too late")
        assert not kernel.bus.resolve("never there")


async def test_a_killed_handler_ends_its_callers_wait() -> None:
    async with open_kernel() as kernel:

        async def handler(_: Call) -> Any:
            await trio.sleep_forever()

        add_handler(kernel, "module::one", handler)
        codes: list[str] = []

        async def call() -> None:
            with pytest.raises(InvocationError) as caught:
                await kernel.bus.invoke("module::one")
            codes.append(caught.value.code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            (child,) = kernel.invocations
            child.cancel("killed")
        assert codes == ["invocation_stopped"]


async def test_what_a_stopped_module_runs_ends_for_its_callers_and_for_itself() -> None:
    async with open_kernel() as kernel:
        ended = trio.Event()

        async def handler(_: Call) -> Any:
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        add_handler(kernel, "module::one", handler)
        caller = worker_of(kernel)
        say(kernel, caller, type="invokefunction", function_id="module::one", data=1, invocation_id="a")
        await trio.testing.wait_all_tasks_blocked()
        kernel.ledger.stop_executions(OWNER)
        assert outlet_of(caller).messages[0]["error"]["code"] == "invocation_stopped"
        await ended.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert len(outlet_of(caller).messages) == 1


async def test_a_handler_outlives_its_caller_and_its_reply_is_dropped() -> None:
    # wire-protocol 3.6
    async with open_kernel() as kernel:
        go_on, done = trio.Event(), trio.Event()

        async def handler(_: Call) -> Any:
            await go_on.wait()
            done.set()

        add_handler(kernel, "module::one", handler)
        caller = worker_of(kernel)
        say(kernel, caller, type="invokefunction", function_id="module::one", data=1, invocation_id="a")
        with trio.move_on_after(0) as patience:
            await kernel.bus.invoke("module::one")
        assert patience.cancelled_caught
        kernel.disconnect(caller)
        assert kernel.statistics().invocations.in_flight == 2
        go_on.set()
        await done.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert outlet_of(caller).messages == []
        assert kernel.statistics().invocations.answered == 2


async def test_calls_inside_the_engine_wait_for_room() -> None:
    async with open_kernel() as kernel:
        outlet = Outlet(is_full=True)
        worker_of(kernel, "worker::one", outlet=outlet)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.bus.notify, "worker::one")
            await trio.testing.wait_all_tasks_blocked()
            assert outlet.messages == []
            outlet.room.set()
        assert len(outlet.messages) == 1


async def test_a_worker_without_a_way_out_cannot_be_called() -> None:
    async with open_kernel() as kernel:
        silent = kernel.connect(namespace="default")
        kernel.functions.add(Function("silent::one", silent))
        caller = worker_of(kernel)
        say(kernel, caller, type="invokefunction", function_id="silent::one", data=1, invocation_id="a")
        assert outlet_of(caller).messages[0]["error"]["code"] == "channel_send_failed"
        say(kernel, silent, type="invokefunction", function_id="no::such", data=1, invocation_id="a")
        assert kernel.statistics().refused == 2


async def test_handlers_run_only_while_the_engine_does() -> None:
    kernel = Kernel(clock=TrioClock(), ids=Ids(Random(1)))

    async def handler(_: Call) -> Any:
        await trio.lowlevel.checkpoint()

    add_handler(kernel, "module::one", handler)
    with pytest.raises(InvocationError) as caught:
        await kernel.bus.invoke("module::one")
    assert caught.value.code == "shutting_down"
    assert kernel.statistics().invocations.opened == 0


async def test_a_stopping_kernel_refuses_workers_and_waits_for_what_runs() -> None:
    async with open_kernel() as kernel:
        caller, executor = worker_of(kernel), worker_of(kernel, "worker::one")
        say(kernel, caller, type="invokefunction", function_id="worker::one", data=1, invocation_id="a")
        told: list[str] = []
        with kernel.when_draining(lambda: told.append("drain")):
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(kernel.drain)
                await trio.testing.wait_all_tasks_blocked()
                assert told == ["drain", "drain"]
                say(kernel, caller, type="invokefunction", function_id="worker::one", data=1, invocation_id="b")
                assert outlet_of(caller).messages[-1]["error"]["code"] == "shutting_down"
                await kernel.bus.notify("worker::one")  # the engine's own work goes on
                for _ in range(2):
                    call = outlet_of(executor).messages.pop()
                    say(
                        kernel,
                        executor,
                        type="invocationresult",
                        **{key: call[key] for key in ("invocation_id", "function_id")},
                    )
        await kernel.drain()
        assert told == ["drain", "drain"]


async def test_every_step_of_a_call_is_told_to_listeners() -> None:
    async with open_kernel() as kernel:
        told: list[tuple[str, str]] = []
        caller, executor = worker_of(kernel), worker_of(kernel, "worker::one")
        unlisten = kernel.events.listen(lambda kind, subject: told.append((kind, subject)))
        for _ in range(3):
            say(kernel, caller, type="invokefunction", function_id="worker::one", data=1)
        answer(kernel, executor, 1)
        kernel.disconnect(caller)
        unlisten()
        kernel.disconnect(caller)
        kernel.disconnect(executor)
        assert [kind for kind, _ in told] == [
            *["invoked"] * 3,
            "answered",
            *["abandoned"] * 2,
            "worker_disconnected",
        ]
        assert list(kernel.ledger) == []


async def test_rows_are_listed_with_their_executors_and_close_once() -> None:
    async with open_kernel() as kernel:
        caller, executor = worker_of(kernel), worker_of(kernel, "worker::one")
        say(kernel, caller, type="invokefunction", function_id="worker::one", data=1, invocation_id="a")
        (row,) = kernel.ledger
        assert row.executor is executor
        assert kernel.ledger.finish(row)
        assert not kernel.ledger.finish(row)
        kernel.ledger.abandon(row)
        assert kernel.statistics().invocations.abandoned == 0


async def test_a_payload_that_cannot_be_rewritten_is_passed_on_with_its_caller_last() -> None:
    text = b'{"_caller_worker_id":1,"a":1e999}'
    async with open_kernel() as kernel:
        received: list[bytes] = []

        class Bytes(Outlet):
            def send(self, pieces: Any, size: int) -> None:
                received.append(b"".join(pieces))
                assert len(received[-1]) == size

        caller = worker_of(kernel)
        worker_of(kernel, "worker::one", outlet=Bytes())
        message = b'{"type":"invokefunction","function_id":"worker::one","data":%b}' % text
        decoded = decode(message)
        assert isinstance(decoded, InvokeFunction)
        kernel.bus.invoke_from(caller, decoded, message)
        assert received[0].endswith(text[:-1] + b',"_caller_worker_id":"%b"}}' % caller.id.encode())


async def test_trace_values_for_built_in_functions_carry_no_function_entry() -> None:
    async with open_kernel() as kernel:
        worker = worker_of(kernel, "iii-test::one")
        for baggage in ("a=1;p=q, ,=x", ""):
            say(kernel, worker, type="invokefunction", function_id="iii-test::one", data=1, baggage=baggage)
        first, second = outlet_of(worker).messages
        assert first["baggage"] == "a=1"
        assert "baggage" not in second
