"""Ends of channels in the process of the engine: no socket is involved."""

from typing import TypeVar

import attrs
import trio

from iii_trio.kernel import ChannelRegistry, EndTaken
from iii_trio.kernel import Item as KernelItem
from iii_trio.kernel.channels import Channel, Reader, Writer

from ._channels import Item, Ref

E = TypeVar("E", bound="LocalReadEnd | LocalWriteEnd")


@attrs.define(eq=False)
class LocalEnds:
    """Opens ends for one worker and closes those that are left at its end."""

    _registry: ChannelRegistry
    _open: set["LocalReadEnd | LocalWriteEnd"] = attrs.field(factory=set)

    async def open_reader(self, ref: Ref) -> "LocalReadEnd":
        await trio.lowlevel.checkpoint()
        try:
            return self._entered(LocalReadEnd(self._find(ref).open_reader(), self._open))
        except EndTaken as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def open_writer(self, ref: Ref) -> "LocalWriteEnd":
        await trio.lowlevel.checkpoint()
        try:
            return self._entered(LocalWriteEnd(self._find(ref).open_writer(), self._open))
        except EndTaken as error:
            raise trio.BrokenResourceError(str(error)) from error

    def _entered(self, end: E) -> E:
        self._open.add(end)
        return end

    def _find(self, ref: Ref) -> Channel:
        channel = self._registry.find(ref["channel_id"], ref["access_key"])
        if channel is None:
            raise trio.BrokenResourceError(f"there is no channel {ref['channel_id']}, or no longer")
        return channel

    def close(self) -> None:
        """Break off what is still open."""
        for end in tuple(self._open):
            end.close()


@attrs.define(eq=False)
class LocalReadEnd:
    """A reading end."""

    _reader: Reader
    _open: set["LocalReadEnd | LocalWriteEnd"]

    async def receive(self) -> Item:
        item = await self._reader.receive()
        return item.data.decode() if item.is_text else item.data

    def close(self) -> None:
        self._open.discard(self)
        self._reader.close()


@attrs.define(eq=False)
class LocalWriteEnd:
    """A writing end."""

    _writer: Writer
    _open: set["LocalReadEnd | LocalWriteEnd"]

    async def send(self, item: Item) -> None:
        await self._writer.send(KernelItem(item.encode(), is_text=True) if isinstance(item, str) else KernelItem(item))

    async def finish(self) -> None:
        await trio.lowlevel.checkpoint()
        self._writer.close()

    def close(self) -> None:
        self._open.discard(self)
        self._writer.close(broken=True)
