"""Connections from greeting to cleanup: announcements, events, disconnects, reattach (wire-protocol 3)."""

import uuid
from typing import Any

import pytest
import trio
from wire_client import LEGACY, MODERN, Client, Json, World, open_world

from tests.waiting import eventually


async def _rows(client: Client) -> dict[str, Json]:
    listed = await client.value("engine::workers::list", {})
    return {row["id"]: row for row in listed["workers"]}


async def test_an_announced_worker_is_listed(world: World) -> None:
    # wire 11
    worker = await world.connect(MODERN, name="billing-1", os="linux", pid=4242, description="bills")
    await worker.register("billing::quote", "billing::send")
    row = (await _rows(worker))[worker.id]
    expected = {"name": "billing-1", "runtime": "node", "version": "0.23.0", "os": "linux", "status": "connected"}
    assert expected.items() <= row.items()
    assert (row["function_count"], row["description"], row["ip_address"]) == (2, "bills", "127.0.0.1")
    nobody = await world.connect()
    assert nobody.id not in await _rows(worker)


async def test_an_announcement_is_about_who_sends_it(world: World) -> None:
    # wire 12
    other = await world.connect(MODERN, name="other")
    worker = await world.connect()
    outcome = await worker.announce(MODERN, name="me", _caller_worker_id=other.id)
    assert outcome["result"] == {"success": True}
    rows = await _rows(worker)
    assert (rows[worker.id]["name"], rows[other.id]["name"]) == ("me", "other")


async def test_a_void_announcement_and_registerworker_are_not_answered(world: World) -> None:
    worker, older = await world.connect(), await world.connect()
    await worker.say(
        type="invokefunction",
        function_id="engine::workers::register",
        action={"type": "void"},
        data={**MODERN, "name": "quiet"},
    )
    assert await worker.fence() == []
    await older.say(type="registerworker", **LEGACY, name="older")
    assert await older.fence() == []
    rows = await _rows(worker)
    assert (rows[worker.id]["name"], rows[older.id]["name"]) == ("quiet", "older")


async def test_announcing_again_keeps_what_is_null_but_runtime_and_version(world: World) -> None:
    worker = await world.connect(MODERN, name="first", os="linux", pid=5, description="d", isolation="none")
    await worker.announce({}, runtime="go", version=None, name=None)
    row = (await _rows(worker))[worker.id]
    assert (row["runtime"], row["version"]) == ("go", None)
    assert (row["name"], row["os"], row["description"], row["isolation"]) == ("first", "linux", "d", "none")


@pytest.mark.parametrize(
    "said", ["text", [], None, {"pid": -1}, {"pid": "7"}, {"pid": 4294967296}, {"name": 5}, {"telemetry": "x"}]
)
async def test_a_malformed_announcement_is_a_deserialization_error(world: World, said: Any) -> None:
    worker = await world.connect()
    invocation_id = await worker.invoke("engine::workers::register", said)
    assert (await worker.outcome(invocation_id))["error"]["code"] == "deserialization_error"
    for form in ({"pid": -1}, {"namespace": " "}):
        await worker.say(type="registerworker", name="never", **form)
    assert await worker.fence() == []
    assert (await worker.error("engine::workers::info", {"name": "never"}))["code"] == "NOT_FOUND"


OBSERVE = [
    {"type": "observe", "id": "o1", "source": {"function_id": "own::one"}, "target": {"function_id": "own::one"}},
    {"type": "unobserve", "id": "o1"},
    {"type": "observerack", "function_id": "own::one", "id": "o1", "revision": 1},
    {"type": "invocationsobserved", "items": []},
    {"type": "localinvocationstats", "window_ms": 1, "functions": [], "dropped_reports": []},
]


async def test_what_the_sdk_of_0_25_offers_beyond_the_protocol_is_taken_in_silence(world: World) -> None:
    # wire 101: no feature is advertised, so none of these is owed an answer
    features = ["observe.v1", "local-dispatch.v1", "large-messages.v1"]
    worker, caller = await world.connect(), await world.connect()
    announced = await worker.announce({**MODERN, "runtime": "python", "version": "0.25.0"}, features=features)
    assert announced["result"] == {"success": True}
    await worker.register("own::one", observe={"delivery": "owner", "allow": True})
    for message in OBSERVE:
        await worker.say(**message)
    assert await worker.fence() == []
    more = {"caller": {"function_id": "x"}, "observe_depth": 1, "activation": {"observer_id": "o1"}}
    invocation_id = await caller.invoke("own::one", {"a": 1}, **more)
    call = await worker.serve_one("own::one", result="x" * 2**21)
    assert set(call) == {"type", "invocation_id", "function_id", "data"}
    assert len((await caller.outcome(invocation_id))["result"]) == 2**21
    for function_id in ("own::one", "engine::workers::register"):
        told = await caller.value("engine::functions::info", {"function_id": function_id})
        assert "observe" not in told


