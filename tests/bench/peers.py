"""The clients of the load: the wire protocol by hand on C-speed parts, so that what is measured is the router."""

import asyncio
import struct
import time
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

_NULL: Final = msgspec.Raw(b"null")
_ABSENT: Final = msgspec.Raw(b"")
_LARGEST = 80 * 1024 * 1024
P = TypeVar("P", bound="Peer")


class Heard(msgspec.Struct):
    """What of a message these clients look at; payloads stay encoded."""

    type: str
    invocation_id: str = ""
    data: msgspec.Raw = _NULL
    result: msgspec.Raw = _NULL
    error: msgspec.Raw = _ABSENT


_read: Final = msgspec.json.Decoder(Heard).decode


def masked_frame(text: bytes) -> bytes:
    """A text frame of at most 64 KiB as clients send it, its mask being zero: legal, and nothing to be computed."""
    size = len(text)
    if size < 126:
        return struct.pack("!BBxxxx", 0x81, 0x80 | size) + text
    return struct.pack("!BBHxxxx", 0x81, 0x80 | 126, size) + text


class Peer(WSListener):
    """One connection. A batched one answers all frames of one read with one write, which costs it least."""

    def __init__(self, *, batched: bool = False) -> None:
        self.greeted = asyncio.Event()
        self.is_lost = False
        self._fragments = bytearray()
        self._batched = batched
        self._unsent: list[bytes] = []
        self._transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.is_lost = True

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.fin and not self._fragments:
            self._hear(frame.get_payload_as_bytes())
        else:
            self._fragments += frame.get_payload_as_memoryview()
            if frame.fin:
                whole, self._fragments = bytes(self._fragments), bytearray()
                self._hear(whole)
        if frame.last_in_buffer:
            self.flush()

    def say(self, text: bytes) -> None:
        """Send a message: now, or at the end of this read if batched."""
        assert self._transport is not None
        if self._batched:
            self._unsent.append(masked_frame(text))
        else:
            self._transport.send(WSMsgType.TEXT, text)

    def flush(self) -> None:
        """Send what a batched peer has said."""
        if self._unsent:
            assert self._transport is not None
            self._transport.underlying_transport.write(b"".join(self._unsent))
            self._unsent.clear()

    def _hear(self, text: bytes) -> None:
        message = _read(text)
        if message.type == "workerregistered":
            self.greeted.set()
        else:
            self.take(message)

    def take(self, message: Heard) -> None:
        """Handle everything but the greeting."""
        raise NotImplementedError


class Echo(Peer):
    """A worker whose one function gives back what it was given."""

    def __init__(self, function_id: str, *, batched: bool = False) -> None:
        super().__init__(batched=batched)
        self._tail = b'","function_id":"' + function_id.encode() + b'","result":'

    def take(self, message: Heard) -> None:
        if message.type == "invokefunction":
            head = b'{"type":"invocationresult","invocation_id":"' + message.invocation_id.encode()
            self.say(b"".join((head, self._tail, message.data, b"}")))


class Caller(Peer):
    """Keeps `depth` calls in flight while it is `running`. `name` (below 10,000) keeps its ids apart from other callers'.

    Latencies are noted with depth 1 only, where each answer belongs to the call before it.
    """

    def __init__(self, function_id: str, payload: bytes, name: int, *, depth: int = 1, batched: bool = False) -> None:
        super().__init__(batched=batched)
        self.answered = self.failed = 0
        self.latencies: list[float] = []
        self.is_running = False
        self.all_answered = asyncio.Event()
        self._in_flight = 0
        self._began = 0.0
        self._issued = 0
        self._smallest = len(payload)
        self._depth = depth
        self._head = b'{"type":"invokefunction","invocation_id":"00000000-0000-4000-%04d-' % name
        self._tail = b'","function_id":"' + function_id.encode() + b'","data":' + payload + b"}"

    def start(self) -> None:
        self.is_running = True
        self.all_answered.clear()
        for _ in range(self._depth):
            self._call()
        self.flush()

    async def stop(self) -> None:
        """Call no more and wait for the answers that are due."""
        self.is_running = False
        async with asyncio.timeout(60):
            await self.all_answered.wait()

    def _call(self) -> None:
        self._issued += 1
        self._in_flight += 1
        self._began = time.perf_counter()
        self.say(b"%b%012d%b" % (self._head, self._issued, self._tail))

    def take(self, message: Heard) -> None:
        if message.type != "invocationresult":
            return
        self._in_flight -= 1
        self.answered += 1
        if memoryview(message.error) or len(memoryview(message.result)) < self._smallest:
            self.failed += 1
        elif self._depth == 1:
            self.latencies.append(time.perf_counter() - self._began)
        if self.is_running:
            self._call()
        elif not self._in_flight:
            self.all_answered.set()


async def connect(port: int, make: Callable[[], P]) -> P:
    """Connect, wait for the greeting and announce the worker as SDKs do."""
    _, peer = await ws_connect(make, f"ws://127.0.0.1:{port}/", max_frame_size=_LARGEST, proxy=None)
    assert isinstance(peer, Peer)
    async with asyncio.timeout(10):
        await peer.greeted.wait()
    peer.say(announcement())
    peer.flush()
    return peer  # type: ignore[return-value]  # picows gives back what `make` made


async def connect_echo(port: int, function_id: str, *, batched: bool = False) -> Echo:
    """A worker whose function is registered by the time this returns: a call from itself has gone through."""
    worker = await connect(port, lambda: _SelfTest(function_id, batched=batched))
    worker.say(b'{"type":"registerfunction","id":"' + function_id.encode() + b'"}')
    worker.say(
        b'{"type":"invokefunction","invocation_id":"00000000-0000-4000-9999-000000000000","function_id":"'
        + function_id.encode()
        + b'","data":{}}'
    )
    worker.flush()
    async with asyncio.timeout(10):
        await worker.answered.wait()
    return worker


class _SelfTest(Echo):
    def __init__(self, function_id: str, *, batched: bool = False) -> None:
        super().__init__(function_id, batched=batched)
        self.answered = asyncio.Event()

    def take(self, message: Heard) -> None:
        if message.type == "invocationresult":
            self.answered.set()
        else:
            super().take(message)


def announcement() -> bytes:
    """The call by which a worker says who it is; without a name, so that any number may."""
    return (
        b'{"type":"invokefunction","invocation_id":null,"function_id":"engine::workers::register",'
        b'"action":{"type":"void"},"data":{"runtime":"bench","version":"0.11.6","os":"linux","pid":1}}'
    )
