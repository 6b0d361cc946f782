"""Data channels (wire-protocol 10): items from one writer to one reader, in order, bounded; a socket or the engine at each end."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Literal

import attrs
import trio
from msgspec import Struct

from iii_trio.protocol.errors import IIIError

if TYPE_CHECKING:
    from .channel_registry import ChannelRegistry

PIECE: Final = 64 * 1024
"""Bytes of the largest item that the engine itself makes of a stream of bytes: every SDK can read it (http D-12)."""

_ITEM_COST: Final = 256
"""Bytes counted for an item beside its data, so that many small ones are bounded, too."""

Direction = Literal["read", "write"]
Source = Callable[[], Awaitable[bytes]]
"""Waits for the next piece of a stream of bytes, empty at its end. Called by one task at a time."""


class EndTaken(IIIError):
    """That end of the channel has been opened before; each can be taken once (10.2)."""


class Item(Struct, frozen=True):
    """One message of a channel: kind and boundaries are kept (10.3). A text is UTF-8."""

    data: bytes
    is_text: bool = False


@attrs.define(eq=False, repr=False)
class Reader:
    """The reading end, owned by one task. Made by `Channel.open_reader`."""

    channel: "Channel"
    _on_arrival: Callable[[], object] | None
    closed: bool = False
    _arrived: trio.Event | None = None
    _rest: memoryview | bytes = b""
    _pulling: trio.CancelScope | None = None

    @property
    def broken(self) -> bool:
        """At the end of the stream: whether the writer died instead of finishing. SDKs cannot tell (10.5)."""
        return self.channel.broken

    def receive_nowait(self) -> Item:
        """Take the next item. Raises trio.WouldBlock, trio.EndOfChannel, or trio.ClosedResourceError after `close`."""
        if self.closed:
            raise trio.ClosedResourceError("this end of the channel was closed")
        return self.channel.take()

    async def receive(self) -> Item:
        """Wait for the next item. Raises trio.EndOfChannel at the end, trio.ClosedResourceError after `close`.

        Cancelled: nothing has been taken.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                item = self.receive_nowait()
            except trio.WouldBlock:
                if (source := self.channel.source) is not None:
                    return await self._pull(source)
                self._arrived = trio.Event()
                await self._arrived.wait()
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return item

    async def _pull(self, source: Source) -> Item:
        if not self._rest:
            with trio.CancelScope() as self._pulling:
                self._rest = memoryview(await source())
            self._pulling = None
        if not self._rest or self.closed or self.channel.ended:
            self.channel.finish()
            raise trio.EndOfChannel
        piece, self._rest = bytes(self._rest[:PIECE]), self._rest[PIECE:]
        return Item(piece)

    def wake(self) -> None:
        """Something has arrived, or the end has. Called by the channel."""
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None
        if self._pulling is not None and self.channel.ended:
            self._pulling.cancel(reason="the channel has ended")
        if self._on_arrival is not None and not self.closed:
            self._on_arrival()

    def close(self) -> None:
        """Take no more: what is buffered is dropped, and the writer's next item cannot be delivered. Safe to repeat."""
        if not self.closed:
            self.closed = True
            self.channel.drop()
            if self._pulling is not None:
                self._pulling.cancel(reason="the reader was closed")
            self.wake()


