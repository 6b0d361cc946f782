"""Calls between workers: results, errors, payloads, ids, trace context (wire-protocol 5)."""

import json
import uuid
from typing import Any

import pytest
import trio
from trio.testing import MockClock
from wire_client import LEGACY, MODERN, Client, Json, World, frame

CALL_ID = "0d2f4c1e-7a6b-4a53-8f3e-2b7f5d9c1a22"


async def _pair(world: World, *function_ids: str) -> tuple[Client, Client]:
    """A caller and an executor of these functions."""
    executor, caller = await world.connect(), await world.connect()
    await executor.register(*function_ids)
    await executor.fence()
    return caller, executor


@pytest.mark.parametrize(
    "value",
    [
        *({"total": 29.7, "items": [{"a": None}]}, {}, [1, [2]], [], "text \u00e9\u2028\U0001f600", ""),
        *(0, -1.5, 12345678901234567890123, 1e300, True, False),
    ],
)
async def test_a_call_ends_in_exactly_one_result(world: World, value: Any) -> None:
    # wire 26
    caller, executor = await _pair(world, "billing::quote")
    await caller.invoke("billing::quote", {"sku": "A-7"}, invocation_id=CALL_ID)
    await executor.serve_one("billing::quote", result=value)
    await executor.fence()
    result = {"type": "invocationresult", "invocation_id": CALL_ID, "function_id": "billing::quote", "result": value}
    assert await caller.fence() == [result]


@pytest.mark.parametrize("outcome", [{"result": None}, {}, {"error": None}, {"result": None, "error": None}])
async def test_success_without_a_value_has_neither_result_nor_error(world: World, outcome: Json) -> None:
    # wire 27, 104
    caller, executor = await _pair(world, "billing::quote")
    await caller.invoke("billing::quote", {}, invocation_id=CALL_ID)
    await executor.serve_one("billing::quote", **outcome)
    result = await caller.outcome(CALL_ID)
    assert result == {"type": "invocationresult", "invocation_id": CALL_ID, "function_id": "billing::quote"}


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ({"code": "C", "message": "m", "stacktrace": "s\n1"}, {"code": "C", "message": "m", "stacktrace": "s\n1"}),
        ({"code": "C", "message": "m", "more": 1}, {"code": "C", "message": "m"}),
        ({"code": 42, "message": "m"}, {"code": "42", "message": "m"}),
        ({"code": "C"}, {"code": "UNKNOWN", "message": '{"code": "C"}'}),
        ("just text", {"code": "UNKNOWN", "message": "just text"}),
        ([1, 2], {"code": "UNKNOWN", "message": "[1, 2]"}),
        ({"code": "C", "message": "m", "stacktrace": 7}, {"code": "C", "message": "m"}),
        (False, {"code": "UNKNOWN", "message": "false"}),
    ],
)
async def test_errors_of_handlers_arrive_unchanged_or_as_their_text(world: World, said: Any, heard: Json) -> None:
    # wire 28, 104
    caller, executor = await _pair(world, "billing::quote")
    await caller.invoke("billing::quote", {}, invocation_id=CALL_ID)
    await executor.serve_one("billing::quote", result="loses", error=said)
    outcome = await caller.outcome(CALL_ID)
    assert outcome["error"] == heard
    assert "result" not in outcome


async def test_an_unknown_function_is_named(world: World) -> None:
    # wire 29
    caller = await world.connect()
    error = await caller.error("no::such")
    assert error == {"code": "function_not_found", "message": "Function no::such not found in namespace default."}


@pytest.mark.parametrize("form", [{"action": {"type": "void"}, "invocation_id": CALL_ID}, {"action": {"type": "void"}}])
async def test_calls_without_an_answer_are_executed_and_answered_by_nothing(world: World, form: Json) -> None:
    # wire 30
    caller, executor = await _pair(world, "billing::quote")
    forms = [form, {"invocation_id": None}, {}]
    for more in forms:
        await caller.say(type="invokefunction", function_id="billing::quote", data=[1], **more)
        await caller.say(type="invokefunction", function_id="no::such", data=[1], **more)
        call = await executor.serve_one("billing::quote", result=1)
        assert call["data"] == [1]
        assert str(uuid.UUID(call["invocation_id"])) == call["invocation_id"]
        await executor.fence()
        assert await caller.fence() == []


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{ \n}",
        '{"a":1}',
        '{"a":{"b":[1,2]},"c":"}"} ',
        '{"a":12345678901234567890123}',
        '{"_caller_worker_id":"forged","a":1}',
        '{"a":"\\"_caller_worker_id\\""}',
        '{"\\u005fcaller_worker_id":"forged"}',
    ],
)
async def test_object_payloads_name_their_caller(world: World, text: str) -> None:
    # wire 31
    caller, executor = await _pair(world, "billing::quote")
    await caller.say_text(f'{{"type":"invokefunction","function_id":"billing::quote","data": {text} }}')
    call = await executor.invoked("billing::quote")
    expected = {key: value for key, value in json.loads(text).items() if key != "_caller_worker_id"}
    assert call["data"] == {**expected, "_caller_worker_id": caller.id}


