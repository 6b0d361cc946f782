"""`engine::workers-available` and `engine::functions-available`, over a kernel in memory."""

import trio
from engine_functions_world import fires, open_world, outlet_of

from iii_trio.kernel import Function, FunctionRegistry
from iii_trio.modules.engine_functions import FUNCTIONS_AVAILABLE, WORKERS_AVAILABLE, FeedStatistics
from iii_trio.protocol.messages import Announcement


def subscribe(world, worker, kind, trigger_id="sub", **details):
    world.offers(worker, f"on::{trigger_id}")
    trigger = {"id": trigger_id, "trigger_type": kind, "function_id": f"on::{trigger_id}"}
    world.say(worker, {"type": "registertrigger", **trigger, **details})


def event(name, worker):
    return {"event": name, "worker_id": worker.id}


async def test_workers_available_tells_of_a_worker_in_order():  # wire 13
    async with open_world() as world:
        listener = world.worker("listener")
        subscribe(world, listener, WORKERS_AVAILABLE, metadata={"m": 1})
        other = world.kernel.connect()
        world.kernel.announce(other, Announcement(name="o"))
        world.kernel.announce(other, Announcement(name="o"))
        world.kernel.disconnect(other)
        await trio.testing.wait_all_tasks_blocked()
        assert fires(listener) == [
            event("worker_connected", other),
            event("worker_metadata_updated", other),
            event("worker_metadata_updated", other),
            event("worker_disconnected", other),
        ]
        call = outlet_of(listener).of_type("invokefunction")[0]
        assert (call["function_id"], call["metadata"]) == ("on::sub", {"m": 1})
        assert sorted(call) == ["data", "function_id", "invocation_id", "metadata", "type"]


async def test_workers_available_fires_into_the_trigger_s_namespace_and_engine_functions():
    async with open_world() as world:
        listener = world.worker("listener", namespace="eu")
        subscribe(world, listener, WORKERS_AVAILABLE, namespace="eu")
        heard = []

        async def handler(call):
            await trio.lowlevel.checkpoint()
            heard.append(call.payload.value)

        world.kernel.functions.add(Function("local::on", world.module.owner, handler=handler))
        trigger = {"id": "local", "trigger_type": WORKERS_AVAILABLE, "function_id": "local::on"}
        world.say(listener, {"type": "registertrigger", **trigger})
        other = world.kernel.connect()
        await trio.testing.wait_all_tasks_blocked()
        assert fires(listener) == heard == [event("worker_connected", other)]


async def test_a_missing_target_harms_nobody():
    async with open_world() as world:
        listener = world.worker("listener")
        trigger = {"id": "broken", "trigger_type": WORKERS_AVAILABLE, "function_id": "no::such"}
        world.say(listener, {"type": "registertrigger", **trigger})
        subscribe(world, listener, WORKERS_AVAILABLE)
        world.kernel.connect()
        await trio.testing.wait_all_tasks_blocked()
        world.kernel.connect()
        await trio.testing.wait_all_tasks_blocked()
        assert len(fires(listener)) == 2


async def test_a_stuck_subscriber_loses_its_oldest_events_and_delays_nobody(caplog):
    async with open_world() as world:
        stuck, lively = world.worker("stuck"), world.worker("lively")
        subscribe(world, stuck, WORKERS_AVAILABLE, "stuck")
        subscribe(world, lively, WORKERS_AVAILABLE, "lively")
        outlet_of(stuck).is_full = True
        first = world.kernel.connect()
        await trio.testing.wait_all_tasks_blocked()
        assert fires(lively) == [event("worker_connected", first)]
        others = []
        for _ in range(1_003):
            others.append(world.kernel.connect())
            await trio.testing.wait_all_tasks_blocked()
        assert fires(lively)[1:] == [event("worker_connected", worker) for worker in others]
        assert [record.args for record in caplog.records if "is behind" in record.message] == [
            ("stuck", 1),
            ("stuck", 2),
        ]
        assert world.module.statistics().workers_available == FeedStatistics(subscribers=2, dropped=3)
        outlet_of(stuck).is_full = False
        outlet_of(stuck).room.set()
        await trio.testing.wait_all_tasks_blocked()
        assert fires(stuck) == [event("worker_connected", worker) for worker in (first, *others[3:])]


async def test_a_removed_trigger_hears_no_more_and_the_kernel_is_left_alone():
    async with open_world() as world:
        listener = world.worker("listener")
        subscribe(world, listener, WORKERS_AVAILABLE, "one")
        subscribe(world, listener, WORKERS_AVAILABLE, "two")
        world.say(listener, {"type": "unregistertrigger", "id": "one", "trigger_type": WORKERS_AVAILABLE})
        world.kernel.connect()
        await trio.testing.wait_all_tasks_blocked()
        assert [call["function_id"] for call in outlet_of(listener).of_type("invokefunction")] == ["on::two"]
        assert len(world.kernel.events.listeners) == 1
        world.kernel.disconnect(listener)
        assert world.kernel.events.listeners == []
        assert world.module.statistics().workers_available.subscribers == 0