@attrs.define(eq=False, repr=False)
class Writer:
    """The writing end, owned by one task. Made by `Channel.open_writer`."""

    channel: "Channel"
    closed: bool = False
    _room: trio.Event | None = None

    def send_nowait(self, item: Item) -> None:
        """Give the next item. Raises trio.WouldBlock when there is no room, else as `send`."""
        if self.closed:
            raise trio.ClosedResourceError("this end of the channel was closed")
        self.channel.put(item)

    async def send(self, item: Item) -> None:
        """Wait for room and give the next item. Cancelled: it was not sent.

        Raises trio.BrokenResourceError when nobody will read it (the reader has gone, the channel has expired), and
        trio.ClosedResourceError after `close`.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                self.send_nowait(item)
            except trio.WouldBlock:
                self._room = trio.Event()
                await self._room.wait()
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return

    def wake(self) -> None:
        """There may be room, or nobody to read. Called by the channel."""
        if self._room is not None:
            self._room.set()
            self._room = None

    def close(self, *, broken: bool = False) -> None:
        """Finish: the reader gets what is buffered, then the end. `broken`: this is not how it should have ended."""
        if not self.closed:
            self.closed = True
            self.channel.finish(broken=broken)
            self.wake()


@attrs.define(eq=False, repr=False)
class Channel:
    """A channel. It costs next to nothing before an end is opened: the buffer is made with the first item."""

    id: str
    key: str
    buffer_size: int
    expires_at: float
    """When it is dropped unless both ends were opened; infinite for those that their maker forgets."""

    _registry: "ChannelRegistry"
    reader: Reader | None = None
    writer: Writer | None = None
    source: Source | None = None
    ended: bool = False
    """No more items come."""

    broken: bool = False
    _dropped: bool = False
    _items: deque[Item] | None = None
    _size: int = 0

    def ref(self, direction: Direction) -> dict[str, str]:
        """What an SDK needs to open an end (10.1): exactly these three strings."""
        return {"channel_id": self.id, "access_key": self.key, "direction": direction}

    def ref_text(self, direction: Direction) -> bytes:
        """The same as JSON."""
        return ref_text(self.id, self.key, direction)

    @property
    def is_used(self) -> bool:
        """Whether both ends were opened."""
        return self.reader is not None and (self.writer is not None or self.source is not None)

    # --- opening ----------------------------------------------------------------------------------------------------

    def open_reader(self, on_arrival: Callable[[], object] | None = None) -> Reader:
        """Take the reading end. Raises EndTaken.

        `on_arrival` is called whenever an item or the end has arrived, in the writer's task: it must not wait.
        """
        if self.reader is not None:
            raise EndTaken(f"the reader of channel {self.id} is taken")
        self.reader = Reader(self, on_arrival)
        if self.writer is not None:
            self.writer.wake()  # a channel without a reader may have had no room at all
        return self.reader

    def open_writer(self) -> Writer:
        """Take the writing end. Raises EndTaken."""
        if self.writer is not None or self.source is not None:
            raise EndTaken(f"the writer of channel {self.id} is taken")
        self.writer = Writer(self)
        return self.writer

    def feed(self, source: Source) -> None:
        """Take the writing end for a stream of bytes that is pulled, piece by piece, when a reader wants more.

        Nothing is buffered and no task is needed. Raises EndTaken.
        """
        if self.writer is not None or self.source is not None:
            raise EndTaken(f"the writer of channel {self.id} is taken")
        self.source = source

    # --- items ------------------------------------------------------------------------------------------------------

    def put(self, item: Item) -> None:
        """Buffer an item. Raises trio.WouldBlock, or trio.BrokenResourceError when nobody will read it."""
        if self._dropped:
            raise trio.BrokenResourceError("nobody reads this channel any more")
        cost = len(item.data) + _ITEM_COST
        if not self._has_room(cost):
            raise trio.WouldBlock
        if self._items is None:
            self._items = deque()
        self._items.append(item)
        self._size += cost
        self._registry.count(1, cost)
        if self.reader is not None:
            self.reader.wake()

    def _has_room(self, cost: int) -> bool:
        crowded = self._registry.is_crowded
        if not self._items:
            return not crowded or self.reader is not None
        limits = self._registry.limits
        return not crowded and len(self._items) < self.buffer_size and self._size + cost <= limits.channel_size

    def take(self) -> Item:
        """Unbuffer an item. Raises trio.WouldBlock, or trio.EndOfChannel."""
        if not self._items:
            if self.ended:
                raise trio.EndOfChannel
            raise trio.WouldBlock
        item = self._items.popleft()
        cost = len(item.data) + _ITEM_COST
        self._size -= cost
        self._registry.count(-1, -cost)
        if self.writer is not None:
            self.writer.wake()
        return item

    # --- ending -----------------------------------------------------------------------------------------------------

    def finish(self, *, broken: bool = False) -> None:
        """No more items come. Called by the writing end."""
        if not self.ended:
            self.ended, self.broken = True, broken
            self._forget_if_done()
            if self.reader is not None:
                self.reader.wake()

    def drop(self) -> None:
        """Nobody reads any more: let go of what is buffered. Called by the reading end."""
        self._dropped = True
        if self._items:
            self._registry.count(-len(self._items), -self._size)
            self._items.clear()
            self._size = 0
        if self.source is not None:
            self.finish()
        if self.writer is not None:
            self.writer.wake()
        self._forget_if_done()

    def end(self) -> None:
        """Forget the channel and end it at both ends: nothing more is delivered."""
        self._registry.forget(self)
        self.drop()
        self.finish()

    def _forget_if_done(self) -> None:
        if self.ended and self.reader is not None and self.reader.closed:
            self._registry.forget(self)


def ref_text(channel_id: str, key: str, direction: Direction) -> bytes:
    """A reference as JSON; ids and keys need no escaping."""
    return f'{{"channel_id":"{channel_id}","access_key":"{key}","direction":"{direction}"}}'.encode()


def source_of(data: bytes) -> Source:
    """A source for bytes that are there already."""
    pieces = [data, b""]

    async def next_piece() -> bytes:
        await trio.lowlevel.checkpoint()
        return pieces.pop(0) if pieces else b""

    return next_piece
