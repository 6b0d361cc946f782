"""What workers of a guarded listener may register, and what hooks make of it (wire-protocol 2.10, 7.7, 11.7, 11.8)."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from access_rig import ASK, GUARD, Guarded, Script, never, open_guarded, refusing
from trio.testing import MockClock
from wire_client import LEGACY, MODERN, Client, Json, of_others

from tests.waiting import eventually

ON_FUNCTION, ON_TRIGGER, ON_TYPE = ASK.values()
EVERYTHING = ['match("*")']
DENIALS: dict[str, Script] = {
    "raise": refusing("NO", "not here"),
    "null": lambda _: None,
    "false": lambda _: False,
    "true": lambda _: True,
    "text": lambda _: "yes",
    "list": lambda _: [],
}
Register = Callable[[Client, str], Awaitable[None]]


def hooked(**more: Any) -> Json:
    return {"rbac": {**ASK, "expose_functions": EVERYTHING, **more}}


def admitting(guarded: Guarded, **answer: Any) -> None:
    guarded.script(GUARD, lambda _: answer)


def hooks(guarded: Guarded) -> None:
    """Every hook lets everything pass."""
    for name in ASK.values():
        guarded.script(name)


async def _provider(guarded: Guarded, *types: str) -> Client:
    provider = await guarded.world.connect(MODERN)
    for name in types:
        await provider.provide(name)
    await provider.fence()
    return provider


def trigger(guarded: Guarded, trigger_id: str) -> Any:
    return guarded.engine.kernel.triggers.get(trigger_id)


def has_type(guarded: Guarded, type_id: str, namespace: str = "default") -> bool:
    return guarded.engine.kernel.triggers.get_type(namespace, type_id) is not None


# --- functions --------------------------------------------------------------------------------------------------------


async def test_a_session_that_may_not_register_functions(autojump_clock: MockClock) -> None:
    # wire 81
    async with open_guarded({"rbac": {"auth_function_id": GUARD}}) as guarded:
        admitting(guarded, allow_function_registration=False)
        worker = await guarded.enter(announcement=MODERN)
        await worker.register("shop::x")
        assert await worker.fence() == []
        assert not guarded.has("shop::x")
        admitting(guarded)
        allowed = await guarded.enter(announcement={**MODERN, "name": "other"})
        await allowed.register("shop::x")
        assert await allowed.fence() == []
        assert guarded.has("shop::x")


@pytest.mark.parametrize("denial", DENIALS)
async def test_a_hook_that_does_not_answer_with_an_object_denies(autojump_clock: MockClock, denial: str) -> None:
    # wire 81, 109: silently
    async with open_guarded(hooked()) as guarded:
        for name in ASK.values():
            guarded.script(name, DENIALS[denial])
        provider = await _provider(guarded, "hook")
        worker = await guarded.enter(announcement=MODERN)
        await worker.register("shop::x")
        await worker.provide("mine")
        await worker.trigger("t", "hook", "shop::y", config={})
        assert await worker.fence() == []
        assert not guarded.has("shop::x")
        assert not has_type(guarded, "mine")
        assert trigger(guarded, "t") is None
        assert await provider.fence() == []
        assert all(len(guarded.asked[name]) == 1 for name in ASK.values())


async def test_a_missing_hook_denies(autojump_clock: MockClock) -> None:
    # wire 81
    async with open_guarded(hooked()) as guarded:
        worker = await guarded.enter()
        await worker.register("shop::x")
        assert await worker.fence() == []
        assert not guarded.has("shop::x")


async def test_a_hook_is_told_what_is_to_be_registered(autojump_clock: MockClock) -> None:
    # 11.7
    async with open_guarded(hooked(auth_function_id=GUARD)) as guarded:
        hooks(guarded)
        admitting(guarded, context={"user": "u1"}, allow_trigger_type_registration=True)
        worker = await guarded.enter(announcement=MODERN, namespace="n")
        await worker.register("shop::x", description="d", metadata={"own": 1})
        await worker.register("shop::y")
        await worker.provide("mine", description="kind")
        await worker.trigger("t1", "mine", "shop::x", config={"a": 1}, metadata={"m": 1}, namespace="n")
        await worker.trigger("t2", "mine", "shop::x")
        await worker.fence()
        context = {"user": "u1"}
        assert guarded.asked[ON_FUNCTION] == [
            {
                "function_id": "shop::x",
                "description": "d",
                "metadata": {"own": 1},
                "context": context,
                "namespace": "n",
            },
            {"function_id": "shop::y", "description": None, "metadata": None, "context": context, "namespace": "n"},
        ]
        assert guarded.asked[ON_TYPE] == [{"trigger_type_id": "mine", "description": "kind", "context": context}]
        both = {"trigger_type": "mine", "function_id": "shop::x", "context": context}
        assert guarded.asked[ON_TRIGGER] == [
            {"trigger_id": "t1", **both, "config": {"a": 1}, "metadata": {"m": 1}, "namespace": "n"},
            {"trigger_id": "t2", **both, "config": None, "metadata": None, "namespace": "default"},
        ]


async def test_a_hook_renames_a_function(autojump_clock: MockClock) -> None:
    # wire 81; its worker goes on to call it what it always did (2.6)
    async with open_guarded(hooked()) as guarded:
        guarded.script(
            ON_FUNCTION,
            lambda _: {"function_id": "shop::renamed", "description": "by hook", "metadata": {"by": "hook"}},
        )
        worker = await guarded.enter(announcement=MODERN)
        await worker.register("shop::x", description="own", metadata={"own": 1})
        await worker.fence()
        assert not guarded.has("shop::x")
        caller = await guarded.world.connect()
        info = await caller.value("engine::functions::info", {"function_id": "shop::renamed"})
        assert (info["description"], info["metadata"]) == ("by hook", {"by": "hook"})
        invocation_id = await caller.invoke("shop::renamed")
        await worker.serve_one("shop::x", result=1)
        assert (await caller.outcome(invocation_id)).items() >= {"function_id": "shop::renamed", "result": 1}.items()
        await worker.say(type="unregisterfunction", id="shop::x")
        await worker.fence()
        assert not guarded.has("shop::renamed")


KEPT = [
    {},
    {"function_id": None, "description": None, "metadata": None},
    {"function_id": 5, "description": {"a": 1}},
    {"function_id": False, "description": []},
]


@pytest.mark.parametrize("answer", KEPT, ids=str)
async def test_what_a_hook_leaves_as_it_was(autojump_clock: MockClock, answer: Json) -> None:
    # wire 109
    async with open_guarded(hooked()) as guarded:
        guarded.script(ON_FUNCTION, lambda _: answer)
        worker = await guarded.enter(announcement=MODERN)
        await worker.register("shop::x", description="d", metadata={"own": 1})
        await worker.fence()
        caller = await guarded.world.connect()
        info = await caller.value("engine::functions::info", {"function_id": "shop::x"})
        assert (info["description"], info["metadata"]) == ("d", {"own": 1})


async def test_a_hook_maps_types_and_triggers(autojump_clock: MockClock) -> None:
    # wire 109
    async with open_guarded(hooked()) as guarded:
        hooks(guarded)
        guarded.script(ON_TYPE, lambda _: {"trigger_type_id": "renamed", "description": "by hook", "id": "no"})
        guarded.script(
            ON_TRIGGER,
            lambda _: {
                "trigger_id": "t2",
                "trigger_type": "renamed",
                "function_id": "shop::y",
                "config": {"by": "hook"},
            },
        )
        worker = await guarded.enter(announcement=MODERN)
        await worker.provide("mine")
        await worker.trigger("t1", "other", "shop::x", config={"a": 1}, metadata={"m": 1})
        message = await worker.hear("registertrigger")
        assert message == {
            "type": "registertrigger",
            "id": "t2",
            "trigger_type": "renamed",
            "function_id": "shop::y",
            "config": {"by": "hook"},
            "metadata": {"m": 1},
        }
        assert not has_type(guarded, "mine")


async def test_hooks_are_asked_in_order_and_others_never_wait(autojump_clock: MockClock) -> None:
    # 1.4: the next message of that connection is looked at after the hook has answered, or 10 s
    async with open_guarded(hooked()) as guarded:
        guarded.script(ON_FUNCTION, lambda asked: never() if asked["function_id"] == "shop::slow" else {})
        begun = trio.current_time()
        worker, other = await guarded.enter(announcement=MODERN), await guarded.enter()
        await worker.register("shop::slow", "shop::next")
        await worker.say_text(b"OTLP{}")
        await worker.say_text(b'{"type":"registerfunction","id":"shop::last"}')
        await worker.say(type="ping")
        await other.register("shop::other")
        await other.fence()
        assert guarded.has("shop::other")
        assert trio.current_time() - begun < 1
        assert [asked["function_id"] for asked in guarded.asked[ON_FUNCTION]] == ["shop::slow", "shop::other"]
        assert not guarded.has("shop::next")
        await worker.hear("pong", within=60)
        assert trio.current_time() - begun == pytest.approx(10, abs=1)
        assert not guarded.has("shop::slow")
        assert guarded.has("shop::next")
        assert guarded.has("shop::last")


async def test_a_worker_that_leaves_while_its_hook_thinks(autojump_clock: MockClock) -> None:
    # 3.6: nothing is registered for somebody who has gone
    async with open_guarded(hooked()) as guarded:
        may = trio.Event()

        async def wait() -> Json:
            await may.wait()
            return {}

        guarded.script(ON_FUNCTION, lambda _: wait())
        worker = await guarded.enter(announcement=MODERN)
        await worker.register("shop::x")
        await eventually(lambda: bool(guarded.asked[ON_FUNCTION]))
        known = guarded.engine.kernel.workers.get(worker.id)
        assert known is not None
        assert known.close is not None
        may.set()
        known.close("killed")
        await guarded.world.wait_gone(worker)
        await trio.sleep(20)
        assert not guarded.has("shop::x")


async def test_many_slow_hooks_are_not_the_peers_silence(autojump_clock: MockClock) -> None:
    async with open_guarded(hooked()) as guarded:
        guarded.script(ON_FUNCTION, lambda _: never())
        worker = await guarded.enter(announcement=MODERN)
        await worker.register(*(f"shop::{number}" for number in range(30)))
        await worker.say(type="ping")
        await worker.hear("pong", within=400)  # 300 s, although 180 s of silence end a connection


# --- namespaces -------------------------------------------------------------------------------------------------------


async def test_early_registrations_are_shown_again_for_the_namespace_they_end_in(autojump_clock: MockClock) -> None:
    # 11.7, wire 88: what a hook has said of `default` does not count elsewhere
    async with open_guarded(hooked()) as guarded:
        hooks(guarded)
        guarded.script(
            ON_FUNCTION, lambda asked: {} if asked["namespace"] == "default" or "y" in asked["function_id"] else None
        )
        worker = await guarded.enter()
        await worker.register("shop::x", "shop::y", "shop::z")
        await worker.say(type="unregisterfunction", id="shop::z")
        await worker.fence()
        assert guarded.has("shop::x")
        assert guarded.has("shop::y")
        assert (await worker.announce(namespace="n"))["result"] == {"success": True}
        await worker.fence()
        assert not any(guarded.has(f"shop::{name}", space) for name in "xz" for space in ("default", "n"))
        assert not guarded.has("shop::y")
        assert guarded.has("shop::y", "n")
        asked = [(asked["function_id"], asked["namespace"]) for asked in guarded.asked[ON_FUNCTION]]
        order = ["shop::x", "shop::y", "shop::z"]
        assert asked == [(name, "default") for name in order] + [(name, "n") for name in order]


@pytest.mark.parametrize("announced", ["default", None])
async def test_early_registrations_that_stay_are_shown_once(autojump_clock: MockClock, announced: str | None) -> None:
    async with open_guarded(hooked()) as guarded:
        hooks(guarded)
        worker = await guarded.enter()
        await worker.register("shop::x")
        if announced is None:
            await trio.sleep(10)  # the grace
        else:
            await worker.announce(namespace=announced)
        await worker.register("shop::y")
        await worker.fence()
        assert [asked["function_id"] for asked in guarded.asked[ON_FUNCTION]] == ["shop::x", "shop::y"]
        assert guarded.has("shop::x")
        assert guarded.has("shop::y")


async def test_nothing_enters_a_namespace_that_is_not_granted(autojump_clock: MockClock) -> None:
    # wire 110: not before the announcement, not after the grace, not by a trigger type's own namespace
    async with open_guarded({"rbac": {"auth_function_id": GUARD, "expose_functions": EVERYTHING}}) as guarded:
        admitting(guarded, namespaces={"a": ["x::*"]}, allow_trigger_type_registration=True)
        worker = await guarded.enter()
        await worker.register("x::1")
        await worker.provide("mine")
        await worker.say(type="registerservice", id="s")
        await worker.trigger("t", "mine", "x::1", config={}, namespace="a")
        await worker.fence()
        await trio.sleep(60)
        assert await worker.fence() == []
        assert not guarded.has("x::1")
        assert not has_type(guarded, "mine")
        assert trigger(guarded, "t") is None
        await worker.announce(namespace="a")
        assert (await worker.hear("registertrigger"))["id"] == "t"
        assert guarded.has("x::1", "a")
        assert has_type(guarded, "mine", "a")
        for namespace in ("default", "b", "a"):
            await worker.provide(f"in-{namespace}", namespace=namespace)
        assert await worker.fence() == []
        assert [has_type(guarded, f"in-{name}", name) for name in ("default", "b", "a")] == [False, False, True]


# --- trigger types and triggers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "may"),
    [(None, True), ({}, False), ({"allow_trigger_type_registration": True}, True)],
    ids=["nobody asked", "default", "allowed"],
)
async def test_who_may_provide_trigger_types(autojump_clock: MockClock, answer: Json | None, may: bool) -> None:
    # wire 82
    rbac = {} if answer is None else {"auth_function_id": GUARD}
    async with open_guarded({"rbac": rbac}) as guarded:
        admitting(guarded, **(answer or {}))
        worker = await guarded.enter(announcement=MODERN)
        await worker.provide("mine")
        assert await worker.fence() == []
        assert has_type(guarded, "mine") == may
        await worker.say(type="unregistertriggertype", id="mine")
        await worker.fence()
        assert not has_type(guarded, "mine")


@pytest.mark.parametrize(("types", "bound"), [(None, "ab"), (["a"], "a"), ([], ""), (["*"], "")])
async def test_which_types_a_session_may_use(autojump_clock: MockClock, types: list[str] | None, bound: str) -> None:
    # wire 82: other types are blocked silently
    async with open_guarded({"rbac": {"auth_function_id": GUARD, "expose_functions": EVERYTHING}}) as guarded:
        admitting(guarded, allowed_trigger_types=types)
        provider = await _provider(guarded, "a", "b")
        worker = await guarded.enter(announcement=MODERN)
        for name in "ab":
            await worker.trigger(f"t-{name}", name, "shop::x", config={})
        assert await worker.fence() == []
        offered = [message["trigger_type"] for message in await provider.fence()]
        assert "".join(offered) == bound
        for name in "ab":
            wanted = {"trigger_type": name, "function_id": "shop::x"}
            made = await worker.outcome(await worker.invoke("engine::register_trigger", wanted), within=60)
            assert ("error" in made) == (name not in bound)
            assert name in bound or made["error"]["code"] == "FORBIDDEN"


async def test_a_trigger_fires_only_what_the_session_may_call(autojump_clock: MockClock) -> None:
    # 11.7, 7.7: said in a registration result, or as the error of the call
    rbac = {"expose_functions": ['match("shop::*")', 'match("engine::*")', {"match": "n::*", "namespace": "n"}]}
    async with open_guarded({"rbac": rbac}) as guarded:
        provider = await _provider(guarded, "hook")
        worker = await guarded.enter(announcement=MODERN)
        await worker.trigger("t1", "hook", "shop::x", config={})
        await worker.trigger("t2", "hook", "n::x", config={}, namespace="n")
        assert await worker.fence() == []
        denied = [("t3", "hidden::x", None), ("t4", "shop::x", "n"), ("t5", "engine::register_trigger", None)]
        for trigger_id, function_id, namespace in denied:
            await worker.trigger(trigger_id, "hook", function_id, config={}, namespace=namespace)
            (said,) = await worker.fence()
            assert said["error"].pop("message")
            assert said == {
                "type": "triggerregistrationresult",
                "id": trigger_id,
                "trigger_type": "hook",
                "function_id": function_id,
                "error": {"code": "FORBIDDEN"},
            }
            assert trigger(guarded, trigger_id) is None
        for config in ({"condition_function_id": "hidden::if"}, {"middleware_function_ids": ["shop::m", "hidden::m"]}):
            await worker.trigger("t3", "hook", "shop::x", config=config)
            (said,) = await worker.fence()
            assert said["error"]["code"] == "FORBIDDEN"
            wanted = {"trigger_type": "hook", "function_id": "shop::x", "config": config}
            assert (await worker.error("engine::register_trigger", wanted))["code"] == "FORBIDDEN"
        for config in (
            {"condition_function_id": "shop::if"},
            {"condition_function_id": 5, "middleware_function_ids": 5},
        ):
            await worker.trigger("t7", "hook", "shop::x", config=config)
        assert await worker.fence() == []
        await worker.trigger("t6", "hook", "shop::x", config={}, namespace=" ")
        assert (await worker.hear("triggerregistrationresult"))["error"]["code"] == "INVALID_NAMESPACE"
        for function_id in ("hidden::x", "engine::unregister_trigger"):
            wanted = {"trigger_type": "hook", "function_id": function_id}
            assert (await worker.error("engine::register_trigger", wanted))["code"] == "FORBIDDEN"
        assert [message["id"] for message in await provider.fence()] == ["t1", "t2", "t7", "t7"]


async def test_a_worker_ends_only_triggers_of_its_own(autojump_clock: MockClock) -> None:
    # 2.10: on a listener with rbac; anybody's elsewhere
    async with open_guarded(
        {"rbac": {"expose_functions": ['match("shop::*")', 'match("engine::*")']}}, {"middleware_function_id": "m"}
    ) as guarded:
        await _provider(guarded, "hook")
        other = await guarded.world.connect()
        await other.trigger("theirs", "hook", "shop::x", config={})
        await other.trigger("hidden", "hook", "secret::x", config={})
        await other.fence()
        worker = await guarded.enter()
        await worker.trigger("mine", "hook", "shop::x", config={})
        for name in ("theirs", "mine", "nobodys"):
            await worker.say(type="unregistertrigger", id=name)
        assert await worker.fence() == []
        assert trigger(guarded, "theirs") is not None
        assert trigger(guarded, "mine") is None
        end = "engine::unregister_trigger"
        assert (await worker.error(end, {"id": "theirs"}))["code"] == "FORBIDDEN"
        assert await worker.value(end, {"id": "nobodys"}) == {"removed": False}
        made = await worker.invoke("engine::register_trigger", {"trigger_type": "none", "function_id": "shop::x"})
        durable = (await worker.outcome(made))["result"]["id"]
        assert await worker.value(end, {"id": durable}) == {"removed": True}
        trigger(guarded, "hidden").registrant = None  # as if made by `engine::register_trigger`
        assert (await worker.error(end, {"id": "hidden"}))["code"] == "FORBIDDEN"
        passing = await guarded.enter(2)
        await passing.say(type="unregistertrigger", id="theirs")
        await passing.fence()
        assert trigger(guarded, "theirs") is None


async def test_a_trigger_of_somebody_else_is_not_replaced_by_another_one(autojump_clock: MockClock) -> None:
    # a reconnected worker says the same again (wire 106), an intruder something else
    async with open_guarded({"rbac": {"expose_functions": EVERYTHING}}) as guarded:
        await _provider(guarded, "hook", "other")
        first, second = await guarded.enter(announcement=LEGACY), await guarded.enter(announcement=LEGACY)
        await first.trigger("t", "hook", "shop::x", config={"a": 1})
        await first.fence()
        for type_id, function_id in (("other", "shop::x"), ("hook", "shop::y")):
            await second.trigger("t", type_id, function_id, config={})
            (said,) = await second.fence()
            assert said["error"]["code"] == "FORBIDDEN"
        await second.trigger("t", "hook", "shop::x", config={"a": 1})
        assert await second.fence() == []
        await guarded.world.leave(first)
        assert trigger(guarded, "t") is not None


# --- the prefix -------------------------------------------------------------------------------------------------------


async def test_a_prefix(autojump_clock: MockClock) -> None:
    # wire 83
    rbac = {"auth_function_id": GUARD, "expose_functions": ['match("p::*")', 'match("engine::*")']}
    async with open_guarded({"rbac": rbac}) as guarded:
        admitting(guarded, function_registration_prefix="p")
        provider = await _provider(guarded, "hook")
        worker = await guarded.enter(announcement=MODERN)
        await worker.register("mine", "p::other")
        await worker.fence()
        caller = await guarded.world.connect()
        listed = {row["function_id"] for row in of_others((await caller.value("engine::functions::list"))["functions"])}
        assert listed == {GUARD, "p::mine", "p::p::other"}
        assert (await caller.error("mine"))["code"] == "function_not_found"
        invocation_id = await caller.invoke("p::mine", {"a": 1})
        call = await worker.serve_one("mine", result=1)
        assert call["data"]["a"] == 1
        assert (await caller.outcome(invocation_id))["function_id"] == "p::mine"
        assert await guarded.code(worker, "mine") == "FORBIDDEN"
        own = await worker.invoke("p::mine")
        await worker.serve_one("mine", result=2)
        assert (await worker.outcome(own))["result"] == 2
        await worker.trigger("t1", "hook", "mine", config={})
        await worker.trigger("t2", "hook", "p::mine", config={})
        wanted = {"trigger_type": "parked", "function_id": "mine"}
        durable = (await worker.value("engine::register_trigger", wanted))["id"]
        assert trigger(guarded, durable).function_id == "p::mine"
        assert await worker.fence() == []
        offered = {message["id"]: message["function_id"] for message in await provider.fence()}
        assert offered == {"t1": "p::mine", "t2": "p::p::mine"}
        invocation_id = await provider.invoke(offered["t1"], {})
        await worker.serve_one("mine", result=3)
        assert (await provider.outcome(invocation_id))["result"] == 3
        for name in ("mine", "p::other"):
            await worker.say(type="unregisterfunction", id=name)
        await worker.fence()
        assert not guarded.has("p::mine")
        assert not guarded.has("p::p::other")


async def test_a_prefix_goes_before_what_the_hook_says(autojump_clock: MockClock) -> None:
    # 11.8
    async with open_guarded(hooked(auth_function_id=GUARD)) as guarded:
        hooks(guarded)
        guarded.script(ON_FUNCTION, lambda asked: {"function_id": asked["function_id"].upper()})
        admitting(guarded, function_registration_prefix="p")
        worker = await guarded.enter(announcement=MODERN)
        await worker.register("mine")
        await worker.fence()
        assert [asked["function_id"] for asked in guarded.asked[ON_FUNCTION]] == ["mine"]
        caller = await guarded.world.connect()
        await caller.invoke("p::MINE")
        assert await worker.invoked("mine")


# --- who guards the guards --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [GUARD, *ASK.values(), "gate::proxy"])
async def test_the_guarded_cannot_take_the_place_of_who_guards(autojump_clock: MockClock, name: str) -> None:
    # although the last registration of a legacy worker counts (4.2)
    plain: Json = {"rbac": {}}
    authenticated = {"rbac": {"auth_function_id": GUARD, **ASK}, "middleware_function_id": "gate::proxy"}
    async with open_guarded(plain, authenticated) as guarded:
        gate = await guarded.offer(name)
        intruder = await guarded.enter(announcement=LEGACY)
        await intruder.register(name, "shop::x")
        await intruder.fence()
        function = guarded.engine.kernel.functions.find("default", name)
        assert function is not None
        assert function.owner.id == gate.id
        assert guarded.has("shop::x")


async def test_who_was_let_in_cannot_guard(autojump_clock: MockClock) -> None:
    # not even while nobody does: the next newcomer would be judged by a peer
    config = {"rbac": {"auth_function_id": GUARD}, "middleware_function_id": "gate::proxy"}
    async with open_guarded(config, {"middleware_function_id": "gate::proxy"}, {"rbac": {}}) as guarded:
        guarded.script(GUARD)
        intruder = await guarded.enter(announcement=MODERN)
        guarded.engine.unregister(GUARD)
        await intruder.register(GUARD, "gate::proxy")
        assert await intruder.fence() == []
        assert not guarded.has(GUARD)
        assert not guarded.has("gate::proxy")
        for number in (2, 3):  # where nobody was authenticated, the first one may
            server = await guarded.enter(number, announcement={**MODERN, "name": f"s{number}"})
            await server.register("gate::proxy")
            await server.fence()
            assert guarded.has("gate::proxy")
            await guarded.world.leave(server)