async def test_subscribers_are_served_again_after_a_restart():
    async with open_world() as world:
        listener = world.worker("listener")
        subscribe(world, listener, WORKERS_AVAILABLE)
        world.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert world.kernel.events.listeners == []
        assert world.kernel.statistics().triggers.parked == 1
        world.kernel.connect()
        await world.nursery.start(world.module.run, world.kernel)
        other = world.kernel.connect()
        await trio.testing.wait_all_tasks_blocked()
        assert fires(listener) == [event("worker_connected", other)]


async def test_functions_available_tells_the_whole_list_after_a_change(autojump_clock):  # wire 98
    async with open_world() as world:
        listener = world.worker("listener")
        subscribe(world, listener, FUNCTIONS_AVAILABLE)
        await trio.sleep(5.5)
        assert len(fires(listener)) == 1
        world.offers(world.worker("other"), "o::new", description="d", metadata={"internal": True})
        await trio.sleep(5)
        [_, data] = fires(listener)
        assert sorted(data) == ["event", "functions"]
        assert data["event"] == "functions_changed"
        everything = await world.ask("functions::list", {"include_internal": True})
        assert data["functions"] == everything["functions"]
        row = {"function_id": "o::new", "worker_name": "other", "namespace": "default", "description": "d"}
        assert {**row, "metadata": {"internal": True}} in data["functions"]


async def test_functions_available_sees_ids_only_and_no_change_that_cancels_out(autojump_clock):
    async with open_world() as world:
        listener, other = world.worker("listener"), world.worker("other")
        subscribe(world, listener, FUNCTIONS_AVAILABLE)
        world.offers(other, "o::f")
        await trio.sleep(5.5)
        assert len(fires(listener)) == 1
        world.offers(other, "o::f", description="changed")
        world.offers(other, "o::fleeting")
        world.say(other, {"type": "unregisterfunction", "id": "o::fleeting"})
        await trio.sleep(20)
        assert len(fires(listener)) == 1
        world.kernel.disconnect(other)
        await trio.sleep(5)
        ids = [row["function_id"] for row in fires(listener)[1]["functions"]]
        assert "o::f" not in ids
        assert "on::sub" in ids


async def test_functions_available_speaks_to_the_target_s_sdk(autojump_clock):  # wire 95
    async with open_world() as world:
        old, new, twin = world.worker("old", version="0.9.4"), world.worker("new"), world.worker("twin")
        for worker in (old, new, twin):
            subscribe(world, worker, FUNCTIONS_AVAILABLE, worker.name)
        await trio.sleep(6)
        [for_old], [for_new] = fires(old), fires(new)
        assert fires(twin) == [for_new]
        assert {tuple(sorted(row)) for row in for_old["functions"]} == {
            ("description", "function_id", "metadata", "request_format", "response_format")
        }
        assert {row["request_format"] for row in for_old["functions"]} == {None}
        assert {row["worker_name"] for row in for_new["functions"]} == {"old", "new", "twin", "iii-engine-functions"}


async def test_functions_available_polls_only_for_subscribers(autojump_clock):
    async with open_world() as world:
        listener = world.worker("listener")
        subscribe(world, listener, FUNCTIONS_AVAILABLE)
        await trio.sleep(5.5)
        world.say(listener, {"type": "unregistertrigger", "id": "sub"})
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline > 50  # only the sweep of the channels
        subscribe(world, listener, FUNCTIONS_AVAILABLE)
        await trio.sleep(5.5)
        assert len(fires(listener)) == 2


async def test_functions_available_skips_lists_that_are_out_of_date(autojump_clock):
    async with open_world() as world:
        listener, other = world.worker("listener"), world.worker("other")
        subscribe(world, listener, FUNCTIONS_AVAILABLE)
        outlet_of(listener).is_full = True
        await trio.sleep(6)
        for number in range(3):
            world.offers(other, f"o::{number}")
            await trio.sleep(5)
        outlet_of(listener).is_full = False
        outlet_of(listener).room.set()
        await trio.testing.wait_all_tasks_blocked()
        sizes = [sum(row["function_id"].startswith("o::") for row in data["functions"]) for data in fires(listener)]
        assert sizes == [0, 3]
        assert world.module.statistics().functions_available.dropped == 2


async def test_functions_available_does_not_go_through_the_functions_while_none_changes(autojump_clock, monkeypatch):
    def refuse(_):
        raise AssertionError("gone through without need")

    async with open_world() as world:
        listener = world.worker("listener")
        subscribe(world, listener, FUNCTIONS_AVAILABLE)
        await trio.sleep(5.5)
        with monkeypatch.context() as patch:
            patch.setattr(FunctionRegistry, "__iter__", refuse)
            await trio.sleep(60)
        world.offers(listener, "on::another")
        await trio.sleep(5)
        assert len(fires(listener)) == 2
