"""What all functions of the engine itself share: input, schemas, protection, restart; and the supervision tree."""

import pytest
import trio
from engine_functions_world import BUILT_IN, add_module_function, fits, ids, open_world, outlet_of

from actors import Crashed, Finished, Node, Stopped
from iii_trio.kernel import ModuleOwner
from iii_trio.modules.engine_functions import ModuleRow
from iii_trio.protocol.errors import InputRejected, InvocationError


@pytest.mark.parametrize("function_id", BUILT_IN)
@pytest.mark.parametrize("data", [None, "text", 5])
async def test_input_that_is_no_object_is_refused(function_id, data):  # wire 41
    async with open_world() as world:
        worker = world.worker("w")
        world.call_over_wire(worker, function_id, data, invocation_id="abc")
        await trio.testing.wait_all_tasks_blocked()
        [reply] = outlet_of(worker).of_type("invocationresult")
        assert reply["invocation_id"] == "abc"
        assert reply["error"]["code"] == "deserialization_error"
        assert reply["error"]["message"].startswith(f"Failed to deserialize input for {function_id}: ")


@pytest.mark.parametrize(
    ("function_id", "asked"),
    [
        ("functions::list", {"include_internal": "yes"}),
        ("functions::list", {"workers": ["a", 5]}),
        ("functions::info", {"function_id": 5}),
        ("workers::list", {"search": 1}),
        ("workers::info", {}),
        ("workers::info", {"name": None}),
        ("triggers::list", {"worker": []}),
        ("triggers::info", {}),
        ("registered-triggers::info", {"id": 1}),
        ("register_trigger", {}),
        ("register_trigger", {"trigger_type": "t"}),
        ("unregister_trigger", {}),
        ("functions::list", [None] * 6),
    ],
)
async def test_input_of_a_wrong_type_is_refused(function_id, asked):  # wire 41
    async with open_world() as world:
        with pytest.raises(InputRejected, match=f"Failed to deserialize input for engine::{function_id}: "):
            await world.ask(function_id, asked)


async def test_an_array_is_read_as_members_in_order():  # wire 41
    async with open_world() as world:
        world.offers(world.worker("w"), "w::f")
        assert ids(await world.ask("functions::list", [])) == ["w::f"]
        assert ids(await world.ask("functions::list", [True, None, "engine::functions"])) == [
            "engine::functions::info",
            "engine::functions::list",
        ]


async def test_null_members_count_as_absent():  # wire 90
    async with open_world() as world:
        world.offers(world.worker("w"), "w::f")
        asked = {"include_internal": None, "search": None, "prefix": None, "worker": None, "workers": None}
        assert ids(await world.ask("functions::list", asked)) == ["w::f"]


async def test_every_built_in_function_says_what_it_takes_and_gives():  # wire 93
    async with open_world() as world:
        for function_id in BUILT_IN:
            info = await world.ask("functions::info", {"function_id": function_id})
            assert info["description"].endswith(".")
            assert info["request_schema"]["type"] == "object"
            assert {"properties", "required"} <= set(info["request_schema"])
            assert info["response_schema"]
        listing = await world.ask("functions::info", {"function_id": "engine::functions::list"})
        assert list(listing["request_schema"]["properties"]) == [
            "include_internal",
            "search",
            "prefix",
            "worker",
            "workers",
        ]
        trigger = await world.ask("functions::info", {"function_id": "engine::register_trigger"})
        assert trigger["request_schema"]["required"] == ["trigger_type", "function_id"]


