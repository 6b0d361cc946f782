"""The lists and descriptions of the engine, as SDKs of each generation read them over the wire (wire-protocol 13)."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
import trio
from trio.testing import MockClock
from wire_client import LEGACY, MODERN, Client, Json, World, of_others, open_world

HTTP = {"workers": [{"name": "iii-http", "config": {"host": "127.0.0.1", "port": 0}}]}
ANCIENT: Mapping[str, Any] = {"runtime": "python", "version": "0.9.0", "pid": 9}
OLD = [ANCIENT, LEGACY, {**LEGACY, "version": "0.12.9"}]
NEW = [{**MODERN, "version": "0.13.0"}, MODERN, {**MODERN, "version": "0.25.0"}, {"runtime": "raw"}, None]
SCHEMA = {"type": "object", "properties": {"sku": {"type": "string"}}}
WORKERS, FUNCTIONS = "engine::workers-available", "engine::functions-available"
CONFIG = {"text": "é" * 100}
MODULES = ["configuration", "iii-engine-functions", "iii-http", "iii-http-functions"]


async def _shop(world: World) -> Client:
    """A worker with a type of its own, two functions, a live trigger and a parked one."""
    shop = await world.connect(MODERN, name="shop", os="linux", pid=41, isolation="vm", description="sells")
    await shop.provide("shop::sold", description="on a sale", trigger_request_format=SCHEMA, call_request_format=SCHEMA)
    await shop.register("shop::price", description="d", request_format=SCHEMA, response_format=1, metadata={"m": 1})
    await shop.register("shop::hidden", metadata={"internal": True})
    await shop.trigger("t1", "shop::sold", "shop::price", config=CONFIG, metadata={"t": 1})
    await shop.trigger("t2", "nobody::knows", "shop::price", config={})
    await shop.hear("registertrigger")
    return shop


@pytest.mark.parametrize("reader", OLD)
async def test_functions_as_old_sdks_list_them(world: World, reader: Json) -> None:
    # wire 93, 95
    await _shop(world)
    client = await world.connect(reader)
    rows = (await client.value("engine::functions::list", {"search": "no filter then"}))["functions"]
    schemas = reader is not ANCIENT  # SDKs before 0.10 cannot read a JSON Schema
    price = {
        "function_id": "shop::price",
        "description": "d",
        "request_format": SCHEMA if schemas else None,
        "response_format": 1 if schemas else None,
        "metadata": {"m": 1},
    }
    assert price in rows
    assert [row["function_id"] for row in of_others(rows)] == ["shop::hidden", "shop::price"]
    every = (await client.value("engine::functions::list", {"include_internal": True}))["functions"]
    assert {"engine::functions::list", "shop::price"} < {row["function_id"] for row in every}
    assert all(set(row) == set(price) for row in every)
    assert any(row["request_format"] for row in every) == schemas


@pytest.mark.parametrize("reader", NEW)
async def test_functions_as_new_sdks_list_them(world: World, reader: Json | None) -> None:
    # wire 93
    await _shop(world)
    client = await world.connect(reader)
    assert of_others((await client.value("engine::functions::list", {}))["functions"]) == [
        {
            "function_id": "shop::price",
            "worker_name": "shop",
            "namespace": "default",
            "description": "d",
            "metadata": {"m": 1},
        }
    ]
    every = (await client.value("engine::functions::list", {"include_internal": True}))["functions"]
    ids = [row["function_id"] for row in every]
    assert ids == sorted(ids)
    assert {row["worker_name"] for row in every} == {"shop", "iii-engine-functions", "configuration"}


@pytest.mark.parametrize("reader", [*OLD, *NEW])
async def test_functions_are_described_alike_to_every_sdk(world: World, reader: Json | None) -> None:
    # wire 21, 94
    shop, client = await _shop(world), await world.connect(reader)
    told = await client.value("engine::functions::info", {"function_id": "shop::price"})
    assert told == {
        "function_id": "shop::price",
        "namespace": "default",
        "worker_name": "shop",
        "description": "d",
        "request_schema": SCHEMA,
        "response_schema": 1,
        "metadata": {"m": 1},
        "registered_triggers": [{"id": "t1", "trigger_type": "shop::sold", "config": CONFIG}],
    }
    await shop.register("shop::price", description="again")
    await shop.fence()
    batch = {"function_ids": ["shop::price", "no::such", "shop::price", "shop::hidden"]}
    again, missing, hidden = (await client.value("engine::functions::info", batch))["functions"]
    assert again["description"] == "again"
    assert not {"request_schema", "response_schema", "metadata"} & set(again)
    assert missing == {"function_id": "no::such", "error": "not_found"}
    assert hidden["function_id"] == "shop::hidden"
    for wrong in ({"function_ids": [str(n) for n in range(33)]}, {"function_id": "x", "function_ids": ["x"]}, {}):
        assert (await client.error("engine::functions::info", wrong))["code"] == "INVALID_ARGUMENTS"
    full = {"function_ids": [str(number % 32) for number in range(64)]}
    assert len((await client.value("engine::functions::info", full))["functions"]) == 32


async def test_a_function_in_several_namespaces_has_to_be_named(world: World) -> None:
    # wire 94, 13.3
    for namespace in ("b", "a"):
        worker = await world.connect(MODERN, name=namespace, namespace=namespace)
        await worker.register("shop::price", *(["only::here"] if namespace == "a" else []))
        await worker.fence()
    client = await world.connect()
    asked = {"function_id": "shop::price"}
    for unclear in (asked, {**asked, "namespace": "c"}):
        error = await client.error("engine::functions::info", unclear)
        assert error["code"] == "NOT_FOUND"
        assert "a, b" in error["message"]
    assert (await client.value("engine::functions::info", {**asked, "namespace": "b"}))["worker_name"] == "b"
    assert (await client.value("engine::functions::info", {"function_id": "only::here"}))["namespace"] == "a"
    await client.register("shop::price")
    await client.fence()
    assert (await client.value("engine::functions::info", asked))["namespace"] == "default"
    for blank in ("", " "):
        assert (await client.error("engine::functions::info", {**asked, "namespace": blank}))["code"] == "NOT_FOUND"


COMMON = {"id", "name", "runtime", "version", "os", "status", "connected_at_ms", "function_count", "active_invocations"}
OLD_ROW = COMMON | {"ip_address", "functions", "latest_metrics", "internal", "pid", "isolation"}
NEW_ROW = COMMON | {"ip_address", "isolation", "description", "namespace"}


@pytest.mark.parametrize("reader", OLD)
async def test_workers_as_old_sdks_list_them(reader: Json) -> None:
    # wire 11, 95, 99
    async with open_world(HTTP) as world:
        shop, silent = await _shop(world), await world.connect()
        client = await world.connect(reader, name="reader")
        listed = await client.value("engine::workers::list", {"search": "no filter then"})
        assert set(listed) == {"workers", "timestamp"}
        assert abs(listed["timestamp"] / 1000 - time.time()) < 60
        rows = {row["name"]: row for row in listed["workers"]}
        assert set(rows) == {
            *MODULES,
            "reader",
            "shop",
        }
        row = rows["shop"]
        assert set(row) == OLD_ROW
        told = {key: row[key] for key in ("id", "runtime", "version", "os", "pid", "isolation", "status", "ip_address")}
        assert told == {
            "id": shop.id,
            "runtime": "node",
            "version": "0.23.0",
            "os": "linux",
            "pid": 41,
            "isolation": "vm",
            "status": "connected",
            "ip_address": "127.0.0.1",
        }
        assert (sorted(row["functions"]), row["function_count"]) == (["shop::hidden", "shop::price"], 2)
        assert (row["internal"], row["latest_metrics"], row["active_invocations"]) == (False, None, 0)
        assert rows["reader"]["active_invocations"] == 1  # this very question
        module = rows["iii-engine-functions"]
        assert (module["runtime"], module["status"], module["internal"]) == ("engine", "available", True)
        assert "engine::workers::list" in module["functions"]
        assert set(module) == OLD_ROW - {"pid"}
        (alone,) = (await client.value("engine::workers::list", {"worker_id": silent.id}))["workers"]
        assert (alone["id"], alone["name"], "pid" in alone) == (silent.id, None, False)
        assert (await client.value("engine::workers::list", {"worker_id": "nobody"}))["workers"] == []


@pytest.mark.parametrize("reader", NEW)
async def test_workers_as_new_sdks_list_them(reader: Json | None) -> None:
    # wire 11, 99
    async with open_world(HTTP) as world:
        shop, client = await _shop(world), await world.connect(reader)
        listed = await client.value("engine::workers::list", {"worker_id": "no filter any more"})
        assert set(listed) == {"workers"}
        rows = {row["name"]: row for row in listed["workers"]}
        assert all(set(row) == NEW_ROW for row in rows.values())
        row = rows["shop"]
        started = row.pop("connected_at_ms")
        assert abs(started / 1000 - time.time()) < 60
        assert row == {
            "id": shop.id,
            "name": "shop",
            "runtime": "node",
            "version": "0.23.0",
            "os": "linux",
            "status": "connected",
            "ip_address": "127.0.0.1",
            "function_count": 2,
            "active_invocations": 0,
            "isolation": "vm",
            "description": "sells",
            "namespace": "default",
        }
        for name in ("iii-http", "iii-engine-functions"):
            module = rows[name]
            assert (module["id"], module["runtime"], module["status"]) == (name, "engine", "available")
            assert (module["isolation"], module["namespace"], module["version"]) == ("in-process", "default", "0.1.0")
        for asked, found in (
            ({"search": "SHO"}, ["shop"]),
            ({"runtime": "engine"}, MODULES),
            ({"status": "connected", "runtime": "node"}, ["shop"]),
            ({"status": "busy"}, []),
        ):
            chosen = (await client.value("engine::workers::list", asked))["workers"]
            assert [row["name"] for row in chosen if row["id"] != client.id] == found


@pytest.mark.parametrize("reader", [LEGACY, MODERN, None])
async def test_workers_are_described_with_what_they_offer(reader: Json | None) -> None:
    # wire 97
    async with open_world(HTTP) as world:
        shop, client = await _shop(world), await world.connect(reader)
        told = await client.value("engine::workers::info", {"name": "shop"})
        assert set(told) == {"worker", "functions", "trigger_types", "registered_triggers"}
        assert set(told["worker"]) == NEW_ROW | {"pid", "internal"}
        assert (told["worker"]["id"], told["worker"]["pid"], told["worker"]["internal"]) == (shop.id, 41, False)
        assert [row["function_id"] for row in told["functions"]] == ["shop::hidden", "shop::price"]
        assert [row["id"] for row in told["trigger_types"]] == ["shop::sold"]
        assert [row["id"] for row in told["registered_triggers"]] == ["t1"]
        http = await client.value("engine::workers::info", {"name": "iii-http"})
        assert (http["worker"]["internal"], [row["id"] for row in http["trigger_types"]]) == (False, ["http"])
        core = await client.value("engine::workers::info", {"name": "iii-engine-functions"})
        assert core["worker"]["internal"] is True
        await world.connect({"runtime": "browser", "version": "0.25.0"}, name="no pid")
        assert (await client.value("engine::workers::info", {"name": "no pid"}))["worker"]["runtime"] == "browser"
        for namespace in ("a", "b"):
            await world.connect(MODERN, name="twice", namespace=namespace)
        for missing in (
            {"name": "no"},
            {"name": "twice"},
            {"name": "shop", "namespace": "a"},
            {"name": "shop", "namespace": " "},
        ):
            assert (await client.error("engine::workers::info", missing))["code"] == "NOT_FOUND"
        found = await client.value("engine::workers::info", {"name": "twice", "namespace": "b"})
        assert found["worker"]["namespace"] == "b"


@pytest.mark.parametrize("reader", OLD)
async def test_triggers_as_old_sdks_list_them(world: World, reader: Json) -> None:
    # wire 95, 96
    shop = await _shop(world)
    await shop.register("engine::console::show")
    await shop.trigger("t3", WORKERS, "engine::console::show", config={})
    await shop.fence()
    client = await world.connect(reader)
    row = {
        "id": "t1",
        "trigger_type": "shop::sold",
        "function_id": "shop::price",
        "config": CONFIG,
        "metadata": {"t": 1},
    }
    assert await client.value("engine::triggers::list", {}) == {"triggers": [row]}
    every = (await client.value("engine::triggers::list", {"include_internal": True}))["triggers"]
    internal = {"id": "t3", "trigger_type": WORKERS, "function_id": "engine::console::show", "config": {}}
    assert every == [row, internal]


@pytest.mark.parametrize("reader", NEW)
async def test_trigger_types_as_new_sdks_list_them(world: World, reader: Json | None) -> None:
    # wire 96
    await _shop(world)
    client = await world.connect(reader)
    own = {"id": "shop::sold", "namespace": "default", "worker_name": "shop", "description": "on a sale"}
    assert of_others((await client.value("engine::triggers::list", {}))["triggers"]) == [own]
    every = (await client.value("engine::triggers::list", {"include_internal": True}))["triggers"]
    assert [row["id"] for row in every] == ["configuration", FUNCTIONS, WORKERS, "shop::sold"]
    for asked, found in (
        ({"search": "SALE"}, ["shop::sold"]),
        ({"prefix": "shop"}, ["shop::sold"]),
        ({"worker": "shop"}, ["shop::sold"]),
        ({"worker": "other"}, []),
        ({"prefix": "engine::w", "include_internal": True}, [WORKERS]),
    ):
        assert [row["id"] for row in (await client.value("engine::triggers::list", asked))["triggers"]] == found


@pytest.mark.parametrize("reader", [*OLD, *NEW])
async def test_trigger_types_with_schemas_are_there_for_every_sdk(world: World, reader: Json | None) -> None:
    # wire 96
    await _shop(world)
    client = await world.connect(reader)
    listed = await client.value("engine::trigger-types::list", {})
    row = {"id": "shop::sold", "description": "on a sale"}
    shown = {**row, "trigger_request_format": SCHEMA, "call_request_format": SCHEMA}
    assert of_others(listed["trigger_types"]) == [shown]
    every = await client.value("engine::trigger-types::list", {"include_internal": True})
    assert {row["id"] for row in of_others(every["trigger_types"])} == {FUNCTIONS, WORKERS, "shop::sold"}


@pytest.mark.parametrize("reader", [LEGACY, MODERN, None])
async def test_triggers_and_their_types_are_described(world: World, reader: Json | None) -> None:
    # wire 97
    shop, client = await _shop(world), await world.connect(reader)
    kind = {
        "id": "shop::sold",
        "namespace": "default",
        "worker_name": "shop",
        "description": "on a sale",
        "configuration_schema": SCHEMA,
        "request_schema": SCHEMA,
        "instance_count": 1,
    }
    assert await client.value("engine::triggers::info", {"id": "shop::sold"}) == kind
    summary = '{"text":"' + "é" * 71 + "…"
    row = {
        "id": "t1",
        "trigger_type": "shop::sold",
        "function_id": "shop::price",
        "worker_name": "shop",
        "config": CONFIG,
    }
    listed = await client.value("engine::registered-triggers::list", {})
    assert listed == {"registered_triggers": [{**row, "config_summary": summary}]}
    told = await client.value("engine::registered-triggers::info", {"id": "t1"})
    function = await client.value("engine::functions::info", {"function_id": "shop::price"})
    assert told == {**row, "metadata": {"t": 1}, "trigger": kind, "function": function}
    await shop.say(type="unregisterfunction", id="shop::price")
    await shop.fence()
    assert (await client.value("engine::registered-triggers::info", {"id": "t1"}))["function"] is None
    for asked, found in (
        ({"search": "SOLD"}, ["t1"]),
        ({"trigger_type": "shop::sold", "function_id": "shop::price", "worker": "shop"}, ["t1"]),
        ({"worker": "other"}, []),
        ({"function_id": "other"}, []),
        ({"trigger_type": "other"}, []),
    ):
        rows = (await client.value("engine::registered-triggers::list", asked))["registered_triggers"]
        assert [row["id"] for row in rows] == found
    for function_id, missing in (
        ("engine::triggers::info", {"id": "nobody::knows"}),
        ("engine::triggers::info", {"id": "shop::sold", "namespace": "a"}),
        ("engine::registered-triggers::info", {"id": "t2"}),  # parked
        ("engine::registered-triggers::info", {"id": "no"}),
    ):
        assert (await client.error(function_id, missing))["code"] == "NOT_FOUND"


@pytest.mark.parametrize("target", [ANCIENT, LEGACY, MODERN])
async def test_news_of_functions_come_in_the_shape_the_target_can_read(
    memory_world: World, autojump_clock: MockClock, target: Json
) -> None:
    # wire 95, 98
    subscriber = await memory_world.connect(target, name="s")
    await subscriber.register("engine.on_functions_available.x")
    await subscriber.trigger("f", FUNCTIONS, "engine.on_functions_available.x", config={})
    await subscriber.fence()
    first = await subscriber.invoked("engine.on_functions_available.x", within=6)
    assert "_caller_worker_id" not in first["data"]
    worker = await memory_world.connect(MODERN, name="w")
    await worker.register("new::one", request_format=SCHEMA)
    begun = trio.current_time()
    call = await subscriber.invoked("engine.on_functions_available.x", within=6)
    assert trio.current_time() - begun <= 6
    assert call["data"]["event"] == "functions_changed"
    rows = {row["function_id"]: row for row in call["data"]["functions"]}
    assert {"new::one", "engine::functions::list"} < set(rows)  # unfiltered
    if target is MODERN:
        assert rows["new::one"] == {"function_id": "new::one", "worker_name": "w", "namespace": "default"}
    else:
        nothing = dict.fromkeys(("description", "response_format", "metadata"))
        seen = None if target is ANCIENT else SCHEMA
        assert rows["new::one"] == {"function_id": "new::one", "request_format": seen, **nothing}


@pytest.mark.parametrize(
    ("function_id", "wrong"),
    [
        ("engine::functions::info", {"function_ids": "x"}),
        ("engine::workers::list", {"runtime": 5}),
        ("engine::workers::info", {}),
        ("engine::workers::info", {"name": "x", "namespace": 5}),
        ("engine::triggers::list", {"include_internal": "yes"}),
        ("engine::triggers::info", {}),
        ("engine::trigger-types::list", "x"),
        ("engine::registered-triggers::list", {"worker": []}),
        ("engine::registered-triggers::info", {"id": None}),
        ("engine::register_trigger", {"function_id": "x"}),
        ("engine::register_trigger", {"trigger_type": "x"}),
        ("engine::unregister_trigger", {}),
        ("engine::supervisor::tree", []),
    ],
)
async def test_input_of_a_wrong_type_is_refused_by_every_function(world: World, function_id: str, wrong: Any) -> None:
    # wire 41
    caller = await world.connect()
    if wrong != []:  # an array is read positionally
        error = (await caller.outcome(await caller.invoke(function_id, wrong)))["error"]
        assert error["code"] == "deserialization_error"
        assert error["message"].startswith(f"Failed to deserialize input for {function_id}: ")
    for scalar in (None, 7):
        assert (await caller.outcome(await caller.invoke(function_id, scalar)))["error"][
            "code"
        ] == "deserialization_error"
