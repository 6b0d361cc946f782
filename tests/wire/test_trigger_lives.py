"""Triggers across the comings and goings of their providers, registrants and targets (wire-protocol 7, 12.2, 3.5)."""

import urllib.error
import urllib.request
from typing import Any

import pytest
import trio
from trio.testing import MockClock
from wire_client import LEGACY, MODERN, Client, Json, World, of_others, open_world

HTTP = {"workers": [{"name": "iii-http", "config": {"host": "127.0.0.1", "port": 0}}]}
GENERATIONS = [LEGACY, MODERN, None]


async def _listed(client: Client) -> list[str]:
    rows = (await client.value("engine::registered-triggers::list", {"include_internal": True}))["registered_triggers"]
    return [row["id"] for row in of_others(rows)]


async def _heard(client: Client) -> list[tuple[str, str]]:
    """What the engine has said about triggers since the last look, as type and id."""
    return [(message["type"], message["id"]) for message in await client.fence()]


async def _provider(world: World, announcement: Json | None = None, **more: Any) -> Client:
    provider = await world.connect(announcement)
    await provider.provide("webhook", **more)
    await provider.fence()
    return provider


async def _bind(registrant: Client, trigger_id: str = "t1", **more: Any) -> None:
    await registrant.trigger(trigger_id, "webhook", "on::hook", **{"config": {"n": 1}, **more})
    await registrant.fence()


# --- providers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_provider_that_reattaches_gets_every_trigger_once(world: World, generation: Json | None) -> None:
    # wire 17, 57
    old, registrant = await _provider(world, generation), await world.connect(generation)
    for trigger_id in ("t1", "t2"):
        await _bind(registrant, trigger_id, metadata={"of": trigger_id})
    first = await old.fence()
    new = await world.connect()
    await new.say(type="reattach", previous_worker_id=old.id, reattach_token=old.token)
    await new.provide("webhook")  # in one breath: the cleanup is complete when this is read
    assert await new.fence() == first
    assert await registrant.fence() == []
    assert await old.wait_closed() == 1006
    assert await _listed(registrant) == ["t1", "t2"]
    await registrant.say(type="unregistertrigger", id="t1")
    await registrant.fence()
    assert await _heard(new) == [("unregistertrigger", "t1")]


@pytest.mark.parametrize("generation", [LEGACY, MODERN])
async def test_a_provider_that_comes_back_beside_its_old_socket_serves_alone(world: World, generation: Json) -> None:
    # wire 57, 59: SDKs before 0.21.8 do not reattach
    old, registrant = await _provider(world, generation), await world.connect(generation)
    await _bind(registrant)
    assert await _heard(old) == [("registertrigger", "t1")]
    new = await _provider(world, generation)
    assert await _heard(old) == []
    await world.leave(old)
    assert await _listed(registrant) == ["t1"]
    await _bind(registrant, "t2")
    assert await _heard(new) == [("registertrigger", "t2")]
    assert await registrant.fence() == []


async def test_a_trigger_follows_the_provider_of_its_namespace(world: World) -> None:
    # wire 57, 92
    registrant = await world.connect(MODERN, namespace="a")
    default, named = await _provider(world), await _provider(world, MODERN, namespace="a")
    await _bind(registrant, "free")
    await _bind(registrant, "explicit", trigger_namespace="a")
    assert await _heard(named) == [("registertrigger", "free"), ("registertrigger", "explicit")]
    assert await _heard(default) == []
    await world.leave(named)  # the one falls back, the other waits
    assert await _heard(default) == [("registertrigger", "free")]
    assert await _listed(registrant) == ["free"]
    again = await world.connect(MODERN, namespace="a")
    await again.provide("webhook")
    assert sorted(await _heard(again)) == [("registertrigger", "explicit"), ("registertrigger", "free")]
    assert await _heard(default) == [("unregistertrigger", "free")]
    await again.say(type="unregistertriggertype", id="webhook")  # of its own namespace
    assert await again.fence() == []
    assert await _heard(default) == [("registertrigger", "free")]
    await world.leave(registrant)
    assert await _heard(default) == [("unregistertrigger", "free")]
    assert await _heard(again) == []


