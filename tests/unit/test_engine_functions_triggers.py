"""Trigger types, triggers, and triggers registered by calling a function, over a kernel in memory."""

import pytest
import trio
from engine_functions_world import open_world, outlet_of

from iii_trio.protocol import ErrorBody
from iii_trio.protocol.errors import IIIError, InvocationError, NotFound, TriggerRejected

TYPES = ["engine::functions-available", "engine::workers-available"]
LONG = {"long": "x" * 100, "é": 1}


@pytest.fixture
async def world():
    """A provider `wp` of type `custom`, a worker `wa` with a function, and triggers: live, parked, orphaned, internal."""
    async with open_world() as opened:
        provider, worker = opened.worker("wp"), opened.worker("wa")
        opened.provider, opened.registrant = provider, worker
        opened.say(
            provider,
            {
                "type": "registertriggertype",
                "id": "custom",
                "description": "Own things",
                "trigger_request_format": {"title": "cfg"},
                "call_request_format": {"type": "string"},
            },
        )
        opened.offers(worker, "a::f", description="d")
        for trigger_id, kind, target, config in (
            ("live", "custom", "a::f", LONG),
            ("gone", "custom", "b::gone", {}),
            ("parked", "unknown", "a::f", {}),
            ("internal", "custom", "engine::workers::list", {}),
        ):
            trigger = {"id": trigger_id, "trigger_type": kind, "function_id": target, "config": config}
            opened.say(worker, {"type": "registertrigger", **trigger, **({"metadata": {"m": 1}} if config else {})})
        yield opened


def ids(rows):
    return [row["id"] for row in rows]


async def test_triggers_list_gives_types_to_new_callers(world):  # wire 96
    row = {"id": "custom", "namespace": "default", "worker_name": "wp", "description": "Own things"}
    assert await world.ask("triggers::list", caller=world.registrant) == {"triggers": [row]}
    assert await world.ask("triggers::list") == {"triggers": [row]}
    everything = (await world.ask("triggers::list", {"include_internal": True}))["triggers"]
    assert ids(everything) == ["custom", *TYPES]
    assert {row["worker_name"] for row in everything[1:]} == {"engine"}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"search": "CUSTOM"}, ["custom"]),
        ({"search": "own"}, ["custom"]),
        ({"search": "zz"}, []),
        ({"search": ""}, ["custom"]),
        ({"prefix": "cus"}, ["custom"]),
        ({"prefix": "ust"}, []),
        ({"worker": "wp"}, ["custom"]),
        ({"worker": "wa"}, []),
        ({"worker": "engine", "include_internal": True}, TYPES),
    ],
)
async def test_triggers_list_filters_types(world, asked, found):  # wire 96
    assert ids((await world.ask("triggers::list", asked))["triggers"]) == found
    assert ids((await world.ask("trigger-types::list", asked))["trigger_types"]) == found


@pytest.mark.parametrize(("version", "shape"), [("0.9.1", "old"), ("0.12.0", "old"), ("0.13.0", "new")])
async def test_triggers_list_gives_instances_to_old_sdks(world, version, shape):  # wire 96
    caller = world.worker("c", version=version)
    rows = (await world.ask("triggers::list", caller=caller))["triggers"]
    if shape == "new":
        assert ids(rows) == ["custom"]
        return
    assert rows == [
        {"id": "gone", "trigger_type": "custom", "function_id": "b::gone", "config": {}},
        {"id": "live", "trigger_type": "custom", "function_id": "a::f", "config": LONG, "metadata": {"m": 1}},
    ]
    rows = (await world.ask("triggers::list", {"include_internal": True}, caller=caller))["triggers"]
    assert ids(rows) == ["gone", "internal", "live"]


async def test_trigger_types_list_is_there_for_everybody(world):  # wire 96
    row = {
        "id": "custom",
        "description": "Own things",
        "trigger_request_format": {"title": "cfg"},
        "call_request_format": {"type": "string"},
    }
    for caller in (None, world.registrant, world.worker("old", version="0.11.6")):
        assert await world.ask("trigger-types::list", caller=caller) == {"trigger_types": [row]}
    everything = await world.ask("trigger-types::list", {"include_internal": True})
    assert [sorted(row) for row in everything["trigger_types"][1:]] == [["description", "id"]] * 2


