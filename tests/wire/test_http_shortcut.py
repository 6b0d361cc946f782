"""The short way of the common request: no task waits for its answer, which may come at any time and from anywhere."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from http_rig import Client, MemoryListener, Rig, TcpNetwork, request, serving
from trio.testing import MockClock

from iii_trio.kernel import Call, Function, Kernel, TrioClock
from iii_trio.modules.http import HttpConfig, Request, Response, open_fast
from iii_trio.modules.http.shortcut import FunctionShortcut
from iii_trio.protocol.errors import FunctionFailed
from iii_trio.sockets import Turn

LARGE = "x" * (8 << 20)


@attrs.define
class Gate:
    """A function that returns when it is told to."""

    called: trio.Event = attrs.field(factory=trio.Event)
    opened: trio.Event = attrs.field(factory=trio.Event)
    runs: int = 0

    async def pass_through(self, _: Call) -> Any:
        self.runs += 1
        self.called.set()
        await self.opened.wait()
        return {"body": self.runs}


async def held_up(rig: Rig, gate: Gate) -> Client:
    """A client whose request for `/a` has reached the function."""
    rig.route("/a", gate.pass_through)
    client = await rig.connect()
    await client.send(request("GET", "/a"))
    await gate.called.wait()
    return client


def of(*values: Any) -> Callable[[Call], Any]:
    """A function that returns one value after the other."""
    left = iter(values)
    return lambda _: next(left)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths for which a short way was looked for, in order; those without one in brackets."""
    paths: list[str] = []
    find = FunctionShortcut.find

    def watched(gateway: Any, one: Any) -> Any:
        way = find(gateway, one)
        paths.append(one.path.decode() if way is not None else f"({one.path.decode()})")
        return way

    monkeypatch.setattr(FunctionShortcut, "find", watched)
    return paths


async def test_the_same_head_is_worked_out_once(found: list[str], autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", lambda call: {"body": call.payload.value["body"]}, "POST")
        rig.route("/b", {"body": "b"})
        client = await rig.connect()
        for number in (1, 2, 3):
            answer = await client.ask("POST", "/a", {"content-type": "application/json"}, b"%d" % number)
            assert answer.json == number
        assert (await client.ask("GET", "/b")).json == "b"
        assert (await client.ask("GET", "/b?x=1")).json == "b"
        assert found == ["/a", "/b", "/b"]


async def test_other_routes_and_settings_count_from_the_next_request_on(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.function("one", {"body": 1})
        rig.function("two", {"body": 2})
        first = rig.trigger("one", "/a")
        client = await rig.connect()
        assert (await client.ask("GET", "/a")).json == 1
        rig.kernel.triggers.remove(first.id)
        assert (await client.ask("GET", "/a")).status == 404
        rig.trigger("two", "/a")
        assert (await client.ask("GET", "/a")).json == 2
        await rig.module.apply(attrs.evolve(rig.module.config, request_id_header="x-request-id"))
        assert len((await client.ask("GET", "/a"))["x-request-id"]) == 36


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("HEAD", {}, None),
        ("OPTIONS", {}, None),
        ("POST", {"content-type": "text/plain"}, b"text"),
        ("POST", {"transfer-encoding": "chunked", "content-type": "application/json"}, None),
        ("POST", {"expect": "100-continue", "content-type": "application/json"}, b"1"),
    ],
)
async def test_what_has_to_wait_or_is_answered_otherwise_goes_the_long_way(
    method: str, headers: dict[str, str], body: bytes | None, found: list[str], autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1}, method)
        client = await rig.connect()
        await client.send(
            request(method, "/a", headers, body), b"1\r\n1\r\n0\r\n\r\n" if "transfer-encoding" in headers else b""
        )
        if "expect" in headers:
            assert (await client.read()).status == 100
        assert (await client.read(head_only=method == "HEAD")).status == 200
        assert "/a" not in found


