"""What only the fast server does: keep-alive of HTTP/1.0, invitations when a body is wanted, watching for clients that leave."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from http_rig import Client, MemoryListener, request, serve_handler, serving
from trio.testing import MockClock

from iii_trio.modules.http import Request, Response, ServerLimits


async def echo(one: Request) -> Response:
    return Response(200, (), await one.read_body(1 << 30))


async def ignore(_: Request) -> Response:
    await trio.lowlevel.checkpoint()
    return Response(200, (), b"ignored")


@attrs.define
class Waiting:
    """A handler that answers nothing; `cancelled` is set when it is."""

    cancelled: trio.Event = attrs.field(factory=trio.Event)

    async def handle(self, _: Request) -> Response:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled.set()
            raise


async def send_for_ever(stream: trio.SocketStream) -> None:
    while True:
        await stream.send_all(b"x")
        await trio.sleep(0.01)


def talk(
    handler: Callable[[Request], Awaitable[Response]], limits: ServerLimits | None = None
) -> tuple[AbstractAsyncContextManager[Any], MemoryListener]:
    """A server with a handler, to be entered, and where to connect to it."""
    listener = MemoryListener()
    return serve_handler([listener], handler, limits), listener


async def test_http_1_0_is_kept_alive_when_asked(autojump_clock: MockClock) -> None:
    server, listener = talk(echo)
    async with server:
        client = Client(await listener.connect())
        for _ in range(2):
            await client.send(b"POST / HTTP/1.0\r\nconnection: Keep-Alive\r\ncontent-length: 2\r\n\r\nhi")
            answer = await client.read()
            assert (answer.body, answer["connection"]) == (b"hi", "keep-alive")  # http 85
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.read())["connection"] == "close"
        assert await client.ends()
        torn = Client(await listener.connect())
        await torn.send(b"GET / HTTP/1.0\r\nconnection: keep-alive, close\r\n\r\n")
        assert (await torn.read())["connection"] == "close"
        assert await torn.ends()


async def test_a_client_is_invited_when_its_body_is_wanted(autojump_clock: MockClock) -> None:
    server, listener = talk(echo)
    async with server:
        client = Client(await listener.connect())
        expecting = {"expect": "100-continue", "content-length": "2"}
        await client.send(request("POST", "/", expecting), b"hi")
        assert (await client.read()).line == "HTTP/1.1 100 Continue"  # http 86: also if the body is there already
        assert (await client.read()).body == b"hi"
        await client.send(request("POST", "/", {**expecting, "expect": "other"}), b"hi")
        assert (await client.read()).body == b"hi"
        await client.send(b"POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi")
        assert (await client.read()).body == b"hi"


async def test_an_answer_without_the_body_that_was_announced_closes(autojump_clock: MockClock) -> None:
    server, listener = talk(ignore)
    async with server:
        client = Client(await listener.connect())
        await client.send(request("POST", "/", {"expect": "100-continue", "content-length": "2"}))
        answer = await client.read()
        assert (answer.status, answer["connection"]) == (200, "close")  # http 86: no 100 came before it
        assert await client.ends()


async def test_a_client_that_leaves_is_noticed_within_half_a_second(autojump_clock: MockClock) -> None:
    waiting = Waiting()
    server, listener = talk(waiting.handle)
    async with server:
        for ahead in (b"", request("GET", "/next"), b"x" * 1000):
            client = Client(await listener.connect())
            await client.send(request("GET", "/"), ahead)
            await trio.sleep(10)
            begin = trio.current_time()
            await client.stream.aclose()
            await waiting.cancelled.wait()
            assert trio.current_time() - begin <= 0.5
            waiting.cancelled = trio.Event()


async def test_what_was_read_ahead_is_not_lost(autojump_clock: MockClock) -> None:
    async def slow(one: Request) -> Response:
        await trio.sleep(3)
        return await echo(one)

    server, listener = talk(slow)
    async with server:
        client = Client(await listener.connect())
        body = bytes(range(256)) * 1000
        chunked = b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        await client.send(request("POST", "/", {"content-length": str(len(body))}))
        for at in range(0, len(body), 10_000):
            await client.send(body[at : at + 10_000])
            await trio.sleep(0.1)
        await client.send(b"POST / HTTP/1.1\r\nhost: h\r\n" + chunked, request("GET", "/"))
        assert [(await client.read()).body for _ in range(3)] == [body, b"abc", b""]


async def test_reading_ahead_is_bounded(autojump_clock: MockClock) -> None:
    release = trio.Event()

    async def late(one: Request) -> Response:
        await release.wait()
        return await echo(one)

    server, listener = talk(late)
    async with server:
        client_end, server_end = trio.testing.lockstep_stream_pair()
        await listener.offer(server_end)
        client, sent = Client(client_end), []

        async def upload() -> None:
            await client.send(request("POST", "/", {"content-length": str(1 << 20)}))
            for _ in range(64):
                await client.send(bytes(1 << 14))
                sent.append(1 << 14)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            await trio.sleep(60)
            assert sum(sent) <= 3 << 16  # http 38
            release.set()
            assert len((await client.read()).body) == 1 << 20


async def test_a_client_that_sends_ahead_does_not_keep_others_waiting(autojump_clock: MockClock) -> None:
    order = []

    async def note(one: Request) -> Response:
        order.append(one.path)
        return Response(200)

    server, listener = talk(note)
    async with server:
        flood, other = Client(await listener.connect()), Client(await listener.connect())
        await flood.send(request("GET", "/flood") * 1000)
        await other.send(request("GET", "/other"))
        await trio.testing.wait_all_tasks_blocked()
        assert order.index(b"/other") < 10
        assert order.count(b"/flood") == 1000


async def test_an_endless_row_of_line_ends_is_no_head(autojump_clock: MockClock) -> None:
    server, listener = talk(echo)
    async with server:
        client = Client(await listener.connect())
        await client.send(b"\r\n" * 1000)
        assert (await client.read()).status == 400
        assert await client.ends()


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    "field",
    [
        (b"x", b"a\r\nset-cookie: evil=1"),
        (b"x\r\nset-cookie", b"1"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\r\n\r\nHTTP/1.1 200"),
    ],
)
async def test_no_header_of_anybody_can_split_an_answer(
    field: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async def handle(_: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return Response(200, [field], b"body")

    server, listener = talk(handle)
    async with server:
        client = Client(await listener.connect())
        await client.send(request("GET", "/"))
        data = b""
        while piece := await client.stream.receive_some(65536):
            data += bytes(piece)
        assert b"evil" not in data  # http 48
        assert b"200" not in data
        assert caplog.records


@pytest.mark.usefixtures("server")
async def test_a_handler_cannot_change_the_framing(autojump_clock: MockClock) -> None:
    async def handle(_: Request) -> Response:
        await trio.lowlevel.checkpoint()
        names = (b"content-length", b"transfer-encoding", b"connection", b"keep-alive")
        return Response(200, [*((name, b"1") for name in names), (b"x", b"1")], b"hello")

    server, listener = talk(handle)
    async with server:
        client = Client(await listener.connect())
        for _ in range(2):
            answer = await client.ask("GET", "/")
            assert (answer.all("content-length"), answer.all("transfer-encoding")) == (["5"], [])  # http 97
            assert (answer.all("keep-alive"), answer.all("x"), answer.body) == ([], ["1"], b"hello")


async def test_limits_are_those_that_are_given(autojump_clock: MockClock) -> None:
    limits = attrs.evolve(
        ServerLimits(), header_fields=3, head_size=200, target_size=20, head_timeout=2, idle_timeout=5
    )
    server, listener = talk(echo, limits)
    async with server:
        for sent, status in (
            (request("GET", "/" + "a" * 20), 414),
            (request("GET", "/", {"a": "1", "b": "2", "c": "3"}), 431),
            (request("GET", "/", {"a": "x" * 200}), 431),
            (b"GET /" + b"a" * 300, 414),
        ):
            client = Client(await listener.connect())
            await client.send(sent)
            assert (await client.read()).status == status  # http 84
            assert await client.ends()
        for begun, seconds in ((b"GET", 2), (b"", 5)):
            client = Client(await listener.connect())
            begin = trio.current_time()
            await client.send(begun)
            assert await client.ends()
            assert trio.current_time() - begin == pytest.approx(seconds + 0.125, abs=0.13)


async def test_over_tcp_a_client_that_closes_its_half_gets_no_late_answer() -> None:
    waiting = Waiting()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with trio.fail_after(10):
        async with (
            serve_handler(listeners, waiting.handle),
            await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1]) as stream,
        ):
            await stream.send_all(request("GET", "/"))
            await stream.send_eof()
            await waiting.cancelled.wait()
            assert await stream.receive_some(1) == b""


async def test_the_engine_uses_it_unless_told_otherwise(autojump_clock: MockClock) -> None:
    async with serving() as rig:
        assert rig.module.config.server == "fast"
        rig.route("/a", {"body": 1})
        client = await rig.connect()
        await client.send(b"GET /a HTTP/1.1\r\n\r\n")  # no `host`: hypercorn's parser refuses that
        assert (await client.read()).status == 200


async def test_a_client_that_stays_after_the_last_answer_is_not_watched() -> None:
    """Over a real socket, which lingers: one reader discards what still comes, and the server goes on."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(10):
        async with serve_handler(listeners, echo, ServerLimits(linger=0.8)):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stays:
                await stays.send_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                while await stays.receive_some():
                    pass
                with pytest.raises(trio.BrokenResourceError):
                    await send_for_ever(stays)  # until the server has closed, several looks of its sweep later
            async with await trio.open_tcp_stream("127.0.0.1", port) as second:
                client = Client(second)
                await client.send(request("POST", "/", {"content-length": "2"}), b"hi")
                assert (await client.read()).body == b"hi"


