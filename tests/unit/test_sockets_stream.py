"""The seam to the network over real sockets and over Trio streams, and the outbox where timing matters."""

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from iii_trio.protocol import Buffer
from iii_trio.sockets import (
    RECEIVE_SIZE,
    CloseReason,
    Outbox,
    OutboxLimits,
    SocketStream,
    TrioStream,
    Turn,
    WebSocket,
    own_stream,
)
from iii_trio.sockets.stream import ByteStream


def shared() -> memoryview:
    return memoryview(bytearray(RECEIVE_SIZE))


class Spurious:
    """A socket that says "not now" or "interrupted" once before every call that works."""

    def __init__(self, inner: socket.socket) -> None:
        self.inner, self.troubles = inner, list[type[OSError]]()

    def fileno(self) -> int:
        return self.inner.fileno()

    def _trouble(self) -> None:
        if self.troubles:
            raise self.troubles.pop()

    def recv_into(self, buffer: memoryview) -> int:
        self._trouble()
        return self.inner.recv_into(buffer)

    def send(self, data: bytes) -> int:
        self._trouble()
        return self.inner.send(data)


@asynccontextmanager
async def open_pair() -> AsyncIterator[tuple[socket.socket, Spurious, SocketStream]]:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    spurious = Spurious(theirs)
    stream = SocketStream(spurious, shared())  # type: ignore[arg-type]  # all of a socket that is used
    await trio.lowlevel.checkpoint()
    try:
        yield ours, spurious, stream
    finally:
        ours.close()
        theirs.close()


async def test_a_closed_stream_keeps_away_from_the_next_socket_of_its_number() -> None:
    first, peer = socket.socketpair()
    stream = SocketStream(first, shared())
    number = first.fileno()
    stream.close()
    peer.close()
    second, other = socket.socketpair()
    try:
        assert number in {second.fileno(), other.fileno()}
        other.send(b"not for you")
        second.send(b"nor this")
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive(b"")
    finally:
        second.close()
        other.close()


async def test_a_closed_stream_ends_the_reading_of_its_websocket() -> None:
    ours, peer = socket.socketpair()
    with peer:
        stream = SocketStream(ours, shared())
        outbox = Outbox(stream, Turn(), lambda _: None, lambda _: None)
        websocket = WebSocket(stream, outbox, trio.current_time)
        stream.close()
        await websocket.deliver(lambda _: None, lambda _: None)
    assert websocket.ended is CloseReason.PEER_GONE


@pytest.mark.parametrize("trouble", [BlockingIOError, InterruptedError])
async def test_a_socket_that_was_not_ready_after_all_is_waited_for(trouble: type[OSError]) -> None:
    async with open_pair() as (ours, spurious, stream):
        ours.send(b"two")
        spurious.troubles = [trouble]
        assert bytes(await stream.receive(b"one ")) == b"one two"
        ours.send(b"three")
        spurious.troubles = [trouble]
        buffer = memoryview(bytearray(10))
        assert await stream.receive_into(buffer) == 5
        spurious.troubles = [trouble]
        assert stream.send_nowait((b"x",), 1) == 0
        spurious.troubles = [trouble]
        assert await stream.send_some((b"yz",), 2) == 2
        assert ours.recv(10) == b"yz"