async def test_subscribers_hear_of_workers_in_order(world: World) -> None:
    # wire 13
    subscriber = await world.connect(MODERN, name="subscriber")
    await subscriber.register("watch::workers")
    await subscriber.trigger("w", "engine::workers-available", "watch::workers", config={})
    await subscriber.fence()
    worker = await world.connect(MODERN, name="seen")
    await world.leave(worker)
    events = [(await subscriber.serve_one("watch::workers"))["data"] for _ in range(3)]
    assert [event["event"] for event in events] == [
        "worker_connected",
        "worker_metadata_updated",
        "worker_disconnected",
    ]
    assert {event["worker_id"] for event in events} == {worker.id}


async def test_a_worker_that_left_has_left_nothing(world: World) -> None:
    # wire 14
    provider, worker, target = [await world.connect(MODERN, name=name) for name in ("p", "w", "t")]
    await target.register("watch::seen")
    await worker.register("gone::soon")
    await worker.trigger("t1", "engine::workers-available", "watch::seen", config={})
    await worker.fence()
    await world.connect(MODERN, name="first")
    assert (await target.serve_one("watch::seen"))["data"]["event"] == "worker_connected"
    await world.leave(worker)
    assert (await provider.error("gone::soon"))["code"] == "function_not_found"
    assert worker.id not in await _rows(provider)
    await target.fence()
    last = await world.connect(MODERN, name="last")
    await last.fence()
    listed = await target.value("engine::registered-triggers::list", {"include_internal": True})
    assert listed == {"registered_triggers": []}
    heard = [message["data"]["worker_id"] for message in await target.fence() if message["type"] == "invokefunction"]
    assert last.id not in heard


async def test_callers_of_a_lost_executor_are_told_at_once(world: World) -> None:
    # wire 15
    executor, caller = await world.connect(), await world.connect()
    await executor.register("slow::one", "slow::two")
    await executor.fence()
    ids = [await caller.invoke(function_id, {}) for function_id in ("slow::one", "slow::two")]
    await executor.invoked("slow::two")
    await executor.drop()
    for invocation_id in ids:
        outcome = await caller.outcome(invocation_id, within=1)
        assert outcome["error"] == {"code": "invocation_stopped", "message": "Invocation stopped"}


async def test_the_late_result_for_a_lost_caller_reaches_nobody(world: World) -> None:
    # wire 16
    executor, caller, other = [await world.connect() for _ in range(3)]
    await executor.register("slow::one")
    await executor.fence()
    invocation_id = await caller.invoke("slow::one", {})
    call = await executor.invoked("slow::one")
    await world.leave(caller)
    await executor.answer({**call, "invocation_id": invocation_id}, result=1)
    await executor.answer(call, result=1)
    assert await executor.fence() == []
    assert await other.fence() == []
    assert world.engine.kernel.statistics().invocations.abandoned == 1


async def test_reattach_retires_the_previous_connection(world: World) -> None:
    # wire 17
    old, caller = await world.connect(MODERN, name="w"), await world.connect()
    await old.register("orders::place")
    await old.fence()
    pending = await caller.invoke("orders::place", {})
    await old.invoked("orders::place")
    new = await world.connect()
    await new.say(type="reattach", previous_worker_id=old.id, reattach_token=old.token)
    await new.register("orders::place")
    assert (await new.announce(MODERN, name="w"))["result"] == {"success": True}
    assert (await caller.outcome(pending))["error"]["code"] == "invocation_stopped"
    assert await old.wait_closed() == 1006
    await world.wait_closed("reattached")
    again = await caller.invoke("orders::place", {})
    await new.serve_one("orders::place", result="new")
    assert (await caller.outcome(again))["result"] == "new"


