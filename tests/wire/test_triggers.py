"""Trigger types and triggers over the wire (wire-protocol 7)."""

import json
import urllib.request
from typing import Any

import pytest
import trio
from trio.testing import MockClock
from wire_client import LEGACY, MODERN, Client, Json, World, open_world

HTTP = {"workers": [{"name": "iii-http", "config": {"host": "127.0.0.1", "port": 0}}]}


async def _provider(world: World, type_id: str = "webhook", announcement: Any = None) -> Client:
    provider = await world.connect(announcement)
    await provider.provide(type_id, description="calls back")
    await provider.fence()
    return provider


async def _listed(client: Client) -> list[str]:
    rows = (await client.value("engine::registered-triggers::list", {"include_internal": True}))["registered_triggers"]
    return [row["id"] for row in rows if row["trigger_type"] != "configuration"]  # the http module follows its entry


async def _types(client: Client) -> list[str]:
    rows = (await client.value("engine::triggers::list", {}))["triggers"]
    return [row["id"] for row in rows if row["id"] != "configuration"]


async def _refuse(provider: Client, trigger: Json, code: str = "bad", message: str = "no") -> None:
    await provider.say(
        type="triggerregistrationresult",
        id=trigger["id"],
        trigger_type="any",
        function_id="any",
        error={"code": code, "message": message},
    )


CONFIG = {"path": "/x", "nested": [1, None]}


async def test_a_provider_is_told_of_triggers(world: World) -> None:
    # wire 51
    provider, registrant = await _provider(world), await world.connect()
    await registrant.trigger("t1", "webhook", "on::hook", config=CONFIG, metadata={"m": 1}, extra="ignored")
    await registrant.trigger("t2", "webhook", "on::hook")
    assert await registrant.fence() == []
    base = {"type": "registertrigger", "trigger_type": "webhook", "function_id": "on::hook"}
    assert await provider.fence() == [
        {**base, "id": "t1", "config": CONFIG, "metadata": {"m": 1}},
        {**base, "id": "t2", "config": None},
    ]
    assert await _listed(registrant) == ["t1", "t2"]


async def test_a_trigger_waits_unseen_for_its_type(world: World) -> None:
    # wire 52
    registrant = await world.connect()
    await registrant.trigger("t1", "webhook", "on::hook", config=CONFIG)
    assert await registrant.fence() == []
    assert await _listed(registrant) == []
    provider = await world.connect()
    await provider.provide("webhook")
    assert [message["id"] for message in await provider.fence()] == ["t1"]
    assert await _listed(registrant) == ["t1"]
    assert await registrant.fence() == []


async def test_a_refused_trigger_is_parked_and_offered_again(world: World) -> None:
    # wire 53
    provider, registrant = await _provider(world), await world.connect()
    await registrant.trigger("t1", "webhook", "on::hook", config=CONFIG)
    offered = await provider.hear("registertrigger")
    for _ in range(2):  # a further refusal is ignored
        await _refuse(provider, offered)
    assert await provider.fence() == []
    assert await registrant.fence() == [
        {
            "type": "triggerregistrationresult",
            "id": "t1",
            "trigger_type": "webhook",
            "function_id": "on::hook",
            "error": {"code": "bad", "message": "no"},
        }
    ]
    assert await _listed(registrant) == []
    await provider.provide("webhook")
    assert await provider.hear("registertrigger") == offered
    assert await _listed(registrant) == ["t1"]


async def test_a_providers_consent_is_not_forwarded(world: World) -> None:
    # wire 54
    provider, registrant = await _provider(world), await world.connect()
    await registrant.trigger("t1", "webhook", "on::hook", config=CONFIG)
    await provider.hear("registertrigger")
    await provider.say(
        type="triggerregistrationresult", id="t1", trigger_type="webhook", function_id="f", result={"x": 1}
    )
    await provider.fence()
    assert await registrant.fence() == []
    assert await _listed(registrant) == ["t1"]


