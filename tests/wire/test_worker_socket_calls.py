"""Calls of a worker over a WebSocket, out and in (wire-protocol 2.6, 2.7, 5)."""

import base64
import json
import re
from typing import Any

import attrs
import pytest
import trio
from worker_engine import open_fake_engine

from iii_trio.protocol.errors import (
    FunctionNotFound,
    InvocationError,
    OutputRejected,
    Overloaded,
    PayloadTooLarge,
    WorkerDisconnected,
)
from iii_trio.worker import InvocationContext

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@attrs.frozen
class Order:
    sku: str
    qty: int = 1


@attrs.frozen
class Quote:
    total: float


async def test_a_call_is_answered_with_the_result(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer), trio.open_nursery() as nursery:
        results: list[Any] = []

        async def call() -> None:
            results.append(await worker.trigger("billing::quote", {"sku": "A-7"}, metadata={"tenant": 1}))

        nursery.start_soon(call)
        said = await peer.hear("invokefunction")
        assert said == {
            "type": "invokefunction",
            "function_id": "billing::quote",
            "invocation_id": said["invocation_id"],
            "data": {"sku": "A-7"},
            "metadata": {"tenant": 1},
        }
        assert re.fullmatch(UUID, said["invocation_id"])
        await peer.answer(said, result={"total": 29.7})
        await trio.testing.wait_all_tasks_blocked()
        assert results == [{"total": 29.7}]
        assert worker.statistics().link.waiting == 0


async def test_a_result_becomes_the_type_that_is_asked_for(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer), trio.open_nursery() as nursery:

        async def answer() -> None:
            said = await peer.hear("invokefunction")
            assert said["data"] == {"sku": "A-7", "qty": 3}
            await peer.answer(said, result={"total": 29.7, "currency": "ignored"})
            await peer.answer(await peer.hear("invokefunction"), result={"total": "29.7"})
            await peer.answer(await peer.hear("invokefunction"))

        nursery.start_soon(answer)
        assert await worker.trigger("billing::quote", Order("A-7", 3), result_type=Quote) == Quote(29.7)
        with pytest.raises(OutputRejected, match=r"billing::quote does not fit Quote: .*number .*@ \$\.total"):
            await worker.trigger("billing::quote", result_type=Quote)
        assert await worker.trigger("billing::quote") is None  # wire 27: success without a value


async def test_an_error_keeps_code_message_and_stack(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer), trio.open_nursery() as nursery:

        async def refuse() -> None:
            body = {"code": "function_not_found", "message": "Function x not found"}
            await peer.answer(await peer.hear("invokefunction"), error=body)
            body = {"code": "OUT_OF_STOCK", "message": "no A-7", "stacktrace": "at home"}
            await peer.answer(await peer.hear("invokefunction"), error=body)

        nursery.start_soon(refuse)
        with pytest.raises(FunctionNotFound, match="Function x not found"):
            await worker.trigger("x")
        with pytest.raises(InvocationError) as caught:
            await worker.trigger("y")
        assert (caught.value.code, caught.value.message) == ("OUT_OF_STOCK", "no A-7")
        assert caught.value.stacktrace == "at home"


