"""Bad input (issue, what it must show, 5): the engine stays up and answers or drops as wire-protocol 1.3 and 2.2 say."""

from collections.abc import AsyncIterator
from typing import Any

import attrs
import msgspec
import pytest
import trio
from hostile import INVALID_JSON, MESSAGES, UNKNOWN_TYPES, Wrong, valid, wrong, wrong_announcements

from iii_trio import Engine, open_engine
from iii_trio.protocol.messages import (
    InvocationResult,
    InvokeFunction,
    Reattach,
    RegisterFunction,
    RegisterService,
    RegisterTrigger,
    RegisterTriggerType,
    RegisterWorker,
    UnregisterFunction,
    UnregisterTrigger,
    UnregisterTriggerType,
)
from iii_trio.testing import MemoryNetwork, RawWorker, kernel_trace, open_raw_worker

pytestmark = pytest.mark.chaos
EVERY_MESSAGE = pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)


@attrs.define(eq=False)
class Scene:
    """An engine with an honest worker and one that misbehaves."""

    engine: Engine
    honest: RawWorker
    rogue: RawWorker

    async def before(self, cls: type[msgspec.Struct]) -> dict[str, Any]:
        """What a valid message of this class has an effect on; returns the fields that refer to it."""
        match cls.__name__:
            case "UnregisterFunction":
                await self.rogue.register("f")
                return {"id": "f"}
            case "UnregisterTrigger" | "UnregisterTriggerType":
                await self.rogue.send("registertriggertype", id="bell", description="")
                await self.rogue.send("registertrigger", id="t", trigger_type="bell", function_id="f", config={})
                await self.rogue.take("registertrigger", id="t")
                return {"id": "t"} if cls is UnregisterTrigger else {"id": "bell", "namespace": "default"}
            case "Reattach":
                return {"previous_worker_id": self.honest.id, "reattach_token": self.honest.reattach_token}
            case "RegisterFunction":
                return {"invocation": None}
        return {}


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    network = MemoryNetwork()
    async with open_engine({}, host="127.0.0.1", network=network) as engine:
        port = engine.address[1]
        async with (
            open_raw_worker(await network.connect(port)) as honest,
            open_raw_worker(await network.connect(port)) as rogue,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(fail_a_test_that_hangs)
            yield Scene(engine, honest, rogue)
            nursery.cancel_scope.cancel()


async def fail_a_test_that_hangs() -> None:
    await trio.sleep(10)
    raise TimeoutError("somebody waits for what does not come")


@EVERY_MESSAGE
async def test_a_wrong_type_in_any_field_drops_the_message(cls: type[msgspec.Struct], scene: Scene) -> None:
    """No effect, no answer, and the connection goes on; a malformed action with an id is answered (C3)."""
    given = await scene.before(cls)
    await scene.rogue.fence()
    trace = kernel_trace(scene.engine.kernel)
    statistics = scene.engine.kernel.statistics()
    answered = []
    for case in wrong(cls, **given):
        await scene.rogue.send_text(case.text.decode())
        if case.path.startswith("InvokeFunction.action"):
            answered.append(await scene.rogue.take("invocationresult"))
    await scene.rogue.fence()

    assert [answer["error"]["code"] for answer in answered] == ["invalid_action"] * len(answered)
    assert bool(answered) == (cls is InvokeFunction)
    assert list(scene.rogue.inbox) == []
    assert trace == []
    assert attrs.evolve(scene.engine.kernel.statistics(), refused=statistics.refused) == statistics
    await scene.honest.fence()


EFFECTS = [
    RegisterFunction,
    RegisterService,
    RegisterTrigger,
    RegisterTriggerType,
    RegisterWorker,
    UnregisterFunction,
    UnregisterTrigger,
    UnregisterTriggerType,
    Reattach,
]


@pytest.mark.parametrize("cls", EFFECTS, ids=lambda cls: cls.__name__)
async def test_the_same_message_without_the_mistake_has_an_effect(cls: type[msgspec.Struct], scene: Scene) -> None:
    """Else the test above would show nothing."""
    given = await scene.before(cls)
    trace = kernel_trace(scene.engine.kernel)
    services = scene.engine.kernel.services.statistics()
    await scene.rogue.send_text(msgspec.json.encode(valid(cls, **given)).decode())
    await scene.rogue.fence()
    assert trace or scene.engine.kernel.services.statistics() > services


@pytest.mark.parametrize("case", wrong(InvocationResult), ids=lambda case: case.path)
async def test_a_malformed_result_is_dropped_or_read_as_an_error(case: Wrong, scene: Scene) -> None:
    """An error of another shape ends the call with UNKNOWN; any other mistake leaves it to a better answer (# wire 104)."""
    await scene.rogue.register("f")
    await scene.rogue.fence()
    answers: list[dict[str, Any]] = []

    async def call() -> None:
        answers.append(await scene.honest.call("f", 1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        invocation = await scene.rogue.take("invokefunction")
        sent = {**case.message}
        if not case.path.endswith("invocation_id"):
            sent["invocation_id"] = invocation["invocation_id"]
        await scene.rogue.send_text(msgspec.json.encode(sent).decode())
        await scene.rogue.answer(invocation, result="better")

    (answer,) = answers
    if case.path.startswith("InvocationResult.error"):
        assert "result" not in answer
        assert set(answer["error"]) <= {"code", "message", "stacktrace"}
        assert all(isinstance(text, str) for text in answer["error"].values())
    else:
        assert answer["result"] == "better"


@pytest.mark.parametrize("case", wrong_announcements(), ids=lambda case: case.path)
async def test_a_wrong_announcement_is_answered_and_changes_nothing(case: Wrong, scene: Scene) -> None:
    """# wire 41"""
    answer = await scene.rogue.call("engine::workers::register", case.message)
    assert answer["error"]["code"] == "deserialization_error"
    worker = scene.engine.kernel.workers.get(scene.rogue.id)
    assert worker is not None
    assert not worker.announced


@pytest.mark.parametrize("texts", [INVALID_JSON, UNKNOWN_TYPES], ids=["invalid JSON", "unknown types"])
async def test_what_is_no_message_is_dropped(texts: tuple[bytes, ...], scene: Scene) -> None:
    """# wire 5"""
    trace = kernel_trace(scene.engine.kernel)
    for text in texts:
        await scene.rogue.send_text(text.decode())
        await scene.rogue.send_text(text)  # as a binary message
    await scene.rogue.fence()
    assert list(scene.rogue.inbox) == []
    assert trace == []


async def test_a_binary_message_that_is_nothing_is_dropped(scene: Scene) -> None:
    for data in (b"\xff\xfe\x00", b"OTLP", b"OTLP\xff", b"MTRC{", b"LOGSlogs", b"otlp{}", bytes(range(256))):
        await scene.rogue.send_text(data)
    await scene.rogue.fence()
    assert list(scene.rogue.inbox) == []


# --- payloads that are JSON and that Python values cannot hold --------------------------------------------------------

UNREADABLE = ['{"a":1e400}', '{"_caller_worker_id":1,"a":-1e999}']


@pytest.mark.parametrize("data", UNREADABLE)
async def test_a_payload_that_cannot_be_decoded_passes_through(data: str, scene: Scene) -> None:
    """A call, an enqueued call and the way back; only a function inside the engine refuses it."""
    await scene.rogue.register("f", "engine::queue::enqueue")
    await scene.rogue.fence()
    invoke = '{"type":"invokefunction","function_id":"%s","invocation_id":"%s","data":%s%s}'
    await scene.honest.send_text(invoke % ("f", "1", data, ""))
    call = await scene.rogue.take("invokefunction", function_id="f")
    result = '{"type":"invocationresult","function_id":"f","invocation_id":"%s","result":%s}'
    await scene.rogue.send_text(result % (call["invocation_id"], data))
    assert "error" not in await scene.honest.take("invocationresult", invocation_id="1")

    await scene.honest.send_text(invoke % ("f", "2", data, ',"action":{"type":"enqueue","queue":"q"}'))
    order = await scene.rogue.take("invokefunction", function_id="engine::queue::enqueue")
    assert "a" in order["data"]["data"]
    await scene.rogue.answer(order)
    receipt = await scene.honest.take("invocationresult", invocation_id="2")
    assert receipt["result"] == {"messageReceiptId": order["data"]["messageReceiptId"]}

    scene.engine.register("inside", read)
    await scene.honest.send_text(invoke % ("inside", "3", data, ""))
    assert "error" in await scene.honest.take("invocationresult", invocation_id="3")


async def read(payload: Any) -> Any:
    return payload


async def test_an_enqueued_call_is_answered_whatever_happens(scene: Scene) -> None:
    """Refused for its namespace, or killed on the way to the queue (# wire 90)."""
    enqueue = {"type": "enqueue", "queue": "q"}
    refused = await scene.honest.call("f", 1, action=enqueue, namespace=" ")
    assert refused["error"]["code"] == "INVALID_NAMESPACE"
    await scene.rogue.register("engine::queue::enqueue")
    await scene.rogue.fence()
    answers: list[dict[str, Any]] = []

    async def call() -> None:
        answers.append(await scene.honest.call("f", 1, action=enqueue))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await scene.rogue.take("invokefunction")
        (child,) = scene.engine.kernel.invocations
        assert scene.engine.kill(f"invocations/{child.name}")
    assert answers[0]["error"]["code"] == "invocation_stopped"
