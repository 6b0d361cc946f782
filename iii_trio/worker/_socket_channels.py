"""Ends of channels over sockets of their own, to the engine a worker is connected to (wire-protocol 10.2)."""

from collections.abc import Mapping
from typing import Final, NoReturn
from urllib.parse import quote

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from ._channels import Item, Ref
from .websocket import open_connection
from .wire import Address, LinkLost, OpenStream

_ORDERLY: Final = {1000, 1005}


def channel_resource(base: str, ref: Ref) -> str:
    """Where an end is, given path and query of the engine's URL: behind its path; its query stays in front (1.1)."""
    path, _, query = base.partition("?")
    own = f"key={quote(ref['access_key'])}&dir={quote(ref['direction'])}"
    return (
        f"{path.removesuffix('/')}/ws/channels/{quote(ref['channel_id'], safe='')}?{query + '&' if query else ''}{own}"
    )


@attrs.frozen(eq=False)
class SocketEnds:
    """Opens ends, whose connections live in the nursery of their worker."""

    _address: Address
    _headers: Mapping[str, str]
    _open_stream: OpenStream
    _nursery: trio.Nursery

    async def open_reader(self, ref: Ref) -> "SocketEnd":
        return await self._open(ref)

    async def open_writer(self, ref: Ref) -> "SocketEnd":
        return await self._open(ref)

    async def _open(self, ref: Ref) -> "SocketEnd":
        try:
            end: SocketEnd = await self._nursery.start(self._serve, ref, name=f"channels/{ref['channel_id']}")
        except LinkLost as error:
            raise trio.BrokenResourceError(f"the channel cannot be opened: {error}") from error
        return end

    async def _serve(self, ref: Ref, *, task_status: "trio.TaskStatus[SocketEnd]") -> None:
        address = attrs.evolve(self._address, resource=channel_resource(self._address.resource, ref))
        async with open_connection(address, self._headers, self._open_stream) as connection:
            end = SocketEnd(connection)
            task_status.started(end)
            await end.closed.wait()


@attrs.define(eq=False)
class SocketEnd:
    """One end; its connection is cut when `closed` is set."""

    _connection: WebSocketConnection
    closed: trio.Event = attrs.field(factory=trio.Event)

    async def receive(self) -> Item:
        try:
            item: Item = await self._connection.get_message()
        except ConnectionClosed as error:
            if error.reason is not None and error.reason.code in _ORDERLY and not self.closed.is_set():
                raise trio.EndOfChannel from error
            self._fail(error)
        return item

    async def send(self, item: Item) -> None:
        try:
            await self._connection.send_message(item)
        except ConnectionClosed as error:
            self._fail(error)

    def _fail(self, error: ConnectionClosed) -> NoReturn:
        if self.closed.is_set():
            raise trio.ClosedResourceError("this end of the channel was closed") from error
        raise trio.BrokenResourceError(f"the channel broke: {error.reason or 'the connection ended'}") from error

    async def finish(self) -> None:
        await self._connection.aclose()

    def close(self) -> None:
        self.closed.set()
