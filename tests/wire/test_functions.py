"""The function registry over the wire: ownership, lists and descriptions, services (wire-protocol 4, 9, 13, 14)."""

from pathlib import Path
from typing import Any

import pytest
from wire_client import LEGACY, MODERN, Client, Json, World, open_world


async def _serves(world: World, caller: Client, executor: Client, function_id: str) -> None:
    """Assert that calls of a function reach this worker."""
    invocation_id = await caller.invoke(function_id, {})
    await executor.serve_one(function_id, result=executor.id)
    assert (await caller.outcome(invocation_id))["result"] == executor.id


async def test_registering_an_own_id_again_replaces_what_is_said_of_it(world: World) -> None:
    # wire 21
    worker = await world.connect(MODERN, name="w")
    for description in ("first", "second", None):
        await worker.register("orders::place", description=description, metadata={"for": description})
        info = await worker.value("engine::functions::info", {"function_id": "orders::place"})
        assert (info.get("description"), info["metadata"]) == (description, {"for": description})
    assert [message["type"] for message in await worker.fence()] == []


async def test_of_two_legacy_workers_the_second_serves(world: World) -> None:
    # wire 22
    caller = await world.connect()
    first, second = await world.connect(LEGACY), await world.connect(LEGACY)
    for worker in (first, second):
        await worker.register("orders::place")
        await worker.fence()
    await _serves(world, caller, second, "orders::place")
    await first.say(type="unregisterfunction", id="orders::place")
    await first.fence()
    await world.leave(first)
    await _serves(world, caller, second, "orders::place")
    await world.leave(second)
    assert (await caller.error("orders::place"))["code"] == "function_not_found"


@pytest.mark.parametrize(
    "modern",
    [
        MODERN,
        {"runtime": "go", "version": "1.0.0"},
        {"runtime": "raw", "version": "one"},
        {"runtime": "raw"},
        {**LEGACY, "namespace": "default"},
    ],
)
async def test_of_two_modern_workers_the_second_is_refused(world: World, modern: Json) -> None:
    # wire 23
    caller = await world.connect()
    first, second = await world.connect(MODERN), await world.connect(modern)
    await first.register("orders::place")
    await first.fence()
    await second.register("orders::place", "orders::own")
    assert await second.fence() == [
        {
            "type": "registrationrejected",
            "code": "FUNCTION_NAMESPACE_CONFLICT",
            "namespace": "default",
            "function_id": "orders::place",
            "owner_worker_id": first.id,
        }
    ]
    await _serves(world, caller, first, "orders::place")
    await _serves(world, caller, second, "orders::own")
    await world.leave(first)
    assert (await caller.error("orders::place"))["code"] == "function_not_found"


async def test_a_legacy_newcomer_takes_over_from_a_modern_owner(world: World) -> None:
    # C1: the newcomer's generation counts
    caller, owner = await world.connect(), await world.connect(MODERN)
    await owner.register("orders::place")
    await owner.fence()
    newcomer = await world.connect(LEGACY)
    await newcomer.register("orders::place")
    assert await newcomer.fence() == []
    await _serves(world, caller, newcomer, "orders::place")


async def test_only_the_owner_unregisters_and_what_runs_goes_on(world: World) -> None:
    # wire 24
    owner, other, caller = [await world.connect(MODERN) for _ in range(3)]
    await owner.register("orders::place")
    await owner.trigger("t1", "engine::workers-available", "orders::place", config={})
    await owner.fence()
    await other.say(type="unregisterfunction", id="orders::place")
    await other.say(type="unregisterfunction", id="never::there")
    await other.fence()
    running = await caller.invoke("orders::place", {})
    call = await owner.invoked("orders::place")
    await owner.say(type="unregisterfunction", id="orders::place")
    assert [message["type"] for message in await owner.fence()] == []
    assert (await caller.error("orders::place"))["code"] == "function_not_found"
    listed = await caller.value("engine::registered-triggers::list", {})
    assert [row["id"] for row in listed["registered_triggers"]] == ["t1"]
    await owner.answer(call, result="done")
    assert (await caller.outcome(running))["result"] == "done"