async def test_an_answer_while_somebody_reads_the_body_leaves_one_reader() -> None:  # http 104
    """Over a real socket, which takes the answer at once: the rest of the body is read before the reader's task has ended."""
    waiting, begun = Waiting(), trio.Event()

    async def read(one: Request, scope: trio.CancelScope) -> None:
        with scope:
            assert await one.receive() == b"part"
            begun.set()
            await one.receive()

    async def handle(one: Request) -> Response:
        if one.path == b"/wait":
            return await waiting.handle(one)
        if one.method == "GET":
            return await ignore(one)
        scope = trio.CancelScope()
        tasks.start_soon(read, one, scope)
        await begun.wait()
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        return Response(200)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(10):
        async with trio.open_nursery() as tasks, serve_handler(listeners, handle):
            clients = [Client(await trio.open_tcp_stream("127.0.0.1", port)) for _ in range(3)]
            for client, connection in zip(clients, ("keep-alive", "close"), strict=False):
                await client.send(request("POST", "/", {"content-length": "10", "connection": connection}), b"part")
                assert (await client.read()).status == 200
                begun = trio.Event()
            await clients[2].send(request("GET", "/wait"))
            await clients[2].stream.aclose()
            await waiting.cancelled.wait()  # the server has looked at all of them, several times
            await clients[0].send(b"s ends", request("GET", "/"))
            assert (await clients[0].read()).body == b"ignored"
            for client in clients:
                await trio.aclose_forcefully(client.stream)


async def test_a_stream_that_has_given_what_it_declared_is_over(autojump_clock: MockClock) -> None:
    released = trio.Event()

    async def stream() -> bytes:
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    async def handle(_: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return Response(200, ((b"content-length", b"2"),), b"hi", stream=stream, release=released.set)

    server, listener = talk(handle)
    async with server:
        client = Client(await listener.connect())
        for _ in range(2):
            assert (await client.ask("GET", "/")).body == b"hi"
            assert released.is_set()
