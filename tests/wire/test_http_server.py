"""The server: framing, limits, connections, start and stop (http.md 3, 13)."""

import errno
import http.client
import json
import logging
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from http_rig import Client, MemoryNetwork, Rig, TcpNetwork, Wrapped, request, run_in, serving
from trio.testing import MockClock

from iii_trio.kernel import Call, Kernel, ModuleOwner, TrioClock
from iii_trio.modules.http import (
    ADDRESS_SERVICE,
    BindError,
    HttpConfig,
    HttpModule,
    HttpServer,
    ServerLimits,
    open_fast,
    open_hypercorn,
)
from iii_trio.sockets import Turn

pytestmark = pytest.mark.usefixtures("server")


async def forever(_: Call) -> None:
    await trio.sleep_forever()


HEAD = b"GET /a HTTP/1.1\r\nhost: h\r\n"


async def test_keep_alive_pipelining_and_close(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/:n", lambda call: {"body": call.payload.value["path_params"]["n"]})
        client = await rig.connect()
        assert [(await client.ask("GET", f"/{n}")).body for n in range(3)] == [b'"0"', b'"1"', b'"2"']  # http 85
        await client.send(b"".join(request("GET", f"/{n}") for n in range(5)))
        assert [(await client.read()).body for _ in range(5)] == [b'"%d"' % n for n in range(5)]
        last = await client.ask("GET", "/x", {"connection": "close"})
        assert (last.status, last["connection"]) == (200, "close")
        assert await client.ends()


async def test_http_1_0(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        client = await rig.connect()
        await client.send(b"GET /a HTTP/1.0\r\n\r\n")
        assert (await client.read()).body == b"1"  # http 85
        assert await client.ends()


async def test_names_are_lower_case_and_there_is_no_server(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1, "headers": {"X-Mixed": "Value: Connection: kept"}})
        answer = await rig.ask("GET", "/a", {"connection": "close"})
        names = [name for name, _ in answer.fields]
        assert names == [name.lower() for name in names]
        assert "server" not in names
        assert names.count("date") == 1
        assert answer["x-mixed"] == "Value: Connection: kept"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"x: 1\r\n" * 100 + b"\r\n", 431),  # http 84
        (b"GET /" + b"a" * 65_534 + b" HTTP/1.1\r\nhost: h\r\n\r\n", 414),
        (HEAD + b"x: " + b"a" * 600_000, 431),
        (b"rubbish\r\n\r\n", 400),
        (b"GET /a HTTP/2.0\r\nhost: h\r\n\r\n", 400),
        (b"GET  /a HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        (b"GET a/b HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        (HEAD + b"x : 1\r\n\r\n", 400),
        (HEAD + b"no colon\r\n\r\n", 400),
        (HEAD + b"x: a\x00b\r\n\r\n", 400),
        (HEAD + b"host: other\r\n\r\n", 400),
        (HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n", 400),  # http 87
        (HEAD + b"x: a\r\n b\r\n\r\n", 400),
        (HEAD + b"x: a\n\r\n", 400),
        (HEAD + b"x: a\n\n", 400),
        (HEAD.replace(b"\r\n", b"\n") + b"\n", 400),
        (HEAD + b"Content-Length: 5, 5\r\n\r\n", 400),
        (HEAD + b"content-length: +5\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: identity\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked, identity\r\n\r\n", 400),
        (HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ],
)
async def test_bad_heads_are_refused_and_end_the_connection(
    sent: bytes, status: int, autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        client = await rig.connect()
        await client.send(sent + b"GET /a HTTP/1.1\r\nhost: h\r\n\r\n")
        answer = await client.read()
        assert (answer.status, answer.body) == (status, b"")
        assert not answer.all("vary")
        assert await client.ends()  # http 98: no second answer
        assert not rig.calls


async def test_a_hundred_fields_are_taken(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        client = await rig.connect()
        await client.send(HEAD + b"x: 1\r\n" * 99 + b"\r\n")
        assert (await client.read()).status == 200


async def test_what_comes_after_the_end_is_discarded(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        client = await rig.connect()
        await client.send(request("GET", "/a", {"connection": "close"}), request("GET", "/a"), b"x" * 100_000)
        assert (await client.read()).status == 200
        assert await client.ends()
        assert len(rig.calls) == 1


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "GET"])
async def test_a_body_that_breaks_in_the_segment_of_its_head(
    method: str, server: str, autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1}, "POST")
        client = await rig.connect()
        await client.send(f"{method} /a HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".encode())
        unread = {"OPTIONS": 200, "POST": 200, "GET": 405}[
            method
        ]  # D-22: an answer that does not need it, then the end
        assert (await client.read()).status == (400 if server == "hypercorn" else unread)
        assert await client.ends()


async def test_connect_and_other_forms_of_targets(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        client = await rig.connect()
        for line, status in (("CONNECT h:443", 404), ("GET *", 404), ("GET http://x/a?b#c", 200), ("GET /a#c", 200)):
            await client.send(f"{line} HTTP/1.1\r\nhost: h\r\n\r\n".encode())
            assert (await client.read()).status == status


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
async def test_the_rest_of_a_broken_chunked_body_is_never_a_request(kind: str, autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        rig.route("/up", forever, "POST")
        client = await rig.connect()
        head = f"POST /up HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ncontent-type: {kind}\r\n\r\n"
        await client.send(head.encode(), b"3\r\nabc\r\n", b"zz\r\n" + HEAD + b"\r\n")
        # D-22: refused; but a body that nobody reads breaks unseen, and its function goes on to its deadline
        assert (await client.read()).status in ({400} if kind == "application/json" else {400, 504})  # http 99
        assert await client.ends()
        assert not [call for call in rig.calls if call.payload.value["path"] == "/a"]


async def test_upgrades_are_ignored(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        client = await rig.connect()
        for protocol in ("websocket", "h2c"):
            headers = {"connection": "upgrade", "upgrade": protocol, "sec-websocket-key": "x" * 22 + "=="}
            assert (await client.ask("GET", "/a", headers)).body == b"1"
        await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")  # not even an answer
        assert await client.ends()


async def test_100_continue_comes_before_the_body(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/up", lambda call: {"body": call.payload.value["body"]}, "POST")
        client = await rig.connect()
        headers = {"expect": "100-continue", "content-type": "application/json", "content-length": "3"}
        await client.send(request("POST", "/up", headers))
        assert (await client.read()).line == "HTTP/1.1 100 Continue"  # http 86
        await client.send(b"[1]")
        assert (await client.read()).body == b"[1]"


async def test_an_answer_does_not_wait_for_the_upload(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/up", {"body": 1}, "POST")
        client = await rig.connect()
        await client.send(request("POST", "/up", {"content-length": str(3 << 20)}), b"x" * (1 << 20))
        assert (await client.read()).body == b"1"  # http 104
        await trio.sleep(1)
        await client.send(b"x" * (2 << 20))
        assert (await client.ask("POST", "/up")).status == 200


async def test_an_empty_answer_does_not_wait_for_the_upload_either(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/up", {"body": None, "headers": {"content-type": "text/plain"}}, "POST")
        client = await rig.connect()
        await client.send(request("POST", "/up", {"content-length": "5"}))
        assert (await client.read()).body == b""


async def test_an_upload_that_never_ends_is_cut(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/up", {"body": 1}, "POST")
        client = await rig.connect()
        await client.send(request("POST", "/up", {"content-length": "5"}))
        assert (await client.read()).status == 200
        begin = trio.current_time()
        assert await client.ends()
        assert trio.current_time() - begin == pytest.approx(30)


async def test_a_final_answer_does_not_wait_for_the_upload_it_stopped(autojump_clock: MockClock) -> None:
    async def late(_: Call) -> Any:
        await trio.sleep(1)
        return {"status_code": 150}

    async with serving() as rig:
        rig.route("/up", late, "POST")
        client = await rig.connect()
        begin = trio.current_time()
        await client.send(request("POST", "/up", {"content-length": str(2 << 20)}), b"x" * (1 << 20))
        assert (await client.read()).status == 500
        assert await client.ends()
        assert trio.current_time() - begin == pytest.approx(1)


async def test_slow_heads_and_idle_connections_are_dropped(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        slow, idle = await rig.connect(), await rig.connect()
        await slow.send(b"GET /a HT")
        begin = trio.current_time()
        assert await slow.ends()
        assert 30 <= trio.current_time() - begin <= 30.5
        assert (await idle.ask("GET", "/a")).status == 200
        begin = trio.current_time()
        assert await idle.ends()
        assert 120 <= trio.current_time() - begin <= 120.5


async def test_a_client_that_leaves_does_not_stop_the_function(autojump_clock: MockClock) -> None:
    done = trio.Event()

    async def work(_: Call) -> Any:
        await trio.sleep(1)
        done.set()
        return {"body": 1}

    async with serving() as rig:
        rig.route("/a", work)
        client = await rig.connect()
        await client.send(request("GET", "/a"))
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert rig.kernel.ledger.statistics().in_flight == 1
        await done.wait()


class Stuck(Wrapped):
    async def send_all(self, data: Any) -> None:
        await trio.sleep_forever()


class Broken(Wrapped):
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        raise ZeroDivisionError("a stream's bug")


class Slow(Wrapped):
    async def send_all(self, data: Any) -> None:
        await trio.sleep(0.5)
        await super().send_all(data)


class Reset(Wrapped):
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = await super().receive_some(max_bytes)
        if data == b"reset":
            raise trio.BrokenResourceError
        return data


class Whole(trio.abc.Stream):
    """A stream that cannot end by halves, as TLS."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.receive_some, self.send_all, self.aclose = stream.receive_some, stream.send_all, stream.aclose  # type: ignore[method-assign]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        raise NotImplementedError

    async def send_all(self, data: Any) -> None:
        raise NotImplementedError

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


async def test_a_reset_while_a_request_runs_is_no_error(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.route("/a", forever)
        assert rig.network.listener is not None
        client = Client(await rig.network.listener.connect(Reset))
        await client.send(request("GET", "/a"))
        await trio.testing.wait_all_tasks_blocked()
        await client.send(b"reset")
        assert await client.ends()
        assert not caplog.records


class Mute(Wrapped):
    """Nothing can be said to this client."""

    async def send_all(self, data: Any) -> None:
        raise trio.BrokenResourceError


async def begin_upload(rig: Rig, wrap: Callable[[Any], trio.abc.Stream], fields: str, body: bytes = b"") -> Client:
    """A client whose stream is wrapped on the server's side, and who has sent a head and, in the same piece, `body`."""
    rig.route("/up", {"body": 1}, "POST")
    assert rig.network.listener is not None
    client = Client(await rig.network.listener.connect(wrap))
    head = f"POST /up HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n{fields}\r\n"
    await client.send(head.encode() + body)
    return client


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ("content-length: 10\r\n", b"[1"),
        ("transfer-encoding: chunked\r\n", b"2\r\n[1\r\n"),
        ("expect: 100-continue\r\ncontent-length: 10\r\n", b""),
    ],
)
async def test_a_reset_in_a_body_that_is_parsed_is_no_error(
    fields: str, body: bytes, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        client = await begin_upload(rig, Reset, fields)
        await client.send(body)
        await trio.testing.wait_all_tasks_blocked()
        await client.send(b"reset")
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert rig.kernel.ledger.statistics().in_flight == 0
        assert not rig.calls
        assert not caplog.records


@pytest.mark.parametrize(
    ("fields", "body"),
    [("transfer-encoding: chunked\r\n", b"no chunk\r\n"), ("expect: 100-continue\r\ncontent-length: 10\r\n", b"")],
)
async def test_a_client_that_cannot_be_told_about_its_body_is_no_error(
    fields: str, body: bytes, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        client = await begin_upload(rig, Mute, fields, body)
        assert await client.ends()
        assert not rig.calls
        assert not caplog.records


class Gone(Wrapped):
    async def send_eof(self) -> None:
        raise trio.BrokenResourceError


async def test_a_client_that_is_gone_at_the_end_is_no_error(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        assert rig.network.listener is not None
        client = Client(await rig.network.listener.connect(Gone))
        assert (await client.ask("GET", "/a", {"connection": "close"})).status == 200
        assert await client.ends()
        assert not caplog.records


async def test_a_stream_that_cannot_end_by_halves_is_closed_at_once(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        assert rig.network.listener is not None
        client = Client(await rig.network.listener.connect(Whole))
        begin = trio.current_time()
        assert (await client.ask("GET", "/a", {"connection": "close"})).status == 200
        assert await client.ends()
        assert trio.current_time() == begin


class Deaf(Wrapped):
    """Takes the head of a long answer and nothing after it."""

    async def send_all(self, data: Any) -> None:
        if len(data) > 10_000:
            raise trio.BrokenResourceError
        await super().send_all(data)


async def test_a_client_that_breaks_while_it_is_answered_is_no_error(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": "x" * 100_000}, "POST")
        assert rig.network.listener is not None
        client = Client(await rig.network.listener.connect(Deaf))
        await client.send(request("POST", "/a", {"content-length": "5"}))
        assert await client.ends()
        assert not caplog.records


async def test_a_client_that_does_not_read_is_given_up(autojump_clock: MockClock) -> None:
    servers: list[Stuck] = []
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        assert rig.network.listener is not None
        client = Client(await rig.network.listener.connect(lambda stream: servers.append(Stuck(stream)) or servers[0]))
        begin = trio.current_time()
        await client.send(request("GET", "/a"))
        await servers[0].closed.wait()
        assert trio.current_time() - begin == pytest.approx(30)


async def test_a_failing_connection_does_not_touch_the_others(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        assert rig.network.listener is not None
        assert await Client(await rig.network.listener.connect(Broken)).ends()
        assert "an HTTP connection failed" in caplog.text
        assert (await rig.ask("GET", "/a")).status == 200


# --- life --------------------------------------------------------------------------------------------------------------


async def test_the_address_is_logged_and_published(caplog: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    caplog.set_level(logging.INFO)
    async with serving(HttpConfig(host="[::1]", port=0)) as rig:
        assert rig.network.bound == [("::1", 0)]
        assert "API listening on address: [::1]:4711" in caplog.text  # http 5
        assert rig.module.address == ("[::1]", 4711)
        assert rig.kernel.services.get(ADDRESS_SERVICE) == ("[::1]", 4711)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EADDRINUSE, "used"), "address 127.0.0.1:3111 is already in use"),  # http 4
        (OSError(errno.EACCES, "denied"), "failed to bind to 127.0.0.1:3111: [Errno 13] denied"),
    ],
)
async def test_an_address_that_cannot_be_bound_is_one_clear_error(
    error: OSError, text: str, autojump_clock: MockClock
) -> None:
    module = HttpModule(HttpConfig(host="127.0.0.1"), ModuleOwner("h", "h"), MemoryNetwork(taken=error))
    kernel = Kernel(clock=TrioClock())
    with pytest.raises(BindError) as caught:
        await module.run(kernel)
    assert str(caught.value) == text
    assert caught.value.__cause__ is error
    assert not kernel.triggers.types


async def test_triggers_may_come_before_the_port_and_survive_a_crash(autojump_clock: MockClock) -> None:
    kernel = Kernel(clock=TrioClock())
    async with serving(kernel=kernel) as first:
        first.route("/a", {"body": 1})
        client = await first.connect()
        assert (await client.ask("GET", "/a")).status == 200
        listener = first.network.listener
        first.scope.cancel()
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await client.ask("GET", "/a")
        await first.ended.wait()
        assert listener is not None
        assert listener.closed
        assert kernel.triggers.statistics().parked == 1
        module = HttpModule(first.module.config, first.module.owner, first.network)
        await first.nursery.start(run_in, trio.CancelScope(), module, kernel, trio.Event())
        assert (await first.ask("GET", "/a")).body == b"1"
        assert kernel.triggers.statistics().parked == 0


async def test_a_graceful_stop_finishes_what_runs(autojump_clock: MockClock) -> None:
    async def work(_: Call) -> Any:
        await trio.sleep(2)
        return {"body": "done"}

    async with serving() as rig:
        rig.route("/work", work)
        busy, idle, partial = [await rig.connect() for _ in range(3)]
        await busy.send(request("GET", "/work"))
        await partial.send(b"GET /wor")
        await trio.testing.wait_all_tasks_blocked()
        rig.module.request_stop()
        assert await idle.ends()
        assert await partial.ends()
        await trio.testing.wait_all_tasks_blocked()
        assert rig.network.listener is not None
        assert rig.network.listener.closed
        assert (await busy.read()).body == b'"done"'
        assert await busy.ends()
        await rig.ended.wait()
        assert not rig.scope.cancelled_caught
        assert not rig.kernel.triggers.types


async def test_a_stop_before_the_start_has_no_effect(autojump_clock: MockClock) -> None:
    module = HttpModule(HttpConfig(), ModuleOwner("h", "h"), MemoryNetwork())
    module.request_stop()
    async with serving() as rig:
        await rig.nursery.start(run_in, trio.CancelScope(), module, rig.kernel, trio.Event())
        assert module.address == ("0.0.0.0", 4711)


async def test_connections_beyond_the_bound_wait_to_be_accepted(autojump_clock: MockClock) -> None:
    def small(kernel: Kernel, config: HttpConfig, turn: Turn) -> HttpServer:
        server = (open_fast if config.server == "fast" else open_hypercorn)(kernel, config, turn)
        return attrs.evolve(server, limits=ServerLimits(connections=1))  # type: ignore[type-var]  # both are attrs classes

    async with serving(open_server=small) as rig:
        rig.route("/a", {"body": 1})
        assert rig.network.listener is not None
        rig.network.listener.failures = [OSError(errno.EMFILE, "too many files")] * 3
        first, second = await rig.connect(), await rig.connect()
        assert (await first.ask("GET", "/a")).status == 200
        await second.send(request("GET", "/a"))
        await trio.testing.wait_all_tasks_blocked()
        assert len(rig.calls) == 1
        await first.stream.aclose()
        assert (await second.read()).status == 200


async def test_a_server_that_fails_at_once_leaves_no_listener(autojump_clock: MockClock) -> None:
    class Failing:
        async def serve(self, *_: object, **__: object) -> None:
            raise ZeroDivisionError

    network = MemoryNetwork()
    module = HttpModule(HttpConfig(), ModuleOwner("h", "h"), network, lambda *_: Failing())  # type: ignore[arg-type, return-value]
    kernel = Kernel(clock=TrioClock())
    with pytest.raises(ZeroDivisionError):
        await module.run(kernel)
    assert network.listener is not None
    assert network.listener.closed
    assert not kernel.triggers.types


async def test_draining_closes_the_listener_and_refuses_new_requests(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        client = await rig.connect()
        assert (await client.ask("GET", "/a")).status == 200
        rig.module.stop_accepting()
        await trio.testing.wait_all_tasks_blocked()
        assert rig.network.listener is not None
        assert rig.network.listener.closed
        answer = await client.ask("GET", "/a")
        assert (answer.status, answer.json["error"]["code"]) == (503, "shutting_down")
        assert await client.ends()
        await trio.sleep(60)
        assert not rig.ended.is_set()  # nobody takes it for dead and restarts it
        rig.module.request_stop()
        await rig.ended.wait()


async def test_a_stop_does_not_cut_an_answer_that_is_being_written(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        rig.route("/a", {"body": "x" * 10})
        assert rig.network.listener is not None
        client = Client(await rig.network.listener.connect(Slow))
        await client.send(request("GET", "/a"))
        await trio.sleep(0.1)
        rig.scope.cancel()
        assert (await client.read()).body == b'"xxxxxxxxxx"'
        assert await client.ends()


async def test_a_stop_waits_no_longer_than_a_second_for_a_client(autojump_clock: MockClock) -> None:
    servers: list[Stuck] = []
    async with serving() as rig:
        rig.route("/a", {"body": 1})
        assert rig.network.listener is not None
        client = Client(await rig.network.listener.connect(lambda stream: servers.append(Stuck(stream)) or servers[0]))
        await client.send(request("GET", "/a"))
        await trio.testing.wait_all_tasks_blocked()
        begin = trio.current_time()
        rig.scope.cancel()
        await servers[0].closed.wait()
        assert trio.current_time() - begin == pytest.approx(1)


def ask_with_the_standard_library(port: int) -> list[tuple[int, Any]]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    answers = []
    for method, path, body in (("POST", "/orders/7", b'{"a":1}'), ("GET", "/big", None)):
        client.request(method, path, body, {"content-type": "application/json"})
        answer = client.getresponse()
        answers.append((answer.status, json.loads(answer.read())))
    client.close()
    return answers


async def test_over_tcp_with_an_independent_client() -> None:
    with trio.fail_after(10):
        async with serving(network=TcpNetwork()) as rig:
            rig.route(
                "/orders/:id", lambda call: {"status_code": 201, "body": call.payload.value["path_params"]}, "POST"
            )
            rig.route("/big", {"body": "x" * (4 << 20)})
            answers = await trio.to_thread.run_sync(ask_with_the_standard_library, rig.network.port)
            assert answers[0] == (201, {"id": "7"})
            assert answers[1] == (200, "x" * (4 << 20))
            assert rig.module.address == ("127.0.0.1", rig.network.port)
            assert rig.network.port != 0


async def test_over_tcp_a_refused_upload_still_shows_its_answer() -> None:
    with trio.fail_after(10):
        async with serving(HttpConfig(host="127.0.0.1", port=0, body_limit=1000), TcpNetwork()) as rig:
            rig.route("/up", {"body": 1}, "POST")
            client = await rig.connect()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_all_quietly, client, request("POST", "/up", None, b"x" * (8 << 20)))
                assert (await client.read()).status == 413
                assert await client.ends()
                nursery.cancel_scope.cancel()


async def test_over_tcp_a_body_that_breaks_while_its_answer_is_sent_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with trio.fail_after(10):
        async with serving(network=TcpNetwork()) as rig:
            rig.route("/up", {"body": "x" * (16 << 20)}, "POST")
            client = await rig.connect()
            await client.send(b"POST /up HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
            answer = await client.read_head()
            await client.send(b"no chunk\r\n")  # the answer does not fit into the buffers of the system
            size = len(client._buffer)
            while piece := await client.stream.receive_some(1 << 20):
                size += len(piece)
            assert size == int(answer["content-length"])
            assert not caplog.records


async def send_all_quietly(client: Client, data: bytes) -> None:
    try:
        await client.send(data)
    except trio.BrokenResourceError:
        return  # the server stopped listening


async def test_over_tcp_the_port_is_free_again_after_a_crash() -> None:
    with trio.fail_after(10):
        kernel = Kernel(clock=TrioClock())
        network = TcpNetwork()
        async with serving(network=network, kernel=kernel) as rig:
            rig.route("/a", {"body": 1})
            client = await rig.connect()
            assert (await client.ask("GET", "/a")).status == 200
            rig.scope.cancel()
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                await client.ask("GET", "/a")
            await rig.ended.wait()
            config = HttpConfig(host="127.0.0.1", port=network.port)
            again = HttpModule(config, rig.module.owner, network)
            await rig.nursery.start(run_in, trio.CancelScope(), again, kernel, trio.Event())
            assert (await rig.ask("GET", "/a")).body == b"1"
            assert again.address == ("127.0.0.1", config.port)