async def test_a_withdrawn_type_is_not_listed_and_comes_back(world):  # wire 60
    world.say(world.provider, {"type": "unregistertriggertype", "id": "custom"})
    assert (await world.ask("triggers::list"))["triggers"] == []
    assert (await world.ask("registered-triggers::list"))["registered_triggers"] == []
    world.say(world.provider, {"type": "registertriggertype", "id": "custom", "description": "again"})
    assert ids((await world.ask("triggers::list"))["triggers"]) == ["custom"]
    assert ids((await world.ask("registered-triggers::list"))["registered_triggers"]) == ["gone", "live"]


async def test_triggers_info_describes_a_type(world):  # wire 97
    expected = {
        "id": "custom",
        "namespace": "default",
        "worker_name": "wp",
        "description": "Own things",
        "configuration_schema": {"title": "cfg"},
        "request_schema": {"type": "string"},
        "instance_count": 3,
    }
    assert await world.ask("triggers::info", {"id": "custom"}) == expected
    assert await world.ask("triggers::info", {"id": "custom", "namespace": "default"}) == expected
    for asked in ({"id": "unknown"}, {"id": "custom", "namespace": "zz"}, {"id": "custom", "namespace": " "}):
        with pytest.raises(NotFound):
            await world.ask("triggers::info", asked)


async def test_registered_triggers_list_names_the_owner_of_the_target(world):  # wire 97
    rows = (await world.ask("registered-triggers::list"))["registered_triggers"]
    assert rows == [
        {"id": "gone", "trigger_type": "custom", "function_id": "b::gone", "worker_name": "b", "config": {}, "config_summary": "{}"},
        {
            "id": "live",
            "trigger_type": "custom",
            "function_id": "a::f",
            "worker_name": "wa",
            "config": LONG,
            "config_summary": '{"long":"' + "x" * 71 + "…",
        },
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"search": "GON"}, ["gone"]),
        ({"search": "a::"}, ["live"]),
        ({"search": "custom"}, ["gone", "live"]),
        ({"trigger_type": "custom"}, ["gone", "live"]),
        ({"trigger_type": "cust"}, []),
        ({"function_id": "a::f"}, ["live"]),
        ({"worker": "wa"}, ["live"]),
        ({"worker": "b"}, ["gone"]),
        ({"worker": "wp"}, []),
        ({"include_internal": True}, ["gone", "internal", "live"]),
        ({"include_internal": True, "worker": "iii-engine-functions"}, ["internal"]),
    ],
)
async def test_registered_triggers_list_filters(world, asked, found):  # wire 97
    assert ids((await world.ask("registered-triggers::list", asked))["registered_triggers"]) == found


async def test_registered_triggers_info_describes_trigger_type_and_function(world):  # wire 97
    kind = await world.ask("triggers::info", {"id": "custom"})
    function = await world.ask("functions::info", {"function_id": "a::f"})
    assert function["registered_triggers"] == [{"id": "live", "trigger_type": "custom", "config": LONG}]
    assert await world.ask("registered-triggers::info", {"id": "live"}) == {
        "id": "live",
        "trigger_type": "custom",
        "function_id": "a::f",
        "worker_name": "wa",
        "config": LONG,
        "metadata": {"m": 1},
        "trigger": kind,
        "function": function,
    }
    gone = await world.ask("registered-triggers::info", {"id": "gone"})
    assert (gone["function"], gone["worker_name"], "metadata" in gone) == (None, "b", False)
    for trigger_id in ("parked", "zz"):
        with pytest.raises(NotFound):
            await world.ask("registered-triggers::info", {"id": trigger_id})


async def test_triggers_stay_listed_without_their_function(world):  # wire 24
    world.say(world.registrant, {"type": "unregisterfunction", "id": "a::f"})
    rows = (await world.ask("registered-triggers::list", {"function_id": "a::f"}))["registered_triggers"]
    assert [(row["id"], row["worker_name"]) for row in rows] == [("live", "a")]


# --- engine::register_trigger ---------------------------------------------------------------------------------------------


async def register(world, caller=None, **asked):
    """Ask for a trigger of type `custom`; returns the reply's future outcome as a channel of one."""
    send, receive = trio.open_memory_channel(1)

    async def run():
        with send:
            try:
                await send.send(
                    await world.ask(
                        "register_trigger", {"trigger_type": "custom", "function_id": "a::f", **asked}, caller
                    )
                )
            except InvocationError as error:
                await send.send((error.code, error.message))

    world.nursery.start_soon(run)
    await trio.testing.wait_all_tasks_blocked()
    return receive


def offered(world):
    """The last trigger the provider was offered."""
    return outlet_of(world.provider).of_type("registertrigger")[-1]