@pytest.mark.parametrize(
    ("function_id", "asked"),
    [
        ("functions::list", {"include_internal": True}),
        ("functions::info", {"function_id": "w::f"}),
        ("functions::info", {"function_ids": ["w::f", "nope"]}),
        ("workers::list", {}),
        ("workers::info", {"name": "w"}),
        ("workers::info", {"name": "iii-state"}),
        ("triggers::list", {"include_internal": True}),
        ("trigger-types::list", {"include_internal": True}),
        ("triggers::info", {"id": "custom"}),
        ("registered-triggers::list", {}),
        ("registered-triggers::info", {"id": "t"}),
        ("registered-triggers::info", {"id": "gone"}),
        ("register_trigger", {"trigger_type": "none", "function_id": "w::f"}),
        ("unregister_trigger", {"id": "t"}),
        ("workers::register", {"runtime": "x", "name": "w"}),
        ("supervisor::tree", {}),
    ],
)
async def test_answers_have_the_members_of_their_schema(function_id, asked):
    async with open_world(ModuleRow("iii-state", "iii-state")) as world:
        worker = world.worker("w")
        add_module_function(world.kernel, ModuleOwner("iii-state", "iii-state"), "state::get")
        world.say(
            worker, {"type": "registertriggertype", "id": "custom", "description": "d", "call_request_format": {}}
        )
        world.offers(worker, "w::f", description="d", metadata={"a": 1}, request_format={})
        for trigger_id, target in (("t", "w::f"), ("gone", "w::gone"), ("state", "state::get")):
            world.say(
                worker,
                {
                    "type": "registertrigger",
                    "id": trigger_id,
                    "trigger_type": "custom",
                    "function_id": target,
                    "metadata": 1,
                },
            )
        schema = world.kernel.functions.find("default", f"engine::{function_id}").response_format.value
        assert fits(await world.ask(function_id, asked, caller=worker), schema)


async def test_a_worker_cannot_take_a_built_in_function():  # wire 25
    async with open_world() as world:
        worker = world.worker("w")
        world.offers(worker, "engine::functions::list", description="mine")
        [told] = outlet_of(worker).of_type("registrationrejected")
        assert (told["code"], told["owner_worker_id"]) == ("FUNCTION_NAMESPACE_CONFLICT", "")
        world.kernel.disconnect(worker)
        assert (await world.ask("functions::list"))["functions"] == []


async def test_a_restart_keeps_the_functions():
    async with open_world() as world:
        world.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        world.module.owner.available = False
        with pytest.raises(InvocationError) as refused:
            await world.ask("functions::list")
        assert refused.value.code == "module_unavailable"
        world.module.owner.available = True
        await world.nursery.start(world.module.run, world.kernel)
        assert ids(await world.ask("functions::list", {"include_internal": True})) == [*BUILT_IN]


async def test_supervisor_tree_shows_every_node():
    crash = Crashed(ValueError("boom"))
    tree = Node(
        "root",
        "supervisor",
        strategy="one_for_one",
        restarts_in_window=1,
        children=(
            Node("root/a", "actor", state="restarting", incarnation=3, last_exit=crash, mailbox_depth=7),
            Node("root/b", "task", state="stopped", last_exit=Finished()),
            Node("root/c", "dynamic", last_exit=Stopped()),
        ),
    )
    async with open_world(tree=tree) as world:
        answer = await world.ask("supervisor::tree")
    plain = {
        "strategy": None,
        "state": "running",
        "incarnation": 1,
        "restarts_in_window": 0,
        "mailbox_depth": None,
        "children": [],
    }
    assert answer.pop("children") == [
        {
            **plain,
            "path": "root/a",
            "kind": "actor",
            "state": "restarting",
            "incarnation": 3,
            "mailbox_depth": 7,
            "last_exit": {"reason": "crashed", "error": "ValueError: boom"},
        },
        {
            **plain,
            "path": "root/b",
            "kind": "task",
            "state": "stopped",
            "last_exit": {"reason": "finished", "error": None},
        },
        {**plain, "path": "root/c", "kind": "dynamic", "last_exit": {"reason": "stopped", "error": None}},
    ]
    assert answer == {
        "path": "root",
        "kind": "supervisor",
        "strategy": "one_for_one",
        "state": "running",
        "incarnation": 1,
        "restarts_in_window": 1,
        "last_exit": None,
        "mailbox_depth": None,
    }