@pytest.mark.parametrize("value", [[], [{"a": 1}], "{}", "", 0, 1.5, True, None])
async def test_other_payloads_arrive_unchanged(world: World, value: Any) -> None:
    # wire 31
    caller, executor = await _pair(world, "billing::quote")
    await caller.invoke("billing::quote", value)
    assert (await executor.invoked("billing::quote"))["data"] == value


async def test_a_hundred_calls_end_in_the_order_of_their_handlers(world: World) -> None:
    # wire 32
    caller, executor = await _pair(world, "work::do")
    ids = [await caller.invoke("work::do", number) for number in range(100)]
    calls = [await executor.invoked("work::do") for _ in ids]
    slow = calls[::7]
    quick = [call for call in calls if call not in slow]
    for call in [*reversed(quick), *slow]:
        await executor.answer(call, result=call["data"] * 2)
    order = []
    for _ in ids:
        outcome = await caller.hear("invocationresult")
        order.append(ids.index(outcome["invocation_id"]))
        assert outcome["result"] == 2 * order[-1]
    assert order == [call["data"] for call in [*reversed(quick), *slow]]


async def test_a_worker_calls_its_own_function_from_a_handler(world: World) -> None:
    # wire 33
    caller, executor = await _pair(world, "outer::one", "inner::two")
    invocation_id = await caller.invoke("outer::one", {})
    outer = await executor.invoked("outer::one")
    nested = await executor.invoke("inner::two", [1])
    await executor.serve_one("inner::two", result=[2])
    assert (await executor.outcome(nested))["result"] == [2]
    await executor.answer(outer, result=[3])
    assert (await caller.outcome(invocation_id))["result"] == [3]


async def test_two_workers_call_each_other_five_deep(world: World) -> None:
    # wire 34
    first, second = await world.connect(), await world.connect()
    for worker, function_id in ((first, "first::f"), (second, "second::f")):
        await worker.register(function_id)
        await worker.fence()
    sides = [(first, second, "second::f"), (second, first, "first::f")]
    calls = []
    for depth in range(5):
        caller, executor, function_id = sides[depth % 2]
        invocation_id = await caller.invoke(function_id, depth)
        calls.append((caller, executor, invocation_id, await executor.invoked(function_id)))
    for caller, executor, invocation_id, call in reversed(calls):
        await executor.answer(call, result=call["data"] + 10)
        assert (await caller.outcome(invocation_id))["result"] == call["data"] + 10


@pytest.mark.parametrize("invocation_id", [CALL_ID, "abc"])
async def test_callers_may_use_the_same_id_at_the_same_time(world: World, invocation_id: str) -> None:
    # wire 35
    first, executor = await _pair(world, "work::do")
    second = await world.connect()
    for number, caller in enumerate((first, second, second)):
        await caller.invoke("work::do", number, invocation_id=invocation_id)
        await caller.fence()
    calls = [await executor.invoked("work::do") for _ in range(3)]
    assert len({call["invocation_id"] for call in calls}) == 3
    for call in reversed(calls):
        await executor.answer(call, result=call["data"])
    assert (await first.outcome(invocation_id))["result"] == 0
    assert {(await second.outcome(invocation_id))["result"] for _ in range(2)} == {1, 2}
    assert [await caller.fence() for caller in (first, second)] == [[], []]


async def test_results_are_taken_from_the_executor_only(world: World) -> None:
    # wire 36
    caller, executor = await _pair(world, "work::do")
    forger = await world.connect()
    await caller.invoke("work::do", {}, invocation_id=CALL_ID)
    call = await executor.invoked("work::do")
    for stranger in (forger, caller):
        await stranger.answer(call, result="forged")
        await stranger.answer({**call, "invocation_id": str(uuid.uuid4())}, result="nobody's")
        assert await stranger.fence() == []
    await executor.answer(call, result="right")
    assert (await caller.outcome(CALL_ID))["result"] == "right"