async def test_a_hundred_calls_at_once_each_get_their_own_result(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        results: dict[int, Any] = {}

        async def call(number: int) -> None:
            results[number] = await worker.trigger("twice", number)

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(call, number)
            calls = [await peer.hear("invokefunction") for _ in range(100)]
            for said in reversed(calls):
                await peer.answer(said, result=said["data"] * 2)
        assert results == {number: number * 2 for number in range(100)}


async def test_the_first_of_two_answers_counts(autojump_clock: Any) -> None:  # wire 104
    async with open_fake_engine() as engine, engine.worker() as (worker, peer), trio.open_nursery() as nursery:

        async def answer_twice() -> None:
            said = await peer.hear("invokefunction")
            first, second = ({"invocation_id": said["invocation_id"], "result": number} for number in (1, 2))
            body = {"type": "invocationresult", "function_id": "x"}
            frames = b"".join(text_frame({**body, **outcome}) for outcome in (first, second))
            await peer.stream.send_all(frames)  # together, so that both are read before the caller wakes

        nursery.start_soon(answer_twice)
        assert await worker.trigger("x") == 1


def text_frame(message: dict[str, Any]) -> bytes:
    data = json.dumps(message).encode()
    assert len(data) < 126
    return b"\x81" + bytes([len(data)]) + data


async def test_void_wants_no_answer_and_an_unencodable_payload_is_refused_here(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        await worker.trigger_void("audit::log", [1, 2])
        assert await peer.hear() == {
            "type": "invokefunction",
            "function_id": "audit::log",
            "data": [1, 2],
            "action": {"type": "void"},
        }
        with pytest.raises(OutputRejected):
            await worker.trigger_void("audit::log", object())
        assert await peer.hear_all() == []


async def test_enqueue_returns_the_receipt(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer), trio.open_nursery() as nursery:

        async def queue() -> None:
            said = await peer.hear()
            assert said["action"] == {"type": "enqueue", "queue": "mails"}
            assert (said["function_id"], said["data"]) == ("mail::send", {"to": "a@b.test"})
            await peer.answer(said, result={"messageReceiptId": "receipt-1"})
            await peer.answer(await peer.hear(), error={"code": "enqueue_error", "message": "no such queue"})

        nursery.start_soon(queue)
        assert await worker.enqueue("mails", "mail::send", {"to": "a@b.test"}) == "receipt-1"
        with pytest.raises(InvocationError, match="enqueue_error: no such queue"):
            await worker.enqueue("nails", "mail::send")


async def test_a_callers_deadline_ends_only_its_wait(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        with trio.move_on_after(5) as deadline:
            await worker.trigger("slow")
        assert deadline.cancelled_caught
        assert trio.current_time() == pytest.approx(5)
        late = await peer.hear("invokefunction")
        await peer.answer(late, result="too late")
        await trio.testing.wait_all_tasks_blocked()
        assert worker.statistics().link.waiting == 0
        assert worker.statistics().link.connections == 1


async def test_a_namespace_is_filled_in_for_all_but_the_engines_functions(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker(namespace="shop") as (worker, peer):
        await worker.trigger_void("orders::list")
        await worker.trigger_void("orders::list", namespace="default")
        await worker.trigger_void("engine::functions::list")
        await worker.trigger_void("configuration::get")
        said = [(await peer.hear()).get("namespace") for _ in range(4)]
        assert said == ["shop", "default", None, None]


async def test_a_function_runs_and_answers(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        seen: list[InvocationContext] = []

        @worker.function("orders::validate", description="Checks an order", metadata={"team": "shop"})
        async def validate(order: Order, context: InvocationContext) -> Quote:
            seen.append(context)
            return Quote(order.qty * 9.9)

        registered = await peer.hear("registerfunction")
        assert (registered["id"], registered["description"]) == ("orders::validate", "Checks an order")
        assert registered["metadata"] == {"team": "shop"}
        assert registered["request_format"]["properties"]["sku"] == {"type": "string"}
        assert registered["request_format"]["required"] == ["sku"]
        assert registered["response_format"]["properties"] == {"total": {"type": "number"}}

        data = {"sku": "A-7", "qty": 2, "_caller_worker_id": "someone"}
        answer = await peer.call("orders::validate", data, metadata={"n": 1}, traceparent="tp", baggage="k=v")
        assert answer["result"] == {"total": 19.8}
        assert "error" not in answer
        expected = InvocationContext("orders::validate", answer["invocation_id"], {"n": 1}, "someone", "tp", "k=v")
        assert seen == [expected]


async def test_what_does_not_fit_never_reaches_the_handler(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):

        @worker.function("orders::validate")
        async def validate(_: Order) -> None:
            raise AssertionError

        error = (await peer.call("orders::validate", {"sku": 7, "qty": "2"}))["error"]
        assert error["code"] == "deserialization_error"
        assert "an integer where a string is expected @ $.sku" in error["message"]
        assert "a string where an integer is expected @ $.qty" in error["message"]
        error = (await peer.call("orders::validate", None))["error"]
        assert "null where an object is expected @ $" in error["message"]
        error = (await peer.call("orders::validate", {"qty": 1}))["error"]
        assert "missing @ $.sku" in error["message"]


async def test_handlers_errors_reach_the_caller(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):

        @worker.function("fails")
        async def fails(_: Any) -> None:
            raise ValueError("no such order")

        @worker.function("refuses")
        async def refuses(_: Any) -> None:
            raise InvocationError("sold out", code="SOLD_OUT", stacktrace="mine")

        @worker.function("fails_in_a_nursery")
        async def fails_in_a_nursery(_: Any) -> None:
            async with trio.open_nursery() as nursery:  # noqa: ASYNC112  # the group it makes is the point
                nursery.start_soon(refuses, None)

        @worker.function("returns_nonsense")
        async def returns_nonsense(_: Any) -> Any:
            return object()

        error = (await peer.call("fails"))["error"]  # wire 28
        assert (error["code"], error["message"]) == ("invocation_failed", "no such order")
        assert "in fails" in error["stacktrace"]
        assert "fails failed" in caplog.text
        expected = {"code": "SOLD_OUT", "message": "sold out", "stacktrace": "mine"}
        assert (await peer.call("refuses"))["error"] == expected
        assert (await peer.call("fails_in_a_nursery"))["error"] == expected
        assert (await peer.call("returns_nonsense"))["error"]["code"] == "serialization_error"
        assert (await peer.call("unknown"))["error"] == {
            "code": "function_not_found",
            "message": "Function unknown not found",
        }
        assert worker.statistics().link.running == 0


async def test_handlers_run_at_the_same_time_and_a_slow_one_holds_up_nobody(autojump_clock: Any) -> None:  # wire 32
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):

        @worker.function("wait")
        async def wait(seconds: float) -> float:
            await trio.sleep(seconds)
            return seconds

        for seconds in (3, 1, 2):
            await peer.invoke("wait", seconds)
        assert [(await peer.hear("invocationresult"))["result"] for _ in range(3)] == [1, 2, 3]
        assert trio.current_time() == pytest.approx(3)


async def test_a_handler_may_call_its_own_worker(autojump_clock: Any) -> None:  # wire 33
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):

        @worker.function("outer")
        async def outer(value: int) -> int:
            return 1 + int(await worker.trigger("inner", value))

        @worker.function("inner")
        async def inner(value: int) -> int:
            return value * 10

        invocation_id = await peer.invoke("outer", 4)
        call = await peer.hear("invokefunction")
        inner_answer = await peer.call("inner", call["data"])
        await peer.answer(call, result=inner_answer["result"])
        assert await peer.hear("invocationresult") == {
            "type": "invocationresult",
            "invocation_id": invocation_id,
            "function_id": "outer",
            "result": 41,
        }


async def test_calls_of_a_handler_belong_to_its_trace(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):

        @worker.function("traced")
        async def traced(_: Any) -> None:
            await worker.trigger_void("next")

        await peer.invoke("traced", traceparent="00-1-2-01", baggage="a=b")
        said = await peer.hear("invokefunction")
        assert (said["traceparent"], said["baggage"]) == ("00-1-2-01", "a=b")
        await peer.invoke("traced")
        assert "traceparent" not in await peer.hear("invokefunction")
        await worker.trigger_void("outside")
        assert "traceparent" not in await peer.hear("invokefunction")


async def test_no_answer_to_a_call_without_an_id(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        ran = trio.Event()

        @worker.function("quiet")
        async def quiet(payload: Any) -> str:
            assert payload is None
            ran.set()
            return "unheard"

        await peer.hear("registerfunction")
        await peer.say(type="invokefunction", function_id="quiet")
        await peer.say(type="invokefunction", function_id="unknown")
        await ran.wait()
        assert await peer.hear_all() == []


async def test_more_invocations_than_may_run_are_refused(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        release = trio.Event()

        @worker.function("busy")
        async def busy() -> None:
            await release.wait()

        await peer.hear("registerfunction")
        for _ in range(1_025):
            await peer.invoke("busy")
        refused = await peer.hear("invocationresult")
        assert refused["error"]["code"] == Overloaded.code
        assert worker.statistics().link.running == 1_024
        release.set()
        for _ in range(1_024):
            assert "error" not in await peer.hear("invocationresult")
        assert "error" not in await peer.call("busy")


async def test_large_messages_travel_in_fragments_and_larger_ones_not_at_all(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        text = base64.b64encode(bytes(range(256)) * 60_000).decode()  # 20 MiB, more than a frame may hold
        await worker.trigger_void("store", text + "ü")
        assert (await peer.hear())["data"] == text + "ü"
        assert max(engine.writes) <= 1 << 20
        with pytest.raises(PayloadTooLarge):
            await worker.trigger("store", "x" * (64 << 20))

        @worker.function("flood")
        async def flood() -> str:
            return "x" * (64 << 20)

        assert (await peer.call("flood"))["error"]["code"] == PayloadTooLarge.code
        assert worker.statistics().link.connections == 1


async def test_a_ping_is_answered_and_nonsense_is_dropped(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        for text in ("{", "[]", '{"type":"news"}', '{"type":"invokefunction"}', b"\xff\xfe", '{"type":"pong"}'):
            await peer.say_text(text)
        await peer.say(type="invocationresult", invocation_id="nobody's", function_id="x", result=1)
        await peer.say(type="ping")
        assert await peer.hear() == {"type": "pong"}
        assert "dropped a message of the engine" in caplog.text
        assert worker.statistics().link.connections == 1


async def test_an_ended_worker_calls_nobody(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine:
        async with engine.worker() as (worker, _):
            pass
        for attempt in (worker.trigger("x"), worker.trigger_void("x"), worker.enqueue("q", "x")):
            with pytest.raises(WorkerDisconnected, match="the worker has ended"):
                await attempt
        with pytest.raises(WorkerDisconnected):
            worker.register_function("late", _nothing)
        assert not worker.statistics().link.connected


async def _nothing() -> None:
    pass


async def test_unregistering_takes_the_function_away(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        worker.register_function("gone", _nothing)
        assert worker.unregister_function("gone")
        assert not worker.unregister_function("gone")
        said = [(message["type"], message["id"]) for message in await peer.hear_all()]
        assert said == [("registerfunction", "gone"), ("unregisterfunction", "gone")]
        assert (await peer.call("gone"))["error"]["code"] == "function_not_found"


async def test_a_handler_that_cannot_be_called_is_refused_at_once(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):

        def plain(_: Any) -> None: ...

        async def greedy(_: Any, __: Any, ___: Any) -> None: ...

        with pytest.raises(TypeError, match="async function"):
            worker.register_function("bad", plain)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="at most an InvocationContext"):
            worker.register_function("bad", greedy)
        assert await peer.hear_all() == []
        assert worker.statistics().link.functions == 0
