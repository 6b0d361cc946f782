"""A kernel in memory with the engine functions running on it, and workers whose outlets keep what they are told."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from actors import Node
from iii_trio.kernel import Function, Ids, Kernel, ModuleOwner, TrioClock, Worker
from iii_trio.kernel.workers import clean_label
from iii_trio.modules.engine_functions import EngineFunctionsModule, ModuleRow
from iii_trio.protocol import Buffer, Json, decode_json, encode_json
from iii_trio.protocol.codec import decode
from iii_trio.protocol.messages import InvocationResult, InvokeFunction, Message

ROOT = Node("root", "supervisor", strategy="one_for_one")

BUILT_IN = (
    "engine::channels::create",
    "engine::functions::info",
    "engine::functions::list",
    "engine::register_trigger",
    "engine::registered-triggers::info",
    "engine::registered-triggers::list",
    "engine::supervisor::tree",
    "engine::trigger-types::list",
    "engine::triggers::info",
    "engine::triggers::list",
    "engine::unregister_trigger",
    "engine::workers::info",
    "engine::workers::list",
    "engine::workers::register",
)


@attrs.define(eq=False)
class Outlet:
    """Keeps every message; while `is_full`, senders inside the engine wait."""

    messages: list[Json] = attrs.field(factory=list)
    is_full: bool = False
    room: trio.Event = attrs.field(factory=trio.Event)

    def send(self, pieces: Sequence[Buffer], size: int) -> None:
        text = b"".join(pieces)
        assert len(text) == size
        self.messages.append(decode_json(text))

    def has_room(self, size: int) -> bool:
        return size >= 0

    async def wait_room(self) -> None:
        await self.room.wait()

    def of_type(self, kind: str) -> list[Json]:
        return [message for message in self.messages if message["type"] == kind]


@attrs.define(eq=False)
class World:
    """What a test acts on."""

    kernel: Kernel
    module: EngineFunctionsModule
    nursery: trio.Nursery
    scope: trio.CancelScope
    provider: Worker | None = None
    registrant: Worker | None = None

    def worker(self, name: str | None = None, version: str | None = "0.25.0", **details: Json) -> Worker:
        """A connected, announced worker in memory, gone by `kernel.disconnect` when somebody closes it."""
        details.setdefault("pid", 4242)
        details.setdefault("runtime", "python")
        details.setdefault("namespace", "default")
        worker = self.kernel.connect(
            name=clean_label(name), version=version, announced=True, outlet=Outlet(), **details
        )
        worker.close = lambda _: self.kernel.disconnect(worker)
        return worker

    def offers(self, worker: Worker, function_id: str, **details: Json) -> None:
        """Let a worker register a function, as it does over its socket."""
        message = {"type": "registerfunction", "id": function_id, **details}
        self.say(worker, message)

    def say(self, worker: Worker, message: Json) -> None:
        """Apply a registration message of a worker."""
        self.kernel.registrations.take(worker, decode(encode_json(message)))

    async def ask(self, function_id: str, asked: Json = None, caller: Worker | None = None) -> Json:
        """Call a function of the engine and decode what it answers."""
        payload = await self.kernel.bus.invoke(f"engine::{function_id}", {} if asked is None else asked, caller=caller)
        return payload.value

    def call_over_wire(self, worker: Worker, function_id: str, data: Json, **members: Json) -> None:
        """Route an `invokefunction` of a worker."""
        text = encode_json({"type": "invokefunction", "function_id": function_id, "data": data, **members})
        message = decode(text)
        assert isinstance(message, InvokeFunction)
        self.kernel.bus.invoke_from(worker, message, text)

    def answer(self, worker: Worker, call: Json, result: Json) -> None:
        """Let a worker answer a call it was sent."""
        message = {
            "type": "invocationresult",
            "invocation_id": call["invocation_id"],
            "function_id": call["function_id"],
        }
        result_message = decode(encode_json({**message, "result": result}))
        assert isinstance(result_message, InvocationResult)
        self.kernel.bus.result_from(worker, result_message)


def outlet_of(worker: Worker) -> Outlet:
    assert isinstance(worker.outlet, Outlet)
    return worker.outlet


def take(kernel: Kernel, worker: Worker, kind: str, **members: Any) -> None:
    """Have the kernel take one registration message of a worker."""
    message = decode(encode_json({"type": kind, **members}))
    assert isinstance(message, Message)
    kernel.registrations.take(worker, message)


def fires(worker: Worker) -> list[Json]:
    """The payloads a worker's functions were called with."""
    return [message["data"] for message in outlet_of(worker).of_type("invokefunction")]


def add_module_function(kernel: Kernel, owner: ModuleOwner, function_id: str) -> None:
    async def handler(_: object) -> Json:
        await trio.lowlevel.checkpoint()
        return None

    kernel.functions.add(Function(function_id, owner, handler=handler, description=f"does {function_id}"))


@asynccontextmanager
async def open_world(*modules: ModuleRow, tree: Node = ROOT, ids: Ids | None = None) -> AsyncIterator[World]:
    """Run the module over a fresh kernel; both end with the block."""
    kernel = Kernel(clock=TrioClock(), ids=ids or Ids())
    rows = (ModuleRow("iii-engine-functions", "iii-engine-functions", internal=True), *modules)
    module = EngineFunctionsModule(
        ModuleOwner("iii-engine-functions", "iii-engine-functions"), lambda: tree, lambda: rows
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.invocations.run)
        scope = await nursery.start(partial(run_module, module, kernel))
        yield World(kernel, module, nursery, scope)
        nursery.cancel_scope.cancel()


async def run_module(
    module: EngineFunctionsModule, kernel: Kernel, *, task_status: trio.TaskStatus[trio.CancelScope]
) -> None:
    """Run one incarnation in a scope of its own, so that a test can end it."""

    @attrs.frozen
    class Ready:
        scope: trio.CancelScope

        def started(self, _: None = None) -> None:
            task_status.started(self.scope)

    with trio.CancelScope() as scope:
        await module.run(kernel, task_status=Ready(scope))


def fits(value: Json, schema: Json, root: Json = None) -> bool:
    """Whether a value has the members that a schema of ours names, all of them and no others."""
    root = schema if root is None else root
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return any(fits(value, choice, root) for choice in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    match schema.get("type"):
        case "object":
            members = schema["properties"]
            return (
                isinstance(value, dict)
                and set(schema["required"]) <= set(value) <= set(members)
                and all(fits(value[name], members[name], root) for name in value)
            )
        case "array":
            return isinstance(value, list) and all(fits(item, schema["items"], root) for item in value)
        case None:
            return True
        case kind:
            return type(value) is {"string": str, "integer": int, "boolean": bool, "null": type(None)}[kind]


def ids(answer):
    """The ids of a list of functions."""
    return [row["function_id"] for row in answer["functions"]]