async def test_a_refused_trigger_does_not_move_to_whoever_refused_it(world: World) -> None:
    # wire 53, 92: it waits for a provider to register the type, wherever that may be looked for
    registrant = await world.connect(MODERN, namespace="a")
    provider = await _provider(world)
    await _bind(registrant)
    offer = await provider.hear("registertrigger")
    error = {"code": "C", "message": "m", "stacktrace": "s"}
    await provider.say(type="triggerregistrationresult", error=error, **_about(offer))
    await provider.fence()
    told = await registrant.hear("triggerregistrationresult")
    assert told == {"type": "triggerregistrationresult", **_about(offer), "error": error}
    await registrant.say(type="unregistertrigger", id="t1")  # parked: the provider knows nothing of it
    await registrant.fence()
    assert await _heard(provider) == []
    await provider.provide("webhook")
    assert await _heard(provider) == []


def _about(offer: Json) -> Json:
    return {key: offer[key] for key in ("id", "trigger_type", "function_id")}


async def test_a_refusal_after_a_long_time_still_counts(memory_world: World, autojump_clock: MockClock) -> None:
    # wire 53
    provider, registrant = await _provider(memory_world), await memory_world.connect()
    await _bind(registrant)
    offer = await provider.hear("registertrigger")
    await trio.sleep(3600)
    assert await _listed(registrant) == ["t1"]
    await provider.say(type="triggerregistrationresult", error={"code": "C", "message": "m"}, **_about(offer))
    await provider.fence()
    assert (await registrant.hear("triggerregistrationresult"))["error"] == {"code": "C", "message": "m"}
    assert await _listed(registrant) == []


@pytest.mark.parametrize("announcement", [{**MODERN, "namespace": "a"}, MODERN])
async def test_early_registrations_of_a_provider_move_as_a_whole(world: World, announcement: Json) -> None:
    # wire 88, 92: trigger types and triggers as well as functions
    registrant = await world.connect(MODERN, namespace="a")
    await _bind(registrant)
    worker = await world.connect()
    await worker.provide("webhook")
    await worker.trigger("own", "webhook", "on::hook", config={})
    await worker.trigger("gone", "webhook", "on::hook", config={})
    await worker.say(type="unregistertrigger", id="gone")
    assert ("registertrigger", "own") in await _heard(worker)  # in force at once (C2)
    await worker.announce(announcement)
    await worker.fence()
    (row,) = of_others((await registrant.value("engine::triggers::list", {}))["triggers"])
    assert row["namespace"] == announcement.get("namespace", "default")
    assert await _listed(registrant) == ["own", "t1"]


# --- registrants ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_registrant_that_reattaches_replaces_its_triggers(world: World, generation: Json | None) -> None:
    # wire 17, 56
    provider, old = await _provider(world, generation), await world.connect(generation)
    await _bind(old)
    assert await _heard(provider) == [("registertrigger", "t1")]
    new = await world.connect()
    await new.say(type="reattach", previous_worker_id=old.id, reattach_token=old.token)
    await _bind(new)
    assert await _heard(provider) == [("unregistertrigger", "t1"), ("registertrigger", "t1")]
    await world.leave(new)
    assert await _heard(provider) == [("unregistertrigger", "t1")]


async def test_a_trigger_that_outlives_its_maker_may_be_taken_over(world: World) -> None:
    # wire 62, 105
    provider, maker, taker = await _provider(world), await world.connect(), await world.connect()
    made = await maker.invoke("engine::register_trigger", {"trigger_type": "webhook", "function_id": "f"})
    offer = await provider.hear("registertrigger")
    assert offer["config"] is None
    await provider.say(type="triggerregistrationresult", **_about(offer))
    assert (await maker.outcome(made))["result"] == {"id": offer["id"]}
    await world.leave(maker)
    await _bind(taker, offer["id"])
    assert await _heard(provider) == [("registertrigger", offer["id"])]
    await world.leave(taker)
    assert await _heard(provider) == [("unregistertrigger", offer["id"])]


