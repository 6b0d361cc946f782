"""The announcement, `engine::workers::list` and `engine::workers::info`, over a kernel in memory."""

import pytest
import trio
from engine_functions_world import add_module_function, open_world, outlet_of

from iii_trio.kernel import ModuleOwner
from iii_trio.modules.engine_functions import ModuleRow
from iii_trio.protocol.errors import InputRejected, InvalidNamespace, InvocationError, NotFound

STATE = ModuleRow("iii-state", "iii-state", version="9.8.7", started_at=1_700_000_000.5, description="keeps state")


async def announce(world, worker, said, **members):
    """Announce over the wire and return what the worker got for it."""
    before = len(outlet_of(worker).messages)
    world.call_over_wire(worker, "engine::workers::register", said, **members)
    await trio.testing.wait_all_tasks_blocked()
    return outlet_of(worker).messages[before:]


def connect(world):
    worker = world.worker()
    worker.announced, worker.namespace, worker.pid = False, None, None
    return worker


async def row_of(world, worker):
    rows = (await world.ask("workers::list"))["workers"]
    return next((row for row in rows if row["id"] == worker.id), None)


async def test_an_announcement_shows_in_the_list(autojump_clock):  # wire 11, wire 12
    async with open_world() as world:
        await trio.sleep(2)
        worker = connect(world)
        other = world.worker("other")
        world.offers(worker, "w::f")
        assert await row_of(world, worker) is None
        said = {
            "runtime": "node",
            "version": "0.24.1",
            "name": "me",
            "os": "linux",
            "pid": 7,
            "isolation": "vm",
            "x": 1,
        }
        [reply] = await announce(world, worker, {**said, "_caller_worker_id": other.id}, invocation_id="i-1")
        assert reply["result"] == {"success": True}
        assert reply["invocation_id"] == "i-1"
        assert await row_of(world, worker) == {
            "id": worker.id,
            "name": "me",
            "runtime": "node",
            "version": "0.24.1",
            "os": "linux",
            "status": "connected",
            "connected_at_ms": int(world.kernel.clock.now() * 1000),
            "function_count": 1,
            "active_invocations": 0,
            "ip_address": None,
            "isolation": "vm",
            "description": None,
            "namespace": "default",
        }
        assert (await row_of(world, other))["name"] == "other"


async def test_a_void_announcement_is_not_answered():  # wire 12, wire 30
    async with open_world() as world:
        worker = connect(world)
        assert await announce(world, worker, {"name": "v", "pid": 1}, action={"type": "void"}) == []
        assert (await row_of(world, worker))["name"] == "v"


async def test_announced_names_are_cleaned():  # wire 20
    async with open_world() as world:
        worker, nameless = connect(world), connect(world)
        await announce(world, worker, {"pid": 1, "name": " a\x00\u2028b" + "c" * 400, "description": " d\x07 "})
        await announce(world, nameless, {"pid": 1, "name": " \x01 "})
        row = await row_of(world, worker)
        assert (row["name"][:3], len(row["name"]), row["description"]) == ("abc", 279, "d")
        assert (await row_of(world, nameless))["name"] is None


@pytest.mark.parametrize("namespace", ["", " "])
async def test_a_blank_namespace_is_refused(namespace):  # wire 90
    async with open_world() as world:
        worker = connect(world)
        [reply] = await announce(world, worker, {"namespace": namespace, "pid": 1}, invocation_id="i")
        assert reply["error"]["code"] == "INVALID_NAMESPACE"
        assert await row_of(world, worker) is None
        with pytest.raises(InvalidNamespace):
            await world.ask("workers::register", {"namespace": namespace}, caller=worker)


async def test_registrations_move_to_the_announced_namespace():  # wire 88
    async with open_world() as world:
        worker = connect(world)
        world.offers(worker, "w::f")
        await announce(world, worker, {"namespace": "eu", "pid": 1, "name": "w"})
        assert (await world.ask("functions::info", {"function_id": "w::f"}))["namespace"] == "eu"


async def test_a_second_claimant_of_a_name_is_dismissed_without_a_reply():  # wire 89
    async with open_world() as world:
        first, second = connect(world), connect(world)
        await announce(world, first, {"name": "n", "version": "0.23.0", "pid": 1})
        reasons = []
        end, second.close = second.close, reasons.append
        world.offers(second, "early::f")
        second.close = lambda reason: (reasons.append(reason), end(reason))
        told = await announce(world, second, {"name": "n", "version": "0.23.0", "pid": 2}, invocation_id="i")
        assert told == [
            {
                "type": "registrationrejected",
                "code": "WORKER_NAMESPACE_CONFLICT",
                "namespace": "default",
                "owner_worker_id": first.id,
                "worker_name": "n",
            }
        ]
        assert reasons == ["name_conflict"]
        assert await row_of(world, second) is None
        assert world.kernel.functions.find("default", "early::f") is None
        assert world.kernel.statistics().invocations.in_flight == 0
        assert (await row_of(world, first))["name"] == "n"