async def test_a_trigger_by_function_outlives_its_caller(world, autojump_clock):  # wire 62
    caller = world.worker("c")
    reply = await register(world, caller, config={"x": 1}, metadata={"m": 1})
    trigger_id = offered(world)["id"]
    assert offered(world) == {
        "type": "registertrigger",
        "id": trigger_id,
        "trigger_type": "custom",
        "function_id": "a::f",
        "config": {"x": 1},
        "metadata": {"m": 1},
    }
    world.kernel.triggers.accepted_by_provider(world.provider, trigger_id)
    started = trio.current_time()
    assert await reply.receive() == {"id": trigger_id}
    assert trio.current_time() == started
    world.kernel.disconnect(caller)
    assert outlet_of(world.provider).of_type("unregistertrigger") == []
    assert await world.ask("unregister_trigger", {"id": trigger_id, "trigger_type": "custom"}) == {"removed": True}
    assert [told["id"] for told in outlet_of(world.provider).of_type("unregistertrigger")] == [trigger_id]
    assert await world.ask("unregister_trigger", {"id": trigger_id}) == {"removed": False}


async def test_a_silent_provider_is_taken_to_agree_after_ten_seconds(world, autojump_clock):
    started = trio.current_time()
    reply = await register(world)
    assert offered(world)["config"] is None
    world.kernel.triggers.accepted_by_provider(world.provider, "another")
    answer = await reply.receive()
    assert answer == {"id": offered(world)["id"]}
    assert trio.current_time() - started == 10
    assert world.kernel.triggers.get(answer["id"]).registrant is None


async def test_a_refusal_is_quoted_and_leaves_no_trigger(world, autojump_clock):
    before = world.kernel.statistics().triggers
    reply = await register(world)
    world.kernel.triggers.refused_by_provider(world.provider, offered(world)["id"], ErrorBody("X", "y"))
    assert await reply.receive() == ("trigger_registration_failed", "X: y")
    assert world.kernel.statistics().triggers == before


async def test_a_refusal_inside_the_engine_is_told_at_once(world):
    def bind(trigger):
        raise TriggerRejected(f"bad config {trigger.config.value}")

    with world.kernel.triggers.serve("local", bind, owner=world.module.owner):
        with pytest.raises(InvocationError) as refused:
            await world.ask("register_trigger", {"trigger_type": "local", "function_id": "a::f", "config": [1]})
        assert (refused.value.code, refused.value.message) == ("trigger_registration_failed", "bad config [1]")
        rows = await world.ask("registered-triggers::list", {"trigger_type": "local"})
        assert rows == {"registered_triggers": []}


async def test_a_type_inside_the_engine_answers_at_once(world):
    unbound = []
    with world.kernel.triggers.serve(
        "local", lambda trigger: lambda: unbound.append(trigger.id), owner=world.module.owner
    ):
        answer = await world.ask("register_trigger", {"trigger_type": "local", "function_id": "a::f"})
        assert await world.ask("unregister_trigger", {"id": answer["id"]}) == {"removed": True}
    assert unbound == [answer["id"]]


@pytest.mark.parametrize(
    "asked", [{"trigger_type": "unknown"}, {"trigger_namespace": " "}, {"trigger_namespace": "zz"}]
)
async def test_a_trigger_without_provider_is_parked(world, asked):
    parked = world.kernel.statistics().triggers.parked
    answer = await world.ask("register_trigger", {"trigger_type": "custom", "function_id": "a::f", **asked})
    assert world.kernel.statistics().triggers.parked == parked + 1
    assert await world.ask("unregister_trigger", {"id": answer["id"]}) == {"removed": True}


async def test_the_target_namespace_is_default(world, autojump_clock):
    caller = world.worker("c", namespace="eu")
    reply = await register(world, caller, namespace=" ")
    answer = await reply.receive()
    trigger = world.kernel.triggers.get(answer["id"])
    assert (trigger.namespace, trigger.trigger_namespace) == ("default", None)


async def test_a_provider_that_cannot_let_go_is_reported(world):
    def bind(_):
        def unbind():
            raise IIIError("stuck")

        return unbind

    with world.kernel.triggers.serve("local", bind, owner=world.module.owner):
        answer = await world.ask("register_trigger", {"trigger_type": "local", "function_id": "a::f"})
        with pytest.raises(InvocationError) as failed:
            await world.ask("unregister_trigger", {"id": answer["id"]})
    assert (failed.value.code, failed.value.message) == ("unregister_failed", "stuck")
