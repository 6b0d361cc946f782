"""Every kind of session against everything a worker can ask for: what passes and what does not (wire-protocol 11).

The functions are those of the running engine and its modules, so a new one is in the table the day it is written: it is
denied wherever nothing exposes it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, get_args

import attrs
import pytest
from access_rig import GUARD, Guarded, open_guarded
from trio.testing import MockClock
from wire_client import MODERN, Client, Json, World

from iii_trio.kernel import Worker
from iii_trio.kernel.access import INFRASTRUCTURE
from iii_trio.protocol import BadAction
from iii_trio.protocol.messages import AnyMessage
from iii_trio.transport.access import HARMLESS, LOOKS
from tests.waiting import eventually

TARGET = "shop::target"
PROXY = "gate::proxy"
ENQUEUE = "engine::queue::enqueue"
VERBS = {
    "invoke",
    "invoke void",
    "invoke without id",
    "enqueue",
    "invoke in a",
    "register function",
    "unregister function",
    "register trigger type",
    "register trigger",
    "unregister own trigger",
    "unregister another's trigger",
    "announce",
    "announce a",
    "reattach",
}
CALLS = {"invoke", "invoke void", "invoke without id", "enqueue"}
ALWAYS = {"register function", "unregister function", "unregister own trigger", "reattach"}
HOMES = {"announce", "announce a"}


@attrs.frozen
class Kind:
    """A kind of session, and what it may do: of the verbs, and of the engine's functions."""

    config: Json
    may: set[str]
    answer: Json | None = None
    engine: frozenset[str] | None = frozenset()
    """What it may call of `engine::*` beside infrastructure; None: everything."""

    barred: frozenset[str] = frozenset()
    stored: str = "mine"


def _rbac(*filters: Any, **more: Any) -> Json:
    return {"rbac": {"expose_functions": list(filters), **more}}


AUTHENTICATED = _rbac(auth_function_id=GUARD)
OPEN_TYPES = {"register trigger type"}
BINDS = {"register trigger"}
KINDS = {
    "no rbac": Kind({}, VERBS, engine=None),
    "middleware only": Kind({"middleware_function_id": PROXY}, VERBS, engine=None),
    "empty rbac": Kind({"rbac": {}}, ALWAYS | HOMES | OPEN_TYPES),
    "exposed by match": Kind(_rbac('match("shop::*")'), ALWAYS | HOMES | OPEN_TYPES | CALLS | BINDS),
    "exposed by metadata": Kind(_rbac({"metadata": {"public": True}}), ALWAYS | HOMES | OPEN_TYPES | CALLS | BINDS),
    "exposed elsewhere": Kind(
        _rbac({"match": "shop::*", "namespace": "a"}), ALWAYS | HOMES | OPEN_TYPES | {"invoke in a"}
    ),
    "everything exposed": Kind(
        _rbac('match("*")'), VERBS - {"invoke in a", "unregister another's trigger"}, engine=None
    ),
    "authenticated": Kind(AUTHENTICATED, ALWAYS | HOMES, {}),
    "allowed": Kind(AUTHENTICATED, ALWAYS | HOMES | CALLS | BINDS, {"allowed_functions": [TARGET]}),
    "forbidden": Kind(
        _rbac('match("*")', auth_function_id=GUARD),
        ALWAYS,
        {"forbidden_functions": [TARGET, "engine::workers::register", "engine::channels::create"]},
        engine=None,
        barred=frozenset({"engine::workers::register", "engine::channels::create"}),
    ),
    "grants in a": Kind(
        AUTHENTICATED,
        {"announce a", "invoke in a", "reattach"},
        {"namespaces": {"a": ["shop::*"]}},
        barred=frozenset({"engine::workers::register"}),  # without a namespace
    ),
    "prefix": Kind(
        _rbac('match("p::*")', auth_function_id=GUARD),
        ALWAYS | HOMES | BINDS,
        {"function_registration_prefix": "p"},
        stored="p::mine",
    ),
    "may register nothing": Kind(
        _rbac('match("shop::*")', auth_function_id=GUARD),
        CALLS | HOMES | {"unregister own trigger", "reattach"},
        {"allow_function_registration": False, "allowed_trigger_types": []},
    ),
    "rbac and middleware": Kind(
        {**_rbac('match("shop::*")'), "middleware_function_id": PROXY}, ALWAYS | HOMES | OPEN_TYPES | CALLS | BINDS
    ),
}


@attrs.define
class Stage:
    """One session under test, a shop on the open listener, and what reached whom."""

    guarded: Guarded
    kind: Kind
    worker: Client
    shop: Client
    through: list[Any]

    async def reached(self) -> bool:
        """Whether a call has come through since the last look: to the shop, the queue or the middleware."""
        await self.worker.fence()
        kernel = self.guarded.engine.kernel
        await eventually(lambda: all(row.caller is None or row.child is None for row in kernel.ledger))
        came = [message for message in await self.shop.fence() if message["type"] == "invokefunction"]
        queued = self.guarded.asked.get(ENQUEUE, [])
        reached = bool(came or queued or self.through)
        for noted in (queued, self.through):
            noted.clear()
        return reached

    def holds(self, trigger_id: str) -> bool:
        return self.guarded.engine.kernel.triggers.get(trigger_id) is not None


@asynccontextmanager
async def staged(name: str) -> AsyncIterator[Stage]:
    kind = KINDS[name]
    async with open_guarded(kind.config) as guarded:
        guarded.script(GUARD, lambda _: kind.answer)
        guarded.script(ENQUEUE)
        through = guarded.script(PROXY)
        shop = await guarded.offer(TARGET, metadata={"public": True})
        elsewhere = await guarded.world.connect({**MODERN, "name": "elsewhere"}, namespace="a")
        await elsewhere.register(TARGET)
        await elsewhere.fence()
        await shop.provide("hook")
        await shop.trigger("theirs", "none", TARGET, config={})
        await shop.fence()
        worker = await guarded.enter()
        yield Stage(guarded, kind, worker, shop, through)