async def test_a_route_or_a_deadline_that_asks_for_more_goes_the_long_way(
    found: list[str], autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.function("condition", True)
        rig.route("/a", {"body": 1}, condition_function_id="condition")
        assert (await rig.ask("GET", "/a")).json == 1
    async with serving(HttpConfig(host="127.0.0.1", port=0, default_timeout=1_000)) as rig:
        rig.route("/b", {"body": 1})
        assert (await rig.ask("GET", "/b")).json == 1
    assert found == ["(/a)", "(/b)"]


# --- when the answer comes --------------------------------------------------------------------------------------------


async def test_what_is_sent_ahead_is_answered_in_its_order(autojump_clock: MockClock) -> None:
    gate = Gate()
    async with serving() as rig:
        rig.route("/slow", gate.pass_through)
        rig.route("/quick", of({"body": "a"}, {"body": "b"}))
        client = await rig.connect()
        await client.send(request("GET", "/slow"))
        await gate.called.wait()
        await client.send(request("GET", "/quick"), request("GET", "/quick")[:20])
        await trio.sleep(5)
        gate.opened.set()
        assert (await client.read()).json == 1
        assert (await client.read()).json == "a"
        await client.send(request("GET", "/quick")[20:])
        assert (await client.read()).json == "b"


async def test_a_client_that_has_said_everything_gets_its_answer(autojump_clock: MockClock) -> None:
    gate = Gate()
    async with serving() as rig:
        rig.route("/a", gate.pass_through)
        client = await rig.connect()
        await client.send(request("GET", "/a"))
        await client.stream.send_eof()  # type: ignore[attr-defined]  # both kinds of streams can
        await gate.called.wait()
        gate.opened.set()
        assert (await client.read()).json == 1
        assert await client.ends()


async def test_one_that_leaves_frees_its_slot_and_the_function_goes_on(autojump_clock: MockClock) -> None:
    gate = Gate()
    async with serving(HttpConfig(host="127.0.0.1", port=0, concurrency_request_limit=1)) as rig:
        rig.route("/a", gate.pass_through)
        rig.route("/b", {"body": "b"})
        client, other = await rig.connect(), await rig.connect()
        await client.send(request("GET", "/a"))
        await gate.called.wait()
        await other.send(request("GET", "/b"))  # waits for the slot
        await trio.testing.wait_all_tasks_blocked()
        begin = trio.current_time()
        await client.stream.aclose()
        assert (await other.read()).json == "b"
        assert trio.current_time() - begin <= 1
        statistics = rig.kernel.statistics()
        assert (statistics.invocations.in_flight, statistics.channels.open) == (1, 0)
        gate.opened.set()
        await rig.kernel.ledger.wait_empty()


async def test_the_time_is_up_once(autojump_clock: MockClock) -> None:
    gate = Gate()
    async with serving() as rig:
        rig.route("/a", gate.pass_through)
        client = await rig.connect()
        begin = trio.current_time()
        assert (await client.ask("GET", "/a")).status == 504
        assert 30 <= trio.current_time() - begin <= 30.5
        gate.opened.set()
        await rig.kernel.ledger.wait_empty()
        assert (await client.ask("GET", "/a")).json == 2  # and not the late result


async def test_a_stop_lets_it_have_its_answer_as_the_last(autojump_clock: MockClock) -> None:
    gate = Gate()
    async with serving() as rig:
        client = await held_up(rig, gate)
        rig.module.request_stop()
        await trio.testing.wait_all_tasks_blocked()
        gate.opened.set()
        answer = await client.read()
        assert (answer.json, answer["connection"]) == (1, "close")
        assert await client.ends()
        await rig.ended.wait()


@pytest.mark.parametrize("network", ["memory", "tcp"])
async def test_a_function_that_stops_the_server_still_has_its_answer_sent(network: str) -> None:
    async with serving(network=TcpNetwork() if network == "tcp" else None) as rig:

        def stop(_: Call) -> Any:
            rig.module.request_stop()
            return {"body": "the last"}

        rig.route("/a", {"body": 1})
        rig.route("/stop", stop)
        client = await rig.connect()
        for _ in range(2):
            assert (await client.ask("GET", "/a")).status == 200
        assert (await client.ask("GET", "/stop")).json == "the last"
        with trio.fail_after(5):
            assert await client.ends()
            await rig.ended.wait()


async def test_a_stop_between_two_answers_of_one_turn_loses_neither() -> None:
    """The first is in the turn, not sent yet, when the second stops the server, and more than the socket takes at once."""
    async with serving(network=TcpNetwork()) as rig:

        def stop(_: Call) -> Any:
            rig.module.request_stop()
            return {"body": "the last"}

        rig.route("/a", {"body": LARGE})
        rig.route("/stop", stop)
        clients = [await rig.connect() for _ in range(2)]
        for client in clients:
            assert (await client.ask("GET", "/a")).status == 200
        for client, path in zip(clients, ("/a", "/stop"), strict=True):
            assert isinstance(client.stream, trio.SocketStream)
            os.write(client.stream.socket.fileno(), request("GET", path))  # at once, so that they are read together
        answers = [await client.read() for client in clients]
        assert [answer.json for answer in answers] == [LARGE, "the last"]
        with trio.fail_after(5):
            for client in clients:
                assert await client.ends()
            await rig.ended.wait()


@pytest.mark.parametrize("network", ["memory", "tcp"])
async def test_a_connection_that_asked_for_it_ends_with_the_answer(network: str) -> None:
    async with serving(network=TcpNetwork() if network == "tcp" else None) as rig:
        rig.route("/a", {"body": 1})
        client = await rig.connect()
        answer = await client.ask("GET", "/a", {"connection": "close"})
        assert (answer.json, answer["connection"]) == (1, "close")
        assert await client.ends()


class Gone:
    """The outlet of a worker that turns out to have gone when it is sent something: then all it did is undone at once."""

    is_full = False

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.worker = kernel, kernel.connect(outlet=self)
        kernel.registrations.fix_namespace(self.worker, "default")
        kernel.functions.add(Function("gone", self.worker))

    def has_room(self, _: int) -> bool:
        return True

    async def wait_room(self) -> None:
        await trio.lowlevel.checkpoint()

    def send(self, _: object, __: int) -> None:
        self.kernel.disconnect(self.worker)


async def test_a_worker_found_gone_when_it_is_called_costs_one_answer(autojump_clock: MockClock) -> None:
    """# http 53: neither a second answer, when the time is up, nor a slot."""
    async with serving(HttpConfig(host="127.0.0.1", port=0, concurrency_request_limit=1)) as rig:
        Gone(rig.kernel)
        rig.trigger("gone", "/gone")
        rig.route("/a", {"body": "a"})
        client = await rig.connect()
        assert (await client.ask("GET", "/gone")).json["error"]["code"] == "function_not_found"
        begin = trio.current_time()
        assert (await client.ask("GET", "/a")).json == "a"
        assert trio.current_time() == begin
        await trio.sleep(60)
        assert (await client.ask("GET", "/a")).json == "a"
        statistics = rig.kernel.statistics()
        assert (statistics.invocations.in_flight, statistics.channels.open) == (0, 0)


async def test_a_request_that_is_not_taken_leaves_one_line(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level("DEBUG", "iii_trio.http")
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        client = await rig.connect()
        assert (await client.ask("GET", "/a")).status == 200
        rig.host.available = False
        caplog.clear()
        assert (await client.ask("GET", "/a")).status == 503
        assert [line.getMessage().partition(",")[0] for line in caplog.records] == ["GET /a matched /a"]


async def test_nothing_but_its_key_opens_a_channel_of_a_request(autojump_clock: MockClock) -> None:
    """Its id is known to whoever sees the id of the call, or its trace."""

    async def pick(call: Call) -> Any:
        await trio.lowlevel.checkpoint()
        find, asked = rig.kernel.channels.find, call.payload.value
        body, answer = asked["request_body"], asked["response"]
        assert {body["channel_id"][:-1], answer["channel_id"][:-1]} == {call.invocation_id[:-1]}
        guesses = [call.invocation_id, call.invocation_id.replace("-", ""), "", call.traceparent or ""]
        for ref, other in ((body, answer), (answer, body)):
            for key in (*guesses, ref["channel_id"], other["access_key"], ref["access_key"].upper() + " "):
                assert find(ref["channel_id"], key) is None
            for channel_id in (*guesses, f"{call.invocation_id[:-1]}2", other["channel_id"]):
                found = find(channel_id, ref["access_key"])
                assert found is None or channel_id == ref["channel_id"]
        return {"body": [body["access_key"], answer["access_key"], call.invocation_id]}

    async with serving() as rig:
        rig.route("/a", pick)
        client = await rig.connect()
        seen = [text for _ in range(200) for text in (await client.ask("GET", "/a")).json]
        assert len(set(seen)) == 600
        assert rig.kernel.statistics().channels.open == 0


# --- what the answer is -----------------------------------------------------------------------------------------------


async def test_a_killed_handler_is_an_error_and_the_next_one_runs(autojump_clock: MockClock) -> None:
    gate = Gate()
    async with serving() as rig:
        client = await held_up(rig, gate)
        row = next(iter(rig.kernel.ledger))
        assert row.child is not None
        row.child.cancel("a test")
        answer = await client.read()
        assert (answer.status, answer.json["error"]["code"]) == (500, "invocation_stopped")
        gate.opened.set()
        assert (await client.ask("GET", "/a")).json == 2


async def test_an_error_keeps_its_code(autojump_clock: MockClock) -> None:
    def fail(_: Call) -> None:
        raise FunctionFailed("no luck")

    async with serving() as rig:
        rig.route("/a", fail)
        client = await rig.connect()
        for _ in range(2):
            answer = await client.ask("GET", "/a", {"origin": "http://o"})
            assert (answer.status, answer.json["error"]["message"]) == (500, "no luck")
            assert answer["access-control-allow-origin"] == "*"


async def test_a_field_that_breaks_out_of_its_line_is_never_sent(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1, "headers": {"x-a": "1\r\nx-b: 2", "x-c": "3"}})
        answer = await rig.ask("GET", "/a")
        assert (answer.status, answer["x-c"], answer.all("x-a"), answer.all("x-b")) == (200, "3", [], [])


@pytest.mark.parametrize(
    "result", [{"status_code": 204, "body": None}, {"status_code": 304, "body": 1}, {"status_code": 700, "body": 2}]
)
async def test_answers_that_are_not_like_others(result: dict[str, Any], autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", result)
        client = await rig.connect()
        for _ in range(2):
            assert (await client.ask("GET", "/a")).status == result["status_code"]


async def test_over_tcp_a_large_answer_is_whole_and_the_connection_goes_on() -> None:
    text = "x" * (8 << 20)
    async with serving(network=TcpNetwork()) as rig:
        rig.route("/large", {"body": text})
        rig.route("/small", {"body": "y"})
        client = await rig.connect()
        await client.send(request("GET", "/large"), request("GET", "/small"))
        await trio.testing.wait_all_tasks_blocked(0.01)  # the socket is full by now
        assert (await client.read()).json == text
        assert (await client.read()).json == "y"


async def test_many_connections_at_once_over_tcp() -> None:
    async def echo(call: Call) -> Any:
        await trio.lowlevel.checkpoint()
        return {"body": call.payload.value["query_params"]["n"]}

    async def ask(rig: Rig, number: int, done: Callable[[], Awaitable[None]]) -> None:
        client = await rig.connect()
        for turn in range(5):
            assert (await client.ask("GET", f"/a?n={number}-{turn}")).json == f"{number}-{turn}"
        await done()

    async with serving(network=TcpNetwork()) as rig, trio.open_nursery() as nursery:
        rig.route("/a", echo)
        for number in range(100):
            nursery.start_soon(ask, rig, number, trio.lowlevel.checkpoint)
    assert rig.kernel.statistics().channels.open == 0


# --- the server's side alone ------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Held:
    """Shortcuts, shortcut and pending request in one: it keeps the client, for the test to answer."""

    timeout: float = 30.0
    is_current: bool = True
    client: Any = None
    source: Any = None
    """Where requests come from, over TCP; the test collects them."""

    taken: int = 0
    abandoned: int = 0

    def find(self, _: Request) -> "Held":
        return self

    def fed_by(self, source: Any) -> AbstractContextManager[None]:
        self.source = source
        return nullcontext()

    def look(self) -> None:
        """Nothing was given up."""

    def take(self, _: bytes, client: object) -> "Held":
        self.client = client
        self.taken += 1
        return self

    def expire(self) -> None:
        raise AssertionError("no request takes that long")

    def abandon(self) -> None:
        self.abandoned += 1


async def refuse(_: Request) -> Response:
    raise AssertionError("every request has a shortcut")


@asynccontextmanager
async def holding() -> AsyncIterator[tuple[Held, Client, trio.Nursery]]:
    """A server that has taken a client's request and waits for the answer; the nursery is what it runs in."""
    held, listener = Held(), MemoryListener()
    server = open_fast(Kernel(clock=TrioClock()), HttpConfig(), Turn())
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.serve, [listener], refuse, shortcuts=held))
        client = Client(await listener.connect())
        await client.send(request("GET", "/"))
        await trio.testing.wait_all_tasks_blocked()
        yield held, client, nursery
        nursery.cancel_scope.cancel()


