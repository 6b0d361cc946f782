"""Workers of every SDK call one another through the engine."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from processes import eventually
from sdk_install import SDKS, Sdk
from sdk_world import World

NAMES = [sdk.name for sdk in SDKS]
PAIRS = [(caller, callee) for caller in NAMES for callee in NAMES]
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def worker_id(world: World, name: str) -> str:
    """Who the worker believes to be."""
    told: str = world.relay(name, f"{name}::same", "{}")["worker_id"]
    assert re.fullmatch(UUID, told)
    return told


@pytest.mark.parametrize(("caller", "callee"), PAIRS)
def test_a_call_and_its_result(world: World, caller: str, callee: str) -> None:  # wire 26, 31, 33
    identity = worker_id(world, caller)
    told = world.relay(caller, f"{callee}::add", json.dumps({"a": 40, "b": 2}))
    assert told == {"result": {"sum": 42, "by": callee, "caller": identity}, "worker_id": identity}


@pytest.mark.parametrize("value", [[1, [2.5, {}]], "ä\u2028\U0001f600", 0, 2**53, -1.5, True, [], ""])
@pytest.mark.parametrize(("caller", "callee"), [("python-new", "node-new"), ("node-old", "python-old")])
def test_a_value_that_is_no_object_passes_unchanged(
    world: World, caller: str, callee: str, value: Any
) -> None:  # wire 26, 31
    told = world.relay(caller, f"{callee}::same", json.dumps(value))
    assert told == {"result": value, "worker_id": worker_id(world, caller)}


@pytest.mark.parametrize(("caller", "callee"), PAIRS)
def test_a_call_with_a_null_result(world: World, caller: str, callee: str) -> None:  # wire 27, 37
    told = world.relay(caller, f"{callee}::same", "null")
    assert told == {"result": None, "worker_id": worker_id(world, caller)}


@pytest.mark.parametrize(("caller", "callee"), PAIRS)
def test_a_handler_that_raises(world: World, caller: str, callee: str) -> None:  # wire 28
    told = world.relay(caller, f"{callee}::fail", "{}")
    assert told == {"code": "invocation_failed", "text": "invocation_failed: stock is negative"}


@pytest.mark.parametrize("caller", NAMES)
def test_a_function_that_nobody_registered(world: World, caller: str) -> None:  # wire 29
    told = world.relay(caller, "nobody::home", "{}")
    assert told["code"] == "function_not_found"
    assert "nobody::home" in told["text"]


@pytest.mark.parametrize(("caller", "callee"), PAIRS)
def test_a_call_without_an_answer(world: World, caller: str, callee: str) -> None:  # wire 30
    mark = f"void from {caller}"
    told = world.relay(caller, f"{callee}::note", json.dumps({"mark": mark}), void=True)
    identity = worker_id(world, caller)
    assert told == {"result": None, "worker_id": identity}
    expected = {"mark": mark, "_caller_worker_id": identity}
    eventually(lambda: expected in world.notes(callee) or None, f"{callee} was called")
    assert [note.get("mark") for note in world.notes(callee)].count(mark) == 1


@pytest.mark.parametrize("caller", NAMES)
def test_many_calls_at_once(world: World, caller: str) -> None:  # wire 32
    def one(number: int) -> int:
        told = world.relay(caller, f"{NAMES[number % len(NAMES)]}::add", json.dumps({"a": number, "b": 1}))
        total: int = told["result"]["sum"]
        return total

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(one, range(36))) == list(range(1, 37))


@pytest.mark.parametrize("reader", ["node-old", "python-new"])
@pytest.mark.parametrize("sdk", SDKS, ids=NAMES)
def test_the_worker_is_listed_as_what_it_announced(world: World, sdk: Sdk, reader: str) -> None:  # wire 11
    rows = world.relay(reader, "engine::workers::list", "{}")["result"]["workers"]
    (row,) = [row for row in rows if row["name"] == sdk.name]
    listed = {key: row[key] for key in ("id", "runtime", "version", "status", "function_count")}
    assert listed == {
        "id": worker_id(world, sdk.name),
        "runtime": sdk.language,
        "version": sdk.version,
        "status": "connected",
        "function_count": {"0.9.0": 12, "0.25.0": 11}.get(sdk.version, 10),
    }
    if reader == "node-old":  # rows have the shape that the reader's release knows
        assert row["pid"] == world.workers[sdk.name].process.pid
        assert f"{sdk.name}::add" in row["functions"]
        assert len(row["functions"]) == row["function_count"]
    else:
        assert row.keys().isdisjoint({"pid", "functions"})
        assert row["namespace"] == "default"


@pytest.mark.parametrize("name", NAMES)
def test_a_trigger_type_of_one_worker_fires_functions_of_all(world: World, name: str) -> None:  # wire 51, 52, 58
    mark = f"hook of {name}"
    answer = world.ask("POST", f"/{name}/fire", json.dumps(mark))
    assert (answer.status, answer.body) == (200, {"fired": sorted(f"{other}::note" for other in NAMES)})
    provider = worker_id(world, name)
    for other in NAMES:
        event = {"from": name, "config": {"of": other}, "body": mark, "_caller_worker_id": provider}
        assert [note for note in world.notes(other) if note.get("body") == mark] == [event]


@pytest.mark.parametrize("reader", NAMES)
def test_a_trigger_that_its_provider_refuses_is_not_listed(world: World, reader: str) -> None:  # wire 53
    told = world.relay(
        "python-new", "engine::registered-triggers::list", json.dumps({"trigger_type": f"{reader}-hook"})
    )
    configs = [row["config"] for row in told["result"]["registered_triggers"]]
    assert sorted(config.get("of", "refused") for config in configs) == sorted(NAMES)


@pytest.mark.parametrize("reader", ["python-oldest", "node-oldest"])
def test_the_lists_of_the_oldest_releases_are_read(world: World, reader: str) -> None:  # wire 95, 98
    def probe() -> Any:
        answer = world.ask("GET", f"/{reader}/lists")
        assert answer.status == 200, answer
        return answer.body if answer.body["news"] else None

    told = eventually(probe, f"{reader} has news of functions")
    shown = {f"{name}::{function}" for name in NAMES for function in ("add", "same", "note", "relay", "notes")}
    assert shown < set(told["functions"])
    assert not any(function_id.startswith("engine::") for function_id in told["functions"])
    assert {*NAMES, "iii-http", "iii-engine-functions"} <= set(told["workers"])
    assert told["triggers"] == sorted(
        ["configuration", "http", "engine::functions-available", *(f"{name}-hook" for name in NAMES)]
    )
    assert shown | {"engine::functions::list"} < set(told["news"][-1])


def test_observe_is_refused_and_hangs_nobody(world: World) -> None:  # wire 101
    answer = world.ask("GET", "/python-new/observe")
    assert (answer.status, answer.body) == (200, {"state": "error", "code": "UNSUPPORTED"})