async def _invoke(stage: Stage, **more: Any) -> bool:
    await stage.worker.say(type="invokefunction", function_id=TARGET, data={}, **more)
    return await stage.reached()


async def _invoke_in_a(stage: Stage) -> bool:
    """Nothing answers: whether it is refused is told at once."""
    await stage.worker.invoke(TARGET, namespace="a")
    said = [message for message in await stage.worker.fence() if message["type"] == "invocationresult"]
    return not any(message.get("error", {}).get("code") == "FORBIDDEN" for message in said)


async def _register(stage: Stage) -> bool:
    await stage.worker.register("mine")
    await stage.worker.fence()
    return stage.guarded.has(stage.kind.stored)


async def _unregister(stage: Stage) -> bool:
    registered = await _register(stage)
    await stage.worker.say(type="unregisterfunction", id="mine")
    await stage.worker.fence()
    return registered and not stage.guarded.has(stage.kind.stored)


async def _provide(stage: Stage) -> bool:
    await stage.worker.provide("mine")
    await stage.worker.fence()
    return stage.guarded.engine.kernel.triggers.get_type("default", "mine") is not None


async def _bind(stage: Stage) -> bool:
    target = "mine" if "p::" in stage.kind.stored else TARGET
    await stage.worker.trigger("t", "hook", target, config={})
    await stage.worker.fence()
    return stage.holds("t")


async def _unbind_own(stage: Stage) -> bool:
    """A trigger that somehow is this worker's can be ended by it, whatever it may register."""
    kernel = stage.guarded.engine.kernel
    trigger = kernel.triggers.get("theirs")
    assert trigger is not None
    trigger.registrant = kernel.workers.get(stage.worker.id)
    await stage.worker.say(type="unregistertrigger", id="theirs")
    await stage.worker.fence()
    return not stage.holds("theirs")


async def _unbind(stage: Stage) -> bool:
    await stage.worker.say(type="unregistertrigger", id="theirs")
    await stage.worker.fence()
    return not stage.holds("theirs")


async def _announce(stage: Stage, **more: Any) -> bool:
    return "result" in await stage.worker.announce(name="w", **more)


async def _reattach(stage: Stage) -> bool:
    """With the token, the old connection is retired whoever comes: the token is the proof."""
    successor = await stage.guarded.enter()
    await successor.say(type="reattach", previous_worker_id=stage.worker.id, reattach_token=stage.worker.token)
    await successor.fence()
    return stage.guarded.engine.kernel.workers.get(stage.worker.id) is None


TRIES: dict[str, Callable[[Stage], Awaitable[bool]]] = {
    "invoke": lambda stage: _invoke(stage, invocation_id="00000000-0000-4000-8000-000000000001"),
    "invoke void": lambda stage: _invoke(stage, action={"type": "void"}),
    "invoke without id": _invoke,
    "enqueue": lambda stage: _invoke(stage, action={"type": "enqueue", "queue": "q"}),
    "invoke in a": _invoke_in_a,
    "register function": _register,
    "unregister function": _unregister,
    "register trigger type": _provide,
    "register trigger": _bind,
    "unregister own trigger": _unbind_own,
    "unregister another's trigger": _unbind,
    "announce": _announce,
    "announce a": lambda stage: _announce(stage, namespace="a"),
    "reattach": _reattach,
}


def test_every_verb_is_tried() -> None:
    assert set(TRIES) == VERBS
    assert all(kind.may <= VERBS for kind in KINDS.values())


def test_every_message_is_looked_at_or_known_to_be_harmless() -> None:
    assert LOOKS.keys() | HARMLESS == {*get_args(AnyMessage), BadAction}
    assert not LOOKS.keys() & HARMLESS


@pytest.mark.parametrize("name", KINDS)
async def test_a_verb_passes_where_it_may(autojump_clock: MockClock, name: str) -> None:
    # wire 77-83, 110: each in an engine of its own, so that no verb prepares the way of another
    for verb, attempt in TRIES.items():
        async with staged(name) as stage:
            assert (verb, await attempt(stage)) == (verb, verb in KINDS[name].may)


def _engine_functions(world: World) -> list[str]:
    """The functions of the engine's core and of every module."""
    functions = world.engine.kernel.functions
    found = sorted({function.id for function in functions if not isinstance(function.owner, Worker)})
    assert {"engine::functions::list", "configuration::get"} <= set(found)
    return found


@pytest.mark.parametrize("name", KINDS)
async def test_an_engine_function_may_be_called_where_it_is_exposed(autojump_clock: MockClock, name: str) -> None:
    # wire 77, 79, 84
    async with staged(name) as stage:
        kind = KINDS[name]
        for function_id in _engine_functions(stage.guarded.world):
            code = await stage.guarded.code(stage.worker, function_id, {"id": "none", "name": "none"})
            may = (
                kind.engine is None or function_id in INFRASTRUCTURE | kind.engine
            ) and function_id not in kind.barred
            assert (function_id, code == "FORBIDDEN") == (function_id, not may)
            await stage.worker.fence()


@pytest.mark.parametrize("name", KINDS)
async def test_an_engine_function_in_another_namespace_is_nobodys(autojump_clock: MockClock, name: str) -> None:
    # 11.5: infrastructure is so by id only
    async with staged(name) as stage:
        for function_id in _engine_functions(stage.guarded.world):
            code = await stage.guarded.code(stage.worker, function_id, {}, namespace="b")
            assert code in {"FORBIDDEN", "function_not_found"}