@pytest.mark.parametrize("who", ["provider", "maker"])
async def test_who_leaves_while_consent_is_waited_for_loses_no_trigger(
    memory_world: World, autojump_clock: MockClock, who: str
) -> None:
    # wire 62
    world = memory_world
    provider, maker, other = await _provider(world), await world.connect(), await world.connect()
    made = await maker.invoke("engine::register_trigger", {"trigger_type": "webhook", "function_id": "f"})
    offer = await provider.hear("registertrigger")
    await world.leave(provider if who == "provider" else maker)
    if who == "provider":
        assert (await maker.outcome(made, within=11))["result"] == {"id": offer["id"]}
        assert await _listed(other) == []
        again = await _provider(world)
        assert await _listed(other) == [offer["id"]]
    else:
        again = provider
        await provider.say(type="triggerregistrationresult", **_about(offer))
        await provider.fence()
        await trio.sleep(11)
        assert await _listed(other) == [offer["id"]]
    assert await other.value("engine::unregister_trigger", {"id": offer["id"]}) == {"removed": True}
    assert ("unregistertrigger", offer["id"]) in await _heard(again)


@pytest.mark.parametrize("namespace", ["a", "nowhere", " "])
async def test_a_made_trigger_looks_for_its_provider_where_it_is_told(world: World, namespace: str) -> None:
    # wire 62, 92: a blank namespace is not checked here, it is one that nobody is in
    default, named = await _provider(world), await _provider(world, MODERN, namespace="a")
    maker = await world.connect(MODERN, namespace="a")
    wanted = {"trigger_type": "webhook", "function_id": "f", "trigger_namespace": namespace}
    made = await maker.invoke("engine::register_trigger", wanted)
    if namespace == "a":
        offer = await named.hear("registertrigger")
        assert (offer["trigger_namespace"], "namespace" in offer) == ("a", False)
        await named.say(type="triggerregistrationresult", **_about(offer))
    trigger_id = (await maker.outcome(made))["result"]["id"]
    assert (await _listed(maker) == [trigger_id]) == (namespace == "a")
    assert await _heard(default) == []


# --- firing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", [{"tenant": 1}, [0], 0, False, "x"])
async def test_the_engines_own_types_fire_with_metadata_into_the_namespace(world: World, metadata: Any) -> None:
    # wire 13, 63
    target = await world.connect(MODERN, namespace="a", name="target")
    await target.register("watch::workers")
    await target.trigger(
        "w", "engine::workers-available", "watch::workers", config={}, metadata=metadata, namespace="a"
    )
    await target.fence()
    seen = await world.connect(LEGACY)
    call = await target.invoked("watch::workers")
    assert call["metadata"] == metadata
    assert call["data"] == {"event": "worker_connected", "worker_id": seen.id}
    assert (call["invocation_id"] != "", "namespace" in call) == (True, False)


CONDITIONS: list[tuple[Json, int]] = [
    ({"result": False}, 422),
    *(({"result": value}, 200) for value in (True, None, 0, "", "no", {}, [])),
    ({}, 200),
    ({"error": {"code": "C", "message": "m"}}, 500),
]


@pytest.mark.parametrize("generation", [LEGACY, MODERN])
async def test_a_condition_decides_whether_the_handler_runs(generation: Json) -> None:
    # wire 64
    async with open_world(HTTP) as world:
        worker = await world.connect(generation)
        await worker.register("may::run", "on::hook")
        await worker.trigger("missing", "http", "on::hook", config=_route("missing", "no::such"))
        await worker.trigger("there", "http", "on::hook", config=_route("there", "may::run"), metadata={"m": 1})
        await worker.fence()
        for outcome, status in CONDITIONS:
            ran, answered = await _request(world, worker, "there", outcome)
            assert (answered, ran) == (status, status == 200), outcome
        ran, answered = await _request(world, worker, "missing", None)
        assert (answered, ran) == (500, False)


