"""Triggers of a worker and the types it provides, over a WebSocket (wire-protocol 2.8 to 2.11, 7)."""

from typing import Any

import attrs
import pytest
import trio
from worker_engine import Peer, open_fake_engine

from iii_trio.protocol.errors import OutputRejected
from iii_trio.worker import TriggerConfig


@attrs.define(eq=False)
class Webhooks:
    """A provider that notes what it is told, and refuses or waits if asked."""

    seen: list[tuple[str, str, Any]] = attrs.field(factory=list)
    gate: trio.Event | None = None
    fails_to_end: bool = False

    async def register_trigger(self, trigger: TriggerConfig) -> None:
        self.seen.append(("begin", trigger.id, trigger.config))
        if self.gate is not None:
            await self.gate.wait()
        if trigger.config == "bad":
            raise ValueError("not a path")

    async def unregister_trigger(self, trigger: TriggerConfig) -> None:
        self.seen.append(("end", trigger.id, trigger.config))
        if self.fails_to_end:
            raise ValueError("it does not want to")


async def offer(peer: Peer, trigger_id: str, config: Any, **more: Any) -> None:
    await peer.say(
        type="registertrigger", id=trigger_id, trigger_type="webhook", function_id="hook", config=config, **more
    )


async def test_a_type_is_registered_and_its_triggers_begin_and_end(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        hooks = Webhooks()
        worker.register_trigger_type(
            "webhook", "Calls of others", hooks, trigger_request_format={"type": "string"}, call_request_format={}
        )
        assert await peer.hear() == {
            "type": "registertriggertype",
            "id": "webhook",
            "description": "Calls of others",
            "trigger_request_format": {"type": "string"},
            "call_request_format": {},
        }
        await offer(peer, "t1", "/a")
        answer = {"id": "t1", "trigger_type": "webhook", "function_id": "hook"}
        assert await peer.hear() == {"type": "triggerregistrationresult", **answer}
        assert worker.statistics().triggers_served == 1
        await peer.say(type="unregistertrigger", id="t1", trigger_type="webhook")
        await peer.say(type="unregistertrigger", id="unknown", trigger_type="webhook")
        assert await peer.hear_all() == []
        assert hooks.seen == [("begin", "t1", "/a"), ("end", "t1", "/a")]
        assert worker.statistics().triggers_served == 0


async def test_a_provider_sees_everything_it_needs_to_fire(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker(namespace="shop") as (worker, peer):
        fired: list[TriggerConfig] = []

        class Immediate:
            async def register_trigger(self, trigger: TriggerConfig) -> None:
                fired.append(trigger)
                await worker.trigger_void(
                    trigger.function_id, {"n": 1}, namespace=trigger.namespace, metadata=trigger.metadata
                )

            async def unregister_trigger(self, trigger: TriggerConfig) -> None: ...

        worker.register_trigger_type("webhook", "", Immediate())
        await offer(peer, "t1", {"path": "/a"}, metadata={"m": 1})
        said = await peer.hear("invokefunction")
        assert (said["function_id"], said["data"], said["metadata"]) == ("hook", {"n": 1}, {"m": 1})
        assert said["namespace"] == "default"
        await offer(peer, "t2", None, namespace="x")
        assert (await peer.hear("invokefunction"))["namespace"] == "x"
        assert [(trigger.id, trigger.config, trigger.metadata) for trigger in fired] == [
            ("t1", {"path": "/a"}, {"m": 1}),
            ("t2", None, None),
        ]


async def test_a_refusal_whose_text_is_not_unicode_is_answered_too(autojump_clock: Any) -> None:
    class Unreadable:
        async def register_trigger(self, _: TriggerConfig) -> None:
            raise FileNotFoundError("no \udcff.txt here")  # as the system gives a name that is not UTF-8

        async def unregister_trigger(self, _: TriggerConfig) -> None: ...

    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        worker.register_trigger_type("webhook", "", Unreadable())
        await peer.hear("registertriggertype")
        await offer(peer, "t1", None)
        assert (await peer.hear())["error"]["message"] == r"no \udcff.txt here"


async def test_a_refusal_is_answered_with_its_text(autojump_clock: Any) -> None:  # wire 53
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        worker.register_trigger_type("webhook", "", Webhooks())
        await peer.hear("registertriggertype")
        await offer(peer, "t1", "bad")
        assert (await peer.hear())["error"] == {"code": "trigger_registration_failed", "message": "not a path"}
        assert worker.statistics().triggers_served == 0
        await peer.say(type="registertrigger", id="t2", trigger_type="other", function_id="hook", config=None)
        error = (await peer.hear())["error"]
        assert error["code"] == "trigger_registration_failed"
        assert "other is not provided here" in error["message"]


async def test_a_trigger_that_changes_while_it_begins_settles_on_the_last_word(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        hooks = Webhooks(gate=trio.Event())
        worker.register_trigger_type("webhook", "", hooks)
        await peer.hear("registertriggertype")
        await offer(peer, "t1", "/a")
        await trio.testing.wait_all_tasks_blocked()
        await peer.say(type="unregistertrigger", id="t1", trigger_type="webhook")
        await offer(peer, "t1", "/b")
        await offer(peer, "t1", "/c")
        await trio.testing.wait_all_tasks_blocked()
        assert hooks.seen == [("begin", "t1", "/a")]
        assert hooks.gate is not None
        hooks.gate.set()
        answers = await peer.hear_all()
        assert hooks.seen == [("begin", "t1", "/a"), ("end", "t1", "/a"), ("begin", "t1", "/c")]
        assert [answer.get("error") for answer in answers] == [None]


async def test_a_replaced_trigger_ends_before_it_begins_anew(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        hooks = Webhooks(fails_to_end=True)
        worker.register_trigger_type("webhook", "", hooks)
        await offer(peer, "t1", "/a")
        await peer.hear_all()
        await offer(peer, "t1", "/b")
        await peer.hear_all()
        assert hooks.seen == [("begin", "t1", "/a"), ("end", "t1", "/a"), ("begin", "t1", "/b")]
        assert "t1 was not unregistered cleanly" in caplog.text


async def test_a_lost_connection_ends_the_triggers_and_the_next_begins_them(autojump_clock: Any) -> None:  # wire 57
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        hooks = Webhooks()
        worker.register_trigger_type("webhook", "", hooks)
        await offer(peer, "t1", "/a")
        await offer(peer, "t2", "/b")
        await peer.hear_all()
        await peer.drop()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(hooks.seen[2:]) == [("end", "t1", "/a"), ("end", "t2", "/b")]
        again = await engine.accept()
        await offer(again, "t1", "/a")
        assert (await again.hear("triggerregistrationresult"))["id"] == "t1"
        assert hooks.seen[4:] == [("begin", "t1", "/a")]


async def test_withdrawing_a_type_ends_its_triggers(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        hooks = Webhooks()
        worker.register_trigger_type("webhook", "", hooks)
        await offer(peer, "t1", "/a")
        await peer.hear_all()
        worker.register_trigger_type("other", "", hooks)
        await peer.say(type="registertrigger", id="o1", trigger_type="other", function_id="hook", config="/o")
        await peer.hear_all()
        assert worker.unregister_trigger_type("webhook")
        assert not worker.unregister_trigger_type("webhook")
        assert await peer.hear_all() == [{"type": "unregistertriggertype", "id": "webhook"}]
        assert hooks.seen[1:] == [("begin", "o1", "/o"), ("end", "t1", "/a")]
        await offer(peer, "t1", "/a")
        assert "not provided here" in (await peer.hear())["error"]["message"]


async def test_a_trigger_is_registered_and_unregistered(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker(namespace="shop") as (worker, peer):
        handle = await worker.register_trigger(
            "http", "orders::list", {"path": "/orders"}, metadata={"m": 1}, trigger_namespace="web"
        )
        assert await peer.hear() == {
            "type": "registertrigger",
            "id": handle.id,
            "trigger_type": "http",
            "function_id": "orders::list",
            "config": {"path": "/orders"},
            "metadata": {"m": 1},
            "namespace": "shop",
            "trigger_namespace": "web",
        }
        await handle.unregister()
        assert await peer.hear() == {"type": "unregistertrigger", "id": handle.id, "trigger_type": "http"}
        with pytest.raises(OutputRejected):
            await worker.register_trigger("http", "orders::list", object())
        await worker.register_trigger("http", "orders::list", trigger_id="mine", namespace="default")
        said = await peer.hear()
        assert (said["id"], said["config"], said["namespace"]) == ("mine", None, "default")


async def test_a_refused_trigger_is_remembered_and_logged(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:  # wire 61
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        handle = await worker.register_trigger("cron", "tick", {"expression": "no"})
        registered = await peer.hear()
        same = {key: registered[key] for key in ("id", "trigger_type", "function_id")}
        for number in range(101):
            body = {"code": "trigger_registration_failed", "message": f"bad {number}"}
            await peer.say(type="triggerregistrationresult", **same, error=body)
        await peer.say(type="triggerregistrationresult", **same)  # success is no news
        await peer.say(type="ping")
        await peer.hear("pong")
        errors = worker.trigger_errors
        assert len(errors) == 100  # bounded: the oldest is forgotten
        assert (errors[-1].trigger_id, errors[-1].trigger_type, errors[-1].function_id) == (handle.id, "cron", "tick")
        assert (errors[0].error.code, errors[0].error.message) == ("trigger_registration_failed", "bad 1")
        assert "was refused: trigger_registration_failed: bad 0" in caplog.text


async def test_registering_a_trigger_waits_for_room(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        engine.stuck = True
        for number in range(1_001):  # one is being written, a thousand wait
            worker.register_trigger_type(f"type-{number}", "", Webhooks())
            await trio.lowlevel.checkpoint()
        with trio.move_on_after(1) as deadline:
            await worker.register_trigger("cron", "tick")
        assert deadline.cancelled_caught
        with trio.move_on_after(1) as deadline:
            await worker.trigger_void("tick")
        assert deadline.cancelled_caught
        engine.stuck = False
        await peer.drop()
        again = await engine.accept()
        said = await again.hear_all()
        assert [message["type"] for message in said].count("registertriggertype") == 1_001
        assert "registertrigger" not in {message["type"] for message in said}