async def test_only_the_provider_refuses(world: World) -> None:
    # wire 55
    provider, registrant, stranger = await _provider(world), await world.connect(), await world.connect()
    await registrant.trigger("t1", "webhook", "on::hook", config=CONFIG)
    offered = await provider.hear("registertrigger")
    for client in (stranger, registrant):
        await _refuse(client, offered)
        assert await client.fence() == []
    assert await registrant.fence() == []
    assert await _listed(registrant) == ["t1"]


@pytest.mark.parametrize("how", ["unregisters", "leaves", "is unregistered by another"])
async def test_the_provider_is_told_once_when_a_trigger_goes(world: World, how: str) -> None:
    # wire 56
    provider, registrant, other = await _provider(world), await world.connect(), await world.connect()
    await registrant.trigger("t1", "webhook", "on::hook", config=CONFIG, metadata={"m": 1})
    await provider.hear("registertrigger")
    if how == "leaves":
        await world.leave(registrant)
    else:
        sender = registrant if how == "unregisters" else other
        for trigger_id in ("t1", "t1", "never"):
            await sender.say(type="unregistertrigger", id=trigger_id)
        assert await sender.fence() == []
    assert await provider.fence() == [
        {
            "type": "unregistertrigger",
            "id": "t1",
            "trigger_type": "webhook",
            "function_id": "on::hook",
            "config": CONFIG,
            "metadata": {"m": 1},
        }
    ]
    if how != "leaves":
        await world.leave(registrant)
    assert await provider.fence() == []


async def test_a_provider_that_returns_gets_every_trigger_once(world: World) -> None:
    # wire 57
    provider, registrant = await _provider(world), await world.connect()
    await provider.trigger("own", "webhook", "on::own", config={})
    for number in range(3):
        await registrant.trigger(f"t{number}", "webhook", "on::hook", config={"n": number})
    await registrant.fence()
    await world.leave(provider)
    assert await _listed(registrant) == []
    assert "webhook" not in await _types(registrant)
    again = await world.connect()
    await again.provide("webhook")
    assert sorted(message["id"] for message in await again.fence()) == ["t0", "t1", "t2"]
    assert await _listed(registrant) == ["t0", "t1", "t2"]


async def test_the_triggers_a_returning_provider_gets_are_the_old_ones(world: World) -> None:
    # wire 57
    provider, registrant = await _provider(world), await world.connect()
    await registrant.trigger("t1", "webhook", "on::hook", config=CONFIG, metadata=[1])
    first = await provider.hear("registertrigger")
    await world.leave(provider)
    again = await world.connect()
    await again.provide("webhook")
    assert await again.fence() == [first]


async def test_a_worker_may_register_triggers_of_its_own_type(world: World) -> None:
    # wire 58
    worker = await world.connect()
    await worker.trigger("before", "webhook", "on::hook", config={})
    await worker.provide("webhook")
    await worker.trigger("after", "webhook", "on::hook", config={})
    offered = await worker.fence()
    assert [(message["type"], message["id"]) for message in offered] == [
        ("registertrigger", "before"),
        ("registertrigger", "after"),
    ]
    await _refuse(worker, offered[1])
    assert [message["type"] for message in await worker.fence()] == ["triggerregistrationresult"]


@pytest.mark.parametrize("generation", [LEGACY, MODERN])
async def test_the_later_of_two_providers_serves(world: World, generation: Json) -> None:
    # wire 59
    first, registrant = await _provider(world), await world.connect()
    await registrant.trigger("t1", "webhook", "on::hook", config={})
    assert (await first.hear("registertrigger"))["id"] == "t1"
    second = await world.connect(generation)
    await second.provide("webhook")
    assert [(message["type"], message["id"]) for message in await second.fence()] == [("registertrigger", "t1")]
    await registrant.trigger("t2", "webhook", "on::hook", config={})
    await registrant.fence()
    assert [message["id"] for message in await second.fence()] == ["t2"]
    assert await first.fence() == []
    await world.leave(first)
    assert await _listed(registrant) == ["t1", "t2"]
    assert await second.fence() == []