async def test_the_same_name_is_free_elsewhere_for_old_sdks_and_after_its_owner_left():  # wire 89
    async with open_world() as world:
        first, elsewhere, legacy, later = (connect(world) for _ in range(4))
        await announce(world, first, {"name": "n", "version": "0.23.0"})
        for worker, said in ((elsewhere, {"namespace": "eu", "version": "0.23.0"}), (legacy, {"version": "0.11.6"})):
            [reply] = await announce(world, worker, {**said, "name": "n"}, invocation_id="i")
            assert reply["result"] == {"success": True}
        world.kernel.disconnect(first)
        world.kernel.disconnect(legacy)
        [reply] = await announce(world, later, {"name": "n", "version": "0.23.0"}, invocation_id="i")
        assert reply["result"] == {"success": True}


async def test_a_worker_without_a_connection_learns_of_a_taken_name_by_an_error():
    async with open_world() as world:
        await announce(world, connect(world), {"name": "n", "version": "0.23.0"})
        local = world.kernel.connect()
        with pytest.raises(InvocationError) as refused:
            await world.ask("workers::register", {"name": "n"}, caller=local)
        assert refused.value.code == "WORKER_NAMESPACE_CONFLICT"


async def test_only_workers_can_announce_themselves():
    async with open_world() as world:
        with pytest.raises(InputRejected):
            await world.ask("workers::register", {"name": "n"})


async def test_workers_list_is_sorted_and_leaves_out_connections_without_pid():  # wire 11
    async with open_world() as world:
        world.worker("b")
        world.worker(None)
        world.worker("browser", pid=None)
        twins = sorted(world.worker("a").id for _ in range(3))
        rows = (await world.ask("workers::list"))["workers"]
        assert [row["name"] for row in rows] == [None, "a", "a", "a", "b", "iii-engine-functions"]
        assert [row["id"] for row in rows[1:4]] == twins


async def test_workers_list_filters():
    async with open_world() as world:
        world.worker("Alpha", runtime="node")
        world.worker("beta")

        async def names(**asked):
            return [row["name"] for row in (await world.ask("workers::list", asked))["workers"]]

        assert await names(search="ALPH") == ["Alpha"]
        assert await names(runtime="python") == ["beta"]
        assert await names(status="available") == ["iii-engine-functions"]
        assert await names(status="busy") == []
        assert await names(search="", worker_id="ignored") == ["Alpha", "beta", "iii-engine-functions"]


async def test_modules_are_listed():  # wire 99
    async with open_world(STATE, ModuleRow("iii-state#1", "iii-state")) as world:
        add_module_function(world.kernel, ModuleOwner("iii-state", "iii-state"), "state::get")
        rows = {row["id"]: row for row in (await world.ask("workers::list", {"search": "iii-state"}))["workers"]}
        assert list(rows) == ["iii-state", "iii-state#1"]
        assert rows["iii-state"] == {
            "id": "iii-state",
            "name": "iii-state",
            "runtime": "engine",
            "version": "9.8.7",
            "os": None,
            "status": "available",
            "connected_at_ms": 1_700_000_000_500,
            "function_count": 1,
            "active_invocations": 0,
            "ip_address": None,
            "isolation": "in-process",
            "description": "keeps state",
            "namespace": "default",
        }
        assert rows["iii-state#1"]["function_count"] == 0


async def test_workers_list_speaks_to_old_sdks_in_their_shape():  # wire 95, wire 99
    async with open_world(STATE) as world:
        add_module_function(world.kernel, ModuleOwner("iii-state", "iii-state"), "state::get")
        old = world.worker("old", version="0.11.6", os="linux", ip_address="127.0.0.1")
        hidden = world.worker("hidden", version="0.9.0", pid=None, isolation="vm")
        world.offers(old, "o::b")
        world.offers(old, "o::a")
        answer = await world.ask("workers::list", caller=old)
        assert sorted(answer) == ["timestamp", "workers"]
        assert answer["timestamp"] >= answer["workers"][-1]["connected_at_ms"]
        rows = {row["name"]: row for row in answer["workers"]}
        assert list(rows) == ["iii-engine-functions", "iii-state", "old"]
        assert rows["old"] == {
            "id": old.id,
            "name": "old",
            "runtime": "python",
            "version": "0.11.6",
            "os": "linux",
            "status": "connected",
            "connected_at_ms": int(old.connected_at * 1000),
            "function_count": 2,
            "active_invocations": 1,
            "ip_address": "127.0.0.1",
            "functions": ["o::a", "o::b"],
            "latest_metrics": None,
            "internal": False,
            "pid": 4242,
        }
        assert rows["iii-state"]["functions"] == ["state::get"]
        assert rows["iii-state"]["isolation"] == "in-process"
        assert rows["iii-engine-functions"]["internal"] is True
        [row] = (await world.ask("workers::list", {"worker_id": hidden.id}, caller=old))["workers"]
        assert (row["name"], row["isolation"], "pid" in row) == ("hidden", "vm", False)
        [module] = (await world.ask("workers::list", {"worker_id": "iii-state"}, caller=old))["workers"]
        assert module["runtime"] == "engine"
        assert (await world.ask("workers::list", {"worker_id": "nobody"}, caller=old))["workers"] == []


