"""How a worker connects, stays connected and leaves (wire-protocol 1, 2.14, 2.15, 3, 15)."""

import os
import socket
from random import Random
from typing import Any

import pytest
import trio
from worker_engine import Peer, open_fake_engine

from iii_trio.protocol.errors import InvalidNamespace, Overloaded, WorkerDisconnected
from iii_trio.worker import Worker, WorkerRejected, connect


async def nothing() -> None:
    pass


class Nobody:
    async def register_trigger(self, trigger: Any) -> None: ...
    async def unregister_trigger(self, trigger: Any) -> None: ...


async def test_the_first_words(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, trio.open_nursery() as nursery:
        peers: list[Peer] = []

        async def accept() -> None:
            peers.append(await engine.accept())

        nursery.start_soon(accept)
        headers = {"x-team": "shop"}
        async with engine.connect(name="orders", namespace="shop", description="Orders", headers=headers) as worker:
            assert worker.id == "worker-1"
            assert (worker.name, worker.namespace) == ("orders", "shop")
            said = await peers[0].hear()
            assert said == {
                "type": "invokefunction",
                "function_id": "engine::workers::register",
                "action": {"type": "void"},
                "data": said["data"],
            }
            assert said["data"] == {
                "runtime": "trio",
                "version": "0.25.0",
                "name": "orders",
                "description": "Orders",
                "namespace": "shop",
                "os": said["data"]["os"],
                "pid": os.getpid(),
                "telemetry": {"language": "python", "framework": "trio"},
            }
            assert (b"x-team", b"shop") in peers[0].request.headers
            assert peers[0].request.path == "/"


async def test_the_default_name_and_token_come_from_the_environment(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("III_WORKER_NAME", raising=False)
    monkeypatch.delenv("III_TOKEN", raising=False)
    async with open_fake_engine() as engine:
        async with engine.worker() as (worker, peer):
            assert worker.name == f"{socket.gethostname()}:{os.getpid()}"
            assert b"authorization" not in dict(peer.request.headers)
        monkeypatch.setenv("III_WORKER_NAME", "named")
        monkeypatch.setenv("III_TOKEN", "secret")
        async with engine.worker() as (worker, peer):
            assert worker.name == "named"
            assert dict(peer.request.headers)[b"authorization"] == b"Bearer secret"
        async with engine.worker(headers={"Authorization": "Basic eA=="}) as (_, peer):
            assert dict(peer.request.headers)[b"authorization"] == b"Basic eA=="


async def test_nothing_is_said_before_the_greeting(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with open_fake_engine() as engine, trio.open_nursery() as nursery:
        inside = trio.Event()

        async def run() -> None:
            async with engine.connect():
                inside.set()
                await trio.sleep_forever()

        nursery.start_soon(run)
        peer = await engine.accept(greet=False)
        await peer.say(type="error", error={"code": "AUTH_ERROR", "message": "who are you"})
        assert await peer.hear_all() == []
        assert not inside.is_set()
        assert "who are you" in caplog.text
        await peer.say(type="workerregistered", worker_id="w")
        assert (await peer.hear())["function_id"] == "engine::workers::register"
        assert inside.is_set()
        nursery.cancel_scope.cancel()


async def test_the_replay_of_a_new_connection(autojump_clock: Any) -> None:  # wire 17, 57
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        worker.register_trigger_type("webhook", "Calls of others", Nobody())
        first = await worker.register_trigger("cron", "tick", {"expression": "* * * * *"}, metadata={"n": 1})
        gone = await worker.register_trigger("cron", "tick", trigger_id="gone")
        worker.register_function("tick", nothing)
        worker.register_function("tock", nothing)
        before = [message["type"] for message in await peer.hear_all()]
        assert before == [
            "registertriggertype",
            "registertrigger",
            "registertrigger",
            "registerfunction",
            "registerfunction",
        ]

        await peer.drop()
        await trio.testing.wait_all_tasks_blocked()
        assert not worker.statistics().link.connected
        await gone.unregister()
        worker.unregister_function("tock")
        second = await worker.register_trigger("cron", "tack", trigger_id="second")
        await worker.trigger_void("queued", 1)

        again = await engine.accept()
        said = await again.hear_all()
        assert [message["type"] for message in said] == [
            "reattach",
            "invokefunction",
            "registertriggertype",
            "registerfunction",
            "registertrigger",
            "registertrigger",
            "invokefunction",
        ]
        assert said[0] == {"type": "reattach", "previous_worker_id": "worker-1", "reattach_token": "token-1"}
        assert said[1]["function_id"] == "engine::workers::register"
        assert said[3]["id"] == "tick"
        assert said[4] == {
            "type": "registertrigger",
            "id": first.id,
            "trigger_type": "cron",
            "function_id": "tick",
            "config": {"expression": "* * * * *"},
            "metadata": {"n": 1},
        }
        assert said[5]["id"] == second.id
        assert (said[6]["function_id"], said[6]["data"]) == ("queued", 1)
        assert worker.id == "worker-2"


async def test_calls_in_flight_fail_and_queued_ones_are_sent_later(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer), trio.open_nursery() as nursery:
        outcomes: dict[str, Any] = {}

        async def call(name: str) -> None:
            try:
                outcomes[name] = await worker.trigger(name)
            except WorkerDisconnected as error:
                outcomes[name] = error.message

        nursery.start_soon(call, "in-flight")
        await peer.hear("invokefunction")
        await peer.drop()
        await trio.testing.wait_all_tasks_blocked()
        assert outcomes == {"in-flight": "the connection to the engine was lost"}
        nursery.start_soon(call, "queued")
        await trio.testing.wait_all_tasks_blocked()
        assert worker.statistics().link.queued == 1

        again = await engine.accept()
        await again.hear("reattach")
        await again.hear("invokefunction")
        queued = await again.hear("invokefunction")
        assert queued["function_id"] == "queued"
        await again.answer(queued, result="served")
        await trio.testing.wait_all_tasks_blocked()
        assert outcomes["queued"] == "served"


async def test_only_what_has_left_is_lost_with_a_connection(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer), trio.open_nursery() as nursery:
        outcomes: dict[str, Any] = {}

        async def call(name: str) -> None:
            try:
                outcomes[name] = await worker.trigger(name)
            except WorkerDisconnected as error:
                outcomes[name] = error.code

        engine.stuck = True
        for name in ("leaving", "waiting"):
            nursery.start_soon(call, name)
            await trio.testing.wait_all_tasks_blocked()
        engine.stuck = False
        await peer.drop()
        again = await engine.accept()
        while (said := await again.hear("invokefunction"))["function_id"] != "waiting":
            pass
        await again.answer(said, result=1)
        await trio.testing.wait_all_tasks_blocked()
        assert outcomes == {"leaving": "invocation_stopped", "waiting": 1}


async def test_a_thousand_calls_may_wait_for_a_connection(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        await peer.drop()
        await trio.testing.wait_all_tasks_blocked()
        for number in range(1_000):
            await worker.trigger_void("queued", number)
        with pytest.raises(Overloaded, match="1000 calls wait"):
            await worker.trigger_void("queued", 1_000)
        with pytest.raises(Overloaded):
            await worker.trigger("queued", 1_000)
        again = await engine.accept()
        said = [message.get("data") for message in await again.hear_all() if message.get("function_id") == "queued"]
        assert said == list(range(1_000))


async def test_a_call_that_gave_up_waiting_is_not_sent_any_more(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        await peer.drop()
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.1):
            await worker.trigger("impatient")
        again = await engine.accept()
        assert [message["type"] for message in await again.hear_all()] == ["reattach", "invokefunction"]


async def test_the_answer_of_a_lost_connection_is_not_sent_on_the_next(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        release, ended = trio.Event(), trio.Event()

        @worker.function("slow")
        async def slow() -> str:
            await release.wait()
            ended.set()
            return "late"

        await peer.invoke("slow")
        await trio.testing.wait_all_tasks_blocked()
        await peer.drop()
        again = await engine.accept()
        await again.hear_all()
        release.set()
        await ended.wait()
        assert await again.hear_all() == []
        assert worker.statistics().link.running == 0


async def test_pauses_double_to_thirty_seconds(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with open_fake_engine() as engine, engine.worker(random=Steady()) as (_, peer):
        engine.down = True
        await peer.drop()
        await trio.sleep(155)
        pauses = [later - earlier for earlier, later in zip(engine.attempts, engine.attempts[1:], strict=False)]
        assert pauses == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30, 30])
        assert caplog.text.count("nobody listens here; trying again in 30.0 s") == 5
        engine.down = False
        again = await engine.accept()
        await again.hear("reattach")
        engine.attempts.clear()
        await again.drop()
        now = trio.current_time()
        await engine.accept()
        assert engine.attempts[0] - now == pytest.approx(1)  # the series begins again


class Steady(Random):
    """No jitter."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


async def test_pauses_are_spread(autojump_clock: Any) -> None:
    first: list[float] = []
    for seed in range(20):
        async with open_fake_engine() as engine, engine.worker(random=Random(seed)) as (_, peer):
            start = trio.current_time()
            await peer.drop()
            await engine.accept()
            first.append(trio.current_time() - start)
    assert all(0.7 <= pause <= 1.3 for pause in first)
    assert max(first) - min(first) > 0.3


async def test_the_first_connection_is_tried_for_as_long_as_it_takes(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_fake_engine() as engine:
        engine.down = True
        with trio.move_on_after(100) as deadline:
            async with engine.connect():
                pass
        assert deadline.cancelled_caught
        assert len(engine.attempts) >= 7
        assert caplog.text.count("trying again") == len(engine.attempts)


async def test_a_silent_peer_is_given_up(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, trio.open_nursery() as nursery:

        async def run() -> None:
            async with engine.connect(random=Steady()):
                await trio.sleep_forever()

        nursery.start_soon(run)
        await engine.next_stream()  # never shakes hands
        await engine.accept(greet=False)  # shakes hands and says nothing
        stream = await engine.next_stream()
        await stream.aclose()  # closes during the handshake: noticed at once
        await engine.next_stream()
        assert engine.attempts == pytest.approx([0, 11, 23, 27])
        nursery.cancel_scope.cancel()


async def test_a_reset_during_the_handshake_is_noticed_at_once(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_fake_engine() as engine:
        engine.resets = True
        with trio.move_on_after(2):
            async with engine.connect(random=Steady()):
                pass
        assert engine.attempts == pytest.approx([0, 1])
        assert "connection reset by peer; trying again" in caplog.text


async def test_an_engine_that_breaks_the_protocol_is_left(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_fake_engine() as engine, engine.worker() as (_, peer):
        await peer.stream.send_all(b"\xff\xff")  # an unknown opcode with reserved bits
        again = await engine.accept()
        assert (await again.hear())["type"] == "reattach"
        assert "the connection was closed: 1002 Invalid opcode 0xf; trying again" in caplog.text


async def test_a_stream_that_never_opens_is_given_up(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with open_fake_engine() as engine:
        with trio.move_on_after(25):
            async with engine.connect(open_stream=trio.sleep_forever):
                pass
        assert caplog.text.count("engine.test:49134 did not answer within 10 s; trying again") == 2


async def test_a_message_cut_off_half_way_is_a_lost_connection(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, _), trio.open_nursery() as nursery:
        engine.stuck = True

        async def call() -> None:
            with pytest.raises(WorkerDisconnected):
                await worker.trigger("big", "x" * (17 << 20))

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        engine.broken = True
        await trio.sleep(0.1)
        await engine.next_stream()
        assert worker.statistics().link.connections == 1


async def test_a_refused_handshake_is_tried_again(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with open_fake_engine() as engine, trio.open_nursery() as nursery:

        async def run() -> None:
            async with engine.connect():
                await trio.sleep_forever()

        nursery.start_soon(run)
        from trio_websocket import wrap_server_stream

        request = await wrap_server_stream(engine.nursery, await engine.next_stream())
        await request.reject(404)
        await engine.accept()
        assert "404" in caplog.text
        nursery.cancel_scope.cancel()


async def test_a_connection_that_answers_no_ping_is_replaced(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        assert await peer.hear_all() == []
        await trio.sleep(600)
        assert worker.statistics().link.connections == 1  # every ping was answered
        engine.deaf = True
        start = trio.current_time()
        stream = await engine.next_stream()
        engine.deaf = False
        assert 60 < trio.current_time() - start <= 82
        await stream.aclose()


async def test_the_engines_close_is_answered_and_followed_by_a_new_connection(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        await peer.socket.aclose(1001)
        again = await engine.accept()
        assert (await again.hear())["type"] == "reattach"
        assert worker.statistics().link.connections == 2


async def test_an_engine_that_does_not_read_is_left(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with open_fake_engine() as engine, engine.worker() as (worker, _):
        worker._link.outbox.hard_limit = 50  # type: ignore[attr-defined]  # of a socket link
        engine.stuck = True
        for number in range(60):
            worker.register_function(f"f{number}", nothing)
        engine.stuck = False
        again = await engine.accept()
        said = await again.hear_all()
        assert [message["id"] for message in said if message["type"] == "registerfunction"] == [
            f"f{number}" for number in range(60)
        ]
        assert "the engine does not read: 50 messages wait" in caplog.text


async def test_what_waits_is_sent_before_the_goodbye(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine:
        async with engine.worker() as (worker, peer):
            cancelled = trio.Event()

            @worker.function("slow")
            async def slow() -> None:
                try:
                    await trio.sleep_forever()
                finally:
                    cancelled.set()

            await peer.invoke("slow")
            await trio.testing.wait_all_tasks_blocked()
            await worker.trigger_void("last words")
        assert (await peer.hear("invokefunction"))["function_id"] == "last words"
        assert (await peer.wait_closed()).code == 1000
        assert cancelled.is_set()
        assert trio.current_time() < 0.01


async def test_an_error_of_the_block_arrives_bare_and_ends_the_connection(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine:
        peer: Peer | None = None
        with pytest.raises(KeyError, match="mine"):
            async with engine.worker() as (_, peer):
                raise KeyError("mine")
        assert peer is not None
        assert (await peer.wait_closed()).code == 1006


async def test_cancelling_the_block_cancels_handlers_and_ends_at_once(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine:
        cancelled = trio.Event()
        with trio.CancelScope() as scope:
            async with engine.worker() as (worker, peer):

                @worker.function("slow")
                async def slow() -> None:
                    try:
                        await trio.sleep_forever()
                    finally:
                        cancelled.set()

                await peer.invoke("slow")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert cancelled.is_set()
        assert (await peer.wait_closed()).code == 1006


async def test_the_goodbye_takes_five_seconds_at_most(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine:
        async with engine.worker():
            engine.deaf = True
            start = trio.current_time()
        assert trio.current_time() - start == pytest.approx(5)


async def test_a_name_conflict_is_the_end(autojump_clock: Any) -> None:  # wire 89
    await rejected_with("WORKER_NAMESPACE_CONFLICT")


async def test_so_is_a_code_it_does_not_know(autojump_clock: Any) -> None:
    await rejected_with("SOMETHING_NEW")


async def rejected_with(code: str) -> None:
    async with open_fake_engine() as engine:
        failed: list[BaseException] = []

        async def call_from_elsewhere(worker: Worker) -> None:
            try:
                await worker.trigger("x")
            except WorkerDisconnected as error:
                failed.append(error)

        with pytest.raises(WorkerRejected) as caught:  # noqa: PT012  # the block is cancelled at its second call
            async with engine.worker(name="orders") as (worker, peer):
                engine.nursery.start_soon(call_from_elsewhere, worker)
                await peer.hear("invokefunction")
                await peer.say(
                    type="registrationrejected",
                    code=code,
                    namespace="default",
                    worker_name="orders",
                    owner_worker_id="other",
                )
                await worker.trigger("y")
        assert (caught.value.code, caught.value.name, caught.value.owner_worker_id) == (code, "orders", "other")
        await trio.testing.wait_all_tasks_blocked()
        assert code in str(failed[0])
        with pytest.raises(WorkerDisconnected, match=code):
            await worker.trigger("z")
        await trio.sleep(100)
        assert len(engine.attempts) == 1  # it never comes back


async def test_a_rejection_wins_over_what_the_block_makes_of_it(autojump_clock: Any) -> None:
    async with open_fake_engine() as engine:
        with pytest.raises(WorkerRejected) as caught:  # noqa: PT012  # the block is cancelled at its second call
            async with engine.worker() as (worker, peer):
                await peer.say(type="registrationrejected", code="X", namespace="n", owner_worker_id="o")
                try:
                    await worker.trigger("y")
                finally:
                    raise ValueError("while cleaning up")
        assert "while cleaning up" in str(caught.value.__cause__)


async def test_a_taken_function_is_a_warning(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:  # wire 23
    async with open_fake_engine() as engine, engine.worker() as (worker, peer):
        worker.register_function("taken", nothing)
        await peer.hear("registerfunction")
        await peer.say(
            type="registrationrejected",
            code="FUNCTION_NAMESPACE_CONFLICT",
            namespace="default",
            function_id="taken",
            owner_worker_id="other",
        )
        await peer.say(type="ping")
        assert await peer.hear() == {"type": "pong"}
        assert "function taken in namespace default belongs to other" in caplog.text


@pytest.mark.parametrize("url", ["http://engine.test", "engine.test:49134", "ws://"])
async def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="not a WebSocket URL"):
        async with connect(url):
            pass


async def test_a_blank_namespace() -> None:
    with pytest.raises(InvalidNamespace):
        async with connect("ws://engine.test", namespace=" "):
            pass


async def test_over_a_real_socket_with_nobody_there() -> None:
    with trio.move_on_after(0.5) as deadline:
        async with connect("ws://127.0.0.1:9"):
            pass
    assert deadline.cancelled_caught
