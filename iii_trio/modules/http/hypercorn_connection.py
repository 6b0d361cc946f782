"""One connection: reads for hypercorn's protocol, writes what it says, and keeps the deadlines."""

import logging
import math
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.task_group import TaskGroup

from .hypercorn_exchange import Exchanges
from .hypercorn_http2 import Http2
from .hypercorn_protocol import Http1, Settings

_log = logging.getLogger("iii_trio.http")
_RECEIVE_SIZE: Final = 1 << 16


@attrs.define(eq=False)
class Connection:
    """A client's connection. Its reader waits at most for the request it reads; a stop lets running requests finish."""

    stream: trio.abc.Stream
    settings: Settings
    tls: ssl.SSLContext | None = None
    _speaking: dict[trio.CancelScope, None] = attrs.field(factory=dict, init=False)
    _last_words: float = attrs.field(default=math.inf, init=False)
    _reading: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _sending: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _idle: bool = attrs.field(default=True, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    _is_deaf: bool = attrs.field(default=False, init=False)
    _protocol: Http1 | Http2 = attrs.field(init=False)

    async def run(self) -> None:
        """Serve until either side closes; never raises an `Exception`. Cancelled, it cuts the connection."""
        try:
            if self.tls is not None and not await self._secure(self.tls):
                return
            async with Exchanges(self) as exchanges:
                self._protocol = self._choose_protocol(exchanges)
                self._reading.deadline = trio.current_time() + self.settings.limits.idle_timeout
                with self._reading:
                    await self._protocol.initiate()
                    await self._read()
                await self._protocol.handle(Closed())
        except* Exception as group:  # noqa: BLE001  # the connection boundary: its failure is its own
            _log.error("an HTTP connection failed", exc_info=group)
        finally:
            await trio.aclose_forcefully(self.stream)

    async def _secure(self, context: ssl.SSLContext) -> bool:
        """Agree on TLS, within the time a head may take; False if that does not come about."""
        self.stream = stream = trio.SSLStream(self.stream, context, server_side=True, https_compatible=True)
        with trio.move_on_after(self.settings.limits.head_timeout):
            try:
                await stream.do_handshake()
            except trio.BrokenResourceError:
                return False  # not TLS, or not one that we speak: the other side has been told
            return True
        return False

    def _choose_protocol(self, exchanges: TaskGroup) -> Http1 | Http2:
        if isinstance(self.stream, trio.SSLStream) and self.stream.selected_alpn_protocol() == "h2":
            return Http2(self.settings, exchanges, self.send)
        return Http1(self.settings, exchanges, self.send)

    def close_if_idle(self) -> None:
        """Close now unless a request is being answered."""
        if self._reading.deadline < math.inf:
            self._reading.cancel(reason="the server stops")

    def limit_last_words(self, deadline: float) -> None:
        """Cut the answer that is being written at `deadline`."""
        self._last_words = deadline
        for scope in self._speaking:
            scope.deadline = deadline

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Say something that a stop must not cut, until the deadline of the last words."""
        with trio.CancelScope(shield=True, deadline=self._last_words) as scope:
            self._speaking[scope] = None
            try:
                yield
            finally:
                del self._speaking[scope]

    async def _read(self) -> None:
        while True:
            try:
                data = await self.stream.receive_some(_RECEIVE_SIZE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if not data:
                return
            if self._closing:
                continue  # discard what comes after the end, so that the client sees the answer and not a reset
            if self._idle and isinstance(self._protocol, Http1):
                self._idle = False
                self._reading.deadline = trio.current_time() + self.settings.limits.head_timeout
            await self._protocol.handle(RawData(bytes(data)))

    async def send(self, event: Event) -> None:
        """Take what the protocol has to say: bytes, the end, or whether it waits for a request."""
        match event:
            case RawData(data=data) if data:
                await self._write(data)
            case Updated(idle=True):
                self._await_request()
            case Updated():
                self._idle, self._reading.deadline = False, math.inf
            case Closed():
                await self._close()

    def _await_request(self) -> None:
        self._idle = True
        self._reading.deadline = trio.current_time() + self.settings.limits.idle_timeout

    async def _write(self, data: bytes) -> None:
        """Send, a piece at a time, each within the write deadline: a client that does not read is given up."""
        view = memoryview(data)
        if self._is_deaf:
            return
        try:
            async with self._sending:
                for start in range(0, len(view), _RECEIVE_SIZE):
                    with trio.fail_after(self.settings.limits.write_timeout):
                        await self.stream.send_all(view[start : start + _RECEIVE_SIZE])
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            self._is_deaf = True
            self._reading.cancel(reason="the client takes no answer")

    async def flush(self) -> None:
        """Send what the protocol holds back."""
        await self._protocol.flush()

    async def took(self, stream_id: int | None, size: int) -> None:
        """A handler has taken a part of its request's body: of HTTP/2 the client may send as much again."""
        if stream_id is not None and isinstance(self._protocol, Http2):
            await self._protocol.grant(stream_id, size)

    async def cut(self, stream_id: int | None) -> None:
        """End at once, in the middle of an answer: the client sees that something is missing."""
        if stream_id is not None and isinstance(self._protocol, Http2):
            await self._protocol.reset(stream_id)
            return
        self._closing = True
        if isinstance(self.stream, trio.SocketStream):
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._reading.cancel(reason="an answer broke off")

    async def _close(self) -> None:
        """End our half; the reader goes on discarding for a moment and then closes."""
        if self._closing:
            return
        self._closing = True
        self._reading.deadline = trio.current_time() + self.settings.limits.linger
        if isinstance(self.stream, trio.abc.HalfCloseableStream):
            try:
                async with self._sending:  # an answer may still be under way
                    await self.stream.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._reading.cancel(reason="the client is gone")
        else:
            self._reading.cancel(reason="the stream cannot end by halves")
        await self._protocol.handle(Closed())
