"""Who is let in on a guarded listener, and who is not (wire-protocol 11.2, 11.4)."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from access_rig import GUARD, AnyPort, Guarded, never, open_guarded, refusing
from trio.testing import MockClock
from wire_client import MODERN, Client, RawPeer, frame, upgrade_request

from tests.waiting import eventually

AUTH = {"rbac": {"auth_function_id": GUARD}}
OPEN = {"rbac": {}}


async def _refused(client: Client) -> tuple[dict[str, Any], int]:
    """The only message of a peer that is not let in, and the status of the Close after it."""
    status = await client.wait_closed(within=60)
    (said,) = client.backlog
    assert status is not None
    return said, status


async def test_the_auth_function_is_told_how_the_peer_came() -> None:
    # wire 76; over TCP, by a worker on the open listener
    async with open_guarded(AUTH, network=AnyPort()) as guarded:
        gate = await guarded.offer(GUARD)
        headers = [(b"Authorization", b"Bearer abc"), (b"X-Two", b"one"), (b"x-two", b"two"), (b"X-Name", b"J\xf6rg")]
        path = "/?token=t1&flag&token=t%202&empty=&=nokey&&plus=a+b&t%6Fken=x"
        async with trio.open_nursery() as nursery:
            peer: list[Client] = []

            async def knock() -> None:
                peer.append(await guarded.knock(1, path, headers))

            nursery.start_soon(knock)
            call = await gate.invoked(GUARD)
        (client,) = peer
        question = call["data"]
        assert set(question) == {"headers", "query_params", "ip_address"}  # no `_caller_worker_id`: nobody calls
        said = question["headers"]
        assert (said["authorization"], said["x-two"]) == ("Bearer abc", "two")
        assert "x-name" not in said
        assert said["host"].startswith("engine")
        assert all(name == name.lower() for name in said)
        assert question["query_params"] == {
            "token": ["t1", "t%202"],
            "flag": [""],
            "empty": [""],
            "plus": ["a+b"],
            "t%6Fken": ["x"],
        }
        assert question["ip_address"] == "127.0.0.1"
        await gate.answer(call, result={})
        assert (await client.hear("workerregistered"))["worker_id"]


MALFORMED = [
    None,
    False,
    5,
    "yes",
    [],
    {"allowed_functions": None},
    {"allowed_functions": "a"},
    {"allowed_functions": [1]},
    {"forbidden_functions": None},
    {"forbidden_functions": {}},
    {"allow_function_registration": None},
    {"allow_function_registration": 1},
    {"allow_trigger_type_registration": None},
    {"allow_trigger_type_registration": "true"},
    {"namespaces": None},
    {"namespaces": {"a": "x"}},
    {"namespaces": {"a": None}},
    {"namespaces": []},
    {"allowed_trigger_types": "http"},
    {"allowed_trigger_types": [None]},
    {"function_registration_prefix": 7},
]


@pytest.mark.parametrize("answer", MALFORMED, ids=json.dumps)
async def test_an_answer_that_is_not_what_it_must_be_refuses(autojump_clock: MockClock, answer: Any) -> None:
    # wire 76
    async with open_guarded(AUTH) as guarded:
        guarded.script(GUARD, lambda _: answer)
        await _expect_refusal(guarded, "")


async def _expect_refusal(guarded: Guarded, message: str, path: str = "/") -> None:
    """The frame, the Close, and that nobody noticed."""
    heard: list[str] = []
    guarded.engine.kernel.events.listen(lambda kind, _: heard.append(kind))
    said, status = await _refused(await guarded.knock(1, path))
    text = said["error"].pop("message")
    assert said == {"type": "error", "error": {"code": "AUTH_ERROR"}}
    assert message in text
    assert text
    assert status == 1008  # not 1005, as in the reference: Python SDKs before 0.25 would never try again
    assert "worker_connected" not in heard
    assert guarded.engine.kernel.statistics().workers.ever_connected == 0
    await eventually(lambda: guarded.engine.statistics().connections.running == 0, within=60)
    listeners = guarded.engine.statistics().listeners
    assert [dict(one.closed) for one in listeners] == [{}, {"auth_failed": 1}]
    assert [(one.workers, one.telemetry, one.entering) for one in listeners] == [(0, 0, 0)] * 2


@pytest.mark.parametrize("path", ["/", "/otel"])
async def test_the_message_of_the_auth_function_reaches_the_peer(autojump_clock: MockClock, path: str) -> None:
    # wire 76
    async with open_guarded(AUTH) as guarded:
        guarded.script(GUARD, refusing("NOPE", "invalid token"))
        await _expect_refusal(guarded, "invalid token", path)


async def test_a_missing_auth_function_lets_nobody_in(autojump_clock: MockClock) -> None:
    # wire 76
    async with open_guarded(AUTH) as guarded:
        await _expect_refusal(guarded, GUARD)


async def test_a_silent_auth_function_lets_nobody_in(autojump_clock: MockClock) -> None:
    # 11.4: bounded at 30 s; others are let in meanwhile
    async with open_guarded(AUTH, AUTH) as guarded:
        guarded.script(GUARD, lambda asked: {} if asked["query_params"] else never())
        begun = trio.current_time()
        slow = await guarded.knock()
        assert (await guarded.enter(path="/?quick")).id
        assert trio.current_time() - begun < 1
        assert guarded.engine.statistics().listeners[1].entering == 1
        said, _ = await _refused(slow)
        assert said["error"]["code"] == "AUTH_ERROR"
        assert trio.current_time() - begun == pytest.approx(30, abs=1)


async def test_a_refused_peer_has_a_second_to_say_what_it_has_to_say(autojump_clock: MockClock) -> None:
    # 11.4: Python SDKs before 0.24.4 never try again if the connection ends while they send their registrations
    async with open_guarded(AUTH) as guarded:
        begun = trio.current_time()
        peer = await guarded.knock()
        assert (await peer.hear("error"))["error"]["code"] == "AUTH_ERROR"
        assert trio.current_time() - begun < 0.5
        await peer.say(type="registerfunction", id="late::one")
        assert await peer.wait_closed(within=60) == 1008
        assert trio.current_time() - begun == pytest.approx(1, abs=0.1)
        assert not guarded.has("late::one")


async def test_the_engine_stops_while_a_refused_peer_has_its_second(autojump_clock: MockClock) -> None:
    async with open_guarded(AUTH) as guarded:
        begun = trio.current_time()
        peer = await guarded.knock()
        await peer.hear("error")
        (child,) = guarded.engine.composition.connections
        assert child.request_stop is not None
        child.request_stop()
        assert await peer.wait_closed(within=60) == 1008
        assert trio.current_time() - begun < 0.5
        assert guarded.engine.statistics().listeners[1].closed == {"auth_failed": 1}


async def test_an_auth_worker_that_leaves_lets_nobody_in(autojump_clock: MockClock) -> None:
    async with open_guarded(AUTH) as guarded:
        gate = await guarded.offer(GUARD)
        peer = await guarded.knock()
        await gate.invoked(GUARD)
        await guarded.world.leave(gate)
        said, _ = await _refused(peer)
        assert said["error"] == {"code": "AUTH_ERROR", "message": "Invocation stopped"}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"context": None, "allowed_trigger_types": None, "function_registration_prefix": None, "unknown": 1},
        {"context": ["any", 1]},
    ],
    ids=json.dumps,
)
async def test_what_may_be_null_or_missing(autojump_clock: MockClock, answer: Any) -> None:
    # wire 76
    async with open_guarded({**AUTH, "middleware_function_id": "gate::proxy"}) as guarded:
        guarded.script(GUARD, lambda _: answer)
        asked = guarded.script("gate::proxy")
        worker = await guarded.enter()
        await worker.call("shop::x")
        assert asked == []  # forbidden, so no middleware: nothing is exposed
        guarded.script(GUARD, lambda _: {**answer, "allowed_functions": ["shop::x"]})
        await (await guarded.enter()).call("shop::x")
        assert [question["context"] for question in asked] == [answer.get("context", {})]


async def test_what_is_said_before_the_word_is_heard_after_it(autojump_clock: MockClock) -> None:
    # 11.4: frames wait, in their order; right behind the handshake, too
    async with open_guarded(
        {"rbac": {"auth_function_id": GUARD, "expose_functions": ['match("early::*")']}}
    ) as guarded:
        may = trio.Event()

        async def wait() -> dict[str, Any]:
            await may.wait()
            return {}

        guarded.script(GUARD, lambda _: wait())
        raw = RawPeer(await guarded.dial(1))
        texts = [
            {"type": "registerfunction", "id": "early::one"},
            {"type": "invokefunction", "invocation_id": "one", "function_id": "early::one", "data": {}},
            {"type": "ping"},
        ]
        first, *others = [frame(json.dumps(text).encode()) for text in texts]
        await raw.stream.send_all(upgrade_request() + first)
        await raw.read_until(b"\r\n\r\n")
        await raw.stream.send_all(b"".join(others))
        with trio.move_on_after(5):
            await raw.read_until(b"never", within=10)
        assert raw.received == b""
        assert not guarded.has("early::one")
        may.set()
        await raw.read_until(b'"pong"}')
        assert guarded.has("early::one")


async def test_telemetry_of_a_peer_that_is_let_in(autojump_clock: MockClock) -> None:
    # 11.4, wire 7
    async with open_guarded(AUTH) as guarded:
        asked = guarded.script(GUARD)
        client = await guarded.knock(1, "/otel?token=t")
        await client.say_text(b"OTLP{}")
        await eventually(lambda: guarded.engine.statistics().listeners[1].telemetry == 1)
        assert [question["query_params"] for question in asked] == [{"token": ["t"]}]
        with trio.move_on_after(5):
            await client.socket.get_message()
        assert guarded.engine.kernel.statistics().workers.ever_connected == 0


async def test_a_listener_that_asks_nobody_lets_everybody_in(autojump_clock: MockClock) -> None:
    async with open_guarded(OPEN, {"middleware_function_id": "gate::proxy"}) as guarded:
        for number in (1, 2):
            worker = await guarded.enter(number)
            session = guarded.engine.kernel.workers.get(worker.id)
            assert session is not None
            assert session.session is not None


async def test_the_engine_stops_while_a_peer_waits_for_the_word(autojump_clock: MockClock) -> None:
    # wire 114
    async with open_guarded(AUTH) as guarded:
        guarded.script(GUARD, lambda _: never())
        peer = await guarded.knock()
        await eventually(lambda: bool(guarded.asked[GUARD]))
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.wait_closed)
            guarded.engine.request_stop()
            for child in tuple(guarded.engine.composition.connections):
                assert child.request_stop is not None
                child.request_stop()
        assert peer.socket.closed is not None
        assert peer.socket.closed.code == 1012
        assert trio.current_time() - begun < 5


async def test_a_peer_that_leaves_before_the_word(autojump_clock: MockClock) -> None:
    # wire 102: nothing of it stays
    async with open_guarded(AUTH) as guarded:
        may = trio.Event()

        async def wait() -> dict[str, Any]:
            await may.wait()
            return {}

        guarded.script(GUARD, lambda _: wait())
        peer = await guarded.knock()
        await eventually(lambda: bool(guarded.asked[GUARD]))
        await peer.drop()
        may.set()
        await eventually(lambda: guarded.engine.statistics().connections.running == 0, within=10)
        assert guarded.engine.kernel.statistics().workers.connected == 0


ENDS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "peer_closed": lambda worker: worker.socket.aclose(),
    "peer_gone": lambda worker: worker.drop(),
    "protocol_error": lambda worker: worker.stream.send_all(frame(b"{}", masked=False)),
}


@pytest.mark.parametrize("reason", ENDS)
async def test_a_guarded_connection_ends_like_any_other(autojump_clock: MockClock, reason: str) -> None:
    # wire 102
    async with open_guarded({"rbac": {"expose_functions": ['match("*")']}}) as guarded:
        worker = await guarded.enter(announcement=MODERN)
        await worker.register("shop::mine")
        await worker.fence()
        caller = await guarded.world.connect()
        invocation_id = await caller.invoke("shop::mine")
        await worker.invoked("shop::mine")
        await ENDS[reason](worker)
        assert (await caller.outcome(invocation_id))["error"]["code"] == "invocation_stopped"
        assert not guarded.has("shop::mine")
        await eventually(lambda: guarded.engine.statistics().listeners[1].closed == {reason: 1})
