"""The ends of data channels on sockets: `/ws/channels/{channel_id}` (wire-protocol 10.2 - 10.6)."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

import attrs
import trio

from iii_trio.kernel import Channel, ChannelRegistry, EndTaken, Item
from iii_trio.kernel.channels import Reader, Writer
from iii_trio.sockets import (
    BROKEN,
    CloseReason,
    Message,
    OutboxLimits,
    Query,
    Turn,
    Upgrade,
    WebSocket,
    binary_header,
    close_frame,
    frame_header,
)

_log = logging.getLogger("iii_trio.channel")
CHANNELS: Final = "/ws/channels/"
OUTBOX: Final = OutboxLimits(frames=64, size=64 * 1024, patience=600.0)
"""What is taken out of a channel for one send to its reader. A reader may pause, but not for ever."""

_GOODBYE: Final = 600.0
"""Seconds a reader may take to read what the network holds for it, up to the end of the stream, before it is cut."""


def problem_with(query: Query) -> str | None:
    """What is wrong with the query of a channel endpoint, None if nothing is (10.2). Other parameters are ignored."""
    for name in ("key", "dir"):
        values = query.get(name, ())
        if len(values) != 1:
            problem = f"duplicate field `{name}`" if values else f"missing field `{name}`"
            return f"Failed to deserialize query string: {problem}"
    direction = query["dir"][0]
    if direction in {"read", "write"}:
        return None
    return f"Failed to deserialize query string: dir: unknown variant `{direction}`, expected `read` or `write`"


def find_channel(channels: ChannelRegistry, request: Upgrade) -> Channel | None:
    """The channel a request is for; None if there is none, or if the key is wrong."""
    return channels.find(request.path.removeprefix(CHANNELS), request.query["key"][0])


def open_end(
    channel: Channel, request: Upgrade, socket: WebSocket, turn: Turn, count_end: Callable[[CloseReason], None]
) -> "ChannelEnd":
    """Take the end a request asks for, for its socket."""
    try:
        if request.query["dir"][0] == "read":
            return ReadingEnd(socket, count_end, channel.open_reader(), turn)
        return WritingEnd(socket, count_end, channel.open_writer())
    except EndTaken:
        return TakenEnd(socket, count_end)


@attrs.define(eq=False, repr=False)
class ChannelEnd(ABC):
    """One socket at one end of a channel. The key was its only credential: it is no worker, and access control does not apply."""

    socket: WebSocket
    count_end: Callable[[CloseReason], None]
    """Told the reason, once, at the moment it is decided."""

    reason: CloseReason | None = attrs.field(default=None, init=False)
    _running: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    async def run(self) -> None:
        """Carry items until either side or the engine ends it. Cancelled: drops the socket."""
        try:
            with self._running:
                await self.transfer()
            self.conclude(self.socket.ended or CloseReason.CRASHED)
        except Exception:  # noqa: BLE001  # the connection boundary: a bug here costs one channel, never the engine
            _log.exception("a channel's connection failed")
            self.conclude(CloseReason.CRASHED)
        finally:
            self.conclude(CloseReason.KILLED)
            assert self.reason is not None
            await self.socket.close(self.reason)

    def stop(self, reason: str) -> None:
        """End the connection for a reason, and this end of the channel with it, now."""
        self.conclude(CloseReason(reason))
        self._running.cancel(reason=reason)

    def conclude(self, reason: CloseReason) -> None:
        """Decide why it ended, unless that is decided."""
        if self.reason is None:
            self.reason = reason
            self.count_end(reason)
            self.let_go(reason)

    @abstractmethod
    async def transfer(self) -> None:
        """Carry items until the peer's side has ended, or `conclude` was called."""

    @abstractmethod
    def let_go(self, reason: CloseReason) -> None:
        """Close the end of the channel itself."""

    @abstractmethod
    def tick(self, now: float) -> None:
        """Called once a second: silence that is not the peer's fault is not held against it."""


