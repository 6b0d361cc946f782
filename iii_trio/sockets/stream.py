"""The seam to the network: what a WebSocket needs of a byte stream, over a socket of our own or over any Trio stream."""

import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import trio

from iii_trio.protocol import Buffer

RECEIVE_SIZE = 256 * 1024
_JOIN_LIMIT = 64 * 1024
_IOV_MAX = min(os.sysconf("SC_IOV_MAX"), 1024)
_STREAM_CHUNK = 16 * 1024
BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What a stream raises when the peer, or this side, has ended it."""


class ByteStream(Protocol):
    """A connected byte stream. Every method may raise one of `BROKEN`."""

    peer_address: str | None

    async def receive(self, carry: bytes) -> memoryview:
        """Wait for bytes; return `carry` and what came after it, valid until the next checkpoint. Only `carry` = the end.

        Cancelled: nothing has been taken from the stream.
        """
        ...

    async def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes and put them into `buffer`; return how many, 0 at the end."""
        ...

    def send_nowait(self, pieces: Sequence[Buffer], size: int) -> int:
        """Send what the socket takes now of `pieces` (`size` bytes in all); 0 = hand it to a task that waits."""
        ...

    async def send_some(self, pieces: Sequence[Buffer], size: int) -> int:
        """Wait until at least one byte of `pieces` has been sent; return how many."""
        ...

    def end_sending(self) -> None:
        """Say that nothing more will be sent, where the transport can say so."""
        ...

    def close(self) -> None:
        """Close at once; never waits, so that it works in a cancelled task."""
        ...

    def abort(self) -> None:
        """Close so that the peer cannot take it for a regular end, where the transport can say so; never waits."""
        ...


@attrs.define(eq=False, repr=False)
class SocketStream:
    """A TCP socket driven without a layer between: non-blocking calls, and waiting only when they would block."""

    _socket: socket.socket
    _shared: memoryview
    """Receive buffer shared by all connections of an engine: nothing waits between filling and splitting it."""

    peer_address: str | None = None
    descriptor: int = attrs.field(init=False)
    """The socket's number; -1 once it is closed, for the next socket may get the same one."""

    send: Callable[[Buffer], int] = attrs.field(init=False)
    """The socket's own: returns how many bytes it took, raises BlockingIOError if none."""

    _receive_into: Callable[[memoryview], int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.descriptor, self.send = self._socket.fileno(), self._socket.send
        self._receive_into = self._socket.recv_into

    async def receive(self, carry: bytes) -> memoryview:
        while True:
            if self.descriptor < 0:
                raise trio.ClosedResourceError("this side has closed the connection")
            await trio.lowlevel.wait_readable(self.descriptor)
            if (got := self.receive_nowait(carry)) is not None:
                return got

    def receive_nowait(self, carry: bytes = b"") -> memoryview | None:
        """The same of what is there; None if nothing is. Raises OSError."""
        buffer = self._shared
        try:
            if not carry:
                return buffer[: self._receive_into(buffer)]
            start = len(carry)
            buffer[:start] = carry
            return buffer[: start + self._receive_into(buffer[start:])]
        except (BlockingIOError, InterruptedError):
            return None

    async def receive_into(self, buffer: memoryview) -> int:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv_into(buffer)
            except (BlockingIOError, InterruptedError):
                continue

    def send_nowait(self, pieces: Sequence[Buffer], size: int) -> int:
        try:
            if len(pieces) == 1:
                return self._socket.send(pieces[0])
            if size < _JOIN_LIMIT:
                return self._socket.send(b"".join(pieces))
            return self._socket.sendmsg(pieces[:_IOV_MAX])
        except (BlockingIOError, InterruptedError):
            return 0

    async def send_some(self, pieces: Sequence[Buffer], size: int) -> int:
        while True:
            await trio.lowlevel.wait_writable(self._socket)
            if sent := self.send_nowait(pieces, size):
                return sent

    def end_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.descriptor = -1
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    def abort(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


@attrs.define(eq=False, repr=False)
class TrioStream:
    """Any Trio stream behind the same seam: memory streams in tests, TLS."""

    _stream: trio.abc.Stream
    peer_address: str | None = None

    async def receive(self, carry: bytes) -> memoryview:
        return memoryview(carry + await self._stream.receive_some(RECEIVE_SIZE - len(carry)))

    async def receive_into(self, buffer: memoryview) -> int:
        data = await self._stream.receive_some(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send_nowait(self, pieces: Sequence[Buffer], size: int) -> int:  # noqa: ARG002  # the seam's signature
        return 0

    async def send_some(self, pieces: Sequence[Buffer], size: int) -> int:  # the seam's signature
        chunk = (
            b"".join(pieces)[:_STREAM_CHUNK] if size <= RECEIVE_SIZE else bytes(memoryview(pieces[0])[:_STREAM_CHUNK])
        )
        await self._stream.send_all(chunk)
        return len(chunk)

    def end_sending(self) -> None:
        """Trio streams say so by closing."""

    def close(self) -> None:
        if isinstance(self._stream, trio.StapledStream):
            self._stream.send_stream.close()  # memory streams close synchronously
            self._stream.receive_stream.close()
        else:
            trio.lowlevel.spawn_system_task(trio.aclose_forcefully, self._stream)

    def abort(self) -> None:
        self.close()


def own_stream(stream: trio.abc.Stream, shared: memoryview) -> ByteStream:
    """Take an accepted stream over: a plain TCP one is driven directly, any other through its Trio methods.

    Raises OSError, with the stream closed, if the peer has gone already.
    """
    if not isinstance(stream, trio.SocketStream):
        return TrioStream(stream)
    try:
        name = stream.socket.getpeername()
    except OSError:
        stream.socket.close()
        raise
    address = str(name[0]) if isinstance(name, tuple) and name else None
    raw = socket.socket(fileno=stream.socket.detach())
    raw.setblocking(False)
    if raw.family in {socket.AF_INET, socket.AF_INET6}:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # Trio has set 16 KiB to wait unsent in the system at most: a large message would leave in many pieces, each with
            # a wait of its own. What is queued here is sent in its order in any case.
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 0)
    return SocketStream(raw, shared, address)