async def test_a_second_answer_is_ignored(world: World) -> None:
    # wire 104
    caller, executor = await _pair(world, "work::do")
    await caller.invoke("work::do", {}, invocation_id=CALL_ID)
    call = await executor.invoked("work::do")
    await executor.answer(call, result=1)
    await executor.answer(call, error={"code": "late", "message": ""})
    assert await executor.fence() == []
    assert [message["result"] for message in await caller.fence()] == [1]


@pytest.mark.parametrize("invocation_id", [CALL_ID.upper(), CALL_ID.replace("-", ""), f"{{{CALL_ID}}}"])
async def test_ids_in_other_forms_are_answered_in_the_canonical_one(world: World, invocation_id: str) -> None:
    caller, executor = await _pair(world, "work::do")
    await caller.invoke("work::do", {}, invocation_id=invocation_id)
    call = await executor.invoked("work::do")
    assert call["invocation_id"] == CALL_ID
    await executor.answer({**call, "invocation_id": invocation_id}, result=1)
    assert (await caller.outcome(CALL_ID))["result"] == 1


async def test_a_call_without_data_and_one_with_an_id_of_its_own_are_served(world: World) -> None:
    # wire 37
    caller, executor = await _pair(world, "work::do")
    await caller.say(type="invokefunction", function_id="work::do", invocation_id="abc")
    call = await executor.serve_one("work::do", result=1)
    assert call["data"] is None
    assert str(uuid.UUID(call["invocation_id"])) == call["invocation_id"]
    assert (await caller.outcome("abc"))["result"] == 1


@pytest.mark.parametrize("metadata", [{"tenant": "t1"}, [1], "x", 0, False])
async def test_metadata_travels_beside_the_data(world: World, metadata: Any) -> None:
    # wire 38
    caller, executor = await _pair(world, "work::do")
    await caller.invoke("work::do", {"a": 1}, metadata=metadata)
    call = await executor.invoked("work::do")
    assert call["metadata"] == metadata
    assert call["data"] == {"a": 1, "_caller_worker_id": caller.id}
    for more in ({}, {"metadata": None}):
        await caller.invoke("work::do", {"a": 1}, **more)
        assert "metadata" not in await executor.invoked("work::do")


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


@pytest.mark.parametrize(
    ("sent", "trace", "baggage"),
    [
        ({"traceparent": TRACE}, TRACE, {"iii.function.id=work::do"}),
        (
            {"traceparent": TRACE, "baggage": "a=1,b=2;p=q,iii.function.id=other"},
            TRACE,
            {"a=1", "b=2", "iii.function.id=work::do"},
        ),
        ({"baggage": ""}, None, {"iii.function.id=work::do"}),
        ({"traceparent": "nonsense"}, None, {"iii.function.id=work::do"}),
        ({"traceparent": "", "baggage": "=,x"}, None, {"iii.function.id=work::do"}),
        ({}, None, set()),
    ],
)
async def test_the_trace_context_reaches_the_executor_and_comes_back(
    world: World, sent: Json, trace: str | None, baggage: set[str]
) -> None:
    # wire 39
    caller, executor = await _pair(world, "work::do")
    invocation_id = await caller.invoke("work::do", {}, **sent)
    call = await executor.invoked("work::do")
    assert call.get("traceparent") == trace
    assert set(filter(None, call.get("baggage", "").split(","))) == baggage
    await executor.answer(call, result=1, traceparent="ignored", baggage="ignored=1")
    outcome = await caller.outcome(invocation_id)
    assert {key: outcome[key] for key in ("traceparent", "baggage") if key in outcome} == sent
    for function_id in ("engine::workers::list", "no::such"):
        outcome = await caller.call(function_id, {}, **sent)
        assert {key: outcome[key] for key in ("traceparent", "baggage") if key in outcome} == sent


@pytest.mark.parametrize("data", [None, [5], "x", 7, {"include_internal": "yes"}, {"workers": "all"}])
async def test_built_in_functions_reject_input_that_does_not_fit(world: World, data: Any) -> None:
    # wire 41
    caller = await world.connect()
    invocation_id = await caller.invoke("engine::functions::list", data)
    error = (await caller.outcome(invocation_id))["error"]
    assert error["code"] == "deserialization_error"
    assert error["message"].startswith("Failed to deserialize input for engine::functions::list: ")


