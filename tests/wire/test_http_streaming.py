"""Requests and answers through the channels of a request, with both HTTP servers (http.md 6.1, 9)."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from http_rig import Answer, request
from http_rig import Client as HttpClient
from trio.testing import MockClock
from trio_websocket import CloseReason, ConnectionClosed, WebSocketConnection
from wire_client import MIB, Client, World, open_world, upgrade_request

from iii_trio.kernel import TrioClock
from iii_trio.testing import MemoryNetwork
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("server")
FUNCTION = "shop::download"


@attrs.define(eq=False)
class Site:
    """An engine with an http module, a worker whose function answers `/f`, and clients."""

    world: World
    worker: Client

    async def client(self) -> HttpClient:
        port = self.world.engine.addresses["http"][1]
        network = self.world.engine.composition.network
        if isinstance(network, MemoryNetwork):
            stream: trio.abc.Stream = await network.connect(port)
        else:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        self.world.streams.append(stream)
        return HttpClient(stream)

    async def ask(
        self, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> "tuple[HttpClient, dict[str, Any]]":
        """Send a request; the client that waits for the answer, and the call of the function."""
        client = await self.client()
        self.world.nursery.start_soon(client.send, request(method, "/f", headers, body))  # nobody may be reading it
        return client, await self.worker.invoked(FUNCTION)

    async def open(self, ref: dict[str, str]) -> WebSocketConnection:
        return (await self.world.open_socket(path_of(ref))).socket

    async def writer(self, call: dict[str, Any]) -> WebSocketConnection:
        return await self.open(call["data"]["response"])

    async def reader(self, call: dict[str, Any]) -> WebSocketConnection:
        return await self.open(call["data"]["request_body"])

    async def wait_released(self) -> None:
        """Nothing of the request is left: neither of its channels is known, and no socket is at one."""

        def is_released() -> bool:
            statistics = self.world.engine.statistics()
            channels = statistics.kernel.channels
            return channels.open == channels.items == statistics.listeners[0].channel_ends == 0

        await eventually(is_released)


def path_of(ref: dict[str, str]) -> str:
    return f"/ws/channels/{ref['channel_id']}?key={ref['access_key']}&dir={ref['direction']}"


async def say(writer: WebSocketConnection, kind: str, **members: Any) -> None:
    await writer.send_message(json.dumps({"type": kind, **members}))


async def read_all(reader: WebSocketConnection) -> bytes:
    pieces: list[bytes] = []
    with trio.fail_after(20):
        try:
            while True:
                message = await reader.get_message()
                assert isinstance(message, bytes)
                assert len(message) <= 64 * 1024  # D-12
                pieces.append(message)
        except ConnectionClosed:
            pass
    assert isinstance(reader.closed, CloseReason)
    assert reader.closed.code == 1005
    return b"".join(pieces)


@asynccontextmanager
async def open_site(server: str, *, in_memory: bool = False, **options: Any) -> AsyncIterator[Site]:
    http = {"name": "iii-http", "config": {"host": "127.0.0.1", "port": 0, "server": server, **options}}
    config = {"workers": [{"name": "iii-worker-manager"}, http]}
    more: dict[str, Any] = {"network": MemoryNetwork(), "clock": TrioClock()} if in_memory else {}
    async with open_world(config, **more) as world:
        worker = await world.connect()
        await worker.register(FUNCTION)
        for method in ("GET", "POST", "HEAD"):
            await worker.trigger(method, "http", FUNCTION, config={"api_path": "f", "http_method": method})
        await worker.fence()
        yield Site(world, worker)


@pytest.fixture
async def site(server: str) -> AsyncIterator[Site]:
    async with open_site(server) as site:
        yield site


# --- the request's body -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"z":2, "a":1}'),  # http 36
        ("application/json", b""),
        ("application/json", b"{oops"),
        ("application/x-www-form-urlencoded", b"a=1&b=%20"),  # http 37
        (
            "multipart/form-data; boundary=xyz",
            b'--xyz\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--xyz--\r\n',
        ),
        ("application/octet-stream", bytes(range(256)) * 1000),
        ("text/plain", b""),
    ],
)
async def test_the_body_arrives_byte_for_byte(site: Site, kind: str, body: bytes) -> None:  # http 36, 37
    client, call = await site.ask("POST", {"content-type": kind}, body)
    data = call["data"]
    assert data["headers"]["content-type"] == kind
    assert (data["body"] is None) == (
        data["headers"]["content-type"] != "application/json" or body != b'{"z":2, "a":1}'
    )
    assert await read_all(await site.reader(call)) == body
    await site.worker.answer(call, result={"body": "ok"})
    assert (await client.read()).json == "ok"
    await site.wait_released()


async def test_a_request_without_a_body_has_an_empty_channel(site: Site) -> None:  # http 36
    client, call = await site.ask()
    assert await read_all(await site.reader(call)) == b""
    await site.worker.answer(call, result={"body": 1})
    assert (await client.read()).status == 200


async def test_trace_headers_go_to_the_worker_and_no_further(site: Site) -> None:  # http 88
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client, call = await site.ask(headers={"traceparent": parent, "tracestate": "x=1", "baggage": "a=1, b=2"})
    assert (call["traceparent"][:35], call["baggage"]) == (parent[:35], "a=1, b=2")
    await site.worker.answer(call, result={"body": 1}, traceparent=parent, baggage="c=3")
    names = {name for name, _ in (await client.read()).fields}
    assert names.isdisjoint({"traceparent", "tracestate", "baggage"})


async def test_a_large_upload_while_the_function_runs(site: Site) -> None:  # http 38
    total = 24 * MIB
    client = await site.client()
    piece = bytes(range(256)) * 256
    registry = site.world.engine.kernel.channels
    peak = 0

    async def send() -> None:
        await client.send(request("POST", "/f", {"content-length": str(total)}))
        for _ in range(total // len(piece)):
            await client.send(piece)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        call = await site.worker.invoked(FUNCTION)  # long before the body is there
        reader = await site.reader(call)
        received = 0
        with trio.fail_after(30):
            while received < total:
                got = await reader.get_message()
                received += len(got)
                peak = max(peak, registry.statistics().size)
        with pytest.raises(ConnectionClosed):
            await reader.get_message()
    assert peak == 0  # pulled from the client, never buffered
    await site.worker.answer(call, result={"body": received})
    assert (await client.read()).json == total


async def test_a_chunked_upload(site: Site) -> None:  # http 37
    client = await site.client()
    await client.send(b"POST /f HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    call = await site.worker.invoked(FUNCTION)
    reader = await site.reader(call)
    assert await reader.get_message() == b"abc"  # although the rest has not been sent
    await client.send(b"2\r\nde\r\n0\r\n\r\n")
    assert await read_all(reader) == b"de"
    await site.worker.answer(call, result={"body": 1})
    assert (await client.read()).status == 200


async def test_an_upload_that_is_aborted_ends(site: Site) -> None:  # 6.1
    client = await site.client()
    await client.send(request("POST", "/f", {"content-length": "100"}), b"part")
    reader = await site.reader(await site.worker.invoked(FUNCTION))
    assert await reader.get_message() == b"part"
    await trio.aclose_forcefully(client.stream)
    assert await read_all(reader) == b""
    await site.wait_released()


async def test_an_upload_that_nobody_reads(site: Site) -> None:  # http 104
    client = await site.client()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send, request("POST", "/f", {"content-type": "text/plain"}, bytes(300_000)))
        await site.worker.answer(await site.worker.invoked(FUNCTION), result={"body": "no, thanks"})
        assert (await client.read()).json == "no, thanks"
    await client.send(request("GET", "/f"))
    await site.worker.answer(await site.worker.invoked(FUNCTION), result={"body": "next"})
    assert (await client.read()).json == "next"


async def test_a_body_beyond_the_limit_that_turns_out_on_the_way(server: str) -> None:  # http 91
    async with open_site(server, body_limit=100_000) as site:
        client = await site.client()
        chunk = b"%x\r\n%b\r\n" % (60_000, bytes(60_000))
        await client.send(b"POST /f HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n", chunk, chunk[:20_000])
        call = await site.worker.invoked(FUNCTION)
        reader = await site.reader(call)
        await reader.get_message()
        await client.send(chunk[20_000:], b"0\r\n\r\n")
        assert (await client.read()).status == 413


async def test_the_condition_sees_no_channels(site: Site) -> None:  # http 76
    worker = site.worker
    await worker.register("shop::guard")
    await worker.trigger(
        "guarded",
        "http",
        FUNCTION,
        config={"api_path": "guarded", "http_method": "GET", "condition_function_id": "shop::guard"},
    )
    await worker.fence()
    client = await site.client()
    await client.send(request("GET", "/guarded"))
    asked = await worker.invoked("shop::guard")
    assert {"body", "trigger"} <= asked["data"].keys()
    assert asked["data"].keys().isdisjoint({"request_body", "response"})
    await worker.answer(asked, result=True)
    call = await worker.invoked(FUNCTION)
    assert {"request_body", "response"} <= call["data"].keys()
    await worker.answer(call, result={"body": 1})
    assert (await client.read()).status == 200


# --- the streamed answer ----------------------------------------------------------------------------------------------


async def test_status_headers_pieces_and_end(site: Site) -> None:  # http 55
    client, call = await site.ask()
    writer = await site.writer(call)
    await say(writer, "set_status", status_code=404)
    await say(writer, "set_status", status_code=206)  # the last one wins
    await say(writer, "set_headers", headers={"Content-Type": "text/csv", "x-a": "1"})
    await say(writer, "set_headers", headers={"content-type": "text/event-stream", "x-b": 5})
    for piece in (b"data: 1\n\n", b"", b"data: 2\n\n"):
        await writer.send_message(piece)
    await say(writer, "set_status", status_code=500)  # too late
    await writer.aclose()
    answer = await client.read()
    assert (answer.status, answer.body) == (206, b"data: 1\n\ndata: 2\n\n")
    assert answer["transfer-encoding"] == "chunked"
    assert answer.all("content-type") == ["text/event-stream"]
    assert answer["x-a"] == "1"
    assert not answer.all("x-b")  # http 62
    assert answer["access-control-allow-origin"] == "*"  # http 78
    await site.worker.answer(call, result={"status_code": 400, "body": "too late"})  # http 61
    await site.wait_released()
    await client.send(request("GET", "/f"))  # the connection goes on
    await site.worker.answer(await site.worker.invoked(FUNCTION), result={"body": 1})
    assert (await client.read()).status == 200


async def test_a_large_download_is_exact(site: Site) -> None:  # http 56
    client, call = await site.ask()
    writer = await site.writer(call)
    body = bytes(range(256)) * (8 * MIB // 256)

    async def write() -> None:
        for start in range(0, len(body), 64 * 1024):
            await writer.send_message(body[start : start + 64 * 1024])
        await writer.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        with trio.fail_after(20):
            assert (await client.read()).body == body


async def test_events_are_forwarded_at_once(server: str, autojump_clock: MockClock) -> None:  # http 57, 64
    async with open_site(server, in_memory=True, default_timeout=2_000) as site:
        client, call = await site.ask()
        writer = await site.writer(call)
        begun = trio.current_time()
        for number in range(5):
            await writer.send_message(b"data: %d\n\n" % number)
            while b"data: %d\n\n" % number not in client._buffer:
                await client._more()
            assert trio.current_time() - begun == pytest.approx(number, abs=0.1)
            await trio.sleep(1)
        assert client._buffer.startswith(b"HTTP/1.1 200 ")
        await writer.aclose()
        assert (await client.read()).body.startswith(b"data: 0")


async def test_a_stop_waits_for_an_answer_whose_function_has_returned(
    server: str, autojump_clock: MockClock
) -> None:  # 3.3: requests in flight may finish
    drained = trio.Event()

    async def drain(site: Site) -> None:
        await site.world.engine.kernel.drain()
        drained.set()

    async with open_site(server, in_memory=True) as site, trio.open_nursery() as nursery:
        client, call = await site.ask()
        writer = await site.writer(call)
        await writer.send_message(b"one ")
        while b"one " not in client._buffer:
            await client._more()
        await site.worker.answer(call, result=None)
        await site.worker.fence()
        nursery.start_soon(drain, site)
        await trio.sleep(1)
        assert not drained.is_set()
        await writer.send_message(b"two")
        await writer.aclose()
        assert (await client.read()).body == b"one two"
        await drained.wait()


async def test_an_empty_piece_sends_the_head(site: Site) -> None:  # http 67
    client, call = await site.ask()
    writer = await site.writer(call)
    await writer.send_message(b"")
    while b"\r\n\r\n" not in client._buffer:
        await client._more()
    assert client._buffer.startswith(b"HTTP/1.1 200 ")
    await writer.send_message(b"more")
    await writer.aclose()
    assert (await client.read()).body == b"more"


async def test_an_end_without_a_piece(site: Site) -> None:  # http 58
    client, call = await site.ask()
    writer = await site.writer(call)
    await say(writer, "set_status", status_code=204)
    await say(writer, "set_headers", headers={"x-a": "1"})
    await writer.aclose()
    answer = await client.read()
    assert (answer.status, answer["x-a"], answer.body) == (204, "1", b"")
    await site.wait_released()


async def test_control_messages_after_the_function_returned(site: Site) -> None:  # http 59
    client, call = await site.ask()
    writer = await site.writer(call)
    await site.worker.answer(call, result=None)
    await site.worker.fence()
    await say(writer, "set_status", status_code=202)
    await writer.send_message(b"x")
    await writer.aclose()
    answer = await client.read()
    assert (answer.status, answer.body) == (202, b"x")


async def test_a_result_before_any_piece_is_the_answer(site: Site) -> None:  # http 60, 102
    client, call = await site.ask()
    writer = await site.writer(call)
    await say(writer, "set_status", status_code=202)
    await say(writer, "set_headers", headers={"x-a": "1"})
    await writer.ping()
    await site.worker.answer(call, result={"body": "plain"})
    answer = await client.read()
    assert (answer.status, answer.json, answer.all("x-a")) == (200, "plain", [])
    await writer.send_message(b"too late")
    with trio.fail_after(5), pytest.raises(ConnectionClosed):
        await writer.get_message()
    assert site.world.closed == {"channel_unread": 1}
    await site.wait_released()


async def test_an_error_after_the_first_piece_changes_nothing(site: Site) -> None:  # http 61
    client, call = await site.ask()
    writer = await site.writer(call)
    await writer.send_message(b"one ")
    while b"one " not in client._buffer:
        await client._more()
    await site.worker.answer(call, error={"code": "x", "message": "late"})
    await site.worker.fence()
    await writer.send_message(b"two")
    await writer.aclose()
    answer = await client.read()
    assert (answer.status, answer.body) == (200, b"one two")


@pytest.mark.parametrize("status", [99, 600, "x", 200.5, True, None])
async def test_a_status_that_is_none_is_ignored(site: Site, status: Any) -> None:  # http 62
    client, call = await site.ask()
    writer = await site.writer(call)
    await say(writer, "set_status", status_code=201)
    await say(writer, "set_status", status_code=status)
    for text in ("no json", "[]", "5", '{"type":"nope"}', "{}", '{"type":"set_headers","headers":[1]}'):
        await writer.send_message(text)
    await writer.send_message(b"x")
    await writer.aclose()
    assert (await client.read()).status == 201


async def test_nobody_writes_and_the_function_returns_nothing(server: str, autojump_clock: MockClock) -> None:
    async with open_site(server, in_memory=True) as site:  # http 63
        client, call = await site.ask()
        begun = trio.current_time()
        await site.worker.answer(call, result=None)
        answer = await client.read()
        assert (answer.status, answer.body) == (504, b"")
        assert 30 <= trio.current_time() - begun <= 30.5
        await site.wait_released()


async def test_a_slow_client_slows_the_writer_and_leaves(site: Site) -> None:  # http 65
    client, call = await site.ask()
    writer = await site.writer(call)
    registry = site.world.engine.kernel.channels
    sent = 0
    while sent < 100 * MIB:
        with trio.move_on_after(0.5):
            await writer.send_message(bytes(64 * 1024))
            sent += 64 * 1024
            continue
        break
    assert sent < 100 * MIB
    assert registry.statistics().size <= registry.limits.channel_size
    await trio.aclose_forcefully(client.stream)
    with trio.fail_after(5), pytest.raises(ConnectionClosed):
        await writer.get_message()
    await site.wait_released()


async def test_the_client_of_an_idle_stream_leaves(site: Site) -> None:  # http 65
    client, call = await site.ask()
    writer = await site.writer(call)
    await writer.send_message(b"one")
    while b"one" not in client._buffer:
        await client._more()
    await trio.aclose_forcefully(client.stream)
    with trio.fail_after(10):
        try:
            while True:
                await writer.send_message(b"x")
                await trio.sleep(0.05)
        except ConnectionClosed:
            pass
    await site.wait_released()


async def test_a_writer_that_dies_cuts_the_answer(site: Site) -> None:  # D-16
    client, call = await site.ask()
    writer = await site.world.open_socket(path_of(call["data"]["response"]))
    await writer.socket.send_message(b"half of it")
    while b"half of it" not in client._buffer:
        await client._more()
    await writer.drop()
    with trio.fail_after(5), pytest.raises((EOFError, trio.BrokenResourceError)):
        await client.read()  # the end of the body does not come
    await site.wait_released()


@pytest.mark.parametrize("returned", [False, True])
async def test_a_writer_that_dies_before_it_wrote(site: Site, returned: bool) -> None:  # http 53
    client, call = await site.ask()
    writer = await site.world.open_socket(path_of(call["data"]["response"]))
    await say(writer.socket, "set_status", status_code=201)
    await writer.socket.ping()
    if returned:
        await site.worker.answer(call, result=None)
        await site.worker.fence()
    await writer.drop()
    await eventually(lambda: site.world.closed == {"peer_gone": 1})
    if not returned:
        await site.worker.drop()
    answer = await client.read()
    assert (answer.status, answer.json["error"]["code"]) == (500, "invocation_stopped")


@pytest.mark.parametrize("how", ["plain", "streamed", "failed"])
async def test_the_channels_of_a_request_that_is_over_are_gone(site: Site, how: str) -> None:  # http 66
    client, call = await site.ask()
    if how == "streamed":
        writer = await site.writer(call)
        await writer.send_message(b"x")
        await writer.aclose()
    else:
        outcome: dict[str, Any] = (
            {"result": {"body": 1}} if how == "plain" else {"error": {"code": "c", "message": "m"}}
        )
        await site.worker.answer(call, **outcome)
    await client.read()
    await site.wait_released()
    for name in ("request_body", "response"):
        peer = await site.world.raw()
        await peer.stream.send_all(upgrade_request(path_of(call["data"][name])))
        assert b" 404 " in await peer.read_until(b"\r\n\r\n")


async def test_an_echo_streams_both_ways(site: Site) -> None:  # 9.4
    client = await site.client()
    await client.send(request("POST", "/f", {"content-length": "6"}), b"abc")
    call = await site.worker.invoked(FUNCTION)
    reader, writer = await site.reader(call), await site.writer(call)
    await writer.send_message(await reader.get_message())
    while b"abc" not in client._buffer:
        await client._more()
    await client.send(b"def")
    await writer.send_message(await reader.get_message())
    await writer.aclose()
    answer: Answer = await client.read()
    assert answer.body == b"abcdef"
    await client.send(request("GET", "/f"))
    await site.worker.answer(await site.worker.invoked(FUNCTION), result={"body": 1})
    assert (await client.read()).status == 200


async def test_a_content_length_of_the_function(site: Site) -> None:  # http 97
    client, call = await site.ask()
    writer = await site.writer(call)
    await say(writer, "set_headers", headers={"content-length": "4", "transfer-encoding": "chunked"})
    await writer.send_message(b"abcdef")
    await writer.aclose()
    answer = await client.read()
    assert (answer.body, answer["content-length"], answer.all("transfer-encoding")) == (b"abcd", "4", [])


async def test_head_has_no_body(site: Site) -> None:
    client, call = await site.ask("HEAD")
    writer = await site.writer(call)
    await say(writer, "set_headers", headers={"content-length": "4"})
    await writer.send_message(b"abcd")
    await writer.aclose()
    answer = await client.read(head_only=True)
    assert (answer.status, answer["content-length"]) == (200, "4")
    await client.send(request("GET", "/f"))
    await site.worker.answer(await site.worker.invoked(FUNCTION), result={"body": 1})
    assert (await client.read()).json == 1