@pytest.mark.parametrize(
    "kind", ["wrong token", "no token", "null token", "random id", "garbage", "itself", "no ascii"]
)
async def test_a_reattach_without_the_right_is_ignored(world: World, kind: str) -> None:
    # wire 18
    victim, intruder = await world.connect(), await world.connect()
    await victim.register("victim::alive")
    forms: dict[str, Json] = {
        "wrong token": {"previous_worker_id": victim.id, "reattach_token": str(uuid.uuid4())},
        "no token": {"previous_worker_id": victim.id},
        "null token": {"previous_worker_id": victim.id, "reattach_token": None},
        "random id": {"previous_worker_id": str(uuid.uuid4()), "reattach_token": victim.token},
        "garbage": {"previous_worker_id": "../..", "reattach_token": victim.token},
        "itself": {"previous_worker_id": intruder.id, "reattach_token": intruder.token},
        "no ascii": {"previous_worker_id": victim.id, "reattach_token": "schlüssel"},
    }
    await intruder.say(type="reattach", **forms[kind])
    assert await intruder.fence() == []
    invocation_id = await intruder.invoke("victim::alive", {})
    await victim.serve_one("victim::alive", result=True)
    assert (await intruder.outcome(invocation_id))["result"] is True
    assert world.closed == {}


async def test_names_are_listed_cleaned_and_cut(world: World) -> None:
    # wire 20
    long = "\x00\u2028" + "a" * 200 + "\x1b\u202e" + "b" * 200 + "\u2066 "
    named = await world.connect(MODERN, name=long, description="\x07 spoken \u2029")
    empty = await world.connect(MODERN, name="\x00\x1f\u2069")
    rows = await _rows(named)
    assert rows[named.id]["name"] == "a" * 200 + "b" * 80
    assert rows[named.id]["description"] == "spoken"
    assert rows[empty.id]["name"] is None


async def test_a_legacy_reconnect_beside_its_old_socket_takes_over(world: World) -> None:
    # wire 106
    provider, caller = await world.connect(LEGACY, name="p"), await world.connect()
    await provider.provide("webhook")
    old = await world.connect(LEGACY, name="host:1")
    for client in (old, new := await world.connect(LEGACY, name="host:1")):
        await client.register("orders::place")
        await client.trigger("t1", "webhook", "orders::place", config={})
        await client.fence()
    await world.leave(old)
    invocation_id = await caller.invoke("orders::place", {})
    await new.serve_one("orders::place", result=1)
    assert (await caller.outcome(invocation_id))["result"] == 1
    heard = [message["type"] for message in await provider.fence()]
    assert heard == ["registertrigger", "registertrigger"]


async def test_a_modern_reconnect_beside_its_old_socket_is_refused_until_it_registers_again(world: World) -> None:
    # wire 106
    provider, caller = await world.connect(MODERN, name="p"), await world.connect()
    await provider.provide("webhook")
    old, new = await world.connect(MODERN), await world.connect(MODERN)
    for client in (old, new):
        await client.register("orders::place")
        await client.trigger("t1", "webhook", "orders::place", config={})
        await client.fence()
    await world.leave(old)
    assert (await caller.error("orders::place"))["code"] == "function_not_found"
    assert [message["type"] for message in await provider.fence()] == ["registertrigger", "registertrigger"]
    await new.register("orders::place")
    await new.fence()
    invocation_id = await caller.invoke("orders::place", {})
    await new.serve_one("orders::place", result=1)
    assert (await caller.outcome(invocation_id))["result"] == 1


async def test_a_renamed_connection_keeps_its_old_name_and_nameless_ones_never_conflict(world: World) -> None:
    # wire 112
    renamed = await world.connect(MODERN, name="before")
    assert (await renamed.announce(MODERN, name="after"))["result"] == {"success": True}
    for taken in ("before", "after"):
        newcomer = await world.connect()
        await newcomer.invoke("engine::workers::register", {**MODERN, "name": taken})
        assert await newcomer.wait_closed() == 1005
        assert [message["type"] for message in newcomer.backlog] == ["registrationrejected"]
    for name in (None, None, "\x00"):
        await world.connect(MODERN, name=name)


async def test_a_stopping_engine_says_goodbye_to_workers_and_telemetry() -> None:
    # wire 114: with 1012 in place of 1001, see docs/differences.md; the process: test_cli_serve.py
    codes: dict[str, int | None] = {}

    async def listen(path: str, client: Client) -> None:
        codes[path] = await client.wait_closed()
        await client.drop()

    async with trio.open_nursery() as outliving, open_world() as world:
        world.nursery = outliving
        for path in ("/", "/otel"):
            socket = await world.open_socket(path)
            outliving.start_soon(listen, path, socket)
        await eventually(lambda: world.engine.statistics().listeners[0].telemetry == 1)
        world.streams.clear()  # the engine ends these
    assert codes == {"/": 1012, "/otel": 1012}
    assert world.closed == {"shutdown": 2}