async def test_a_provider_withdraws_its_type(world: World) -> None:
    # wire 60
    provider, registrant = await _provider(world), await world.connect()
    await registrant.trigger("t1", "webhook", "on::hook", config={})
    await provider.hear("registertrigger")
    await registrant.say(type="unregistertriggertype", id="webhook")
    await registrant.fence()
    assert await _types(registrant) == ["webhook"]
    await provider.say(type="unregistertriggertype", id="webhook", description="sent by old SDKs")
    assert await provider.fence() == []
    assert await _types(registrant) == []
    assert await _listed(registrant) == []
    await provider.provide("webhook")
    assert [message["id"] for message in await provider.fence()] == ["t1"]


@pytest.mark.parametrize("config", [None, {}, {"api_path": 5}, "text"])
async def test_a_bad_config_of_a_built_in_type_is_refused(config: Any) -> None:
    # wire 61
    async with open_world(HTTP) as world:
        registrant = await world.connect()
        await registrant.trigger("t1", "http", "on::hook", config=config)
        heard = await registrant.fence()
        assert [(message["type"], message["id"], message["error"]["code"]) for message in heard] == [
            ("triggerregistrationresult", "t1", "trigger_registration_failed")
        ]
        assert heard[0]["error"]["message"]
        assert (heard[0]["trigger_type"], heard[0]["function_id"]) == ("http", "on::hook")
        assert await _listed(registrant) == []


async def test_a_trigger_made_by_a_function_survives_its_maker(world: World) -> None:
    # wire 62
    provider, maker, other = await _provider(world), await world.connect(), await world.connect()
    wanted = {"trigger_type": "webhook", "function_id": "on::hook", "config": CONFIG, "metadata": {"m": 1}}
    invocation_id = await maker.invoke("engine::register_trigger", wanted)
    offered = await provider.hear("registertrigger")
    assert {**wanted, "id": offered["id"], "type": "registertrigger"} == offered
    await provider.say(type="triggerregistrationresult", id=offered["id"], trigger_type="webhook", function_id="f")
    assert (await maker.outcome(invocation_id))["result"] == {"id": offered["id"]}
    await world.leave(maker)
    assert await _listed(other) == [offered["id"]]
    for removed in (True, False):
        answer = await other.value("engine::unregister_trigger", {"id": offered["id"]})
        assert answer == {"removed": removed}
    assert [message["type"] for message in await provider.fence()] == ["unregistertrigger"]


async def test_a_trigger_made_by_a_function_may_be_refused_or_wait(
    memory_world: World, autojump_clock: MockClock
) -> None:
    # wire 62: refusal, silence of the provider (10 s), and a type that is not there
    world = memory_world
    provider, maker = await _provider(world), await world.connect()
    wanted = {"trigger_type": "webhook", "function_id": "on::hook"}
    refused = await maker.invoke("engine::register_trigger", wanted)
    await _refuse(provider, await provider.hear("registertrigger"), "C", "m")
    error = (await maker.outcome(refused))["error"]
    assert (error["code"], error["message"]) == ("trigger_registration_failed", "C: m")
    begun = trio.current_time()
    silent = await maker.invoke("engine::register_trigger", wanted)
    assert "result" in await maker.outcome(silent, within=30)
    assert trio.current_time() - begun == pytest.approx(10, abs=0.1)
    parked = await maker.value("engine::register_trigger", {"trigger_type": "nope", "function_id": "on::hook"})
    assert len(await _listed(maker)) == 1
    assert await maker.value("engine::unregister_trigger", parked) == {"removed": True}