@pytest.mark.parametrize("announcement", [LEGACY, MODERN, None])
async def test_built_in_functions_cannot_be_replaced(world: World, announcement: Json | None) -> None:
    # wire 25
    worker = await world.connect(announcement)
    await worker.register("engine::functions::list", "engine::console::show")
    if announcement is None:  # a provisional registration waits for the announcement before it is refused (C2)
        await worker.announce(LEGACY)
    rejected = await worker.hear("registrationrejected")
    assert rejected["function_id"] == "engine::functions::list"
    assert rejected["owner_worker_id"] == ""
    rows = (await worker.value("engine::functions::list", {"include_internal": True}))["functions"]
    ids = {row["function_id"] for row in rows}
    assert {"engine::functions::list", "engine::console::show"} <= ids
    await world.leave(worker)
    caller = await world.connect()
    rows = (await caller.value("engine::functions::list", {"include_internal": True}))["functions"]
    assert {row["function_id"] for row in rows} == ids - {"engine::console::show"}


@pytest.mark.parametrize("generation", [LEGACY, MODERN, None])
async def test_services_are_accepted_without_effect(world: World, generation: Json | None) -> None:
    # wire 65
    worker, caller = await world.connect(generation), await world.connect()
    await worker.register("orders::place")
    forms: list[Json] = [
        {"id": "orders"},
        {"id": "orders", "name": ""},
        {"id": "s2", "name": "orders", "description": "d", "parent_service_id": "orders"},
        {"id": "s3", "name": None, "parent_service_id": None},
    ]
    for form in forms:
        await worker.say(type="registerservice", **form)
    assert await worker.fence() == []
    await _serves(world, caller, worker, "orders::place")
    assert world.engine.kernel.statistics().services == 2


async def _ids(client: Client, **filters: Any) -> list[str]:
    rows = (await client.value("engine::functions::list", filters))["functions"]
    return [row["function_id"] for row in rows if not row["function_id"].startswith("configuration::")]


async def test_functions_are_listed_by_filter(world: World) -> None:
    # wire 93
    billing = await world.connect(MODERN, name="billing")
    orders = await world.connect(MODERN, name="orders", namespace="shop")
    await billing.register("billing::quote", description="Prices an Order")
    await billing.register("billing::hidden", metadata={"internal": True})
    await orders.register("orders::place")
    await orders.fence()
    assert await _ids(billing) == ["billing::quote", "orders::place"]
    shown = await _ids(billing, include_internal=True)
    assert {"billing::hidden", "engine::functions::list"} < set(shown)
    assert await _ids(billing, search="ORDER") == ["orders::place", "billing::quote"]
    assert await _ids(billing, prefix="billing") == ["billing::quote"]
    assert await _ids(billing, worker="orders") == ["orders::place"]
    assert await _ids(billing, worker="orders", workers=["billing"]) == ["billing::quote", "orders::place"]
    assert await _ids(billing, search="", workers=[]) == ["billing::quote", "orders::place"]
    assert await _ids(billing, prefix="nobody") == []
    rows = (await billing.value("engine::functions::list", {"prefix": "orders"}))["functions"]
    assert rows == [{"function_id": "orders::place", "worker_name": "orders", "namespace": "shop"}]


