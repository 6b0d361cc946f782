"""The seam to trio-websocket: one connection as encoded messages in and out, and one error for all its ends."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream
from wsproto.events import TextMessage

from ._nursery import open_bare_nursery
from ._outbox import MAX_MESSAGE
from .wire import Address, LinkLost, OpenStream, Wire

_HANDSHAKE: Final = 10.0
_UNREAD_MESSAGES: Final = 16
_READ_SIZE: Final = 64 << 10
_LARGEST_FRAME: Final = 16 << 20  # bytes; the engine takes no larger one (wire-protocol 1.2)
_FRAGMENT: Final = 256 << 10  # letters of at most four bytes each


@asynccontextmanager
async def open_websocket(address: Address, headers: Mapping[str, str], open_stream: OpenStream) -> AsyncIterator[Wire]:
    """A worker's connection for the length of a block; see `open_connection`."""
    async with open_connection(address, headers, open_stream) as connection:
        yield WebSocketWire(connection)


@asynccontextmanager
async def open_connection(
    address: Address, headers: Mapping[str, str], open_stream: OpenStream
) -> AsyncIterator[WebSocketConnection]:
    """Connect for the length of a block. Raises LinkLost if that takes more than 10 s, fails or is refused.

    An error of the block arrives bare. Whoever wants an orderly end calls `aclose` in the block.
    """
    with trio.move_on_after(_HANDSHAKE) as deadline:
        try:
            stream = _Watched(await open_stream())
        except OSError as error:
            raise LinkLost(str(error) or type(error).__name__) from error
    if deadline.cancelled_caught:
        raise LinkLost(f"{address.authority} did not answer within {_HANDSHAKE:g} s")
    try:
        async with open_bare_nursery("the connection has ended") as nursery:  # for the reader of trio-websocket
            yield await _shake_hands(nursery, stream, address, headers)
    except HandshakeError as error:
        raise LinkLost(f"{address.authority} refuses the connection: {error!r}") from error
    finally:
        await trio.aclose_forcefully(stream)


async def _shake_hands(
    nursery: trio.Nursery, stream: "_Watched", address: Address, headers: Mapping[str, str]
) -> WebSocketConnection:
    with trio.move_on_after(_HANDSHAKE) as deadline:
        stream.on_end = deadline.cancel
        return await wrap_client_stream(
            nursery,
            stream,  # type: ignore[arg-type]  # any Trio stream does; the annotation names the usual two
            address.authority,
            address.resource,
            extra_headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
            message_queue_size=_UNREAD_MESSAGES,
            max_message_size=MAX_MESSAGE,
            receive_buffer_size=_READ_SIZE,
        )
    if stream.end is not None:
        raise LinkLost(f"{address.authority} ended the connection during the handshake: {stream.end}")
    raise LinkLost(f"{address.authority} did not finish the handshake within {_HANDSHAKE:g} s")


@attrs.define(eq=False)
class _Watched(trio.abc.Stream):
    """A stream that tells when it ends: the handshake of trio-websocket would wait on for ever."""

    _stream: trio.abc.Stream
    on_end: Callable[[], None] = lambda: None
    end: str | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            self._end(str(error.__cause__ or error) or "it broke")
            raise

    async def wait_send_all_might_not_block(self) -> None:  # pragma: no cover  # of the interface; nobody asks
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            self._end(str(error.__cause__ or error) or "it broke")
            raise
        if not data:
            self._end("end of stream")
        return data

    def _end(self, reason: str) -> None:
        self.end = reason
        self.on_end()

    async def aclose(self) -> None:
        await self._stream.aclose()


@attrs.frozen(eq=False)
class WebSocketWire:
    """A `Wire` on a connection of trio-websocket."""

    _connection: WebSocketConnection

    async def receive(self) -> bytes:
        try:
            message = await self._connection.get_message()
        except ConnectionClosed as error:
            raise _lost(error) from error
        return message.encode() if isinstance(message, str) else message

    async def send(self, data: bytes) -> None:
        try:
            if len(data) <= _LARGEST_FRAME:
                await self._connection.send_message(data.decode())
            else:
                await self._send_fragments(data.decode())
        except ConnectionClosed as error:
            raise _lost(error) from error

    async def _send_fragments(self, text: str) -> None:
        for start in range(0, len(text), _FRAGMENT):
            last = start + _FRAGMENT >= len(text)
            event = TextMessage(text[start : start + _FRAGMENT], message_finished=last)
            await self._connection._send(event)  # noqa: SLF001  # the public call knows only whole messages

    async def ping(self) -> None:
        try:
            await self._connection.ping()
        except ConnectionClosed as error:
            raise _lost(error) from error

    async def aclose(self) -> None:
        await self._connection.aclose()


def _lost(error: ConnectionClosed) -> LinkLost:
    reason = error.reason
    if reason is None:
        return LinkLost("the connection broke")
    return LinkLost(f"the connection was closed: {reason.code} {reason.reason or reason.name}")