async def test_active_invocations_count_what_a_worker_runs_and_waits_for():  # wire 11
    async with open_world() as world:
        caller, executor = world.worker("caller"), world.worker("executor")
        world.offers(executor, "e::slow")
        world.call_over_wire(caller, "e::slow", {}, invocation_id="i")
        world.call_over_wire(caller, "e::slow", {}, action={"type": "void"})

        async def active(asking):
            rows = (await world.ask("workers::list", caller=asking))["workers"]
            return [row["active_invocations"] for row in rows if row["name"] in {"caller", "executor"}]

        assert await active(None) == [1, 2]
        assert await active(caller) == [2, 2]
        for call in outlet_of(executor).of_type("invokefunction"):
            world.answer(executor, call, 1)
        assert await active(None) == [0, 0]


async def test_workers_info_shows_what_a_worker_offers():  # wire 97
    async with open_world() as world:
        worker, twin = world.worker("w"), world.worker("other")
        for owner, name in ((worker, "w"), (twin, "o")):
            world.offers(owner, f"{name}::f")
            world.say(owner, {"type": "registertriggertype", "id": f"{name}-type", "description": "d"})
        for trigger_id, target in (("t1", "w::f"), ("t2", "o::f"), ("t3", "w::gone")):
            trigger = {"id": trigger_id, "trigger_type": "o-type", "function_id": target, "config": {"a": 1}}
            world.say(twin, {"type": "registertrigger", **trigger})
        answer = await world.ask("workers::info", {"name": "w"})
        assert answer["worker"] == {**await row_of(world, worker), "pid": 4242, "internal": False}
        assert answer["functions"] == [{"function_id": "w::f", "worker_name": "w", "namespace": "default"}]
        assert answer["trigger_types"] == [
            {"id": "w-type", "namespace": "default", "worker_name": "w", "description": "d"}
        ]
        assert answer["registered_triggers"] == [
            {
                "id": "t1",
                "trigger_type": "o-type",
                "function_id": "w::f",
                "worker_name": "w",
                "config": {"a": 1},
                "config_summary": '{"a":1}',
            }
        ]


async def test_workers_info_shows_modules_and_connections_without_pid():  # wire 97
    async with open_world(STATE) as world:
        owner = ModuleOwner("iii-state", "iii-state")
        add_module_function(world.kernel, owner, "state::get")
        world.worker("nopid", pid=None)
        world.worker("iii-state")
        with world.kernel.triggers.serve("state", lambda _: lambda: None, owner=owner):
            trigger = {"id": "t", "trigger_type": "state", "function_id": "state::get"}
            world.say(world.worker("w"), {"type": "registertrigger", **trigger})
            answer = await world.ask("workers::info", {"name": "iii-state"})
        assert (answer["worker"]["runtime"], answer["worker"]["internal"], "pid" in answer["worker"]) == (
            "engine",
            False,
            False,
        )
        assert [row["function_id"] for row in answer["functions"]] == ["state::get"]
        assert [row["worker_name"] for row in answer["trigger_types"]] == ["iii-state"]
        assert [row["id"] for row in answer["registered_triggers"]] == ["t"]
        own = await world.ask("workers::info", {"name": "iii-engine-functions", "namespace": "default"})
        assert (own["worker"]["internal"], own["trigger_types"]) == (True, [])
        assert "engine::workers::info" in [row["function_id"] for row in own["functions"]]
        assert (await world.ask("workers::info", {"name": "nopid"}))["worker"]["name"] == "nopid"


async def test_workers_info_finds_the_namespace_and_the_youngest_of_a_name():  # wire 97
    async with open_world() as world:
        a, b = world.worker("n", namespace="a"), world.worker("n", namespace="b")
        lone = world.worker("lone", namespace="a")
        home, younger = world.worker("twin", version="0.11.6"), world.worker("twin", version="0.11.6")

        async def found(**asked):
            return (await world.ask("workers::info", asked))["worker"]["id"]

        assert await found(name="n", namespace="b") == b.id
        assert await found(name="lone") == lone.id
        assert await found(name="twin") == younger.id
        world.kernel.disconnect(younger)
        assert await found(name="twin") == home.id
        for asked in ({"name": "n"}, {"name": "n", "namespace": "zz"}, {"name": "nobody"}, {"name": "twin", "namespace": "a"}, {"name": "iii-engine-functions", "namespace": "a"}):  # fmt: skip
            with pytest.raises(NotFound):
                await world.ask("workers::info", asked)
        world.kernel.disconnect(a)
        assert await found(name="n") == b.id