@pytest.mark.parametrize("size", [10, 100_000])
async def test_pieces_are_sent_in_order(size: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        stream = SocketStream(theirs, shared())
        pieces: list[Buffer] = [b"a" * size, b"b" * size, memoryview(b"c" * size)]
        sent = stream.send_nowait(pieces, 3 * size)
        assert sent > 0
        received = b""
        while len(received) < sent:
            received += ours.recv(sent)
        assert received == b"".join(pieces)[:sent]
        stream.end_sending()
        assert ours.recv(10) == b""


async def test_a_trio_stream_serves_behind_the_same_seam() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    stream = own_stream(theirs, shared())
    assert isinstance(stream, TrioStream)
    await ours.send_all(b"two")
    assert bytes(await stream.receive(b"one ")) == b"one two"
    await ours.send_all(b"three")
    buffer = memoryview(bytearray(3))
    assert (await stream.receive_into(buffer), bytes(buffer)) == (3, b"thr")
    assert stream.send_nowait((b"x",), 1) == 0
    large = b"y" * (RECEIVE_SIZE + 10)
    assert await stream.send_some((b"x", b"z"), 2) == 2
    assert 0 < await stream.send_some((large,), len(large)) < len(large)
    stream.end_sending()
    stream.close()
    assert (await ours.receive_some()).startswith(b"xzy")


async def test_a_stream_that_cannot_close_at_once_is_closed_in_the_background() -> None:
    closed = trio.Event()

    class Slow(trio.abc.Stream):
        async def aclose(self) -> None:
            closed.set()
            await trio.lowlevel.checkpoint()

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            raise NotImplementedError

        async def send_all(self, data: object) -> None:
            raise NotImplementedError

        async def wait_send_all_might_not_block(self) -> None:
            raise NotImplementedError

    TrioStream(Slow()).close()
    with trio.fail_after(5):
        await closed.wait()


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="the system has no such option")
async def test_the_system_may_queue_more_of_a_large_message_than_trio_lets_it() -> None:
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1]):
        accepted = await listener.accept()
        assert 0 < accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) < 1 << 20
        stream = own_stream(accepted, shared())
        assert isinstance(stream, SocketStream)
        with socket.socket(fileno=os.dup(stream.descriptor)) as same:
            assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 0
        stream.close()


async def test_unix_sockets_are_driven_directly_too() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        stream = own_stream(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)), shared())
        assert isinstance(stream, SocketStream)
        assert stream.peer_address is None
        assert stream.send_nowait((b"x",), 1) == 1
        stream.close()
        assert ours.recv(10) == b"x"


class Stalled:
    """A stream that takes nothing until told to, or breaks."""

    peer_address: str | None = None

    def __init__(self) -> None:
        self.release, self.error = trio.Event(), None

    error: Exception | None

    def send_nowait(self, pieces: object, size: int) -> int:
        return 0

    async def send_some(self, pieces: object, size: int) -> int:
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return size

    async def receive(self, carry: bytes) -> memoryview:
        raise NotImplementedError

    async def receive_into(self, buffer: memoryview) -> int:
        raise NotImplementedError

    def end_sending(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


@asynccontextmanager
async def open_outbox(
    stream: ByteStream, limits: OutboxLimits | None = None
) -> AsyncIterator[tuple[Outbox, list[CloseReason]]]:
    reasons: list[CloseReason] = []
    async with trio.open_nursery() as nursery:
        start: Callable[..., None] = nursery.start_soon
        outbox = Outbox(stream, Turn(), start, reasons.append, limits or OutboxLimits())
        yield outbox, reasons
        nursery.cancel_scope.cancel()


async def test_a_close_during_a_wait_for_room_releases_it() -> None:
    async with open_outbox(Stalled(), OutboxLimits(frames=1)) as (outbox, _), trio.open_nursery() as nursery:
        outbox.send((b"x",), 1)
        for wait in (outbox.wait_room, outbox.wait_room, outbox.wait_sent, outbox.wait_sent):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert outbox.is_full
        outbox.close()
    assert outbox.statistics().frames == 0


async def test_what_comes_after_the_end_is_dropped() -> None:
    stream = Stalled()
    async with open_outbox(stream) as (outbox, reasons):
        outbox.send((b"x",), 1)
        await trio.testing.wait_all_tasks_blocked()
        outbox.close()
        stream.release.set()
        await trio.testing.wait_all_tasks_blocked()
        outbox.send((b"y",), 1)
        outbox.flush()
        outbox.fail(CloseReason.KILLED)
        assert (outbox.statistics().frames, outbox.statistics().sent_bytes, reasons) == (0, 0, [])


@pytest.mark.parametrize("error", [BrokenPipeError(), trio.BrokenResourceError(), trio.ClosedResourceError()])
async def test_an_error_of_the_writer_task_ends_that_connection(error: Exception) -> None:
    stream = Stalled()
    async with open_outbox(stream) as (outbox, reasons):
        outbox.send((b"x",), 1)
        await trio.testing.wait_all_tasks_blocked()
        stream.error = error
        stream.release.set()
        await trio.testing.wait_all_tasks_blocked()
        assert reasons == [CloseReason.PEER_GONE]