async def test_functions_are_described_alone_or_in_batches(world: World) -> None:
    # wire 94
    worker = await world.connect(MODERN, name="w")
    schema = {"type": "object"}
    await worker.register("a::one", request_format=schema, response_format=False)
    await worker.register("a::two", description="second")
    await worker.trigger("t1", "engine::workers-available", "a::one", config={"x": 1})
    one = await worker.value("engine::functions::info", {"function_id": "a::one"})
    assert one == {
        "function_id": "a::one",
        "namespace": "default",
        "worker_name": "w",
        "request_schema": schema,
        "response_schema": False,
        "registered_triggers": [{"id": "t1", "trigger_type": "engine::workers-available", "config": {"x": 1}}],
    }
    batch = await worker.value("engine::functions::info", {"function_ids": ["a::two", "no::such", "a::one"]})
    assert batch["functions"][0]["description"] == "second"
    assert batch["functions"][1:] == [{"function_id": "no::such", "error": "not_found"}, one]
    assert (await worker.error("engine::functions::info", {"function_id": "no::such"}))["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"function_ids": []},
        {"function_ids": [f"f{number}" for number in range(33)]},
        {"function_id": "a::one", "function_ids": ["a::one"]},
    ],
)
async def test_a_description_must_be_asked_for_properly(world: World, asked: Json) -> None:
    # wire 94
    caller = await world.connect()
    assert (await caller.error("engine::functions::info", asked))["code"] == "INVALID_ARGUMENTS"


async def test_modules_are_listed_among_the_workers() -> None:
    # wire 99
    config = {"workers": [{"name": "iii-http", "config": {"host": "127.0.0.1", "port": 0}}]}
    async with open_world(config) as world:
        caller = await world.connect()
        rows = (await caller.value("engine::workers::list", {}))["workers"]
        modules = {row["name"]: row for row in rows}
        assert {"iii-http", "iii-engine-functions"} <= set(modules)
        for row in modules.values():
            assert (row["runtime"], row["status"], row["isolation"]) == ("engine", "available", "in-process")
            assert (row["active_invocations"], row["os"], row["ip_address"]) == (0, None, None)
            assert row["version"]
        assert modules["iii-engine-functions"]["function_count"] > 8


async def test_formats_are_not_enforced(world: World) -> None:
    # wire 100
    worker, caller = await world.connect(MODERN), await world.connect()
    schema = {"type": "object", "required": ["sku"]}
    await worker.register("strict::one", request_format=schema, response_format=schema)
    await worker.fence()
    invocation_id = await caller.invoke("strict::one", [1])
    call = await worker.serve_one("strict::one", result="no object")
    assert call["data"] == [1]
    assert (await caller.outcome(invocation_id))["result"] == "no object"


TYPES = {"configuration", "engine::workers-available", "engine::functions-available"}


async def test_old_readers_get_old_shapes_and_new_ones_new(world: World) -> None:
    # wire 96
    worker = await world.connect(MODERN, name="w")
    await worker.register("a::one")
    await worker.trigger("t1", "engine::workers-available", "a::one", config={"x": 1}, metadata={"m": 1})
    await worker.fence()
    old, raw = await world.connect(LEGACY), await world.connect()
    listed = await old.value("engine::triggers::list", {})
    expected = {"id": "t1", "trigger_type": "engine::workers-available", "function_id": "a::one", "config": {"x": 1}}
    assert listed == {"triggers": [{**expected, "metadata": {"m": 1}}]}
    for reader in (worker, raw):
        types = (await reader.value("engine::triggers::list", {"include_internal": True}))["triggers"]
        assert {row["id"] for row in types} == TYPES
        assert all(set(row) == {"id", "namespace", "worker_name", "description"} for row in types)
    for reader in (old, worker, raw):
        types = (await reader.value("engine::trigger-types::list", {"include_internal": True}))["trigger_types"]
        assert {row["id"] for row in types} == TYPES
    assert set(await old.value("engine::workers::list", {})) == {"workers", "timestamp"}
    assert set(await raw.value("engine::workers::list", {})) == {"workers"}


async def test_the_page_explains_every_function_and_trigger_type_of_the_engine(world: World) -> None:
    # 13
    page = (Path(__file__).parents[2] / "docs/protocol.md").read_text()
    caller = await world.connect()
    types = (await caller.value("engine::triggers::list", {"include_internal": True}))["triggers"]
    ids = [*await _ids(caller, include_internal=True), *(row["id"] for row in types)]
    assert len(ids) > 20
    assert [each for each in ids if f"`{each}`" not in page] == []