@attrs.define(eq=False, repr=False)
class TakenEnd(ChannelEnd):
    """Somebody has this end already: the newcomer is told by a `Close`, and nothing else happens."""

    async def transfer(self) -> None:
        await trio.lowlevel.checkpoint()
        self.conclude(CloseReason.CHANNEL_TAKEN)

    def let_go(self, reason: CloseReason) -> None:
        """It has none."""

    def tick(self, now: float) -> None:
        """It is over at once."""


@attrs.define(eq=False, repr=False)
class WritingEnd(ChannelEnd):
    """A peer that writes. Nothing is read from it while the channel is full: TCP makes it wait."""

    writer: Writer
    _is_waiting: bool = attrs.field(default=False, init=False)

    async def transfer(self) -> None:
        try:
            while batch := await self.socket.receive_batch():
                items = [_item(message) for message in batch]
                for item in items:
                    await self._give(item)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # the latter if it was stopped: then it has a reason
            self.conclude(CloseReason.CHANNEL_UNREAD)

    async def _give(self, item: Item) -> None:
        try:
            self.writer.send_nowait(item)
        except trio.WouldBlock:
            self._is_waiting = True
            try:
                await self.writer.send(item)
            finally:
                self._is_waiting = False

    def let_go(self, reason: CloseReason) -> None:
        self.writer.close(broken=reason is not CloseReason.PEER_CLOSED)

    def tick(self, now: float) -> None:
        if self._is_waiting:
            self.socket.heard_at = now


@attrs.define(eq=False, repr=False)
class ReadingEnd(ChannelEnd):
    """A peer that reads. Its pings are answered, and its `Close` is noticed, while it waits for items."""

    reader: Reader
    turn: Turn
    _is_sending: bool = attrs.field(default=False, init=False)
    _is_over: bool = attrs.field(default=False, init=False)
    """All has been sent, and the end of it."""

    def conclude(self, reason: CloseReason) -> None:
        """Decide why it ended. Once all was sent, it is no matter how the peer leaves."""
        leaves = reason in {CloseReason.PEER_CLOSED, CloseReason.PEER_GONE}
        super().conclude(CloseReason.CHANNEL_ENDED if self._is_over and leaves else reason)

    async def transfer(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver)
            while await self.socket.receive_batch():
                pass  # what a reader says is not part of the channel
            self.conclude(self.socket.ended or CloseReason.CRASHED)
            nursery.cancel_scope.cancel(reason="the reader's side has ended")

    async def _deliver(self) -> None:
        try:
            while True:
                item = await self.reader.receive()
                with self.turn.joined():
                    self._send(item)
                    self._send_more()
                await self._wait_sent()
        except trio.EndOfChannel:
            self.socket.outbox.send_frame((close_frame(None),), 2)
        except trio.ClosedResourceError:
            return  # stopped
        await self._wait_sent()
        try:
            self.socket.stream.end_sending()
        except BROKEN:
            return  # the peer has gone, as the other task is about to find out
        self._is_over = True
        # Not closed before the peer has read up to here: closing while it still sends (a ping) would discard the rest.
        await trio.sleep(_GOODBYE)
        self.stop(CloseReason.CHANNEL_ENDED)

    async def _wait_sent(self) -> None:
        self._is_sending = True
        try:
            await self.socket.outbox.wait_sent()
        finally:
            self._is_sending = False

    def _send_more(self) -> None:
        """What else is there goes out with the same send."""
        try:
            while not self.socket.outbox.is_full:
                self._send(self.reader.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            pass  # `receive` waits, or finds the end, next

    def _send(self, item: Item) -> None:
        size = len(item.data)
        header = frame_header(size) if item.is_text else binary_header(size)
        self.socket.outbox.send_frame((header, item.data), len(header) + size)

    def let_go(self, reason: CloseReason) -> None:  # noqa: ARG002  # every end of a reader is the same to the writer
        self.reader.close()

    def tick(self, now: float) -> None:
        """While data waits for the reader its pong would wait behind it; a pause has a limit of its own (`OUTBOX`)."""
        if self._is_over or self._is_sending:
            self.socket.heard_at = now


def _item(message: Message) -> Item:
    return Item(message, is_text=True) if type(message) is bytes else Item(bytes(message))