async def test_a_stream_that_comes_as_the_connection_ends_is_released(autojump_clock: MockClock) -> None:
    async def stream() -> bytes:
        raise AssertionError("nobody is left to read it")

    released = trio.Event()
    async with holding() as (held, _, nursery):
        held.client.respond(Response(200, (), b"", stream=stream, release=released.set))
        nursery.cancel_scope.cancel()
    assert released.is_set()
    assert held.abandoned == 0  # it was answered


async def test_a_request_whose_connection_ends_is_abandoned_once(autojump_clock: MockClock) -> None:
    async with holding() as (held, client, _):
        await client.stream.aclose()
        await trio.sleep(1)
        assert held.abandoned == 1


async def test_what_comes_behind_the_last_request_is_not_taken_even_as_its_answer_leaves() -> None:
    async def collect() -> None:
        await held.source.wait()
        held.source.collect()

    held = Held()
    server = open_fast(Kernel(clock=TrioClock()), HttpConfig(), Turn())
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.serve, [listener], refuse, shortcuts=held))
        client = Client(await trio.open_tcp_stream(*listener.socket.getsockname()))
        await client.send(request("GET", "/", {"connection": "close"}))
        await collect()
        held.source.done()
        assert held.taken == 1
        await client.send(request("GET", "/again"))
        await collect()
        held.client.answer(200, (), b"")  # before the connection's task has seen what came
        held.source.done()
        assert (await client.read())["connection"] == "close"
        await trio.aclose_forcefully(client.stream)
        await trio.testing.wait_all_tasks_blocked()
        assert held.taken == 1
        nursery.cancel_scope.cancel()