async def test_a_handler_may_take_hours(memory_world: World, autojump_clock: MockClock) -> None:
    # wire 42
    caller, executor = await _pair(memory_world, "slow::one")
    invocation_id = await caller.invoke("slow::one", {})
    call = await executor.invoked("slow::one")
    for _ in range(90):
        await trio.sleep(60)
        await caller.fence()
        await executor.fence()
    await executor.answer(call, result="at last")
    assert (await caller.outcome(invocation_id))["result"] == "at last"


@pytest.mark.parametrize("action", ["void", {"type": "later"}, {"type": "enqueue"}, {}, 1, [], True])
async def test_a_malformed_action_is_answered_if_there_is_an_id(world: World, action: Any) -> None:
    # C3
    caller, executor = await _pair(world, "work::do")
    outcome = await caller.call("work::do", {}, action=action)
    assert outcome["error"]["code"] == "invalid_action"
    await caller.say(type="invokefunction", function_id="work::do", data={}, action=action)
    assert await caller.fence() == []
    assert await executor.fence() == []


async def test_enqueue_goes_through_the_function_that_provides_it(world: World) -> None:
    # wire 113, 40
    caller, queue = await _pair(world, "engine::queue::enqueue")
    enqueue = {"type": "enqueue", "queue": "default"}
    more = {"action": enqueue, "traceparent": TRACE, "baggage": "a=1", "metadata": {"not": "passed"}}
    invocation_id = await caller.invoke("later::run", {"x": 1}, **more)
    order = (await queue.serve_one("engine::queue::enqueue", result="ignored"))["data"]
    outcome = await caller.outcome(invocation_id)
    receipt = outcome["result"]["messageReceiptId"]
    assert str(uuid.UUID(receipt)) == receipt
    assert (outcome["traceparent"], outcome["baggage"]) == (TRACE, "a=1")
    assert set(order.pop("baggage").split(",")) == {"a=1", "iii.function.id=later::run"}
    assert order == {
        "queue": "default",
        "function_id": "later::run",
        "data": {"x": 1},
        "messageReceiptId": receipt,
        "traceparent": TRACE,
    }
    failing = await caller.invoke("later::run", namespace="shop", action=enqueue)
    order = (await queue.serve_one("engine::queue::enqueue", error={"code": "C", "message": "m"}))["data"]
    assert (order["namespace"], order["data"], order["traceparent"]) == ("shop", None, None)
    assert (await caller.outcome(failing))["error"] == {"code": "enqueue_error", "message": "C: m"}


async def test_enqueue_without_a_provider_fails_and_without_an_id_is_silent(world: World) -> None:
    # wire 40 as far as built: the queue module comes later
    caller = await world.connect()
    enqueue = {"type": "enqueue", "queue": "default"}
    assert (await caller.error("later::run", {}, action=enqueue))["code"] == "enqueue_error"
    blank = await caller.error("later::run", {}, action=enqueue, namespace=" ")
    assert blank["code"] == "INVALID_NAMESPACE"
    await caller.say(type="invokefunction", function_id="later::run", data={}, action=enqueue)
    provider = await world.connect(LEGACY)
    await provider.register("engine::queue::enqueue")
    await provider.fence()
    await caller.say(type="invokefunction", function_id="later::run", data={}, action=enqueue)
    await provider.serve_one("engine::queue::enqueue", result=1)
    await provider.fence()
    assert await caller.fence() == []


async def test_an_executor_that_answers_in_one_frame_over_16_mib_is_lost(world: World) -> None:
    # wire 103
    executor, caller = await world.raw(), await world.connect(MODERN)
    await executor.upgrade()
    await executor.stream.send_all(frame(b'{"type":"registerfunction","id":"big::one"}') + frame(b'{"type":"ping"}'))
    await executor.read_until(b'"pong"}')
    invocation_id = await caller.invoke("big::one", [7])
    await executor.read_until(b"[7]}")
    await executor.stream.send_all(frame(b" " * (17 * 1024 * 1024))[:14])
    assert (await caller.outcome(invocation_id))["error"]["code"] == "invocation_stopped"
    await executor.read_all()
