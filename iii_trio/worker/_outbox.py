from collections import deque
from collections.abc import Callable, Iterable

import attrs
import trio

from iii_trio.protocol.errors import Overloaded

MAX_MESSAGE = 64 << 20
"""Bytes of one message; more ends the connection (wire-protocol 1.2)."""


@attrs.define(eq=False)
class Frame:
    """An encoded message on its way out. One to `keep` outlives the connection it waited for."""

    data: bytes
    keep: bool = False
    sent: bool = False


@attrs.define(eq=False)
class Outbox:
    """Messages that wait for the writer, in order: at most `max_frames` and `max_bytes`, one message always fits.

    When full, callers wait while there is a connection and are refused while there is none. What must not wait (the
    reader's answers, registrations) goes in up to `hard_limit`; one more, and `on_overflow` is told to end a connection
    whose other end does not read.
    """

    max_frames: int = 1_000
    max_bytes: int = MAX_MESSAGE
    hard_limit: int = 65_536
    on_overflow: Callable[[str], None] = lambda _: None
    connected: bool = False
    connection: int = 0
    _frames: deque[Frame] = attrs.field(factory=deque)
    _bytes: int = 0
    _writing: bool = False
    _arrivals: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _room: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _flushed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def __len__(self) -> int:
        return len(self._frames)

    def open(self, first: Iterable[bytes]) -> None:
        """Begin a connection: these messages go before everything that has waited for it."""
        self._frames.extendleft(reversed([Frame(data) for data in first]))
        self._bytes = sum(len(frame.data) for frame in self._frames)
        self.connected = True
        self.connection += 1
        self._wake()

    def close(self) -> None:
        """End a connection: only what is to be kept goes on waiting."""
        self.connected = self._writing = False
        self._frames = deque(frame for frame in self._frames if frame.keep)
        self._bytes = sum(len(frame.data) for frame in self._frames)
        self._wake()

    async def put(self, frame: Frame) -> None:
        """Queue a call, waiting for room. Raises Overloaded when full without a connection."""
        await trio.lowlevel.checkpoint()
        while not self._fits(frame):
            if not self.connected:
                raise Overloaded(f"{len(self._frames)} calls wait for a connection to the engine")
            await self._room.park()
        self._append(frame)

    async def put_reply(self, frame: Frame, connection: int) -> None:
        """Queue an answer on the connection that asked; once that has ended there is nobody to answer."""
        await trio.lowlevel.checkpoint()
        while self._is_current(connection) and not self._fits(frame):
            await self._room.park()
        if self._is_current(connection):
            self._append(frame)

    def put_nowait(self, frame: Frame) -> None:
        """Queue at once, beyond the bound if need be; at the hard limit the connection is given up instead."""
        if len(self._frames) >= self.hard_limit:
            self.on_overflow(f"the engine does not read: {len(self._frames)} messages wait")
        else:
            self._append(frame)

    async def get(self) -> Frame:
        """Take the next message; the one before counts as written now."""
        await trio.lowlevel.checkpoint()
        self._writing = False
        while not self._frames:
            self._flushed.unpark_all()
            await self._arrivals.park()
        frame = self._frames.popleft()
        frame.sent = self._writing = True
        self._bytes -= len(frame.data)
        if len(self._frames) <= self.max_frames // 2:  # one by one would wake each waiter a thousand times
            self._room.unpark_all()
        return frame

    def withdraw(self, frame: Frame) -> None:
        """Take back a message that nobody waits for any more, if it is still here."""
        if frame in self._frames:
            self._frames.remove(frame)
            self._bytes -= len(frame.data)

    async def wait_room(self) -> None:
        """Wait while there is a connection and the queue is full."""
        await trio.lowlevel.checkpoint()
        while self.connected and len(self._frames) >= self.max_frames:
            await self._room.park()

    async def wait_flushed(self) -> None:
        """Wait until everything is written, or the connection has ended."""
        await trio.lowlevel.checkpoint()
        while self.connected and (self._frames or self._writing):
            await self._flushed.park()

    def _is_current(self, connection: int) -> bool:
        return self.connected and self.connection == connection

    def _fits(self, frame: Frame) -> bool:
        waiting = len(self._frames)
        return not waiting or (waiting < self.max_frames and self._bytes + len(frame.data) <= self.max_bytes)

    def _append(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._bytes += len(frame.data)
        self._arrivals.unpark()

    def _wake(self) -> None:
        for lot in (self._arrivals, self._room, self._flushed):
            lot.unpark_all()
