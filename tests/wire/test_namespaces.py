"""Namespaces over the wire (wire-protocol 12, C2)."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock
from wire_client import LEGACY, MODERN, Client, World

REFUSED_MESSAGE = "registrationrejected"
REFUSED = "FUNCTION_NAMESPACE_CONFLICT"


async def _member(world: World, namespace: str | None, name: str, *function_ids: str) -> Client:
    worker = await world.connect(MODERN, name=name, namespace=namespace)
    await worker.register(*function_ids)
    await worker.fence()
    return worker


async def _answered_by(caller: Client, executor: Client, function_id: str, **more: Any) -> None:
    invocation_id = await caller.invoke(function_id, {}, **more)
    call = await executor.serve_one(function_id, result=executor.id)
    assert "namespace" not in call
    assert (await caller.outcome(invocation_id))["result"] == executor.id


async def test_one_id_lives_in_several_namespaces(world: World) -> None:
    # wire 86
    workers = {name: await _member(world, name, "same name", "orders::place") for name in ("b", "a")}
    caller = await world.connect()
    for name, worker in workers.items():
        await _answered_by(caller, worker, "orders::place", namespace=name)
    for namespace, said in ((None, "default"), ("default", "default"), ("c", "c"), (" a", " a")):
        error = await caller.error("orders::place", {}, namespace=namespace)
        assert error == {
            "code": "function_not_found",
            "message": f"Function orders::place not found in namespace {said}. It is registered in namespace(s): a, b.",
        }


async def test_a_call_means_default_and_not_the_callers_namespace(world: World) -> None:
    # wire 87
    home = await _member(world, "a", "home", "orders::place")
    default = await _member(world, None, "default", "orders::place")
    await _answered_by(home, default, "orders::place")
    await _answered_by(home, home, "orders::place", namespace="a")


async def test_early_registrations_move_to_the_announced_namespace(world: World) -> None:
    # wire 88
    provider, caller = await world.connect(), await world.connect()
    await provider.provide("webhook")
    await provider.fence()
    worker = await world.connect()
    await worker.register("early::one", "early::gone")
    await worker.trigger("t1", "webhook", "early::one", config={"n": 1})
    await worker.say(type="unregisterfunction", id="early::gone")
    await worker.provide("early-type")
    await worker.fence()
    await _answered_by(caller, worker, "early::one")  # provisional members of `default` (C2)
    assert (await worker.announce(MODERN, namespace="a"))["result"] == {"success": True}
    assert (await caller.error("early::one"))["message"].endswith("It is registered in namespace(s): a.")
    await _answered_by(caller, worker, "early::one", namespace="a")
    assert (await caller.error("early::gone", {}, namespace="a"))["code"] == "function_not_found"
    types = (await caller.value("engine::triggers::list", {}))["triggers"]
    found = [(row["id"], row["namespace"]) for row in types if row["id"] != "configuration"]
    assert found == [("early-type", "a"), ("webhook", "default")]
    assert [message["type"] for message in await provider.fence()][-1] == "registertrigger"
    listed = await caller.value("engine::registered-triggers::list", {})
    assert [row["id"] for row in listed["registered_triggers"]] == ["t1"]


async def test_a_worker_that_never_announces_is_served_in_default(
    memory_world: World, autojump_clock: MockClock
) -> None:
    # wire 88
    worker, caller = await memory_world.connect(), await memory_world.connect()
    await worker.register("raw::one")
    await worker.fence()
    await _answered_by(caller, worker, "raw::one")
    await trio.sleep(10)  # the grace: from now on its namespace is fixed
    await _answered_by(caller, worker, "raw::one")
    assert (await worker.announce(MODERN, namespace="a"))["result"] == {"success": True}
    await worker.register("raw::two")
    await worker.fence()
    await _answered_by(caller, worker, "raw::two")
    rows = (await caller.value("engine::workers::list", {}))["workers"]
    assert [row["namespace"] for row in rows if row["id"] == worker.id] == ["default"]


async def test_a_provisional_registration_displaces_nobody(memory_world: World, autojump_clock: MockClock) -> None:
    # C2 (a): it waits for the announcement, or for the grace
    world = memory_world
    caller = await world.connect()
    owner = await _member(world, None, "owner", "orders::place")
    namespaced, legacy, silent = [await world.connect() for _ in range(3)]
    for client in (namespaced, legacy, silent):
        await client.register("orders::place")
        assert await client.fence() == []
        await _answered_by(caller, owner, "orders::place")
    await namespaced.announce(MODERN, namespace="a")
    await _answered_by(caller, owner, "orders::place")
    await _answered_by(caller, namespaced, "orders::place", namespace="a")
    await legacy.announce(LEGACY)
    await _answered_by(caller, legacy, "orders::place")
    await trio.sleep(10)
    await silent.fence()
    await _answered_by(caller, silent, "orders::place")  # never announced: a legacy connection (C1)


@pytest.mark.parametrize("announced", ["a", None, "never"])
async def test_a_provisional_registration_gives_way_to_a_settled_worker(
    memory_world: World, autojump_clock: MockClock, announced: str | None
) -> None:
    # wire 23, 88: a worker that announces itself last (Python, Rust) must not keep others out of `default`
    early, owner, caller = [await memory_world.connect() for _ in range(3)]
    await early.register("orders::place", "early::one", description="first")
    await early.register("orders::place", description="last")
    await early.fence()
    await _answered_by(caller, early, "orders::place")
    await owner.announce(MODERN, name="owner")
    await owner.register("orders::place")
    assert await owner.fence() == []
    await _answered_by(caller, owner, "orders::place")
    assert await early.fence() == []
    if announced == "never":
        await trio.sleep(10)  # now a legacy connection (C1), and the later registration counts
        await _answered_by(caller, owner, "orders::place")
        await _answered_by(caller, early, "early::one")
        return
    await early.announce(MODERN, namespace=announced)
    conflicts = [message["type"] for message in await early.fence()]
    assert conflicts == ([REFUSED_MESSAGE] if announced is None else [])
    await _answered_by(caller, owner, "orders::place")
    await _answered_by(caller, early, "early::one", namespace=announced)
    if announced is not None:
        await _answered_by(caller, early, "orders::place", namespace=announced)
        told = await caller.value("engine::functions::info", {"function_id": "orders::place", "namespace": "a"})
        assert told["description"] == "last"


@pytest.mark.parametrize("announced", ["a", None, "withdrawn", "never"])
async def test_a_provisional_trigger_type_displaces_no_provider(
    memory_world: World, autojump_clock: MockClock, announced: str | None
) -> None:
    # wire 59, 92, C2 (a): who announces itself last must not take the triggers of `default` along
    world = memory_world
    provider, registrant, early = await world.connect(MODERN), await world.connect(MODERN), await world.connect()
    await provider.provide("webhook")
    await provider.fence()
    await registrant.trigger("t1", "webhook", "on::hook", config={})
    await registrant.fence()
    assert [message["id"] for message in await provider.fence()] == ["t1"]
    await early.provide("webhook")
    assert await early.fence() == []
    if announced == "withdrawn":
        await early.say(type="unregistertriggertype", id="webhook")
    if announced == "never":
        await trio.sleep(10)
    else:
        await early.announce(MODERN, namespace="a" if announced == "a" else None)
    takes_over = announced in {None, "never"}
    assert [message["id"] for message in await early.fence()] == (["t1"] if takes_over else [])
    rows = (await registrant.value("engine::triggers::list", {"prefix": "webhook"}))["triggers"]
    assert [row["namespace"] for row in rows] == (["a", "default"] if announced == "a" else ["default"])
    await world.leave(early)
    assert await provider.fence() == []
    listed = await registrant.value("engine::registered-triggers::list", {})
    assert len(listed["registered_triggers"]) == (0 if takes_over else 1)


async def test_modern_names_are_leased_per_namespace(world: World) -> None:
    # wire 89
    first = await world.connect(MODERN, name="billing")
    second = await world.connect()
    await second.register("second::one")
    await second.trigger("t1", "engine::workers-available", "second::one", config={})
    await second.invoke("engine::workers::register", {**MODERN, "name": "billing"})
    assert await second.wait_closed() == 1005
    assert second.backlog == [
        {
            "type": "registrationrejected",
            "code": "WORKER_NAMESPACE_CONFLICT",
            "namespace": "default",
            "worker_name": "billing",
            "owner_worker_id": first.id,
        }
    ]
    await world.connect(MODERN, name="billing", namespace="a")
    assert (await first.error("second::one"))["code"] == "function_not_found"
    assert await first.value("engine::registered-triggers::list", {}) == {"registered_triggers": []}
    await second.drop()
    await world.wait_closed("name_conflict")
    await world.leave(first)
    await world.connect(MODERN, name="billing")


async def test_legacy_workers_share_a_name(world: World) -> None:
    # wire 89
    clients = [await world.connect(announcement, name="host:1") for announcement in (MODERN, LEGACY, LEGACY)]
    for number, client in enumerate(clients):
        await client.register(f"own::{number}")
        assert await client.fence() == []
        await _answered_by(clients[0], client, f"own::{number}")


async def test_a_shared_name_is_held_until_the_last_one_has_left(world: World) -> None:
    # wire 89
    sharing = [await world.connect(LEGACY, name="host:1") for _ in range(2)]
    for gone in range(2):
        refused = await world.connect()
        await refused.invoke("engine::workers::register", {**MODERN, "name": "host:1"})
        assert await refused.wait_closed() == 1005
        assert refused.backlog[0]["owner_worker_id"] == sharing[gone].id
        await refused.drop()
        await world.leave(sharing[gone])
    await world.connect(MODERN, name="host:1")


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
async def test_a_blank_namespace_is_invalid_and_null_is_none(world: World, blank: str) -> None:
    # wire 90
    worker = await world.connect()
    assert (await worker.announce(MODERN, namespace=blank))["error"]["code"] == "INVALID_NAMESPACE"
    assert (await worker.error("any::one", {}, namespace=blank))["code"] == "INVALID_NAMESPACE"
    await worker.say(type="invokefunction", function_id="any::one", data={}, namespace=blank)
    await worker.say(type="registertriggertype", id="webhook", description="", namespace=blank)
    assert await worker.fence() == []
    for member in ("namespace", "trigger_namespace"):
        await worker.trigger("t1", "engine::workers-available", "any::one", config={}, **{member: blank})
        result = await worker.hear("triggerregistrationresult")
        assert (result["id"], result["error"]["code"]) == ("t1", "INVALID_NAMESPACE")
        assert f"`{member}`" in result["error"]["message"]
    assert (await worker.announce(MODERN, namespace=None))["result"] == {"success": True}
    await worker.trigger(
        "t2", "engine::workers-available", "any::one", config={}, namespace=None, trigger_namespace=None
    )
    await worker.provide("webhook", namespace=None)
    assert await worker.fence() == []
    assert (await worker.error("any::one", {}, namespace=None))["code"] == "function_not_found"
    triggers = (await worker.value("engine::registered-triggers::list", {}))["registered_triggers"]
    assert [row["id"] for row in triggers] == ["t2"]


async def test_reserved_ids_are_refused_in_other_namespaces(world: World) -> None:
    # wire 91
    worker = await world.connect(MODERN, namespace="a")
    await worker.register("engine::x")
    assert await worker.fence() == [
        {
            "type": "registrationrejected",
            "code": REFUSED,
            "namespace": "a",
            "function_id": "engine::x",
            "owner_worker_id": "",
        }
    ]


async def test_a_trigger_finds_the_provider_next_to_its_registrant(world: World) -> None:
    # wire 92
    registrant = await world.connect(MODERN, namespace="a")
    default, named = await world.connect(), await world.connect(MODERN, namespace="a")
    await default.provide("webhook")
    await default.fence()
    await registrant.trigger("free", "webhook", "on::hook", config={}, namespace="a")
    await registrant.trigger("fixed", "webhook", "on::hook", config={}, trigger_namespace="default")
    await registrant.trigger("parked", "webhook", "on::hook", config={}, trigger_namespace="b")
    assert await registrant.fence() == []
    offers = await default.fence()
    assert [(offer["id"], offer.get("namespace"), offer.get("trigger_namespace")) for offer in offers] == [
        ("free", "a", None),
        ("fixed", None, None),
    ]
    await named.provide("webhook")
    moved = await named.fence()
    assert [(offer["id"], offer["trigger_namespace"]) for offer in moved] == [("free", "a")]
    assert [(message["type"], message["id"]) for message in await default.fence()] == [("unregistertrigger", "free")]
    await world.leave(named)
    assert [(message["type"], message["id"]) for message in await default.fence()] == [("registertrigger", "free")]
    elsewhere = await world.connect()
    await elsewhere.provide("webhook", namespace="b")
    assert [offer["id"] for offer in await elsewhere.fence()] == ["parked"]


@pytest.mark.parametrize("namespace", ["", " "])
async def test_a_blank_namespace_is_not_the_default_one(
    memory_world: World, autojump_clock: MockClock, namespace: str
) -> None:
    # wire 90: even where `default` has the function
    owner, caller = await memory_world.connect(MODERN), await memory_world.connect(MODERN)
    await owner.register("orders::place")
    await owner.fence()
    call_id = "0d2f4c1e-7a6b-4a53-8f3e-2b7f5d9c1a22"
    await caller.say(
        type="invokefunction", function_id="orders::place", invocation_id=call_id, data={"a": 1}, namespace=namespace
    )
    (answer,) = await caller.fence()
    assert (answer["invocation_id"], answer["error"]["code"]) == (call_id, "INVALID_NAMESPACE")
    assert await owner.fence() == []