async def test_a_built_in_type_fires_with_the_triggers_metadata() -> None:
    # wire 63
    async with open_world(HTTP) as world:
        worker = await world.connect(MODERN)
        await worker.register("on::hook")
        await worker.trigger(
            "t1", "http", "on::hook", config={"api_path": "hook", "http_method": "POST"}, metadata={"tenant": "t1"}
        )
        await worker.fence()
        host, port = world.engine.addresses["http"]
        body: list[bytes] = []

        def post() -> bytes:
            request = urllib.request.Request(f"http://{host}:{port}/hook", b"{}", method="POST")
            with urllib.request.urlopen(request, timeout=5) as response:
                return bytes(response.read())

        async def request() -> None:
            body.append(await trio.to_thread.run_sync(post))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(request)
            call = await worker.serve_one("on::hook", result={"status_code": 200, "body": {"ok": True}})
        assert call["metadata"] == {"tenant": "t1"}
        assert "_caller_worker_id" not in call["data"]
        assert json.loads(body[0]) == {"ok": True}


async def test_a_trigger_registered_by_another_connection_belongs_to_it(world: World) -> None:
    # wire 105
    provider, first, second = await _provider(world), await world.connect(), await world.connect()
    for number, client in enumerate((first, second)):
        await client.trigger("t1", "webhook", "on::hook", config={"n": number})
        await client.fence()
    offers = await provider.fence()
    assert [(message["type"], message["config"]) for message in offers] == [
        ("registertrigger", {"n": 0}),
        ("registertrigger", {"n": 1}),
    ]
    await world.leave(first)
    assert await provider.fence() == []
    await world.leave(second)
    assert [(message["type"], message["id"]) for message in await provider.fence()] == [("unregistertrigger", "t1")]


async def test_a_trigger_that_changes_its_type_leaves_the_old_provider(world: World) -> None:
    # 7.1, 7.4: the entry is replaced, whoever served it before has to let it go
    old, new, registrant = await _provider(world, "a"), await _provider(world, "b"), await world.connect()
    for type_id in ("a", "b", "gone"):
        await registrant.trigger("t1", type_id, "on::hook", config={})
        await registrant.fence()
    assert [message["type"] for message in await old.fence()] == ["registertrigger", "unregistertrigger"]
    assert [message["type"] for message in await new.fence()] == ["registertrigger", "unregistertrigger"]
    assert await _listed(registrant) == []


async def test_parked_triggers_go_with_their_registrant(world: World) -> None:
    registrant, other = await world.connect(), await world.connect()
    for trigger_id in ("t1", "t2"):
        await registrant.trigger(trigger_id, "webhook", "on::hook", config={})
    await other.trigger("t3", "webhook", "on::hook", config={})
    await registrant.say(type="unregistertrigger", id="t1")
    for client in (registrant, other):
        await client.fence()
    await world.leave(registrant)
    provider = await world.connect()
    await provider.provide("webhook")
    assert [message["id"] for message in await provider.fence()] == ["t3"]


async def test_lists_of_functions_are_published_when_they_change(
    memory_world: World, autojump_clock: MockClock
) -> None:
    # wire 98, 13.8: at most 5 s late, only if the set changed
    subscriber = await memory_world.connect(MODERN, name="s")
    worker = await memory_world.connect(LEGACY)
    await subscriber.register("watch::functions")
    await subscriber.trigger("f", "engine::functions-available", "watch::functions", config={})
    await subscriber.fence()
    await trio.sleep(30)
    before = [message["type"] for message in await subscriber.fence()]
    await worker.register("new::one")
    begun = trio.current_time()
    call = await subscriber.invoked("watch::functions", within=6)
    assert trio.current_time() - begun <= 6
    assert call["data"]["event"] == "functions_changed"
    assert "new::one" in {row["function_id"] for row in call["data"]["functions"]}
    await worker.register("new::one", description="no change")
    await trio.sleep(30)
    assert await subscriber.fence() == []
    assert before == ["invokefunction"]  # the subscription brought a function of its own
