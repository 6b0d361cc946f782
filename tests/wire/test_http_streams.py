"""Streamed answers behind the seam: framing, back pressure, ends good and bad (http.md 9.4), against both servers."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from http_rig import Client, MemoryListener, Source, request, serve_handler
from trio.testing import MockClock

from iii_trio.modules.http import Headers, Request, Response, StreamBroken

pytestmark = pytest.mark.usefixtures("server")


def answering(
    source: Source, status: int = 200, headers: Headers = (), first: bytes = b""
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(one: Request) -> Response:
        await trio.lowlevel.checkpoint()
        if one.path == b"/plain":
            return Response(200, (), b"plain")
        return Response(status, headers, first, stream=source.next)

    return handle


@asynccontextmanager
async def memory_client(handle: Callable[[Request], Awaitable[Response]]) -> AsyncIterator[Client]:
    listener = MemoryListener()
    async with serve_handler([listener], handle):
        client = Client(await listener.connect())
        yield client
        await trio.aclose_forcefully(client.stream)


async def rest(client: Client) -> bytes:
    """Everything until the end of the connection."""
    data = b""
    while piece := await client.stream.receive_some(65536):
        data += bytes(piece)
    return data


async def test_pieces_are_chunks_and_the_connection_goes_on(autojump_clock: MockClock) -> None:
    source = Source([b"ab", b"c" * 300])
    async with memory_client(answering(source)) as client:
        answer = await client.ask("GET", "/s")
        assert answer.all("transfer-encoding") == ["chunked"]
        assert not answer.all("content-length")
        assert answer.body == b"ab" + b"c" * 300
        assert (await client.ask("GET", "/plain")).body == b"plain"


async def test_each_piece_goes_out_at_once(autojump_clock: MockClock) -> None:
    source = Source([b"first", None])
    async with memory_client(answering(source)) as client:
        await client.send(request("GET", "/s"))
        data = b""
        while b"first" not in data:
            piece = await client.stream.receive_some(65536)
            assert piece
            data += bytes(piece)
        assert data.endswith(b"\r\n\r\n5\r\nfirst\r\n")
        await client.stream.aclose()
        await source.cancelled.wait()  # http 65: the producer learns that the client has left


async def test_what_is_there_goes_out_with_the_head(server: str, autojump_clock: MockClock) -> None:
    source = Source([None])
    async with memory_client(answering(source, first=b"first")) as client:
        await client.send(request("GET", "/s"))
        end = b"\r\n\r\n5\r\nfirst\r\n"
        with trio.fail_after(5):
            data = bytes(await client.stream.receive_some(65536))
            while server == "hypercorn" and not data.endswith(end):  # says one thing after the other
                data += bytes(await client.stream.receive_some(65536))
        assert data.endswith(end)  # http 57


@pytest.mark.parametrize(
    ("length", "body"), [(b"9", b"firstmore"), (b"5", b"first"), (b"3", b"fir"), (b"", b"firstmore")]
)
async def test_the_first_bytes_count(length: bytes, body: bytes, autojump_clock: MockClock) -> None:
    headers = [(b"content-length", length)] if length else []
    async with memory_client(answering(Source([b"more"]), headers=headers, first=b"first")) as client:
        assert (await client.ask("GET", "/s")).body == body  # http 97
        assert (await client.ask("GET", "/plain")).body == b"plain"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_the_first_bytes_of_an_answer_without_a_body(method: str, status: int, autojump_clock: MockClock) -> None:
    async with memory_client(answering(Source([b"more"]), status, first=b"first")) as client:
        answer = await client.ask(method, "/s")
        assert (answer.status, answer.body) == (status, b"")
        assert (await client.ask("GET", "/plain")).body == b"plain"


async def test_a_declared_length_is_kept_to(autojump_clock: MockClock) -> None:
    source = Source([b"abc", b"def", b"gh"])
    async with memory_client(answering(source, headers=[(b"content-length", b"5")])) as client:
        answer = await client.ask("GET", "/s")
        assert (answer.all("content-length"), answer.all("transfer-encoding")) == (["5"], [])
        assert answer.body == b"abcde"  # http 97: what is too much is dropped
        assert (await client.ask("GET", "/plain")).body == b"plain"


@pytest.mark.parametrize("value", [b"x", b"-1", b"", b"5, 5"])
async def test_a_length_that_is_no_number_is_ignored(value: bytes, autojump_clock: MockClock) -> None:
    headers = [(b"content-length", value), (b"transfer-encoding", b"gzip"), (b"connection", b"close")]
    async with memory_client(answering(Source([b"abc"]), headers=headers)) as client:
        answer = await client.ask("GET", "/s")
        assert (answer.all("content-length"), answer.all("transfer-encoding")) == ([], ["chunked"])  # http 97
        assert answer.body == b"abc"
        assert (await client.ask("GET", "/plain")).body == b"plain"


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"9")]])
async def test_a_stream_that_breaks_has_no_clean_end(
    headers: Headers, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    source = Source([b"abc", StreamBroken("the worker died")])
    async with memory_client(answering(source, headers=headers)) as client:
        await client.send(request("GET", "/s"))
        data = await rest(client)
        assert b"abc" in data
        assert not data.endswith(b"0\r\n\r\n")
        assert "the worker died" in caplog.text


async def test_a_stream_shorter_than_its_length_closes_the_connection(autojump_clock: MockClock) -> None:
    async with memory_client(answering(Source([b"abc"]), headers=[(b"content-length", b"9")])) as client:
        await client.send(request("GET", "/s"), request("GET", "/plain"))
        data = await rest(client)
        assert data.endswith(b"\r\n\r\nabc")


async def test_on_http_1_0_the_end_of_the_connection_is_the_end(autojump_clock: MockClock) -> None:
    async with memory_client(answering(Source([b"abc", b"def"]))) as client:
        await client.send(b"GET /s HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        head, _, body = (await rest(client)).partition(b"\r\n\r\n")
        assert body == b"abcdef"
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head


async def test_over_tcp_a_broken_close_delimited_answer_is_a_reset() -> None:
    source = Source([b"abc", StreamBroken("gone")])
    with trio.fail_after(10):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with serve_handler(listeners, answering(source)):
            client = Client(await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1]))
            await client.send(b"GET /s HTTP/1.0\r\n\r\n")
            with pytest.raises(trio.BrokenResourceError):
                await rest(client)
            await client.stream.aclose()


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_what_has_no_body_sends_none_and_drains_the_source(
    method: str, status: int, autojump_clock: MockClock
) -> None:
    source = Source([b"abc", b"def"])
    async with memory_client(answering(source, status)) as client:
        await client.send(request(method, "/s"))
        answer = await client.read(head_only=True)
        assert answer.status == status
        assert answer.all("transfer-encoding") == (["chunked"] if method == "HEAD" else [])
        assert (await client.ask("GET", "/plain")).body == b"plain"
        assert not source.pieces


async def test_a_client_that_reads_slowly_stops_the_source() -> None:
    size = 64 * 1024
    source = Source([bytes(size)] * 500)
    with trio.fail_after(20):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with serve_handler(listeners, answering(source)):
            stream = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client = Client(stream)
            await client.send(request("GET", "/s"))
            before = -1
            while source.asked != before:  # http 65: it stands still once the buffers of the system are full
                before = source.asked
                await trio.sleep(0.2)
            assert source.asked < 300
            answer = await client.read()
            assert len(answer.body) == 500 * size
            await trio.aclose_forcefully(stream)


async def test_a_client_that_takes_nothing_is_given_up(autojump_clock: MockClock) -> None:
    source = Source([bytes(1 << 20)] * 64)
    limited: Any = trio.testing.lockstep_stream_pair()  # takes nothing that is not read
    listener = MemoryListener()
    async with serve_handler([listener], answering(source)):
        client_end, server_end = limited
        await listener.offer(server_end)
        await client_end.send_all(request("GET", "/s"))
        await source.cancelled.wait()
        assert trio.current_time() == pytest.approx(30, abs=1)
        await trio.aclose_forcefully(client_end)


async def test_a_stop_while_an_answer_streams_ends_the_connection_behind_it(autojump_clock: MockClock) -> None:
    listener, stopped, pieces = MemoryListener(), trio.Event(), [b"the rest"]

    async def rest() -> bytes:
        await stopped.wait()
        return pieces.pop() if pieces else b""

    async def handle(_: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return Response(200, (), b"first ", stream=rest)

    async with serve_handler([listener], handle) as server:
        client = Client(await listener.connect())
        await client.send(request("GET", "/a"))
        await trio.testing.wait_all_tasks_blocked()
        server.request_stop()
        stopped.set()
        assert (await client.read()).body == b"first the rest"
        with trio.fail_after(10):
            assert await client.ends()