def _route(path: str, condition: str) -> Json:
    return {"api_path": path, "http_method": "POST", "condition_function_id": condition}


async def _request(world: World, worker: Client, path: str, outcome: Json | None) -> tuple[bool, int]:
    """Whether the handler ran, and the status of the answer."""
    host, port = world.engine.addresses["http"]
    status: list[int] = []

    def post() -> int:
        request = urllib.request.Request(f"http://{host}:{port}/{path}", b'{"a":1}', method="POST")
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    async def ask() -> None:
        status.append(await trio.to_thread.run_sync(post))

    ran = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        if outcome is not None:
            asked = await worker.serve_one("may::run", **outcome)
            assert ("metadata" in asked, asked["data"]["body"]) == (False, {"a": 1})
            ran = "error" not in outcome and outcome.get("result", True) is not False
        if ran:
            call = await worker.serve_one("on::hook", result={"status_code": 200, "body": {}})
            assert (call["metadata"], call["data"]["body"]) == ({"m": 1}, {"a": 1})
    assert [message for message in await worker.fence() if message["type"] == "invokefunction"] == []
    return ran, status[0]


async def test_targets_that_come_later_are_found_and_missing_ones_are_nobodys_harm(world: World) -> None:
    # 7: existence of the target is not checked; wire 14
    watcher = await world.connect(MODERN, name="w")
    await watcher.trigger("w1", "engine::workers-available", "late::one", config={})
    await watcher.trigger("w2", "engine::workers-available", "never::there", config={})
    await watcher.fence()
    await world.connect()
    await watcher.register("late::one")
    await watcher.fence()
    seen = await world.connect()
    assert (await watcher.invoked("late::one"))["data"]["worker_id"] == seen.id


async def test_a_made_trigger_that_a_built_in_type_refuses_leaves_nothing() -> None:
    # wire 61, 62
    async with open_world(HTTP) as world:
        maker = await world.connect(MODERN)
        wanted = {"trigger_type": "http", "function_id": "f", "config": {"api_path": 5}}
        error = await maker.error("engine::register_trigger", wanted)
        assert error["code"] == "trigger_registration_failed"
        assert "api_path" in error["message"]
        assert await _listed(maker) == []
        made = await maker.value("engine::register_trigger", {**wanted, "config": {"api_path": "x"}})
        assert await _listed(maker) == [made["id"]]
        assert await maker.value("engine::unregister_trigger", {**made, "trigger_type": "http"}) == {"removed": True}


async def test_a_worker_that_takes_the_place_of_a_built_in_type_takes_it_for_as_long_as_it_is_there() -> None:
    # 7.2, and what the engine offers must outlive a mistake of one worker
    async with open_world(HTTP) as world:
        worker, usurper = await world.connect(MODERN), await world.connect(MODERN)
        await worker.register("may::run", "on::hook")
        await worker.trigger("t1", "http", "on::hook", config=_route("there", "may::run"), metadata={"m": 1})
        await worker.fence()
        await usurper.provide("http")
        assert await _heard(usurper) == [("registertrigger", "t1")]
        await worker.trigger("t2", "http", "on::hook", config=_route("later", "may::run"), metadata={"m": 1})
        await worker.fence()
        assert await _heard(usurper) == [("registertrigger", "t2")]
        await world.leave(usurper)
        assert await _listed(worker) == ["t1", "t2"]
        for path in ("there", "later"):
            assert await _request(world, worker, path, {"result": True}) == (True, 200)
        (row,) = of_others((await worker.value("engine::triggers::list", {}))["triggers"])
        assert (row["id"], row["worker_name"]) == ("http", "iii-http")
